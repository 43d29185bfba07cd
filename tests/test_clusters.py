"""Many machines give what one gives: shards that are merged, and workers of a Dask cluster."""

import itertools
import json
import os
import signal
import sys
import textwrap
from collections import Counter

import pytest
from tiny_suite import cli, elsewhere  # noqa: F401

from dysts_bench import dask_cluster
from dysts_bench.cells import ModelSpec
from dysts_bench.dask_cluster import Dask
from dysts_bench.executors import Done, Failed
from dysts_bench.records import read_csv
from dysts_bench.runner import cells, shard
from dysts_bench.store import Store
from dysts_bench.task import read_suite, tasks


def run_tiny(results, *arguments, code=0):
    if "--models" not in arguments:
        arguments = ("--models", "persistence,drift,naive_mean,linear", *arguments)
    return cli(
        *("run", "--suite", "tiny.toml", "--systems", "Lorenz,Rossler"),
        *("--results", results, *arguments),
        code=code,
    )


def scores(results):
    paths = sorted(Store(results / "local" / "tiny").folder.glob("*.csv"))
    return [
        (row.model, row.system, row.metric, row.window, row.value, row.data_hash)
        for path in paths
        for row in read_csv(path)
    ]


# ---- shards ----------------------------------------------------------------------------------


def test_shards_share_out_the_work_and_each_has_some_of_every_model():
    suite = read_suite("standard")
    models = [ModelSpec(name) for name in ("persistence", "drift", "nvar", "esn")]
    every = cells(tasks(suite, list(suite.systems[:30])), models, seeds=2)
    parts = [shard(every, number, 6) for number in range(1, 7)]
    assert Counter(itertools.chain(*parts)) == Counter(every)
    assert {len(part) for part in parts} == {25}
    for part in parts:
        assert len({cell.model for cell in part}) == 4
        assert part == [cell for cell in every if cell in part]  # in the order of the whole


def test_shards_merged_from_other_folders_are_the_whole_run(tmp_path):
    run_tiny("whole", "--jobs", "0")
    for number in ("1", "2", "3"):
        run_tiny(f"part {number}", "--jobs", "0", "--shard", f"{number}/3")
    output = cli("merge", "--suite", "tiny.toml", "--results", "all", "part 1", "part 2", "part 3")
    assert "part 2: 3 cells, 0 in place of others" in output
    assert scores(tmp_path / "all") == scores(tmp_path / "whole")
    rows = read_csv(tmp_path / "all" / "local" / "tiny" / "linear.csv")
    manifest = json.loads((tmp_path / "all" / "local" / "tiny" / "manifest.json").read_text())
    assert {row.run_id for row in rows} <= set(manifest["runs"])
    # what was merged counts as finished
    assert "8 finished before, 0 to run" in run_tiny("all", "--jobs", "0")


def test_a_merge_leaves_damaged_files_out_and_says_which_cells_it_replaced(tmp_path):
    run_tiny("one", "--jobs", "0", "--models", "drift")
    run_tiny("other", "--jobs", "0", "--models", "drift")
    damaged, *_ = sorted((tmp_path / "other" / "local" / "tiny" / "cells").glob("*/*.jsonl"))
    damaged.write_bytes(damaged.read_bytes()[:-9])
    [kept] = (tmp_path / "one" / "local" / "tiny" / "cells").glob("*/Rossler*.jsonl")
    before = scores(tmp_path / "one")
    store = Store(tmp_path / "one" / "local" / "tiny")
    [cell] = cells(tasks(read_suite("tiny.toml"), ["Rossler"]), [ModelSpec("drift")], 1)
    store.write(cell, "another key", store.read(cell))
    output = cli("merge", "--suite", "tiny.toml", "--results", "one", "other")
    assert "other: 1 cells, 1 in place of others; 1 damaged files left out" in output
    assert kept.exists() and scores(tmp_path / "one") == before


def test_a_merge_of_nothing_says_where_it_looked(tmp_path):
    assert "nowhere holds no results of suite tiny" in cli(
        "merge", "--suite", "tiny.toml", "nowhere", code=2
    )


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "-1/3", "1/3/5"])
def test_a_shard_that_is_none_is_refused(text):
    assert "shard" in run_tiny("results", "--shard", text, code=2)


# ---- Dask ------------------------------------------------------------------------------------

FUNCTIONS = textwrap.dedent(
    """
    import os, signal, time

    def behave(how):
        match how.split():
            case ["exit", _]:
                os._exit(3)
            case ["segfault"]:
                os.kill(os.getpid(), signal.SIGSEGV)
            case ["hang"]:
                time.sleep(600)
            case ["raise"]:
                raise ArithmeticError("no")
            case ["slow", _]:
                time.sleep(0.3)
        return how, os.environ["OMP_NUM_THREADS"]
    """
)


@pytest.fixture(scope="module")
def functions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("functions")
    (folder / "behaviour.py").write_text(FUNCTIONS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *sys.path]))
        import behaviour

        yield behaviour


@pytest.fixture(scope="module")
def cluster(functions):
    dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
    with (
        dask.config.set({"distributed.worker.daemon": False}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as made,
    ):
        yield made


def test_whatever_a_job_does_to_its_process_the_workers_go_on(cluster, functions):
    jobs = ["exit 3", "good 1", "segfault", "hang", "raise", *(f"good {i}" for i in range(2, 9))]
    executor = Dask(cluster.scheduler_address, timeout=4.0)
    outcomes = dict(executor.map(functions.behave, jobs))
    failed = {job: out.message for job, out in outcomes.items() if isinstance(out, Failed)}
    assert failed == {
        "exit 3": "the process ended with exit code 3",
        "segfault": "the process ended with signal SIGSEGV",
        "hang": "stopped after the limit of 4 s",
        "raise": "ArithmeticError: no",
    }
    for i in range(1, 9):
        assert outcomes[f"good {i}"] == Done((f"good {i}", "1"))  # with one thread


def test_the_jobs_of_a_killed_worker_go_to_another(cluster, functions):
    from distributed import Client

    with Client(cluster, set_as_default=False) as client:
        victim, *_ = client.run(os.getpid).values()
    jobs = [f"slow {i}" for i in range(8)]
    outcomes = Dask(cluster.scheduler_address).map(functions.behave, jobs)
    found = dict([next(outcomes)])
    os.kill(victim, signal.SIGKILL)
    assert found | dict(outcomes) == {job: Done((job, "1")) for job in jobs}


def test_a_cluster_gives_the_scores_of_one_process(cluster, tmp_path):
    run_tiny("here", "--models", "linear", "--jobs", "0")
    run_tiny("there", "--models", "linear", "--scheduler", cluster.scheduler_address)
    assert scores(tmp_path / "there") == scores(tmp_path / "here")


def test_workers_that_may_not_start_processes_end_the_run_with_the_remedy(functions):
    dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
    with (
        dask.config.set({"distributed.worker.daemon": True}),  # as it is by default
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=":0"
        ) as daemons,
    ):
        output = run_tiny("results", "--scheduler", daemons.scheduler_address, code=2)
    assert "DASK_DISTRIBUTED__WORKER__DAEMON=False" in output


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(dask_cluster, "CONNECTING", 0.5)
    output = run_tiny("results", "--scheduler", "tcp://127.0.0.1:9", code=2)
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in output


def test_without_dask_the_way_to_install_it_is_said(monkeypatch):
    from dysts_bench.commands import running as module

    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert "pip install 'dysts-bench[dask]'" in run_tiny(
        "results", "--scheduler", "tcp://nowhere:1", code=2
    )
