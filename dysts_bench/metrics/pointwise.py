"""Errors and correlations of a forecast, step by step against the truth.

Truth, forecast and facts as in `base`; each metric is one value a window, over all steps and
coordinates. What is not linear in the coordinates is computed for each coordinate and averaged, so
that no coordinate counts for more because of its units.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from dysts_bench.metrics.base import Facts, PerWindow, TooShort, Windows, metric

PerCoordinate = Float[np.ndarray, "windows dim"]


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
    invariant=("units", "origin"),
    per_step=True,
)
def nrmse(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Root mean squared error in standard deviations of the training data, √(mean ((x − y)/σ)²).

    A forecast of the training mean scores about 1, two unrelated true trajectories about √2.
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
    unit="steps of a persistence forecast",
    better="lower",
    ideal=0.0,
    worst=np.inf,
    invariant=("units", "origin"),
)
def mase(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Mean absolute error over the mean absolute change of the training data in one step.

    mean_d ( mean_t |x − y| / mean_t |train[t+1] − train[t]| ); Hyndman & Koehler 2006, season 1.
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
    invariant=("units", "origin"),
)
def r2(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Coefficient of determination, mean over coordinates of 1 − Σ(x − y)² / Σ(x − mean x)².

    A coordinate whose truth does not vary in the window counts 1 if met exactly, else 0.
    """
    residual = np.sum((truth - forecast) ** 2, axis=1)  # (windows, dim)
    spread = np.sum((truth - truth.mean(axis=1, keepdims=True)) ** 2, axis=1)
    explained = 1 - residual / spread
    met = np.where(np.isfinite(residual), residual == 0, -np.inf)
    return np.mean(np.where(_constant(truth) | (spread == 0), met, explained), axis=1)


@metric(unit="correlation", better="higher", ideal=1.0, worst=-1.0, invariant=("units", "origin"))
def pearson(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Linear correlation over time, averaged over coordinates.

    A coordinate constant in truth or forecast counts 0 (1 if both are equal throughout).
    """
    return _mean_where_defined(_product(truth, forecast), truth, forecast)


@metric(unit="correlation", better="higher", ideal=1.0, worst=-1.0, invariant=("units", "origin"))
def spearman(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Rank correlation over time, averaged over coordinates; ties share their mean rank.

    A coordinate constant in truth or forecast counts 0 (1 if both are equal throughout).
    """
    return _mean_where_defined(_product(_ranks(truth), _ranks(forecast)), truth, forecast)


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


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator with 0/0 = 0: no error is no error in any unit."""
    return np.where(numerator == 0, 0.0, numerator / denominator)
