"""Metrics beside peers: CPU seconds on the same arrays, in turns, in one run.

    python -m benchmarks.metrics [--repetitions 3] [--points 10000]

Two independent Lorenz runs at 30 points a Lyapunov time. Values stand beside the seconds: where a
peer measures something else under one name (see docs/metrics.md), only the cost is comparable. Ours
is compiled before; every code runs on one thread.
"""

import json
import os
import statistics
import sys
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from scipy.spatial.distance import cdist

import systems
from dysts_bench.metrics import METRICS, Facts, complexity, dynamics, geometry

OUT = Path(__file__).with_name("out") / "metrics.json"
SLOW = 1000  # points of what is a Python loop over pairs in a peer (DTW)
ROSENSTEIN = 6000  # points at which nolds and dysts were timed before; their matrix is quadratic
# The metrics of `dysts.metrics.compute_metrics` that compare window with window.
BATTERY = (
    *("mse", "mae", "rmse", "nrmse", "marre", "r2", "rmsle", "smape", "mape", "wape", "spearman"),
    *("pearson", "kendall", "coefficient_of_variation"),
)
SLOWER = ("mutual_information", "dtw")
Code = Callable[[], float]


@dataclass(frozen=True)
class Job:
    """What is computed, on how many points, by us and by others."""

    name: str
    points: int
    ours: Code
    peers: dict[str, Code]


def main(repetitions: int = 3, points: int = 10_000) -> None:
    """Print the table and keep the figures in benchmarks/out/metrics.json."""
    rows = []
    for job in jobs(points):
        codes = {"ours": job.ours, **job.peers}
        job.ours()  # compiled
        seconds: dict[str, list[float]] = {code: [] for code in codes}
        values = {}
        for _ in range(repetitions):
            for code, compute in codes.items():
                if seconds[code] and seconds[code][0] > 20:  # once is enough
                    continue
                begun = time.process_time()
                values[code] = float(compute())
                seconds[code].append(time.process_time() - begun)
        ours = statistics.median(seconds["ours"])
        rows += [
            {
                "job": job.name,
                "points": job.points,
                "code": code,
                "seconds": statistics.median(spent),
                "ratio": statistics.median(spent) / ours,
                "value": values[code],
            }
            for code, spent in seconds.items()
        ]
    table = Table("job", "points", "code", "CPU s", "of ours", "value")
    for row in rows:
        figures = (f"{row['seconds']:.4g}", f"{row['ratio']:.3g}", f"{row['value']:.5g}")
        table.add_row(row["job"], str(row["points"]), row["code"], *figures)
    Console().print(table)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"load": os.getloadavg()[0], "rows": rows}, indent=1) + "\n")


def jobs(points: int) -> list[Job]:
    """Every comparison, on two independent runs of `points` states."""
    _let_nolds_be_imported()
    import antropy
    import nolds
    from dysts import analysis as dysts_analysis
    from dysts import metrics as dysts_metrics
    from sklearn.feature_selection import mutual_info_regression

    # dysts 0.96 stores a 1 x 1 matrix as a number here, which numpy has come to refuse.
    dysts_metrics.cdist = lambda a, b, metric: cdist(a, b, metric).item()

    lorenz = systems.load("Lorenz")
    dt = lorenz.lyapunov_time / 30
    made = lorenz.trajectory(points, dt=dt, trajectories=2, seed=0, observe="states", cache=False)
    x, y = made.states
    facts = Facts(dt=dt, lyapunov_time=lorenz.lyapunov_time, scale=x.std(axis=0), train=x[None])

    calls = count()

    def ours(name: str, first: int) -> Code:
        def compute() -> float:
            truth = x[None, :first] + 1e-12 * next(calls)  # a truth that is not yet remembered
            return METRICS[name](truth, y[None, :first], facts)[0]

        return compute

    def information(x: np.ndarray, y: np.ndarray) -> float:
        return np.mean([mutual_info_regression(x[:, [i]], y[:, i])[0] for i in range(x.shape[1])])

    def battery() -> float:
        return sum(ours(name, points)() for name in BATTERY)

    names = [{"r2": "r2_score"}.get(name, name) for name in BATTERY]
    u, v = x[:SLOW], y[:SLOW]
    z, w = x[:, 0], x[:ROSENSTEIN]
    nolds_settings = {"emb_dim": 5, "lag": 2, "min_tsep": 60, "trajectory_len": 20, "fit": "poly"}
    return [
        Job(
            f"{len(BATTERY)} pointwise metrics",
            points,
            battery,
            {"dysts": lambda: sum(dysts_metrics.compute_metrics(x, y, include=names).values())},
        ),
        Job(
            "17 of the 2023 study, with DTW",
            SLOW,
            lambda: sum(ours(name, SLOW)() for name in (*BATTERY, "ope", *SLOWER)),
            {
                "dysts": lambda: (
                    sum(dysts_metrics.compute_metrics(u, v, include=names).values())
                    + dysts_metrics.ope(u, v)
                    + information(u, v)
                    + dysts_metrics.dtw(u, v)[0]
                )
            },
        ),
        Job(
            "mutual information",
            points,
            ours("mutual_information", points),
            {"scikit-learn, as dysts calls it": lambda: information(x, y)},
        ),
        Job(
            "dynamic time warping",
            SLOW,
            ours("dtw", SLOW),
            {"dysts": lambda: dysts_metrics.dtw(x[:SLOW], y[:SLOW])[0]},
        ),
        Job(
            "KL divergence, 1000 draws",
            points,
            ours("kl_divergence", points),
            {"dysts": lambda: dysts_metrics.estimate_kl_divergence(x, y)},
        ),
        Job(
            "correlation dimension",
            points,
            lambda: geometry.correlation_dimension(x)[0],
            {
                "dysts": lambda: dysts_analysis.gp_dim(x),
                "nolds, first coordinate": lambda: nolds.corr_dim(z, 5, fit="poly"),
            },
        ),
        Job(
            "largest exponent from data",
            ROSENSTEIN,
            lambda: dynamics.largest_lyapunov_exponent(w, dt)[0],
            {
                "dysts": lambda: dysts_analysis.max_lyapunov_exponent_rosenstein(
                    w, min_tsep=60, tau=dt, trajectory_len=20
                ),
                "nolds, first coordinate": lambda: nolds.lyap_r(w[:, 0], tau=dt, **nolds_settings),
            },
        ),
        Job(
            "distance of power spectra",
            points,
            ours("power_spectrum_distance", points),
            {"dysts": lambda: dysts_metrics.average_hellinger_distance(x, y)},
        ),
        Job(
            "permutation entropy",
            points,
            lambda: complexity.permutation_entropy(z, order=5, delay=1),
            {"antropy": lambda: antropy.perm_entropy(z, order=5, delay=1, normalize=True)},
        ),
        Job(
            "sample entropy",
            points,
            lambda: complexity.sample_entropy(z),
            {"antropy": lambda: antropy.sample_entropy(z), "nolds": lambda: nolds.sampen(z)},
        ),
    ]


def _let_nolds_be_imported() -> None:
    """nolds 0.6.3 opens its data sets by a call that Python 3.11 does not have; we need none."""

    class NoData(types.ModuleType):
        def __getattr__(self, name: str) -> None:
            if name.startswith("__"):
                raise AttributeError(name)

    sys.modules.setdefault("nolds.datasets", NoData("nolds.datasets"))


if __name__ == "__main__":
    typer.run(main)
