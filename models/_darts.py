"""Methods of darts, fitted: each family knows how darts wants its series, and gives arrays back.

Every call of darts is made within `_quietly`: it sets the global random states, and talks.
Imports darts: to be imported when a model is fitted.
"""

import logging
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import darts.models
import numpy as np
import pandas as pd
from darts import TimeSeries
from darts.utils.utils import SeasonalityMode
from jaxtyping import Float
from nfoursid.kalman import Kalman

from models._darts_methods import Method
from models._progress import report
from models.base import FitError, Forecast, Trajectories, Windows, end_at_divergence

Window = Float[np.ndarray, "_context dim"]
Continuation = Float[np.ndarray, "horizon dim"]

MOST_POINTS = 2000  # that a filter is fitted to: statsmodels' likelihoods cost a second a 1000
BATCH = 1024  # windows that a network forecasts together
BLOCK = 100  # steps after which diverged windows are given up: infinities raise in scikit-learn
BREAKDOWNS = (np.linalg.LinAlgError, FloatingPointError, ZeroDivisionError)


def steps_needed(method: Method, arguments: Mapping[str, Any]) -> int:
    """The shortest series that a fit accepts."""
    with _quietly():
        return int(_model(method, arguments, seed=0).min_train_series_length)


def fitted(
    method: Method, arguments: Mapping[str, Any], train: Trajectories, seed: int
) -> "Local | Filter | Regression | Network":
    """The method, fitted to `train` with these arguments, candidates having been chosen.

    Raises FitError where linear algebra breaks off.
    """
    try:
        with _quietly():
            return _fitted(method, arguments, train, seed)
    except BREAKDOWNS as error:
        raise FitError(
            f"{method.darts_class} cannot be fitted to these data ({error}): fewer lags, or data "
            "with some noise, may help"
        ) from error


def _fitted(
    method: Method, arguments: Mapping[str, Any], train: Trajectories, seed: int
) -> "Local | Filter | Regression | Network":
    make = partial(_model, method, arguments, seed)
    match method.family:
        case "local":
            shortest = make().min_train_series_length
            dated = method.darts_class == "Prophet"
            return Local(make, shortest, method.multivariate, dated)
        case "filter":
            parts = _parts(train[0, -MOST_POINTS:], method.multivariate)
            return Filter([_symmetric(make().fit(_series(part))) for part in parts])
        case "regression":
            model = make().fit([_series(x) for x in train])
            return Regression(model, arguments["lags"], arguments["output_chunk_length"])
        case "network":
            model = make()
            model.fit([_series(x.astype(np.float32)) for x in train], verbose=False)
            return Network(model, arguments["input_chunk_length"], model.output_chunk_length)


@dataclass(frozen=True)
class Local:
    """Fitted anew to each context; without `multivariate`, to each coordinate of it.

    `dated`: a point is a day, for methods that ask for dates.
    """

    make: Callable[[], Any]
    context_needed: int
    multivariate: bool
    dated: bool
    context_used: None = None
    parameters: None = None

    def run(self, context: Windows, steps: int) -> Forecast:
        return _one_by_one(self._continued, context, steps)

    def _continued(self, window: Window, steps: int) -> Continuation:
        forecasts = []
        for part in _parts(window, self.multivariate):
            series = _days(part) if self.dated else _series(part)
            forecasts.append(self.make().fit(series).predict(steps).values())
        return np.concatenate(forecasts, axis=1)


@dataclass(frozen=True)
class Filter:
    """A linear state space model, or one for each coordinate."""

    models: Sequence[Any]
    context_used: None = None

    @property
    def context_needed(self) -> int:
        return int(max(model.min_train_series_length for model in self.models))

    @property
    def parameters(self) -> int | None:
        """Those of an ARIMA, which alone counts them."""
        if not isinstance(self.models[0], darts.models.ARIMA):
            return None
        return sum(len(model.model.params) for model in self.models)

    def run(self, context: Windows, steps: int) -> Forecast:
        return _one_by_one(self._continued, context, steps)

    def _continued(self, window: Window, steps: int) -> Continuation:
        parts = _parts(window, multivariate=len(self.models) == 1)
        each = zip(self.models, parts, strict=True)
        forecasts = [model.predict(steps, series=_series(part)).values() for model, part in each]
        return np.concatenate(forecasts, axis=1)


