"""Whether long free runs lie where the attractor lies, and fill it as the truth does.

Truth, forecast and facts as in `base`, with free runs for windows. Run i of the forecast is
compared with run i of the truth, which started from the same state: where attractors coexist, or
energy is conserved, each run has its own invariants. What is known of the truth is remembered, so
that many models can be scored against one truth.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from dysts_bench.metrics._runs import Points, decorrelation_time, embed, on_attractor
from dysts_bench.metrics.base import Facts, PerWindow, TooShort, Windows, metric, remembered

# The closest 0.1 to 1 % of all pairs. Farther pairs feel the edges of the attractor (a cube of
# dimension 3 reads 2.87 at 1 %, 2.68 at 10 %), closer ones are too few (between runs of Lorenz of
# 5000 points the estimate varies by 0.03 at 1 %, 0.12 at 0.1 %, 0.22 at 0.03 %).
CLOSEST, FARTHEST = 1e-3, 1e-2
BLOCKS = 20

# Width of the Gaussians, in training deviations. Of 0.05 to 1, widths of 0.1 to 0.3 tell Lorenz
# from itself at 0.9 of its size, and from its phase-randomised surrogate, most clearly against the
# divergence between two true runs. (ln(p/q) + q/p − 1, which is never negative, has the same
# expectation; but where q is the wider its mass lies in rare draws, and it read 0.44 for 0.61.)
WIDTH, DRAWS = 0.2, 1000


@metric(
    unit="",
    better="lower",
    ideal=0.0,
    worst=np.inf,
    data="free_runs",
    invariant=("units", "origin"),
)
def correlation_dimension_error(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Distance between the correlation dimensions of forecast and truth, |D₂(y) − D₂(x)|.

    Coordinates in training standard deviations. A run that stops has dimension 0; one that
    diverged has no attractor, and the value infinity. Raises TooShort as `correlation_dimension`.
    """
    values = np.full(len(truth), np.inf)
    for i in on_attractor(truth, forecast, facts):
        true, lag = _true_dimension(truth[i] / facts.scale)
        values[i] = abs(correlation_dimension(embed(forecast[i] / facts.scale, lag))[0] - true)
    return values


