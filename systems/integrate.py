"""The integrator: one adaptive DOP853 driver, compiled once, for every system of the catalog.

The driver takes the address of a right-hand side (`systems.llvm`), so that a new system costs a
millisecond and not seconds of compilation. Delay equations go through the same driver by the method
of steps: past steps keep their interpolation polynomials, a step is never longer than the shortest
delay, and steps end at the points where the solution's derivatives break.
"""

import math
import time as clock
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from systems import dop853_kernel as kernels
from systems import llvm
from systems.catalog import Field, System
from systems.dop853_kernel import (
    COLLAPSED,
    DONE,
    HISTORY_FULL,
    NEWEST,
    NOT_FINITE,
    OLDEST,
    STEPS,
)
from systems.tableaux import EXTENDED

METHOD = "dop853/1"  # raised whenever the same call would return other bits
RTOL = 1e-14
ATOL = 1e-14
SMOOTHING_ORDER = 8  # a break in the solution is smooth to the method after so many delays


class IntegrationError(ArithmeticError):
    """A trajectory that cannot be followed: it diverges, stalls, or exceeds its limits."""


def integrate(
    compiled: llvm.Compiled,
    times: Float[np.ndarray, "times"],
    initial: Float[np.ndarray, "trajectories dim"],
    *,
    name: str,
    start: float = 0.0,
    rtol: float = RTOL,
    atol: float = ATOL,
    floor: float = 0.0,
    max_steps: int = 200_000_000,
    max_seconds: float = math.inf,
) -> Float[np.ndarray, "trajectories times dim"]:
    """The solutions through `initial` at time `start`, at the requested increasing `times`.

    `rtol`, `atol`: bounds on the local error of a step, relative and absolute in the states' units.
    `floor`: step length (system time) at which a sliding motion along a discontinuity is followed;
    0 where the right-hand side is continuous. A delay system holds `initial` for all times before
    `start`. Raises `IntegrationError` when a state leaves the floating-point range or the step
    length collapses (both: divergence), or past `max_steps` or `max_seconds` a trajectory.
    """
    times = np.ascontiguousarray(times, dtype=float)
    initial = np.ascontiguousarray(initial, dtype=float)
    check_problem(compiled.dimension, times, initial, start, name)
    if not (0 < rtol < math.inf and 0 < atol < math.inf):
        raise ValueError(f"{name}: rtol and atol are positive; {rtol:g} and {atol:g} arrived.")
    out = np.empty((len(initial), len(times), compiled.dimension))
    for states, solution in zip(initial, out, strict=True):
        run = _Run(compiled, states, start, rtol, atol, floor)
        run.to(times, solution, name, max_steps, max_seconds)
    return out


def check_problem(
    dimension: int, times: np.ndarray, initial: np.ndarray, start: float, name: str
) -> None:
    """Raise `ValueError` unless `initial` (trajectories, dimension) and increasing `times` from
    `start` on are what an integrator can follow."""
    if initial.ndim != 2 or initial.shape[1] != dimension:
        raise ValueError(
            f"{name}: initial states are (trajectories, {dimension}); "
            f"an array of shape {initial.shape} arrived."
        )
    if not (
        times.ndim == 1 and len(times) and times[0] >= start and (times[1:] >= times[:-1]).all()
    ):
        raise ValueError(f"{name}: times are increasing, one-dimensional and not before {start:g}.")
    if not (np.isfinite(times).all() and np.isfinite(initial).all()):
        raise ValueError(f"{name}: times and initial states are finite numbers.")


