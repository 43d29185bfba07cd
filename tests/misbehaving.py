"""Models as in a user's own file. Each misbehaves in one way, at the moment its name says."""

import os
import signal
import time
from dataclasses import dataclass

import numpy as np

from models import Differentiable, Forecaster, Sampler


@dataclass(kw_only=True)
class Good(Forecaster):
    gain: float = 1.0

    def _fit(self, train, *, dt, validation, seed): ...

    def _predict(self, context, horizon):
        return self.gain * np.repeat(context[:, -1:], horizon, axis=1)

    @classmethod
    def small(cls):
        return cls()


@dataclass(kw_only=True)
class Able(Good, Sampler, Differentiable):
    """Persistence that doubles every error, and forecasts by throwing dice."""

    def _sample(self, context, horizon, samples, seed):
        dice = np.random.default_rng(seed).normal(size=(samples, 1, 1, 1))
        return self._predict(context, horizon) + dice

    def _state(self, context):
        return context[:, -1]

    def _advance(self, state, tangents):
        return state, 2 * tangents


@dataclass(kw_only=True)
class Remembers(Good, Sampler):
    """The mean of what it was fitted to."""

    def _fit(self, train, *, dt, validation, seed):
        self.mean_, self.validation_ = train.mean(axis=(0, 1)), validation
        self.chosen_ = {"first": train[0, 0, 0]}

    def _predict(self, context, horizon):
        return np.tile(self.mean_, (len(context), horizon, 1))

    def _sample(self, context, horizon, samples, seed):
        return np.repeat(self._predict(context, horizon)[None], samples, axis=0)


@dataclass(kw_only=True)
class Chancy(Good):
    stochastic = True

    def _fit(self, train, *, dt, validation, seed):
        self.gain = 1.0 + 0.1 * seed


@dataclass(kw_only=True)
class RaisesInFit(Good):
    def _fit(self, train, *, dt, validation, seed):
        raise ArithmeticError("no fit\ntoday")


@dataclass(kw_only=True)
class RaisesInFreeRuns(Good):
    def _predict(self, context, horizon):
        if horizon > 100:
            raise ArithmeticError("too far")
        return super()._predict(context, horizon)


@dataclass(kw_only=True)
class AllNaN(Good):
    def _predict(self, context, horizon):
        return np.full((len(context), horizon, context.shape[2]), np.nan)


@dataclass(kw_only=True)
class Explodes(Good):
    def _predict(self, context, horizon):
        growth = 10.0 ** np.arange(horizon)[:, None]
        return context[:, -1:] * np.where(np.isfinite(growth), growth, np.inf)


@dataclass(kw_only=True)
class Unable(Good):
    def _fit(self, train, *, dt, validation, seed):
        raise NotImplementedError("two dimensions are beyond me")


@dataclass(kw_only=True)
class Exits(Good):
    def _fit(self, train, *, dt, validation, seed):
        os._exit(3)


@dataclass(kw_only=True)
class Segfaults(Good):
    def _fit(self, train, *, dt, validation, seed):
        os.kill(os.getpid(), signal.SIGSEGV)


@dataclass(kw_only=True)
class Hangs(Good):
    def _fit(self, train, *, dt, validation, seed):
        time.sleep(600)


@dataclass(kw_only=True)
class Hoards(Good):
    def _fit(self, train, *, dt, validation, seed):
        self.hoard = np.ones((40_000, 40_000))


@dataclass(kw_only=True)
class Forgetful(Good):
    """Breaks the contract: one forecast, however many contexts there are."""

    def _predict(self, context, horizon):
        return np.zeros((1, horizon, context.shape[2]))


@dataclass(kw_only=True)
class Slow(Good):
    def _fit(self, train, *, dt, validation, seed):
        time.sleep(0.4)
