"""What each page of a report shows: plain data for its template."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

import systems
from dysts_bench.catalog_pages import differences
from dysts_bench.metrics import Metric, find
from dysts_bench.report import descriptions, pictures
from dysts_bench.report.descriptions import Fact
from dysts_bench.report.pictures import Course, Projection
from dysts_bench.report.survey import Entry, Score, Scores, slug
from systems.catalog import Edition

if TYPE_CHECKING:
    import pandas as pd

LEVELS = 10  # of colour in the heat map
# Beside the primary metric, on the pages of systems and models.
SHOWN = ("smape_prediction_time", "nrmse_at_0.5", "nrmse_at_1", "nrmse_at_4", "smape", "mase")


@dataclass(frozen=True)
class Row:
    """A line of a table of scores: one entry on one system."""

    system: str
    slug: str
    entry: Entry
    rank: int
    rivals: int
    windows: list[Score | None]
    seconds: float


@dataclass
class Named:
    """A system's name, and its page's."""

    name: str
    slug: str


@dataclass
class SystemPage(Named):
    """A system: facts of the catalog, and every entry's scores on it."""

    known: bool = False
    edition: Edition = "corrected"
    description: str = ""
    reference: str = ""
    tags: tuple[str, ...] = ()
    dimension: float = math.nan
    lyapunov_time: float = math.nan
    kaplan_yorke: float = math.nan
    equations: str = ""
    parameters: list[tuple[str, str]] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    exponents: list[tuple[str, float, float]] = field(default_factory=list)
    erratum: str = ""
    differences: list[tuple[str, str, str]] = field(default_factory=list)
    pictures: list[Projection] = field(default_factory=list)
    thumbnail: str = ""
    observable: str = ""
    scores: list[Row] = field(default_factory=list)
    floors: list[float] = field(default_factory=list)
    invariants: list[tuple[Entry, list[Score | None]]] = field(default_factory=list)
    courses: list[tuple[Entry, Course]] = field(default_factory=list)
    before: Named | None = None
    after: Named | None = None

    @property
    def best(self) -> Entry | None:
        """Whose score is the best; None where all failed."""
        first = next(iter(self.scores), None)
        return None if first is None or self.best_score is None else first.entry

    @property
    def best_score(self) -> Score | None:
        """The best score; None where all failed."""
        first = self.scores[0].windows[0] if self.scores else None
        return None if first is None or first.failed else first


@dataclass(frozen=True)
class ModelPage:
    """An entry: what it is, and its scores on every system that it was run on."""

    entry: Entry
    docstring: list[str]
    hyperparameters: dict[str, str]
    chosen: dict[str, str]
    scores: list[Row]
    failures: list[dict[str, Any]]
    median: float
    seconds: float
    download: str

    @property
    def summary(self) -> str:
        """The first sentence of the docstring."""
        return re.split(r"(?<!et al)\. ", self.docstring[0])[0] if self.docstring else ""

    @property
    def lost(self) -> int:
        """On how many systems it failed."""
        return sum(row.windows[0] is not None and row.windows[0].failed for row in self.scores)


@dataclass(frozen=True)
class Columns:
    """The metrics that tables show: the primary one first, then some of windows; of free runs."""

    windows: list[Metric]
    long: list[Metric]

    @classmethod
    def of(cls, scores: Scores, primary: str) -> "Columns":
        names = {name for entries in scores.values() for of in entries.values() for name in of}
        long = [name for name in sorted(names) if _is_of_free_runs(name)]
        shown = [primary, *(name for name in SHOWN if name in names and name != primary)]
        return cls([find(name) for name in shown], [find(name) for name in long])


def _is_of_free_runs(name: str) -> bool:
    try:
        return find(name).data == "free_runs"
    except (KeyError, ValueError):  # of another version
        return False


# ---- systems -----------------------------------------------------------------------------------


def system_pages(
    scores: Scores,
    seconds: Mapping[tuple[str, Entry], float],
    columns: Columns,
    edition: Edition,
    courses: Mapping[str, Mapping[Entry, Course]],
) -> list[SystemPage]:
    """A page for each system that has scores, by name."""
    pages = [
        _system_page(name, scores[name], seconds, columns, edition, courses.get(name, {}))
        for name in sorted(scores)
    ]
    for before, after in pairwise(pages):
        before.after, after.before = Named(after.name, after.slug), Named(before.name, before.slug)
    return pages


def _system_page(
    name: str,
    scores: Mapping[Entry, Mapping[str, Score]],
    seconds: Mapping[tuple[str, Entry], float],
    columns: Columns,
    edition: Edition,
    courses: Mapping[Entry, Course],
) -> SystemPage:
    page = SystemPage(name, slug(name))
    if name in systems.names():
        _describe(page, systems.load(name, edition=edition))
    page.scores = rows_of_system(name, scores, seconds, columns)
    order = [row.entry for row in page.scores]
    page.courses = [(entry, courses[entry]) for entry in order if entry in courses]
    long = [metric.name for metric in columns.long]
    page.invariants = [
        (entry, [scores[entry].get(metric) for metric in long])
        for entry in order
        if any(metric in scores[entry] for metric in long)
    ]
    page.floors = [
        float(np.median(known)) if (known := list(_floors(scores, metric))) else math.nan
        for metric in long
    ]
    return page


