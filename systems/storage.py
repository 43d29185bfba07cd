"""Trajectories in files: .npz with a checksum, the cache of them, and parquet or arrow tables.

Nothing in these files can run code: arrays are read without pickle, facts are JSON. A file is
written under another name and then moved, so that a reader never meets half of one.
"""

import contextlib
import hashlib
import io
import json
import logging
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from systems.machine_code import cache_folder
from systems.trajectory import Trajectory, checksum, optional

log = logging.getLogger("systems")


# ---- npz -----------------------------------------------------------------------------------------


def write_npz(path: Path, made: Trajectory) -> None:
    """Times, states, and the rest as JSON, in one .npz."""
    meta = {
        "provenance": dict(made.provenance),
        "coordinates": list(made.coordinates),
        "sha256": made.hash,
    }
    buffer = io.BytesIO()
    np.savez(buffer, times=made.times, states=made.states, meta=np.array(json.dumps(meta)))
    with written(path) as file:
        file.write(buffer.getbuffer())


def read_npz(path: Path) -> Trajectory:
    """What `write_npz` wrote. Raises `ValueError` where the file is torn, altered or another."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            times, states = stored["times"], stored["states"]
            meta = json.loads(str(stored["meta"]))
        expected, coordinates = meta["sha256"], tuple(meta["coordinates"])
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
    if expected != checksum(times, states):
        raise ValueError(f"{path}: the numbers do not match their checksum")
    return Trajectory(times, states, coordinates, provenance)


@contextlib.contextmanager
def written(path: Path) -> Iterator[Any]:
    """A binary file that appears under its name when it is whole, or never."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


# ---- the cache -----------------------------------------------------------------------------------


def cached(facts: Mapping[str, Any], make: Callable[[], Trajectory]) -> Trajectory:
    """The trajectory that `facts` determine: from the user's cache folder, or made and put there.

    A damaged file, or a folder that cannot be written, costs a warning and no more.
    """
    path = _cache_path(facts)
    stored = _from_cache(path)
    if stored is not None:
        return stored
    made = make()
    try:
        write_npz(path, made)
    except OSError as error:
        log.warning("The trajectory %s could not be cached (%s).", path.name, error)
    return made


def _cache_path(facts: Mapping[str, Any]) -> Path:
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return cache_folder() / "trajectories" / f"{facts['system']}-{key}.npz"


def _from_cache(path: Path) -> Trajectory | None:
    try:
        return read_npz(path)
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        log.warning("The cached trajectory %s is damaged (%s): computed again.", path.name, error)
        return None


# ---- parquet and arrow ---------------------------------------------------------------------------


def write_table(path: Path, made: Mapping[str, Trajectory]) -> None:
    """One row a trajectory in a parquet or arrow file (by the ending), in the order of `made`.

    Columns: `name` (the key in `made`), `system`, `trajectory` (its number), `start` and `dt`
    (system time), `coordinates` (list of names), `states` (times × dim, a list of lists of
    float64), `provenance` (JSON). Times are start + number · dt, up to rounding. A row that goes on
    where an earlier one of the same name and trajectory ended, as in the shards of a stream, has a
    later `start`. Raises `ValueError` for another ending, `ImportError` without pyarrow.
    """
    pa = optional("pyarrow", extra="data")
    schema = _schema(pa)
    with written(path) as file, _table_writer(path, file, schema) as writer:
        for name, trajectory in made.items():
            for batch in _batches(pa, schema, name, trajectory):
                writer.write_batch(batch)


def read_table(path: Path) -> dict[str, Trajectory]:
    """What `write_table` wrote, bit for bit in the states; times are start + number · dt.

    Raises `ValueError` where the file is no such table.
    """
    pa = optional("pyarrow", extra="data")
    _check_ending(path)
    try:
        if path.suffix == ".parquet":
            table = optional("pyarrow.parquet", extra="data").read_table(path)
        else:
            with optional("pyarrow.ipc", extra="data").open_file(path) as reader:
                table = reader.read_all()
        return {name: _from_rows(table, rows) for name, rows in _rows_by_name(table).items()}
    except FileNotFoundError:
        raise
    except (pa.ArrowException, KeyError, ValueError, TypeError, OSError) as error:
        raise ValueError(f"{path} is not a table of trajectories: {error}") from None


def _check_ending(path: Path) -> None:
    if path.suffix not in (".parquet", ".arrow"):
        raise ValueError(f"a table ends in .parquet or .arrow; {path.name!r} arrived.")


def _schema(pa: Any) -> Any:
    return pa.schema(
        {
            "name": pa.string(),
            "system": pa.string(),
            "trajectory": pa.int64(),
            "start": pa.float64(),
            "dt": pa.float64(),
            "coordinates": pa.list_(pa.string()),
            "states": pa.list_(pa.list_(pa.float64())),
            "provenance": pa.string(),
        }
    )


def _table_writer(path: Path, file: Any, schema: Any) -> Any:
    _check_ending(path)
    if path.suffix == ".parquet":
        return optional("pyarrow.parquet", extra="data").ParquetWriter(
            file,
            schema,
            use_dictionary=False,  # numbers on an attractor do not repeat
        )
    return optional("pyarrow.ipc", extra="data").new_file(file, schema)


def _batches(pa: Any, schema: Any, name: str, made: Trajectory) -> Iterable[Any]:
    provenance = json.dumps(dict(made.provenance), sort_keys=True)
    numbers = made.provenance.get("numbers", range(len(made.states)))
    for number, states in zip(numbers, made.states, strict=True):
        n, dim = states.shape
        flat = pa.array(np.ascontiguousarray(states).reshape(-1))
        points = pa.ListArray.from_arrays(np.arange(n + 1, dtype=np.int32) * dim, flat)
        columns = [
            pa.array([name]),
            pa.array([made.system]),
            pa.array([number], pa.int64()),
            pa.array([float(made.times[0])]),
            pa.array([float(made.provenance["dt"])]),
            pa.array([list(made.coordinates)]),
            pa.ListArray.from_arrays(np.array([0, n], dtype=np.int32), points),
            pa.array([provenance]),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _rows_by_name(table: Any) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(table["name"].to_pylist()):
        rows.setdefault(name, []).append(row)
    return rows


def _from_rows(table: Any, rows: list[int]) -> Trajectory:
    first = rows[0]
    coordinates = tuple(table["coordinates"][first].as_py())
    states = np.stack(
        [
            table["states"][row].values.flatten().to_numpy().reshape(-1, len(coordinates))
            for row in rows
        ]
    )
    start, dt = table["start"][first].as_py(), table["dt"][first].as_py()
    provenance = json.loads(table["provenance"][first].as_py())
    return Trajectory(start + np.arange(states.shape[1]) * dt, states, coordinates, provenance)
