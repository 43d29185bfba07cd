"""Growth of tangent vectors along trajectories, many at once, by the Taylor integrator.

The vectors are made orthonormal after every step (Benettin et al. 1980, Meccanica 15, 9; Shimada
and Nagashima 1979, Prog. Theor. Phys. 61, 1605).
"""

import math

import numpy as np
from jaxtyping import Float

from systems import taylor_kernel as kernels
from systems.catalog import System
from systems.jets import compile_step

TOLERANCE = 1e-10  # of a step: far below the statistical error of an exponent
ORDERS = 12  # costs least at this tolerance
WIDTH = 8  # trajectories side by side
SETTLING = 0.1  # part of the length in which the vectors turn into the Lyapunov vectors
STEPS_PER_CALL = 100_000


def growth_rates(
    system: System, starts: Float[np.ndarray, "trajectories dim"], length: float
) -> Float[np.ndarray, "trajectories dim"]:
    """Mean growth rates of an orthonormal frame, per unit of system time, along the trajectory of
    `length` through each of `starts`, after a tenth of it more; nan where one escapes."""
    rates = [
        _batch(system, starts[first : first + WIDTH], length)
        for first in range(0, len(starts), WIDTH)
    ]
    return np.concatenate(rates)


def _batch(system: System, starts: np.ndarray, length: float) -> np.ndarray:
    m, n = starts.shape
    step = compile_step(system, "double", WIDTH, vectors=n, orders=ORDERS)
    filled = np.concatenate([starts, np.repeat(starts[:1], WIDTH - m, axis=0)])
    states = np.zeros((n * (1 + n), 3, WIDTH))
    states[:n, 0] = filled.T
    states[:n, 2] = np.maximum(np.abs(filled), 1e-3 * np.abs(filled).max(axis=1, keepdims=True)).T
    states[n:, 0] = np.eye(n).reshape(-1, 1)
    states[n:, 2] = 1.0
    clock, begin, epoch = np.zeros((2, WIDTH)), np.zeros((2, WIDTH)), np.zeros(WIDTH)
    coefficients = np.empty(step.coefficients)
    conditions = np.zeros(WIDTH, dtype=np.int64)
    conditions[m:] = kernels.COLLAPSED  # lanes that hold no trajectory of ours
    growth = np.zeros((n, WIDTH))
    before = np.zeros(WIDTH)
    for until in (SETTLING * length, (1 + SETTLING) * length):
        before = begin[0].copy()
        growth[:] = 0.0
        status = kernels.GO_ON
        while status == kernels.GO_ON:
            status = kernels.compiled().stretch(
                step.address,
                np.array(step.parameters),
                n,
                n,
                WIDTH,
                math.log2(TOLERANCE),
                states,
                clock,
                begin,
                epoch,
                coefficients,
                until,
                growth,
                conditions,
                STEPS_PER_CALL,
            )
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = growth / (begin[0] - before)
    rates[:, conditions != kernels.RUNNING] = np.nan
    return rates[:, :m].T
