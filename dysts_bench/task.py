"""Suites and tasks: the numbers a forecast is judged under, and the arrays of a task.

A `Suite` is read from TOML and is pure data; `tasks` crosses it with systems; `load` turns one
task into the arrays that a model and the metrics see. Arrays are (trajectories, times, dim) or
(windows, horizon, dim).
"""

import csv
import hashlib
import json
import math
import tomllib
from dataclasses import MISSING, asdict, dataclass, fields, replace
from difflib import get_close_matches
from functools import cache, cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float

import systems
from dysts_bench.metrics import Facts, find
from systems.catalog import Edition
from systems.generate import Observe

if TYPE_CHECKING:
    from systems.lanes import Precision

_SUITES = Path(__file__).parent / "suites"
# Each role has initial states of its own, so that nothing a model has seen is asked of it again.
Role = Literal["train", "validation", "test", "free_runs"]
_ROLES = {"train": 1, "validation": 2, "test": 3, "free_runs": 4}
_JUDGED = ("test", "free_runs")  # only these need be right for many Lyapunov times
_SEEDS_PER_SUITE_SEED = 10


class SuiteError(ValueError):
    """A suite is unknown, or its file breaks the schema."""


class DataError(ValueError):
    """A task has no usable data: the fault of the system or the suite, never of a model."""


@dataclass(frozen=True)
class Protocol:
    """The numbers of a suite; what each means stands beside it in suites/standard.toml."""

    points_per_time_unit: int
    time_unit: str
    fit_on: str
    train_points: int
    validation_points: int
    windows: int
    context: int
    horizon: float
    horizon_unit: str
    horizon_max_steps: int
    free_runs: int
    free_context: int
    free_steps: int
    samples: int
    exponent_steps: int
    noise: float
    observe: str
    precision: str
    # Those with a default count in a task's hash only where they differ from it.
    noisy_truth: bool = False  # judged with the noise, which no forecast can know
    scale_of: str = "train"  # or "validation": whose mean and deviation make the units


@dataclass(frozen=True)
class Profile:
    """Which models a run takes, seeds for the stochastic ones, seconds allowed a cell."""

    description: str
    models: tuple[str, ...] | None  # None: the whole zoo
    also: dict[str, tuple[str, ...]]  # by subset of systems: models that run on these only
    seeds: int
    timeout: float


@dataclass(frozen=True)
class Suite:
    """A named, versioned protocol and its profiles."""

    name: str
    version: int
    description: str
    edition: Edition
    track: str
    seed: int
    metrics: tuple[str, ...]  # that get rows, in this order; the first is the primary one
    protocol: Protocol
    profiles: dict[str, Profile]
    systems: tuple[str, ...]  # that it is run on unless others are named
    subsets: dict[str, tuple[str, ...]]  # of systems, by name: for models too slow for all
    # By system, in place of the catalog's:
    periods: dict[str, float] | None = None
    lyapunov_times: dict[str, float] | None = None
    sweep: tuple[int, ...] = ()  # numbers of training points, each of which makes a task


@dataclass(frozen=True)
class Task:
    """One system under one protocol: hashable; with the catalog's entry it decides the arrays."""

    suite: str
    version: int
    system: str
    edition: Edition
    track: str
    metrics: tuple[str, ...]
    protocol: Protocol
    seed: int
    # In system time, in place of the catalog's:
    period: float | None = None
    lyapunov_time: float | None = None

    @property
    def name(self) -> str:
        """The name in result rows, such as "main/Lorenz"."""
        return f"{self.track}/{self.system}"

    @cached_property  # asked for once a cell, and half of what a key costs
    def hash(self) -> str:
        """Twelve hexadecimal digits of SHA-256 over every field."""
        facts = asdict(self)
        # What came later is left out where it is not used: tasks keep the hash they had before.
        if self.lyapunov_time is None:
            del facts["lyapunov_time"]
        for f in fields(Protocol):
            if f.default is not MISSING and facts["protocol"][f.name] == f.default:
                del facts["protocol"][f.name]
        text = json.dumps(facts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True, eq=False)
