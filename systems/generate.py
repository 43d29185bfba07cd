"""System → trajectories on the attractor: burn-in, sampling, noise, observation, cache, export.

Shared parameters: `dt` and times are in system time; `transient` is the burn-in in periods; `seed`
fixes everything random. A call with equal arguments returns equal bits on one machine.
"""

import hashlib
import io
import json
import logging
import math
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from systems.catalog import Edition, System, load
from systems.integrate import (
    ATOL,
    METHOD,
    RTOL,
    IntegrationError,
    floor_of,
    integrate,
)
from systems.machine_code import cache_folder

Observe = Literal["all", "states"] | Sequence[str]

PERTURBATION = 1e-3  # relative size of the random change of the catalog's initial state
ATTEMPTS = 20  # initial states tried for one trajectory before the system is said to escape
log = logging.getLogger("systems")


@dataclass(frozen=True, eq=False)
class Trajectory:
    """States at equally spaced times, of one or more independent trajectories.

    `times` (times,) are in system time, counted from the end of the burn-in; `states`
    (trajectories, times, dim) holds the coordinates called `coordinates`; `provenance` says what
    determined them.
    """

    times: Float[np.ndarray, "times"]
    states: Float[np.ndarray, "trajectories times dim"]
    coordinates: tuple[str, ...]
    provenance: Mapping[str, Any]

    @property
    def system(self) -> str:
        return str(self.provenance["system"])

    @cached_property
    def hash(self) -> str:
        """Hex digest of the numbers."""
        return _checksum(self.times, self.states)

    def __len__(self) -> int:
        return len(self.times)

    def to_pandas(self) -> Any:
        """One row a point, with columns trajectory, time and the coordinates."""
        import pandas as pd

        m, n, dim = self.states.shape
        columns = {"trajectory": np.repeat(np.arange(m), n), "time": np.tile(self.times, m)}
        flat = self.states.reshape(m * n, dim)
        return pd.DataFrame(columns | {c: flat[:, i] for i, c in enumerate(self.coordinates)})

    def to_torch(self) -> Any:
        """The states as a torch tensor (trajectories, times, dim), float64."""
        import torch

        return torch.from_numpy(self.states.copy())

    def to_darts(self) -> list[Any]:
        """One darts `TimeSeries` a trajectory, indexed by the number of the point."""
        import pandas as pd
        from darts import TimeSeries

        index = pd.RangeIndex(len(self.times))
        return [
            TimeSeries.from_times_and_values(index, states, columns=list(self.coordinates))
            for states in self.states
        ]

    def save(self, path: str | Path) -> None:
        """Write times, states and provenance as one .npz (atomically, readable without pickle)."""
        _write(Path(path), self)

    @staticmethod
    def read(path: str | Path) -> "Trajectory":
        """A trajectory written by `save`. Raises `ValueError` where the file is torn or altered."""
        return _read(Path(path))


class Dataset(Mapping[str, Trajectory]):
    """Trajectories of several systems: a mapping from name to `Trajectory`."""

    def __init__(self, trajectories: Mapping[str, Trajectory]) -> None:
        self._trajectories = dict(trajectories)

    def __getitem__(self, name: str) -> Trajectory:
        return self._trajectories[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._trajectories)

    def __len__(self) -> int:
        return len(self._trajectories)

    def save(self, folder: str | Path) -> None:
        """One .npz a system in `folder`."""
        for name, trajectory in self.items():
            trajectory.save(Path(folder) / f"{name}.npz")


def simulate(
    system: System,
    times: Float[np.ndarray, "times"],
    *,
    initial: Float[np.ndarray, "trajectories dim"] | None = None,
    rtol: float = RTOL,
    atol: float = ATOL,
    max_seconds: float = math.inf,
) -> Trajectory:
    """The raw states through `initial` at time 0 (default: the catalog's), without burn-in.

    A delay system holds `initial` for all times before 0. Raises `IntegrationError` for a
    trajectory that diverges.
    """
    from systems.llvm import compile_field

    if initial is None:
        initial = np.array([system.initial])
    states = integrate(
        compile_field(system),
        times,
        initial,
        name=system.name,
        rtol=rtol,
        atol=atol,
        floor=floor_of(system),
        max_seconds=max_seconds,
    )
    provenance = _facts(system) | {"rtol": rtol, "atol": atol}
    return Trajectory(np.array(times, dtype=float), states, system.states, provenance)


