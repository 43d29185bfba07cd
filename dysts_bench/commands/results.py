"""Commands on results that are there: leaderboard, query, merge, publish."""

import contextlib
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dysts_bench.commands.options import Format, Results, SuiteName, readable_errors

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from dysts_bench.task import Suite


class By(StrEnum):
    tag = "tag"
    dimension = "dimension"
    exponent = "exponent"
    equations = "equations"
    track = "track"
    horizon = "horizon"


def leaderboard(
    suite: SuiteName = "standard",
    results: Results = Path("results"),
    metric: Annotated[
        str | None,
        typer.Option(
            help="One of `dysts-bench list metrics`; default: the suite's primary one. "
            "By horizon: the first part of several, nrmse of nrmse_at_1."
        ),
    ] = None,
    by: Annotated[
        By | None, typer.Option(help="A table for each group of the chaotic systems.")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Whom skill is against; default: analog, or persistence.")
    ] = None,
    format: Annotated[Format, typer.Option(help="Of what is printed or written.")] = Format.table,
    output: Annotated[Path | None, typer.Option(help="A file instead of the screen.")] = None,
    with_published: Annotated[
        bool,
        typer.Option("--with-published", help="Beside published figures, on the systems of both."),
    ] = False,
) -> None:
    """The table of reference and local results; a failure ranks below every value."""
    from dysts_bench import display, published, records
    from dysts_bench.comparison import compare
    from dysts_bench.leaderboard import PRIMARY, as_text
    from dysts_bench.task import read_suite, suite_names

    with readable_errors():
        name, subsets, systems = suite, {}, None
        if suite.endswith(".toml") or suite in suite_names():
            known = read_suite(suite)
            name, subsets, systems = known.name, known.subsets, known.systems
            metric = metric or (None if by is By.horizon else known.metrics[0])
        metric = metric or ("nrmse" if by is By.horizon else PRIMARY)  # a suite not at hand
        columns = records.COLUMNS if with_published else None
        rows = _rows(results, name, None if by is By.horizon else metric, columns)
        if with_published:
            rows = published.beside(rows, published.load(results, name), metric)
        table = _table(rows, metric, subsets, systems, by, baseline)
    if output is not None:
        chosen = Format.csv if format is Format.table else format
        records.write_atomically(output, as_text(table, chosen.value))
    elif format is Format.table:
        console = display.make_console()
        display.print_leaderboard(console, table, metric)
        if by is None:
            inside = rows if systems is None else rows[rows["system"].isin(systems)]
            with contextlib.suppress(ValueError):  # fewer than two entries or systems in common
                display.print_comparison(console, compare(inside, metric))
        if with_published:
            display.print_summaries(console, published.summaries(results, name), metric)
    else:
        print(as_text(table, format.value), end="")


def _table(
    rows: "pd.DataFrame",
    metric: str,
    subsets: "Mapping[str, Sequence[str]]",
    systems: "Sequence[str] | None",
    by: By | None,
    baseline: str | None,
) -> "pd.DataFrame":
    from dysts_bench import leaderboard as board
    from dysts_bench.groups import systems_by

    match by:
        case None:
            return board.leaderboard(rows, metric, subsets, systems, baseline=baseline)
        case By.track:
            return board.leaderboard_by_track(rows, metric, baseline=baseline)
        case By.horizon:
            return board.leaderboard_by_horizon(rows, metric, baseline=baseline)
    groups = systems_by(by.value, rows["system"].unique())
    return board.leaderboard_by(rows, groups, metric, baseline=baseline)


