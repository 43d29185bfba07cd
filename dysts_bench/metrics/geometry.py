"""Whether long free runs lie where the attractor lies, and fill it as the truth does.

Truth, forecast and facts as in `base`, with free runs for windows. Run i of the forecast is
compared with run i of the truth, which started from the same state: where attractors coexist, or
energy is conserved, each run has its own invariants. What is known of the truth is remembered, so
that many models can be scored against one truth.

All of these see where the states are, and none in which order they came: a run of three or more
coordinates whose states are shuffled in time has the value of a perfect forecast (`dynamics`
sees the order). Runs of one or two coordinates are embedded with delays, which do know the order.
States are measured in training standard deviations. A run that diverged has no attractor, and the
worst value there is; one that stops is a point. All raise TooShort below 100 steps.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from dysts_bench.metrics._runs import clouds
from dysts_bench.metrics.base import Facts, PerWindow, TooShort, Windows, metric, remembered

Points = Float[np.ndarray, "points dim"]

# Tried for the limit r → 0, on the sets that `correlation_dimension` names: D(r) as it is, from 0.1
# to 1 % of the pairs, reads 2.92 and 4.64 for cubes of 3 and 5. A density r^(D−1) exp(−b r) fitted
# to the histogram (Judd 1992) sees the oscillations of self-similar sets (1.33 to 1.47 for the dust
# of 1.262); with a term in r² besides it scatters three times as much in high dimensions.

# The closest 0.1 to 10 % of all pairs. Closer ones are too few: between runs of Lorenz of 5000
# points the estimate varies by 0.06 from 0.1 %, by 0.11 from 0.03 %.
CLOSEST, FARTHEST = 1e-3, 1e-1
# Edges of an attractor take away pairs as r, a density that varies smoothly over it as r². Fitted
# to r, solid cubes read true (5.04 for 5) and Gaussians high (5.29 for 5); to r², Gaussians true
# (4.98) and cubes low (4.78); this power serves both within 3 %, and scatters less than r.
EDGES, BEND, BULK = 1.0, 1.5, 2.0
BLOCKS = 20

# Width of the Gaussians, in training deviations. Of 0.05 to 1, widths of 0.1 to 0.3 tell Lorenz
# from itself at 0.9 of its size, and from its phase-randomised surrogate, most clearly against the
# divergence between two true runs.
WIDTH, DRAWS = 0.2, 1000

# Edge of a bin, in training deviations. Between 0.1 and 0.5, wider bins tell Lorenz and Rössler
# more clearly from their phase-randomised surrogates (3 to 16 and 7 to 51 floors), and less from
# themselves in noise of 0.1 deviations (2.1 to 1.5 and 3.7 to 1.9 floors).
BIN = 0.3
LAPLACE = 1.0
# Cells of three coordinates are as many as a run can fill.
SEEN_TOGETHER = 3

# Of 16, 64 and 256 directions, 64 tell Lorenz and Rössler as clearly from their imitations as 256.
DIRECTIONS = 64
# All pairs of 5000 states would take 80 ms, and flows repeat themselves from step to step: floors
# of Lorenz and Rössler are 1.00 and 1.07 times those of all 5000 states.
STATES = 2500
# Of 0.2 to 2 deviations, 0.5 tells Lorenz most clearly from its phase-randomised surrogate (3.0
# floors; 2.6 at 0.2, 1.9 at 1); no mean over several widths did better.
KERNEL = 0.5
FARTHEST_APART = float(np.sqrt(2.0))  # of two distributions whose kernels never meet


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

    A run that stops has dimension 0. Raises TooShort as `correlation_dimension`.
    """

    def error(x: Points, y: Points) -> float:
        return abs(correlation_dimension(y)[0] - _true_dimension(x)[0])

    return _of_runs(error, truth, forecast, facts)


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
    training standard deviations: p for the truth, q for the forecast. The value is ∫ p ln(p/q),
    see `mixture_divergence`. After D_stsp of Brenner et al., ICML 2022, in units of the system
    instead of raw ones.
    """
    return _of_runs(lambda x, y: mixture_divergence(x, y, WIDTH), truth, forecast, facts)


@metric(
    unit="nats",
    better="lower",
    ideal=0.0,
    worst=np.inf,
    data="free_runs",
    invariant=("units", "origin"),
)
def binned_kl_divergence(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Kullback–Leibler divergence of the occupation of bins, Σ_k p_k ln(p_k / q_k).

    See `binned_divergence`. After D_stsp of Koppe et al., PLoS Comput. Biol. 15, e1007263 (2019).
    """
    return _of_runs(binned_divergence, truth, forecast, facts)


