"""The numbers behind the plots: of a system its attractor, maxima, power and exponents; forecasts.

Everything is computed from a name; trajectories come from the cache where it has them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

import systems
from dysts_bench.metrics import dynamics

if TYPE_CHECKING:
    from dysts_bench.task import Suite
    from systems.lyapunov import Spectrum

Run = Float[np.ndarray, "times dim"]
SHARES = (0.03, 0.1, 0.3, 1.0)  # of the longest runs from which exponents are estimated


# ---- systems ---------------------------------------------------------------------------------


def orbit(name: str, *, periods: float = 40.0, points_per_period: float = 100.0) -> Run:
    """A trajectory on the attractor, observed coordinates in the system's units."""
    points = int(periods * points_per_period)
    system = systems.load(name)
    return system.trajectory(points, points_per_period=points_per_period).states[0]


def plane(run: Run, lag: int) -> Float[np.ndarray, "times 2"]:
    """The run seen from the side where it spreads most: its first two principal components.

    Of standardised coordinates, each component with its largest weight positive. Two coordinates
    are shown as they are, a single one against itself `lag` points before.
    """
    if run.shape[1] == 1:
        return np.column_stack([run[:-lag, 0], run[lag:, 0]])
    if run.shape[1] == 2:
        return run
    standard = (run - run.mean(axis=0)) / run.std(axis=0)
    _, _, axes = np.linalg.svd(standard - standard.mean(axis=0), full_matrices=False)
    heaviest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return standard @ (axes * np.sign(heaviest))[:2].T


def portrait(name: str, *, periods: float = 40.0) -> Float[np.ndarray, "times 2"]:
    """The attractor in its `plane`; the lag of a single coordinate is a quarter of the period."""
    return plane(orbit(name, periods=periods), lag=25)


def successive_maxima(
    name: str, coordinate: str | None = None, *, periods: float = 500.0
) -> tuple[str, Float[np.ndarray, " maxima"]]:
    """A coordinate's name and its maxima in time (parabolas through the points at the top).

    The last coordinate unless one is named: Lorenz (J. Atmos. Sci. 20, 130, 1963) takes his z.
    ValueError for a name that is none, and for a coordinate with fewer than three maxima.
    """
    known = systems.load(name).observables
    coordinate = known[-1] if coordinate is None else coordinate
    if coordinate not in known:
        raise ValueError(f"{name} has no coordinate {coordinate!r}; it has {', '.join(known)}.")
    tops = dynamics.maxima(orbit(name, periods=periods)[:, known.index(coordinate)])
    if len(tops) < 3:
        raise ValueError(f"{name}: {coordinate} has no three maxima in {periods:g} periods.")
    return coordinate, tops


def power(
    name: str, *, periods: float = 400.0, points_per_period: float = 100.0
) -> tuple[Float[np.ndarray, " frequencies"], Float[np.ndarray, "frequencies dim"]]:
    """Frequencies in 1/period, and the share of each in every coordinate's variance.

    As the metric `power_spectrum_distance` estimates it: Welch's average (IEEE Trans. Audio
    Electroacoust. 15, 70, 1967) over half-overlapping Hann segments, each an eighth of the run.
    """
    run = orbit(name, periods=periods, points_per_period=points_per_period)
    shares = dynamics.power_spectrum((run - run.mean(axis=0)) / run.std(axis=0))
    return np.fft.rfftfreq(len(run) // dynamics.SEGMENTS, 1 / points_per_period), shares


def exponents(name: str, *, lengths: Sequence[float]) -> "list[Spectrum]":
    """The Lyapunov spectrum from runs of so many periods each; IntegrationError if all escape."""
    from systems.lyapunov import lyapunov_spectrum

    return [lyapunov_spectrum(systems.load(name), periods=length) for length in lengths]


# ---- forecasts -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Forecasts:
    """What models make of one test window of a task, and what happened."""

    system: str
    coordinates: tuple[str, ...]
    times: Float[np.ndarray, " times"]  # of `truth`; 0 is the end of the context
    unit: str  # of the times: "Lyapunov times" or "periods"
    truth: Run  # the last part of the context, and the future
    forecasts: Mapping[str, Run]  # of the future alone, by model
    valid: Mapping[str, float]  # valid prediction time of each


def forecasts(
    suite: "Suite",
    system: str,
    models: Iterable[str],
    *,
    window: int = 0,
    seed: int = 0,
    results: Path = Path("results"),
    past: float = 2.0,
) -> Forecasts:
    """Forecasts kept under `results` (`run --keep-forecasts`), or of models that are fitted now.

    Times are Lyapunov times, or periods of a system that is not chaotic; so much of the context is
    shown as `past`. ValueError for a window that the suite does not have, and as ModelSpec.parse
    raises it; what a model raises that cannot be fitted.
    """
    from dysts_bench import task as tasks
    from dysts_bench.cells import Cell, ModelSpec, evaluate
    from dysts_bench.forecasts import read_forecasts
    from dysts_bench.metrics.horizon import valid_prediction_time
    from dysts_bench.store import Store

    [task, *_] = tasks.tasks(suite, [system])
    windows, clock = tasks.load(task), tasks.clock(task)
    if not 0 <= window < len(windows.truth):
        raise ValueError(f"windows go from 0 to {len(windows.truth) - 1}; {window} arrived.")
    store = Store(results / "local" / suite.name)
    future = windows.in_units(windows.truth[window : window + 1])
    found, valid = {}, {}
    for text in models:
        spec = ModelSpec.parse(text)
        try:
            _, kept = read_forecasts(store.forecasts(Cell(task, spec, seed)))
        except FileNotFoundError:
            metrics = ["valid_prediction_time"]
            kept = evaluate(windows, spec.create(), seed, metrics, keep=True).forecasts
        one = kept["windows"][window : window + 1]
        found[spec.label] = one[0]
        valid[spec.label] = float(valid_prediction_time(future, one, windows.facts)[0])
    steps = min(int(past * clock.unit / clock.dt), windows.contexts.shape[1])
    context = windows.in_units(windows.contexts[window, len(windows.contexts[window]) - steps :])
    truth = np.concatenate([context, future[0]])
    # The first forecast is one step after the context's last point.
    times = (np.arange(len(truth)) - (steps - 1)) * clock.dt / clock.unit
    coordinates = systems.load(system, edition=task.edition).observables[: truth.shape[1]]
    return Forecasts(system, coordinates, times, clock.unit_name, truth, found, valid)
