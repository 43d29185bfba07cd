"""What the catalog says of a system, measured: period, exponents, dimensions, statistics.

Run lengths grow until the largest exponent's standard error is small or the budget is used up. The
result carries the hash of what it belongs to (equations, parameters, initial state, observed
coordinates), so that a later change cannot keep stale facts. No tag is changed: where the
measurements contradict one, the entry's `mismatches` say so, and a gate fails (systems/gates.py).
"""

import contextlib
import dataclasses
import json
import math
import time as clock
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import numpy as np

from systems import catalog
from systems.attractor import Attractor, Estimate, measure_attractor
from systems.catalog import CATALOG, Edition, System, from_entry
from systems.gates import (
    PRECISION,
    SIGMAS,
    WORTHWHILE,
    behaviour,
    failures,
    tag_mismatches,
    tolerance,
)
from systems.generate import trajectory
from systems.integrate import IntegrationError
from systems.lyapunov import (
    Spectrum,
    dominant_period,
    kaplan_yorke_dimension,
    lyapunov_spectrum,
    separation_exponent,
)

FIRST_LENGTH, LONGER, LONGEST = 250.0, 4.0, 256_000.0  # periods of each run, tried in turn
CHEAP = 1.0  # seconds: a measurement that took less is made longer even if it was precise
REGULAR_LENGTH = 4000.0  # periods, enough where the largest exponent is tiny
TRAJECTORIES = 8
SEPARATION_PERIODS = 200.0
OFF_ATTRACTOR = 5.0  # distance of the initial state (`attractor.distance_from`) from which it moves
# Whose initial state stays as it is given: another one lies on another orbit or attractor.
KEEPS_INITIAL = {"conservative", "multistable", "transient", "unbounded"}


@dataclasses.dataclass(frozen=True)
class Measured:
    """One edition of a system as measured: the system with the facts that it was measured at, and
    those facts as they stand in the catalog, and the gates that fail unexplained; or why there are
    none (`problem`)."""

    system: System
    facts: Mapping[str, Any]
    problem: str = ""
    failing: tuple[str, ...] = ()


def calibrate_catalog(
    names: Sequence[str],
    *,
    seconds: float = 60.0,
    path: Path = CATALOG,
    again: bool = False,
    jobs: int = 1,
) -> Iterator[Measured]:
    """Measure the named entries in both editions and write each into `path` as soon as it is done.

    Entries whose calibration belongs to their present equations are passed over unless `again`.
    `seconds`: budget for the exponents of one edition of one system. `jobs` worker processes
    measure; only this process writes. Yields what was measured, also what failed.
    """
    entries = _read(path)
    pending = {
        name: editions for name in names if (editions := _pending(name, entries[name], again))
    }
    for name, patch, measured in _map(entries, pending, seconds, jobs):
        entries = _read(path)  # another entry may have changed meanwhile
        entries[name] = catalog.merge_patch(entries[name], patch)
        catalog.write(entries, path)
        for found in measured:
            if found.problem:
                yield found
                continue
            gates = failures(from_entry(name, entries[name], found.system.edition))
            told = tuple(f"{gate.name}: {gate.detail}" for gate in gates)
            yield dataclasses.replace(found, failing=told)


def _map(
    entries: Mapping[str, Any], pending: Mapping[str, list[Edition]], seconds: float, jobs: int
) -> Iterator[tuple[str, dict[str, Any], list[Measured]]]:
    if jobs <= 1:
        for name, editions in pending.items():
            yield calibrate_entry(name, entries[name], editions, seconds)
        return
    from pebble import ProcessPool

    with ProcessPool(max_workers=jobs) as pool:
        futures = [
            pool.schedule(calibrate_entry, args=[name, entries[name], editions, seconds])
            for name, editions in pending.items()
        ]
        try:
            for done in as_completed(futures):
                yield done.result()
        except BaseException:  # also an interrupt: nothing half done is written
            pool.stop()
            raise