@metric(
    unit="training standard deviations",
    better="lower",
    ideal=0.0,
    worst=np.inf,
    data="free_runs",
    invariant=("units", "origin"),
)
def sliced_wasserstein_distance(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """How far the states must be moved, seen along 64 fixed directions, see `sliced_wasserstein`.

    In high dimensions most directions see most of a difference at a slant: a shift by s reads
    s/2 in three coordinates, about 0.8 s/√d in d.
    """
    return _of_runs(sliced_wasserstein, truth, forecast, facts)


@metric(
    unit="√training standard deviations",
    better="lower",
    ideal=0.0,
    worst=np.inf,
    data="free_runs",
    invariant=("units", "origin"),
)
def energy_distance(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Energy distance of the states, √(2 E|x − y| − E|x − x′| − E|y − y′|).

    See `energy_between`. Of runs longer than 2500 steps, 2500 states spread evenly over the times
    are used.
    """

    def distance(x: Points, y: Points) -> float:
        return energy_between(_thinned(x), _thinned(y))

    return _of_runs(distance, truth, forecast, facts)


@metric(
    unit="",
    better="lower",
    ideal=0.0,
    worst=FARTHEST_APART,
    data="free_runs",
    invariant=("units", "origin"),
)
def maximum_mean_discrepancy(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Maximum mean discrepancy of the states, √(E k(x,x′) + E k(y,y′) − 2 E k(x,y)).

    k is a Gaussian of 0.5 training deviations, see `mean_discrepancy`; no two sets of states are
    more than √2 apart. Of runs longer than 2500 steps, 2500 states spread evenly over the times
    are used.
    """

    def distance(x: Points, y: Points) -> float:
        return mean_discrepancy(_thinned(x), _thinned(y), KERNEL)

    return _of_runs(distance, truth, forecast, facts, worst=FARTHEST_APART)


def _of_runs(
    distance: Callable[[Points, Points], float],
    truth: Windows,
    forecast: Windows,
    facts: Facts,
    worst: float = np.inf,
) -> PerWindow:
    """The distance of the forecast's states from those of the truth, for each run by itself."""
    values = np.full(len(truth), worst)
    for i, x, y in clouds(truth, forecast, facts):
        values[i] = distance(x, y)
    return values


def correlation_dimension(points: Points, theiler: int | None = None) -> tuple[float, float]:
    """Correlation dimension D₂ of an attractor, and the standard error of the estimate.

    The Takens–Theiler estimate D(r) = −1 / mean of ln(r_ij / r) over the pairs closer than r, for
    the radii that hold from 0.1 % to 10 % of all pairs, evenly in ln r: even radii take out the
    oscillations of a self-similar set. At each radius the attractor's edges and its uneven density
    bend the estimate; the line through D(r) against r^1.5 is followed to r = 0. Sets whose
    dimension is known, 10⁴ points: cubes of 1, 3, 5 and 8 dimensions read 1.00, 2.96, 4.87, 7.74;
    Gaussians of 1, 3 and 5 1.00, 3.02, 5.09; Cantor set and dust 0.631 and 1.261 for 0.631 and
    1.262; Sierpiński's triangle 1.585 for 1.585. Hénon's map reads 1.20 (1.21 to 1.22 elsewhere),
    Lorenz 2.09 (2.05 to 2.07).

    The error combines a jackknife over 20 blocks of time with the spread about the line and with
    what other powers of r would give. It does not know of two biases: even sampling makes a closed
    orbit and a torus read high (1.1 for 1, 2.2 for 2), and a density with poles converges only as
    1/ln r (that of a sine reads 0.90 for 1; Rössler, whose first return has such poles, 1.8 for 2).

    points: (times, dim) in the coordinates in which distance is meant.
    theiler: pairs at most so many steps apart are left out, since they are close in time and not
        because the attractor returned; by default a fiftieth of the run.
    Points that coincide (a fixed point, a cycle that repeats exactly) are a finite set: (0.0, 0.0).
    Raises TooShort when the smallest radius would hold fewer than 100 pairs, ValueError if
    points are not finite.
    Sources: Takens, Lecture Notes in Mathematics 1125, 99 (1985); Theiler, Phys. Rev. A 34, 2427
    (1986), for the window in time; Judd, Physica D 56, 216 (1992), for edges.
    """
    from dysts_bench.metrics._pairs import bin_edges, count_pairs

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
    counts = count_pairs(_columns((points - points.mean(axis=0)) / extent), theiler, BLOCKS)
    within = counts[0].cumsum()  # pairs closer than each bin's upper edge
    smallest, largest = np.searchsorted(within, [CLOSEST * pairs, FARTHEST * pairs])
    if smallest == 0:
        return 0.0, 0.0
    log_radius = np.log(bin_edges(largest + 1)) / 2
    log_distance = (log_radius[:-1] + log_radius[1:]) / 2
    log_radius = log_radius[smallest + 1 :]
    kept = np.concatenate([counts[:1], counts[0] - counts[1:]])  # all, then all without each block
    kept = kept[:, : largest + 1]
    kept[:, 0] = 0  # the few that coincide: a distance of rounding, not of the attractor
    number = kept.cumsum(axis=1)[:, smallest:]
    logs = number * log_radius - (kept * log_distance).cumsum(axis=1)[:, smallest:]
    by_radius = np.divide(number, logs, out=np.zeros_like(logs), where=number > 0)
    (estimate, *without_block), (spread, *_) = _limit(by_radius, log_radius, BEND)
    jackknife = np.sqrt((BLOCKS - 1) * np.var(without_block))
    (high, *_), _ = _limit(by_radius, log_radius, EDGES)
    (low, *_), _ = _limit(by_radius, log_radius, BULK)
    return float(estimate), float(np.linalg.norm([jackknife, spread, (high - low) / 2]))


def mixture_divergence(points: Points, others: Points, width: float) -> float:
    """Kullback–Leibler divergence of two mixtures of Gaussians, one on each point, in nats.

    p is the mixture on `points`, q that on the others. Σ 2 (p ln(p/q) + q − p) / (p + q) over 500
    draws from either, divided by 1000: as q − p has the integral 0, that is ∫ p ln(p/q), and no
    term is negative. (Over draws from p alone, the mean of ln(p/q) scatters up to ten times
    as much where p and q are alike, and is negative every now and then; that of ln(p/q) + q/p − 1
    misses most of q where q is the wider, and read 0.44 for 0.61.)
    width: standard deviation of the Gaussians. What is known of `points` is remembered.
    """
    from dysts_bench.metrics._pairs import log_density

    here, log_p = _true_draws(points, width)
    there, log_q = _draws(others, width)
    log_ratio = np.concatenate(  # ln(q/p)
        [
            log_density(here, _columns(others), width**2) - log_p,
            log_q - log_density(there, _columns(points), width**2),
        ]
    )
    smaller = np.exp(-np.abs(log_ratio))  # of p/q and q/p: it never overflows
    more = 1 - smaller * (1 + log_ratio)
    less = smaller - 1 - log_ratio
    return float(np.mean(2 * np.where(log_ratio > 0, more, less).clip(min=0) / (1 + smaller)))


def _draws(
    points: Points, width: float
) -> tuple[Float[np.ndarray, "dim draws"], Float[np.ndarray, " draws"]]:
    """Draws from the mixture on the points, and their log density up to a constant."""
    from dysts_bench.metrics._pairs import log_density

    centres = _columns(points)
    chosen = centres[:, np.linspace(0, centres.shape[1] - 1, DRAWS // 2).round().astype(int)]
    # A fixed seed: a score is a function of its arguments.
    draws = chosen + width * np.random.default_rng(0).normal(size=chosen.shape)
    return draws, log_density(draws, centres, width**2)


_true_draws = remembered(_draws)


def sliced_wasserstein(points: Points, others: Points) -> float:
    """Wasserstein distance W₁ of two sets of equally many points, averaged over 64 directions.

    Along one direction it is the mean distance between the k-th smallest of either set, over k.
    The directions are drawn once and for all, uniformly on the sphere; of one coordinate there is
    one, and the value is W₁ itself. In the unit of the points. Raises ValueError for other shapes.
    Source: Bonneel et al., J. Math. Imaging Vis. 51, 22 (2015).
    """
    if points.shape != others.shape:
        raise ValueError(
            f"sliced Wasserstein distance: two sets of one shape, not {points.shape} and "
            f"{others.shape}"
        )
    return float(np.mean(np.abs(_true_projections(points) - _projections(others))))


def _projections(points: Points) -> Float[np.ndarray, "directions points"]:
    """Places of the points along each of the directions, in order."""
    directions = np.random.default_rng(0).normal(size=(points.shape[1], DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    return np.sort((points @ directions).T)


_true_projections = remembered(_projections)


def energy_between(points: Points, others: Points) -> float:
    """Energy distance of two sets of points, √(2 E|x − y| − E|x − x′| − E|y − y′|).

    Means over all pairs, each point with itself included: 0 for equal sets. Without a width to
    choose, it sees large distances best. In the square root of the unit of the points, as
    scipy.stats.energy_distance. What is known of `points` is remembered.
    Source: Székely & Rizzo, J. Stat. Plan. Inference 143, 1249 (2013).
    """
    from dysts_bench.metrics._pairs import mean_distance

    x, y = _columns(points), _columns(others)
    # Twice one number less two that are it, for equal sets: exactly 0.
    squared = 2 * mean_distance(x, y) - _true_mean_distance(x) - mean_distance(y, y)
    return float(np.sqrt(max(0.0, squared)))


def mean_discrepancy(points: Points, others: Points, width: float) -> float:
    """Maximum mean discrepancy of two sets of points, √(E k(x,x′) + E k(y,y′) − 2 E k(x,y)).

    k(x, y) = exp(−|x − y|² / (2 width²)); means over all pairs, each point with itself included
    (the biased statistic): 0 for equal sets, at most √2. What is known of `points` is remembered.
    Source: Gretton et al., J. Mach. Learn. Res. 13, 723 (2012).
    """
    from dysts_bench.metrics._pairs import mean_gaussian

    x, y, variance = _columns(points), _columns(others), width**2
    squared = (
        _true_mean_gaussian(x, variance)
        + mean_gaussian(y, y, variance)
        - 2 * mean_gaussian(x, y, variance)
    )
    return float(np.sqrt(max(0.0, squared)))


def binned_divergence(points: Points, others: Points) -> float:
    """Divergence Σ_k p_k ln(p_k / q_k), in nats: p and q, how points and others fill the bins.

    The bins are cubes with edges of 0.3 units of the points. Those that hold a point count each by
    itself; all the rest of space, within the range of the points or far outside, is one bin more.
    Laplace's rule counts one more visit to every bin than there was, for points and others alike:
    0 for equal sets, and finite for any others, ln(number of points) at most.

    With more than three coordinates, cubes would hold a point or two each and no others ever: the
    divergence is then the mean over all triples of neighbouring coordinates, the first being the
    last's neighbour. What differs in the joint distribution of coordinates farther apart is unseen.
    """
    values = []
    for triple in _triples(points.shape[1]):
        # The origin goes with the points. Half a bin below the smallest: at a distance from it that
        # no rounding changes.
        low = points[:, triple].min(axis=0) - BIN / 2
        cells = _cells(points[:, triple], low)
        bins, visits = np.unique(cells, return_counts=True)
        others_cells = _cells(others[:, triple], low)
        place = np.searchsorted(bins, others_cells).clip(max=len(bins) - 1)
        place[bins[place] != others_cells] = len(bins)
        p = np.append(visits, 0) + LAPLACE
        q = np.bincount(place, minlength=len(bins) + 1) + LAPLACE
        p, q = p / p.sum(), q / q.sum()
        values.append(np.sum(p * np.log(p / q)))
    return float(np.mean(values))


def _triples(dim: int) -> list[list[int]]:
    if dim <= SEEN_TOGETHER:
        return [list(range(dim))]
    return [[(first + k) % dim for k in range(SEEN_TOGETHER)] for first in range(dim)]


def _cells(points: Points, low: Float[np.ndarray, " dim"]) -> Int[np.ndarray, " points"]:
    """A number for each point that it shares with those in the same bin only.

    Bins more than 2¹⁹ steps from `low` are taken for one: three numbers of 20 bits fit into one.
    """
    steps = np.clip(np.floor((points - low) / BIN), -(2.0**19), 2.0**19 - 1).astype(np.int64)
    return (steps + (1 << 19)) @ (1 << 20) ** np.arange(points.shape[1])


def _limit(
    by_radius: Float[np.ndarray, "sets radii"],
    log_radius: Float[np.ndarray, " radii"],
    power: float,
) -> tuple[Float[np.ndarray, " sets"], Float[np.ndarray, " sets"]]:
    """Lines through estimates against r^power: their values at r = 0, and the spread about them."""
    x = np.exp(power * (log_radius - log_radius[-1]))
    centred = x - x.mean()
    varies = centred @ centred
    slope = by_radius @ centred / varies if varies > 0 else np.zeros(len(by_radius))
    residual = by_radius - slope[:, None] * x
    return residual.mean(axis=1), residual.std(axis=1)


def _columns(points: Points) -> Float[np.ndarray, "dim points"]:
    """Coordinates one after the other, as the compiled loops take them."""
    return np.ascontiguousarray(points.T)


def _thinned(points: Points) -> Points:
    """At most STATES of the points, evenly spread over them."""
    if len(points) <= STATES:
        return points
    return points[np.linspace(0, len(points) - 1, STATES).round().astype(int)]


_true_dimension = remembered(correlation_dimension)


@remembered
def _true_mean_distance(columns: Float[np.ndarray, "dim points"]) -> float:
    from dysts_bench.metrics._pairs import mean_distance

    return float(mean_distance(columns, columns))


@remembered
def _true_mean_gaussian(columns: Float[np.ndarray, "dim points"], variance: float) -> float:
    from dysts_bench.metrics._pairs import mean_gaussian

    return float(mean_gaussian(columns, columns, variance))
