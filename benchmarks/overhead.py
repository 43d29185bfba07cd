"""What the runner costs beside the work: trivial cells, and a folder of 100,000 finished ones.

    python -m benchmarks.overhead [--trivial 2000] [--finished 100000]

Trivial cells are persistence on a small task, with a file each, here and in one worker process,
beside a bare loop over the same evaluations. Finished cells are copies of one with other seeds;
what counts is how long a run needs to see that nothing is left to do, and the leaderboard to be
there, each in a fresh process, and their peak memory.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import typer

from dysts_bench import records, runner
from dysts_bench.cells import Cell, ModelSpec, evaluate
from dysts_bench.executors import Local, Serial
from dysts_bench.store import Store
from dysts_bench.task import load, read_suite, tasks

OUT = Path(__file__).with_name("out") / "overhead.json"
MODEL = ModelSpec("persistence")
FACTS = {"command": ["benchmarks.overhead"]}


def main(trivial: int = 2000, finished: int = 100_000) -> None:
    """Print the figures and keep them in benchmarks/out/overhead.json."""
    suite = read_suite("standard")
    protocol = replace(
        suite.protocol, windows=4, free_runs=0, horizon_max_steps=50, train_points=200
    )
    small = replace(suite, metrics=("valid_prediction_time", "rmse"), protocol=protocol)
    [task] = tasks(small, ["Lorenz"])
    found = {**_trivial(task, trivial), **_finished(finished)}
    for name, value in found.items():
        print(f"{name}: {value:.4g}")
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _trivial(task, count: int) -> dict[str, float]:
    cells = [Cell(task, MODEL, seed) for seed in range(count)]
    windows = load(task)
    begun = time.perf_counter()
    for cell in cells:
        evaluate(windows, MODEL.create(), cell.seed, task.metrics)
    seconds = {"bare loop, ms a cell": (time.perf_counter() - begun) / count * 1e3}
    for name, executor in {"serial": Serial(), "one worker": Local(1, timeout=60.0)}.items():
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder) / "local" / "standard")
            begun = time.perf_counter()
            plan = runner.plan(cells, store)
            assert len(list(runner.execute(plan, executor, FACTS, store=store))) == count
            seconds[f"{name}, ms a cell"] = (time.perf_counter() - begun) / count * 1e3
    return seconds


def _finished(count: int) -> dict[str, float]:
    """A folder as a real run leaves it: 50 systems, seeds for the rest."""
    suite = read_suite("standard")
    metrics = ("valid_prediction_time", "rmse", "smape")
    every = tasks(replace(suite, metrics=metrics), list(suite.systems[:50]))
    [row, *_] = runner.run(
        [replace(every[0], protocol=replace(suite.protocol, windows=1, free_runs=0))], [MODEL]
    )
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "local" / "standard")
        for task in every:
            rows = [replace(row, task=task.name, system=task.system, metric=m) for m in metrics]
            for seed in range(count // len(every)):
                cell = Cell(task, MODEL, seed)
                seeded = [replace(each, seed=seed) for each in rows]
                store.write(cell, runner.key(cell), seeded)
        store.rebuild([MODEL.name], {records.run_id(FACTS): FACTS})
        found = {}
        for name, code in {"resume": RESUME, "leaderboard": LEADERBOARD}.items():
            begun = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", code, folder, str(count // len(every))],
                env=os.environ,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            found[f"{name} of {count} cells, s"] = time.perf_counter() - begun
            found[f"{name}, peak MB"] = float(done.stdout.split()[-1])
    return found


RESUME = """
import resource, sys
from dataclasses import replace
from pathlib import Path
from dysts_bench import runner
from dysts_bench.cells import Cell, ModelSpec
from dysts_bench.store import Store
from dysts_bench.task import read_suite, tasks
suite = read_suite("standard")
suite = replace(suite, metrics=("valid_prediction_time", "rmse", "smape"))
store = Store(Path(sys.argv[1]) / "local" / "standard")
cells = [
    Cell(task, ModelSpec("persistence"), seed)
    for task in tasks(suite, list(suite.systems[:50]))
    for seed in range(int(sys.argv[2]))
]
plan = runner.plan(cells, store)
assert len(plan.finished) == len(cells)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
LEADERBOARD = """
import resource, sys
from dysts_bench import records
from dysts_bench.leaderboard import leaderboard
rows = records.load_results(sys.argv[1], "standard")
assert len(leaderboard(rows, "valid_prediction_time")) > 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


if __name__ == "__main__":
    typer.run(main)
