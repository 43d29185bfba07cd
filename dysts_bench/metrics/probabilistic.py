"""Forecasts that are samples from a distribution: how near it is to the truth, and how honest.

Truth (windows, horizon, dim) and forecast (samples, windows, horizon, dim) as in `base`. Distances
are in training standard deviations. `crps`, `energy_score` and `quantile_loss` are proper: nobody
gains by sampling from a distribution that they do not believe in, and a wide one is not for free.
`coverage_error` and `spread_skill_error` ask only whether the spread is as large as the errors are,
which the climate of the training data answers well: read them beside the others.

A window with a sample that is NaN or infinite anywhere has the `worst` value. The same sample over
and over is a forecast without spread; where it is the truth itself, every value is ideal.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from dysts_bench.metrics.base import Facts, PerWindow, Samples, TooShort, Windows, metric

DECILES = np.arange(1, 10) / 10
LEVEL = 0.9  # of the interval whose coverage is scored

BySample = Float[np.ndarray, "windows horizon dim samples"]


@metric(
    unit="standard deviations",
    better="lower",
    ideal=0.0,
    worst=np.inf,
    data="samples",
    invariant=("units", "origin"),
)
def crps(truth: Windows, forecast: Samples, facts: Facts) -> PerWindow:
    """Continuous ranked probability score, mean |y_i − x| − ½ mean |y_i − y_j|.

    Of the n samples y_i at every step and coordinate, then averaged. All n² pairs count, those of
    a sample with itself too: it is the score of the empirical distribution, whose expectation for n
    draws of the right one is a factor 1 + 1/n above that of the distribution itself. (The "fair"
    score has no such factor, but is 0 for two samples on either side of the truth, however far.)
    With a single sample it is the mean absolute error.
    Source: Gneiting & Raftery, J. Am. Stat. Assoc. 102, 359 (2007).
    """
    error = np.sort(_by_sample(forecast - truth, facts), axis=-1)
    samples = error.shape[-1]
    # The same sum in a form (Laio & Tamea 2007) in which no term is negative: nothing cancels.
    weight = samples * (error > 0) - np.arange(samples) - 0.5
    values = np.mean(2 / samples**2 * np.sum(error * weight, axis=-1), axis=(1, 2))
    return np.where(_finite(forecast), values, np.inf)


@metric(
    unit="standard deviations",
    better="lower",
    ideal=0.0,
    worst=np.inf,
    data="samples",
    invariant=("units", "origin"),
)
def energy_score(truth: Windows, forecast: Samples, facts: Facts) -> PerWindow:
    """Energy score, mean |y_i − x| − ½ mean |y_i − y_j| with Euclidean distances between states.

    The CRPS of whole states (equal to it for one coordinate), so that it also sees how the
    coordinates hang together; averaged over steps. All n² pairs count, as in `crps`.
    Source: Gneiting & Raftery, J. Am. Stat. Assoc. 102, 359 (2007).
    """
    from dysts_bench.metrics._ensembles import energy_scores

    values = np.mean(energy_scores(_by_sample(forecast - truth, facts)), axis=1)
    return np.where(_finite(forecast), values, np.inf)


@metric(
    unit="standard deviations",
    better="lower",
    ideal=0.0,
    worst=np.inf,
    data="samples",
    invariant=("units", "origin"),
)
def quantile_loss(truth: Windows, forecast: Samples, facts: Facts) -> PerWindow:
    """Twice the pinball loss, 2 · max(q (x − y_q), (q − 1)(x − y_q)), mean over the deciles q.

    y_q is the q-quantile of the samples, interpolated linearly; q runs from 0.1 to 0.9. Averaged
    over steps and coordinates. With the factor 2, as in darts.metrics.mql, it is the mean absolute
    error for a single sample, and its integral over all q is the CRPS: the deciles leave out the
    tails, where the loss is least, so that it reads 9 % higher for a calibrated Gaussian.
    Source: Koenker & Bassett, Econometrica 46, 33 (1978).
    """
    beyond = np.quantile(_by_sample(forecast - truth, facts), DECILES, axis=-1)  # y_q − x
    beyond = np.ascontiguousarray(np.moveaxis(beyond, 0, -1))
    loss = 2 * np.maximum(-DECILES * beyond, (1 - DECILES) * beyond)
    return np.where(_finite(forecast), np.mean(np.mean(loss, axis=-1), axis=(1, 2)), np.inf)


@metric(
    unit="share of steps",
    better="lower",
    ideal=0.0,
    worst=LEVEL,
    data="samples",
    invariant=("units", "origin"),
)
def coverage_error(truth: Windows, forecast: Samples, facts: Facts) -> PerWindow:
    """Distance from 0.9 of the share of the truth inside the central 90 % of the samples.

    See `coverage`. 0.9: the truth is always outside; 0.1: always well inside, the samples spread
    too far. Raises TooShort for a single sample.
    """
    return np.where(_finite(forecast), np.abs(coverage(truth, forecast) - LEVEL), LEVEL)


@metric(
    unit="nats",
    better="lower",
    ideal=0.0,
    worst=np.inf,
    data="samples",
    invariant=("units", "origin"),
)
def spread_skill_error(truth: Windows, forecast: Samples, facts: Facts) -> PerWindow:
    """Absolute logarithm of the samples' spread over the error of their mean.

    See `spread_skill_ratio`: ln 2 = 0.69 is a spread half or twice as large as it should be. No
    spread beside an error, and an exact mean beside a spread, have the value infinity. Raises
    TooShort for a single sample.
    """
    ratio = spread_skill_ratio(truth, forecast, facts)
    return np.where(_finite(forecast), np.abs(np.log(ratio)), np.inf)


def coverage(truth: Windows, samples: Samples, level: float = LEVEL) -> PerWindow:
    """Share of the truth inside the central `level` of the samples, over steps and coordinates.

    From ranks: between n draws of the truth's own distribution it falls into each of the n + 1 gaps
    equally often, so that the gaps are that many equal parts of [0, 1], and what counts is the
    share of its gap that lies within (1 ± level) / 2: the expectation is `level` for any n. A truth
    that equals k of the samples has k + 1 gaps to itself, evenly. Fewer than 2 / (1 − level) − 1
    samples (19 for 0.9) cannot tell a miss, which then counts in part.
    Raises TooShort for a single sample, between two halves of the line.
    Source: Hamill, Mon. Weather Rev. 129, 550 (2001).
    """
    _need_two(samples, "coverage")
    gaps = len(samples) + 1
    low = np.sum(samples < truth, axis=0) / gaps
    high = (np.sum(samples <= truth, axis=0) + 1) / gaps
    first, last = (1 - level) / 2, (1 + level) / 2
    inside = np.maximum(np.minimum(high, last) - np.maximum(low, first), 0)
    return np.mean(inside / (high - low), axis=(1, 2))


def spread_skill_ratio(truth: Windows, samples: Samples, facts: Facts) -> PerWindow:
    """√(mean variance · (n + 1) / n) over the root mean squared error of the samples' mean.

    Means over steps and coordinates, in training standard deviations; unbiased variance of the n
    samples. 1 if the samples are drawn from the truth's own distribution, less if they are too
    sure. 0/0 = 1: no spread is needed where there is no error.
    Raises TooShort for a single sample, which has no spread.
    Source: Fortin, Abaza, Anctil & Turcotte, J. Hydrometeorol. 15, 1708 (2014).
    """
    _need_two(samples, "spread")
    count = len(samples)
    # Relative to one of the samples, so that equal ones have no spread, not one of rounding.
    apart = _by_sample(samples - samples[0], facts)
    centre = np.mean(apart, axis=-1)
    deviation = apart - centre[..., None]
    variance = np.mean(np.sum(deviation**2, axis=-1) / (count - 1), axis=(1, 2))
    error = np.mean(((samples[0] - truth) / facts.scale + centre) ** 2, axis=(1, 2))
    both_zero = (variance == 0) & (error == 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(both_zero, 1.0, np.sqrt(variance * (count + 1) / count / error))


def _by_sample(differences: Samples, facts: Facts) -> BySample:
    """In training deviations, the samples last: sums over them then run in one order, always."""
    return np.ascontiguousarray(np.moveaxis(differences / facts.scale, 0, -1))


def _finite(forecast: Samples) -> Bool[np.ndarray, " windows"]:
    return np.isfinite(forecast).all(axis=(0, 2, 3))


def _need_two(samples: Samples, what: str) -> None:
    if len(samples) < 2:
        raise TooShort(f"{what} takes two samples or more, 20 to be of use; got {len(samples)}")
