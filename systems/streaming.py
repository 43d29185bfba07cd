"""Trajectories longer than memory: chunk after chunk, with the bits of one long call.

A `Solution` is trajectories on their way: `advance(times)` gives the states at further times and
keeps all it needs to go on. What it gives does not depend on how the times are divided into calls.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from jaxtyping import Float

from systems import burn_in
from systems import integrate as dop853
from systems import integrate_taylor as taylor
from systems.catalog import System
from systems.dop853_kernel import NEXT_TIME, STEPS
from systems.generate import Observe, _select, catalog_hash, sampling_facts, step
from systems.integrate import IntegrationError
from systems.jets import has_series
from systems.lanes import Precision
from systems.llvm import compile_field
from systems.process_noise import noise_facts, start_noisy
from systems.random_streams import random_stream
from systems.solve import precision_of
from systems.storage import write_npz, write_table
from systems.trajectory import Trajectory

CHUNK = 100_000
STEPS_BETWEEN_PICTURES = 256


class Solution(Protocol):
    """Trajectories on their way."""

    def advance(
        self, times: Float[np.ndarray, "times"]
    ) -> Float[np.ndarray, "trajectories times dim"]:
        """The states at `times`, which increase and lie after all that were asked for before.

        Raises `IntegrationError` where a trajectory cannot be followed.
        """
        ...


def stream(
    system: System,
    n: int,
    *,
    chunk: int = CHUNK,
    points_per_period: float | None = None,
    points_per_lyapunov_time: float | None = None,
    dt: float | None = None,
    trajectories: int = 1,
    seed: int = 0,
    transient: float | None = None,
    process_noise: float = 0.0,
    observe: Observe = "all",
    precision: Precision | None = None,
    rtol: float | None = None,
    atol: float | None = None,
) -> Iterator[Trajectory]:
    """`system.trajectory(n, …)` in pieces of `chunk` points, in memory that does not grow with `n`.

    Put together, the pieces are that trajectory bit for bit; the last one may be shorter. Arguments
    mean what they do there. There is no observation noise, whose size is a fraction of a deviation
    that is known at the end only; nothing is cached. An initial state that escapes within the first
    chunk is replaced; one that escapes later, which a single call would replace too, raises
    `IntegrationError` when its chunk is asked for.
    """
    facts = sampling_facts(
        system,
        n,
        step(system, points_per_period, points_per_lyapunov_time, dt),
        trajectories=trajectories,
        seed=seed,
        transient=transient,
        noise=0.0,
        observe=observe,
        precision=precision,
        rtol=rtol,
        atol=atol,
    )
    if not (isinstance(chunk, int | np.integer) and chunk >= 1):
        raise ValueError(f"chunk is a positive whole number of points; {chunk!r} arrived.")
    if process_noise:
        facts |= noise_facts(system, process_noise, facts["dt"])
        solution, begun = _noisy(system, facts)
    else:
        solution, begun = _on_attractor(system, facts, int(chunk))
    return _chunks(system, facts, int(chunk), solution, begun)


def write_stream(
    folder: str | Path,
    chunks: Iterator[Trajectory],
    *,
    format: Literal["npz", "parquet", "arrow"] = "parquet",
    progress: Callable[[int], None] | None = None,
) -> list[Path]:
    """Write each chunk as a file `name-00000.parquet` and so on; returns the files.

    One chunk is in memory at a time. `progress` is called with the number of points written.
    """
    if format not in ("npz", "parquet", "arrow"):
        raise ValueError(f"formats are npz, parquet and arrow; {format!r} arrived.")
    files = []
    for number, made in enumerate(chunks):
        path = Path(folder) / f"{made.system}-{number:05d}.{format}"
        if format == "npz":
            write_npz(path, made)
        else:
            write_table(path, {made.system: made})
        files.append(path)
        if progress is not None:
            progress(len(made))
    return files


def _chunks(
    system: System,
    facts: Mapping[str, Any],
    chunk: int,
    solution: Solution,
    begun: Float[np.ndarray, "trajectories"],
) -> Iterator[Trajectory]:
    """`begun`: the time of the first point, since the start of each trajectory's burn-in."""
    origin = {"parameters": dict(system.parameters), "catalog_hash": catalog_hash()}
    for first in range(0, facts["n"], chunk):
        last = min(first + chunk, facts["n"])
        times = np.arange(first, last) * facts["dt"]
        seen = [
            _select(system, states, start + times, tuple(facts["coordinates"]))
            for states, start in zip(solution.advance(times), begun, strict=True)
        ]
        provenance = {**facts, **origin, "points": [first, last]}
        yield Trajectory(times, np.stack(seen), tuple(facts["coordinates"]), provenance)


def _on_attractor(
    system: System, facts: Mapping[str, Any], chunk: int
) -> tuple[Solution, Float[np.ndarray, "trajectories"]]:
    """The solutions after their burn-ins, and the lengths of those (system time)."""
    times = np.arange(min(chunk, facts["n"])) * facts["dt"]
    names = ("trajectories", "seed", "transient", "precision", "rtol", "atol")
    options = {name: facts[name] for name in names}
    states, burn_ins, _ = burn_in.on_attractor(system, times, **options)
    tolerances = {"rtol": facts["rtol"], "atol": facts["atol"]}
    if not system.delays:
        return open_solution(
            system, states[:, 0], epochs=burn_ins, precision=facts["precision"], **tolerances
        ), burn_ins
    starts = [
        _start(system, facts, number, length) for number, length in enumerate(burn_ins.tolist())
    ]
    runs = [
        Dop853Solution(system, start, offset=length, **tolerances)
        for start, length in zip(starts, burn_ins.tolist(), strict=True)
    ]
    return _SideBySide(runs, system.name), burn_ins


