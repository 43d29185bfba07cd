"""Which entries of a leaderboard can be told apart: Friedman's test, then Wilcoxon's by pairs.

On the systems on which all were asked for a forecast, none imputed: a failure ranks below every
value, and two failures are a tie. Method: Demšar, J. Mach. Learn. Res. 7, 1 (2006), with Wilcoxon's
signed ranks in place of Nemenyi's test, whose answer for a pair depends on the others (Benavoli,
Corani & Mangili, J. Mach. Learn. Res. 17 (5), 2016). p-values are Holm's (Scand. J. Stat. 6, 65,
1979): the chance of one false difference or more among all pairs is at most `level`.
"""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from dysts_bench.leaderboard import PRIMARY, scores

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.05
EXACT = 50  # pairs up to which Wilcoxon's p-value is exact: 2⁵⁰ patterns of signs are still whole


@dataclass(frozen=True)
class Comparison:
    """Entries, the best mean rank first, and what the tests say of them."""

    metric: str
    entries: tuple[str, ...]  # the model; with its source where two have it
    systems: tuple[str, ...]  # those on which all were asked
    mean_ranks: Float[np.ndarray, " entries"]  # 1 is best; ties share their mean
    friedman: float  # χ² with entries − 1 degrees of freedom; NaN for two entries
    friedman_p: float  # that all are alike
    p_values: Float[np.ndarray, "entries entries"]  # of pairs, Holm's; 1 on the diagonal
    level: float

    @property
    def alike(self) -> tuple[tuple[int, int], ...]:
        """The longest runs of entries, first and last number, no two of which differ."""
        differ = self.p_values < self.level
        runs: list[tuple[int, int]] = []
        for first in range(len(self.entries)):
            last = first
            while last + 1 < len(self.entries) and not differ[first : last + 1, last + 1].any():
                last += 1
            if last > first and not (runs and runs[-1][1] >= last):
                runs.append((first, last))
        return tuple(runs)


def compare(results: "pd.DataFrame", metric: str = PRIMARY, *, level: float = LEVEL) -> Comparison:
    """Compare the entries that were asked on all chaotic systems of `results`.

    ValueError for fewer than two entries or two systems, and as `leaderboard` raises it.
    """
    table = scores(results, metric).dropna()
    if min(table.shape) < 2:
        raise ValueError(
            "a comparison is of two entries or more on two systems or more that all were asked "
            f"on; there are {table.shape[1]} on {table.shape[0]}."
        )
    return compared(table, metric, level)


def compared(table: "pd.DataFrame", metric: str, level: float = LEVEL) -> Comparison:
    """The same of scores, systems × (model, source), higher is better, -inf a failure."""
    from scipy.stats import friedmanchisquare, rankdata

    ranks = rankdata(-table.to_numpy(), axis=1)
    order = np.lexsort((np.arange(ranks.shape[1]), ranks.mean(axis=0)))
    ranks, values = ranks[:, order], table.to_numpy()[:, order]
    friedman, friedman_p = np.nan, np.nan
    if ranks.shape[1] > 2 and (np.ptp(ranks, axis=1) > 0).any():
        friedman, friedman_p = friedmanchisquare(*ranks.T)
    p_values = np.ones((len(order), len(order)))
    pairs = list(combinations(range(len(order)), 2))
    found = holm(np.array([signed_rank_p(values[:, i], values[:, j]) for i, j in pairs]))
    for (i, j), p in zip(pairs, found, strict=True):
        p_values[i, j] = p_values[j, i] = p
    models = [model for model, _ in table.columns]
    labels = [m if models.count(m) == 1 else f"{m} ({source})" for m, source in table.columns]
    return Comparison(
        metric,
        tuple(labels[i] for i in order),
        tuple(str(system) for system in table.index),
        ranks.mean(axis=0),
        float(friedman),
        float(friedman_p),
        p_values,
        level,
    )


def holm(p_values: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """p-values such that those below a level hold together at that level."""
    order = np.argsort(p_values, kind="stable")
    left = len(p_values) - np.arange(len(p_values))  # hypotheses that are not yet rejected
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * left), 1.0)
    return adjusted


def signed_rank_p(
    one: Float[np.ndarray, " systems"], other: Float[np.ndarray, " systems"]
) -> float:
    """p of Wilcoxon's signed-rank test, two-sided, ties left out; 1 where all are ties.

    Exact for up to EXACT pairs, equal differences or not; beyond, normal as in scipy, which from 14
    pairs on is so as soon as two differences are equal, and below draws every sign one by one.
    """
    from scipy.stats import rankdata

    with np.errstate(invalid="ignore"):
        difference = np.where(one == other, 0.0, one - other)  # ∞ where one of them failed
    difference = difference[difference != 0]
    if len(difference) == 0:
        return 1.0
    # Ranks in place of differences: infinite ones have the largest.
    ranks = rankdata(np.abs(difference))
    off = abs(float(ranks[difference > 0].sum() - ranks.sum() / 2))
    if len(ranks) > EXACT:
        return math.erfc(off / math.sqrt(2 * float((ranks**2).sum()) / 4))
    # Every pattern of signs is as likely: how many there are to each sum of ranks, in halves.
    halves = np.rint(2 * ranks).astype(int)
    patterns = np.zeros(halves.sum() + 1)
    patterns[0] = 1.0
    for rank in halves:
        patterns[rank:] = patterns[rank:] + patterns[:-rank]
    sums = np.arange(len(patterns)) / 2
    as_far = np.abs(sums - ranks.sum() / 2) >= off - 1e-9
    return float(patterns[as_far].sum() / 2.0 ** len(ranks))
