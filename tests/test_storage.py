"""Datasets in files: what is written is read back to the bit, by us and by other libraries."""

import json

import numpy as np
import pytest

from systems import Dataset, make_dataset
from systems.trajectory import optional

pa = pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def dataset():
    """Systems of different dimension, one with a name for each draw."""
    return make_dataset(["Lorenz", "HyperRossler"], 30, perturb=0.02, trajectories=2, cache=False)


@pytest.mark.parametrize("format", ["npz", "parquet", "arrow"])
def test_a_dataset_is_read_back_to_the_bit(dataset, tmp_path, format):
    files = dataset.save(tmp_path / "new", format)
    expected = [f"{name}.npz" for name in dataset] if format == "npz" else [f"data.{format}"]
    assert [file.name for file in files] == expected
    assert {file.name for file in (tmp_path / "new").iterdir()} == {*expected, "rejections.json"}
    read = Dataset.read(tmp_path / "new" if format == "npz" else files[0])
    assert sorted(read) == sorted(dataset) and read.rejections == dataset.rejections
    for name, made in dataset.items():
        assert read[name].hash == made.hash and read[name].coordinates == made.coordinates
        assert read[name].provenance == made.provenance and read[name].system == made.system


def test_the_layout_of_a_table_is_the_documented_one(dataset, tmp_path):
    """As Hugging Face reads it: nested lists of float64, one row a trajectory."""
    [file] = dataset.save(tmp_path, "parquet")
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    assert table.column_names == [
        "name", "system", "trajectory", "start", "dt", "coordinates", "states", "provenance",
    ]  # fmt: skip
    assert table.schema.field("states").type == pa.list_(pa.list_(pa.float64()))
    rows = table.to_pylist()
    assert [row["trajectory"] for row in rows] == [0, 1, 0, 1]
    last, made = rows[3], dataset["HyperRossler-0"]
    assert last["name"] == "HyperRossler-0" and last["system"] == "HyperRossler"
    assert last["coordinates"] == ["x", "y", "z", "w"]
    assert (np.array(last["states"]) == made.states[1]).all()
    assert last["start"] == 0.0 and last["dt"] == made.provenance["dt"]
    assert json.loads(last["provenance"])["system_hash"] == made.provenance["system_hash"]


def test_parts_keep_their_start_and_the_numbers_of_their_trajectories(dataset, tmp_path):
    part = dataset.split(by="trajectory", train=0.5, validation=0.0, test=0.5)["test"]
    [file] = part.save(tmp_path, "parquet")
    assert Dataset.read(file)["Lorenz-0"].provenance["numbers"] == [1]
    import pyarrow.parquet as pq

    assert pq.read_table(file)["trajectory"].to_pylist() == [1, 1]
    late = dataset.split(by="time", train=0.5, validation=0.0, test=0.5, gap=0.01)["test"]
    read = Dataset.read(late.save(tmp_path, "arrow")[0])["Lorenz-0"]
    assert (read.states == late["Lorenz-0"].states).all() and read.times[0] > 0
    assert np.allclose(read.times, late["Lorenz-0"].times, rtol=1e-14)


def test_the_long_table_of_pandas_has_a_row_a_number(dataset):
    table = dataset.to_pandas()
    assert len(table) == sum(made.states.size for made in dataset.values())
    w = table[
        (table.name == "HyperRossler-0") & (table.coordinate == "w") & (table.trajectory == 1)
    ]
    assert (w.value.to_numpy() == dataset["HyperRossler-0"].states[1, :, 3]).all()
    assert (w.time.to_numpy() == dataset["HyperRossler-0"].times).all()


def test_files_that_hold_something_else_are_refused(dataset, tmp_path):
    import pyarrow.parquet as pq

    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"name": ["a"], "x": [1.0]}), other)
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(dataset.save(tmp_path, "parquet")[0].read_bytes()[:-20])
    text = tmp_path / "text.arrow"
    text.write_text("no table")
    for file in (other, broken, text):
        with pytest.raises(ValueError, match=f"{file.name} is not a table of trajectories"):
            Dataset.read(file)
    with pytest.raises(ValueError, match=r"a table ends in \.parquet or \.arrow; 'a\.csv'"):
        Dataset.read(tmp_path / "a.csv")
    with pytest.raises(ValueError, match="formats are npz, parquet and arrow; 'csv'"):
        dataset.save(tmp_path, "csv")
    with pytest.raises(FileNotFoundError):
        Dataset.read(tmp_path / "nothing.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no \.npz file"):
        Dataset.read(tmp_path / "empty")


def test_a_table_that_cannot_be_written_leaves_nothing(dataset, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr("systems.storage.os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        dataset.save(tmp_path, "parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_is_named_with_the_line_that_installs_it():
    with pytest.raises(ImportError, match=r'pip install "dysts-bench\[data\]"'):
        optional("no_such_library", extra="data")
    with pytest.raises(ImportError, match="pip install no_such_library"):
        optional("no_such_library.part")
