"""Trajectories beside peers: CPU seconds at measured accuracy, interleaved in one run.

    python -m benchmarks.peers [--repetitions 3] [--points 100000] [--trajectories 256]

One trajectory of `points`, and `trajectories` of 1001 points, at 100 points a period; ours in
double precision, heyoka (scalar; in batches of 8 for the ensemble) and DOP853 of scipy with a
right-hand side compiled by numba. Every row tells the error of its first period, against Taylor
series in quadruple precision and in standard deviations: a time counts only beside it. scipy is
timed over a share of the points and scaled up, marked (x). Compilation is listed by itself
(ours is done by then: the start states are made first, and the code is kept from earlier runs).
"""

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import systems
from systems import System, simulate
from systems.expr import to_text
from systems.taylor_reference import TaylorReference, expressions

OUT = Path(__file__).with_name("out") / "peers.json"
SYSTEMS = ("Lorenz", "Rossler", "CellCycle", "HyperRossler", "Thomas")
PER_PERIOD, ENSEMBLE_POINTS, BATCH = 100, 1001, 8
TOLERANCE = 1e-14  # of scipy; it refuses less than 2.3e-14 and raises it
SHARE = 50  # scipy follows one in so many points (trajectories), and is scaled up
Solver = Callable[[np.ndarray, np.ndarray], np.ndarray]  # times, initial (m, dim) → (m, times, dim)


def main(repetitions: int = 3, points: int = 100_000, trajectories: int = 256) -> None:
    """Print the table and keep the figures in benchmarks/out/peers.json."""
    rows = [
        row
        for name in SYSTEMS
        for row in _rows(systems.load(name), repetitions, points, trajectories)
    ]
    table = Table("system", "job", "code", "compile s", "CPU s", "of ours", "error")
    for row in rows:
        scaled = " (x)" if row["scaled"] else ""
        table.add_row(
            row["system"],
            row["job"],
            row["code"],
            f"{row['compile']:.2f}",
            f"{row['seconds']:.4g}{scaled}",
            f"{row['ratio']:.2f}",
            f"{row['error']:.1e}",
        )
    Console().print(table)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"load": os.getloadavg()[0], "rows": rows}, indent=1) + "\n")


def _rows(system: System, repetitions: int, points: int, trajectories: int) -> list[dict[str, Any]]:
    made = system.trajectory(
        1000, points_per_period=30, trajectories=trajectories, observe="states", cache=False
    )
    initial, deviation = made.states[:, 0], made.states.std(axis=(0, 1))
    dt = system.period / PER_PERIOD
    grid = dt * np.arange(PER_PERIOD + 1)
    exact = TaylorReference(system, initial[:1]).advance(0, grid)
    jobs = {"one": (points, 1), "ensemble": (ENSEMBLE_POINTS, trajectories)}
    rows = []
    for job, (count, m) in jobs.items():
        codes = {"ours": _ours, "heyoka": _heyoka, "scipy DOP853 + numba": _scipy}
        if m >= BATCH:
            codes["heyoka batch"] = _heyoka_batch
        solvers, errors, compiling = {}, {}, {}
        for code, make in codes.items():
            begun = time.process_time()
            solvers[code] = make(system)
            first = solvers[code](grid, initial[: min(m, BATCH)])
            compiling[code] = time.process_time() - begun
            errors[code] = float((np.abs(first[0] - exact) / deviation).max())
        seconds: dict[str, list[float]] = {code: [] for code in codes}
        for _ in range(repetitions):
            for code, solver in solvers.items():
                share = SHARE if code.startswith("scipy") else 1
                times = dt * np.arange(count // share if m == 1 else count)
                some = initial[: max(1, m // share)]
                begun = time.process_time()
                solver(times, some)
                spent = time.process_time() - begun
                done = len(times) * len(some)
                seconds[code].append(spent * count * m / done)
        ours = statistics.median(seconds["ours"])
        rows += [
            {
                "system": system.name,
                "job": f"{job}: {m} x {count}",
                "code": code,
                "compile": compiling[code],
                "seconds": statistics.median(spent),
                "ratio": statistics.median(spent) / ours,
                "error": errors[code],
                "scaled": code.startswith("scipy"),
            }
            for code, spent in seconds.items()
        ]
    return rows


def _ours(system: System) -> Solver:
    return lambda times, initial: (
        simulate(system, times, initial=initial, precision="double").states
    )


def _heyoka(system: System) -> Solver:
    import heyoka as hy

    equations = expressions(system, float).equations
    run = hy.taylor_adaptive(equations, list(system.initial))

    def solve(times: np.ndarray, initial: np.ndarray) -> np.ndarray:
        out = np.empty((len(initial), len(times), system.dimension))
        for start, states in zip(initial, out, strict=True):
            run.time, run.state[:] = times[0], start
            states[:] = run.propagate_grid(times)[-1]
        return out

    return solve


def _heyoka_batch(system: System) -> Solver:
    import heyoka as hy

    equations = expressions(system, float).equations
    begin = np.repeat(np.array(system.initial)[:, None], BATCH, axis=1)
    run = hy.taylor_adaptive_batch(equations, begin)

    def solve(times: np.ndarray, initial: np.ndarray) -> np.ndarray:
        grid = np.repeat(times[:, None], BATCH, axis=1)
        out = []
        for first in range(0, len(initial), BATCH):
            run.set_time(float(times[0]))
            run.state[:] = initial[first : first + BATCH].T
            made = run.propagate_grid(grid)
            out.append(np.moveaxis(made[-1] if isinstance(made, tuple) else made, 2, 0))
        return np.concatenate(out)

    return solve


def _scipy(system: System) -> Solver:
    from numba import njit
    from scipy.integrate import solve_ivp

    lines = [f"    {name} = _states[{i}]" for i, name in enumerate(system.states)]
    lines += [f"    {name} = {to_text(tree)}" for name, tree in system.let_trees.items()]
    values = ", ".join(to_text(tree) for tree in system.equation_trees)
    source = "\n".join(["def field(t, _states):", *lines, f"    return np.array([{values}])"])
    space: dict[str, Any] = {"np": np, "sin": np.sin, "cos": np.cos, **system.parameters}
    exec(source, space)  # the catalog's own checked trees, printed
    field = njit(space["field"])

    def solve(times: np.ndarray, initial: np.ndarray) -> np.ndarray:
        span = (times[0], times[-1])
        options = {"method": "DOP853", "rtol": 2.3e-14, "atol": TOLERANCE, "t_eval": times}
        return np.stack([solve_ivp(field, span, start, **options).y.T for start in initial])

    return solve


if __name__ == "__main__":
    typer.run(main)
