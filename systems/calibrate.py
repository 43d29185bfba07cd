"""What the catalog says of a system, measured: dominant period and Lyapunov exponents.

Run lengths grow until the largest exponent's standard error is small or the budget is used up; the
result carries the hash of the equations that it belongs to, so that a later change of an equation
or parameter cannot keep stale exponents.
"""

import dataclasses
import json
import time as clock
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from systems import catalog
from systems.catalog import CATALOG, Edition, System, from_entry
from systems.lyapunov import dominant_period, lyapunov_spectrum

LENGTHS = (250.0, 1000.0, 4000.0)  # periods of each run, tried in turn
TRAJECTORIES = 8
RELATIVE_ERROR = 0.01  # of the largest exponent: enough, no longer runs are made
FACTS = ("period", "lyapunov_spectrum", "lyapunov_spectrum_error", "calibration")


def calibrate_catalog(
    names: Sequence[str], *, seconds: float = 60.0, path: Path = CATALOG, again: bool = False
) -> Iterator[tuple[System, dict[str, Any]]]:
    """Measure the named entries in both editions and write each into `path` as soon as it is done.

    Entries whose calibration belongs to their present equations are passed over unless `again`.
    Yields each system as measured with its facts. `seconds`: budget for one edition of one system.
    """
    for name in names:
        for edition in ("corrected", "dysts"):
            entries = json.loads(path.read_text(encoding="utf-8"))["systems"]
            system = from_entry(name, entries[name], edition)
            if edition == "dysts" and not _differs(name, entries[name]):
                continue
            target = entries[name] if edition == "corrected" else entries[name]["dysts"]
            if not again and _is_current(target, system):
                continue
            facts = calibrate(system, seconds=seconds)
            target.update(facts)
            catalog.write(entries, path)
            yield system, facts


def calibrate(system: System, *, seconds: float = 60.0) -> dict[str, Any]:
    """The measured facts of one system, as they stand in the catalog."""
    system = dataclasses.replace(system, lyapunov_spectrum=())
    for _ in range(3):  # the spectrum is sampled by the period that it finds
        period = dominant_period(system)
        settled = 0.5 < period / system.period < 2
        system = dataclasses.replace(system, period=period)
        if settled:
            break
    begun = clock.monotonic()
    for periods in LENGTHS:
        round_begun = clock.monotonic()
        spectrum = lyapunov_spectrum(system, periods=periods, trajectories=TRAJECTORIES)
        now = clock.monotonic()
        if spectrum.errors[0] < RELATIVE_ERROR * spectrum.exponents[0]:
            break
        if now + 4.2 * (now - round_begun) > begun + seconds:
            break
    return {
        "period": _rounded(period, 6),
        "lyapunov_spectrum": [_rounded(value, 5) for value in spectrum.exponents],
        "lyapunov_spectrum_error": [_rounded(value, 2) for value in spectrum.errors],
        "calibration": {
            "method": spectrum.method,
            "length": _rounded(spectrum.length, 4),
            "trajectories": spectrum.trajectories,
            "hash": system.equations_hash,
        },
    }


def _differs(name: str, entry: Mapping[str, Any]) -> bool:
    editions: tuple[Edition, Edition] = ("corrected", "dysts")
    mine, theirs = (from_entry(name, entry, edition) for edition in editions)
    return mine.equations_hash != theirs.equations_hash or mine.initial != theirs.initial


def _is_current(target: Mapping[str, Any], system: System) -> bool:
    return target.get("calibration", {}).get("hash") == system.equations_hash


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")
