"""Whether a system can be trusted, in words: what `dysts-bench check MySystem.json` says of it.

Each finding is one condition with the numbers behind it. The equations keep the rules; every
backend computes the same right-hand side; the Jacobian is its derivative; the attractor is bounded
and moves; its volumes do not grow; a short calibration tells period and largest exponent, and the
entry does not claim otherwise.
"""

import importlib.util
import math
import time as clock
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from systems.catalog import System, check_system
from systems.generate import trajectory
from systems.integrate import IntegrationError
from systems.lyapunov import (
    Spectrum,
    dominant_period,
    kaplan_yorke_dimension,
    lyapunov_spectrum,
)

POINTS = 200  # states on the attractor at which right-hand sides and derivatives are compared
SAME = (
    1e-11  # difference of two backends, relative to the largest of its component on the attractor
)
# Of the Jacobian and differences of fourth order, relative to its largest entry; near a kink (abs,
# min, max) the differences straddle it, which one state in twenty may.
DERIVATIVE, STRADDLING = 1e-5, 0.05
STILL = 1e-9  # deviation of a coordinate that does not move, relative to its size
GROWING = 2.0  # times the range of the first half: a coordinate that is on its way to infinity
FAR_PERIOD = 10.0  # a period so many times off makes burn-in and sampling of no use
SIGMAS = 3.0
# What is left of ln(|f(T)|/|f(0)|) in a zero exponent measured over the length T
REGULAR_GROWTH = 5.0
SHORT, LONG = 25.0, 200.0  # periods of a calibration; the longer one where it takes `seconds`


@dataclass(frozen=True)
class Finding:
    """One condition: whether it holds (None: it does not apply), and the numbers in words."""

    name: str
    holds: bool | None
    words: str


def findings(system: System, *, seconds: float = 20.0) -> Iterator[Finding]:
    """Every finding on `system`, each as soon as it is known; `seconds` bounds the calibration.

    Ends early where trajectories escape, as nothing after that could be measured. Raises
    `EquationError` or `CatalogError` where the entry breaks a rule of the language.
    """
    check_system(system)
    yield _equations(system)
    try:
        states = trajectory(
            system, POINTS, points_per_period=7.3, trajectories=2, observe="states", cache=False
        ).states.reshape(-1, system.dimension)
    except IntegrationError as error:
        yield Finding("attractor", False, f"trajectories from the initial state escape: {error}")
        return
    yield from _backends(system, states)
    yield _jacobian(system, states)
    yield _divergence(system, states)
    attractor = _attractor(system)
    yield attractor
    if attractor.holds:
        yield from _calibration(system, seconds)


def _equations(system: System) -> Finding:
    parts = [
        f"{system.dimension} states",
        f"period {system.period:.4g}",
        f"Lyapunov time {system.lyapunov_time:.4g}",
    ]
    if system.delays:
        parts.append(f"delays {', '.join(f'{d.name} = {d.tau:g}' for d in system.delays[:4])}")
    if system.tags:
        parts.append(" ".join(system.tags))
    return Finding("equations", True, ", ".join(parts))


def _delayed(system: System, states: np.ndarray) -> np.ndarray | None:
    """Delayed states for each of `states`: other points of the attractor."""
    if not system.delays:
        return None
    columns = [np.roll(states[:, d.state], 7 + 5 * i) for i, d in enumerate(system.delays)]
    return np.stack(columns, axis=-1)


def _backends(system: System, states: Float[np.ndarray, "points dim"]) -> Iterator[Finding]:
    delayed = _delayed(system, states)
    expected = system.rhs("numpy")(states, 0.3, delayed)
    size = np.abs(expected).max(axis=0)
    size = np.where(size > 0, size, 1.0)
    others = {"compiled": lambda: system.rhs("compiled")(states, 0.3, delayed)}
    if importlib.util.find_spec("jax"):
        others["jax"] = lambda: _by_jax(system, states, delayed)
    for name, compute in others.items():
        difference = float((np.abs(compute() - expected) / size).max())
        words = f"{name} and numpy differ by {difference:.1g} of the right-hand side at most"
        yield Finding("backends", difference <= SAME, words)


def _by_jax(system: System, states: np.ndarray, delayed: np.ndarray | None) -> np.ndarray:
    import jax

    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        import jax.numpy as jnp

        past = None if delayed is None else jnp.asarray(delayed)
        return np.asarray(system.rhs("jax")(jnp.asarray(states), 0.3, past))


def _jacobian(system: System, states: Float[np.ndarray, "points dim"]) -> Finding:
    if system.discontinuous:
        return Finding("Jacobian", None, "the right-hand side jumps: no Jacobian is compared")
    delayed = _delayed(system, states)
    exact = system.jacobian("compiled")(states, 0.3, delayed)
    field = system.rhs("compiled")
    scale = np.maximum(states.std(axis=0), 1e-6 * np.abs(states).max(axis=0) + 1e-300)
    largest = max(float(np.abs(exact).max()), 1e-300)
    size = np.abs(field(states, 0.3, delayed)).max()
    off = np.full(exact.shape, np.inf)
    # the deviation of an angle that runs on says nothing of the scale on which the field changes
    for step in (1e-3, 1e-5):
        estimated = _differences(field, states, delayed, step * scale)
        # subtraction loses what the right-hand sides exceed their differences by
        rounding = 1e-14 * size / (step * scale)
        off = np.minimum(off, np.abs(estimated - exact) - rounding)
    off = np.maximum(off, 0.0).max(axis=(1, 2))
    wrong = float((off > DERIVATIVE * largest).mean())
    words = (
        f"differs from finite differences by {np.median(off) / largest:.1g} of its largest entry "
        f"(median), too much at {wrong:.0%} of the states"
    )
    return Finding("Jacobian", wrong <= STRADDLING, words)


