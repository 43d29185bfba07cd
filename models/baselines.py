"""The forecasters that every other one has to beat; each is a few lines of arithmetic.

Shapes and units are those of models.base: standardised states, times in steps. Hyperparameters in
the plural list candidates, from which validation free runs choose; one candidate fixes them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from models._regression import Regression
from models._rollout import autoregress
from models._tuning import best_on_free_runs, free_runs, split
from models.base import Forecast, Forecaster, Trajectories, Windows


@dataclass(kw_only=True)
class NaiveMean(Forecaster):
    """The training mean, for ever.

    No parameters, no cost. The best constant forecast under squared error: past the horizon of
    predictability nothing has a smaller expected error.
    """

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        self.mean_ = train.mean(axis=(0, 1))
        self.context_used_ = 0

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return np.tile(self.mean_, (len(context), horizon, 1))

    @classmethod
    def small(cls) -> "NaiveMean":
        return cls()


@dataclass(kw_only=True)
class Persistence(Forecaster):
    """The last state of the context, for ever.

    No parameters, no cost. Hard to beat for a few steps of a finely sampled flow.
    """

    @property
    def zero_shot(self) -> bool:
        return True

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        self.context_used_ = 1

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return np.repeat(context[:, -1:], horizon, axis=1)

    @classmethod
    def small(cls) -> "Persistence":
        return cls()


@dataclass(kw_only=True)
class Drift(Forecaster):
    """The straight line through the first and the last state of the context.

    x(t + h) = x(t) + h (x(t) - x(0)) / t, where t + 1 is the length of the context. No
    parameters, no cost; it wins on trends, which an attractor does not have.
    """

    @property
    def zero_shot(self) -> bool:
        return True

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        self.context_needed_ = 2

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        slope = (context[:, -1:] - context[:, :1]) / (context.shape[1] - 1)
        return context[:, -1:] + slope * np.arange(1, horizon + 1)[:, None]

    @classmethod
    def small(cls) -> "Drift":
        return cls()


@dataclass(kw_only=True)
class Seasonal(Forecaster):
    """The last period of the context, repeated.

    x(t + h) = x(t + h - m P), with the smallest m that reaches back into the context and linear
    interpolation between steps. The period P (steps, not an integer) is the strongest return of
    the autocorrelation of the training data, at most `longest`; `period` fixes it. Exact on a limit
    cycle up to interpolation, hopeless where the phase diffuses.
    """

    period: float | None = None
    longest: int = 500  # a context must hold a period

    @property
    def zero_shot(self) -> bool:
        return bool(self.period)

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        self.period_ = self.period or dominant_period(train, self.longest)
        self.chosen_ = {"period": self.period_}
        self.context_needed_ = int(np.ceil(self.period_)) + 1
        self.context_used_ = self.context_needed_

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        ahead = np.arange(1, horizon + 1)
        back = ahead - np.ceil(ahead / self.period_) * self.period_  # in (-P, 0]
        left = np.floor(back).astype(int)
        weight = (back - left)[:, None]
        last = context.shape[1] - 1
        right = np.minimum(left + 1, 0)
        return (1 - weight) * context[:, last + left] + weight * context[:, last + right]

    @classmethod
    def small(cls) -> "Seasonal":
        return cls()


def dominant_period(train: Trajectories, longest: int) -> float:
    """The lag, in steps, at which the autocorrelation peaks after it first fell below zero.

    Correlations are averaged over trajectories and dimensions. While the peak near a multiple of
    the lag stays above one half, that multiple refines the lag. Where the correlation never falls
    below zero, `longest` or a quarter of the trajectory is returned.
    """
    times = train.shape[1]
    centred = train - train.mean(axis=1, keepdims=True)
    spectrum = np.abs(np.fft.rfft(centred, n=2 * times, axis=1)) ** 2
    correlation = np.fft.irfft(spectrum, axis=1)[:, :times].mean(axis=(0, 2))
    correlation = correlation / np.arange(times, 0, -1)  # unbiased: each lag by its own count
    correlation = correlation[: times // 2] / max(correlation[0], np.finfo(float).tiny)
    negative = np.flatnonzero(correlation[: longest + 1] < 0)
    if len(negative) == 0:
        return min(longest, times / 4)
    first = int(negative[0])
    # The first zero crossing is a quarter of a period, so the return lies near four times it.
    peak = first + int(np.argmax(correlation[first : min(7 * first, longest) + 1]))
    period, multiple = float(peak), 1
    while True:
        multiple += 1
        around = round(multiple * period)
        reach = max(1, peak // (2 * multiple))
        if around + reach + 1 > len(correlation):
            return period
        lag = around - reach + int(np.argmax(correlation[around - reach : around + reach + 1]))
        if correlation[lag] < 0.5:
            return period
        period = lag / multiple


@dataclass(kw_only=True)
class Linear(Forecaster):
    """Linear autoregression: x(t + 1) = c + sum_i A_i x(t - i) over `lags` steps, with a ridge.

    All dimensions enter every equation (a vector autoregression): lags · dim² + dim numbers. It
    wins on oscillations and under heavy noise; of a chaotic system it sees a linearisation only.
    """

    lags: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    ridges: tuple[float, ...] = (1e-12, 1e-9, 1e-6, 1e-3, 1.0, 1e3)

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        fit_on, held_out = split(train, validation)
        runs = free_runs(held_out, context=min(100, held_out.shape[1] // 3))
        self.chosen_, self.weights_ = best_on_free_runs(
            self._trials(fit_on, runs.contexts.shape[1]), _run_linear, runs
        )
        self.context_needed_ = self.context_used_ = self.chosen_["lags"]
        self.parameters_ = self.weights_.size

    def _trials(
        self, train: Trajectories, longest: int
    ) -> Iterator[tuple[dict[str, Any], Float[np.ndarray, "features dim"]]]:
        for lags in self.lags:
            if lags > longest or lags + 1 > train.shape[1]:
                continue
            cuts = np.lib.stride_tricks.sliding_window_view(train, lags + 1, axis=1)
            cuts = np.moveaxis(cuts, -1, 2).reshape(-1, lags + 1, train.shape[2])
            past = cuts[:, :lags].reshape(len(cuts), -1)  # the oldest state first
            features = np.concatenate([np.ones((len(cuts), 1)), past], axis=1)
            targets = cuts[:, lags] - cuts[:, lags - 1]
            for ridge, weights in Regression.of(features, targets).solutions(self.ridges):
                yield {"lags": lags, "ridge": ridge}, weights

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return _run_linear(self.weights_, context, horizon)

    @classmethod
    def small(cls) -> "Linear":
        return cls(lags=(4,))


def _run_linear(
    weights: Float[np.ndarray, "features dim"], context: Windows, horizon: int
) -> Forecast:
    constant, matrix = weights[0], weights[1:]
    lags = len(matrix) // weights.shape[1]

    def step(recent: Windows) -> Windows:
        change = constant + recent.reshape(len(recent), -1) @ matrix
        return recent[:, -1:] + change[:, None]

    return autoregress(step, context, horizon, memory=lags)
