"""Shared autoregression: a one-step map becomes a forecast by feeding itself."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from models.base import DIVERGED, Forecast, Windows


def autoregress(
    step: Callable[[Windows], Float[np.ndarray, "windows block dim"]],
    context: Windows,
    horizon: int,
    *,
    memory: int,
) -> Forecast:
    """Repeat `step`, which maps the last `memory` states to the next block of states.

    A window that leaves |x| < 1e3 is handed on as zeros and returned as NaN, so that one
    diverging window cannot raise warnings or slow the others down.
    """
    windows, known, dim = context.shape
    states = np.concatenate(
        [context[:, known - memory :], np.empty((windows, horizon, dim))], axis=1
    )
    lost = np.zeros(windows, dtype=bool)
    lost_from = np.full(windows, horizon)
    now = 0
    while now < horizon:
        block = step(states[:, now : now + memory])[:, : horizon - now]
        if lost.any() or not np.abs(block).max() < DIVERGED:
            outside = ~(np.abs(block) < DIVERGED).all(axis=2)  # (windows, block)
            leaves = outside.any(axis=1) & ~lost
            lost_from[leaves] = now + outside[leaves].argmax(axis=1)
            lost |= leaves
            block = np.where(lost[:, None, None], 0.0, block)
        states[:, memory + now : memory + now + block.shape[1]] = block
        now += block.shape[1]
    forecast = states[:, memory:]
    forecast[np.arange(horizon) >= lost_from[:, None]] = np.nan
    return forecast
