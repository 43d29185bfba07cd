"""Local results become reference ones: results/local/<suite>/ goes into results/reference/<suite>/.

A cell (task, edition, model, preset, seed) that was there before is replaced as a whole. Tables are
compressed: pandas, DuckDB and R read `<model>.csv.gz` as they read CSV, at a twentieth of its size.
"""

import json
from pathlib import Path
from typing import Any

from dysts_bench import records
from dysts_bench.records import RecordError, Result, file_name

CellKey = tuple[str, str, str, str, int]  # task, edition, model, preset, seed


def publish(suite: str, source: Path, results: Path) -> dict[str, int]:
    """Merge source/local/<suite> into results/reference/<suite>; how many cells of each model.

    RecordError, and nothing is changed, if there is nothing to merge, if a file is damaged, or if a
    row's run is unknown to manifest.json or was made with uncommitted code.
    """
    local, reference = source / "local" / suite, results / "reference" / suite
    new = cells_of(local)
    if not new:
        raise RecordError(f"{local} holds no results: `dysts-bench run --suite {suite}` makes them")
    runs = runs_of(reference) | runs_of(local)
    made_by = {rows[0].run_id for rows in new.values()}
    for run_id in sorted(made_by):
        _require_reproducible(run_id, runs, local)
    cells = cells_of(reference) | new
    tables: dict[str, list[Result]] = {}
    for cell in sorted(cells):
        tables.setdefault(cell[2], []).extend(cells[cell])
    models = sorted({cell[2] for cell in new})
    # All runs at first: whenever this is stopped, every row's run is known.
    _write_manifest(reference, runs)
    for model in models:
        table = reference / f"{file_name(model)}.csv"
        records.write_csv(table.with_suffix(".csv.gz"), tables[model])
        table.unlink(missing_ok=True)  # its rows are in the compressed one now
    used = {row.run_id for rows in cells.values() for row in rows}
    _write_manifest(reference, {run_id: runs[run_id] for run_id in used})
    return {model: sum(cell[2] == model for cell in new) for model in models}


def cells_of(folder: Path) -> dict[CellKey, list[Result]]:
    """The rows of every cell in the tables of a folder; RecordError if one is damaged."""
    cells: dict[CellKey, list[Result]] = {}
    for path in records.tables(folder):
        for row in records.read_csv(path):
            cell = (row.task, row.edition, row.model, row.preset, row.seed)
            cells.setdefault(cell, []).append(row)
    return cells


def runs_of(folder: Path) -> dict[str, Any]:
    """What manifest.json says of the runs that rows come from, by `run_id`."""
    path = folder / "manifest.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["runs"])
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path} is damaged: {error}") from error


def _write_manifest(folder: Path, runs: dict[str, Any]) -> None:
    text = json.dumps({"runs": dict(sorted(runs.items()))}, indent=1, ensure_ascii=False)
    records.write_atomically(folder / "manifest.json", text + "\n")


def _require_reproducible(run_id: str, runs: dict[str, Any], local: Path) -> None:
    if run_id not in runs:
        raise RecordError(f"{local} has rows of run {run_id}, which its manifest.json lacks")
    if runs[run_id]["commit"] is None or runs[run_id]["dirty"]:
        raise RecordError(
            f"run {run_id} was made with code that no commit holds: commit it and run again"
        )
