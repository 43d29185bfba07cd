"""Lyapunov spectra from the equations, with their uncertainty.

An ODE is integrated together with tangent vectors (exact Jacobian, the same compiled driver), which
are made orthonormal again and again (Benettin et al. 1980, Meccanica 15, 9; Shimada and Nagashima
1979). Where the right-hand side jumps, the tangent dynamics miss the jumps, and two nearby
trajectories are followed instead. A delay equation's tangent vectors are pieces of history, and its
exponents, of which there are infinitely many, are measured from the largest to the one at which the
Kaplan-Yorke dimension is determined (`systems.delay_spectrum`).

Exponents are natural logarithms per unit of system time. Their standard errors come from
independent trajectories on the attractor.
"""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from systems import llvm
from systems.catalog import System
from systems.delay_spectrum import history_exponents
from systems.generate import trajectory
from systems.integrate import IntegrationError, floor_of, integrate
from systems.jets import has_series
from systems.tangent import growth_rates

Method = Literal["tangent", "two trajectories", "history segments"]
# (system, starts, length of a run) → exponents of each run, nan or left out where one escapes
Measure = Callable[[System, np.ndarray, float], Iterable[Any]]
log = logging.getLogger(__name__)

TOLERANCE = 1e-9  # of tangent dynamics: 1e-9 a step is far below the statistical error
# States up to which the series of all tangent vectors are written out: their code grows with the
# square of this number; 8 states take 5 s to compile, 16 take minutes.
MOST_BY_SERIES = 10
# Logarithm of a tangent vector's length at the end of a segment, while the frame settles: five
# digits above the absolute tolerance, some of which later segments may need. Without this limit
# Rossler's third exponent came out 0.004 too low.
SHORTEST = math.log(1e-4)
# Two nearby trajectories are this far apart, relative to the states: above the chatter of a sliding
# motion (1e-5 parted a periodic stick-slip motion at a rate of 0.25), far below any attractor.
SEPARATION = 1e-4


@dataclass(frozen=True)
class Spectrum:
    """Exponents (descending; only the largest, where the method gives no more), their standard
    errors, and the length (system time) of each of `trajectories` runs they rest on. `runs`
    (trajectories, exponents) holds each run's own."""

    exponents: tuple[float, ...]
    errors: tuple[float, ...]
    method: Method
    length: float
    trajectories: int
    runs: tuple[tuple[float, ...], ...] = ()


def lyapunov_spectrum(
    system: System, *, periods: float = 1000.0, trajectories: int = 8, seed: int = 0
) -> Spectrum:
    """The spectrum of `system` from `trajectories` runs of `periods` periods each.

    `trajectories` is at least 2: their scatter is the standard error. Runs that escape (from a
    chaotic transient, say) are left out and not counted in the result's `trajectories`. Raises
    `IntegrationError` where fewer than two stay.
    """
    if not (trajectories >= 2 and periods > 0):
        raise ValueError(
            "a spectrum with its error takes 2 or more trajectories of more than 0 periods; "
            f"{trajectories} of {periods:g} periods arrived."
        )
    length = periods * system.period
    starts = trajectory(
        system, 1, trajectories=trajectories, seed=seed, observe="states", cache=False
    ).states[:, 0]
    method, measure = _method(system)
    runs = [run for run in measure(system, starts, length) if np.isfinite(run).all()]
    if len(runs) < 2:
        raise IntegrationError(
            f"{system.name}: {trajectories - len(runs)} of {trajectories} escape."
        )
    estimates = np.sort(np.array(runs), axis=1)[:, ::-1]
    errors = estimates.std(axis=0, ddof=1) / np.sqrt(len(estimates))
    return Spectrum(
        tuple(map(float, estimates.mean(axis=0))),
        tuple(map(float, errors)),
        method,
        length,
        len(estimates),
        tuple(tuple(map(float, run)) for run in estimates),
    )


def _method(system: System) -> tuple[Method, Measure]:
    if system.delays:
        return "history segments", _one_by_one(history_exponents(system))
    if system.discontinuous:
        return "two trajectories", _one_by_one(separation_exponent)
    by_series = has_series(system) and system.dimension <= MOST_BY_SERIES
    return "tangent", growth_rates if by_series else _one_by_one(_tangent_exponents)


def _one_by_one(measure: Callable[..., Any]) -> Measure:
    def runs(system: System, starts: np.ndarray, length: float) -> list[Any]:
        found = []
        for state in starts:
            try:
                found.append(measure(system, state, length))
            except IntegrationError as error:
                log.info("a run for the spectrum is left out: %s", error)
        return found

    return runs


def kaplan_yorke_dimension(exponents: Sequence[float]) -> float:
    """j + Σ_{i≤j} λ_i / |λ_{j+1}| with the largest j whose sum is not negative; at most the number
    of exponents (Kaplan and Yorke 1979)."""
    total = 0.0
    for j, exponent in enumerate(sorted(exponents, reverse=True)):
        if total + exponent < 0:
            return j + total / -exponent
        total += exponent
    return float(len(exponents))


