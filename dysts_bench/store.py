"""The cells that have run, one file each: written whole or not at all, checked on reading.

A file is named after its cell, so that a new result replaces the old one. The key inside says
whether the old one still holds; a checksum says whether the file is whole.
"""

import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dysts_bench import records
from dysts_bench.cells import Cell
from dysts_bench.records import COLUMNS, RecordError, Result, canonical_json, file_name, short_hash

log = logging.getLogger(__name__)

_FORMAT = 1


@dataclass(frozen=True)
class Merged:
    """How many cells were taken over, how many of these in place of others, how many are torn."""

    taken: int
    replaced: int
    damaged: int


@dataclass(frozen=True)
class Store:
    """The kept cells of a suite, `folder`/cells/<model>/*.jsonl, and the CSV files made of them."""

    folder: Path

    def key(self, cell: Cell) -> str | None:
        """The key under which a cell is kept, None if it is not; RecordError if it is damaged."""
        try:
            return _whole(self._path(cell))[0]
        except FileNotFoundError:
            return None

    def read(self, cell: Cell) -> list[Result]:
        """The rows of a kept cell; FileNotFoundError, or RecordError if it is damaged."""
        return read_cell(self._path(cell))

    def write(self, cell: Cell, key: str, rows: list[Result]) -> None:
        """Keep a cell in place of what was kept of it before."""
        write_cell(self._path(cell), key, rows)

    def rebuild(
        self,
        models: Iterable[str],
        runs: Mapping[str, Mapping[str, Any]],
        *,
        unless_current: Iterable[str] = (),
    ) -> None:
        """`<model>.csv` of all that is kept of these models, and these runs in manifest.json.

        Runs that end at the same time in one folder wait for each other, so that the tables hold
        what all of them kept. Models `unless_current` keep a table that bears the time at which
        their cells last changed: of 100,000 cells they take minutes to make.
        """
        from filelock import FileLock

        self.folder.mkdir(parents=True, exist_ok=True)
        changed = set(models)
        with FileLock(self.folder / ".lock"):
            for model in sorted(changed | set(unless_current)):
                self._rebuild(model, even_if_current=model in changed)
            self._note(runs)

    def _rebuild(self, model: str, *, even_if_current: bool) -> None:
        cells = self.folder / "cells" / file_name(model)
        table = self.folder / f"{file_name(model)}.csv"
        changed = _changed(cells)  # before they are read: what comes meanwhile is for the next time
        if changed is None or (changed == _changed(table) and not even_if_current):
            return
        kept = list(self._whole_cells(model))
        kept.sort(key=_place)
        if kept:
            records.write_csv(table, (row for rows in kept for row in rows))
            os.utime(table, ns=(changed, changed))

    def note(self, runs: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep what these runs are, before their first cell: killed, they leave none without it."""
        from filelock import FileLock

        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):
            self._note(runs)

    def _note(self, runs: Mapping[str, Mapping[str, Any]]) -> None:
        every = {**self.runs(), **runs}
        text = json.dumps({"runs": dict(sorted(every.items()))}, indent=1, ensure_ascii=False)
        records.write_atomically(self._manifest, text + "\n")

    def merge(self, other: "Store") -> Merged:
        """Take over the cells of another folder, and make the tables anew.

        A cell that is kept here under another key is replaced: the other's code, settings or
        equations differ, and it is the one asked for. Damaged files are left where they are.
        """
        taken = replaced = damaged = 0
        models = set()
        for path in sorted((other.folder / "cells").glob("*/*.jsonl")):
            try:
                key, rows = _whole(path)[0], read_cell(path)
            except RecordError as error:
                log.warning("%s: not taken over", error)
                damaged += 1
                continue
            models.add(rows[0].model)
            own = self.folder / path.relative_to(other.folder)
            before = _key_or_none(own)
            if before != key:
                write_cell(own, key, rows)
                taken, replaced = taken + 1, replaced + (before is not None)
        self.rebuild(models, other.runs())
        return Merged(taken, replaced, damaged)

    def runs(self) -> dict[str, Any]:
        """What manifest.json says of the runs that cells come from, by `run_id`."""
        try:
            return dict(json.loads(self._manifest.read_text(encoding="utf-8"))["runs"])
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError) as error:
            log.warning("%s is damaged (%s): begun anew", self._manifest, error)
            return {}

    @property
    def _manifest(self) -> Path:
        return self.folder / "manifest.json"

    def _whole_cells(self, model: str) -> Iterable[list[Result]]:
        for path in (self.folder / "cells" / file_name(model)).glob("*.jsonl"):
            try:
                yield read_cell(path)
            except RecordError as error:
                log.warning("%s: left out of the results", error)

    def forecasts(self, cell: Cell) -> Path:
        """Where the forecasts of a cell are kept, if they are."""
        path = self._path(cell)
        return self.folder / "forecasts" / path.parent.name / f"{path.stem}.npz"

    def _path(self, cell: Cell) -> Path:
        rest = short_hash(canonical_json([cell.task.track, cell.task.edition, cell.model.variant]))
        file = f"{file_name(cell.task.system)}.{cell.seed}.{rest[:8]}.jsonl"
        return self.folder / "cells" / file_name(cell.model.name) / file


def write_cell(path: Path, key: str, rows: list[Result]) -> None:
    """Two lines of JSON: key and checksum; what all rows share once, and the rest row by row."""
    shared = [c for c in COLUMNS if all(getattr(row, c) == getattr(rows[0], c) for row in rows)]
    columns = [c for c in COLUMNS if c not in shared]
    body = canonical_json(
        {
            "shared": {column: getattr(rows[0], column) for column in shared},
            "columns": columns,
            "rows": [[getattr(row, column) for column in columns] for row in rows],
        }
    )
    head = {"format": _FORMAT, "key": key, "sha256": short_hash(key + body)}
    records.write_atomically(path, f"{canonical_json(head)}\n{body}\n")


def read_cell(path: Path) -> list[Result]:
    """The rows of a cell file; RecordError if it is torn, altered or of another format."""
    body = json.loads(_whole(path)[1])
    return [
        Result(**body["shared"], **dict(zip(body["columns"], values, strict=True)))
        for values in body["rows"]
    ]


def _whole(path: Path) -> tuple[str, str]:
    """The key and the second line of a cell file, which is whole."""
    try:
        first, body, end = path.read_text(encoding="utf-8").split("\n")
        head = json.loads(first)
        if head["format"] != _FORMAT:
            raise RecordError(f"its format is {head['format']!r}, this version reads {_FORMAT}")
        if end or short_hash(head["key"] + body) != head["sha256"]:
            raise RecordError("its checksum does not match")
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path} is damaged: {error}") from error
    return head["key"], body


def _changed(path: Path) -> int | None:
    """When a file was written, or any file of a folder replaced, in ns; None if it is not there."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _key_or_none(path: Path) -> str | None:
    try:
        return _whole(path)[0]
    except (FileNotFoundError, RecordError):
        return None


def _place(rows: list[Result]) -> tuple[str, str, str, int]:
    return rows[0].task, rows[0].edition, rows[0].preset, rows[0].seed
