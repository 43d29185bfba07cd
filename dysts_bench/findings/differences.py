"""How far one entry is ahead of another on the systems of both, and the words for it.

Scores: higher is better, -inf is a failure, NaN was not asked for. A failure is below every value,
two of them are a tie. A difference counts as seen where Wilcoxon's signed ranks say so at LEVEL,
after Holm where there are several (comparison.py), and the 95 % bootstrap interval of its median
over systems leaves out 0: one test asks how often and how much, the other how far in the middle.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from dysts_bench.comparison import LEVEL, holm, signed_rank_p

if TYPE_CHECKING:
    import pandas as pd

RESAMPLES = 2000
SEED = 0  # of the bootstrap, so that a page can be made again

Scores = Float[np.ndarray, " systems"]


@dataclass(frozen=True)
class Difference:
    """Of two entries' scores, in their unit: positive where the first is better."""

    systems: int
    median: float  # over systems; infinite where failures decide
    low: float  # 95 % interval over systems drawn with replacement
    high: float
    wins: int  # systems; the rest are losses and ties
    losses: int
    p_value: float  # of Wilcoxon's signed ranks

    @property
    def seen(self) -> bool:
        return self.p_value < LEVEL and (self.low > 0 or self.high < 0)

    def told(self, one: str, other: str, unit: str = "") -> str:
        """A sentence without its full stop, as these numbers allow."""
        if not self.systems:
            return f"{one} and {other} have no system in common"
        if not self.seen:
            return (
                f"no difference can be seen between {one} and {other} "
                f"({one} less {other}: {self.numbers(unit)})"
            )
        if self.median > 0:
            return f"{one} is ahead of {other} by {self.numbers(unit)}"
        return f"{other} is ahead of {one} by {self.turned().numbers(unit)}"

    def numbers(self, unit: str = "") -> str:
        """The median and its interval."""
        return f"{self.median:.3g} [{self.low:.3g}, {self.high:.3g}]{unit and ' ' + unit}"

    def turned(self) -> "Difference":
        """The same, from the other entry's side."""
        return replace(
            self,
            median=0.0 - self.median,  # not -0
            low=0.0 - self.high,
            high=0.0 - self.low,
            wins=self.losses,
            losses=self.wins,
        )


def difference(one: Scores, other: Scores) -> Difference:
    """Of the systems that both were asked on; NaN in all numbers where there is none."""
    both = ~np.isnan(one) & ~np.isnan(other)
    one, other = one[both], other[both]
    if not both.any():
        return Difference(0, np.nan, np.nan, np.nan, 0, 0, np.nan)
    with np.errstate(invalid="ignore"):
        ahead = np.where(one == other, 0.0, one - other)  # ±inf where one of them failed
    low, high = interval(ahead)
    wins, losses = int((ahead > 0).sum()), int((ahead < 0).sum())
    return Difference(
        len(ahead), float(middle(ahead)), low, high, wins, losses, signed_rank_p(one, other)
    )


def adjusted(found: Sequence[Difference]) -> list[Difference]:
    """The same with Holm's p-values: those below a level hold together at that level."""
    known = [each for each in found if each.systems]
    p_values = iter(holm(np.array([each.p_value for each in known])))
    return [
        replace(each, p_value=float(next(p_values))) if each.systems else each for each in found
    ]


def interval(values: Scores) -> tuple[float, float]:
    """95 % interval of the median over systems drawn with replacement; NaN for a single one."""
    if len(values) < 2:
        return np.nan, np.nan
    rng = np.random.default_rng(SEED)
    drawn = values[rng.integers(0, len(values), (RESAMPLES, len(values)))]
    # No interpolation: between infinities there is nothing.
    low, high = np.quantile(middle(drawn), [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)


def middle(values: Float[np.ndarray, "*batch systems"]) -> Float[np.ndarray, "*batch"]:
    """The median along the last axis; of infinite values, too: 0 is half way between the two."""
    count = values.shape[-1]
    ends = (count - 1) // 2, count // 2
    ordered = np.partition(values, ends, axis=-1)
    low, high = ordered[..., ends[0]], ordered[..., ends[1]]
    with np.errstate(invalid="ignore"):
        between = np.where(low == high, low, 0.5 * (low + high))
    return np.nan_to_num(between, nan=0.0, posinf=np.inf, neginf=-np.inf)


def told_by_windows(windows: "pd.DataFrame", one: str, other: str) -> tuple[int, int]:
    """On how many systems the windows say that `one` is ahead, and on how many `other`.

    `windows` are scores, (system, window) × models: each system's own are a sample, for every
    window has a trajectory of its own. Wilcoxon's signed ranks, after Holm over the systems.
    """
    p_values, ahead = [], []
    for _, own in windows[[one, other]].dropna().groupby(level="system", sort=True):
        first, second = own[one].to_numpy(), own[other].to_numpy()
        p_values.append(signed_rank_p(first, second))
        ahead.append(int((first > second).sum()) - int((first < second).sum()))
    told = holm(np.array(p_values)) < LEVEL
    signs = np.sign(ahead)
    return int((told & (signs > 0)).sum()), int((told & (signs < 0)).sum())
