"""The diffrax backend beside the built-in integrator, at equal measured accuracy.

    python -m benchmarks.diffrax_backend [--repetitions 5] [--lyapunov-times 5] [--trajectories 256]

For single trajectories and for ensembles of a few smooth systems, both integrate the same initial
states to the same times in double precision. The accuracy of each is the largest difference to the
double-double solution, in units of the attractor's size; the tolerance of each is the loosest power
of ten that brings it below `--accuracy`, found first. Then both are timed in turns, and the medians
and their ratio are printed. Compilation is reported apart and is in no other figure. Every row goes
to benchmarks/out/diffrax_backend.json; what it says of a device goes into
`systems.integrate_diffrax.FASTER_FROM`.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import systems
from systems.integrate_diffrax import integrate
from systems.lower import jax_table

OUT = Path(__file__).with_name("out") / "diffrax_backend.json"
SYSTEMS = ("Lorenz", "Rossler", "Lorenz96")
TOLERANCES = [10.0**-k for k in range(6, 15)]
POINTS = 100
Solution = Callable[[float], np.ndarray]  # tolerance → states (trajectories, times, dim)


def main(
    repetitions: int = 5,
    lyapunov_times: float = 5.0,
    trajectories: int = 256,
    accuracy: float = 1e-8,
) -> None:
    """Print the table and write the rows."""
    import jax

    jax_table()  # the import of JAX is in no figure
    device = jax.default_backend()
    rows = []
    for name in SYSTEMS:
        for count in (1, trajectories):
            row = _row(systems.load(name), count, lyapunov_times, accuracy, repetitions)
            rows.append({"system": name, "device": device, **row})
            OUT.parent.mkdir(exist_ok=True)
            OUT.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    _print(rows, f"{lyapunov_times:g} Lyapunov times to {accuracy:g}, JAX on {device}")


def _row(
    system: Any, count: int, lyapunov_times: float, accuracy: float, repetitions: int
) -> dict[str, Any]:
    times = np.linspace(0.0, lyapunov_times * system.lyapunov_time, POINTS)
    # the initial states lie on the attractor, far from each other
    made = system.trajectory(2 * count, points_per_period=3.3, observe="states", cache=False)
    initial = made.states[0, ::2]
    size = made.states[0].std(axis=0).max()
    truth = systems.simulate(system, times, initial=initial, precision="double-double").states

    def built_in(tolerance: float) -> np.ndarray:
        return systems.simulate(
            system, times, initial=initial, precision="double", rtol=tolerance, atol=tolerance
        ).states

    def on_diffrax(tolerance: float) -> np.ndarray:
        return integrate(system, times, initial, rtol=tolerance, atol=tolerance)

    begun = time.perf_counter()
    on_diffrax(1e-3)
    compilation = time.perf_counter() - begun
    solutions = {"built_in": built_in, "diffrax": on_diffrax}
    row: dict[str, Any] = {"trajectories": count, "diffrax_compilation_s": compilation}
    chosen = {}
    for label, solution in solutions.items():
        chosen[label], row[f"{label}_error"] = _loosest(solution, truth, size, accuracy)
        row[f"{label}_tolerance"] = chosen[label]
    seconds: dict[str, list[float]] = {label: [] for label in solutions}
    for _ in range(repetitions):
        for label, solution in solutions.items():  # in turns: both see the same machine
            begun = time.perf_counter()
            solution(chosen[label])
            seconds[label].append(time.perf_counter() - begun)
    medians = {label: statistics.median(values) for label, values in seconds.items()}
    row |= {f"{label}_s": median for label, median in medians.items()}
    row |= {f"{label}_all_s": values for label, values in seconds.items()}
    return row | {"diffrax_takes": medians["diffrax"] / medians["built_in"]}


def _loosest(
    solution: Solution, truth: np.ndarray, size: float, accuracy: float
) -> tuple[float, float]:
    """The loosest tolerance at which the solution is accurate, and its error there."""
    for tolerance in TOLERANCES:
        error = float(np.abs(solution(tolerance) - truth).max() / size)
        if error <= accuracy:
            return tolerance, error
    raise SystemExit(
        f"No tolerance down to {tolerance:g} brings the error below {accuracy:g} (at the last: "
        f"{error:.2g}). Ask for fewer Lyapunov times or less accuracy."
    )


def _print(rows: list[dict[str, Any]], title: str) -> None:
    columns = ("system", "trajectories", "error", "built-in s", "error", "diffrax s")
    table = Table(*columns, "diffrax takes", "compiled in s", title=title)
    for row in rows:
        table.add_row(
            row["system"],
            str(row["trajectories"]),
            f"{row['built_in_error']:.1e}",
            f"{row['built_in_s']:.4f}",
            f"{row['diffrax_error']:.1e}",
            f"{row['diffrax_s']:.4f}",
            f"{row['diffrax_takes']:.1f}x",
            f"{row['diffrax_compilation_s']:.1f}",
        )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