class Windows:
    """The arrays of a task, standardised with mean and deviation of one trajectory, and read-only.

    That trajectory is `train`, or `validation` where the protocol says so or fits to the contexts,
    which are `train` then. `truth` is free of observation noise, unless the protocol says
    otherwise; it ends at the horizon, or where the catalog's certificate does. `spectrum` are the
    system's Lyapunov exponents, as many as the catalog knows.
    """

    train: Float[np.ndarray, "trajectories train_points dim"]
    validation: Float[np.ndarray, "1 validation_points dim"]
    contexts: Float[np.ndarray, "windows context dim"]
    truth: Float[np.ndarray, "windows horizon dim"]
    free_contexts: Float[np.ndarray, "runs free_context dim"]
    free_truth: Float[np.ndarray, "runs free_steps dim"]
    facts: Facts
    mean: Float[np.ndarray, " dim"]
    std: Float[np.ndarray, " dim"]
    spectrum: Float[np.ndarray, " exponents"]
    protocol: Protocol
    data_hash: str

    def in_units(self, standardised: np.ndarray) -> np.ndarray:
        """Values in the system's own units, in which `facts` are and scores are made."""
        return standardised * self.std + self.mean


def suite_names() -> list[str]:
    """The suites that come with the package."""
    return sorted(path.stem for path in _SUITES.glob("*.toml"))


def read_suite(name: str | Path) -> Suite:
    """A suite by its name, or from a TOML file of your own; SuiteError says what is wrong."""
    path = Path(name)
    outside = path.suffix == ".toml"
    if not outside:
        path = _SUITES / f"{name}.toml"
        if str(name) not in suite_names():
            raise SuiteError(f"there is no suite {str(name)!r}.{_meant(str(name), suite_names())}")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SuiteError(f"{path}: can't be read as TOML: {error}") from error
    _validate(table, path)
    if isinstance(table.get("subsets"), str):  # those of a suite that comes with the package
        table["subsets"] = read_suite(table["subsets"]).subsets
    for metric in table["metrics"]:
        try:
            find(metric)
        except (KeyError, ValueError) as error:
            raise SuiteError(f"{path}: metrics: {error.args[0]}") from error
    _require_sense(table, path)
    if outside and table["name"] in suite_names():  # its rows would mix with the reference
        raise SuiteError(f"{path}: the name {table['name']!r} is taken: give your suite another.")
    given = table["protocol"]
    protocol = {f.name: f.type(given[f.name]) for f in fields(Protocol) if f.name in given}  # type: ignore[operator]
    profiles = {key: _profile(value) for key, value in table["profiles"].items()}
    return Suite(
        name=table["name"],
        version=int(table["version"]),
        description=table["description"],
        edition=table["edition"],
        track=table["track"],
        seed=int(table["seed"]),
        metrics=tuple(table["metrics"]),
        protocol=Protocol(**protocol),
        profiles=profiles,
        systems=tuple(table.get("systems", systems.names())),
        subsets={name: tuple(subset) for name, subset in table.get("subsets", {}).items()},
        periods=_read_times(table, "period", path),
        lyapunov_times=_read_times(table, "lyapunov_time", path),
        sweep=tuple(map(int, table.get("sweep", {}).get("train_points", ()))),
    )


