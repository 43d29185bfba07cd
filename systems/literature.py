"""Published exponents beside ours: what literature.json says, measured at the same parameters.

A published value that belongs to the catalog's own parameters is compared with the catalog's
measurement; one at other parameters with a measurement of its own, stored in literature.json with
the hash of what it belongs to.
"""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from systems.calibrate import (
    Measured,
    _as_in_catalog,
    _estimate,
    _rounded,
    _with_period,
    kaplan_yorke,
    measure_spectrum,
)
from systems.catalog import CatalogError, System, load
from systems.integrate import IntegrationError
from systems.lyapunov import Spectrum

LITERATURE = Path(__file__).with_name("literature.json")
RELATIVE = 0.02  # a published exponent agrees within this share, or within …
SIGMAS = 2.0  # … this many of our standard errors, beside half a unit of its last printed digit
UNITS = {"nats": 1.0, "bits": math.log(2.0)}


@dataclass(frozen=True)
class Published:
    """One published set of exponents: as printed (text, so that their precision is known), in
    descending order, `unit` per unit of the system's time; and the system that they are of.

    `sure` says how well we know what was printed, `exception` why a value may be off.
    """

    system: System
    catalog: System  # the same at the catalog's parameters and initial state
    source: str
    sure: str
    unit: str
    exponents: tuple[str, ...] = ()
    kaplan_yorke: str = ""
    exception: str = ""
    measured: Mapping[str, Any] = field(default_factory=dict)

    @property
    def at_catalog(self) -> bool:
        """Whether the numbers belong to the catalog's own parameters and initial state."""
        return self.system.calibration_hash == self.catalog.calibration_hash


@dataclass(frozen=True)
class Comparison:
    """One printed number beside ours: in nats, with our standard error; `allowed` is the largest
    deviation that counts as agreement."""

    label: str
    printed: str
    published: float
    ours: float
    error: float
    allowed: float

    @property
    def agrees(self) -> bool:
        return abs(self.ours - self.published) <= self.allowed


def published(path: Path = LITERATURE) -> list[Published]:
    """The entries of literature.json. Raises `CatalogError` for one that breaks a rule."""
    return [_published(entry) for entry in _read(path)["entries"]]


def compare(entry: Published) -> list[Comparison] | None:
    """Every printed number that is not zero beside ours; None where ours is not measured yet.

    Agreement: within 2 standard errors or 2 %, and half a unit of the last printed digit more. (A
    zero exponent is exact, and held to be measured by the gates.)
    """
    system = entry.system
    if entry.at_catalog:
        exponents, errors = system.lyapunov_spectrum, system.lyapunov_spectrum_error
        dimension = system.measured.get("kaplan_yorke")
    else:
        if entry.measured.get("hash") != system.calibration_hash:
            return None
        exponents, errors = (entry.measured[k] for k in ("exponents", "errors"))
        dimension = entry.measured.get("kaplan_yorke")
    unit = UNITS[entry.unit]
    found = [
        _compared(f"λ{i + 1}", text, unit, exponents[i], errors[i])
        for i, text in enumerate(entry.exponents)
        if float(text) != 0.0 and i < len(exponents)
    ]
    if entry.kaplan_yorke and dimension is not None:
        found.append(
            _compared("D", entry.kaplan_yorke, 1.0, dimension["value"], dimension["error"])
        )
    return found


def measure_literature(
    names: Sequence[str],
    *,
    seconds: float = 60.0,
    again: bool = False,
    path: Path = LITERATURE,
) -> Iterator[Measured]:
    """Measure the named systems at the parameters of their published exponents, where these are not
    the catalog's, and write each into `path` as soon as it is done."""
    for i, raw in enumerate(_read(path)["entries"]):
        entry = _published(raw)
        if entry.at_catalog or raw["system"] not in names:
            continue
        if not again and entry.measured.get("hash") == entry.system.calibration_hash:
            continue
        try:
            system, spectrum = _measure(entry.system, seconds)
        except IntegrationError as error:
            yield Measured(entry.system, {}, str(error))
            continue
        facts: dict[str, Any] = {
            "period": _rounded(system.period, 6),
            "lyapunov_spectrum": [_rounded(value, 6) for value in spectrum.exponents],
            "lyapunov_spectrum_error": [_rounded(value, 2) for value in spectrum.errors],
            "measured": {},
            "calibration": {"method": spectrum.method, "length": _rounded(spectrum.length, 6)},
        }
        dimension = kaplan_yorke(spectrum, _as_in_catalog(system, facts))
        document = _read(path)
        document["entries"][i]["measured"] = {
            "exponents": facts["lyapunov_spectrum"],
            "errors": facts["lyapunov_spectrum_error"],
            **({"kaplan_yorke": _estimate(dimension)} if dimension else {}),
            "method": spectrum.method,
            "length": _rounded(spectrum.length, 6),
            "trajectories": spectrum.trajectories,
            "hash": entry.system.calibration_hash,
        }
        _write(document, path)
        yield Measured(system, facts)


def _measure(system: System, seconds: float) -> tuple[System, Spectrum]:
    """The spectrum, and the system with the period that the length is counted in: its own, or the
    catalog's where it has none (a motion without bounds drifts ever farther)."""
    try:
        timed = _with_period(system)
        return timed, measure_spectrum(timed, seconds=seconds)
    except IntegrationError:
        return system, measure_spectrum(system, seconds=seconds)


def _published(entry: Mapping[str, Any]) -> Published:
    parameters, initial = entry.get("parameters", {}), entry.get("initial")
    catalog = load(entry["system"], size=entry.get("size"))
    system = catalog.with_parameters(**parameters) if parameters else catalog
    if initial is not None:
        if len(initial) != system.dimension:
            raise CatalogError(
                f"literature.json: {system.name} has {system.dimension} states; "
                f"an initial state of {len(initial)} numbers arrived."
            )
        system = dataclasses.replace(system, initial=tuple(map(float, initial)))
    if entry["unit"] not in UNITS:
        raise CatalogError(f"literature.json: units are nats and bits; {entry['unit']!r} arrived.")
    return Published(
        system=system,
        catalog=load(entry["system"]),
        source=entry["source"],
        sure=entry["sure"],
        unit=entry["unit"],
        exponents=tuple(entry.get("exponents", ())),
        kaplan_yorke=entry.get("kaplan_yorke", ""),
        exception=entry.get("exception", ""),
        measured=entry.get("measured", {}),
    )


def _compared(label: str, printed: str, unit: float, ours: float, error: float) -> Comparison:
    value = float(printed) * unit
    allowed = max(SIGMAS * error, RELATIVE * abs(value)) + half_unit(printed) * unit
    return Comparison(label, printed, value, ours, error, allowed)


def half_unit(printed: str) -> float:
    """Half a unit of the last digit of a printed decimal number: 0.005 of "0.13"."""
    decimals = printed.partition(".")[2]
    return 0.5 * 10.0 ** -len(decimals)


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def _write(document: Mapping[str, Any], path: Path) -> None:
    """One line a fact, so that a new measurement is a short diff."""
    entries = [
        "    {\n"
        + ",\n".join(f"      {_json(key)}: {_json(value)}" for key, value in entry.items())
        + "\n    }"
        for entry in document["entries"]
    ]
    text = '{\n  "version": 1,\n  "entries": [\n' + ",\n".join(entries) + "\n  ]\n}\n"
    temporary = path.with_suffix(".json.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