class _Run:
    """One trajectory on its way: everything the compiled driver needs to go on where it was."""

    steps_per_call = 100_000  # after so many the clock is read

    def __init__(
        self,
        compiled: llvm.Compiled,
        initial: np.ndarray,
        start: float,
        rtol: float,
        atol: float,
        floor: float,
    ) -> None:
        n = compiled.dimension
        self.compiled = compiled
        self.parameters = np.array(compiled.parameters, dtype=float)
        self.delayed_states = np.array(compiled.delayed_states, dtype=np.int64)
        self.delays = np.array(compiled.delays, dtype=float)
        self.delayed = np.zeros(len(compiled.delays))
        self.stops = start + _breaking_points(compiled.delays)
        self.past = initial.copy()
        self.states = initial.copy()
        self.scratch = np.zeros((2, n))
        self.stages = np.zeros((EXTENDED, n))
        self.history = np.empty((64 if compiled.delays else 1, 3 + 8 * n))
        self.control = np.array([start, 0.0, 0.0])
        self.counters = np.zeros(8, dtype=np.int64)
        self.options = np.array([rtol, atol, floor, start])

    def to(
        self,
        times: np.ndarray,
        out: np.ndarray,
        name: str,
        max_steps: int,
        max_seconds: float,
    ) -> None:
        begun = clock.monotonic()
        while True:
            status = kernels.compiled().drive(
                self.compiled.address,
                self.parameters,
                len(self.past),
                len(self.delays),
                self.delayed_states,
                self.delays,
                self.delayed,
                self.past,
                self.stops,
                len(self.stops),
                self.states,
                self.scratch,
                self.stages,
                self.history,
                len(self.history),
                self.control,
                self.counters,
                self.options,
                times,
                len(times),
                out,
                min(self.steps_per_call, max_steps),
            )
            reached = f"{name}: at time {self.control[0]:.6g} of {times[-1]:.6g}"
            if status == DONE:
                return
            if status == HISTORY_FULL:
                self.history = _twice_as_long(self.history, self.counters)
            elif status == NOT_FINITE:
                raise IntegrationError(f"{reached} the solution diverges (states overflow).")
            elif status == COLLAPSED:
                raise IntegrationError(
                    f"{reached} the step length collapses to {self.control[2]:.3g}: the solution "
                    "diverges in finite time, or the right-hand side jumps."
                )
            elif self.counters[STEPS] >= max_steps:
                raise IntegrationError(f"{reached} the limit of {max_steps} steps is used up.")
            elif clock.monotonic() - begun > max_seconds:
                raise IntegrationError(f"{reached} the limit of {max_seconds:g} s is used up.")


def _breaking_points(delays: Sequence[float]) -> np.ndarray:
    """Times, from the start, at which a derivative of order ≤ SMOOTHING_ORDER + 1 jumps: all sums
    of at most that many delays."""
    points = {0.0}
    for _ in range(SMOOTHING_ORDER + 1 if delays else 0):
        points |= {round(point + delay, 12) for point in points for delay in delays}
        if len(points) > 2000:
            break  # many incommensurate delays: the step-size control copes with the weak breaks
    return np.array(sorted(points - {0.0}))


def _twice_as_long(history: np.ndarray, counters: np.ndarray) -> np.ndarray:
    """The ring of past steps in a ring of twice the size; entry i stands at i modulo its size."""
    size = len(history)
    longer = np.empty((2 * size, history.shape[1]))
    kept = np.arange(counters[OLDEST], counters[NEWEST])
    longer[kept % (2 * size)] = history[kept % size]
    return longer


def floor_of(system: System) -> float:
    """Step length for sliding along a discontinuity: 1e-4 periods where the equations can jump."""
    jumps = llvm.mentions(system, "sign", "heaviside") and system.discontinuous
    return 1e-4 * system.period if jumps else 0.0


def compiled_field(system: System) -> Field:
    """f(states, time=0.0[, delayed]) through the machine code that the integrator calls."""
    return _callable(llvm.compile_field(system))


def compiled_jacobian(system: System) -> Field:
    """J(states, time=0.0) from the compiled tangent dynamics of the unit vectors."""
    n = system.dimension
    tangent = _callable(llvm.compile_tangent(system, n))

    def field(states: Any, time: float = 0.0, delayed: Any = None) -> np.ndarray:
        states = np.asarray(states, dtype=float)
        units = np.broadcast_to(np.eye(n).ravel(), (*states.shape[:-1], n * n))
        if delayed is not None:  # the delayed states are held fixed
            still = np.zeros((*states.shape[:-1], n * len(system.delays)))
            delayed = np.concatenate([delayed, still], axis=-1)
        moved = tangent(np.concatenate([states, units], axis=-1), time, delayed)
        columns = moved[..., n:].reshape(*states.shape[:-1], n, n)
        return np.swapaxes(columns, -1, -2)

    return field


def _callable(compiled: llvm.Compiled) -> Field:
    parameters = np.array(compiled.parameters, dtype=float)

    def field(states: Any, time: float = 0.0, delayed: Any = None) -> np.ndarray:
        states = np.ascontiguousarray(states, dtype=float)
        points = math.prod(states.shape[:-1])
        past = np.zeros((*states.shape[:-1], 0)) if delayed is None else np.asarray(delayed, float)
        if states.shape[-1:] != (compiled.dimension,):
            raise ValueError(
                f"states are (…, {compiled.dimension}); an array of shape {states.shape} arrived."
            )
        if past.shape != (*states.shape[:-1], len(compiled.delays)):
            raise ValueError(
                f"delayed states are {(*states.shape[:-1], len(compiled.delays))}; "
                f"an array of shape {past.shape} arrived."
            )
        out = np.empty_like(states)
        kernels.compiled().evaluate_many(
            compiled.address,
            float(time),
            points,
            compiled.dimension,
            len(compiled.delays),
            states,
            np.ascontiguousarray(past),
            parameters,
            out,
        )
        return out

    return field
