"""What befalls runs: crashes, hangs, kills, full disks, damaged files. `make test-faults`.

Each test starts `dysts-bench` as a user does, in processes of its own.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from dysts_bench.records import read_csv

pytestmark = pytest.mark.faults

SUITE = """
name = "faulty"
version = 1
description = "Small enough for many cells."
edition = "corrected"
track = "main"
seed = 0
metrics = ["valid_prediction_time", "rmse"]

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
free_runs = 0
free_context = 60
free_steps = 300
samples = 4
exponent_steps = 50
noise = 0.0
observe = "all"
precision = "double"

[profiles.quick]
description = "Nothing by itself."
models = ["persistence"]
seeds = 1
timeout = 60.0
"""
MODELS = """
import os, signal, time
from dataclasses import dataclass
import numpy as np
from models import Forecaster


@dataclass(kw_only=True)
class Good(Forecaster):
    gain: float = 1.0

    def _fit(self, train, *, dt, validation, seed): ...

    def _predict(self, context, horizon):
        return self.gain * np.repeat(context[:, -1:], horizon, axis=1)

    @classmethod
    def small(cls):
        return cls()


@dataclass(kw_only=True)
class Segfaults(Good):
    def _fit(self, train, *, dt, validation, seed):
        os.kill(os.getpid(), signal.SIGSEGV)


@dataclass(kw_only=True)
class Hangs(Good):
    def _fit(self, train, *, dt, validation, seed):
        time.sleep(600)


@dataclass(kw_only=True)
class Hoards(Good):
    def _fit(self, train, *, dt, validation, seed):
        self.hoard = np.ones((40_000, 40_000))


@dataclass(kw_only=True)
class Raises(Good):
    def _fit(self, train, *, dt, validation, seed):
        raise ArithmeticError("no fit today")


@dataclass(kw_only=True)
class AllNaN(Good):
    def _predict(self, context, horizon):
        return np.full((len(context), horizon, context.shape[2]), np.nan)


@dataclass(kw_only=True)
class Slow(Good):
    def _fit(self, train, *, dt, validation, seed):
        time.sleep(0.2)
"""
SYSTEMS = [
    *("Lorenz", "Rossler", "Chen", "Halvorsen", "Thomas", "SprottA", "SprottB", "SprottC"),
    *("SprottD", "SprottE", "SprottF", "SprottG", "SprottH", "SprottI", "SprottJ", "SprottK"),
    *("SprottL", "SprottM", "SprottN", "SprottO"),
]
STATUS = {
    "Segfaults": "crash",
    "Hangs": "timeout",
    "Hoards": "oom",
    "Raises": "crash",
    "AllNaN": "nan",
}
GOOD = [f"Good(gain={gain})" for gain in (0.2, 0.4, 0.6, 0.8, 1.0)]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faulty.toml").write_text(SUITE)
    (tmp_path / "models_of_mine.py").write_text(MODELS)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Trajectories are made once for the tests that do not damage them."""
    return tmp_path_factory.mktemp("cache")


def start(results, systems, models, cache, *arguments, **how):
    command = [sys.executable, "-m", "dysts_bench", "run", "--suite", "faulty.toml"]
    command += ["--systems", ",".join(systems), "--results", str(results), *arguments]
    for model in models:
        command += ["--model", f"models_of_mine.py:{model}"]
    environment = os.environ | {"DYSTS_BENCH_CACHE": str(cache)}
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} | how
    return subprocess.Popen(command, env=environment, start_new_session=True, **how)


def finish(process, code=0):
    output, _ = process.communicate(timeout=400)
    assert process.returncode == code, output
    return " ".join(output.split())


def values(results):
    """Every row's score, by what it is of."""
    folder = Path(results) / "local" / "faulty"
    rows = [row for path in sorted(folder.glob("*.csv")) for row in read_csv(path)]
    found = {(r.model, r.preset, r.system, r.metric, r.window): (r.status, r.value) for r in rows}
    assert len(found) == len(rows), "a row is there twice"
    return found


def test_of_200_cells_each_ends_in_its_own_way_and_the_good_ones_as_alone(cache):
    models = [*GOOD, *STATUS]
    finish(
        start("mixed", SYSTEMS, models, cache, "--jobs", "2", "--timeout", "10", "--memory", "3000")
    )
    finish(start("clean", SYSTEMS, GOOD, cache, "--jobs", "2"))
    mixed, clean = values("mixed"), values("clean")
    of_good = {key: value for key, value in mixed.items() if key[0] == "Good"}
    assert of_good == clean
    assert {status for status, _ in clean.values()} == {"ok"}
    cells = {(model, system): status for (model, _, system, *_), (status, _) in mixed.items()}
    assert {model: {cells[model, name] for name in SYSTEMS} for model in STATUS} == {
        model: {status} for model, status in STATUS.items()
    }
    assert len({key[:3] for key in mixed}) == 200


