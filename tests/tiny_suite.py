"""A suite small enough for a test, models of a user's own, and commands run in a test's folder."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dysts_bench.cli import app

TINY = """
name = "tiny"
version = 1
description = "Small enough for a test."
edition = "corrected"
track = "main"
seed = 0
metrics = ["valid_prediction_time", "smape", "power_spectrum_distance"]

[protocol]
points_per_time_unit = 20
time_unit = "shorter"
fit_on = "train"
train_points = 400
validation_points = 200
windows = 3
context = 60
horizon = 2.0
horizon_unit = "lyapunov_time"
horizon_max_steps = 100
free_runs = 2
free_context = 60
free_steps = 300
samples = 4
exponent_steps = 50
noise = 0.0
observe = "all"
precision = "double"

[subsets]
one = ["Rossler"]

[profiles.quick]
description = "One model, and one more on a subset."
models = ["persistence"]
also.one = ["drift"]
seeds = 1
timeout = 60.0
"""
MISBEHAVING = Path(__file__).with_name("misbehaving.py")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Results and cache of a test lie in its own folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DYSTS_BENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tiny.toml").write_text(TINY)
    shutil.copy(MISBEHAVING, tmp_path / "mine.py")


def cli(*arguments, code=0):
    """What the command prints; fails unless it ends with `code`."""
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())
