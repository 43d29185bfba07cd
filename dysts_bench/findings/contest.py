"""Models side by side on systems: their scores, who is first, and numbers as text."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from dysts_bench.comparison import LEVEL, Comparison, compared
from dysts_bench.findings.differences import Difference, difference, interval, middle
from dysts_bench.leaderboard import PRIMARY, latest, rows_of
from dysts_bench.quantiles import ascending_pair, bootstrap, quantile

if TYPE_CHECKING:
    import pandas as pd

DECIMALS = 12  # medians of equal steps differ in the last bit: a tie should be one


@dataclass(frozen=True, eq=False)
class Contest:
    """Scores, systems × models: higher is better, -inf is a failure, NaN was not asked for."""

    scores: "pd.DataFrame"
    ended: "pd.DataFrame"  # likewise: whether the score is a lower bound
    unit: str = "Lyapunov times"
    sign: float = 1.0  # -1: a score is minus a value that is better where it is lower

    def on(self, systems: Iterable[str]) -> "Contest":
        """The models that were asked on all of these systems, among those that are here."""
        names = self.scores.index[self.scores.index.isin(list(systems))]
        scores = self.scores.loc[names].dropna(axis=1)
        return Contest(scores, self.ended.loc[names, scores.columns], self.unit, self.sign)

    def whole(self) -> "Contest":
        """The models that were asked on all systems."""
        return self.on(self.scores.index)

    def widening(self, subsets: Mapping[str, Sequence[str]]) -> "Iterator[tuple[str, Contest]]":
        """The subsets of systems, widest first, on which there are models that neither all systems
        nor a wider one have."""
        seen = set(self.whole().scores.columns)
        for name, systems in sorted(subsets.items(), key=lambda subset: -len(subset[1])):
            part = self.on(systems)
            if len(part.scores) == len(systems) and not set(part.scores.columns) <= seen:
                seen |= set(part.scores.columns)
                yield name, part

    @property
    def empty(self) -> bool:
        """Whether there is nobody to be compared with, or nothing to compare on."""
        return min(self.scores.shape) < 2

    # ---- of whole ones: every model on every system ----

    @cached_property
    def ranking(self) -> Comparison:
        """The models by mean rank, and which of them can be told apart."""
        import pandas as pd

        entries = pd.MultiIndex.from_product([self.scores.columns, ["reference"]])
        return compared(self.scores.set_axis(entries, axis=1), PRIMARY)

    @property
    def models(self) -> tuple[str, ...]:
        """By mean rank, the first one first."""
        return self.ranking.entries

    @cached_property
    def gaps(self) -> list[Difference]:
        """How far each model but the last is ahead of the next; p-values are the ranking's."""
        columns = [self.scores[model].to_numpy() for model in self.models]
        return [
            replace(difference(one, other), p_value=float(self.ranking.p_values[i, i + 1]))
            for i, (one, other) in enumerate(pairwise(columns))
        ]

    @property
    def all_alike(self) -> bool:
        """Whether the test tells no two apart."""
        return not (self.ranking.p_values < LEVEL).any()

    @property
    def beside_the_first(self) -> str:
        """The models that the test does not tell from the first."""
        if self.all_alike:
            return "all (no two are told apart)"
        rest = zip(self.models[1:], self.ranking.p_values[0, 1:], strict=True)
        return ", ".join(name for name, p in rest if p >= LEVEL)

    def median(self, model: str) -> str:
        """With its interval, as the leaderboard has them; ≥ where it is a lower bound."""
        median, low, high, is_bound = self.middle(model)
        return ("≥ " if is_bound else "") + with_interval(median, low, high)

    def middle(self, model: str) -> tuple[float, float, float, bool]:
        """The same in numbers: the median, both ends, and whether it is a lower bound."""
        asked = self.scores[model].dropna()
        values, censored = ascending_pair(
            asked.to_numpy(dtype=float), self.ended.loc[asked.index, model].to_numpy(dtype=bool)
        )
        found = float(quantile(values, censored, 0.5))
        low, high = sorted(self.sign * end for end in bootstrap(values, censored))
        return self.sign * found, low, high, bool(censored[-1] and found == values[-1])

    def lead(self) -> str:
        """Sentences on the first model, and those that the test does not tell from it."""
        first, second = self.models[:2]
        told = f"First by mean rank is {first}: {self.gaps[0].told(first, second, self.unit)}."
        if self.all_alike:
            return f"{told} No two are told apart."
        rest = self.beside_the_first
        return f"{told} Not told from the first: {rest}." if rest else told

    def first(self) -> dict[str, object]:
        """The same as fields of a table."""
        return {
            "systems": len(self.scores),
            "first by mean rank": self.models[0],
            "its median": self.median(self.models[0]),
            "next": self.models[1],
            "ahead by": self.gaps[0].numbers(),
            "p": p_value(self.gaps[0].p_value),
            "not told from the first": self.beside_the_first,
        }


