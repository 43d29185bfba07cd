"""How long a forecast is good for, in Lyapunov times, and how fast it goes wrong.

Truth, forecast and facts as in `base`.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from dysts_bench.metrics.base import Facts, PerWindow, Windows, metric

THRESHOLD = 0.4
# Errors below this part of the attractor's size are rounding: it is what a perfect model starts at.
ROUNDING = 2.0**-52


def length_of_truth(truth: Windows, facts: Facts) -> float:
    """The windows' horizon in Lyapunov times: no forecast can be seen to hold for longer."""
    return truth.shape[1] * facts.dt / facts.lyapunov_time


@metric(
    unit="Lyapunov times",
    better="higher",
    ideal=np.inf,
    worst=0.0,
    per_window=True,
    limit=length_of_truth,
    invariant=("units", "origin"),
)
def valid_prediction_time(
    truth: Windows, forecast: Windows, facts: Facts, threshold: float = THRESHOLD
) -> PerWindow:
    """Time, in Lyapunov times, until the normalised error first exceeds 0.4.

    e(t) = √(mean over coordinates of ((x − y)/σ)²), σ the training standard deviation; the value
    is (steps before the first with e > threshold) · dt / lyapunov_time. Pointwise: one bad step
    ends it, later luck does not count. A forecast that is not finite exceeds. A window in which e
    never exceeds has the value of `length_of_truth`, and is censored there.
    After Pathak et al., Chaos 28, 041101 (2018), who choose 0.4. Values under the rule of
    `smape_prediction_time` are longer, on Lorenz by half; the two cannot be compared.
    """
    valid = normalised_error(truth, forecast, facts) <= threshold  # False where e is NaN
    return _steps(valid) * facts.dt / facts.lyapunov_time


@metric(
    unit="Lyapunov times",
    better="higher",
    ideal=np.inf,
    worst=0.0,
    per_window=True,
    limit=length_of_truth,
    invariant=("units",),
)
def smape_prediction_time(
    truth: Windows,
    forecast: Windows,
    facts: Facts,
    threshold: float = 30.0,
    cumulative: bool = True,
) -> PerWindow:
    """Time, in Lyapunov times, until the cumulative sMAPE first exceeds 30 (of 200).

    The sMAPE (`pointwise.smape`) is taken over all steps from the first to t, so that good steps
    make up for bad ones; with cumulative=False over step t alone. It depends on the origin.
    Otherwise as `valid_prediction_time`.
    After Zhang & Gilpin, ICLR 2025, and the PhyxMamba repository: the rule behind published
    "valid prediction times" that count sMAPE.
    """
    with np.errstate(all="ignore"):
        error, size = np.abs(truth - forecast), np.abs(truth) + np.abs(forecast)
        share = np.where(error == 0, 0.0, error / size)
    by_step = 200 * np.mean(np.where(np.isnan(share), 1.0, share), axis=2)  # (windows, horizon)
    if cumulative:
        by_step = np.cumsum(by_step, axis=1) / np.arange(1, truth.shape[1] + 1)
    # A step that is not finite ends it, however good the average still is.
    valid = (by_step <= threshold) & np.isfinite(forecast).all(axis=2)
    return _steps(valid) * facts.dt / facts.lyapunov_time


@metric(
    unit="largest Lyapunov exponent",
    better="lower",
    ideal=0.0,
    worst=np.inf,
    invariant=("units", "origin"),
)
def error_growth_rate(
    truth: Windows, forecast: Windows, facts: Facts, threshold: float = THRESHOLD
) -> PerWindow:
    """Growth rate of the forecast's error until it exceeds 0.4, as a multiple of the true exponent.

    Slope of the least-squares line through ln e(t), e the `normalised_error` (what is below
    rounding, 2⁻⁵², counts as that much) over t in Lyapunov times, from the first step to the last
    before e exceeds the threshold; at least 0. The truth itself from another initial state has 1
    (0.84 to 1.1 on five systems; the time of first passage would give up to 1.4, for it selects the
    fast windows); more is a model's own error on top. 0 is a forecast whose error does not grow. A
    forecast that is wrong within two steps counts as grown from rounding in one: the most there is.
    After Aurell et al., Phys. Rev. Lett. 77, 1262 (1996), who measure growth of finite size.
    """
    error = normalised_error(truth, forecast, facts)
    steps = _steps(error <= threshold)[:, None]
    time = np.arange(truth.shape[1]) * facts.dt / facts.lyapunov_time
    counted = np.arange(truth.shape[1]) < steps
    logarithm = np.log(np.maximum(error, ROUNDING, where=counted, out=np.ones_like(error)))
    away = np.where(counted, time - (time * counted).sum(axis=1, keepdims=True) / steps, 0.0)
    slope = np.sum(away * logarithm, axis=1) / np.sum(away**2, axis=1)
    most = np.log(threshold / ROUNDING) * facts.lyapunov_time / facts.dt
    growth = np.where(steps[:, 0] < 2, most, np.maximum(slope, 0.0))
    return np.where(np.isfinite(forecast[:, 0]).all(axis=1), growth, np.inf)


def normalised_error(
    truth: Windows, forecast: Windows, facts: Facts
) -> Float[np.ndarray, "windows horizon"]:
    """e(t), the root mean square over coordinates of the error in training standard deviations."""
    with np.errstate(all="ignore"):
        return np.sqrt(np.mean(((truth - forecast) / facts.scale) ** 2, axis=2))


def _steps(valid: Bool[np.ndarray, "windows horizon"]) -> PerWindow:
    """How many steps from the first on are valid without a gap."""
    return np.where(valid.all(axis=1), valid.shape[1], np.argmin(valid, axis=1)).astype(float)