def test_a_run_killed_twenty_times_ends_like_one_that_was_not(cache):
    systems, models = SYSTEMS[:10], ["Slow(gain=0.5)", "Slow(gain=1.0)", "Slow(gain=1.5)"]
    rng = random.Random(0)
    kills = 0
    while kills < 20:
        run = start("killed", systems, models, cache, "--jobs", "2", "--overwrite", "only-failed")
        try:
            run.wait(timeout=rng.uniform(1.0, 5.0))
            break
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            run.communicate()
            kills += 1
        if kills % 5 == 0:  # or it would be finished long before
            victims = list(Path("killed/local/faulty/cells").glob("*/*.jsonl"))
            for victim in rng.sample(victims, len(victims) // 2):
                victim.unlink()
    finish(start("killed", systems, models, cache, "--jobs", "2"))
    finish(start("clean", systems, models, cache, "--jobs", "2"))
    assert kills == 20
    assert values("killed") == values("clean") and len(values("clean")) == 10 * 3 * 4


def test_two_runs_at_once_in_one_folder_lose_nothing(cache):
    systems = SYSTEMS[:8]
    first = start("shared", systems, ["Slow(gain=0.5)", "Slow(gain=1.0)"], cache, "--jobs", "1")
    second = start("shared", systems, ["Slow(gain=1.0)", "Slow(gain=1.5)"], cache, "--jobs", "1")
    finish(first)
    finish(second)
    every = ["Slow(gain=0.5)", "Slow(gain=1.0)", "Slow(gain=1.5)"]
    finish(start("clean", systems, every, cache, "--jobs", "2"))
    assert values("shared") == values("clean")


def test_a_full_disk_ends_the_run_with_its_name_and_tears_nothing(cache, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("only root may mount a small disk")
    systems, models = SYSTEMS[:10], GOOD
    try:
        output = finish(start(disk, systems, models, cache, "--jobs", "2"), code=1)
        assert "No space left on device" in output
        for path in disk.rglob("*.csv"):
            read_csv(path)  # raises if it is torn
        kept = list(disk.rglob("*.jsonl"))
        assert 0 < len(kept) < 50 and not list(disk.rglob("*.part"))
        subprocess.run(
            ["mount", "-o", "remount,size=64m", str(disk)], check=True, capture_output=True
        )
        output = finish(start(disk, systems, models, cache, "--jobs", "2"))
        assert f"{len(kept)} finished before" in output
        finish(start("clean", systems, models, cache, "--jobs", "2"))
        assert values(disk) == values("clean")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_folder_that_cannot_be_written_is_named(cache, tmp_path):
    (tmp_path / "results").write_text("a file where the folder should be")
    output = finish(start("results", SYSTEMS[:1], GOOD[:1], cache, "--jobs", "1"), code=1)
    assert "results" in output and "Error" in output


def test_damaged_results_and_trajectories_are_noticed_and_made_anew(tmp_path):
    own_cache, systems, rng = tmp_path / "cache", SYSTEMS[:6], random.Random(1)
    finish(start("results", systems, GOOD, own_cache, "--jobs", "2"))
    clean = values("results")
    cells = sorted(Path("results/local/faulty/cells").glob("*/*.jsonl"))
    arrays = sorted(own_cache.rglob("*.npz"))
    assert len(cells) == 30 and len(arrays) >= 18
    for path in [*rng.sample(cells, 12), *rng.sample(arrays, 9)]:
        content = bytearray(path.read_bytes())
        if rng.random() < 0.5:
            content = content[: rng.randrange(len(content))]
        else:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
    output = finish(start("results", systems, GOOD, own_cache, "--jobs", "2"))
    assert "it runs again" in output and "18 finished before, 12 to run" in output
    assert values("results") == clean


def test_a_cluster_that_loses_workers_gives_the_local_result(cache, monkeypatch):
    dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
    systems, models = SYSTEMS[:6], ["Slow(gain=0.5)", "Slow(gain=1.0)", "Hangs"]
    monkeypatch.setenv("DYSTS_BENCH_CACHE", str(cache))
    with (
        dask.config.set({"distributed.worker.daemon": False}),
        distributed.LocalCluster(
            n_workers=3, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        address = cluster.scheduler_address
        run = start("there", systems, models, cache, "--scheduler", address, "--timeout", "6")
        for _ in range(3):
            time.sleep(8.0)
            victim = random.Random(2).choice(sorted(client.run(os.getpid).values()))
            if run.poll() is None:
                os.kill(victim, signal.SIGKILL)
        finish(run)
    finish(start("here", systems, models, cache, "--jobs", "2", "--timeout", "6"))
    assert values("there") == values("here")
    assert Counter(status for status, _ in values("here").values())["timeout"] == 6 * 2
