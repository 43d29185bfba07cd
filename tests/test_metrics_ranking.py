"""Do the invariants know the attractor? The system itself against surrogates, on ten systems."""

from __future__ import annotations

import numpy as np
import pytest

import systems
from dysts_bench.metrics import METRICS, Facts, score
from dysts_bench.task import read_suite

TEN = ["Lorenz", "Rossler", "Chen", "Chua", "Halvorsen", "Thomas", "SprottB", "Lorenz96"]
TEN += ["HyperRossler", "Duffing"]
INVARIANTS = [name for name, metric in METRICS.items() if metric.data == "free_runs"]
# It has the spectrum of a true run by construction: to spectra it is one.
CANNOT_TELL = {("power_spectrum_distance", "phase-randomised")}
AR_ORDER = 4


def surrogates(runs: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What knows a true run's spectrum, values, linear correlations or mean, and nothing else."""
    mean = runs.mean(axis=1, keepdims=True)
    spectrum = np.fft.rfft(runs - mean, axis=1)
    turns = np.exp(2j * np.pi * rng.random((*spectrum.shape[:2], 1)))  # equal in all coordinates
    return {
        "phase-randomised": mean + np.fft.irfft(spectrum * turns, n=runs.shape[1], axis=1),
        "shuffled": rng.permuted(runs, axis=1),  # each coordinate by itself
        "linear": mean + np.array([autoregression(run, rng) for run in runs - mean]),
        "constant": np.broadcast_to(mean, runs.shape),
    }


def autoregression(run: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A run of the vector autoregression that is fitted to a run, driven by Gaussian noise."""
    times, dim = run.shape
    past = np.concatenate([run[k : times - AR_ORDER + k] for k in range(AR_ORDER)], axis=1)
    weights, *_ = np.linalg.lstsq(past, run[AR_ORDER:], rcond=None)
    left = run[AR_ORDER:] - past @ weights
    noise = rng.multivariate_normal(np.zeros(dim), np.atleast_2d(np.cov(left.T)), times)
    states = [*run[:AR_ORDER]]
    while len(states) < times:
        states.append(np.concatenate(states[-AR_ORDER:]) @ weights + noise[len(states)])
    return np.array(states)


@pytest.mark.parametrize("name", TEN)
def test_the_system_itself_beats_every_surrogate_in_every_invariant(name: str) -> None:
    system, protocol = systems.load(name), read_suite("standard").protocol
    dt = min(system.period, system.lyapunov_time) / protocol.points_per_time_unit
    sampling = {"dt": dt, "trajectories": protocol.free_runs}
    n = protocol.free_steps + 1
    true = system.trajectory(n, seed=5, observe="states", precision="double", **sampling)
    rng = np.random.default_rng(0)
    off = 1e-3 * true.states.std(axis=(0, 1)) * rng.normal(size=true.states[:, 0].shape)
    twin = systems.simulate(system, true.times, initial=true.states[:, 0] + off, precision="double")
    truth, forecast = (system.observed(x.states, true.times)[:, 1:] for x in (true, twin))
    other = system.trajectory(n - 1, seed=7, precision="double", **sampling).states
    facts = Facts(dt=dt, lyapunov_time=system.lyapunov_time, scale=other.std(axis=(0, 1)))
    ours = {s.metric.name: s for s in score(truth, forecast, facts, data="free_runs")}
    assert [s.status for s in ours.values()] == ["ok"] * len(INVARIANTS)
    for kind, surrogate in surrogates(other, rng).items():
        for s in score(truth, surrogate, facts, data="free_runs"):
            if (s.metric.name, kind) not in CANNOT_TELL:
                assert ours[s.metric.name].value < s.value, f"{s.metric.name}: {kind}"
