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
from tiny_suite import elsewhere  # noqa: F401

from dysts_bench.records import read_csv
from dysts_bench.store import read_cell

pytestmark = pytest.mark.faults

SYSTEMS = [
    *("Lorenz", "Rossler", "Chen", "Halvorsen", "Thomas", "SprottA", "SprottB", "SprottC"),
    *("SprottD", "SprottE", "SprottF", "SprottG", "SprottH", "SprottI", "SprottJ", "SprottK"),
    *("SprottL", "SprottM", "SprottN", "SprottO"),
]
STATUS = {
    "Segfaults": "crash",
    "Hangs": "timeout",
    "Hoards": "oom",
    "RaisesInFit": "crash",
    "AllNaN": "nan",
}
GOOD = [f"Good(gain={gain})" for gain in (0.2, 0.4, 0.6, 0.8, 1.0)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Trajectories are made once for the tests that do not damage them."""
    return tmp_path_factory.mktemp("cache")


def start(results, systems, models, cache, *arguments, **how):
    command = [sys.executable, "-m", "dysts_bench", "run", "--suite", "tiny.toml"]
    command += ["--systems", ",".join(systems), "--results", str(results), *arguments]
    for model in models:
        command += ["--model", f"mine.py:{model}"]
    environment = os.environ | {"DYSTS_BENCH_CACHE": str(cache)}
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} | how
    return subprocess.Popen(command, env=environment, start_new_session=True, **how)


def finish(process, code=0):
    output, _ = process.communicate(timeout=400)
    assert process.returncode == code, output
    return " ".join(output.split())


def values(results):
    """Every row's score, by what it is of, from the tables."""
    folder = Path(results) / "local" / "tiny"
    return by_place(row for path in folder.glob("*.csv") for row in read_csv(path))


def kept(results):
    """The same, from the files of cells; raises if one is damaged."""
    paths = (Path(results) / "local" / "tiny" / "cells").glob("*/*.jsonl")
    return by_place(row for path in paths for row in read_cell(path))


def by_place(rows):
    rows = list(rows)
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


def test_a_run_killed_twenty_times_ends_like_one_that_was_not(cache, tmp_path):
    models = [f"Slow(gain={gain})" for gain in (0.2, 0.4, 0.6, 0.8, 1.0)]
    finish(start("clean", SYSTEMS, models, cache, "--jobs", "2"))
    clean, rng = values("clean"), random.Random(0)
    assert len(clean) == 20 * 5 * 5
    arguments = ("killed", SYSTEMS, models, tmp_path / "cache", "--jobs", "2")
    for number in range(20):
        run, before = start(*arguments), len(kept("killed"))
        if number % 3 == 0:  # while libraries are loaded or data are made
            time.sleep(rng.uniform(0.1, 2.5))
        else:
            while len(kept("killed")) == before and run.poll() is None:
                time.sleep(0.02)
            time.sleep(rng.uniform(0.0, 1.5))
        assert run.poll() is None, f"kill {number} came too late: {run.communicate()[0]}"
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
        assert kept("killed").items() <= clean.items()  # raises if a file is torn
    assert 0 < len(kept("killed")) < len(clean)
    output = finish(start(*arguments))
    assert "0 finished before" not in output and "runs again" not in output
    assert values("killed") == clean


def test_two_runs_at_once_in_one_folder_lose_nothing(cache):
    systems = SYSTEMS[:8]
    first = start("shared", systems, ["Slow(gain=0.5)", "Slow(gain=1.0)"], cache, "--jobs", "1")
    second = start("shared", systems, ["Slow(gain=1.0)", "Slow(gain=1.5)"], cache, "--jobs", "1")
    finish(first)
    finish(second)
    every = ["Slow(gain=0.5)", "Slow(gain=1.0)", "Slow(gain=1.5)"]
    finish(start("clean", systems, every, cache, "--jobs", "2"))
    assert values("shared") == values("clean")


@pytest.fixture
def disk(tmp_path):
    """A file system of its own: `disk(options)` mounts or changes it."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True
        )
        if done.returncode != 0:
            pytest.skip("only root may mount a disk")
        return folder

    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", str(folder)], capture_output=True)


def test_a_full_disk_ends_the_run_with_its_name_and_tears_nothing(cache, disk):
    folder = disk("size=64k")
    systems, models = SYSTEMS[:10], GOOD
    output = finish(start(folder, systems, models, cache, "--jobs", "2"), code=1)
    assert "No space left on device" in output and "Traceback" not in output
    for path in folder.rglob("*.csv"):
        read_csv(path)  # raises if it is torn
    whole = list(folder.rglob("*.jsonl"))
    assert 0 < len(whole) < 50 and not list(folder.rglob("*.part"))
    disk("remount,size=64m")
    output = finish(start(folder, systems, models, cache, "--jobs", "2"))
    assert f"{len(whole)} finished before" in output
    finish(start("clean", systems, models, cache, "--jobs", "2"))
    assert values(folder) == values("clean")


def test_a_folder_that_cannot_be_written_is_named_and_stays_as_it_was(cache, disk):
    folder = disk("size=64m")
    finish(start(folder, SYSTEMS[:2], GOOD[:1], cache, "--jobs", "1"))
    before = values(folder)
    disk("remount,ro,size=64m")
    for models in (GOOD[:1], GOOD[:2]):  # with nothing left to do, and with something
        output = finish(start(folder, SYSTEMS[:2], models, cache, "--jobs", "1"), code=1)
        assert "Read-only file system" in output and str(folder) in output
        assert "Traceback" not in output
    assert values(folder) == before == kept(folder)


def test_damaged_results_and_trajectories_are_noticed_and_made_anew(tmp_path):
    own_cache, systems, rng = tmp_path / "cache", SYSTEMS[:6], random.Random(1)
    finish(start("results", systems, GOOD, own_cache, "--jobs", "2"))
    clean = values("results")
    cells = sorted(Path("results/local/tiny/cells").glob("*/*.jsonl"))
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
    assert Counter(status for status, _ in values("here").values())["timeout"] == 6 * 3
