"""Whether long free runs move as the truth does: their frequencies, instability and returns.

Truth, forecast and facts as in `base`, with free runs for windows. Run i of the forecast is
compared with run i of the truth, which started from the same state: where attractors coexist, or
energy is conserved, each run has its own invariants. What is known of the truth is remembered, so
that many models can be scored against one truth.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from dysts_bench.metrics._runs import Points, decorrelation_time, embed, on_attractor
from dysts_bench.metrics.base import Facts, PerWindow, TooShort, Windows, metric, remembered

Series = Float[np.ndarray, " times"]

# Segments of a run whose spectra are averaged. Independent Lorenz runs of 5000 steps are 0.11 apart
# with 8, 0.18 with 4; with 16 a change of frequency by 5 % begins to blur.
SEGMENTS = 8
SHORTEST_SEGMENT = 16
# Below this part of the training deviation there is rounding, not dynamics.
STILL = 1e-6

# The part of their way, in ln(distance), from nearest neighbours to strangers, in which neighbours
# part at the rate of the exponent. Of 19 systems of the catalog in 5000 points, the median error is
# 9 %; up to 0.6 of the way it is 12 % (Rossler reads 0.87 of its exponent instead of 0.95: orbits
# keep their phase long after they have filled the attractor's width).
RISE = 0.05, 0.5
BLOCKS = 10  # of reference points; their spread is the error
FOLLOWED = 6.0  # Lyapunov times
SHORTEST_FOLLOWED, REFERENCES = 10, 100
# Successive displacements of a flow point alike: 30 points a period turn by 12 degrees. Those of
# white noise have a mean cosine of −1/2, of a random walk 0.
FLOWS = 0.5

FEWEST_RETURNS = 5  # of a coordinate of the truth, for a distribution to speak of
ANGLES = np.pi * np.arange(16) / 16


@metric(
    unit="",
    better="lower",
    ideal=0.0,
    worst=1.0,
    data="free_runs",
    invariant=("units", "origin"),
)
def power_spectrum_distance(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Hellinger distance of the power spectra, √(½ Σ_f (√p − √q)²), averaged over coordinates.

    p and q are the `power_spectrum` of truth and forecast: 0 for equal spectra, 1 for spectra
    without a common frequency. A run that diverged has the value 1. Raises TooShort likewise.
    """
    values = np.ones(len(truth))
    for i in on_attractor(truth, forecast, facts):
        p = _true_spectrum(truth[i] / facts.scale)
        q = power_spectrum(forecast[i] / facts.scale)
        values[i] = np.mean(np.sqrt(np.sum((np.sqrt(p) - np.sqrt(q)) ** 2, axis=0) / 2))
    return values