def calibrate_entry(
    name: str, entry: Mapping[str, Any], editions: Sequence[Edition], seconds: float
) -> tuple[str, dict[str, Any], list[Measured]]:
    """The name, a merge patch of its catalog entry, and what was measured of each edition."""
    patch: dict[str, Any] = {}
    found = []
    for edition in editions:
        present = catalog.merge_patch(entry, patch)  # the other edition may use a new initial state
        system = from_entry(name, present, edition)
        try:
            facts = calibrate(system, seconds=seconds)
        except IntegrationError as error:
            found.append(Measured(system, {}, str(error)))
            continue
        target = patch if edition == "corrected" else patch.setdefault("dysts", {})
        target.update(_replacing(facts, entry if edition == "corrected" else entry["dysts"]))
        found.append(Measured(system, facts))
    return name, patch, found


def _replacing(facts: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """A merge patch that sets `facts` and removes what `old` has measured beside them."""
    gone = {key: None for key in old.get("measured", {}) if key not in facts["measured"]}
    return {**facts, "measured": {**facts["measured"], **gone}}


def calibrate(system: System, *, seconds: float = 60.0) -> dict[str, Any]:
    """The measured facts of one system, as they stand in the catalog.

    Raises `IntegrationError` where its trajectories escape.
    """
    system = dataclasses.replace(
        system, lyapunov_spectrum=(), lyapunov_spectrum_error=(), measured={}, calibration={}
    )
    system = _with_period(system)
    facts: dict[str, Any] = {}
    attractor = measure_attractor(system)
    if attractor.initial_distance > OFF_ATTRACTOR and not KEEPS_INITIAL & set(system.tags):
        system = dataclasses.replace(system, initial=_state_on_attractor(system))
        facts["initial"] = list(system.initial)
        attractor = measure_attractor(system)
    spectrum = measure_spectrum(system, seconds=seconds)
    measured = _measurements(system, spectrum, attractor)
    facts |= {
        "period": _rounded(system.period, 6),
        "lyapunov_spectrum": [_rounded(value, 6) for value in spectrum.exponents],
        "lyapunov_spectrum_error": [_rounded(value, 2) for value in spectrum.errors],
        "measured": measured,
        "calibration": {
            "method": spectrum.method,
            "length": _rounded(spectrum.length, 6),
            "trajectories": spectrum.trajectories,
            "hash": system.calibration_hash,
        },
    }
    seen = _as_in_catalog(system, facts)
    measured["behaviour"] = behaviour(seen)
    dimension = kaplan_yorke(spectrum, seen)
    if dimension is not None:
        measured["kaplan_yorke"] = _estimate(dimension)
    wrong = tag_mismatches(_as_in_catalog(system, facts))
    if wrong:
        measured["mismatches"] = wrong
    return facts


def _with_period(system: System) -> System:
    for _ in range(3):  # the spectrum is sampled by the period that it finds
        period = dominant_period(system)
        settled = 0.5 < period / system.period < 2
        system = dataclasses.replace(system, period=period)
        if settled:
            break
    return system


def _state_on_attractor(system: System) -> tuple[float, ...]:
    """The end of one trajectory after its burn-in, to eight digits."""
    made = trajectory(system, 1, seed=0, observe="states", cache=False)
    return tuple(_rounded(value, 8) for value in made.states[0, -1])


def measure_spectrum(system: System, *, seconds: float) -> Spectrum:
    """Spectra of growing length until the largest exponent is known to 1 %, or `seconds` are over.

    A transient motion is measured over the first length only: it would be over in a longer one.
    """
    begun, periods = clock.monotonic(), FIRST_LENGTH
    while True:
        round_begun = clock.monotonic()
        spectrum = lyapunov_spectrum(system, periods=periods, trajectories=TRAJECTORIES)
        now = clock.monotonic()
        largest, error = spectrum.exponents[0], spectrum.errors[0]
        precise = error < PRECISION * largest
        tiny = largest * system.period < WORTHWHILE
        enough = precise and (periods > FIRST_LENGTH or now - round_begun > CHEAP)
        if "transient" in system.tags or (enough and not tiny):
            return spectrum
        # a weak exponent is told from none by its growth, which takes length
        grown = largest * spectrum.length > 20.0
        if tiny and ((precise and grown) or periods >= REGULAR_LENGTH):
            return spectrum
        if now + 1.05 * LONGER * (now - round_begun) > begun + seconds or periods >= LONGEST:
            return spectrum
        periods *= LONGER


def _measurements(system: System, spectrum: Spectrum, attractor: Attractor) -> dict[str, Any]:
    whole = len(spectrum.exponents) == system.dimension and spectrum.method == "tangent"
    found: dict[str, Any] = {}
    if whole:
        found["exponent_sum"] = _estimate(_mean([sum(run) for run in spectrum.runs]))
    if attractor.divergence is not None:
        found["divergence"] = _estimate(attractor.divergence)
    if whole and (second := second_estimate(system)) is not None:
        found["separation_exponent"] = _estimate(second)
        found["separation_length"] = _rounded(SEPARATION_PERIODS * system.period, 6)
    if attractor.dimension is not None:
        found["correlation_dimension"] = _estimate(attractor.dimension)
    if attractor.stiffness is not None:
        found["stiffness"] = _rounded(attractor.stiffness, 3)
    found["initial_distance"] = _rounded(min(attractor.initial_distance, 1e9), 3)
    for key in ("mean", "std", "min", "max"):
        found[key] = [_rounded(value, 5) for value in getattr(attractor, key)]
    return found


def second_estimate(system: System) -> Estimate | None:
    """The largest exponent from pairs of neighbouring trajectories, over fewer periods and from
    other initial states than the spectrum's; None where fewer than half of the runs stay."""
    starts = trajectory(
        system, 1, trajectories=TRAJECTORIES, seed=1, observe="states", cache=False
    ).states[:, 0]
    runs = []
    for state in starts:
        with contextlib.suppress(IntegrationError):
            length = SEPARATION_PERIODS * system.period
            runs.append(float(separation_exponent(system, state, length)[0]))
    return _mean(runs) if 2 * len(runs) >= TRAJECTORIES else None


def kaplan_yorke(spectrum: Spectrum, system: System) -> Estimate | None:
    """The Kaplan–Yorke dimension of the mean spectrum; its error from that of every run.

    Exponents that are zero within their tolerance (`gates.tolerance`) count as zero: -1e-7 in place
    of 0 would cost a limit cycle its dimension. Where their sum is zero within 3 standard errors,
    volume is kept and the dimension is that of the phase space. `system` bears errors and run
    length. None where too few exponents are known.
    """
    if spectrum.method == "two trajectories" or system.reads_time:
        return None
    tolerances = [tolerance(system, i) for i in range(len(spectrum.exponents))]
    total = _mean([sum(run) for run in spectrum.runs])
    rounding = 1e-6 * max(abs(value) for value in spectrum.exponents)
    volume_kept = abs(total.value) <= max(SIGMAS * total.error, rounding)
    volume_kept = volume_kept and not system.delays  # more exponents follow

    def dimension(exponents: Sequence[float]) -> float:
        values = [0.0 if abs(v) <= t else v for v, t in zip(exponents, tolerances, strict=True)]
        return float(len(values)) if volume_kept else kaplan_yorke_dimension(values)

    value = dimension(spectrum.exponents)
    if system.delays and value == len(spectrum.exponents):
        return None  # the sum is still positive at the last of the exponents that were measured
    return Estimate(value, _mean([dimension(run) for run in spectrum.runs]).error)


def _mean(runs: Sequence[float]) -> Estimate:
    values = np.array(runs)
    return Estimate(float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values))))


def _as_in_catalog(system: System, facts: Mapping[str, Any]) -> System:
    return dataclasses.replace(
        system,
        lyapunov_spectrum=tuple(facts["lyapunov_spectrum"]),
        lyapunov_spectrum_error=tuple(facts["lyapunov_spectrum_error"]),
        measured=facts["measured"],
        calibration=facts["calibration"],
    )


def _pending(name: str, entry: Mapping[str, Any], again: bool) -> list[Edition]:
    """The editions to measure: those that differ, and whose facts are missing or stale."""
    editions: list[Edition] = ["corrected", "dysts"] if "dysts" in entry else ["corrected"]
    return [edition for edition in editions if again or not _is_current(name, entry, edition)]


def _is_current(name: str, entry: Mapping[str, Any], edition: Edition) -> bool:
    system = from_entry(name, entry, edition)
    return bool(system.measured) and system.calibration.get("hash") == system.calibration_hash


def _read(path: Path) -> dict[str, Any]:
    entries: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["systems"]
    return entries


def _estimate(estimate: Estimate) -> dict[str, float]:
    return {"value": _rounded(estimate.value, 6), "error": _rounded(estimate.error, 2)}


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")