def trajectory(
    system: System,
    n: int,
    *,
    points_per_period: float = 100,
    dt: float | None = None,
    trajectories: int = 1,
    seed: int = 0,
    transient: float | None = None,
    noise: float = 0.0,
    observe: Observe = "all",
    rtol: float = RTOL,
    atol: float = ATOL,
    cache: bool = True,
) -> Trajectory:
    """`n` points of each of `trajectories` independent trajectories on the attractor.

    Each starts from the catalog's initial state, slightly perturbed, and runs through a burn-in of
    `transient` to twice as many periods (drawn at random, so that phases differ too; default: 50,
    longer where the Lyapunov time is long). `dt`, in system time, takes precedence over
    `points_per_period`. `noise` adds Gaussian observation noise, as a fraction of each coordinate's
    standard deviation. `observe`: "all" observed coordinates, the raw "states", or a list of names
    of either. Results are cached on disk; `cache=False` computes afresh and stores nothing.

    Raises `IntegrationError` if every attempted initial state escapes.
    """
    _check_numbers(n, trajectories, seed, points_per_period, noise)
    step = system.period / points_per_period if dt is None else float(dt)
    if not (step > 0 and math.isfinite(step)):
        raise ValueError(f"{system.name}: dt is positive and finite; {step:g} arrived.")
    coordinates = _coordinates(system, observe)
    burn_in = _default_transient(system) if transient is None else float(transient)
    if not (burn_in >= 0 and math.isfinite(burn_in)):
        raise ValueError(f"{system.name}: transient is finite and ≥ 0; {burn_in:g} arrived.")
    facts = _facts(system) | {
        "n": int(n),
        "dt": step,
        "trajectories": int(trajectories),
        "seed": int(seed),
        "transient": burn_in,
        "perturbation": PERTURBATION,
        "noise": float(noise),
        "coordinates": list(coordinates),
        "rtol": float(rtol),
        "atol": float(atol),
        "floor": floor_of(system),
    }
    path = _cache_path(facts)
    if cache and (stored := _from_cache(path)) is not None:
        return stored
    made = _generate(system, facts, coordinates)
    if cache:
        _to_cache(path, made)
    return made


def make_dataset(
    names: Sequence[str],
    n: int,
    *,
    edition: Edition = "corrected",
    jobs: int = 1,
    **options: Any,
) -> Dataset:
    """`trajectory(system, n, **options)` for each name, on `jobs` threads."""
    from systems.llvm import compile_fields

    if isinstance(names, str):
        raise ValueError(f"names is a list of systems, as in [{names!r}]; a text arrived.")
    found = [load(name, edition) for name in names]
    compile_fields(found)
    if jobs == 1:
        return Dataset({s.name: trajectory(s, n, **options) for s in found})
    with ThreadPoolExecutor(jobs) as pool:
        made = pool.map(lambda system: trajectory(system, n, **options), found)
        return Dataset(dict(zip(names, made, strict=True)))


def _check_numbers(
    n: int, trajectories: int, seed: int, points_per_period: float, noise: float
) -> None:
    for label, value in (("n", n), ("trajectories", trajectories)):
        if not (isinstance(value, int | np.integer) and value >= 1):
            raise ValueError(f"{label} is a positive whole number; {value!r} arrived.")
    if not (isinstance(seed, int | np.integer) and seed >= 0):
        raise ValueError(f"seed is a whole number ≥ 0; {seed!r} arrived.")
    if not points_per_period > 0:
        raise ValueError(f"points_per_period is positive; {points_per_period!r} arrived.")
    if not (noise >= 0 and math.isfinite(noise)):
        raise ValueError(f"noise is a fraction ≥ 0 of the standard deviation; {noise!r} arrived.")


def _coordinates(system: System, observe: Observe) -> tuple[str, ...]:
    if observe == "all":
        return system.observables
    if observe == "states":
        return system.states
    chosen = (observe,) if isinstance(observe, str) else tuple(observe)
    if not chosen:
        raise ValueError(f"{system.name}: observe names at least one coordinate; none arrived.")
    known = {*system.observables, *system.states}
    for name in chosen:
        if name not in known:
            raise ValueError(
                f"{system.name}: `{name}` is neither an observed coordinate nor a state; "
                f"there are {', '.join(dict.fromkeys([*system.observables, *system.states]))}."
            )
    return chosen


def _default_transient(system: System) -> float:
    """Periods after which trajectories from neighbouring initial states have nothing in common, or
    a test window would be a copy of a piece of the training data."""
    if math.isfinite(system.lyapunov_time):
        return min(max(50.0, 40.0 * system.lyapunov_time / system.period), 5000.0)
    if "transient" in system.tags:
        return 20.0  # a longer burn-in would leave the chaotic transient
    return 50.0


