"""What the command line shows: progress, tables, lists and the facts of a system."""

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import pandas as pd

    from dysts_bench.comparison import Comparison
    from dysts_bench.verification import Verified
    from systems import System

_SECONDS_BETWEEN_LINES = 10.0
_EMPTY = "-"


def make_console() -> Console:
    """A console to which warnings go too; outside a terminal wide enough to keep tables whole."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    handler = RichHandler(console=console, show_time=False, show_path=False, show_level=False)
    logging.basicConfig(format="%(message)s", level="WARNING", handlers=[handler], force=True)
    return console


# ---- progress --------------------------------------------------------------------------------


@runtime_checkable
class Bar(Protocol):
    """Counts finished steps."""

    def advance(self, failed: bool = False) -> None:
        """One more step is finished."""
        ...


@contextlib.contextmanager
def progress(console: Console, title: str, total: int, doing: Callable[[], str]) -> Iterator[Bar]:
    """What runs (`doing`), how far, how long still, failures: live, or as lines in a log file."""
    if not console.is_terminal:
        yield _Lines(console, title, total, doing)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("[red]{task.fields[failed]}[/red]"),
        _Doing(doing),
    )
    with Progress(*columns, console=console) as live:
        yield _Live(live, live.add_task(title, total=total, failed=""))


class _Doing(ProgressColumn):
    def __init__(self, doing: Callable[[], str]) -> None:
        super().__init__()
        self.doing = doing

    def render(self, task: Task) -> Text:
        return Text(self.doing(), no_wrap=True, overflow="ellipsis")


@dataclass
class _Live:
    live: Progress
    task: TaskID
    failures: int = 0

    def advance(self, failed: bool = False) -> None:
        self.failures += failed
        text = f"{self.failures} failed" if self.failures else ""
        self.live.update(self.task, advance=1, failed=text)


@dataclass
class _Lines:
    console: Console
    title: str
    total: int
    doing: Callable[[], str]
    done: int = 0
    failures: int = 0
    started: float = field(default_factory=lambda: time.monotonic())
    last: float = field(default_factory=lambda: time.monotonic())

    def advance(self, failed: bool = False) -> None:
        self.done += 1
        self.failures += failed
        now = time.monotonic()
        if now - self.last < _SECONDS_BETWEEN_LINES and self.done < self.total:
            return
        self.last = now
        elapsed = now - self.started
        line = f"{self.title}: {self.done} of {self.total} in {_minutes(elapsed)}"
        if self.done < self.total:
            left = elapsed / self.done * (self.total - self.done)
            line += f", about {_minutes(left)} left; now {self.doing()}"
        line += f"; {self.failures} failed" if self.failures else ""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


# ---- tables ----------------------------------------------------------------------------------


def print_leaderboard(console: Console, table: "pd.DataFrame", metric: str) -> None:
    """One table for chaotic systems, one for the others, and one for each subset that is needed."""
    from dysts_bench.leaderboard import OUTSIDE, PUBLISHED
    from dysts_bench.metrics import find
    from dysts_bench.standings import RATIOS

    for group, part in table.groupby("group", sort=False):
        unit = find(metric).unit
        if group == "other" and unit == "Lyapunov times":
            unit = "periods"
        most = part["systems"].max()
        which = f"{group} systems"
        if group == OUTSIDE:
            which = f"{most} additional systems"
        elif group not in ("chaotic", "other"):
            which = f"{group}: {most} chaotic systems"
        shown = Table(
            title=f"{metric}{f' ({unit})' if unit else ''}, {which}",
            title_justify="left",
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
        )
        shown.add_column("model", no_wrap=True)
        shown.add_column("source")
        for name in ("median", "quartiles", "95 % interval", "win rate", "mean rank", "skill"):
            shown.add_column(name, justify="right")
        floors = part["noise_floor"].notna().any()
        counts = ("systems", "failures", "noise floor" if floors else "censored")
        for name in (*counts, "fit s", "predict s", "parameters"):
            shown.add_column(name, justify="right")
        for row in part.itertuples():
            partial = row.systems < most and row.source != PUBLISHED
            style = "dim" if partial else None  # not ranked
            if style and shown.rows and not shown.rows[-1].style:
                shown.add_section()
            shown.add_row(
                f"{row.model} *" if row.front else row.model,
                row.source,
                _number(row.median),
                _range(row.q25, row.q75),
                _range(row.ci_low, row.ci_high),
                _number(row.win_rate),
                _number(row.mean_rank),
                _number(row.skill),
                str(row.systems),
                row.failed_by or "0",
                _number(row.noise_floor) if floors else str(row.censored),
                _number(row.fit_seconds),
                _number(row.predict_seconds),
                _count(row.parameters),
                style=style,
            )
        console.print(shown)
    told = (
        "A system's value is the median over windows, then over seeds; the table has its median "
        "over systems. A failure ranks below every value; a figure that falls on one is empty "
        f"({_EMPTY}). What was asked on some of a table's systems comes last and has no rank among "
        "the others. Interval: 2.5 % to 97.5 % of the medians of systems drawn with replacement, "
        "each with its windows and seeds. Win rate: share of (system, other model) pairs won, ties "
        "count half. Censored: the truth ends first, and the value is a lower bound. Noise floor: "
        "the value between two true runs. Seconds and parameters: medians over cells; "
        "seconds are of cells on one kind of machine. "
        "*: on the front of median against fit + predict seconds."
    )
    against = ", ".join(sorted(set(table.loc[table["skill"].notna(), "baseline"])))
    if against:
        low, high = RATIOS
        ratio = "{1} / {0}" if find(metric).better == "higher" else "{0} / {1}"
        told += (
            f" Skill: 1 - geometric mean over systems of {ratio.format('value', 'baseline')}, each "
            f"within {low:g} and {high:g}; a failure is the worst, 0 / 0 is 1; baseline: {against}."
        )
    console.print(told, highlight=False)
    if (table["source"] == PUBLISHED).any():
        console.print(
            "Published: figures of others under their own names, on those of these systems that "
            "they have values of; seconds on their machines.",
            highlight=False,
        )


def print_answer(console: Console, columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    """The answer to a query: numbers to six digits."""
    shown = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for i, name in enumerate(columns):
        numbers = all(isinstance(row[i], int | float | None) for row in rows)
        shown.add_column(Text(name), justify="right" if numbers else "left")
    for row in rows:
        shown.add_row(*(Text(_value(value)) for value in row))
    console.print(shown)


def _value(value: Any) -> str:
    if value is None:
        return _EMPTY
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def print_comparison(console: Console, comparison: "Comparison") -> None:
    """Whether the entries differ at all, and which of them cannot be told apart."""
    names, systems = comparison.entries, len(comparison.systems)
    text = f"{len(names)} entries on {systems} chaotic systems, on which all were asked: "
    if len(names) > 2:
        text += f"Friedman χ² = {comparison.friedman:.4g}, p = {comparison.friedman_p:.2g}. "
    alike = [" ~ ".join(names[first : last + 1]) for first, last in comparison.alike]
    text += (
        f"Not told apart at {comparison.level:.0%} (Wilcoxon's signed ranks by pairs, Holm): "
        f"{'; '.join(alike) or 'none'}. A failure ranks below every value; nothing is imputed."
    )
    console.print(text, highlight=False, markup=False)


def print_summaries(console: Console, summaries: "pd.DataFrame", metric: str) -> None:
    """What is published over all systems of a study only, if there is anything of this metric."""
    part = summaries[summaries["metric"] == metric]
    if part.empty:
        return
    figures = part.pivot(index="model", columns="statistic", values="value")
    order = [name for name in ("median", "q25", "q75", "mean") if name in figures]
    figures = figures[order].sort_values(order[0])
    console.print(f"{metric} as published over the study's own systems", highlight=False)
    shown = Table(box=SIMPLE_HEAD)
    shown.add_column("model", no_wrap=True)
    for name in figures.columns:
        shown.add_column(name, justify="right")
    for model, row in figures.iterrows():
        shown.add_row(str(model), *map(_number, row))
    console.print(shown)


def print_failures(console: Console, failures: "pd.DataFrame", most: int = 20) -> None:
    """What failed and why, one line for models that failed on a system for the same reason."""
    reasons = failures.groupby(["system", "status", "message"], sort=True)["model"].unique()
    for (system, status, message), models in list(reasons.items())[:most]:
        line = f"{system}: {', '.join(models)}: {status}: {message}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if len(reasons) > most:
        console.print(f"… and {len(reasons) - most} more failures", highlight=False)


def _range(low: Any, high: Any) -> str:
    return f"{_number(low)}…{_number(high)}"  # no space: no line break


def _count(value: Any) -> str:
    return _EMPTY if value != value else f"{value:.0f}"


def _number(value: Any) -> str:
    return _EMPTY if value != value else f"{value:.3g}"  # NaN is not itself


# ---- lists -----------------------------------------------------------------------------------


def print_verification(console: Console, compared: "Sequence[Verified]", metric: str) -> None:
    """Kept values beside those of this machine, cell by cell, and what to make of them."""
    from dysts_bench.verification import RELATIVE

    shown = Table(title=f"{metric} then and now", title_justify="left", box=SIMPLE_HEAD)
    for name in ("system", "model", "seed", "kept", "here", "equal rows", "verdict"):
        shown.add_column(
            name, justify="left" if name in ("system", "model", "verdict") else "right"
        )
    styles = {"deviates": "red", "not comparable": "dim"}
    for each in sorted(compared, key=lambda each: each.verdict):
        cell = each.kept.cell
        values = [_EMPTY if v is None else f"{v:.4g}" for v in (each.before, each.now)]
        equal = f"{each.equal_rows}/{len(each.kept.rows)}"
        said = f"{each.verdict}{f' ({each.reason})' if each.reason else ''}"
        shown.add_row(
            *(cell.task.system, cell.model.label, str(cell.seed), *values, equal, said),
            style=styles.get(each.verdict),
        )
    console.print(shown)
    verdicts = Counter(each.verdict for each in compared)
    console.print(
        ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
        + f". A value agrees within {RELATIVE:.0%}, and a prediction time within a step more; the "
        "docstring of dysts_bench.verification says why.",
        highlight=False,
    )


def print_systems() -> None:
    """Every system of the catalog, then those of installed packages."""
    import systems

    entries = [systems.load(name) for name in (*systems.names(), *systems.outside_names())]
    _print_rows(
        ["system", "dimension", "period", "Lyapunov time", "tags"],
        [
            [
                entry.name,
                str(entry.dimension),
                f"{entry.period:.4g}",
                f"{entry.lyapunov_time:.4g}",
                " ".join(entry.tags),
            ]
            for entry in entries
        ],
    )


def print_models() -> None:
    """Every model of the zoo and of installed packages; what lacks a library says so."""
    import models

    rows = []
    for name in models.names():
        try:
            model = models.class_of(name)
            about = (model.__doc__ or "").partition("\n")[0]
            needs = f"(weights=path) {about}" if model.needs_weights else about
            rows.append([name, " ".join(model.presets), needs])
        except ImportError as error:
            rows.append([name, "", f"not installed: {error}"])
    _print_rows(["model", "presets", ""], rows)


def print_metrics() -> None:
    """Every metric."""
    from dysts_bench.metrics import METRICS

    _print_rows(
        ["metric", "unit", "better", "of", ""],
        [[m.name, m.unit, m.better, m.data, m.description] for m in METRICS.values()],
    )


def print_suites() -> None:
    """Every suite that comes with the package."""
    from dysts_bench import task

    suites = [task.read_suite(name) for name in task.suite_names()]
    _print_rows(
        ["suite", "version", "profiles", ""],
        [[s.name, str(s.version), " ".join(s.profiles), s.description] for s in suites],
    )


def _print_rows(columns: list[str], rows: list[list[str]]) -> None:
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))  # Text: brackets in a docstring are no markup
    make_console().print(table)


# ---- a system --------------------------------------------------------------------------------


def print_system(entry: "System", other: "System") -> None:
    """All that the catalog holds of a system, and in what its other edition differs."""
    print(f"{entry.name}, edition {entry.edition}\n{entry.description}\n{entry.reference}\n")
    _print_formulas("let", "", entry.lets)
    _print_formulas("equations", "'", entry.equations)
    _print_formulas("parameters", "", entry.parameters)
    _print_formulas("observed", "", entry.observe)
    spectrum = [f"{value:.4g}" for value in entry.lyapunov_spectrum]
    if entry.lyapunov_spectrum_error:
        errors = entry.lyapunov_spectrum_error
        spectrum = [f"{v} ± {e:.1g}" for v, e in zip(spectrum, errors, strict=True)]
    certified = [f"{value:.3g} ({label})" for label, value in entry.certified_horizon.items()]
    for name, value in {
        "tags": ", ".join(entry.tags),
        "period": f"{entry.period:.6g}",
        "exponents": ", ".join(spectrum) or "not measured",
        "Lyapunov time": f"{entry.lyapunov_time:.6g}",
        "certified for": ", ".join(certified) + " of these" if certified else "not measured",
        "hash": entry.hash,
    }.items():
        print(f"{name:<14} {value}")
    if entry.erratum:
        print(f"\nThe editions differ. {entry.erratum}")
        for kind in ("lets", "equations", "parameters", "initial", "period"):
            here, there = getattr(entry, kind), getattr(other, kind)
            if here != there:
                print(f"{kind} in edition {other.edition}: {_difference(here, there)}")


def _print_formulas(title: str, prime: str, formulas: Any) -> None:
    for i, (name, text) in enumerate(formulas.items()):
        shown = f"{text:.17g}" if isinstance(text, float) else text
        print(f"{title if i == 0 else '':<14} {name}{prime} = {shown}")


def _difference(here: Any, there: Any) -> str:
    if not isinstance(there, dict):
        return str(there)
    changed = [f"{key} = {value}" for key, value in there.items() if here.get(key) != value]
    return "; ".join([*changed, *(f"no {key}" for key in here if key not in there)])
