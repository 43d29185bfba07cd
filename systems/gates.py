"""What a measured entry must satisfy, whatever the system: its numbers contradict each other else.

A gate that does not hold is named in the entry's `exceptions` with the reason; the tests let no
other pass. Gates read the catalog only: nothing is computed anew.
"""

import math
from dataclasses import dataclass
from typing import Any

from systems.catalog import System

SIGMAS = 3.0  # standard errors from which an exponent has a sign
# Standard errors by which two measurements may differ. Errors come from eight runs, and of 168
# entries Student's t would let two or three differ by 3 of them.
AGREEMENT = 4.0
# An exponent that is zero is measured as ln(|f(T)|/|f(0)|)/T, with a finite numerator, and so is
# the growth of a regular motion: about 2 to 4 after any length.
REGULAR_GROWTH = 5.0
PRECISION = 0.01  # standard error of the largest exponent, relative
WORTHWHILE = 0.01  # exponents per period from which that precision is asked for
NUMERICAL = 1e-4  # share of Σ|λ| that integration and rounding in the catalog may cost


@dataclass(frozen=True)
class Gate:
    """One condition: `holds` is None where it does not apply; `detail` says the numbers, or why."""

    name: str
    holds: bool | None
    detail: str


def gates(system: System) -> list[Gate]:
    """Every gate of one edition of an entry, in a fixed order."""
    if not system.measured:
        return [Gate("measured", False, "not calibrated: `dysts-bench calibrate` measures it")]
    return [
        Gate("measured", True, "calibrated"),
        _current(system),
        _sum(system),
        _zero(system),
        _kaplan_yorke(system),
        _dimensions(system),
        _estimators(system),
        _precision(system),
        _tags(system),
    ]


def failures(system: System) -> list[Gate]:
    """The gates that do not hold and that the entry does not explain."""
    return [g for g in gates(system) if g.holds is False and g.name not in system.exceptions]


def idle_exceptions(system: System) -> list[str]:
    """Exceptions for gates that hold, do not apply or do not exist: they hide nothing yet, but
    would hide what breaks next."""
    failing = {gate.name for gate in gates(system) if gate.holds is False}
    return [name for name in system.exceptions if name not in failing]


# ---- the gates -------------------------------------------------------------------------------


def _current(system: System) -> Gate:
    held = system.calibration.get("hash") == system.calibration_hash
    told = "belong" if held else "do not belong"
    detail = f"the measurements {told} to the present equations and initial state"
    return Gate("calibration current", held, detail)


def _sum(system: System) -> Gate:
    """Σ λ = ⟨div f⟩."""
    name = "sum of exponents is the divergence"
    found, expected = _estimate(system, "exponent_sum"), _estimate(system, "divergence")
    if found is None or expected is None:
        return Gate(name, None, "delays, jumps or the time in the equations: no such sum")
    scale = sum(abs(exponent) for exponent in system.lyapunov_spectrum)
    allowed = AGREEMENT * math.hypot(found[1], expected[1]) + NUMERICAL * scale
    detail = f"{_said(found)} against {_said(expected)}, {allowed:.2g} allowed"
    return Gate(name, abs(found[0] - expected[0]) <= allowed, detail)


def _zero(system: System) -> Gate:
    """A bounded autonomous flow that is not a fixed point has an exponent 0, along itself
    (Haken 1983, Physics Letters A 94, 71)."""
    name = "an exponent is zero"
    if system.calibration.get("method") == "two trajectories":
        return Gate(name, None, "only the largest exponent is measured")
    if system.reads_time:
        return Gate(name, None, "not autonomous: the equations read the time")
    if system.measured.get("behaviour") == "fixed point":
        return Gate(name, None, "a fixed point has no direction along its motion")
    nearest, allowed = min(
        ((abs(value), tolerance(system, i)) for i, value in enumerate(system.lyapunov_spectrum)),
        key=lambda pair: pair[0] / pair[1],
    )
    return Gate(name, nearest <= allowed, f"{nearest:.2g}, {allowed:.2g} allowed")


def _kaplan_yorke(system: System) -> Gate:
    name = "Kaplan-Yorke dimension in range"
    found = _estimate(system, "kaplan_yorke")
    if found is None:
        return Gate(name, None, "too few exponents are measured")
    divergence = _estimate(system, "divergence")
    detail = f"{_said(found)} of {system.dimension}"
    if system.delays:
        return Gate(name, found[0] >= 0, f"{_said(found)} of infinitely many")
    contracts = divergence is not None and divergence[0] < -SIGMAS * divergence[1]
    contracts = contracts and "conservative" not in system.tags
    below = found[0] < system.dimension if contracts else found[0] <= system.dimension
    return Gate(name, found[0] >= 0 and below, detail)


