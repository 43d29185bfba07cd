"""`dysts-bench generate`: what it writes and what it says."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import systems
from dysts_bench.cli import app
from systems import Dataset

pytest.importorskip("pyarrow")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def generate(*arguments, code=0):
    done = CliRunner().invoke(app, ["generate", *arguments])
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


def test_options_reach_the_trajectories(tmp_path):
    generate(
        "--systems", "Lorenz", "--points", "40", "--points-per-lyapunov-time", "25", "--seed", "4",
        "--process-noise", "0.1", "--noise", "0.2", "--observe", "x,z", "--trajectories", "2",
        "--format", "arrow", "--output", "mine",
    )  # fmt: skip
    made = Dataset.read(tmp_path / "mine" / "data.arrow")["Lorenz"]
    expected = systems.load("Lorenz").trajectory(
        40, points_per_lyapunov_time=25, seed=4, process_noise=0.1, noise=0.2, observe=["x", "z"],
        trajectories=2, cache=False,
    )  # fmt: skip
    assert made.hash == expected.hash and made.coordinates == ("x", "z")


def test_rejections_are_counted_aloud_and_kept(tmp_path):
    said = generate("--systems", "Lorenz", "--points", "5", "--perturb", "0.5", "--draws", "3")
    counts = json.loads((tmp_path / "data" / "rejections.json").read_text())["Lorenz"]
    total = sum(counts.values())
    assert total > 0 and f"Lorenz: {total} draws of parameters rejected" in said
    assert all(f"{count} {reason}" in said for reason, count in counts.items())
    assert "data: 3 of 3" in said
    assert sorted(Dataset.read(tmp_path / "data")) == ["Lorenz-0", "Lorenz-1", "Lorenz-2"]


def test_parts_go_into_folders_of_their_own(tmp_path):
    said = generate(
        "--systems", "Lorenz,Chen", "--points", "3000", "--split", "time", "--gap", "2",
        "--shares", "0.5,0.25,0.25", "--format", "parquet",
    )  # fmt: skip
    assert said.endswith("3 files")
    parts = [
        Dataset.read(tmp_path / "data" / part / "data.parquet")
        for part in ("train", "validation", "test")
    ]
    for name in ("Lorenz", "Chen"):
        assert np.allclose([len(part[name]) / len(parts[0][name]) for part in parts], [1, 0.5, 0.5],
                           atol=0.01)  # fmt: skip


def test_a_stream_is_written_in_shards(tmp_path):
    said = generate(
        "--systems", "Lorenz", "--points", "250", "--stream", "100", "--format", "parquet"
    )
    assert "chunks: 3 of 3" in said and said.endswith("3 files")
    files = sorted((tmp_path / "data").iterdir())
    pieces = [Dataset.read(file)["Lorenz"].states for file in files]
    whole = systems.load("Lorenz").trajectory(250, cache=False).states
    assert (np.concatenate(pieces, axis=1) == whole).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dt", "0.1", "--points-per-period", "50"], "points_per_period and dt arrived"),
        (["--tag", "chaotical"], "Did you mean `chaotic`"),
        (["--tag", "chaotic", "--systems", "Lorenz"], "two ways of choosing"),
        (["--stream", "10", "--noise", "0.1"], "a stream takes no noise, perturb or split"),
        (["--systems", "Lorenz", "--split", "time", "--shares", "1"], "shares are three numbers"),
        (["--systems", "Lorenz", "--perturb", "2"], "perturb is between 0 and 1"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_said_with_code_2(arguments, message):
    if "--systems" not in arguments and "--tag" not in arguments:
        arguments = ["--systems", "Lorenz", *arguments]
    assert message in generate(*arguments, code=2)
