"""Errors and correlations of a forecast, step by step against the truth.

Truth, forecast and facts as in `base`; each metric is one value a window, over all steps and
coordinates. What is not linear in the coordinates is computed for each coordinate and averaged, so
that no coordinate counts for more because of its units; `rmse`, `nrmse` and `dtw` measure the
length of the whole error instead.

Below, x is the truth, y the forecast, and sums and means run over time. Every pointwise metric of
Gilpin, Phys. Rev. Research 5, 043252 (2023), is here with the definition of its code,
`dysts.metrics`; where it differs its docstring says so. Two differences are general. Coordinates
are averaged, as in darts.metrics, where `wape`, `marre`, `ope`, `rmsle`, `r2`, `mase` and
`coefficient_of_variation` of dysts pool them: of one coordinate both are the same. And there is no
1e-10 in denominators: 0/0 is no error, any other error over nothing is infinite.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

from dysts_bench.metrics.base import Facts, PerWindow, TooShort, Windows, metric

PerCoordinate = Float[np.ndarray, "windows dim"]
Series = Float[np.ndarray, " times"]
BOTH = ("units", "origin")

NEIGHBOURS = 3  # of a point, by which `mutual_information` measures how dense they lie


@metric(
    unit="state²", better="lower", ideal=0.0, worst=np.inf, invariant=("origin",), per_step=True
)
def mse(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Mean squared error, mean (x − y)²."""
    return np.mean((truth - forecast) ** 2, axis=(1, 2))


