"""Lyapunov exponents of a map from the products of its Jacobians, kept apart by QR."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

States = Float[np.ndarray, "windows states"]
Tangents = Float[np.ndarray, "windows states directions"]

ALIGNMENT = 5  # one step before the count begins for each five that count


def growth_rates(
    advance: Callable[[States, Tangents], tuple[States, Tangents]],
    state: States,
    dim: int,
    steps: int,
    count: int,
    diverged: float,
) -> Float[np.ndarray, "windows {count}"]:
    """Mean logarithmic growth per step of `count` tangent vectors, the fastest first.

    advance: (state, tangents) -> the next state, the Jacobian at `state` times the tangents.
    dim: the last so many entries of a state end a run, with NaN, when they leave |x| < diverged.
    `steps` // 5 steps are run before those that count. Rates of vectors beyond the number of
    states are −inf.
    """
    from models._tangent_loops import orthonormalised

    windows, states = state.shape
    kept = min(count, states)
    # At random, with a fixed seed: the result is a function of its arguments, and no direction is
    # left out by being one of the model's own.
    start = np.linalg.qr(np.random.default_rng(0).normal(size=(states, kept))).Q
    frame = np.tile(start, (windows, 1, 1))
    logs = np.zeros((windows, kept))
    lost = np.zeros(windows, dtype=bool)
    for step in range(-(steps // ALIGNMENT), steps):
        # QR at every step costs less than a step and needs no guess at how fast vectors align.
        state, tangents = advance(state, frame)
        inside = (np.abs(state[:, -dim:]) < diverged).all(axis=1)  # False for NaN too
        lost |= ~(inside & np.isfinite(tangents).all(axis=(1, 2)))
        if lost.all():
            break
        if lost.any():  # goes on as something tame, so as not to raise warnings
            state = np.where(lost[:, None], 0.0, state)
            tangents = np.where(lost[:, None, None], start, tangents)
        frame, stretched = orthonormalised(tangents)
        if step >= 0:
            with np.errstate(divide="ignore"):  # a direction that is forgotten at once: −inf
                logs += np.log(stretched)
    rates = np.full((windows, count), -np.inf)
    # Finite runs leave exponents that are equal, or nearly, in any order.
    rates[:, :kept] = -np.sort(-logs / steps, axis=1)
    rates[lost] = np.nan
    return rates
