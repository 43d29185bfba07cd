"""What the runner costs beside the work: trivial cells, and a folder of 100,000 finished ones.

    python -m benchmarks.overhead [--trivial 2000] [--finished 100000]

Trivial cells are persistence on a small task, with a file each, here and in one worker process,
beside a bare loop over the same evaluations. Finished cells are copies of one under the names of
several models and systems, with all rows of the suite `standard`; what counts is how long a run
needs to see that nothing is left to do, and the leaderboard to be there, each in a fresh process,
and their peak memory. The folder takes 3 GB.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

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
    """A folder as a run of many models on many systems leaves it."""
    suite = read_suite("standard")
    rows = list(runner.run(tasks(suite, ["Lorenz"]), [MODELS[0]]))
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "local" / suite.name)
        cells = list(finished_cells(count))
        with patch("os.fsync"):  # how long the folder takes to make is not the question
            for cell in cells:
                of = {"task": cell.task.name, "system": cell.task.system}
                of |= {"model": cell.model.name, "seed": cell.seed}
                store.write(cell, runner.key(cell), [replace(row, **of) for row in rows])
            for model in MODELS:
                store.rebuild([model], {records.run_id(FACTS): FACTS})
        found = {"rows of each": len(rows)}
        for name, code in {"resume": RESUME, "leaderboard": LEADERBOARD}.items():
            begun = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", code, folder, str(count)], capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            found[f"{name} of {len(cells)} cells, s"] = time.perf_counter() - begun
            found[f"{name}, peak MB"] = float(done.stdout.split()[-1])
    return found


def finished_cells(count: int) -> Iterator[Cell]:
    """So many cells of the suite `standard`, or a few less."""
    suite = read_suite("standard")
    every = tasks(suite, list(suite.systems))
    specs = [ModelSpec(name) for name in MODELS]
    for seed in range(count // (len(every) * len(specs)) or 1):
        yield from (Cell(task, spec, seed) for task in every for spec in specs)


MODELS = [
    *("persistence", "naive_mean", "drift", "seasonal", "parrot", "analog", "simplex", "smap"),
    *("linear", "nvar", "esn", "sindy", "kernel", "lstm", "gru", "hiss", "entrope", "transformer"),
]
RESUME = """
import resource, sys
from pathlib import Path
from benchmarks.overhead import finished_cells
from dysts_bench import runner
from dysts_bench.store import Store
cells = list(finished_cells(int(sys.argv[2])))
plan = runner.plan(cells, Store(Path(sys.argv[1]) / "local" / "standard"))
assert len(plan.finished) == len(cells)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
LEADERBOARD = """
import resource, sys
from dysts_bench.commands.results import leaderboard
leaderboard(results=sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


if __name__ == "__main__":
    typer.run(main)
