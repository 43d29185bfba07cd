"""The echo state network beside reservoirpy: equal weights, in turns, in one run.

    python -m benchmarks.reservoir [--repetitions 3] [--units 500] [--points 6000]

Lorenz at 30 points a Lyapunov time, one thread, CPU seconds. Both get the same W, W_in, b and ridge
on [h; 1] and no search, and go on for 1000 steps from 512 of context. The last row is what `esn`
does by default: 14 reservoirs scouted, two fitted, each with 8 ridges, all compared by free runs.
Ours is compiled before.
"""

import json
import os
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from scipy.sparse import csr_array

import systems
from benchmarks._turns import in_turns
from models._network import Network
from models._regression import Regression
from models._reservoir_loops import drive
from models.reservoir import ESN

OUT = Path(__file__).with_name("out") / "reservoir.json"
WASHOUT, CONTEXT, HORIZON, RIDGE = 100, 512, 1000, 1e-9


def main(repetitions: int = 3, units: int = 500, points: int = 6000) -> None:
    """Print the table and keep the figures in benchmarks/out/reservoir.json."""
    lorenz = systems.load("Lorenz")
    dt = lorenz.lyapunov_time / 30
    made = lorenz.trajectory(max(points, 2000), dt=dt, trajectories=3, seed=0, cache=False).states
    mean, std = made[0, :points].mean(axis=0), made[0, :points].std(axis=0)
    x, validation, test = (made - mean) / std
    x, validation, test = x[:points], validation[:2000], test[: CONTEXT + 1]
    weights = Network.random(units, 3, 6, 1.0, False, np.random.default_rng(0))
    network = weights.scaled(0.4, 1.0, 0.1, 0.5)
    dense = np.zeros((units, units))
    np.put_along_axis(dense, network.sources, network.links, axis=1)

    def our_states() -> np.ndarray:
        return drive(*network.weights, x[None], 0, np.zeros((units, 1)))[:, :, 0].T

    def our_forecast() -> np.ndarray:
        used = np.delete(np.arange(units + 4), np.s_[units : units + 3])
        regression = Regression.of_blocks(
            (features, following)
            for features, _, following in network.blocks(x[None], WASHOUT, points)
        )
        [(_, readout)] = regression.among(used).solutions((RIDGE,))
        reading = network.reading(used, readout, increment=False)
        return reading.run(test[None, :CONTEXT], HORIZON)[0]

    def our_search() -> np.ndarray:
        model = ESN(units=units).fit(x[None], dt=dt, validation=validation[None])
        return model.predict(test[None, :CONTEXT], HORIZON)[0]

    def reservoir() -> Any:
        from reservoirpy.nodes import Reservoir

        return Reservoir(W=csr_array(dense), Win=network.input_weights, bias=network.bias, lr=1.0)

    def their_states() -> np.ndarray:
        return reservoir().run(x)

    def their_forecast() -> np.ndarray:
        from reservoirpy.nodes import Ridge

        model = reservoir() >> Ridge(ridge=RIDGE)
        model.fit(x[:-1], x[1:], warmup=WASHOUT)
        model.reset()
        state = model.run(test[:CONTEXT])[-1]
        forecast = []
        for _ in range(HORIZON):
            forecast.append(state)
            state = model(state)
        return np.array(forecast)

    gap = np.abs(our_states() - their_states()).max()
    one_step = {"ours": our_forecast()[0], "reservoirpy": their_forecast()[0]}
    rows = []
    for job, codes in {
        f"states, {points} steps": {"ours": our_states, "reservoirpy": their_states},
        f"fit and {HORIZON} free steps": {"ours": our_forecast, "reservoirpy": their_forecast},
        "the same with the whole search": {"ours": our_search},
    }.items():
        for code, seconds in in_turns(codes, repetitions).items():
            rows.append({"job": job, "code": code, "seconds": seconds})
    table = Table("job", "code", "CPU s")
    for row in rows:
        table.add_row(row["job"], row["code"], f"{row['seconds']:.4g}")
    console = Console()
    console.print(table)
    errors = {code: float(np.abs(step - test[CONTEXT]).max()) for code, step in one_step.items()}
    console.print(f"states differ by {gap:.1e}; errors of the first step: {errors}")
    OUT.parent.mkdir(exist_ok=True)
    figures = {"load": os.getloadavg()[0], "gap": gap, "one_step_error": errors, "rows": rows}
    OUT.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
