"""The example that docs/tutorials/model.md names is what it says."""

from pathlib import Path

import numpy as np
from tiny_suite import cli, elsewhere  # noqa: F401

import models
import systems
from models.checks import check_forecaster

EXAMPLE = f"{Path(__file__).parent.parent / 'examples' / 'your_model.py'}:RandomFeatures"


def test_the_example_keeps_the_contract() -> None:
    check_forecaster(models.load_class(EXAMPLE))


def test_the_example_forecasts_lorenz_for_some_lyapunov_times() -> None:
    lorenz = systems.load("Lorenz")
    dt = lorenz.lyapunov_time / 30
    runs = lorenz.trajectory(4000, dt=dt, trajectories=2, seed=1).states
    runs = (runs - runs[0].mean(axis=0)) / runs[0].std(axis=0)
    model = models.create(EXAMPLE).fit(runs[:1], dt=dt, seed=0)
    starts = np.arange(10) * 350 + 100
    contexts = np.stack([runs[1, s - 10 : s] for s in starts])
    truths = np.stack([runs[1, s : s + 300] for s in starts])
    error = np.sqrt(((model.predict(contexts, 300) - truths) ** 2).mean(axis=2))
    valid = np.median(np.argmax(error > 0.4, axis=1)) / 30
    assert valid > 4, valid


def test_the_example_is_ranked_beside_results_that_are_there(tmp_path: Path) -> None:
    run = ("run", "--suite", "tiny.toml", "--systems", "Lorenz", "--jobs", "0")
    cli(*run, "--models", "persistence,linear")
    (tmp_path / "results" / "local").rename(tmp_path / "results" / "reference")
    output = cli(*run, "--model", EXAMPLE)
    assert "1 cells; 0 finished before, 1 to run" in output
    assert output.index("RandomFeatures") < output.index("linear") < output.index("persistence")
