"""A system's solutions through given states, by the most precise integrator that suits it.

Analytic equations go to the Taylor integrator; those with kinks, jumps, delays or removable
singularities to DOP853, whose step size control copes with them.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from systems import integrate as dop853
from systems import integrate_taylor as taylor
from systems import llvm
from systems.catalog import System
from systems.integrate import IntegrationError
from systems.jets import MOST_STATES, compile_steps, has_series
from systems.lanes import Precision

PRECISIONS: tuple[Precision, ...] = ("double", "double-double")


def solve(
    system: System,
    times: Float[np.ndarray, "times"],
    initial: Float[np.ndarray, "trajectories dim"],
    *,
    starts: Float[np.ndarray, "trajectories"] | None = None,
    epochs: Float[np.ndarray, "trajectories"] | None = None,
    precision: Precision | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    max_seconds: float = math.inf,
) -> tuple[Float[np.ndarray, "trajectories times dim"], dict[int, str]]:
    """The states at increasing `times`, of the solutions that are in `initial` at `starts`
    (default 0); and for each trajectory that could not be followed, why (its states are nan).

    `precision`, `rtol` and `atol` are explained at `simulate`. Equations that read the time see it
    counted from `-epochs`. `max_seconds` bounds the time spent on every batch of trajectories.
    """
    precision = precision_of(system, precision, rtol)
    m = len(initial)
    starts = np.zeros(m) if starts is None else np.asarray(starts, dtype=float)
    epochs = np.zeros(m) if epochs is None else np.asarray(epochs, dtype=float)
    times = np.ascontiguousarray(times, dtype=float)
    initial = np.ascontiguousarray(initial, dtype=float)
    latest = float(starts.max(initial=-math.inf))
    dop853.check_problem(system.dimension, times, initial, latest, system.name)
    for label, value in (("rtol", rtol), ("atol", atol)):
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{system.name}: {label} is positive; {value:g} arrived.")
    if not has_series(system):
        return _by_dop853(system, times, initial, starts, epochs, rtol, atol, max_seconds)
    out = np.empty((m, len(times), system.dimension))
    failures: dict[int, str] = {}
    width = taylor.width_of(m, precision)
    for first in range(0, m, width):
        some = slice(first, first + width)
        lanes = taylor.Lanes(
            system,
            initial[some],
            width=width,
            starts=starts[some],
            epochs=epochs[some],
            precision=precision,
            tolerance=rtol,
            least_scale=atol / (rtol or 1.0) if atol else 0.0,
        )
        out[some] = lanes.advance(times, max_seconds=max_seconds)
        failures |= {first + lane: reason for lane, reason in lanes.failures.items()}
    return out, failures


def prepare(
    systems: Sequence[System], trajectories: int = 1, precision: Precision | None = None
) -> None:
    """Compile what trajectories of `systems` need, all in one go: faster than one by one."""
    smooth = [system for system in systems if has_series(system)]
    llvm.compile_fields([system for system in systems if not has_series(system)])
    for one in dict.fromkeys(("double", precision or "double-double")):
        compile_steps(smooth, one, taylor.width_of(trajectories, one))


def precision_of(
    system: System, precision: Precision | None = None, rtol: float | None = None
) -> Precision:
    """The precision that a call means: the best that the equations allow, but "double" where a
    tolerance is given. Raises `ValueError` for one that they do not allow."""
    if precision is None:
        return "double-double" if rtol is None and has_series(system) else "double"
    if precision not in PRECISIONS:
        raise ValueError(f"precision is one of {', '.join(PRECISIONS)}; {precision!r} arrived.")
    if precision == "double-double" and not has_series(system):
        raise ValueError(
            f"{system.name}: double-double precision needs equations without kinks, jumps, delays "
            f"and exprel, of at most {MOST_STATES} states; leave `precision` out for the best that "
            "these allow."
        )
    return precision


def method_of(system: System, precision: Precision) -> str:
    """What provenance says of how a solution was computed; raised with every change of bits."""
    return f"{taylor.METHOD if has_series(system) else dop853.METHOD} {precision}"


def _by_dop853(
    system: System,
    times: np.ndarray,
    initial: np.ndarray,
    starts: np.ndarray,
    epochs: np.ndarray,
    rtol: float | None,
    atol: float | None,
    max_seconds: float,
) -> tuple[np.ndarray, dict[int, str]]:
    compiled, floor = llvm.compile_field(system), dop853.floor_of(system)
    out = np.full((len(initial), len(times), system.dimension), np.nan)
    failures: dict[int, str] = {}
    for i, state in enumerate(initial):
        shift = epochs[i] if system.reads_time else 0.0
        try:
            out[i] = dop853.integrate(
                compiled,
                shift + times,
                state[None],
                name=system.name,
                start=shift + starts[i],
                rtol=rtol or dop853.RTOL,
                atol=atol or dop853.ATOL,
                floor=floor,
                max_seconds=max_seconds,
            )[0]
        except IntegrationError as error:
            failures[i] = str(error).removeprefix(f"{system.name}: ")
    return out, failures
