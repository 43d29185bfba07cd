"""How long our trajectories are right: the horizon of certified truth, in Lyapunov times.

From several states on the attractor, given to the last bit, our trajectory and a reference of
higher precision, made by other code, are followed until they differ by 1 % of a coordinate's
standard deviation. The reference is trusted only as far as it agrees with a second one of other
steps and another order. Systems that are not chaotic are counted in periods.
"""

import hashlib
import json
import math
import time as clock
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from systems import catalog
from systems.catalog import CATALOG, Edition, System, from_entry
from systems.lanes import Precision
from systems.taylor_reference import ReferenceFailure

PRECISIONS: tuple[Precision, ...] = ("double", "double-double")
AGREEMENT = 0.01  # of each observed coordinate's standard deviation: ours beside the reference
TRUST = 0.001  # the two references beside each other
LIMIT = 45.0  # Lyapunov times (periods) that are looked at
STARTS = 5
POINTS_PER_TIME_UNIT = 30  # of the suite `standard`
BLOCK = 2.0  # Lyapunov times that the references advance before they are compared
SEED = 5  # none of the suite's roles has it


class Reference(Protocol):
    """What a reference is to `certify`: a name, and later and later states of each start."""

    method: str

    def advance(self, start: int, times: Float[np.ndarray, "times"]) -> np.ndarray: ...


@dataclass(frozen=True)
class Certificate:
    """Horizons of each start, in Lyapunov times (periods), and what ended them."""

    system: System
    precision: Precision
    horizons: tuple[float, ...]
    ends: tuple[str, ...]  # "ours parts", "reference", "limit" or "budget" for each start
    reference: str
    note: str = ""

    def facts(self) -> dict[str, Any]:
        """The certificate as it stands in the catalog."""
        return {
            "median": _rounded_down(float(np.median(self.horizons))),
            "starts": len(self.horizons),
            "capped": sum(end != "ours parts" for end in self.ends),
            "reference": self.reference,
            "hash": provenance_hash(self.system, self.precision),
        } | ({"note": self.note} if self.note else {})


def certify(
    system: System,
    precision: Precision = "double",
    *,
    starts: int = STARTS,
    limit: float = LIMIT,
    seconds: float = math.inf,
) -> Certificate:
    """How long `simulate` is right from `starts` states on the attractor.

    The sampling is that of the suite `standard`. `limit`: Lyapunov times (periods) after which all
    count as capped; `seconds`: budget of CPU time, after which what agrees so far counts. Raises
    `ReferenceFailure` where the reference fails, `IntegrationError` where there is no attractor,
    `ValueError` for a precision that the equations do not allow.
    """
    from systems.solve import precision_of, solve

    precision_of(system, precision)
    begun = clock.process_time()
    unit, dt = time_unit(system), sampling(system)
    times = dt * np.arange(math.floor(limit * unit / dt * (1 + 1e-9)) + 1)
    initial, deviation = _on_attractor(system, dt, starts)
    references = [reference_for(system, initial, beside=beside) for beside in (False, True)]
    ours, _ = solve(system, times, initial, precision=precision)
    reached, ends = [0] * starts, ["limit"] * starts
    alive, block = list(range(starts)), max(1, round(BLOCK * unit / dt))
    note = ""
    for first in range(0, len(times), block):
        some = slice(first, first + block)
        for start in list(alive):
            if clock.process_time() - begun > seconds:
                ends[start] = "budget"
                alive.remove(start)
                continue
            try:
                states = [reference.advance(start, times[some]) for reference in references]
            except ReferenceFailure as failure:
                ends[start], note = "reference", str(failure)
                alive.remove(start)
                continue
            seen = [
                system.observed(run, times[some]) / deviation
                for run in (ours[start, some], *states)
            ]
            parted = _first(~(np.abs(seen[0] - seen[1]) <= AGREEMENT))
            doubted = _first(~(np.abs(seen[1] - seen[2]) <= TRUST))
            count = min(parted, doubted, len(times[some]))
            reached[start] = first + count
            if count < len(times[some]):
                ends[start] = "ours parts" if parted < doubted else "reference"
                alive.remove(start)
        if not alive:
            break
    return Certificate(
        system,
        precision,
        tuple(float(times[max(0, count - 1)] / unit) for count in reached),
        tuple(ends),
        references[0].method,
        note,
    )


def time_unit(system: System) -> float:
    """The Lyapunov time, or the period of a system that is not chaotic, in system time."""
    chaotic = math.isfinite(system.lyapunov_time)
    return system.lyapunov_time if chaotic else system.period


def sampling(system: System) -> float:
    """The suite `standard`'s time between two points, in system time."""
    return min(system.period, time_unit(system)) / POINTS_PER_TIME_UNIT