def _facts(system: System) -> dict[str, Any]:
    return {
        "system": system.name,
        "edition": system.edition,
        "system_hash": system.hash,
        "method": METHOD,
    }


def _generate(system: System, facts: Mapping[str, Any], coordinates: tuple[str, ...]) -> Trajectory:
    rng = np.random.default_rng([facts["seed"], int(system.hash[:8], 16)])
    times = np.arange(facts["n"]) * facts["dt"]
    runs, rejected = [], 0
    for _ in range(facts["trajectories"]):
        run_times, states, failures = _on_attractor(system, times, facts, rng)
        runs.append(_select(system, states, run_times, coordinates))
        rejected += failures
    states = np.stack(runs)
    if facts["noise"]:
        deviation = states.std(axis=(0, 1))
        states = states + facts["noise"] * deviation * rng.standard_normal(states.shape)
    return Trajectory(times, states, coordinates, dict(facts) | {"rejected": rejected})


def _on_attractor(
    system: System,
    times: np.ndarray,
    facts: Mapping[str, Any],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, int]:
    """One trajectory after its burn-in: times since its start, states, and how many initial states
    escaped before."""
    from systems.llvm import compile_field

    compiled = compile_field(system)
    initial = np.array(system.initial)
    for failures in range(ATTEMPTS):
        start = initial * (1 + PERTURBATION * rng.standard_normal(initial.shape))
        burn_in = facts["transient"] * (1 + rng.uniform()) * system.period
        try:
            states = integrate(
                compiled,
                burn_in + times,
                start[None],
                name=system.name,
                rtol=facts["rtol"],
                atol=facts["atol"],
                floor=facts["floor"],
            )
        except IntegrationError as error:
            last = error
            continue
        return burn_in + times, states[0], failures
    raise IntegrationError(
        f"{system.name}: {ATTEMPTS} initial states near the catalog's escape. Last: {last}"
    ) from last


def _select(
    system: System, states: np.ndarray, times: np.ndarray, coordinates: tuple[str, ...]
) -> np.ndarray:
    if coordinates == system.states:
        return states
    observed = system.observed(states, times)
    if coordinates == system.observables:
        return observed
    columns = dict(zip(system.states, states.T, strict=True))
    columns |= dict(zip(system.observables, observed.T, strict=True))
    return np.stack([columns[name] for name in coordinates], axis=-1)


# ---- files ---------------------------------------------------------------------------------------


def _cache_path(facts: Mapping[str, Any]) -> Path:
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return cache_folder() / "trajectories" / f"{facts['system']}-{key}.npz"


def _from_cache(path: Path) -> Trajectory | None:
    try:
        return _read(path)
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        log.warning("The cached trajectory %s is damaged (%s): computed again.", path.name, error)
        return None


def _to_cache(path: Path, made: Trajectory) -> None:
    try:
        _write(path, made)
    except OSError as error:
        log.warning("The trajectory %s could not be cached (%s).", path.name, error)


def _checksum(times: np.ndarray, states: np.ndarray) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(times).tobytes())
    digest.update(str(states.shape).encode())
    digest.update(np.ascontiguousarray(states).tobytes())
    return digest.hexdigest()


def _write(path: Path, made: Trajectory) -> None:
    meta = {
        "provenance": dict(made.provenance),
        "coordinates": list(made.coordinates),
        "sha256": made.hash,
    }
    buffer = io.BytesIO()
    np.savez(buffer, times=made.times, states=made.states, meta=np.array(json.dumps(meta)))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _read(path: Path) -> Trajectory:
    try:
        with np.load(path, allow_pickle=False) as stored:
            times, states = stored["times"], stored["states"]
            meta = json.loads(str(stored["meta"]))
        checksum, coordinates = meta["sha256"], tuple(meta["coordinates"])
        provenance = dict(meta["provenance"])
    except FileNotFoundError:
        raise
    # RuntimeError and TypeError: altered bytes can ask for an unknown compression or a password,
    # altered facts need not be a mapping
    except (
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        RuntimeError,
        zipfile.BadZipFile,
        OSError,
    ) as error:
        raise ValueError(f"{path} is not a stored trajectory: {error}") from None
    if checksum != _checksum(times, states):
        raise ValueError(f"{path}: the numbers do not match their checksum")
    return Trajectory(times, states, coordinates, provenance)