# ---- from rows -------------------------------------------------------------------------------


def chaotic_rows(rows: "pd.DataFrame", metric: str = PRIMARY) -> "pd.DataFrame":
    """Rows of a metric and of systems that are chaotic, with the columns `score` and `bound`.

    A score is higher where it is better, and -inf in place of no value; a bound is 1 where the
    value is a lower bound. Those of older versions and of fewer training points are left out.
    """
    own, calm = _scored(rows, metric)
    return own[~calm]


def calm_rows(rows: "pd.DataFrame") -> "pd.DataFrame":
    """The same of the primary metric and of systems that are not chaotic."""
    own, calm = _scored(rows, PRIMARY)
    return own[calm]


def _scored(rows: "pd.DataFrame", metric: str) -> "tuple[pd.DataFrame, pd.Series]":
    rows = latest(rows)
    own = rows_of(rows, metric).astype({"system": str, "model": str, "status": str})
    calm = rows.loc[rows["unit"] == "periods", "system"].unique()
    score = own["value"].where(own["higher_is_better"].astype(bool), -own["value"])
    bound = own["censored"].eq(True).fillna(False).astype(float)
    return own.assign(score=score.fillna(-np.inf), bound=bound), own["system"].isin(calm)


def contest(rows: "pd.DataFrame", unit: str = "Lyapunov times") -> Contest:
    """Of `chaotic_rows` or `calm_rows`: medians over windows, then over seeds.

    A score is a lower bound where half of its windows are, in half of its seeds.
    """
    by_seed = rows.groupby(["system", "model", "seed"])
    scores = by_seed["score"].median().groupby(["system", "model"]).median().unstack()
    bounds = by_seed["bound"].mean().ge(0.5).astype(float)
    ended = bounds.groupby(["system", "model"]).mean().ge(0.5)
    sign = 1.0 if rows["higher_is_better"].all() else -1.0
    return Contest(scores.round(DECIMALS), ended.unstack(fill_value=False), unit, sign)


def windows_of(rows: "pd.DataFrame") -> "pd.DataFrame":
    """(system, window) × models: the median over seeds of `chaotic_rows` or `calm_rows`."""
    middle_seed = rows.groupby(["system", "window", "model"])["score"].median()
    return middle_seed.unstack().round(DECIMALS)


# ---- numbers as text -------------------------------------------------------------------------


def median_of(values: "pd.Series") -> str:
    """The median over systems and its interval, empty without any value."""
    known = values.dropna().to_numpy(dtype=float)
    return with_interval(float(middle(known)), *interval(known)) if len(known) else ""


def with_interval(median: float, low: float, high: float) -> str:
    return "" if np.isnan(median) else f"{median:.3g} [{low:.3g}, {high:.3g}]"


def p_value(value: float) -> str:
    if np.isnan(value):
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.2g}"
