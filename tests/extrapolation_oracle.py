"""An independent integrator of higher precision: Gragg-Bulirsch-Stoer in extended precision.

Modified midpoint steps with the even sequence 2, 4, 6, …, extrapolated to step length zero with
Aitken-Neville in h² (Hairer et al. 1993, II.9). It shares nothing with the integrator under test
but the tree of the equations, which it evaluates on `np.longdouble` (64 bits of mantissa on x86).
Gragg's smoothing is kept because it evaluates the slope at the end of a step: without it a kink in
the last 28th of a step was seen by no column, and all of them agreed on a wrong end.
"""

from collections.abc import Callable

import numpy as np

from systems.catalog import System
from systems.expr import TIME
from systems.generate import simulate
from systems.lower import evaluate, numpy_table

Long = np.longdouble
COLUMNS = 14  # of the extrapolation table: order 28
TOLERANCE = 1e-17  # between the last two columns, relative to the size of the state
EXTENDED = np.finfo(Long).eps < 1e-18


def field(system: System) -> Callable[[Long, np.ndarray], np.ndarray]:
    """f(time, state) of an ODE with every number, also the parameters, in extended precision."""
    table = dict(numpy_table()) | {"number": Long, "exprel": _exprel}
    parameters = {name: Long(value) for name, value in system.parameters.items()}

    def derivative(time: Long, state: np.ndarray) -> np.ndarray:
        env = dict(parameters) | {TIME: time} | dict(zip(system.states, state, strict=True))
        for name, tree in system.let_trees.items():
            env[name] = evaluate(tree, env, table)
        return np.array([evaluate(tree, env, table) for tree in system.equation_trees], dtype=Long)

    return derivative


def _exprel(x: Long) -> Long:
    return Long(1) if x == 0 else np.expm1(x) / x


def solve(
    derivative: Callable[[Long, np.ndarray], np.ndarray],
    initial: np.ndarray,
    times: np.ndarray,
    first_step: float,
) -> np.ndarray:
    """States (times, dim) in extended precision at increasing `times`, from `initial` at time 0."""
    state, time, step = np.array(initial, dtype=Long), Long(0), Long(first_step)
    out = []
    for target in np.asarray(times, dtype=Long):
        while time < target:
            length = min(step, target - time)
            end, columns = _extrapolated(derivative, time, state, length)
            if end is None:
                step = length / 2
                assert step > 1e-12 * first_step, "the extrapolation does not converge"
                continue
            time, state = (target if length == target - time else time + length), end
            if columns < COLUMNS - 3 and length == step:
                step *= 1.5
        out.append(state)
    return np.array(out)


def _extrapolated(
    derivative: Callable[[Long, np.ndarray], np.ndarray],
    time: Long,
    state: np.ndarray,
    length: Long,
) -> tuple[np.ndarray | None, int]:
    """The state after one step and the number of columns it took; None where 14 do not suffice."""
    slope = derivative(time, state)
    previous: list[np.ndarray] = []
    for j in range(COLUMNS):
        row = [_midpoint(derivative, time, state, slope, length, 2 * (j + 1))]
        for k in range(1, j + 1):
            ratio = (Long(j + 1) / Long(j + 1 - k)) ** 2
            row.append(row[k - 1] + (row[k - 1] - previous[k - 1]) / (ratio - 1))
        if not np.isfinite(row[-1]).all():
            return None, COLUMNS
        size = np.maximum(np.abs(state), np.abs(row[-1])).max() * 1e-3 + np.abs(row[-1])
        if j >= 3 and (np.abs(row[-1] - row[-2]) <= TOLERANCE * size).all():
            return row[-1], j + 1
        previous = row
    return None, COLUMNS


def _midpoint(
    derivative: Callable[[Long, np.ndarray], np.ndarray],
    time: Long,
    state: np.ndarray,
    slope: np.ndarray,
    length: Long,
    substeps: int,
) -> np.ndarray:
    h = length / substeps
    before, now = state, state + h * slope
    for i in range(1, substeps):
        before, now = now, before + 2 * h * derivative(time + i * h, now)
    return (before + now + h * derivative(time + length, now)) / 2


def error_over_a_period(system: System, seed: int = 0) -> tuple[float, float]:
    """Largest error of `simulate` at default tolerance over one period on the attractor, in
    standard deviations of each coordinate, and the largest growth of a perturbation in that time
    (maximum norm of the tangent map)."""
    made = system.trajectory(
        3000, points_per_period=30, observe="states", seed=seed, rtol=1e-10, atol=1e-10, cache=False
    )
    deviation = made.states[0].std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    start, times = made.states[0, 0], np.linspace(0.0, system.period, 21)
    pushes = 1e-7 * np.diag(deviation)
    runs = simulate(system, times, initial=np.stack([start, *(start + pushes)])).states
    expected = solve(field(system), start, times[1:], system.period / 40)
    error = np.abs(runs[0, 1:] - expected) / deviation
    growth = np.abs((runs[1:] - runs[0]) / deviation / 1e-7).sum(axis=0)
    return float(error.max()), float(growth.max())


if __name__ == "__main__":  # all systems with a continuous right-hand side, or those that are named
    import sys

    import systems

    for name in sys.argv[1:] or systems.names():
        chosen = systems.load(name)
        if not chosen.delays and not chosen.discontinuous:
            error, growth = error_over_a_period(chosen)
            print(f"{name:26s} error {error:8.1e} std   growth {growth:8.1e}", flush=True)