@metric(unit="state", better="lower", ideal=0.0, worst=np.inf, invariant=("origin",), per_step=True)
def mae(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Mean absolute error, mean |x − y|."""
    return np.mean(np.abs(truth - forecast), axis=(1, 2))


@metric(unit="state", better="lower", ideal=0.0, worst=np.inf, invariant=("origin",), per_step=True)
def rmse(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Root mean squared error, √(mean (x − y)²)."""
    return np.sqrt(np.mean((truth - forecast) ** 2, axis=(1, 2)))


@metric(
    unit="standard deviations",
    better="lower",
    ideal=0.0,
    worst=np.inf,
    invariant=BOTH,
    per_step=True,
)
def nrmse(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Root mean squared error in standard deviations of the training data, √(mean ((x − y)/σ)²).

    A forecast of the training mean scores about 1, two unrelated true trajectories about √2.
    dysts.metrics.nrmse takes the standard deviations of the truth in the window, unless given some.
    """
    return np.sqrt(np.mean(((truth - forecast) / facts.scale) ** 2, axis=(1, 2)))


@metric(
    unit="percent, 0 to 200",
    better="lower",
    ideal=0.0,
    worst=200.0,
    invariant=("units",),
    per_step=True,
)
def smape(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Symmetric mean absolute percentage error from 0 to 200, 200 · mean |x − y| / (|x| + |y|).

    It depends on the origin: score in the system's own coordinates, not in standardised ones.
    0/0, both exactly zero, is no error; a value that is not finite is wholly wrong, 200.
    Beware of the other scale: dysts.metrics.smape is half of this by default.
    """
    share = _ratio(np.abs(truth - forecast), np.abs(truth) + np.abs(forecast))
    return 200 * np.mean(np.where(np.isnan(share), 1.0, share), axis=(1, 2))


@metric(
    unit="percent",
    better="lower",
    ideal=0.0,
    worst=np.inf,
    invariant=("units",),
    per_step=True,
)
def mape(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Mean absolute percentage error, 100 · mean |x − y| / |x|.

    It depends on the origin, and on a few steps: a coordinate that crosses zero makes the mean as
    large as its smallest value is small. An error where the truth is exactly zero is infinite.
    """
    return 100 * np.mean(_ratio(np.abs(truth - forecast), np.abs(truth)), axis=(1, 2))


@metric(unit="percent", better="lower", ideal=0.0, worst=np.inf, invariant=("units",))
def wape(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Weighted absolute percentage error, mean over coordinates of 100 · Σ|x − y| / Σ|x|.

    It depends on the origin. darts calls it wmape.
    """
    error = np.sum(np.abs(truth - forecast), axis=1)  # (windows, dim)
    return 100 * np.mean(_ratio(error, np.sum(np.abs(truth), axis=1)), axis=1)


@metric(unit="percent of range", better="lower", ideal=0.0, worst=np.inf, invariant=BOTH)
def marre(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Mean absolute error in percent of the truth's range, 100 · mean |x − y| / (max x − min x).

    The range is each coordinate's in this window: of few steps it is small, and the error large.
    """
    error = np.mean(np.abs(truth - forecast), axis=1)
    return 100 * np.mean(_ratio(error, np.ptp(truth, axis=1)), axis=1)


@metric(unit="mean absolute deviations", better="lower", ideal=0.0, worst=np.inf, invariant=BOTH)
def ope(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Optimality percentage error, mean over coordinates of Σ|x − y| / Σ|x − mean x|.

    1 is what a forecast of the window's own mean scores; a ratio, not percent, in spite of its
    name. darts.metrics.ope, the overall percentage error 100 · |Σx − Σy| / |Σx|, is another thing:
    blind to the order in time, it calls a shuffled truth perfect, and is left out for that.
    """
    deviation = np.sum(np.abs(truth - truth.mean(axis=1, keepdims=True)), axis=1)
    spread = np.where(_constant(truth), 0.0, deviation)  # the mean of equal floats may round
    return np.mean(_ratio(np.sum(np.abs(truth - forecast), axis=1), spread), axis=1)


@metric(unit="percent of mean", better="lower", ideal=0.0, worst=np.inf, invariant=("units",))
def coefficient_of_variation(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Root mean squared error in percent of the truth's mean, 100 · √(mean (x − y)²) / |mean x|.

    It depends on the origin, and says little of a coordinate that swings about zero. So is it
    defined by darts and in the docstring of dysts, whose code takes the standard deviation of
    x − y, for which a forecast too high throughout is perfect, and divides by the mean with its
    sign, by which errors become negative.
    """
    error = np.sqrt(np.mean((truth - forecast) ** 2, axis=1))
    return 100 * np.mean(_ratio(error, np.abs(truth.mean(axis=1))), axis=1)


@metric(unit="log state", better="lower", ideal=0.0, worst=np.inf, invariant=("origin",))
def rmsle(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Root mean squared logarithmic error, mean over coordinates of √(mean (l(x) − l(y))²).

    l(x) = ln(1 + x − min x), with the truth's minimum over the window for both; a forecast below
    it counts as far below zero as it would above, l(y) = −ln(1 + min x − y). It depends on units.
    dysts moves the forecast by its own minimum: a forecast too high throughout is then perfect.
    Both are the same where the minima are; so is scikit-learn's and darts' rmsle, given x − min x.
    """
    lowest = truth.min(axis=1, keepdims=True)
    error = _signed_logarithm(truth - lowest) - _signed_logarithm(forecast - lowest)
    return np.mean(np.sqrt(np.mean(error**2, axis=1)), axis=1)


@metric(
    unit="steps of a persistence forecast",
    better="lower",
    ideal=0.0,
    worst=np.inf,
    invariant=BOTH,
    per_step=True,
)
def mase(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Mean absolute error over the mean absolute change of the training data in one step.

    mean_d ( mean_t |x − y| / mean_t |train[t+1] − train[t]| ); Hyndman & Koehler 2006, season 1.
    dysts.metrics.mase takes the last axis for time: give it one coordinate at a time.
    Raises TooShort without training data of at least two times.
    """
    if facts.train is None or facts.train.shape[1] < 2:
        raise TooShort("mase scales by the training data's steps: Facts.train needs two times")
    change = np.mean(np.abs(np.diff(facts.train, axis=1)), axis=(0, 1))  # (dim,)
    return np.mean(_ratio(np.mean(np.abs(truth - forecast), axis=1), change), axis=1)


@metric(
    unit="share of variance",
    better="higher",
    ideal=1.0,
    worst=-np.inf,
    invariant=BOTH,
)
def r2(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Coefficient of determination, mean over coordinates of 1 − Σ(x − y)² / Σ(x − mean x)².

    A coordinate whose truth does not vary in the window counts 1 if met exactly, else 0.
    dysts.metrics.r2_score measures all coordinates from one common mean, scikit-learn as here.
    """
    residual = np.sum((truth - forecast) ** 2, axis=1)  # (windows, dim)
    spread = np.sum((truth - truth.mean(axis=1, keepdims=True)) ** 2, axis=1)
    explained = 1 - residual / spread
    met = np.where(np.isfinite(residual), residual == 0, -np.inf)
    return np.mean(np.where(_constant(truth) | (spread == 0), met, explained), axis=1)


@metric(unit="correlation", better="higher", ideal=1.0, worst=-1.0, invariant=BOTH)
def pearson(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Linear correlation over time, averaged over coordinates.

    A coordinate constant in truth or forecast counts 0 (1 if both are equal throughout).
    dysts.metrics.pearson is that too, except with one coordinate: there it is Spearman's.
    """
    return _mean_where_defined(_product(truth, forecast), truth, forecast)


@metric(unit="correlation", better="higher", ideal=1.0, worst=-1.0, invariant=BOTH)
def spearman(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Rank correlation over time, averaged over coordinates; ties share their mean rank.

    A coordinate constant in truth or forecast counts 0 (1 if both are equal throughout).
    """
    return _mean_where_defined(_product(_ranks(truth), _ranks(forecast)), truth, forecast)


@metric(unit="correlation", better="higher", ideal=1.0, worst=-1.0, invariant=BOTH)
def kendall(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Share of pairs of times in the same order less those in reverse, averaged over coordinates.

    Kendall's τ-b, which pairs tied in one series alone make smaller. A coordinate constant in truth
    or forecast counts 0 (1 if both are equal throughout).
    """
    return _mean_where_defined(_of_each(kendall_tau, truth, forecast), truth, forecast)


def kendall_tau(x: Series, y: Series) -> float:
    """Kendall's τ-b of two finite series of one length, NaN if either is constant.

    O(n log n): Knight, J. Am. Stat. Assoc. 61, 436 (1966).
    """
    from dysts_bench.metrics._alignment import tau_b

    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan
    order = np.lexsort((y, x))
    return tau_b(x[order], y[order])


def largest_information(truth: Windows, facts: Facts) -> float:
    """What `mutual_information` says of a truth of this length, all values different, with itself.

    ψ(horizon) − ψ(3) nats: n states tell apart no more than n states.
    """
    return _harmonic(truth.shape[1], NEIGHBOURS)


@metric(
    unit="nats",
    better="higher",
    ideal=np.inf,
    worst=0.0,
    limit=largest_information,
    invariant=BOTH,
)
def mutual_information(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Mutual information of truth and forecast at the same step, averaged over coordinates.

    `shared_information` of each coordinate: it is high where y says what x is, were it upside
    down. No forecast reaches beyond `largest_information`, the value of the truth with itself. A
    coordinate constant in truth or forecast counts 0 (the largest if both are equal throughout).
    scikit-learn, and dysts with it, adds noise of relative size 1e-10 from a random generator to
    tell equal values apart: of the truth with itself it reads up to 1/3 nat less.
    Raises TooShort for windows of three steps or fewer.
    """
    most = largest_information(truth, facts)
    if most == 0:
        raise TooShort(
            f"mutual information: windows of {truth.shape[1]} steps; each needs its "
            f"{NEIGHBOURS} nearest others, {NEIGHBOURS + 1} steps at least"
        )
    share = _of_each(shared_information, truth, forecast) / most
    return most * _mean_where_defined(share, truth, forecast)


def shared_information(x: Series, y: Series, neighbours: int = NEIGHBOURS) -> float:
    """Mutual information of two series of one length, in nats, at least 0; NaN if not finite.

    ψ(n) + ψ(k) − mean(ψ(n_x) + ψ(n_y)), each series in its standard deviations: n_x is how many
    points (the point itself included) are nearer to it in x than its k-th neighbour is in the
    plane, in the maximum norm. Of two Gaussians correlated by ρ: −ln(1 − ρ²) / 2. For real numbers:
    where values repeat it reads low. Raises TooShort unless there are more than k points.
    Source: Kraskov, Stögbauer & Grassberger, Phys. Rev. E 69, 066138 (2004), equation 8, k = 3.
    """
    from dysts_bench.metrics._alignment import count_within, neighbour_distances

    times = len(x)
    if times <= neighbours:
        raise TooShort(f"{neighbours} neighbours of each of {times} points: there must be more")
    plane = _unit_deviation(np.stack([x, y], axis=1)[None])[0]
    if not np.isfinite(plane).all():
        return np.nan
    u, v = plane[np.argsort(plane[:, 0])].T
    # Less 1e-9: in a forecast that equals the truth but for its units, what is exactly as far as
    # the k-th neighbour would be nearer or not by rounding, and the value jump by up to 1/k.
    nearer = neighbour_distances(u, v, neighbours) * (1 - 1e-9)
    by_v = np.argsort(v)
    counts = np.array([count_within(u, nearer), count_within(v[by_v], nearer[by_v])])
    counts = np.maximum(counts, neighbours)  # fewer only if several are as far as the k-th
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, times))])  # ψ(m + 1) − ψ(1)
    loss = np.mean(harmonic[counts - 1] - harmonic[neighbours - 1], axis=1)
    return max(0.0, _harmonic(times, neighbours) - loss.sum())


@metric(
    unit="standard deviations",
    better="lower",
    ideal=0.0,
    worst=np.inf,
    invariant=BOTH,
)
def dtw(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Distance after dynamic time warping, which forgives delays, over twice the steps and 2.

    `warped_distance` of states in training standard deviations, in dysts' normalisation: the cost
    of the path over (n + 1) + (m + 1), the sides of its table, which makes it about half the mean
    distance of the states that are matched (darts divides by the length of the path itself).
    dysts and darts take states as they come; on data standardised before, as the study's were,
    dysts' value is this one.
    """
    sides = 2 * (truth.shape[1] + 1)
    finite = np.isfinite(forecast).all(axis=(1, 2))
    costs = [
        warped_distance(x / facts.scale, y / facts.scale) if whole else np.inf
        for x, y, whole in zip(truth, forecast, finite, strict=True)
    ]
    return np.array(costs) / sides


def warped_distance(x: Float[np.ndarray, "times dim"], y: Float[np.ndarray, "others dim"]) -> float:
    """Cost of the cheapest alignment of two series, Σ|x_i − y_j| along its path, end to end.

    The path takes a step in i, in j or in both at a time. O(n·m) time, memory O(n + m).
    Source: Sakoe & Chiba, IEEE Trans. ASSP 26, 43 (1978), without weights and window.
    """
    from dysts_bench.metrics._alignment import warping_cost

    return warping_cost(np.ascontiguousarray(x.T), np.ascontiguousarray(y.T))


def _of_each(
    quantity: Callable[[Series, Series], float], truth: Windows, forecast: Windows
) -> PerCoordinate:
    """The quantity of each window's every coordinate, NaN where the forecast is not finite."""
    values = np.full((len(truth), truth.shape[2]), np.nan)
    for window, coordinate in np.argwhere(np.isfinite(forecast).all(axis=1)):
        x, y = truth[window, :, coordinate], forecast[window, :, coordinate]
        values[window, coordinate] = quantity(x, y)
    return values


def _product(x: Windows, y: Windows) -> PerCoordinate:
    """Linear correlation over time of each coordinate."""
    return np.sum(_unit_deviation(x) * _unit_deviation(y), axis=1)


def _unit_deviation(x: Windows) -> Windows:
    deviation = x - x.mean(axis=1, keepdims=True)
    deviation /= np.abs(deviation).max(axis=1, keepdims=True)  # or 1e200 squared overflows
    return deviation / np.sqrt(np.sum(deviation**2, axis=1, keepdims=True))


def _mean_where_defined(correlation: PerCoordinate, truth: Windows, forecast: Windows) -> PerWindow:
    undefined = _constant(truth) | _constant(forecast)
    met = np.all(truth == forecast, axis=1)
    # An infinity has a rank, but a forecast that left the real numbers has no correlation.
    finite = np.isfinite(forecast).all(axis=1)
    return np.mean(np.where(finite, np.where(undefined, met, correlation), np.nan), axis=1)


def _ranks(x: Windows) -> Windows:
    """Ranks over time, 0 the smallest, ties at their mean; scipy.stats takes 1.3 s to import."""
    order = np.argsort(x, axis=1)
    rising = np.diff(np.take_along_axis(x, order, axis=1), axis=1) > 0
    position = np.arange(x.shape[1])[:, None]
    border = np.ones((len(x), 1, x.shape[2]), dtype=bool)
    first = np.where(np.concatenate([border, rising], axis=1), position, 0)
    last = np.where(np.concatenate([rising, border], axis=1), position, x.shape[1])
    first = np.maximum.accumulate(first, axis=1)
    last = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty(x.shape)
    np.put_along_axis(ranks, order, (first + last) / 2, axis=1)
    return ranks


def _constant(x: Windows) -> Bool[np.ndarray, "windows dim"]:
    """Whether a coordinate takes one value throughout (exactly: sums of equal floats round)."""
    return np.all(x == x[:, :1], axis=1)


def _signed_logarithm(x: Windows) -> Windows:
    return np.sign(x) * np.log1p(np.abs(x))


def _harmonic(n: int, k: int) -> float:
    """ψ(n) − ψ(k) = 1/k + … + 1/(n − 1); scipy.special takes long to import."""
    return float(np.sum(1 / np.arange(k, n)))


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator with 0/0 = 0: no error is no error in any unit."""
    return np.where(numerator == 0, 0.0, numerator / denominator)