def _start(
    system: System, facts: Mapping[str, Any], number: int, length: float
) -> Float[np.ndarray, "dim"]:
    """The initial state that was drawn with a burn-in of this length."""
    rng = random_stream(system, facts["seed"], "initial states", number)
    while True:
        start, drawn = burn_in._draw(system, facts["transient"], rng)
        if drawn == length:
            return start


def _noisy(
    system: System, facts: Mapping[str, Any]
) -> tuple[Solution, Float[np.ndarray, "trajectories"]]:
    started = [start_noisy(system, facts, number) for number in range(facts["trajectories"])]
    begun = np.array([run.start + run.points * run.dt for run, _, _ in started])
    runs = [_Noisy(run, first) for run, first, _ in started]
    return _SideBySide(runs, system.name), begun


# ---- solutions -----------------------------------------------------------------------------------


def open_solution(
    system: System,
    initial: Float[np.ndarray, "trajectories dim"],
    *,
    epochs: Float[np.ndarray, "trajectories"] | None = None,
    precision: Precision | None = None,
    rtol: float | None = None,
    atol: float | None = None,
) -> Solution:
    """The solutions through `initial` at time 0, by the method that `systems.solve.solve` uses."""
    precision = precision_of(system, precision, rtol)
    epochs = np.zeros(len(initial)) if epochs is None else epochs
    if not has_series(system):
        shifts = epochs if system.reads_time else np.zeros(len(initial))
        return _SideBySide(
            [
                Dop853Solution(system, state, start=shift, offset=shift, rtol=rtol, atol=atol)
                for state, shift in zip(initial, shifts.tolist(), strict=True)
            ],
            system.name,
        )
    return _SideBySide(
        [
            # one by one, which changes no bit: side by side, one that is ahead of the others at the
            # end of a piece steps on until these arrive, and past the times of the next piece
            taylor.Lanes(
                system,
                state[None],
                width=1,
                epochs=epoch,
                precision=precision,
                tolerance=rtol,
                least_scale=atol / (rtol or 1.0) if atol else 0.0,
            )
            for state, epoch in zip(initial, epochs.tolist(), strict=True)
        ],
        system.name,
    )


class _SideBySide:
    """Solutions of one trajectory each."""

    def __init__(self, solutions: Sequence[Any], name: str) -> None:
        self.solutions, self.name = solutions, name

    def advance(
        self, times: Float[np.ndarray, "times"]
    ) -> Float[np.ndarray, "trajectories times dim"]:
        states = [solution.advance(times) for solution in self.solutions]
        for number, solution in enumerate(self.solutions):
            if isinstance(solution, taylor.Lanes) and solution.failures:
                reason = next(iter(solution.failures.values()))
                raise IntegrationError(f"{self.name}: trajectory {number}: {reason}.")
        return np.concatenate(states)


class _Noisy:
    def __init__(self, diffusion: Any, first: Float[np.ndarray, "1 dim"]) -> None:
        self.diffusion, self.first = diffusion, first

    def advance(self, times: Float[np.ndarray, "times"]) -> Float[np.ndarray, "1 times dim"]:
        new = self.diffusion.advance(len(times) - len(self.first))
        states = np.concatenate([self.first, new])
        self.first = self.first[:0]
        return states[None]


class Dop853Solution:
    """A run of DOP853, or of the method of steps, that is asked for one piece of times after
    another; `offset` is added to the times, `start` is where it begins.

    The driver ends a call in the middle of a step, whose polynomial covers the next times too but
    cannot be had to the last bit from outside. So the run is photographed every few steps, and the
    next call goes on from the last picture, over times that were asked for before.
    """

    def __init__(
        self,
        system: System,
        initial: Float[np.ndarray, "dim"],
        *,
        start: float = 0.0,
        offset: float = 0.0,
        rtol: float | None = None,
        atol: float | None = None,
    ) -> None:
        self.name, self.offset = system.name, offset
        self.run = dop853._Run(
            compile_field(system),
            np.array(initial, dtype=float),
            start,
            rtol or dop853.RTOL,
            atol or dop853.ATOL,
            dop853.floor_of(system),
        )
        self.run.steps_per_call = STEPS_BETWEEN_PICTURES
        self.picture = _picture(self.run)
        self.since = np.empty(0)  # times that were asked for and lie after the picture

    def advance(self, times: Float[np.ndarray, "times"]) -> Float[np.ndarray, "1 times dim"]:
        asked = np.concatenate([self.since, self.offset + times])
        out = np.empty((len(asked), len(self.run.states)))
        vars(self.run).update({name: array.copy() for name, array in self.picture.items()})
        reached = 0  # of the times asked for, when the picture was taken
        while not self._some_steps(asked, out):
            self.picture, reached = _picture(self.run), int(self.run.counters[NEXT_TIME])
        before = len(self.since)
        self.since = asked[reached:]
        self.picture["counters"][NEXT_TIME] = 0  # of the times from the picture on
        return out[None, before:]

    def _some_steps(self, times: np.ndarray, out: np.ndarray) -> bool:
        """Go on for at most the steps of a call; whether all times are filled."""
        limit = int(self.run.counters[STEPS]) + STEPS_BETWEEN_PICTURES
        try:
            self.run.to(times, out, self.name, limit, float("inf"))
        except IntegrationError:
            if self.run.counters[STEPS] >= limit:
                return False
            raise
        return True


def _picture(run: Any) -> dict[str, np.ndarray]:
    """Copies of all that a run changes and needs again."""
    names = ("states", "stages", "history", "control", "counters")
    return {name: getattr(run, name).copy() for name in names}