def query(
    sql: Annotated[
        str, typer.Argument(help='One SELECT. "show tables" and "describe results" say of what.')
    ],
    results: Results = Path("results"),
    format: Annotated[Format, typer.Option(help="Of what is printed or written.")] = Format.table,
    output: Annotated[Path | None, typer.Option(help="A file instead of the screen.")] = None,
) -> None:
    """SQL over results, tasks, systems, published figures and leaderboards. It changes nothing."""
    from dysts_bench import display, queries, records, tables

    with readable_errors():
        try:
            columns, rows = queries.answer(sql, results)
        except ImportError as error:
            raise ValueError(error) from None
        if output is None and format is Format.table:
            display.print_answer(display.make_console(), columns, rows)
            return
        chosen = Format.csv if format is Format.table else format
        text = tables.as_text(columns, rows, chosen.value)
    if output is None:
        print(text, end="")
    else:
        records.write_atomically(output, text)


def merge(
    sources: Annotated[
        list[Path], typer.Argument(help="Folders of results, from other machines or shards.")
    ],
    suite: SuiteName = "standard",
    results: Results = Path("results"),
) -> None:
    """Take over the cells of other folders of results; then the leaderboard of all."""
    from dysts_bench import display
    from dysts_bench.store import Store
    from dysts_bench.task import read_suite

    with readable_errors():
        known = read_suite(suite)
        own = Store(results / "local" / known.name)
        for source in sources:
            folder = source / "local" / known.name
            if not (folder / "cells").is_dir():
                raise ValueError(
                    f"{source} holds no results of suite {known.name}: no {folder}/cells"
                )
        for source in sources:
            merged = own.merge(Store(source / "local" / known.name))
            torn = f"; {merged.damaged} damaged files left out" if merged.damaged else ""
            print(f"{source}: {merged.taken} cells, {merged.replaced} in place of others{torn}")
    conclude(display.make_console(), results, known)


def publish(
    suite: SuiteName = "standard",
    results: Results = Path("results"),
    source: Annotated[Path, typer.Option(help="The folder of results to take from.")] = Path(
        "results"
    ),
) -> None:
    """Local results become reference ones, and the leaderboard is made anew. For maintainers."""
    from dysts_bench import display, reference
    from dysts_bench.task import read_suite

    with readable_errors():
        known = read_suite(suite)
        for model, cells in reference.publish(known.name, source, results).items():
            print(f"{model}: {cells} cells")
        conclude(display.make_console(), results, known, reference_only=True)


def conclude(
    console: "Console", results: Path, suite: "Suite", *, reference_only: bool = False
) -> None:
    """Write leaderboard.csv from everything there is, and print it."""
    from dysts_bench import display, records
    from dysts_bench.leaderboard import as_text, failures
    from dysts_bench.leaderboard import leaderboard as table_of

    primary = suite.metrics[0]
    rows = _rows(results, suite.name, primary)
    if reference_only:
        rows = rows[rows["source"] == "reference"]
    table = table_of(rows, primary, suite.subsets, suite.systems)
    name = "leaderboard.csv" if suite.name == "standard" else f"leaderboard-{suite.name}.csv"
    with readable_errors():  # before it is printed: whoever reads may stop reading
        records.write_atomically(results / name, as_text(table, "csv"))
    display.print_leaderboard(console, table, primary)
    display.print_failures(console, failures(rows, primary))


def _rows(
    results: Path, suite: str, metric: str | None, columns: Collection[str] | None = None
) -> "pd.DataFrame":
    """What a table of this metric is made of: its rows, and those whose unit tells chaotic systems
    from others; the columns of leaderboard.INPUT, unless others are named. All rows where no metric
    is named."""
    from dysts_bench import leaderboard, records
    from dysts_bench.metrics import METRICS

    columns = leaderboard.INPUT if columns is None else columns
    if metric is not None:
        in_time = {name for name, each in METRICS.items() if each.unit == "Lyapunov times"}
        needed = {metric} if metric in in_time else {metric} | in_time
        rows = records.load_results(results, suite, metrics=needed, columns=columns)
        if (rows["metric"] == metric).any():
            return rows
    # If a metric is missing: what there is is said.
    return records.load_results(results, suite, columns=columns)
