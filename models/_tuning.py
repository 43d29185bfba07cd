"""The validation search shared by every model that chooses hyperparameters.

Candidates are compared by free runs on validation data, never by one-step error: a model can be
excellent one step ahead and unstable after ten. The score of a free run is the number of steps
until its normalised error first exceeds THRESHOLD, averaged over windows; ties are broken by the
mean logarithm of the error. Errors are in units of standard deviations.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from models._progress import count_trial, report
from models.base import FitError, Forecast, Trajectories, Windows, end_at_divergence

THRESHOLD = 0.4
WINDOWS = 12
STEPS = 500  # 30 steps or more make a Lyapunov time in the standard protocol
ENDURANCE = 3000  # steps that the winner should stay finite for
PROBE = 100  # steps after which a candidate may be seen to be hopeless
SCOUTING_ROWS = 2000  # of training data, enough to see which candidates are worth a full fit
NEARLY = 0.9  # of the best's steps: as good as the best, if it endures

Fitted = TypeVar("Fitted")
Trial = tuple[dict[str, Any], Fitted]
Run = Callable[[Fitted, Windows, int], Forecast]


@dataclass(frozen=True)
class FreeRuns:
    """Contexts from validation data and the truths that follow them."""

    contexts: Windows
    truths: Forecast
    scale: Float[np.ndarray, "dim"] | float = 1.0  # a standard deviation

    def most_steps(self, probe: Forecast) -> float:
        """The most steps that a candidate whose runs begin with `probe` could score."""
        error = normalised_error(probe, self.truths[:, : probe.shape[1]], self.scale)
        return _mean_steps(error, unbroken=self.truths.shape[1])


def split(
    train: Trajectories, validation: Trajectories | None
) -> tuple[Trajectories, Trajectories]:
    """What to fit on and what to choose on; without validation, the last fifth of train."""
    if validation is not None:
        return train, validation
    cut = max(1, round(0.8 * train.shape[1]))
    return train[:, :cut], train[:, cut:]


def free_runs(validation: Trajectories, *, context: int, raw_units: bool = False) -> FreeRuns:
    """Evenly spaced windows (they may overlap); shorter and fewer when data are short.

    Data in `raw_units` are not standardised.
    """
    times = validation.shape[1]
    steps = min(STEPS, (times - context) // 2)
    if steps < 1:
        raise FitError(
            f"validation of {times} times is too short for free runs after {context} steps of "
            "context: pass longer validation trajectories or a model with less memory"
        )
    per_trajectory = -(-WINDOWS // len(validation))
    starts = np.unique(np.linspace(context, times - steps, per_trajectory).astype(int))
    cuts = [(trajectory, start) for trajectory in validation for start in starts]
    return FreeRuns(
        contexts=np.stack([x[start - context : start] for x, start in cuts]),
        truths=np.stack([x[start : start + steps] for x, start in cuts]),
        scale=validation.std(axis=(0, 1)) if raw_units else 1.0,
    )


def score(
    forecast: Forecast, truth: Forecast, scale: Float[np.ndarray, "dim"] | float = 1.0
) -> tuple[float, float]:
    """(mean number of steps below THRESHOLD, minus the mean log error): larger is better."""
    error = normalised_error(forecast, truth, scale)
    return _mean_steps(error, unbroken=error.shape[1]), -float(np.log(error).mean())


def normalised_error(
    forecast: Forecast, truth: Forecast, scale: Float[np.ndarray, "dim"] | float = 1.0
) -> Float[np.ndarray, "windows horizon"]:
    """Root mean square over coordinates, kept within [1e-15, 1e3]; NaN counts as 1e3."""
    error = np.sqrt((((forecast - truth) / scale) ** 2).mean(axis=2))
    return np.clip(np.nan_to_num(error, nan=1e3), 1e-15, 1e3)


def _mean_steps(error: Float[np.ndarray, "windows horizon"], unbroken: int) -> float:
    """Steps until each window exceeds THRESHOLD, `unbroken` where it never does; their mean."""
    exceeded = error > THRESHOLD
    return float(np.where(exceeded.any(axis=1), exceeded.argmax(axis=1), unbroken).mean())


def best_on_free_runs(
    trials: Iterable[Trial[Fitted]], run: Run[Fitted], runs: FreeRuns
) -> Trial[Fitted]:
    """The candidate whose free runs last longest; see `ranked_on_free_runs`."""
    return ranked_on_free_runs(trials, run, runs)[0]


def ranked_on_free_runs(
    trials: Iterable[Trial[Fitted]], run: Run[Fitted], runs: FreeRuns
) -> list[Trial[Fitted]]:
    """Candidates (hyperparameters, what was fitted), those whose free runs last longest first.

    `run(fitted, contexts, steps)` forecasts. A candidate that is hardly worse than the best, but
    whose free runs of ENDURANCE steps stay finite where the best's do not, comes before it: scores
    over STEPS cannot see that a model leaves the attractor later. Hopeless candidates are left out.
    Raises FitError if no candidate survives a step.
    """
    scored: list[tuple[tuple[float, float], Trial[Fitted]]] = []
    tried, most_steps = 0, 0.0
    for chosen, fitted in trials:
        tried += 1
        report(tried, None, "candidates")
        count_trial()
        probe = run(fitted, runs.contexts, min(PROBE, runs.truths.shape[1]))
        if runs.most_steps(probe) < NEARLY * most_steps:
            continue  # it can no longer come near the best
        forecast = end_at_divergence(run(fitted, runs.contexts, runs.truths.shape[1]))
        if not np.isnan(forecast[:, 0]).all():
            scored.append((score(forecast, runs.truths, runs.scale), (chosen, fitted)))
            most_steps = max(most_steps, scored[-1][0][0])
    if not scored:
        raise FitError(
            f"none of {tried} candidates gave a finite forecast on validation data: "
            "pass more training data or other hyperparameters"
            if tried
            else "the data are too short, or too high-dimensional, for every candidate: "
            "pass longer trajectories or smaller candidates"
        )
    scored.sort(key=lambda entry: entry[0], reverse=True)
    steps, accuracy = scored[0][0]
    for place, ((near_steps, near_accuracy), (_, fitted)) in enumerate(scored):
        # One e-fold of the error: about a Lyapunov time.
        if near_steps < NEARLY * steps or near_accuracy < accuracy - 1:
            continue
        if np.isfinite(end_at_divergence(run(fitted, runs.contexts, ENDURANCE))).all():
            scored.insert(0, scored.pop(place))
            break
    return [trial for _, trial in scored]


def best_on_continuation(
    fit: Callable[[Trajectories], Iterable[Trial[Fitted]]], run: Run[Fitted], whole: Trajectories
) -> Trial[Fitted]:
    """The candidate with the smallest sMAPE over the last sixth of `whole`, fitted to the rest.

    How studies choose that split one series: by a single forecast. It is of little use, since a
    forecast that is wrong early may end near the truth by luck; for presets that repeat them.
    """
    steps = whole.shape[1] // 6
    seen, truth = whole[:, :-steps], whole[:, -steps:]

    def error(trial: Trial[Fitted]) -> float:
        count_trial()
        forecast = end_at_divergence(run(trial[1], seen, steps))
        with np.errstate(invalid="ignore", divide="ignore"):
            relative = np.abs(forecast - truth) / (np.abs(forecast) + np.abs(truth))
        relative[np.isnan(forecast)] = 1.0  # the worst there is
        return float(np.nan_to_num(relative).mean())

    trials = list(fit(seen))
    if not trials:
        raise FitError("the data are too short, or too high-dimensional, for every candidate")
    return min(trials, key=error)