def _symmetric(model: Any) -> Any:
    """The fitted model; a Kalman filter's covariance stays symmetric from now on."""
    if isinstance(model, darts.models.KalmanForecaster):
        found = model.darts_kf.kf
        covariance = np.block([[found.r, found.s.T], [found.s, found.q]])
        model.darts_kf.kf = SymmetricKalman(found.state_space, covariance)
    return model


class SymmetricKalman(Kalman):
    """nfoursid's filter, with a covariance that is symmetric whatever the rounding.

    Its recursion P ← A P Aᵀ + Q - K (S + A P Cᵀ)ᵀ carries an antisymmetric part N on as
    (A + K C) N Aᵀ, where only A - K C is stable: after 1000 points of Lorenz, P was 1e282 with four
    states or more, and every forecast NaN.
    """

    def step(self, y: np.ndarray | None, u: np.ndarray) -> Any:
        seen = super().step(y, u)
        covariance = self.p_predicteds[-1]
        self.p_predicteds[-1] = (covariance + covariance.T) / 2
        return seen


@dataclass(frozen=True)
class Regression:
    """The next `chunk` states from the last `lags`, fed back."""

    model: Any
    lags: int
    chunk: int

    @property
    def context_needed(self) -> int:
        return self.lags

    @property
    def context_used(self) -> int:
        return self.lags

    @property
    def parameters(self) -> int | None:
        estimator = self.model.model
        return int(estimator.coef_.size + estimator.intercept_.size) if _linear(estimator) else None

    def run(self, context: Windows, steps: int) -> Forecast:
        recent = context[:, -self.lags :]
        forecast = np.full((len(context), steps, context.shape[2]), np.nan)
        alive = np.arange(len(context))
        block = _whole(min(BLOCK, steps), self.chunk)
        for start in range(0, steps, block):
            following = self._continued(recent[alive], block)[:, : steps - start]
            forecast[alive, start : start + block] = following
            stays = np.isfinite(end_at_divergence(following)[:, -1]).all(axis=1)
            alive = alive[stays]
            if not len(alive):
                break
            recent = np.concatenate([context, forecast[:, : start + block]], axis=1)
            recent = recent[:, -self.lags :]
            report(min(start + block, steps), steps, "steps")
        return forecast

    def _continued(self, windows: Windows, steps: int) -> Forecast:
        with _quietly():
            series = [_series(window) for window in windows]
            return _values(self.model.predict(steps, series=series))


@dataclass(frozen=True)
class Network:
    """The next `chunk` states from the last `inputs`, fed back."""

    model: Any
    inputs: int
    chunk: int

    @property
    def context_needed(self) -> int:
        return self.inputs

    @property
    def context_used(self) -> int:
        return self.inputs

    @property
    def parameters(self) -> int:
        return sum(numbers.numel() for numbers in self.model.model.parameters())

    def run(self, context: Windows, steps: int) -> Forecast:
        recent = context[:, -self.inputs :].astype(np.float32)
        with _quietly():
            series = [_series(window) for window in recent]
            forecast = self.model.predict(
                _whole(steps, self.chunk),
                series=series,
                batch_size=BATCH,
                verbose=False,
                show_warnings=False,
            )
            return _values(forecast)[:, :steps]


def _one_by_one(
    continued: Callable[[Window, int], Continuation], context: Windows, steps: int
) -> Forecast:
    forecast = np.full((len(context), steps, context.shape[2]), np.nan)
    for window in range(len(context)):
        report(window, len(context), "windows")
        with _quietly():
            try:
                forecast[window] = continued(context[window], steps)
            except BREAKDOWNS:  # as good as diverged
                continue
    return forecast