def _tangent_exponents(
    system: System, state: Float[np.ndarray, "dim"], length: float
) -> Float[np.ndarray, "dim"]:
    segment = system.period / 4
    while segment > system.period / 4096:
        exponents = _stretching(system, state, length, segment)
        if exponents is not None:
            return exponents
        segment /= 2
    raise IntegrationError(f"{system.name}: the tangent vectors cannot be kept apart.")


def _stretching(
    system: System, state: Float[np.ndarray, "dim"], length: float, segment: float
) -> Float[np.ndarray, "dim"] | None:
    """Mean growth rates of an orthonormal frame, restored after each `segment`; None where a vector
    becomes parallel to the others, or too short for the absolute tolerance, within a segment."""
    from systems.dop853_kernel import stretch

    n = system.dimension
    tangent = llvm.compile_tangent(system, n)
    parameters = np.array(tangent.parameters)
    options = np.array([TOLERANCE, TOLERANCE, 0.0, 0.0])
    joint = np.concatenate([state, np.eye(n).ravel()])
    stages = np.zeros((16, joint.size))
    control, counters = np.zeros(3), np.zeros(8, dtype=np.int64)
    run = (tangent.address, parameters, n, joint, stages, control, counters, options, segment)
    # a tenth of the length first, in which the frame turns into the Lyapunov vectors
    while control[0] < 0.1 * length:
        growth = np.zeros(n)
        if _too_long(system, stretch(*run, 1, growth)) or growth.min() < SHORTEST:
            return None
    begun, growth = control[0], np.zeros(n)
    if _too_long(system, stretch(*run, max(1, int(length / segment)), growth)):
        return None
    return growth / (control[0] - begun)


def _too_long(system: System, status: int) -> bool:
    if status > 0:
        raise IntegrationError(f"{system.name}: the tangent dynamics diverge.")
    return status < 0


def separation_exponent(
    system: System, state: Float[np.ndarray, "dim"], length: float
) -> list[float]:
    field = llvm.compile_field(system)
    scale = np.maximum(np.abs(state), 1e-3)
    offset = SEPARATION * scale * np.ones(system.dimension) / np.sqrt(system.dimension)
    segment = system.period / 4
    growth = time = measured = 0.0
    while measured < length:
        pair = np.stack([state, state + offset])
        end = integrate(
            field,
            np.array([time + segment]),
            pair,
            start=time,
            name=system.name,
            floor=floor_of(system),
        )[:, 0]
        difference = (end[1] - end[0]) / scale
        size = float(np.linalg.norm(difference))
        state, time = end[0], time + segment
        if size == 0.0:  # the pair has merged (sliding along a discontinuity): part it again
            difference, size = offset / scale, SEPARATION * 1e-9
        if time > 0.1 * length:
            growth += float(np.log(size / SEPARATION))
            measured += segment
        offset = difference * scale * (SEPARATION / size)
    return [growth / measured]


def dominant_period(
    system: System, *, periods: float = 400.0, seed: int = 0, points_per_period: int = 64
) -> float:
    """The period of the fastest oscillation that matters, in system time.

    S(f) is the sum over the observed coordinates of their Welch spectra, each normalised to unit
    variance, and f·S(f), averaged over half an octave, the power per octave (not per hertz, so that
    slow switching between the lobes of an attractor does not pass for its oscillation). The result
    is 1/f at the highest-frequency maximum that reaches half of the highest one: sampled by it,
    neither of two oscillations is lost.
    """
    from scipy.signal import find_peaks, welch

    made = trajectory(
        system,
        int(periods * points_per_period),
        points_per_period=points_per_period,
        trajectories=4,
        seed=seed,
        rtol=1e-10,
        atol=1e-10,
        cache=False,
    )
    values = made.states - made.states.mean(axis=1, keepdims=True)
    deviation = values.std(axis=1, keepdims=True)
    still = deviation <= 1e-9 * np.abs(made.states).max(axis=1, keepdims=True)
    values = np.where(still, 0.0, values / np.where(still, 1.0, deviation))
    rate = points_per_period / system.period
    frequencies, power = welch(values, fs=rate, nperseg=64 * points_per_period, axis=1)
    frequencies, per_octave = frequencies[1:], frequencies[1:] * power.sum(axis=(0, 2))[1:]
    smooth = np.array(
        [
            per_octave[(frequencies > f / 2**0.25) & (frequencies < f * 2**0.25)].mean()
            for f in frequencies
        ]
    )
    peaks, _ = find_peaks(smooth, height=0.5 * smooth.max())
    return float(1.0 / frequencies[peaks[-1] if len(peaks) else int(np.argmax(smooth))])
