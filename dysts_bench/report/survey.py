"""The numbers of a report: who was scored on what, and each entry's value of every metric.

An entry is a model (with preset) from one source, as on the leaderboard; its value on a system is
the median over windows, then over seeds. What failed has the worst value there is, ±infinity.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

import systems
from dysts_bench.records import file_name, short_hash

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, order=True)
class Entry:
    """A model (with preset) from one source."""

    model: str
    source: str

    @property
    def slug(self) -> str:
        """A file name for it, which no other entry has on any file system."""
        return slug(self.model if self.source == "reference" else f"{self.model}.{self.source}")


@dataclass(frozen=True)
class Score:
    """One entry's value of one metric on one system."""

    value: float  # ±inf: it failed
    bound: bool  # a lower bound: the truth ended first
    floor: float  # of an invariant: its value between true runs; NaN for other metrics

    @property
    def failed(self) -> bool:
        return not np.isfinite(self.value)


Scores = Mapping[str, Mapping[Entry, Mapping[str, Score]]]  # by system, entry and metric


def slug(name: str) -> str:
    """A name as a file's: itself where it is the catalog's or plain, otherwise with a hash, so that
    names stay apart where capitals do not count."""
    plain = name in systems.names() or re.fullmatch(r"[a-z0-9_][a-z0-9_.-]{0,79}", name)
    return name if plain else f"{file_name(name)[:60]}-{short_hash(name)[:8]}"


def scores_of(rows: "pd.DataFrame") -> Scores:
    """Every score in these rows, `latest` and `labelled` ones; systems and entries in order."""
    worst = np.where(rows["higher_is_better"].to_numpy(dtype=bool), -np.inf, np.inf)
    keys = ["system", "model", "source", "metric", "seed"]
    filled = rows[keys].assign(
        value=np.where(rows["value"].isna(), worst, rows["value"]),
        bound=rows["censored"].eq(True).fillna(False).to_numpy(dtype=float),
        floor=rows["noise_floor"],
    )
    by_seed = filled.groupby(keys, observed=True).agg(
        {"value": "median", "bound": "mean", "floor": "median"}
    )
    by_seed["bound"] = by_seed["bound"].ge(0.5).astype(float)
    whole = by_seed.groupby(keys[:-1], observed=True).agg(
        {"value": "median", "bound": "mean", "floor": "median"}
    )
    found: dict[str, dict[Entry, dict[str, Score]]] = {}
    for (system, model, source, metric), value, bound, floor in whole.itertuples(name=None):
        entry = Entry(str(model), str(source))
        scores = found.setdefault(str(system), {}).setdefault(entry, {})
        scores[str(metric)] = Score(float(value), bool(bound >= 0.5), float(floor))
    return found