@metric(
    unit="",
    better="lower",
    ideal=0.0,
    worst=np.inf,
    data="free_runs",
    invariant=("units", "origin"),
)
def lyapunov_exponent_error(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Error of the forecast's largest Lyapunov exponent, |λ(y) − λ(x)|, times the Lyapunov time.

    Both by `largest_lyapunov_exponent`, in training standard deviations, and with the truth's lag
    where a run has fewer than three coordinates. A periodic run has the exponent 0 and so a value
    about 1, noise has some tens. A run that stops has the exponent 0, one that diverged the value
    infinity. Raises TooShort likewise.
    """
    steps = round(FOLLOWED * facts.lyapunov_time / facts.dt)
    steps = max(SHORTEST_FOLLOWED, min(steps, truth.shape[1] // 5))
    values = np.full(len(truth), np.inf)
    for i in on_attractor(truth, forecast, facts):
        true, lag = _true_exponent(truth[i] / facts.scale, facts.dt, steps)
        found = _exponent(forecast[i] / facts.scale, lag, facts.dt, steps)
        values[i] = abs(found - true) * facts.lyapunov_time
    return values


@metric(
    unit="",
    better="lower",
    ideal=0.0,
    worst=np.inf,
    data="free_runs",
    invariant=("units", "origin"),
)
def return_time_distance(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Wasserstein distance of the times of return, in mean true ones, averaged over coordinates.

    A coordinate returns when it next rises through its mean over the true run, see `return_times`.
    The distance is ∫ |F − G|, F and G the distribution functions of forecast and truth: at least
    the difference of the mean times. Coordinates that return fewer than 5 times in the true run
    are left out. A forecast that never returns has one time of return, the length of its run; a run
    that diverged has the value infinity. Raises TooShort for a true run in which no coordinate
    returns so often.
    """
    values = np.full(len(truth), np.inf)
    for i in on_attractor(truth, forecast, facts):
        levels, times = _true_returns(truth[i] / facts.scale)
        kept = [c for c, true in enumerate(times) if len(true) >= FEWEST_RETURNS]
        found = _returns(forecast[i] / facts.scale, levels)
        never = np.array([float(truth.shape[1])])
        values[i] = np.mean(
            [
                _wasserstein(times[c], found[c] if len(found[c]) else never) / times[c].mean()
                for c in kept
            ]
        )
    return values


@metric(
    unit="",
    better="lower",
    ideal=0.0,
    worst=np.inf,
    data="free_runs",
    invariant=("units", "origin"),
)
def return_map_distance(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Wasserstein distance of the return maps of maxima, averaged over coordinates.

    The map is the set of pairs of successive `maxima` of a coordinate, (m_n, m_n+1): for Lorenz's z
    a cusp. The distance, in training standard deviations, is that of the two sets of pairs
    projected onto a line, ∫ |F − G|, averaged over 16 lines through the plane. Coordinates with
    fewer than 5 pairs in the true run are left out. A coordinate without a pair of maxima in the
    forecast counts as far as the true run is wide; a run that diverged has the value infinity.
    Raises TooShort likewise.
    """
    values = np.full(len(truth), np.inf)
    for i in on_attractor(truth, forecast, facts):
        maps, width = _true_map(truth[i] / facts.scale)
        kept = [c for c, pairs in enumerate(maps) if len(pairs) >= FEWEST_RETURNS]
        found = _map(forecast[i] / facts.scale)
        values[i] = np.mean(
            [_sliced_wasserstein(maps[c], found[c]) if len(found[c]) else width[c] for c in kept]
        )
    return values


def power_spectrum(run: Points) -> Float[np.ndarray, "frequencies dim"]:
    """Share of each frequency in the variance of each coordinate; columns add up to 1.

    Welch's average over 15 half-overlapping Hann segments, each an eighth of the run. The first
    entry is the share of "does not move": 1 for a coordinate that varies by less than a millionth
    (run in training standard deviations), else 0.
    Raises TooShort below 16 steps a segment.
    """
    length = len(run) // SEGMENTS
    if length < SHORTEST_SEGMENT:
        raise TooShort(
            f"power spectrum: a run of {len(run)} steps is too short; "
            f"give at least {SEGMENTS * SHORTEST_SEGMENT}"
        )
    starts = np.arange(0, len(run) - length + 1, length - length // 2)
    segments = run[starts[:, None] + np.arange(length)]  # (segments, times, dim)
    segments = segments - segments.mean(axis=1, keepdims=True)
    hann = np.sin(np.pi * np.arange(length) / length)[:, None] ** 2
    # scipy.signal.welch gives the same (but for the entry at Nyquist) and takes 1.3 s to import.
    power = np.mean(np.abs(np.fft.rfft(segments * hann, axis=1)) ** 2, axis=0)
    still = (run.std(axis=0) < STILL) | (power[1:].sum(axis=0) == 0)
    power[0] = still
    power[1:, still] = 0.0
    return power / power.sum(axis=0)


def largest_lyapunov_exponent(
    points: Points, dt: float, *, steps: int | None = None, theiler: int | None = None
) -> tuple[float, float]:
    """Largest Lyapunov exponent of a run, and the standard error of the estimate.

    Each point has a nearest neighbour; S(k) is the mean of ln(distance) of these pairs k steps
    later. The exponent is the slope of S, by least squares from 5 to 50 % of its way up from S(0)
    to the mean over pairs that know nothing of each other; over all of S if it never gets so far.
    This takes one step at least: where neighbours are strangers at once, as in noise, the value is
    about ln(number of points) / (dimension · dt).
    Of a flow (successive displacements point alike), distances are perpendicular to its direction
    and a neighbour is at most a step ahead or behind: how far it is along the flow was decided by
    the sampling and does not grow. With whole distances Lorenz scatters by 0.10 instead of 0.05
    of its exponent, and Rossler reads 0.69 instead of 0.95 of its own.

    The error is the spread over 10 blocks of reference points. It does not know of biases: where
    a run is too short for near neighbours, or expands unevenly (Lorenz84: 1.75 of its exponent).
    points: (times, dim) in the coordinates in which distance is meant.
    dt: time between two points; the exponent is per unit of it.
    steps: how long neighbours are followed; by default a tenth of the run.
    theiler: neighbours are farther apart in time than so many steps; by default a fiftieth.
    A run that for a tenth of its length stops, repeats itself exactly or never comes near itself
    again has the exponent (0.0, 0.0).
    Raises TooShort when fewer than 100 points could have a neighbour to follow, ValueError if
    points are not finite.
    Source: Rosenstein, Collins & De Luca, Physica D 65, 117 (1993), but for the perpendicular
    distances and the rule of the region.
    """
    if points.ndim != 2 or not np.isfinite(points).all():
        raise ValueError(f"points must be (times, dim) and finite; got shape {points.shape}")
    steps = len(points) // 10 if steps is None else steps
    theiler = len(points) // 50 if theiler is None else theiler
    needed = REFERENCES + steps + 2 * theiler
    if len(points) < needed or steps < 1:
        raise TooShort(
            f"Lyapunov exponent: {len(points)} points, followed for {steps} steps, with those at "
            f"most {theiler} steps apart left out; give at least {max(needed, 10)} points"
        )
    extent = np.ptp(points, axis=0).max()
    if extent == 0:
        return 0.0, 0.0
    points = (points - points.mean(axis=0)) / extent
    flow = _flow(points)
    sums, terms = divergence_curves(points, flow, steps, theiler)
    if not terms.all():
        return 0.0, 0.0
    curve = sums.sum(axis=0) / terms.sum(axis=0)
    way = (curve - curve[0]) / (_strangers(points, flow) - curve[0])
    region = _region(way)
    times = dt * np.arange(steps + 1)[region]
    weights = (times - times.mean()) / np.sum((times - times.mean()) ** 2)
    blocks = (sums / terms)[:, region] @ weights
    return float(curve[region] @ weights), float(blocks.std(ddof=1) / np.sqrt(BLOCKS))


def return_times(series: Series, level: float) -> Float[np.ndarray, " returns"]:
    """Steps from each rise of the series through the level to the next, interpolated linearly.

    The time from the last rise to the end counts too if it is longer than any other: a series that
    stops, stops. Empty for a series that rises through the level less than twice.
    """
    above = series >= level
    before = np.flatnonzero(~above[:-1] & above[1:])
    rises = before + (level - series[before]) / (series[before + 1] - series[before])
    times = np.diff(rises)
    if len(times) == 0:
        return times
    rest = len(series) - 1 - rises[-1]
    return np.append(times, rest) if rest > times.max() else times


def maxima(series: Series) -> Float[np.ndarray, " maxima"]:
    """Local maxima of a series, each the top of the parabola through three points."""
    before, here, after = series[:-2], series[1:-1], series[2:]
    top = (here > before) & (here >= after)
    before, here, after = before[top], here[top], after[top]
    return here + (after - before) ** 2 / (8 * (2 * here - before - after))


def divergence_curves(
    points: Points, directions: Points, steps: int, theiler: int
) -> tuple[Float[np.ndarray, "blocks followed"], Int[np.ndarray, "blocks followed"]]:
    """Sum and number of ln(distance) of nearest neighbours, 0 … `steps` steps later.

    One row for each of 10 blocks of reference points; their total ratio is Rosenstein's curve.
    directions: (times, dim) displacement a step. What lies along it is no distance, and neighbours
    are at most so far ahead or behind; zeros: distances are whole.
    """
    from dysts_bench.metrics._neighbours import divergence, nearest_neighbours

    reach = np.linalg.norm(directions, axis=1)
    units = directions / np.where(reach > 0, reach, 1.0)[:, None]
    columns, units = np.ascontiguousarray(points.T), np.ascontiguousarray(units.T)
    nearest = nearest_neighbours(columns, units, reach, theiler, len(points) - steps)
    return divergence(columns, units, nearest, steps, BLOCKS)


def _flow(points: Points) -> Points:
    """(times, dim) displacement a step; zeros if successive ones do not point alike, as in maps,
    or if there is nothing across them, in one dimension."""
    moves = np.diff(points, axis=0)
    lengths = np.linalg.norm(moves, axis=1)
    products = lengths[1:] * lengths[:-1]
    moving = products > 0
    cosines = np.sum(moves[1:] * moves[:-1], axis=1)[moving] / products[moving]
    alike = points.shape[1] > 1 and len(cosines) > 0 and cosines.mean() > FLOWS
    return np.gradient(points, axis=0) if alike else np.zeros_like(points)


def _strangers(points: Points, directions: Points) -> float:
    """Mean of ln(distance) over pairs a quarter to three quarters of the run apart."""
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    units = directions / np.where(lengths > 0, lengths, 1.0)
    logs = []
    for shift in np.linspace(len(points) // 4, 3 * len(points) // 4, 16).astype(int):
        offset = np.roll(points, shift, axis=0) - points
        squared = np.sum(offset**2, axis=1) - np.sum(offset * units, axis=1) ** 2
        logs.append(np.log(squared[squared > 0]) / 2)
    return float(np.mean(np.concatenate(logs)))


def _region(way: Float[np.ndarray, " followed"]) -> slice:
    """From the last step below the lower part of the way to the first above the upper; or all."""
    low, high = RISE
    if not (way >= high).any():
        return slice(None)
    return slice(int(np.argmax(way >= low)) - 1, int(np.argmax(way >= high)) + 1)


def _returns(run: Points, levels: Float[np.ndarray, " dim"]) -> list[np.ndarray]:
    return [return_times(series, level) for series, level in zip(run.T, levels, strict=True)]


def _map(run: Points) -> list[np.ndarray]:
    tops = [maxima(series) for series in run.T]
    return [np.stack([top[:-1], top[1:]], axis=1) for top in tops]


def _wasserstein(x: Series, y: Float[np.ndarray, " others"]) -> float:
    """∫ |F − G| of the distribution functions of two samples."""
    x, y = np.sort(x), np.sort(y)
    both = np.sort(np.concatenate([x, y]))
    shares = (np.searchsorted(z, both[:-1], side="right") / len(z) for z in (x, y))
    return float(np.sum(np.abs(np.subtract(*shares)) * np.diff(both)))


def _sliced_wasserstein(x: Float[np.ndarray, "pairs 2"], y: Float[np.ndarray, "others 2"]) -> float:
    lines = np.stack([np.cos(ANGLES), np.sin(ANGLES)])
    projected = zip((x @ lines).T, (y @ lines).T, strict=True)
    return float(np.mean([_wasserstein(*both) for both in projected]))


_true_spectrum = remembered(power_spectrum)


@remembered
def _true_returns(run: Points) -> tuple[Float[np.ndarray, " dim"], list[np.ndarray]]:
    """Means of a true run's coordinates, and the times of return to them."""
    levels = run.mean(axis=0)
    returns = _returns(run, levels)
    _enough(returns, len(run), "returns to its mean")
    return levels, returns


@remembered
def _true_map(run: Points) -> tuple[list[np.ndarray], Float[np.ndarray, " dim"]]:
    """The return maps of a true run's coordinates, and how wide these are."""
    maps = _map(run)
    _enough(maps, len(run), "pairs of successive maxima")
    return maps, np.ptp(run, axis=0)


def _enough(found: list[np.ndarray], times: int, kind: str) -> None:
    most = max(map(len, found))
    if most < FEWEST_RETURNS:
        raise TooShort(
            f"in {times} steps no coordinate has {FEWEST_RETURNS} {kind}, the most is {most}; "
            "give a longer run"
        )


@remembered
def _true_exponent(run: Points, dt: float, steps: int) -> tuple[float, int]:
    """Largest exponent of a true run, and the lag that it was embedded with."""
    lag = decorrelation_time(run)
    return _exponent(run, lag, dt, steps), lag


def _exponent(run: Points, lag: int, dt: float, steps: int) -> float:
    value, _ = largest_lyapunov_exponent(embed(run, lag), dt, steps=steps)
    return 0.0 if (run.std(axis=0) < STILL).all() else value