@metric(
    unit="nats",
    better="lower",
    ideal=0.0,
    worst=np.inf,
    data="free_runs",
    invariant=("units", "origin"),
)
def kl_divergence(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Kullback–Leibler divergence from the forecast's distribution over the states to the truth's.

    Each run stands for a mixture of Gaussians, one on each of its states, with a deviation of 0.2
    training standard deviations: p for the truth, q for the forecast. The value is the mean of
    ln(p/q) over 1000 draws from p: 0 for equal runs; where p and q can hardly be told apart it
    may come out a few hundredths below. Unlike the other invariants it sees where the
    attractor lies and how large it is. A run that diverged has the value infinity.
    After D_stsp of Brenner et al., ICML 2022, in units of the system instead of raw ones.
    """
    from dysts_bench.metrics._pairs import log_density

    values = np.full(len(truth), np.inf)
    for i in on_attractor(truth, forecast, facts):
        draws, log_p, lag = _true_draws(truth[i] / facts.scale)
        centres = np.ascontiguousarray(embed(forecast[i] / facts.scale, lag).T)
        values[i] = np.mean(log_p - log_density(draws, centres, WIDTH**2))
    return values


def correlation_dimension(points: Points, theiler: int | None = None) -> tuple[float, float]:
    """Correlation dimension D₂ of an attractor, and the standard error of the estimate.

    The Takens–Theiler estimate D(r) = −1 / mean of ln(r_ij / r) over the pairs closer than r,
    averaged over ln r between the radii that hold the closest 0.1 % and 1 % of all pairs: the
    average takes out the oscillations of a self-similar set. The error combines a jackknife over
    20 blocks of time with the spread over the radii. It does not know of two biases: the edges of
    an attractor make high dimensions read low (a solid cube: 2.91 for 3), and even sampling makes
    a closed orbit read high (1.1 for 1).

    points: (times, dim) in the coordinates in which distance is meant.
    theiler: pairs at most so many steps apart are left out, since they are close in time and not
        because the attractor returned; by default a fiftieth of the run.
    Points that coincide (a fixed point, a cycle that repeats exactly) are a finite set: (0.0, 0.0).
    Raises TooShort when the smallest radius would hold fewer than 100 pairs, ValueError if
    points are not finite.
    Source: Takens, Lecture Notes in Mathematics 1125, 99 (1985); Theiler, Phys. Rev. A 34, 2427
    (1986), for the window in time.
    """
    from dysts_bench.metrics._pairs import ZERO, bin_edges, count_pairs

    if points.ndim != 2 or not np.isfinite(points).all():
        raise ValueError(f"points must be (times, dim) and finite; got shape {points.shape}")
    times = len(points)
    theiler = times // 50 if theiler is None else theiler
    pairs = (times - theiler) * (times - theiler - 1) // 2
    if not 0 <= theiler < times or pairs * CLOSEST < 100:
        raise TooShort(
            f"correlation dimension: {times} points, with those at most {theiler} steps apart left "
            f"out, make {pairs} pairs; give at least {round(100 / CLOSEST)}, which takes 460 points"
        )
    extent = np.ptp(points, axis=0).max()
    if extent == 0:
        return 0.0, 0.0
    normalised = np.ascontiguousarray(((points - points.mean(axis=0)) / extent).T)
    reach = max(_reach(normalised, theiler), ZERO)
    counts = count_pairs(normalised, theiler, BLOCKS, reach)
    if counts[0, :-1].sum() < FARTHEST * pairs:  # the last bin is cut off at `reach`
        counts = count_pairs(normalised, theiler, BLOCKS, float(points.shape[1]))
    within = counts.cumsum(axis=1)  # pairs closer than each bin's upper edge
    smallest, largest = np.searchsorted(within[0], [CLOSEST * pairs, FARTHEST * pairs])
    if smallest == 0:
        return 0.0, 0.0
    radii = np.arange(smallest, largest + 1)
    edges = bin_edges(counts.shape[1])
    log_distance = np.log((edges[:-1] + edges[1:]) / 2) / 2
    log_radius = np.log(edges[radii + 1]) / 2
    counts[:, 0] = 0  # the few that coincide: a distance of rounding, not of the attractor
    kept = np.concatenate([counts[:1], counts[0] - counts[1:]])  # all, then all without each block
    number = kept.cumsum(axis=1)[:, radii]
    logs = number * log_radius - (kept * log_distance).cumsum(axis=1)[:, radii]
    by_radius = np.divide(number, logs, out=np.zeros_like(logs), where=number > 0)
    estimate, *without_block = by_radius.mean(axis=1)
    jackknife = np.sqrt((BLOCKS - 1) * np.var(without_block))
    return float(estimate), float(np.hypot(jackknife, by_radius[0].std()))


@remembered
def _true_dimension(run: Points) -> tuple[float, int]:
    """Dimension of a true run, and the lag that it was embedded with."""
    lag = decorrelation_time(run)
    return correlation_dimension(embed(run, lag))[0], lag


@remembered
def _true_draws(
    run: Points,
) -> tuple[Float[np.ndarray, "coordinates draws"], Float[np.ndarray, " draws"], int]:
    """Draws from the run's mixture, their log density up to a constant, the lag of embedding."""
    from dysts_bench.metrics._pairs import log_density

    lag = decorrelation_time(run)
    centres = np.ascontiguousarray(embed(run, lag).T)
    chosen = centres[:, np.linspace(0, centres.shape[1] - 1, DRAWS).round().astype(int)]
    # A fixed seed: a score is a function of its arguments.
    draws = chosen + WIDTH * np.random.default_rng(0).normal(size=chosen.shape)
    return draws, log_density(draws, centres, WIDTH**2), lag


def _reach(points: Float[np.ndarray, "dim times"], theiler: int) -> float:
    """A squared distance that should hold somewhat more than FARTHEST of the pairs counted."""
    from dysts_bench.metrics._pairs import squared_distances

    times = points.shape[1]
    chosen = np.linspace(0, times - 1, 32).astype(int)
    squared = np.empty((len(chosen), times))
    for row, i in zip(squared, chosen, strict=True):
        squared_distances(points, i, points, 0, row)
    apart = np.abs(chosen[:, None] - np.arange(times)) > theiler
    return float(np.quantile(squared[apart], 2 * FARTHEST))
