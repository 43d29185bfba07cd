"""Lyapunov spectra beside peers: CPU seconds until the largest exponent is known to 1 %.

    python -m benchmarks.spectra [--repetitions 3]

The length of trajectory that 1 % takes is a fact of the system, measured by ours from the scatter
of eight runs; each code is timed over a shorter one and scaled to it. Ours follows eight
trajectories at once; heyoka one, with its variational equations and numpy's QR; lyapax one, by
Runge–Kutta of order 4 with 100 steps a period; dysts one, at the sampling of its own tests. All run
on one thread, in turns. Compilation is listed by itself.
"""

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import systems
from systems import System
from systems.lyapunov import lyapunov_spectrum
from systems.tangent import growth_rates
from systems.taylor_reference import expressions

OUT = Path(__file__).with_name("out") / "spectra.json"
SYSTEMS = ("Lorenz", "Rossler", "HyperRossler")
PERIODS = 500  # of each run that is timed
# what a code does: (system, periods) → seconds for them, and the exponents
Measure = Callable[[System, float], tuple[float, list[float]]]


def main(repetitions: int = 3) -> None:
    """Print the table and keep the figures in benchmarks/out/spectra.json."""
    rows = [row for name in SYSTEMS for row in _rows(systems.load(name), repetitions)]
    table = Table("system", "code", "first call s", "to 1 % s", "of ours", "spectrum")
    for row in rows:
        spectrum = ", ".join(f"{value:.3g}" for value in row["spectrum"])
        table.add_row(
            row["system"],
            row["code"],
            f"{row['first']:.2f}",
            f"{row['seconds']:.3g}",
            f"{row['ratio']:.1f}",
            row["problem"] or spectrum,
        )
    Console().print(table)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"load": os.getloadavg()[0], "rows": rows}, indent=1) + "\n")


def _rows(system: System, repetitions: int) -> list[dict[str, Any]]:
    known = lyapunov_spectrum(system, periods=2000, trajectories=8)
    relative = known.errors[0] * np.sqrt(8 * known.length) / known.exponents[0]
    needed = (relative / 0.01) ** 2 / system.period  # periods
    codes: dict[str, Measure] = {
        "ours": _ours,
        "heyoka": _heyoka,
        "lyapax": _lyapax,
        "dysts": _dysts,
    }
    first, spent, spectra, problems = {}, {}, {}, dict.fromkeys(codes, "")
    for code, measure in codes.items():
        begun = time.process_time()
        try:
            measure(system, 1)
        except NotImplementedError as error:
            problems[code] = str(error) or "no Jacobian"
        first[code], spent[code], spectra[code] = time.process_time() - begun, [], []
    for _ in range(repetitions):
        for code, measure in codes.items():
            if not problems[code]:
                periods = 2.0 if code == "dysts" else PERIODS
                seconds, spectra[code] = measure(system, periods)
                spent[code].append(seconds / periods * needed)
    ours = statistics.median(spent["ours"])
    return [
        {
            "system": system.name,
            "code": code,
            "first": first[code],
            "seconds": statistics.median(spent[code]) if spent[code] else float("nan"),
            "ratio": statistics.median(spent[code]) / ours if spent[code] else float("nan"),
            "spectrum": spectra[code],
            "problem": problems[code],
        }
        for code in codes
    ]


def _ours(system: System, periods: float) -> tuple[float, list[float]]:
    starts = np.repeat(np.array([system.initial]), 8, axis=0)
    starts *= 1 + 1e-3 * np.random.default_rng(0).standard_normal(starts.shape)
    begun = time.process_time()
    rates = growth_rates(system, starts, periods * system.period / 8)
    return time.process_time() - begun, list(rates.mean(axis=0))


def _heyoka(system: System, periods: float) -> tuple[float, list[float]]:
    import heyoka as hy

    n = system.dimension
    if system.name not in _integrators:
        equations = expressions(system, float).equations
        variational = hy.var_ode_sys(equations, hy.var_args.vars, order=1)
        joint = [*system.initial, *np.eye(n).ravel()]
        _integrators[system.name] = hy.taylor_adaptive(variational, joint, tol=1e-9)
    run = _integrators[system.name]
    segment, growth = system.period / 5, np.zeros(n)
    begun, start = time.process_time(), run.time
    for k in range(int(5 * periods)):
        run.propagate_until(start + (k + 1) * segment)
        q, r = np.linalg.qr(run.state[n:].reshape(n, n))
        growth += np.log(np.abs(np.diag(r)))
        run.state[n:] = q.ravel()
    return time.process_time() - begun, list(growth / (run.time - start))


_integrators: dict[str, Any] = {}


def _lyapax(system: System, periods: float) -> tuple[float, list[float]]:
    import jax
    import lyapax

    jax.config.update("jax_enable_x64", True)
    rhs = system.rhs("jax")
    dt = system.period / 100
    problem = lyapax.ode_problem(rhs, jax.numpy.array(system.initial), dt)
    steps = int(100 * periods)
    lyapax.lyapunov_spectrum(problem, n_steps=steps, renorm_every=10)  # compiled for this length
    begun = time.process_time()
    found = lyapax.lyapunov_spectrum(problem, n_steps=steps, renorm_every=10)
    spectrum = [float(value) for value in found.exponents]
    return time.process_time() - begun, spectrum


def _dysts(system: System, periods: float) -> tuple[float, list[float]]:
    import dysts.flows
    from dysts.analysis import find_lyapunov_exponents

    model = getattr(dysts.flows, system.name)()
    points = int(500 * periods)
    begun = time.process_time()
    spectrum = find_lyapunov_exponents(model, points, pts_per_period=500)
    return time.process_time() - begun, [float(value) for value in spectrum]


if __name__ == "__main__":
    typer.run(main)