def reference_for(
    system: System, initial: Float[np.ndarray, "starts dim"], *, beside: bool = False
) -> Reference:
    """The reference that suits the equations; `beside`: another one, to judge the first by."""
    from systems.delay_reference import CollocationReference
    from systems.taylor_reference import TaylorReference

    kind = CollocationReference if system.delays else TaylorReference
    return kind(system, initial, beside=beside)


def _on_attractor(system: System, dt: float, starts: int) -> tuple[np.ndarray, np.ndarray]:
    """States to start from, and the deviation of each observed coordinate."""
    made = system.trajectory(
        2000, dt=dt, trajectories=starts, seed=SEED, observe="states", cache=False
    )
    deviation = system.observed(made.states, made.times).std(axis=(0, 1))
    return made.states[:, 0], np.where(deviation > 0, deviation, 1.0)


def _first(claims: np.ndarray) -> int:
    """The first time at which a claim holds for any coordinate; past the end if for none."""
    found = np.flatnonzero(claims.any(axis=1))
    return int(found[0]) if len(found) else len(claims) + 1


# ---- the catalog ---------------------------------------------------------------------------------


def provenance_hash(system: System, precision: Precision) -> str:
    """Hex digest of what a certificate belongs to: equations, start, time unit, our integrator."""
    from systems.solve import method_of

    facts = [system.hash, time_unit(system), method_of(system, precision)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Job:
    """One system at one precision: what a worker process is given."""

    system: System
    precision: Precision
    starts: int
    seconds: float


@dataclass(frozen=True)
class Outcome:
    job: Job
    certificate: Certificate | None
    problem: str = ""

    def told(self) -> str:
        """The outcome in a line."""
        opening = f"{self.job.system.name}, {self.job.precision}: "
        if self.certificate is None:
            return f"{opening}not certified: {self.problem}"
        facts, least = self.certificate.facts(), min(self.certificate.horizons)
        line = f"{opening}{_rounded_down(least)} at least, {facts['median']} in the median"
        if facts["capped"]:
            line += f"; {facts['capped']} of {facts['starts']} were still right when it ended"
        return f"{line}; {self.certificate.note}" if self.certificate.note else line


def certify_catalog(
    names: Sequence[str],
    *,
    precisions: Sequence[Precision] = PRECISIONS,
    edition: Edition = "corrected",
    starts: int = STARTS,
    seconds: float = 600.0,
    jobs: int = 1,
    again: bool = False,
    path: Path = CATALOG,
) -> Iterator[Outcome]:
    """Certify the named entries and write each into `path` as soon as it is done.

    Certificates that belong to the present equations and integrator are passed over unless
    `again`. `starts` and `seconds` are those of one system at one precision. The edition `dysts` is
    written only where it differs. What cannot be certified is yielded with the reason, and loses
    what it had.
    """
    from systems.solve import precision_of

    entries = _entries(path)
    work = []
    for name in names:
        system, target = from_entry(name, entries[name], edition), _target(entries, name, edition)
        if target is None:
            continue
        for precision in precisions:
            known = target.get("certificates", {}).get(precision, {})
            if known.get("hash") == provenance_hash(system, precision) and not again:
                continue
            try:
                precision_of(system, precision)
            except ValueError:
                continue
            work.append(Job(system, precision, starts, seconds))
    for outcome in _done(work, jobs):
        entries = _entries(path)  # another command may have written meanwhile
        target = _target(entries, outcome.job.system.name, edition)
        assert target is not None
        _write(target, outcome)
        catalog.write(entries, path)
        yield outcome


def _done(work: list[Job], jobs: int) -> Iterator[Outcome]:
    if jobs <= 1:
        yield from map(_outcome, work)
        return
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from multiprocessing import get_context

    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(_outcome, job) for job in work]):
            yield future.result()


def _outcome(job: Job) -> Outcome:
    from systems.integrate import IntegrationError

    try:
        return Outcome(
            job, certify(job.system, job.precision, starts=job.starts, seconds=job.seconds)
        )
    except (ReferenceFailure, IntegrationError, ValueError) as error:
        return Outcome(job, None, str(error))


def _write(target: dict[str, Any], outcome: Outcome) -> None:
    precision, made = outcome.job.precision, outcome.certificate
    horizons = target.setdefault("certified_horizon", {})
    certificates = target.setdefault("certificates", {})
    for part in (horizons, certificates):
        part.pop(precision, None)
    if made is not None:
        horizons[precision] = _rounded_down(min(made.horizons))
        certificates[precision] = made.facts()
    for label in ("certified_horizon", "certificates"):
        if not target[label]:
            del target[label]


def _entries(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))["systems"]


def _target(entries: dict[str, Any], name: str, edition: Edition) -> dict[str, Any] | None:
    """The part of the catalog that an edition's certificates stand in; None where it has none."""
    return entries[name] if edition == "corrected" else entries[name].get("dysts")


def _rounded_down(value: float) -> float:
    return math.floor(value * 10) / 10
