"""The forecasts of a cell on disk, compressed: from them a new metric is scored without a fit.

A file is written whole or not at all, and holds numbers only: reading it runs no code.
"""

import io
import zipfile
import zlib
from pathlib import Path
from typing import cast

import numpy as np

from dysts_bench import records
from dysts_bench.metrics.base import Data
from dysts_bench.records import RecordError

Forecasts = dict[Data, np.ndarray]  # in the system's units, in the shapes that metrics see

_ORIGIN = "origin"


def write_forecasts(path: Path, origin: str, forecasts: Forecasts) -> None:
    """Keep forecasts in place of what was kept before. `origin` says what they were made of."""
    buffer = io.BytesIO()
    arrays: dict[str, np.ndarray] = {_ORIGIN: np.array(origin), **forecasts}  # type: ignore[dict-item]
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    records.write_atomically(path, buffer.getvalue())


def read_forecasts(path: Path) -> tuple[str, Forecasts]:
    """Origin and forecasts; FileNotFoundError, or RecordError if the file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return str(arrays.pop(_ORIGIN)), cast(Forecasts, arrays)
    except _DAMAGE as error:
        raise RecordError(f"{path} is damaged: {error}") from error


def origin_of(path: Path) -> str | None:
    """What kept forecasts were made of; None if there are none, or none that can be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return str(file[_ORIGIN])
    except (FileNotFoundError, *_DAMAGE):
        return None


_DAMAGE = (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
