"""Whether long free runs are as unpredictable as the truth: orderings and repetitions of values.

Truth, forecast and facts as in `base`, with free runs for windows. Run i of the forecast is
compared with run i of the truth, as in `dynamics`. What is known of the truth is remembered.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from dysts_bench.metrics._runs import Points, decorrelation_time, on_attractor
from dysts_bench.metrics.base import Facts, PerWindow, TooShort, Windows, metric, remembered

Series = Float[np.ndarray, " times"]

ORDER = 5  # 120 patterns: as many as a run of 5000 steps can tell apart
# Flows are sampled 30 times a period: from a thirtieth of it to about a half.
SCALES = (1, 2, 4, 8, 16)
COARSEST = 30  # values left of a run at the largest scale, at least
TOLERANCE = 0.2  # standard deviations, Richman & Moorman's and Costa's choice


@metric(
    unit="",
    better="lower",
    ideal=0.0,
    worst=np.inf,
    data="free_runs",
    invariant=("units", "origin"),
)
def permutation_entropy_error(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Error of the permutation entropy, |H(y) − H(x)|, averaged over coordinates.

    Patterns of 5 values, the true run's decorrelation time apart. A run that stops has the entropy
    0, noise 1; a run that diverged has the value infinity. Raises TooShort likewise.
    """
    values = np.full(len(truth), np.inf)
    for i in on_attractor(truth, forecast, facts):
        true, delay = _true_orderings(truth[i] / facts.scale)
        values[i] = np.mean(np.abs(_orderings(forecast[i] / facts.scale, delay) - true))
    return values


@metric(
    unit="nats",
    better="lower",
    ideal=0.0,
    worst=np.inf,
    data="free_runs",
    invariant=("units", "origin"),
)
def multiscale_entropy_error(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Error of the sample entropy, |S(y) − S(x)|, averaged over scales and coordinates.

    Both by `multiscale_entropy` at the scales 1, 2, 4, 8 and 16 steps, with a tolerance of 0.2
    training standard deviations for both: an imitation of half the size repeats itself more. A run
    that stops has the entropy 0, one that diverged the value infinity. Raises TooShort below 30
    values at the largest scale, 480 steps.
    """
    if truth.shape[1] < COARSEST * SCALES[-1]:
        raise TooShort(
            f"multiscale entropy: a run of {truth.shape[1]} steps is too short; "
            f"give at least {COARSEST * SCALES[-1]}"
        )
    values = np.full(len(truth), np.inf)
    for i in on_attractor(truth, forecast, facts):
        true = _true_repetitions(truth[i] / facts.scale)
        values[i] = np.mean(np.abs(_repetitions(forecast[i] / facts.scale) - true))
    return values


def permutation_entropy(series: Series, order: int = 3, delay: int = 1) -> float:
    """Entropy of the order of `order` values, `delay` steps apart, as a share of ln(order!).

    0 for a series that only rises (equal values count as rising), 1 where all orders are as
    frequent, as in noise. Raises TooShort for fewer than order! patterns.
    Source: Bandt & Pompe, Phys. Rev. Lett. 88, 174102 (2002).
    """
    patterns = len(series) - (order - 1) * delay
    if patterns < math.factorial(order):
        raise TooShort(
            f"permutation entropy: {len(series)} values make {patterns} patterns of {order} values "
            f"{delay} apart; give at least {math.factorial(order) + (order - 1) * delay} values"
        )
    delayed = np.stack([series[k * delay : k * delay + patterns] for k in range(order)], axis=1)
    codes = delayed.argsort(axis=1, kind="stable") @ order ** np.arange(order)
    shares = np.unique(codes, return_counts=True)[1] / patterns
    # + 0.0: of a single pattern the sum is −0.
    return float(-np.sum(shares * np.log(shares)) / math.log(math.factorial(order)) + 0.0)


def sample_entropy(series: Series, m: int = 2, tolerance: float | None = None) -> float:
    """−ln of the chance that two stretches alike for m values are alike for m + 1, in nats.

    Alike: every value closer than `tolerance`, by default 0.2 standard deviations of the series.
    Of A pairs alike for m + 1 and B for m values, −ln(A / B). Without any pair, where that is
    infinite or undefined, the value is that of a single one: ln B, the most that these data can
    show, or without B the logarithm of the number of pairs. 0 for a series that varies by less
    than the tolerance, or not at all. Raises TooShort for fewer than m + 2 values.
    Source: Richman & Moorman, Am. J. Physiol. Heart 278, H2039 (2000).
    """
    from dysts_bench.metrics._neighbours import count_alike

    stretches = len(series) - m
    if stretches < 2:
        raise TooShort(f"sample entropy: {len(series)} values; give at least {m + 2}")
    extent = np.ptp(series)
    tolerance = TOLERANCE * float(np.std(series)) if tolerance is None else tolerance
    if extent < tolerance or extent == 0:
        return 0.0
    first = np.argsort(series[:stretches])
    values = np.stack([series[first + k] for k in range(m + 1)])
    shorter, longer = count_alike(values, tolerance)
    if shorter == 0:
        return math.log(stretches * (stretches - 1) / 2)
    return math.log(shorter / max(longer, 1))


def multiscale_entropy(
    series: Series,
    scales: tuple[int, ...] = SCALES,
    m: int = 2,
    tolerance: float | None = None,
) -> Float[np.ndarray, " scales"]:
    """Sample entropy of the series averaged over stretches of so many steps, for each scale.

    The tolerance is one for all scales, by default 0.2 standard deviations of the series itself:
    of white noise, whose averages shrink, the entropy falls; of noise with long memory it stays.
    Source: Costa, Goldberger & Peng, Phys. Rev. Lett. 89, 068102 (2002).
    """
    tolerance = TOLERANCE * float(np.std(series)) if tolerance is None else tolerance
    return np.array([sample_entropy(_averaged(series, scale), m, tolerance) for scale in scales])


def _averaged(series: Series, scale: int) -> Float[np.ndarray, " averages"]:
    return series[: len(series) // scale * scale].reshape(-1, scale).mean(axis=1)


@remembered
def _true_orderings(run: Points) -> tuple[Float[np.ndarray, " dim"], int]:
    """Permutation entropies of a true run, and the delay that they are measured with."""
    delay = decorrelation_time(run)
    return _orderings(run, delay), delay


def _orderings(run: Points, delay: int) -> Float[np.ndarray, " dim"]:
    return np.array([permutation_entropy(series, ORDER, delay) for series in run.T])


def _repetitions(run: Points) -> Float[np.ndarray, "dim scales"]:
    return np.array([multiscale_entropy(series, tolerance=TOLERANCE) for series in run.T])


_true_repetitions = remembered(_repetitions)
