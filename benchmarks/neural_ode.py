"""The neural ODE on every system of the standard suite, in one call: scores and seconds.

    python -m benchmarks.neural_ode [--systems Lorenz,Rossler] [--effort 1] [--share 1/2]

Each system's training data are those of the suite; the score is that of free runs on the validation
data, by which the model has chosen itself, so it flatters; test windows are not looked at. Systems
go through `fit_many` in batches, and after each the figures are written to benchmarks/out, so a run
that is stopped goes on where it was. One thread. Two processes share two cores with `--share 1/2`
and `--share 2/2`: each takes every second system and has a file of its own.
"""

import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import systems as catalog
from dysts_bench.task import DataError, Task, clock, load, read_suite, tasks
from models._tuning import free_runs, score
from models.base import FitError, Training
from models.neural_ode import NeuralODE

OUT = Path(__file__).with_name("out")


def main(systems: str = "", effort: float = 1.0, share: str = "1/1", batch: int = 5) -> None:
    """Fit, print the table, and keep the figures in benchmarks/out/neural_ode*.json."""
    part, parts = map(int, share.split("/"))
    names = [name for name in systems.split(",") if name] or list(catalog.names())
    todo = tasks(read_suite("standard"), names)[part - 1 :: parts]
    path = OUT / f"neural_ode-effort{effort:g}-{part}of{parts}.json"
    rows: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    console = Console()
    missing = [task for task in todo if rows.get(task.system, {}).get("task") != task.hash]
    for first in range(0, len(missing), batch):
        rows |= _fitted(missing[first : first + batch], NeuralODE(effort=effort))
        OUT.mkdir(exist_ok=True)
        path.write_text(json.dumps(rows, indent=1) + "\n")
        done = len(todo) - len(missing) + min(first + batch, len(missing))
        console.print(f"{done} of {len(todo)} systems; {path}")
    table = Table("system", "dim", "Lyapunov times", "of at most", "chosen", "CPU s")
    shown = [rows[task.system] for task in todo]
    for row in shown:
        table.add_row(
            row["system"],
            str(row["dim"]),
            row.get("error") or f"{row['valid_prediction_time']:.2f}",
            f"{row['longest']:.2f}",
            str(row.get("chosen")),
            f"{row['cpu_seconds']:.1f}",
        )
    console.print(table)
    scores = [row["valid_prediction_time"] for row in shown if "error" not in row]
    seconds = [row["cpu_seconds"] for row in shown]
    if scores:
        console.print(
            f"{len(scores)} of {len(shown)} fitted: mean {statistics.mean(scores):.2f}, median "
            f"{statistics.median(scores):.2f} Lyapunov times; {sum(seconds):.0f} CPU s, "
            f"{statistics.mean(seconds):.1f} a system"
        )


def _fitted(batch: list[Task], model: NeuralODE) -> dict[str, dict[str, Any]]:
    """A row for each system; the CPU time of the batch is shared out evenly."""
    rows, ready = {}, []
    for task in batch:
        row: dict[str, Any] = {"system": task.system, "task": task.hash, "dim": 0, "longest": 0.0}
        rows[task.system] = row | {"cpu_seconds": 0.0}
        try:
            ready.append((task, load(task), clock(task)))
        except DataError as error:
            rows[task.system]["error"] = str(error)
    begun = time.process_time()
    fitted = model.fit_many([Training(w.train, c.dt, w.validation) for _, w, c in ready])
    seconds = time.process_time() - begun
    for (task, windows, time_), one in zip(ready, fitted, strict=True):
        runs = free_runs(windows.validation, context=1)
        per_step = time_.dt / time_.unit
        row = rows[task.system]
        row["dim"] = windows.train.shape[2]
        row["longest"] = runs.truths.shape[1] * per_step
        row["cpu_seconds"] = seconds / len(ready)
        if isinstance(one, FitError):
            row["error"] = str(one)
            continue
        steps, _ = score(one.predict(runs.contexts, runs.truths.shape[1]), runs.truths)
        errors = one.predict(windows.validation[0, :-1, None], 1)[:, 0] - windows.validation[0, 1:]
        row["valid_prediction_time"] = steps * per_step
        row["one_step_error"] = float(np.sqrt((errors**2).mean()))
        row["chosen"] = dict(one.chosen_)
    return rows


if __name__ == "__main__":
    typer.run(main)
