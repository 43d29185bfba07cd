"""The integrator on diffrax: ensembles over initial states and parameters, and derivatives.

The equations are the same trees, lowered to JAX; the method is Dopri8 with adaptive steps, vmapped
over trajectories, on whatever device JAX finds. jax and diffrax are the extra `jax`, imported when
a function of this file is called. Double precision is switched on for the call only
(`jax.enable_x64`), so that a program which computes in float32 elsewhere stays as it is.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float

from systems.catalog import System
from systems.integrate import IntegrationError, check_problem

METHOD = "diffrax-dopri8/1"  # raised whenever the same call would return other numbers
# At 1e-13 the difference to the built-in integrator is ten times as large (Lorenz, Rossler: 1e-11
# of the attractor's size, growing with the largest exponent) for three quarters of the steps.
RTOL = 1e-14
ATOL = 1e-14
MAX_STEPS = 10_000_000

# Device → least number of trajectories from which an ensemble was measured to be faster here than
# with the built-in integrator (benchmarks/diffrax_backend.py prints both). A device that is not
# listed has not been measured, and is never picked by itself. On a CPU diffrax took 19 to 136 times
# as long, alone and in ensembles of 256, at an error of at most 1e-8 over 5 Lyapunov times (Lorenz,
# Rossler, Lorenz96; medians of 5; jax 0.10.2, diffrax 0.7.2, two cores shared with other work).
FASTER_FROM: Mapping[str, float] = {"cpu": math.inf}


def integrate(
    system: System,
    times: Float[np.ndarray, "times"],
    initial: Float[np.ndarray, "trajectories dim"],
    *,
    parameters: Mapping[str, Float[np.ndarray, "trajectories"]] | None = None,
    start: float = 0.0,
    rtol: float = RTOL,
    atol: float = ATOL,
    max_steps: int = MAX_STEPS,
) -> Float[np.ndarray, "trajectories times dim"]:
    """The solutions through `initial` at time `start`, at the requested increasing `times`.

    `parameters`: values for each trajectory of those parameters that are not the system's.
    `rtol`, `atol`: bounds on the local error of a step, relative and absolute in the states' units.
    One compilation, of seconds, serves all calls with equal equations and equally many trajectories
    and times, at any parameters and tolerances. Raises `IntegrationError`, which names the
    trajectories, where a solution diverges or needs more than `max_steps` steps; `ValueError` for
    equations that diffrax does not follow (delays, jumps) and arguments out of range.
    """
    _check_equations(system)
    times = np.ascontiguousarray(times, dtype=float)
    initial = np.ascontiguousarray(initial, dtype=float)
    _check_arguments(system, times, initial, start, rtol, atol, max_steps)
    values = _values(system, parameters or {}, len(initial))
    if not len(initial):
        return np.empty((0, len(times), system.dimension))
    jax, _ = _libraries()
    with jax.enable_x64(True):
        ensemble = _ensemble(_Equations.of(system), int(max_steps))
        made = ensemble(initial, values, times, float(start), float(rtol), float(atol))
        states, reached, exhausted = (np.array(part) for part in made)
    failed = ~np.isfinite(states).all(axis=(1, 2))
    if failed.any():
        raise IntegrationError(_failure(system, failed, reached, exhausted, times[-1], max_steps))
    return states


def solve(
    system: System, *, rtol: float = RTOL, atol: float = ATOL, max_steps: int = 100_000
) -> Callable[..., Any]:
    """f(initial, times, parameters=None) → states (times, dim): one solution as a pure function.

    `initial` (dim,) at time 0, increasing `times` (times,), and `parameters` (name → scalar, the
    others being the system's) are JAX arrays: f goes through `jax.jit`, `jax.vmap` and `jax.grad`,

        with jax.enable_x64(True):
            end = lambda rho: solve(lorenz)(initial, times, {"rho": rho})[-1, 0]
            jax.grad(end)(28.0)

    Reverse-mode gradients come from checkpoints on the way (diffrax's default), exact for the steps
    taken; over many Lyapunov times they grow as the solution's own sensitivity does. Inside `jit`
    nothing can be raised by value: states after a divergence, or past `max_steps`, are inf.
    Raises `ValueError` where double precision is off and for equations with delays or jumps.
    """
    _check_equations(system)
    jax, diffrax = _libraries()
    equations = _Equations.of(system)

    def solution(initial: Any, times: Any, parameters: Mapping[str, Any] | None = None) -> Any:
        if jax.numpy.zeros(()).dtype != np.float64:
            raise ValueError(
                f"{system.name}: chaos is followed in double precision. Call inside `with "
                "jax.enable_x64(True):`, or set jax.config.update('jax_enable_x64', True)."
            )
        _check_names(system, parameters or {})
        values = {**system.parameters, **(parameters or {})}
        initial, times = jax.numpy.asarray(initial, float), jax.numpy.asarray(times, float)
        adjoint = diffrax.RecursiveCheckpointAdjoint()
        return _solution(equations, initial, values, times, 0.0, rtol, atol, max_steps, adjoint).ys

    return solution


def is_faster(system: System, trajectories: int) -> bool:
    """Whether `backend="auto"` takes diffrax: the equations allow it, and on the device that JAX
    uses so many trajectories were measured to be faster than with the built-in integrator.

    The measurements are `FASTER_FROM`. On a CPU the built-in integrator was faster at every number
    of trajectories that was measured; on a GPU nothing has been measured yet.
    """
    if trajectories < min(FASTER_FROM.values()) or _refusal(system):
        return False  # without the seconds that importing jax takes
    try:
        jax, _ = _libraries()
    except ImportError:
        return False
    return trajectories >= FASTER_FROM.get(jax.default_backend(), math.inf)


# ---- the solver ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Equations:
    """All of a system that is compiled: everything but the values of its parameters."""

    states: tuple[str, ...]
    equations: tuple[tuple[str, str], ...]
    lets: tuple[tuple[str, str], ...]

    @staticmethod
    def of(system: System) -> "_Equations":
        return _Equations(
            tuple(system.states), tuple(system.equations.items()), tuple(system.lets.items())
        )

    def rhs(self, parameters: Mapping[str, Any]) -> Callable[..., Any]:
        """The right-hand side at parameters that JAX may be tracing."""
        return System(
            name="these equations",
            states=self.states,
            equations=dict(self.equations),
            parameters=parameters,
            initial=(),
            period=1.0,
            lets=dict(self.lets),
        ).rhs("jax")


@lru_cache(maxsize=256)
def _ensemble(equations: _Equations, max_steps: int) -> Callable[..., Any]:
    """Compiled: states (trajectories, times, dim), inf after a failure; the last requested time
    that was reached; whether the steps were used up."""
    jax, diffrax = _libraries()

    def one(
        initial: Any, parameters: Any, times: Any, start: Any, rtol: Any, atol: Any
    ) -> tuple[Any, Any, Any]:
        # no gradient is asked for: a plain loop, without checkpoints
        adjoint = diffrax.ForwardMode()
        found = _solution(
            equations, initial, parameters, times, start, rtol, atol, max_steps, adjoint
        )
        reached = jax.numpy.max(jax.numpy.where(jax.numpy.isfinite(found.ts), found.ts, start))
        return found.ys, reached, found.result == diffrax.RESULTS.max_steps_reached

    return jax.jit(jax.vmap(one, in_axes=(0, 0, None, None, None, None)))


def _solution(
    equations: _Equations,
    initial: Any,
    parameters: Mapping[str, Any],
    times: Any,
    start: Any,
    rtol: Any,
    atol: Any,
    max_steps: int,
    adjoint: Any,
) -> Any:
    jax, diffrax = _libraries()
    field = equations.rhs(parameters)
    end = times[-1]
    # A step that no longer moves the clock would be repeated until the steps are used up.
    shortest = 4 * np.finfo(float).eps * jax.numpy.maximum(abs(start), abs(end))
    return diffrax.diffeqsolve(
        diffrax.ODETerm(lambda time, states, _: field(states, time)),
        diffrax.Dopri8(),
        start,
        end,
        None,
        initial,
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(
            rtol=rtol, atol=atol, dtmin=shortest, force_dtmin=False
        ),
        adjoint=adjoint,
        max_steps=max_steps,
        throw=False,
    )


def _failure(
    system: System,
    failed: np.ndarray,
    reached: np.ndarray,
    exhausted: np.ndarray,
    end: float,
    max_steps: int,
) -> str:
    numbers = np.flatnonzero(failed)
    first = numbers[0]
    named = ", ".join(str(number) for number in numbers[:10]) + ("…" if len(numbers) > 10 else "")
    reason = (
        f"the limit of {max_steps} steps is used up"
        if exhausted[first]
        else "the solution diverges (states overflow, or the step length collapses)"
    )
    return (
        f"{system.name}: {len(numbers)} of {len(failed)} trajectories failed (number {named}). "
        f"Trajectory {first}: {reason}, after time {reached[first]:.6g} of {end:.6g}."
    )


# ---- what is refused -----------------------------------------------------------------------------


def _refusal(system: System) -> str:
    if system.delays:
        return "diffrax does not follow equations with delays"
    if system.discontinuous:
        return "the right-hand side jumps (sign, heaviside), which diffrax's steps do not locate"
    return ""


def _check_equations(system: System) -> None:
    reason = _refusal(system)
    if reason:
        raise ValueError(f'{system.name}: {reason}. Use `simulate(…, backend="compiled")`.')


def _check_arguments(
    system: System,
    times: np.ndarray,
    initial: np.ndarray,
    start: float,
    rtol: float,
    atol: float,
    max_steps: int,
) -> None:
    name = system.name
    check_problem(system.dimension, times, initial, start, name)
    if not (0 < rtol < math.inf and 0 < atol < math.inf):
        raise ValueError(f"{name}: rtol and atol are positive; {rtol:g} and {atol:g} arrived.")
    if max_steps < 1:
        raise ValueError(f"{name}: max_steps is at least 1; {max_steps} arrived.")


def _values(
    system: System, parameters: Mapping[str, np.ndarray], trajectories: int
) -> dict[str, np.ndarray]:
    """Every parameter of every trajectory: name → (trajectories,)."""
    _check_names(system, parameters)
    values = {name: np.full(trajectories, value) for name, value in system.parameters.items()}
    for name, given in parameters.items():
        value = np.asarray(given, dtype=float)
        if value.shape != (trajectories,) or not np.isfinite(value).all():
            raise ValueError(
                f"{system.name}: `{name}` is one finite number for each of {trajectories} "
                f"trajectories; an array of shape {value.shape} arrived."
            )
        values[name] = value
    return values


def _check_names(system: System, parameters: Mapping[str, Any]) -> None:
    for name in parameters:
        if name not in system.parameters:
            raise ValueError(
                f"{system.name}: `{name}` is not a parameter. "
                f"There are {', '.join(system.parameters)}."
            )


def _libraries() -> tuple[Any, Any]:
    try:
        import diffrax
        import jax
    except ImportError as error:
        raise ImportError(
            f"The diffrax backend needs jax and diffrax ({error}). "
            "Install them with `pip install 'dysts-bench[jax]'`."
        ) from error
    return jax, diffrax
