"""How long a forecast is good for, in Lyapunov times.

Truth, forecast and facts as in `base`.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from dysts_bench.metrics.base import Facts, PerWindow, Windows, metric


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
    truth: Windows, forecast: Windows, facts: Facts, threshold: float = 0.4
) -> PerWindow:
    """Time, in Lyapunov times, until the normalised error first exceeds 0.4.

    e(t) = √(mean over coordinates of ((x − y)/σ)²), σ the training standard deviation; the value
    is (steps before the first with e > threshold) · dt / lyapunov_time. Pointwise: one bad step
    ends it, later luck does not count. A forecast that is not finite exceeds. A window in which e
    never exceeds has the value of `length_of_truth`, and is censored there.
    After Pathak et al., Chaos 28, 041101 (2018), who choose 0.4. Values under the rule "cumulative
    sMAPE above 30" are longer, on Lorenz by half; the two cannot be compared.
    """
    valid = normalised_error(truth, forecast, facts) <= threshold  # False where e is NaN
    steps = np.where(valid.all(axis=1), truth.shape[1], np.argmin(valid, axis=1))
    return steps * facts.dt / facts.lyapunov_time


def normalised_error(
    truth: Windows, forecast: Windows, facts: Facts
) -> Float[np.ndarray, "windows horizon"]:
    """e(t), the root mean square over coordinates of the error in training standard deviations."""
    with np.errstate(all="ignore"):
        return np.sqrt(np.mean(((truth - forecast) / facts.scale) ** 2, axis=2))
