"""Trajectories of many systems at once: chosen, perturbed, split, and written to files."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from systems.catalog import CatalogError, Edition, System, load
from systems.catalog import names as names_of
from systems.generate import trajectory
from systems.storage import read_table, write_table, written
from systems.trajectory import Precision, Trajectory

FileFormat = Literal["npz", "parquet", "arrow"]
TABLES = ("parquet", "arrow")
REJECTIONS = "rejections.json"


class Dataset(Mapping[str, Trajectory]):
    """Trajectories of several systems: a mapping from name to `Trajectory`.

    A system with perturbed parameters has an entry for each draw, `Lorenz-0`, `Lorenz-1` and so on;
    `rejections` says for each such system how many draws were rejected, by reason.
    """

    def __init__(
        self,
        trajectories: Mapping[str, Trajectory],
        rejections: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None:
        self._trajectories = dict(trajectories)
        self.rejections = {name: dict(counts) for name, counts in (rejections or {}).items()}

    def __getitem__(self, name: str) -> Trajectory:
        return self._trajectories[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._trajectories)

    def __len__(self) -> int:
        return len(self._trajectories)

    def split(self, **options: Any) -> "dict[str, Dataset]":
        """Training, validation and test data without a leak: see `systems.split.split`."""
        from systems.split import split

        return {part: Dataset(chosen) for part, chosen in split(self, **options).items()}

    def save(self, folder: str | Path, format: FileFormat = "npz") -> list[Path]:
        """Write one .npz a system, or one table `data.parquet` or `data.arrow`; returns the files.

        The table's layout is that of `storage.write_table`; Hugging Face reads it with
        `load_dataset("parquet", data_files="…/data.parquet")`. Rejections go to rejections.json.
        """
        folder = Path(folder)
        if format in TABLES:
            files = [folder / f"data.{format}"]
            write_table(files[0], self)
        elif format == "npz":
            files = [folder / f"{name}.npz" for name in self]
            for path, made in zip(files, self.values(), strict=True):
                made.save(path)
        else:
            raise ValueError(f"formats are npz, parquet and arrow; {format!r} arrived.")
        if self.rejections:
            with written(folder / REJECTIONS) as file:
                file.write(json.dumps(self.rejections, indent=1).encode())
        return files

    @staticmethod
    def read(path: str | Path) -> "Dataset":
        """What `save` wrote: a folder of .npz files or one table. Raises `ValueError` for files
        that hold something else, `FileNotFoundError` where there are none."""
        path = Path(path)
        if path.is_dir():
            files = sorted(path.glob("*.npz"))
            if not files:
                raise FileNotFoundError(f"{path} holds no .npz file.")
            made, folder = {file.stem: Trajectory.read(file) for file in files}, path
        else:
            made, folder = read_table(path), path.parent
        counts = folder / REJECTIONS
        return Dataset(made, json.loads(counts.read_text()) if counts.exists() else None)

    def to_pandas(self) -> Any:
        """One row a number, as systems differ in coordinates: name, system, trajectory, time,
        coordinate, value."""
        import pandas as pd

        tables = [
            made.to_pandas()
            .melt(["trajectory", "time"], var_name="coordinate")
            .assign(name=name, system=made.system)
            for name, made in self.items()
        ]
        columns = ["name", "system", "trajectory", "time", "coordinate", "value"]
        return pd.concat(tables, ignore_index=True)[columns]

    def to_torch_windows(
        self, context: int, horizon: int, *, stride: int = 1, dtype: Precision = "float32"
    ) -> Any:
        """A torch `Dataset` of the windows of all systems, one system after the other.

        Items are pairs (context, dim) and (horizon, dim). Systems of different dimension do not go
        into one batch: choose among them, or observe one coordinate.
        """
        from systems.trajectory import optional

        parts = [
            made.to_torch_windows(context, horizon, stride=stride, dtype=dtype)
            for made in self.values()
        ]
        return optional("torch.utils.data").ConcatDataset(parts)

    def to_darts(self) -> dict[str, list[Any]]:
        """One darts `TimeSeries` a trajectory, by name."""
        return {name: made.to_darts() for name, made in self.items()}


def make_dataset(
    names: Sequence[str | System] | str,
    n: int,
    *,
    edition: Edition = "corrected",
    jobs: int = 1,
    perturb: float | Mapping[str, float] = 0.0,
    draws: int = 1,
    max_seconds: float = 60.0,
    progress: Callable[[str], None] | None = None,
    **options: Any,
) -> Dataset:
    """`n` points of each system, `systems.generate.trajectory(system, n, **options)`, on `jobs`
    threads.

    `names`: names of the catalog, systems of your own (`load_file`), or a tag such as "chaotic".
    `perturb` = p multiplies each parameter by 1 + U(-p, p), or those named in a mapping by their
    own p; there are `draws` such systems of each, all of them found chaotic, which may take
    `max_seconds` a draw (see `systems.perturbation`). `progress` is called with the name of each
    finished entry. An entry depends on its system, its draw and `seed` alone: more systems, draws
    or trajectories change none of the others.
    """
    from systems.solve import prepare

    found = _systems(names, edition)
    with_tolerance = options.get("rtol") is not None  # which means double precision
    precision: Any = options.get("precision") or ("double" if with_tolerance else None)
    prepare(found, options.get("trajectories", 1), precision)
    if not (isinstance(draws, int) and draws >= 1):
        raise ValueError(f"draws is a positive whole number; {draws!r} arrived.")
    if not perturb:
        if draws != 1:
            raise ValueError(f"{draws} draws of the parameters take perturb > 0.")
        work = {s.name: partial(trajectory, s, n, **options) for s in found}
        return Dataset(_done(work, jobs, progress))

    from systems.perturbation import derivatives_ready, perturbed

    derivatives_ready(found)
    rejected: dict[tuple[str, int], Mapping[Any, int]] = {}

    def make(system: System, draw: int) -> Trajectory:
        seed = options.get("seed", 0)
        accepted = perturbed(system, perturb, draw=draw, seed=seed, max_seconds=max_seconds)
        made = trajectory(accepted.system, n, **options)
        rejected[system.name, draw] = accepted.rejections
        facts = {"draw": draw, "perturb": accepted.perturb, "perturbed_from": system.hash}
        return replace(made, provenance={**made.provenance, **facts})

    work = {f"{s.name}-{draw}": partial(make, s, draw) for s in found for draw in range(draws)}
    done = _done(work, jobs, progress)
    totals: dict[str, Counter[str]] = {system.name: Counter() for system in found}
    for (name, _), counts in rejected.items():
        totals[name].update(counts)
    return Dataset(done, totals)


def _systems(chosen: Sequence[str | System] | str, edition: Edition) -> list[System]:
    if isinstance(chosen, str):
        try:
            chosen = names_of(tag=chosen)
        except CatalogError:
            raise ValueError(
                f"names is a list of systems, as in [{chosen!r}], or a tag; a text that is no tag "
                "arrived."
            ) from None
    if not chosen:
        raise ValueError("names is a list of at least one system; an empty one arrived.")
    found = [load(one, edition) if isinstance(one, str) else one for one in chosen]
    twice = [name for name, count in Counter(s.name for s in found).items() if count > 1]
    if twice:
        raise ValueError(f"each system is named once; {', '.join(twice)} arrived more than once.")
    return found


def _done(
    work: Mapping[str, Callable[[], Trajectory]],
    jobs: int,
    progress: Callable[[str], None] | None,
) -> dict[str, Trajectory]:
    """The results of `work` in its order, on `jobs` threads; the first error ends it."""
    made: dict[str, Trajectory] = {}

    def keep(name: str, result: Trajectory) -> None:
        made[name] = result
        if progress is not None:
            progress(name)

    if jobs == 1:
        for name, make in work.items():
            keep(name, make())
        return made
    with ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(make): name for name, make in work.items()}
        try:
            for future in as_completed(running):
                keep(running[future], future.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return {name: made[name] for name in work}