def _model(method: Method, arguments: Mapping[str, Any], seed: int) -> Any:
    """A new darts model."""
    given = dict(arguments)
    for season in ("seasonal", "season_mode"):
        if season in given:
            given[season] = SeasonalityMode[given[season]]
    if method.family == "network":
        given = _for_lightning(method, given)
    match method.darts_class:
        case "Prophet":
            given = _for_prophet(**given)
        case "XGBModel":
            given["n_jobs"] = 1
        case "LightGBMModel":
            given |= {"n_jobs": 1, "verbose": -1}
    if method.family in ("regression", "network"):
        given["random_state"] = seed
    return getattr(darts.models, method.darts_class)(**given)


def _for_lightning(method: Method, given: dict[str, Any]) -> dict[str, Any]:
    """What darts and its trainer are told, from the arguments of a network in the table."""
    import torch

    updates, rate, device = given.pop("updates"), given.pop("learning_rate"), given.pop("device")
    trainer = {
        "accelerator": device or ("gpu" if torch.cuda.is_available() else "cpu"),
        "devices": 1,
        "barebones": True,  # no logs, files or progress: a third of a small network's time
    }
    given["optimizer_kwargs"] = {"fused": True}  # the same Adam: a third less time for N-BEATS
    if updates is not None:
        given["n_epochs"] = updates  # an epoch has an update at least
        trainer["max_steps"] = updates
    if rate is not None:
        given["optimizer_kwargs"]["lr"] = rate
    if rate is not None and updates is not None:
        given["lr_scheduler_cls"] = torch.optim.lr_scheduler.CosineAnnealingLR
        given["lr_scheduler_kwargs"] = {"T_max": updates, "interval": "step"}
    if method.darts_class == "TFTModel":  # by default it draws from a distribution
        given |= {"likelihood": None, "loss_fn": torch.nn.MSELoss()}
    if method.darts_class == "RNNModel":
        del given["output_chunk_length"]  # it has none
        given["model"] = "LSTM"
        given["training_length"] = max(given["training_length"], given["input_chunk_length"])
    return given | {"pl_trainer_kwargs": trainer}


def _for_prophet(seasonal_periods: int | None) -> dict[str, Any]:
    if seasonal_periods is None:
        return {}
    season = {"name": "period", "seasonal_periods": seasonal_periods, "fourier_order": 5}
    off = {f"{each}_seasonality": False for each in ("yearly", "weekly", "daily")}
    return {"add_seasonalities": season} | off


def _series(x: np.ndarray) -> TimeSeries:
    return TimeSeries.from_values(np.ascontiguousarray(x))


def _days(x: np.ndarray) -> TimeSeries:
    return TimeSeries(times=pd.date_range("2000-01-01", periods=len(x), freq="D"), values=x)


def _parts(window: np.ndarray, multivariate: bool) -> list[np.ndarray]:
    """The window (times, dim), or each coordinate of it (times, 1)."""
    return [window] if multivariate else [window[:, [i]] for i in range(window.shape[1])]


def _whole(steps: int, chunk: int) -> int:
    """At least `steps`, in whole chunks.

    darts cuts the last chunk but one short, so that the last one ends where it should: then a short
    forecast is not the beginning of a long one.
    """
    return chunk * -(-steps // chunk)


def _values(forecasts: Sequence[TimeSeries]) -> Forecast:
    return np.stack([series.values() for series in forecasts]).astype(float)


def _linear(estimator: Any) -> bool:
    from sklearn.linear_model import LinearRegression

    return isinstance(estimator, LinearRegression)


@contextmanager
def _quietly() -> Iterator[None]:
    """Warnings and logs of the libraries are dropped, global random states are as they were."""
    numbers, choices, disabled = (
        np.random.get_state(),
        random.getstate(),
        logging.root.manager.disable,
    )
    torch = sys.modules.get("torch")
    draws = torch.get_rng_state() if torch else None
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        np.random.set_state(numbers)
        random.setstate(choices)
        if torch:
            torch.set_rng_state(draws)
