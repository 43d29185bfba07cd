"""Local results become reference ones: whole cells, with what they were made by."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dysts_bench import records, reference
from dysts_bench.records import RecordError, Result
from tests.test_records import ROW

FACTS = {"commit": "0" * 40, "dirty": False}


def written(folder: Path, rows: list[Result], **facts: object) -> None:
    records.write_csv(folder / "esn.csv", rows)
    runs = {row.run_id: FACTS | facts for row in rows}
    records.write_atomically(folder / "manifest.json", json.dumps({"runs": runs}))


def rows(run_id: str, system: str, *values: float) -> list[Result]:
    base = replace(ROW, run_id=run_id, model="esn", system=system, task=f"main/{system}")
    return [replace(base, window=i, value=value) for i, value in enumerate(values)]


def test_cells_are_replaced_whole_and_others_stay(tmp_path):
    there = tmp_path / "reference" / "standard"
    written(there, rows("old", "Lorenz", 1.0, 2.0, 3.0) + rows("old", "Rossler", 4.0))
    written(tmp_path / "local" / "standard", rows("new", "Lorenz", 5.0, 6.0))
    assert reference.publish("standard", tmp_path, tmp_path) == {"esn": 1}
    found = records.read_csv(there / "esn.csv.gz")
    assert [path.name for path in records.tables(there)] == ["esn.csv.gz"]
    assert [(row.run_id, row.system, row.value) for row in found] == [
        ("new", "Lorenz", 5.0),
        ("new", "Lorenz", 6.0),
        ("old", "Rossler", 4.0),
    ]
    assert set(json.loads((there / "manifest.json").read_text())["runs"]) == {"new", "old"}
    written(tmp_path / "local" / "standard", rows("newer", "Rossler", 7.0))
    reference.publish("standard", tmp_path, tmp_path)
    assert set(json.loads((there / "manifest.json").read_text())["runs"]) == {"new", "newer"}


@pytest.mark.parametrize("facts", [{"dirty": True}, {"commit": None}])
def test_rows_of_code_that_no_commit_holds_are_refused(tmp_path, facts):
    written(tmp_path / "local" / "standard", rows("new", "Lorenz", 5.0), **facts)
    with pytest.raises(RecordError, match="no commit holds"):
        reference.publish("standard", tmp_path, tmp_path)
    assert not (tmp_path / "reference").exists()


def test_rows_of_an_unknown_run_and_no_rows_are_refused(tmp_path):
    local = tmp_path / "local" / "standard"
    with pytest.raises(RecordError, match="holds no results"):
        reference.publish("standard", tmp_path, tmp_path)
    written(local, rows("new", "Lorenz", 5.0))
    (local / "manifest.json").unlink()
    with pytest.raises(RecordError, match=r"manifest\.json lacks"):
        reference.publish("standard", tmp_path, tmp_path)


def test_stopped_in_between_every_row_has_its_run(tmp_path, monkeypatch):
    there = tmp_path / "reference" / "standard"
    written(there, rows("old", "Lorenz", 1.0))
    written(tmp_path / "local" / "standard", rows("new", "Rossler", 5.0))

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records, "write_csv", full_disk)
    with pytest.raises(OSError, match="No space"):
        reference.publish("standard", tmp_path, tmp_path)
    assert {"old", "new"} == set(json.loads((there / "manifest.json").read_text())["runs"])
    assert [row.run_id for row in records.read_csv(there / "esn.csv")] == ["old"]
