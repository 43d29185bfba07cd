"""The record of what a system did: states at equally spaced times, and how to hand them on."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

Precision = Literal["float32", "float64"]


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
        return checksum(self.times, self.states)

    def __len__(self) -> int:
        return len(self.times)

    def cut(self, first: int, last: int) -> "Trajectory":
        """The points from number `first` to before number `last`, as an array of its own."""
        before = self.provenance.get("points", (0,))[0]
        return Trajectory(
            self.times[first:last].copy(),
            self.states[:, first:last].copy(),
            self.coordinates,
            {**self.provenance, "points": [before + first, before + last]},
        )

    def some(self, chosen: list[int]) -> "Trajectory":
        """Only the trajectories at these places."""
        numbers = self.provenance.get("numbers", range(len(self.states)))
        facts = {**self.provenance, "numbers": [int(numbers[place]) for place in chosen]}
        return replace(self, states=self.states[chosen], provenance=facts)

    def to_pandas(self) -> Any:
        """One row a point, with columns trajectory, time and the coordinates."""
        import pandas as pd

        m, n, dim = self.states.shape
        columns = {"trajectory": np.repeat(np.arange(m), n), "time": np.tile(self.times, m)}
        flat = self.states.reshape(m * n, dim)
        return pd.DataFrame(columns | {c: flat[:, i] for i, c in enumerate(self.coordinates)})

    def to_torch(self) -> Any:
        """The states as a torch tensor (trajectories, times, dim), float64."""
        return optional("torch").from_numpy(self.states.copy())

    def to_torch_windows(
        self, context: int, horizon: int, *, stride: int = 1, dtype: Precision = "float32"
    ) -> Any:
        """A torch `Dataset` whose items are (context, dim) and (horizon, dim), see `Windows`."""
        from systems.windows import Windows, to_torch

        return to_torch(Windows(self.states, context, horizon, stride=stride, dtype=dtype))

    def to_darts(self) -> list[Any]:
        """One darts `TimeSeries` a trajectory, indexed by the number of the point."""
        import pandas as pd

        series = optional("darts").TimeSeries
        index = pd.RangeIndex(len(self.times))
        return [
            series.from_times_and_values(index, states, columns=list(self.coordinates))
            for states in self.states
        ]

    def save(self, path: str | Path) -> None:
        """Write times, states and provenance as one .npz (atomically, readable without pickle)."""
        from systems.storage import write_npz

        write_npz(Path(path), self)

    @staticmethod
    def read(path: str | Path) -> "Trajectory":
        """A trajectory written by `save`. Raises `ValueError` where the file is torn or altered."""
        from systems.storage import read_npz

        return read_npz(Path(path))


def checksum(times: np.ndarray, states: np.ndarray) -> str:
    """Hex digest of the numbers and of their shape."""
    digest = hashlib.sha256(np.ascontiguousarray(times).tobytes())
    digest.update(str(states.shape).encode())
    digest.update(np.ascontiguousarray(states).tobytes())
    return digest.hexdigest()


def optional(library: str, *, extra: str | None = None) -> Any:
    """A library that not everyone has. Raises `ImportError` with the line that installs it."""
    try:
        return import_module(library)
    except ImportError as error:
        what = f'"dysts-bench[{extra}]"' if extra else library.partition(".")[0]
        raise ImportError(
            f"this needs {library}, which cannot be imported ({error}): pip install {what}"
        ) from error
