"""Rows survive the way to disk and back bit for bit, and files are whole or absent."""

import gzip
import json
import math
import os
import platform
import subprocess
import sys
from dataclasses import fields, replace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dysts_bench import records
from dysts_bench.records import COLUMNS, STATUSES, RecordError, Result

ROW = Result(
    run_id="0123456789ab",
    suite="standard",
    suite_version=1,
    task="main/Lorenz",
    system="Lorenz",
    edition="corrected",
    model="nvar",
    preset="gilpin2023",
    hyperparameters='{"taps":2}',
    seed=0,
    window=3,
    metric="valid_prediction_time",
    value=0.1 + 0.2,
    unit="Lyapunov times",
    higher_is_better=True,
    status="ok",
    message="",
    n_points=6000,
    horizon_lyapunov_times=25.0,
    censored=False,
    noise_floor=None,
    fit_seconds=1.5,
    predict_seconds=0.25,
    peak_memory_mb=None,
    hardware_id="ba9876543210",
    catalog_hash="c" * 12,
    data_hash="d" * 12,
    version="0.1.0",
)

numbers = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=20)
rows = st.builds(
    Result,
    **{
        name: texts
        for name in ("suite", "task", "system", "model", "preset", "metric", "unit", "data_hash")
    },
    **{name: texts.map(records.one_line) for name in ("message",)},
    **{name: st.just("0123456789ab") for name in ("run_id", "hardware_id", "catalog_hash")},
    edition=st.sampled_from(["corrected", "dysts"]),
    version=st.just("0.1.0"),
    hyperparameters=st.dictionaries(texts, numbers, max_size=2).map(records.canonical_json),
    suite_version=st.integers(1, 9),
    seed=st.integers(0, 2**40),
    n_points=st.integers(1, 10**6),
    window=st.none() | st.integers(0, 99),
    value=numbers,
    higher_is_better=st.booleans(),
    status=st.sampled_from(["ok", "nan", "diverged"]),
    horizon_lyapunov_times=st.none() | numbers,
    censored=st.none() | st.booleans(),
    noise_floor=st.none() | numbers,
    fit_seconds=st.none() | numbers,
    predict_seconds=st.none() | numbers,
    peak_memory_mb=st.none() | numbers,
)
failed_rows = st.builds(
    lambda row, status: replace(row, value=None, status=status), rows, st.sampled_from(STATUSES[1:])
)


@settings(max_examples=60)
@given(st.lists(rows | failed_rows, max_size=5))
def test_csv_gives_back_what_it_was_given(tmp_path_factory, results):
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    records.write_csv(path, results)
    assert records.read_csv(path) == results


@settings(max_examples=30)
@given(st.lists(rows | failed_rows, min_size=1, max_size=5))
def test_pandas_reads_the_same_numbers_as_we_do(tmp_path_factory, results):
    folder = tmp_path_factory.mktemp("results")
    records.write_csv(folder / "local" / "standard" / "m.csv", results)
    frame = records.load_results(folder)
    for name in COLUMNS:
        expected = [getattr(result, name) for result in results]
        assert [None if pd.isna(v) else v for v in frame[name].astype(object)] == expected, name
    assert set(frame["source"]) == {"local"}
    direct = records.to_frame(results)
    assert list(direct["value"]) == pytest.approx(list(frame["value"]), nan_ok=True, rel=0, abs=0)


def test_the_columns_are_those_of_the_design_in_order():
    design = (
        "run_id suite suite_version task system edition model preset hyperparameters seed window "
        "metric value unit higher_is_better status message n_points horizon_lyapunov_times "
        "censored noise_floor fit_seconds predict_seconds peak_memory_mb hardware_id "
        "catalog_hash data_hash version"
    )
    assert " ".join(COLUMNS) == design
    assert len(COLUMNS) == len(fields(Result))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": None}, "does not go with"),
        ({"status": "timeout"}, "does not go with"),
        ({"value": math.inf}, "finite"),
        ({"status": "fine"}, "one of ok"),
    ],
)
def test_a_failure_has_no_value_and_a_value_is_finite(change, said):
    with pytest.raises(RecordError, match=said):
        replace(ROW, **change)


def test_a_diverged_forecast_may_keep_its_declared_value():
    assert replace(ROW, status="diverged").value == ROW.value
    assert replace(ROW, status="nan", value=None).value is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("run_id,", "run,", "columns differ"),
        (",true,ok", ",yes,ok", "line 2: higher_is_better is true or false"),
        (",6000,", ",many,", "line 2: n_points is int"),
        (",ok,", ",okay,", "line 2: status"),
        (",0.1.0", "", "line 2"),
    ],
)
def test_a_foreign_or_torn_csv_is_refused_with_the_line(tmp_path, old, new, said):
    path = tmp_path / "rows.csv"
    records.write_csv(path, [ROW])
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(RecordError, match=said):
        records.read_csv(path)