def _floors(scores: Mapping[Entry, Mapping[str, Score]], metric: str) -> Iterator[float]:
    for of in scores.values():
        if metric in of and not math.isnan(of[metric].floor):
            yield of[metric].floor


def _describe(page: SystemPage, system: systems.System) -> None:
    page.known, page.edition = True, system.edition
    page.description, page.reference, page.tags = system.description, system.reference, system.tags
    page.dimension = system.dimension
    page.lyapunov_time = system.lyapunov_time if "chaotic" in system.tags else math.nan
    page.kaplan_yorke = system.measured.get("kaplan_yorke", {}).get("value", math.nan)
    page.equations = descriptions.mathml(system)
    page.parameters = [(name, f"{value:.6g}") for name, value in system.parameters.items()]
    page.facts = list(descriptions.facts(system))
    page.exponents = descriptions.exponents(system)
    corrected = systems.load(page.name, "corrected")
    page.erratum = corrected.erratum
    if corrected.erratum:
        page.differences = differences(corrected, systems.load(page.name, "dysts"))
    run = pictures.orbit(system)
    if run is not None:
        page.thumbnail, page.pictures = pictures.thumbnail(run), pictures.projections(system, run)
    page.observable = system.observables[0]


def rows_of_system(
    name: str,
    scores: Mapping[Entry, Mapping[str, Score]],
    seconds: Mapping[tuple[str, Entry], float],
    columns: Columns,
) -> list[Row]:
    """The entries with a score in the primary metric, best first; ties share the better rank."""
    primary = columns.windows[0]
    sign = 1.0 if primary.better == "higher" else -1.0
    known = {
        entry: sign * of[primary.name].value for entry, of in scores.items() if primary.name in of
    }
    ranks = {entry: 1 + sum(v > value for v in known.values()) for entry, value in known.items()}
    return [
        Row(
            name,
            slug(name),
            entry,
            ranks[entry],
            len(known),
            [scores[entry].get(metric.name) for metric in columns.windows],
            seconds.get((name, entry), math.nan),
        )
        for entry in sorted(known, key=lambda entry: (ranks[entry], entry))
    ]


# ---- models ------------------------------------------------------------------------------------


def model_pages(
    rows: "pd.DataFrame",
    pages: Sequence[SystemPage],
    failures: "pd.DataFrame",
    downloads: Mapping[Entry, str],
) -> list[ModelPage]:
    """A page for each entry, by name. `rows` are one a cell."""
    found: dict[Entry, list[Row]] = {}
    for page in pages:
        for row in page.scores:
            found.setdefault(row.entry, []).append(row)
    cells = dict(list(rows.groupby(["model", "source"], observed=True)))
    lost = dict(list(failures.groupby(["model", "source"], observed=True)))
    models = []
    for entry in sorted(found):
        own = found[entry]
        given, chosen = descriptions.hyperparameters(cells[entry.model, entry.source])
        text = descriptions.docstring(entry.model.partition(":")[0])
        values = [row.windows[0].value for row in own if row.windows[0] is not None]
        median = float(np.median(values))
        failed = lost.get((entry.model, entry.source))
        models.append(
            ModelPage(
                entry,
                [" ".join(paragraph.split()) for paragraph in text.split("\n\n") if paragraph],
                given,
                chosen,
                own,
                [] if failed is None else failed.to_dict("records"),
                median if math.isfinite(median) else math.nan,
                float(np.nanmedian([row.seconds for row in own] + [math.nan]))
                if any(not math.isnan(row.seconds) for row in own)
                else math.nan,
                downloads.get(entry, ""),
            )
        )
    return models


# ---- the heat map ------------------------------------------------------------------------------


def heat(
    pages: Sequence[SystemPage], entries: Sequence[Entry], better: str
) -> list[dict[str, Any]]:
    """A line for each system: every entry's score as text, as a number to sort by, and as a level
    of colour, which is its rank among all cells."""
    scores = {(page.name, row.entry): row.windows[0] for page in pages for row in page.scores}
    sign = 1.0 if better == "higher" else -1.0
    known = np.sort([sign * s.value for s in scores.values() if s is not None and not s.failed])

    def cell(found: Score | None) -> dict[str, Any]:
        if found is None:
            return {"text": "", "value": "", "level": None}
        if found.failed:
            return {"text": "failed", "value": "", "level": None}
        ends = (np.searchsorted(known, sign * found.value, side) for side in ("left", "right"))
        share = sum(ends) / 2 / len(known)  # the middle of equal ones
        text = ("≥" if found.bound else "") + descriptions.number(found.value)
        return {"text": text, "value": found.value, "level": min(int(LEVELS * share), LEVELS - 1)}

    return [
        {
            "name": page.name,
            "slug": page.slug,
            "tags": " ".join(page.tags),
            "cells": [cell(scores.get((page.name, entry))) for entry in entries],
        }
        for page in pages
    ]
