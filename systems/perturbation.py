"""Systems with other parameters: drawn at random around the catalog's, and kept if chaotic.

A draw multiplies each parameter by 1 + U(-p, p), independently; a parameter that is 0 stays 0. It
is judged by a trajectory from the catalog's initial state and by a short measurement of its largest
Lyapunov exponent λ₁, and drawn again until one passes. λ₁ counts as positive where it exceeds three
standard errors and the measured growth exceeds e¹⁰: a periodic orbit's estimate is not 0 but
decays as 1/length, with as little scatter as it likes. Chaos weaker than a tenth of the catalog's
is rejected, as it takes too long to be told from order.
"""

import dataclasses
import math
import time as clock
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from systems.catalog import System
from systems.generate import simulate
from systems.integrate import IntegrationError
from systems.lyapunov import Spectrum, lyapunov_spectrum
from systems.random_streams import random_stream

Reason = Literal["diverged", "fixed point", "not chaotic", "too slow"]

ATTEMPTS = 200  # parameter sets that are tried for one draw
PILOTS = (2.0, 10.0, 100.0)  # periods of the trajectories by which a draw is judged first
FAR = 20.0  # times the size of the catalog's attractor: farther out a trajectory has left it
WEAK = 0.1  # of the catalog's exponent: below, a draw is rejected as not chaotic
GROWTH = 10.0  # logarithm of the growth that tells chaos from the slow convergence of order
PERIODS = (50.0, 200.0, 800.0, 3200.0)  # lengths of the measurement of λ₁, until it is clear


class PerturbationError(ArithmeticError):
    """No parameter set near the catalog's that is chaotic was found."""


@dataclass(frozen=True)
class Draw:
    """A chaotic system near the catalog's, with its measured exponents, and how many parameter sets
    were rejected before it, by reason."""

    system: System
    perturb: dict[str, float]
    rejections: dict[Reason, int]


def perturbed(
    system: System,
    perturb: float | Mapping[str, float],
    *,
    draw: int = 0,
    seed: int = 0,
    max_seconds: float = 60.0,
) -> Draw:
    """Draw number `draw` of chaotic parameters near those of `system`.

    `perturb` is p for all parameters, or for those named in a mapping. A draw depends on `seed`
    and its number alone. A parameter set that is not judged within a tenth of `max_seconds` is
    rejected as too slow, which makes the result depend on the machine in this one case; the search
    ends after `max_seconds`, or 200 sets. Raises `PerturbationError`, with the count of rejections,
    where it ends without a result, and `ValueError` for a p outside (0, 1) or an unknown parameter.
    """
    widths = _widths(system, perturb)
    if not max_seconds > 0:
        raise ValueError(f"max_seconds is positive; {max_seconds!r} arrived.")
    rng = random_stream(system, seed, "parameters", draw)
    size = float(np.abs(_pilot(system, PILOTS[-1], math.inf)).max())
    weakest = WEAK * max(0.0, *system.lyapunov_spectrum[:1], 0.0)
    rejections: Counter[Reason] = Counter()
    begun = clock.monotonic()
    for _ in range(ATTEMPTS):
        factors = {name: 1 + width * rng.uniform(-1, 1) for name, width in widths.items()}
        candidate = system.with_parameters(
            **{name: system.parameters[name] * factor for name, factor in factors.items()}
        )
        found = judge(candidate, size, weakest, max_seconds / 10)
        if isinstance(found, Spectrum):
            measured = dataclasses.replace(
                candidate,
                lyapunov_spectrum=found.exponents,
                lyapunov_spectrum_error=found.errors,
                tags=tuple(dict.fromkeys([*candidate.tags, "chaotic"])),
            )
            return Draw(measured, widths, dict(rejections))
        rejections[found] += 1
        if clock.monotonic() - begun > max_seconds:
            break
    counts = ", ".join(f"{count} {reason}" for reason, count in rejections.items())
    raise PerturbationError(
        f"{system.name}: no chaotic parameters in draw {draw} after {rejections.total()} sets and "
        f"{clock.monotonic() - begun:.0f} s ({counts}). Take a smaller perturb."
    )


def judge(system: System, size: float, weakest: float, max_seconds: float) -> Spectrum | Reason:
    """The exponents of `system`, if it is chaotic, or why it is rejected.

    `size`: the largest observed coordinate of the catalog's attractor; `weakest`: the least
    exponent (per unit of system time) that is worth telling from 0.
    """
    begun = clock.monotonic()

    def left() -> float:
        return max_seconds - (clock.monotonic() - begun)

    for periods in PILOTS:  # from the start each, as it is slow to follow one that runs away
        try:
            observed = _pilot(system, periods, left())
        except IntegrationError:
            return "too slow" if left() <= 0 else "diverged"
        if not (np.isfinite(observed).all() and np.abs(observed).max() <= FAR * size):
            return "diverged"
        if left() <= 0:
            return "too slow"
    if np.ptp(observed[len(observed) // 2 :], axis=0).max() < 1e-6 * size:
        return "fixed point"
    return _exponents(system, weakest, left)


def derivatives_ready(systems: Sequence[System]) -> None:
    """Derive and compile the tangent dynamics, once for all draws; sympy is not safe in threads."""
    from systems.llvm import compile_tangent

    for system in systems:
        compile_tangent(system, 1 if system.delays else system.dimension)


def _exponents(system: System, weakest: float, left: Callable[[], float]) -> Spectrum | Reason:
    for periods in PERIODS:
        before = left()
        try:
            found = lyapunov_spectrum(system, periods=periods, trajectories=4)
        except IntegrationError:
            return "diverged"
        largest, error = found.exponents[0], found.errors[0]
        if largest * found.length > GROWTH and largest > 3 * error:
            return found
        if largest + 3 * error < max(weakest, -GROWTH / found.length):
            return "not chaotic"
        if periods < PERIODS[-1] and left() < 4 * (before - left()):
            return "too slow"
    return "not chaotic"


def _widths(system: System, perturb: float | Mapping[str, float]) -> dict[str, float]:
    named = perturb if isinstance(perturb, Mapping) else dict.fromkeys(system.parameters, perturb)
    unknown = [name for name in named if name not in system.parameters]
    if unknown:
        raise ValueError(
            f"{system.name}: `{unknown[0]}` is not a parameter. "
            f"There are {', '.join(system.parameters)}."
        )
    if not named:
        raise ValueError(f"{system.name}: there is no parameter to perturb.")
    for name, width in named.items():
        if not 0 < width < 1:
            raise ValueError(f"perturb is between 0 and 1; {width!r} for `{name}` arrived.")
    return {name: float(width) for name, width in named.items()}


def _pilot(system: System, periods: float, max_seconds: float) -> np.ndarray:
    """Observed coordinates over the second half of a trajectory from the catalog's state."""
    times = system.period * np.linspace(periods / 2, periods, 2001)
    states = simulate(system, times, rtol=1e-8, atol=1e-8, max_seconds=max_seconds).states[0]
    return system.observed(states, times)