def _require_sense(table: dict[str, Any], path: Path) -> None:
    """What a schema cannot say."""
    protocol = table["protocol"]
    if not all(map(math.isfinite, (protocol["horizon"], protocol["noise"]))):
        raise SuiteError(f"{path}: protocol: horizon and noise must be finite numbers.")
    subsets, known = table.get("subsets", {}), [*systems.names(), *systems.outside_names()]
    named = {"systems": table.get("systems", [])}
    named |= {f"subsets.{name}": subset for name, subset in subsets.items()}
    for place, chosen in named.items():
        for system in chosen:
            if system not in known:
                raise SuiteError(
                    f"{path}: {place}: the catalog has no system {system!r}."
                    + _meant(system, known)
                )
    for name in subsets:
        if name == "all" or name in known:
            raise SuiteError(f"{path}: subsets: {name!r} is taken: give the subset another name.")
    for name, profile in table["profiles"].items():
        also = profile.get("also", {})
        lists = [profile["models"]] if profile["models"] != "all" else []
        for model in chain(*lists, *also.values()):
            if ".py" in model:
                raise SuiteError(
                    f"{path}: profiles.{name}: {model!r} names a file, whose code would be run; a "
                    "suite names models of the zoo, and yours is given with --model."
                )
        for subset in also:
            if subset not in subsets:
                raise SuiteError(
                    f"{path}: profiles.{name}.also: no subset is called {subset!r}."
                    + _meant(subset, list(subsets))
                )
    long = [name for name in table["metrics"] if find(name).data in ("free_runs", "exponents")]
    if long and not protocol["free_runs"]:
        raise SuiteError(f"{path}: {', '.join(long)} need free runs; protocol.free_runs is 0.")
    if protocol.get("noisy_truth") and not protocol["noise"]:
        raise SuiteError(f"{path}: protocol: noisy_truth needs noise, which is 0.")
    lengths = table.get("sweep", {}).get("train_points", [protocol["train_points"]])
    if max(lengths) != protocol["train_points"]:
        raise SuiteError(
            f"{path}: sweep: the most training points are those of the protocol, "
            f"{protocol['train_points']}; got {max(lengths)}."
        )
    if len(lengths) > 1 and protocol["fit_on"] == "context":
        raise SuiteError(f'{path}: sweep: a context has one length; set fit_on = "train".')
    if protocol["fit_on"] == "context":
        if protocol["train_points"] != protocol["context"]:
            raise SuiteError(
                f"{path}: protocol: what is fitted to its context has as many training points as "
                f"context; got {protocol['train_points']} and {protocol['context']}."
            )
        if protocol["free_runs"]:
            raise SuiteError(
                f"{path}: protocol: a model fitted to each context has no free runs; set "
                f"free_runs = 0, got {protocol['free_runs']}."
            )


