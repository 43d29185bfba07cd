"""The report: a folder of static pages about the results of a suite, which needs no network.

It opens from the disk. The same rows make the same bytes on one machine. What rows hold (names of
models, messages) is strangers' text, and is escaped on every page.
"""

import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dysts_bench import records
from dysts_bench.leaderboard import (
    PRIMARY,
    as_text,
    failures,
    labelled,
    latest,
    leaderboard,
)
from dysts_bench.metrics import find
from dysts_bench.report import board as opening
from dysts_bench.report import kept, pages, pictures
from dysts_bench.report.charts import charts
from dysts_bench.report.descriptions import number, prose
from dysts_bench.report.pages import Columns
from dysts_bench.report.survey import Entry, scores_of
from dysts_bench.store import Store
from dysts_bench.task import Suite, read_suite, suite_names
from systems.trajectory import optional

if TYPE_CHECKING:
    import pandas as pd

MARK = '<meta name="generator" content="dysts-bench">'  # by which a report is told from a folder


@dataclass(frozen=True)
class Written:
    """What a report holds."""

    start: Path
    systems: int
    models: int


def write_report(results: Path, output: Path, suite: str = "standard") -> Written:
    """Write the pages of `suite` into `output`, in place of a report that is there.

    `suite` is a name or a TOML file. Raises ValueError for a suite without rows, and for a folder
    that holds anything but a report; ImportError where the extra `report` is not installed.
    """
    optional("jinja2", extra="report")
    known: Suite | None = None
    if suite.endswith(".toml") or suite in suite_names():
        known = read_suite(suite)
    name = known.name if known else suite
    _require_ours(output)
    rows = records.load_results(results, name)
    if rows.empty:
        raise ValueError(
            f"{results} holds no results of the suite {name!r}: `dysts-bench run` makes them."
        )
    new = output.with_name(f".{output.name}.{secrets.token_hex(6)}.part")
    try:
        written = _write(new, rows, results, name, known)
        if output.exists():
            shutil.rmtree(output)
        new.rename(output)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return Written(output / "index.html", *written)


def _require_ours(output: Path) -> None:
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    start = output / "index.html"
    if not (start.is_file() and MARK in start.read_text(encoding="utf-8", errors="replace")):
        raise ValueError(
            f"{output} exists and is no report: it would be replaced as a whole. Name another "
            "folder with --output."
        )


def _write(
    folder: Path, results: "pd.DataFrame", source: Path, suite: str, known: Suite | None
) -> tuple[int, int]:
    primary = known.metrics[0] if known else PRIMARY
    edition = known.edition if known else "corrected"
    results = latest(results)
    rows = labelled(results)
    scores = scores_of(rows)
    table = leaderboard(results, primary, known.subsets if known else {})
    metric, columns = find(primary), Columns.of(scores, primary)
    cells = rows.drop_duplicates(["model", "source", "system", "seed"])
    courses = {}
    if known:
        store = Store(source / "local" / suite)
        by_system = rows.groupby("system", observed=True)
        courses = {
            str(name): kept.courses(part, known, store, str(name)) for name, part in by_system
        }
    systems = pages.system_pages(scores, _seconds(cells), columns, edition, courses)
    downloads = _copy_rows(folder / "data", source, suite, table)
    models = pages.model_pages(cells, systems, failures(results, primary), downloads)
    shared: dict[str, Any] = {
        "suite": suite,
        "version": int(rows["suite_version"].max()),
        "metric": metric.name,
        "unit": metric.unit,
        "windows": columns.windows,
        "long": columns.long,
        "box": pictures.BOX,
        "tags": sorted({tag for page in systems for tag in page.tags}),
        "sources": sorted({model.entry.source for model in models}),
    }
    entries = list(dict.fromkeys(_entries(table)))
    site = _Site(folder, shared)
    site.page(
        "index.html",
        description=known.description if known else f"Results of the suite {suite}.",
        groups=opening.groups(table, metric),
        columns={name: opening.SAYS[name] for name in opening.SAYS if name in table},
        labels=opening.LABELS,
        metric_says=f"{metric.name}, in {metric.unit or 'no unit'}, {metric.better} is better: "
        + metric.description,
        charts=charts(results, table, metric),
        systems=systems,
        entries=entries,
        rows=len(rows),
        failures=sum(len(model.failures) for model in models),
        downloads=_listed(folder / "data"),
    )
    heat = pages.heat(systems, entries, metric.better)
    site.page("heatmap.html", systems=systems, entries=entries, heat=heat)
    site.page("systems.html", systems=systems)
    site.page("models.html", models=models)
    for page in systems:
        site.page(f"systems/{page.slug}.html", template="system.html", system=page)
    for model in models:
        site.page(f"models/{model.entry.slug}.html", template="model.html", model=model)
    return len(systems), len(models)


class _Site:
    """Renders templates into a folder."""

    def __init__(self, folder: Path, shared: Mapping[str, Any]) -> None:
        from jinja2 import Environment, PackageLoader, StrictUndefined

        self.folder = folder
        self.environment = Environment(
            loader=PackageLoader("dysts_bench.report"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
        )
        self.environment.filters |= {"number": number, "prose": prose, "words": _words}
        self.environment.globals.update(shared)
        for file in files("dysts_bench.report").joinpath("static").iterdir():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / file.name).write_bytes(file.read_bytes())

    def page(self, name: str, *, template: str = "", **context: Any) -> None:
        """Write the page `name`, from the template of that name unless another is given."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        root = "../" * name.count("/")
        text = self.environment.get_template(template or name).render(
            here=name, root=root, **context
        )
        path.write_text(text, encoding="utf-8")


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _entries(table: "pd.DataFrame") -> list[Entry]:
    return [Entry(str(m), str(s)) for m, s in zip(table["model"], table["source"], strict=True)]


def _seconds(cells: "pd.DataFrame") -> dict[tuple[str, Entry], float]:
    """Seconds of a fit, median over seeds, by system and entry."""
    found = cells.groupby(["system", "model", "source"], observed=True)["fit_seconds"].median()
    return {(str(s), Entry(str(m), str(o))): float(v) for (s, m, o), v in found.items()}


def _copy_rows(folder: Path, results: Path, suite: str, table: "pd.DataFrame") -> dict[Entry, str]:
    """The files to download: rows, and the leaderboard. Returns the file of each entry's rows."""
    by_file: dict[tuple[str, str], list[Entry]] = {}
    for entry in dict.fromkeys(_entries(table)):
        model = entry.model.partition(":")[0]
        by_file.setdefault((records.file_name(model), entry.source), []).append(entry)
    found: dict[Entry, str] = {}
    for source in ("reference", "local"):
        for path in records.tables(records.place_of(results, source) / suite):
            (folder / source).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / source / path.name)
            for entry in by_file.get((path.name.partition(".csv")[0], source), ()):
                found[entry] = f"{source}/{path.name}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "leaderboard.csv").write_text(as_text(table, "csv"), encoding="utf-8")
    return found


def _listed(folder: Path) -> list[dict[str, str]]:
    paths = sorted(folder.glob("*/*"))
    return [
        {
            "path": path.relative_to(folder).as_posix(),
            "size": f"{path.stat().st_size / 1e3:,.0f} kB",
        }
        for path in paths
    ]