def _dimensions(system: System) -> Gate:
    """The correlation dimension is at most the information dimension, which Kaplan and Yorke take
    for theirs."""
    name = "correlation dimension below Kaplan-Yorke"
    small, large = _estimate(system, "correlation_dimension"), _estimate(system, "kaplan_yorke")
    if small is None or large is None:
        return Gate(name, None, "one of the two is not measured")
    allowed = AGREEMENT * math.hypot(small[1], large[1]) + 0.05 * large[0]
    detail = f"{_said(small)} against {_said(large)}, {allowed:.2g} more allowed"
    return Gate(name, small[0] <= large[0] + allowed, detail)


def _estimators(system: System) -> Gate:
    """Tangent vectors and two trajectories give one largest exponent."""
    name = "two estimators agree"
    second = _estimate(system, "separation_exponent")
    if second is None:
        return Gate(name, None, "one estimator only: delays, or jumps in the right-hand side")
    first = (system.lyapunov_spectrum[0], system.lyapunov_spectrum_error[0])
    allowed = AGREEMENT * math.hypot(first[1], second[1])
    allowed += REGULAR_GROWTH / system.measured["separation_length"]
    detail = f"{_said(first)} and {_said(second)}, {allowed:.2g} allowed"
    return Gate(name, abs(first[0] - second[0]) <= allowed, detail)


def _precision(system: System) -> Gate:
    name = "largest exponent to one percent"
    value, error = system.lyapunov_spectrum[0], system.lyapunov_spectrum_error[0]
    if "transient" in system.tags:
        return Gate(name, None, "a transient motion ends before its average settles")
    if value * system.period <= WORTHWHILE:
        return Gate(name, None, f"less than {WORTHWHILE:g} per period")
    return Gate(name, error <= PRECISION * value, f"{value:.4g} ± {error:.2g}")


def _tags(system: System) -> Gate:
    found = tag_mismatches(system)
    return Gate("tags as measured", not found, "; ".join(found) or "they agree")


# ---- tags ------------------------------------------------------------------------------------

# Mean decay times of the fastest motion in one period (`attractor.stiffness`) from which `stiff` is
# given: stability then asks an explicit method for a good part of the steps that accuracy does.
STIFF = 100.0


def behaviour(system: System) -> str:
    """hyperchaotic, chaotic, quasiperiodic, periodic, fixed point, or regular (not chaotic, where
    only the largest exponent is known, or the phase of the drive is no state), from exponents,
    errors and run length.

    An exponent is positive where it exceeds 3 standard errors and its growth over a run e^5; zero
    where neither it nor its negative does.
    """
    signs = [_sign(system, i) for i in range(len(system.lyapunov_spectrum))]
    if signs.count(1):
        return "hyperchaotic" if signs.count(1) > 1 else "chaotic"
    if system.reads_time or system.calibration["method"] == "two trajectories":
        return "regular"
    if signs[0] < 0:
        return "fixed point"
    return "quasiperiodic" if signs.count(0) > 1 else "periodic"


def tolerance(system: System, i: int) -> float:
    """How far exponent `i` may lie from 0 and still be taken for 0."""
    length = float(system.calibration["length"])
    return max(SIGMAS * system.lyapunov_spectrum_error[i], REGULAR_GROWTH / length)


def tag_mismatches(system: System) -> list[str]:
    """Where the entry's tags and its measurements disagree, in words."""
    found, given = str(system.measured.get("behaviour")), set(system.tags)
    wrong = []
    # what a run of finite length sees of a transient depends on the length
    expected: dict[str, bool] = (
        {}
        if "transient" in given
        else {
            "chaotic": found in ("chaotic", "hyperchaotic"),
            "hyperchaotic": found == "hyperchaotic",
        }
    )
    if found != "regular" and "transient" not in given:
        expected |= {tag: found == tag for tag in ("quasiperiodic", "periodic")}
    # the sum of the exponents, where all are measured: of longer runs than the divergence
    divergence = _estimate(system, "divergence")
    if divergence is not None and "transient" not in given:
        divergence = _estimate(system, "exponent_sum") or divergence
        scale = sum(abs(exponent) for exponent in system.lyapunov_spectrum)
        volume_kept = abs(divergence[0]) <= SIGMAS * divergence[1] + 1e-3 * scale
        expected |= {"conservative": volume_kept, "dissipative": not volume_kept}
    if "stiffness" in system.measured:
        expected["stiff"] = system.measured["stiffness"] >= STIFF
    expected["delay"] = bool(system.delays)
    for tag, measured in expected.items():
        if measured != (tag in given):
            wrong.append(f"measured {'' if measured else 'not '}{tag}, tagged otherwise")
    return wrong


def _sign(system: System, i: int) -> int:
    value = system.lyapunov_spectrum[i]
    return 0 if abs(value) <= tolerance(system, i) else (1 if value > 0 else -1)


def _estimate(system: System, name: str) -> tuple[float, float] | None:
    found: dict[str, Any] | None = system.measured.get(name)
    return None if found is None else (float(found["value"]), float(found["error"]))


def _said(estimate: tuple[float, float]) -> str:
    return f"{estimate[0]:.4g} ± {estimate[1]:.1g}"