def _read_times(table: dict[str, Any], kind: str, suite: Path) -> dict[str, float] | None:
    """Times from the CSV file that the suite names, if it does: the columns system and `kind`."""
    if f"{kind}s" not in table:
        return None
    path = suite.parent / table[f"{kind}s"]
    try:
        with path.open(encoding="utf-8", newline="") as file:
            times = {row["system"]: float(row[kind]) for row in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise SuiteError(f"{path}: no CSV of the columns system and {kind}: {error!r}") from error
    wrong = [name for name, time in times.items() if not 0 < time < math.inf]
    if wrong:
        raise SuiteError(f"{path}: {kind}s are positive numbers; those of {wrong} are not.")
    return times


def _time_of(suite: Suite, name: str, kind: str) -> float | None:
    times = getattr(suite, f"{kind}s")
    if times is None:
        return None
    if name not in times:
        raise SuiteError(f"suite {suite.name} gives no {kind} for {name}: add it to its file.")
    return float(times[name])


def tasks(suite: Suite, system_names: list[str]) -> list[Task]:
    """The tasks of a suite on the systems named, in their order.

    A sweep makes several of each system, which differ in their training points and in their track.
    """
    tracks = {suite.track: suite.protocol}
    if suite.sweep:
        tracks = {
            f"{suite.track}-{points}": replace(suite.protocol, train_points=points)
            for points in suite.sweep
        }
    return [
        Task(
            suite=suite.name,
            version=suite.version,
            system=name,
            edition=suite.edition,
            track=track,
            metrics=suite.metrics,
            protocol=protocol,
            seed=suite.seed,
            period=_time_of(suite, name, "period"),
            lyapunov_time=_time_of(suite, name, "lyapunov_time"),
        )
        for name in system_names
        for track, protocol in tracks.items()
    ]


@dataclass(frozen=True)
class Clock:
    """How a task counts time: in Lyapunov times, or in periods if the system is not chaotic."""

    dt: float  # system time between samples
    unit: float  # system time of one Lyapunov time (one period)
    unit_name: str  # "Lyapunov times" or "periods"
    steps: int  # horizon, in samples

    @property
    def horizon(self) -> float:
        """The horizon in Lyapunov times (periods), after every cut."""
        return self.steps * self.dt / self.unit


def clock(task: Task) -> Clock:
    """dt = the protocol's time unit / points; the horizon ends with the certificate, too.

    The certificate counts from the start of the forecast, since a small error in the context's
    past shrinks along the attractor while one made after it grows.
    """
    system, protocol = systems.load(task.system, edition=task.edition), task.protocol
    period = task.period or system.period
    lyapunov_time = task.lyapunov_time or system.lyapunov_time
    if not (math.isfinite(period) and period > 0 and lyapunov_time > 0):
        raise DataError(
            f"{task.system}: a task needs a positive period and Lyapunov time; the catalog has "
            f"period {period!r} and Lyapunov time {lyapunov_time!r}. Calibrate the system first."
        )
    chaotic = math.isfinite(lyapunov_time)
    unit = lyapunov_time if chaotic else period
    sampled = {"period": period, "lyapunov_time": unit, "shorter": min(period, lyapunov_time)}
    dt = sampled[protocol.time_unit] / protocol.points_per_time_unit
    horizon = protocol.horizon
    if protocol.horizon_unit == "period":
        horizon *= period / unit
    certified = system.certified_horizon.get(_precision(task, system), math.inf)
    if chaotic:  # certified in the catalog's Lyapunov times
        certified *= system.lyapunov_time / unit
    # The last sample within the horizon; 1e-9 so that rounding can't make 749 of 750.
    steps = math.floor(min(horizon, certified) * unit / dt * (1 + 1e-9))
    steps = min(steps, task.protocol.horizon_max_steps)
    if steps < 1:
        raise DataError(
            f"{task.system}: the horizon is shorter than one sample (certified for {certified} "
            f"Lyapunov times, one sample is {dt / unit:.3g})."
        )
    return Clock(dt, unit, "Lyapunov times" if chaotic else "periods", steps)


def load(task: Task) -> Windows:
    """The arrays of `task`: trajectories from the cache, standardised by the training part.

    Raises DataError when a coordinate is constant or not finite, so that no model is blamed for it.
    """
    protocol, noise = task.protocol, task.protocol.noise
    raw_seen = trajectories(task, "test", noise=noise)
    raw_validation = trajectories(task, "validation", noise=noise)
    raw_train = raw_seen[:, : protocol.context]
    if protocol.fit_on == "train":
        raw_train = trajectories(task, "train", noise=noise)
    by_train = protocol.fit_on == "train" and protocol.scale_of == "train"
    mean, std = _scale(task, raw_train if by_train else raw_validation)
    train, validation, seen_test = (
        _standardised(x, mean, std) for x in (raw_train, raw_validation, raw_seen)
    )
    # Seen with noise, judged without: the same trajectories once more.
    clean_truth = noise and not protocol.noisy_truth
    true_test = _standardised(trajectories(task, "test"), mean, std) if clean_truth else seen_test
    seen_free = true_free = seen_test[:0]
    if protocol.free_runs:
        seen_free = _standardised(trajectories(task, "free_runs", noise=noise), mean, std)
        true_free = seen_free
        if clean_truth:
            true_free = _standardised(trajectories(task, "free_runs"), mean, std)
    system, time = systems.load(task.system, edition=task.edition), clock(task)
    return Windows(
        train=train,
        validation=validation,
        contexts=seen_test[:, : protocol.context],
        truth=true_test[:, protocol.context :],
        free_contexts=seen_free[:, : protocol.free_context],
        free_truth=true_free[:, protocol.free_context :],
        facts=Facts(dt=time.dt, lyapunov_time=time.unit, scale=std, train=raw_train),
        mean=mean,
        std=std,
        spectrum=np.array(system.lyapunov_spectrum, dtype=float),
        protocol=protocol,
        data_hash=_checksum(
            [mean, std, train, validation, seen_test, true_test, seen_free, true_free]
        ),
    )


def trajectories(
    task: Task, role: Role, *, noise: float = 0.0, observe: Observe | None = None
) -> Float[np.ndarray, "trajectories times dim"]:
    """Those of a role in the system's units, from the cache; observed as the protocol says.

    Raises DataError if they are not finite.
    """
    system, protocol, time = (
        systems.load(task.system, edition=task.edition),
        task.protocol,
        clock(task),
    )
    points, count = {
        "train": (protocol.train_points, 1),
        "validation": (protocol.validation_points, 1),
        "test": (protocol.context + time.steps, protocol.windows),
        "free_runs": (protocol.free_context + protocol.free_steps, protocol.free_runs),
    }[role]
    if observe is None:
        observe = "all" if protocol.observe == "all" else list(system.observables[:1])
    states = system.trajectory(
        points,
        dt=time.dt,
        trajectories=count,
        seed=_SEEDS_PER_SUITE_SEED * task.seed + _ROLES[role],
        noise=noise,
        observe=observe,
        precision=_precision(task, system) if role in _JUDGED else "double",
    ).states
    if not np.isfinite(states).all():
        raise DataError(f"{task.system}: the {role} trajectories hold NaN or infinity.")
    return states


def _precision(task: Task, system: systems.System) -> "Precision":
    """The precision of what forecasts are judged by: the suite's, where the equations allow it."""
    from systems.solve import precision_of

    return "double" if task.protocol.precision == "double" else precision_of(system)


def _standardised(
    states: Float[np.ndarray, "trajectories times dim"],
    mean: Float[np.ndarray, " dim"],
    std: Float[np.ndarray, " dim"],
) -> Float[np.ndarray, "trajectories times dim"]:
    values = (states - mean) / std
    values.flags.writeable = False  # a model must not be able to alter what it is judged by
    return values


def _scale(
    task: Task, train: Float[np.ndarray, "1 times dim"]
) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, " dim"]]:
    mean, std = train.mean(axis=(0, 1)), train.std(axis=(0, 1))
    # A deviation at the rounding of the mean is a constant coordinate seen through float64.
    still = ~(std > 1e-12 * np.abs(mean))
    if still.any():
        raise DataError(
            f"{task.system}: coordinates {np.flatnonzero(still).tolist()} are constant over the "
            "training trajectory and can't be standardised; observe others in the catalog."
        )
    return mean, std


