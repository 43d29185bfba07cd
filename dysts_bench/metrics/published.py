"""Invariants as a published study has them, for its suite alone: ours are in `geometry`.

They are kept apart because they say less than their names. The study takes them of runs of 300
points.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dysts_bench.metrics._runs import FEWEST, on_attractor
from dysts_bench.metrics.base import Facts, PerWindow, TooShort, Windows, metric
from dysts_bench.metrics.geometry import Points, mixture_divergence

MOST = 1000


@metric(
    unit="",
    better="lower",
    ideal=0.0,
    worst=np.inf,
    data="free_runs",
    per_window=True,
    invariant=("origin",),
)
def distance_exponent_error(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Error of the distances' exponent, which the PhyxMamba study calls D_frac.

    See `distance_exponent`. The study prints the root mean square over runs.
    """

    def error(x: Points, y: Points) -> float:
        try:
            there = distance_exponent(y)
        except TooShort:  # it stands still
            return np.inf
        return abs(distance_exponent(x) - there)

    return _of_runs_in_raw_units(error, truth, forecast, facts)


@metric(
    unit="nats",
    better="lower",
    ideal=0.0,
    worst=np.inf,
    data="free_runs",
    per_window=True,
    invariant=("origin",),
)
def raw_kl_divergence(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Kullback–Leibler divergence with Gaussians of variance 1 in raw units, PhyxMamba's D_stsp.

    One and the same width is 0.11 to 0.13 deviations of Lorenz' coordinates and 0.19 to 0.36 of
    Rössler's, so it compares models of one system only. The study draws 1000 points from the truth,
    without a seed, and leaves out what is infinite; here it is `mixture_divergence`, the same
    integral with less scatter.
    """
    return _of_runs_in_raw_units(lambda x, y: mixture_divergence(x, y, 1.0), truth, forecast, facts)


def distance_exponent(points: Points) -> float:
    """Exponent of a power law fitted to the distances between points; no dimension of anything.

    `gp_dim` of dysts 0.96: of all distances those above the 5th percentile, of these those below
    the 50th, and a density r^-α fitted to them by maximum likelihood (Clauset, Shalizi & Newman,
    SIAM Rev. 51, 661, 2009), as if they were the tail of a distribution. Cubes of 1, 3 and 8
    dimensions read 1.6, 2.5 and 4.3. Of more than 1000 points as many
    evenly over the times are used. Raises TooShort where no distances are left.
    """
    from scipy.spatial.distance import pdist

    spread = np.unique(np.linspace(0, len(points) - 1, MOST).round().astype(int))
    distances = np.repeat(pdist(points[spread]), 2)  # each pair from both ends, as there
    distances = distances[(distances > 0) & (distances < np.inf)]
    for side, percent in ((np.greater, 5), (np.less, 50)):
        if len(distances):
            distances = distances[side(distances, np.percentile(distances, percent))]
    if len(distances) == 0:
        raise TooShort(f"{len(points)} points have no distances that differ")
    return float(1 + len(distances) / np.log(distances / distances.min()).sum())


def _of_runs_in_raw_units(
    distance: Callable[[Points, Points], float], truth: Windows, forecast: Windows, facts: Facts
) -> PerWindow:
    values = np.full(len(truth), np.inf)
    for i in on_attractor(truth, forecast, facts):
        if truth.shape[1] < FEWEST:
            raise TooShort(f"a run of {truth.shape[1]} states shows no attractor")
        values[i] = distance(truth[i], forecast[i])
    return values