def test_a_compressed_table_is_the_same_table(tmp_path):
    plain, packed = tmp_path / "rows.csv", tmp_path / "rows.csv.gz"
    records.write_csv(plain, [ROW])
    records.write_csv(packed, [ROW])
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    assert records.read_csv(packed) == [ROW]
    records.write_csv(tmp_path / "again.csv.gz", [ROW])  # neither time nor name inside
    assert (tmp_path / "again.csv.gz").read_bytes() == packed.read_bytes()
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(RecordError, match=r"rows\.csv\.gz"):
        records.read_csv(packed)


def test_frames_of_reference_and_local_results_say_which_is_which(tmp_path):
    records.write_csv(tmp_path / "reference" / "standard" / "nvar.csv.gz", [ROW])
    records.write_csv(tmp_path / "local" / "standard" / "esn.csv", [replace(ROW, model="esn")])
    frame = records.load_results(tmp_path)
    assert list(zip(frame["model"], frame["source"], strict=True)) == [
        ("nvar", "reference"),
        ("esn", "local"),
    ]
    assert records.load_results(tmp_path, "other").empty


def test_rows_of_some_metrics_or_models_are_those_of_the_whole(tmp_path):
    others = [replace(ROW, metric=metric, window=None) for metric in ("rmse", "nrmse")]
    trap = replace(others[1], message="failed: neither,rmse,nor another", system="Rossler")
    records.write_csv(tmp_path / "reference" / "standard" / "nvar.csv.gz", [ROW, *others, trap])
    esn = [replace(row, model="esn") for row in (ROW, *others)]
    records.write_csv(tmp_path / "local" / "standard" / "esn.csv", esn)
    whole = records.load_results(tmp_path).astype(str)
    for metrics in ({"rmse"}, {"rmse", ROW.metric}, {"smape"}):
        some = records.load_results(tmp_path, metrics=metrics).astype(str)
        expected = whole[whole["metric"].isin(metrics)].reset_index(drop=True)
        pd.testing.assert_frame_equal(some, expected)
        values = records.load_results(tmp_path, metrics=metrics, columns=["model", "value"])
        pd.testing.assert_frame_equal(values.astype(str), expected[["model", "value", "source"]])
    of_esn = records.load_results(tmp_path, models={"esn", "es"}).astype(str)
    expected = whole[whole["model"] == "esn"].reset_index(drop=True)
    pd.testing.assert_frame_equal(of_esn, expected)


def test_a_column_that_there_is_not_is_answered_with_those_alike(tmp_path):
    with pytest.raises(ValueError, match=r"no column 'vallue'\. There are value\."):
        records.load_results(tmp_path, columns=["model", "vallue"])


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    records.write_atomically(path, "old")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        records.write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_a_message_fits_one_line_of_any_encoding():
    assert records.one_line("a\r\n  b\tc") == "a b c"
    assert records.one_line("\udcff") == "\\udcff"
    assert len(records.one_line("x" * 1000)) == 300


@pytest.mark.parametrize("kernels", ["Haswell", "Nehalem"])
def test_runs_know_the_kernels_of_linear_algebra(kernels):
    code = (
        "from dysts_bench import records; print(*records.provenance([], '', 1)['linear_algebra'])"
    )
    env = os.environ | {"OPENBLAS_CORETYPE": kernels}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    if "openblas" not in run.stdout or platform.machine() != "x86_64":
        pytest.skip("NumPy has no OpenBLAS, or none for these processors")
    assert kernels in run.stdout


def test_processors_of_one_name_are_told_apart_by_generation() -> None:
    zen = "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: {}\nmodel\t\t: 2\n"
    zen += "model name\t: AMD EPYC\nstepping\t: 1\n"
    two = zen.format(26) + "\n" + zen.format(25).replace("processor\t: 0", "processor\t: 1")
    assert records._named(two) == "AMD EPYC (family 26, model 2, stepping 1)"
    assert records._named(zen.format(25)) == "AMD EPYC (family 25, model 2, stepping 1)"
    assert records._named("processor\t: 0\nmodel name\t: ARMv8\n") == "ARMv8"
    assert records._named("processor\t: 0\n") == ""


def test_gpus_are_hardware_where_there_are_any(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    records.hardware.cache_clear()
    without = records.hardware()
    assert "gpus" not in without  # timings of machines without keep their id
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf 'NVIDIA H100\\nNVIDIA H100\\n'")
    tool.chmod(0o755)
    records.hardware.cache_clear()
    assert records.hardware() == without | {"gpus": ["NVIDIA H100", "NVIDIA H100"]}
    tool.write_text("#!/bin/sh\necho no driver; exit 9")
    records.hardware.cache_clear()
    assert records.hardware() == without
    records.hardware.cache_clear()


def test_runs_with_equal_provenance_share_an_id_and_it_holds_no_path_of_the_machine():
    facts = records.provenance(["dysts-bench", "run"], "c" * 12, threads=1)
    assert records.run_id(facts) == records.run_id(json.loads(json.dumps(facts)))
    assert records.run_id(facts) != records.run_id(facts | {"command": ["dysts-bench"]})
    assert facts["packages"]["numpy"]
    assert os.path.expanduser("~") not in json.dumps(facts | {"commit": None})
    assert facts["hardware"]["cores"] == os.cpu_count()