def _checksum(arrays: list[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array, dtype="<f8").data)
    return digest.hexdigest()[:12]


@cache
def _schema() -> dict[str, Any]:
    return json.loads((_SUITES / "suite.schema.json").read_text(encoding="utf-8"))


def _validate(table: dict[str, Any], path: Path) -> None:
    from jsonschema import Draft202012Validator  # 60 ms: only when a suite is read

    for error in Draft202012Validator(_schema()).iter_errors(table):
        where = ".".join(map(str, error.absolute_path)) or "top level"
        hint = ""
        if error.validator == "additionalProperties" and "properties" in error.schema:
            known = list(error.schema["properties"])
            unknown = [key for key in error.instance if key not in known]
            hint = _meant(unknown[0], known)
        raise SuiteError(f"{path}: {where}: {error.message}.{hint}")
    if not all(map(math.isfinite, (table["protocol"]["horizon"], table["protocol"]["noise"]))):
        raise SuiteError(f"{path}: protocol: horizon and noise must be finite numbers.")


def _profile(table: dict[str, Any]) -> Profile:
    models = None if table["models"] == "all" else tuple(table["models"])
    also = {subset: tuple(models) for subset, models in table.get("also", {}).items()}
    seeds, timeout = int(table["seeds"]), float(table["timeout"])
    return Profile(table["description"], models, also, seeds, timeout)


def _meant(word: str, known: list[str]) -> str:
    close = get_close_matches(word, known, n=3)
    return f" Did you mean {' or '.join(close)}?" if close else f" Known: {', '.join(known)}."
