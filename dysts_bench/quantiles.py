"""Quantiles of samples in which some values are lower bounds (censored) and some are failures.

Scores: higher is better, -inf is a failure.
"""

import numpy as np
from jaxtyping import Bool, Float

RESAMPLES = 5000
_SEED = 0  # of the bootstrap: part of the definition, so that a table can be made again

Sample = Float[np.ndarray, "*batch systems"]
Flags = Bool[np.ndarray, "*batch systems"]


def ascending_pair(values: Sample, censored: Flags) -> tuple[Sample, Flags]:
    """Both sorted by value; what ended at a time comes before what was only followed so far."""
    order = np.lexsort((censored, values))
    return np.take_along_axis(values, order, -1), np.take_along_axis(censored, order, -1)


def quantile(ascending: Sample, censored: Flags, q: float) -> Float[np.ndarray, "*batch"]:
    """The linear quantile; -inf as soon as a failure takes part in it.

    With censored values, that of the distribution of Kaplan & Meier (J. Am. Stat. Assoc. 53, 457,
    1958), interpolated likewise: without any, both are one. The largest value counts as an end
    (Efron 1967), so that a quantile beyond it is a lower bound.
    """
    n = ascending.shape[-1]
    if n == 1:
        return ascending[..., 0]
    ends = ~censored
    ends[..., -1] = True
    following = n - np.arange(n)  # how many are not yet over before each value
    mass = 1 - np.cumprod(np.where(ends, 1 - 1 / following, 1.0), axis=-1)
    # numpy's linear quantile puts the k-th of n equal masses at (k − 1) / (n − 1). An end that took
    # over the mass of censored values is as many masses as that is, all at its value.
    knots = (mass * n - 1) / (n - 1)
    taken = np.diff(mass * n, axis=-1, prepend=0.0) - 1
    first_knots = np.where(taken > 1e-9, knots - taken / (n - 1), knots)
    number = np.arange(n)
    last_end = np.maximum.accumulate(np.where(ends, number, -1), axis=-1)
    # Products of (1 − 1/k) round: a knot a few 1e-16 below q is at q.
    high = np.argmax(ends & (knots >= q - 1e-12), axis=-1)[..., None]
    before = np.take_along_axis(last_end, np.maximum(high - 1, 0), -1)
    low = np.where((high == 0) | (before < 0), high, before)
    below, above = (np.take_along_axis(ascending, i, -1)[..., 0] for i in (low, high))
    left = np.take_along_axis(knots, low, -1)[..., 0]
    right = np.take_along_axis(first_knots, high, -1)[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):  # discarded in the next lines
        part = np.clip((q - left) / (right - left), 0.0, 1.0)
        between = below + part * (above - below)
    at_knot = (low == high)[..., 0] | (right <= q + 1e-12)
    return np.where(at_knot, above, np.where(np.isneginf(below), -np.inf, between))


def bootstrap(ascending: Float[np.ndarray, " systems"], censored: Flags) -> tuple[float, float]:
    """The 2.5 % and 97.5 % quantiles of the median over systems drawn with replacement."""
    if len(ascending) < 2:
        return np.nan, np.nan  # one system says nothing about others
    rng = np.random.default_rng(_SEED)
    # Sorted numbers are sorted values: the sample is in order, ties and all.
    drawn = np.sort(rng.integers(0, len(ascending), (RESAMPLES, len(ascending))), axis=1)
    medians = np.sort(quantile(ascending[drawn], censored[drawn], 0.5))
    known = np.zeros(RESAMPLES, dtype=bool)
    return float(quantile(medians, known, 0.025)), float(quantile(medians, known, 0.975))