def _differences(
    field: Any, states: np.ndarray, delayed: np.ndarray | None, steps: Float[np.ndarray, "dim"]
) -> Float[np.ndarray, "points dim dim"]:
    """The Jacobian by central differences of fourth order."""
    columns = []
    for shift in np.diag(steps):
        at = {k: field(states + k * shift, 0.3, delayed) for k in (-2, -1, 1, 2)}
        columns.append((8 * (at[1] - at[-1]) - at[2] + at[-2]) / (12 * shift.sum()))
    return np.stack(columns, axis=-1)


def _divergence(system: System, states: Float[np.ndarray, "points dim"]) -> Finding:
    if system.delays or system.discontinuous:
        return Finding("divergence", None, "delays or jumps: no divergence of the vector field")
    trace = np.trace(system.jacobian("compiled")(states), axis1=-2, axis2=-1)
    mean = float(trace.mean())
    error = float(trace.std() / math.sqrt(len(trace) / 10))  # neighbours resemble each other
    rounding = 1e-12 * float(np.abs(trace).max())
    if abs(mean) <= SIGMAS * error + rounding:
        words = f"volumes are kept on average ({mean:.3g} ± {error:.1g})"
        return Finding("divergence", True, words)
    does = "shrink" if mean < 0 else "grow"
    words = f"volumes {does} at the rate {mean:.4g} ± {error:.1g}"
    if mean > 0:
        words += ": on a bounded attractor they cannot"
    return Finding("divergence", mean < 0, words)


def _attractor(system: System) -> Finding:
    made = trajectory(system, 4000, points_per_period=16, trajectories=2, cache=False)
    values = made.states
    size = np.abs(values).max(axis=(0, 1))
    begun = np.abs(system.observed(np.array(system.initial)))  # what decays to 0 is as small itself
    range_text = f"coordinates between {values.min():.4g} and {values.max():.4g}"
    still = (values.std(axis=1) <= STILL * np.maximum(size, begun)).any(axis=0)
    if still.any():
        names = ", ".join(np.array(system.observables)[still])
        return Finding("attractor", False, f"{range_text}; {names} never moves, or comes to rest")
    first, second = np.split(values - values[:, :2000].mean(axis=(0, 1)), 2, axis=1)
    growth = np.abs(second).max(axis=(0, 1)) / np.abs(first).max(axis=(0, 1))
    if growth.max() > GROWING:
        name = system.observables[int(np.argmax(growth))]
        words = (
            f"{range_text}; {name} reaches {growth.max():.3g} times as far in the second half of "
            "the run: it is not bounded. Observe a bounded function of it (`observe`)"
        )
        return Finding("attractor", False, words)
    return Finding("attractor", True, range_text)


def _calibration(system: System, seconds: float) -> Iterator[Finding]:
    period = dominant_period(system, periods=100)
    ratio = max(period / system.period, system.period / period)
    words = f"fastest strong oscillation {period:.4g}, the entry says {system.period:.4g}"
    if ratio > FAR_PERIOD:
        words += f". Write {period:.4g}: burn-in and sampling follow it"
    yield Finding("period", ratio <= FAR_PERIOD, words)
    try:
        spectrum = _spectrum(system, seconds)
    except IntegrationError as error:
        yield Finding("exponents", False, f"they cannot be measured: {error}")
        return
    yield _largest(system, spectrum)


def _spectrum(system: System, seconds: float) -> Spectrum:
    begun = clock.monotonic()
    spectrum = lyapunov_spectrum(system, periods=SHORT, trajectories=4)
    if (clock.monotonic() - begun) * LONG / SHORT <= seconds:
        spectrum = lyapunov_spectrum(system, periods=LONG, trajectories=4)
    return spectrum


def _largest(system: System, spectrum: Spectrum) -> Finding:
    first, error = spectrum.exponents[0], spectrum.errors[0]
    regular = REGULAR_GROWTH / spectrum.length
    chaotic = first > SIGMAS * error + regular
    words = f"largest {first:.4g} ± {error:.1g} ({spectrum.method}"
    words += f", {spectrum.trajectories} runs of {spectrum.length / system.period:.0f} periods)"
    if len(spectrum.exponents) > 1:
        dimension: Any = kaplan_yorke_dimension(spectrum.exponents)
        words += f", Kaplan-Yorke dimension {dimension:.3g}"
    claims = "chaotic" in system.tags
    if chaotic:
        words += f": chaos with a Lyapunov time of {1 / first:.4g}"
        words += "" if claims else ". The entry may bear the tag `chaotic`"
        return Finding("exponents", True, words)
    words += ": not told from zero" if first > -SIGMAS * error - regular else ": a fixed point"
    if claims:
        words += ", but the entry is tagged `chaotic`"
    return Finding("exponents", not claims, words)


def in_words(system: System, *, seconds: float = 20.0) -> Iterator[tuple[bool, str]]:
    """Each finding as (whether nothing is wrong, one line)."""
    for finding in findings(system, seconds=seconds):
        if finding.name == "equations":
            yield True, f"{system.name}: {finding.words}"
        else:
            yield finding.holds is not False, f"{system.name}, {finding.name}: {finding.words}"
