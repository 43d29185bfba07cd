"""check_forecaster catches a forecaster that breaks a rule, and says which."""

import re
from dataclasses import dataclass

import numpy as np
import pytest

from models.base import (
    Differentiable,
    Forecast,
    Forecaster,
    Sampler,
    Samples,
    States,
    Tangents,
    Trajectories,
    Windows,
)
from models.checks import ContractError, check_forecaster, torus


@dataclass(kw_only=True)
class Sound(Forecaster):
    """Persistence plus the training mean; every broken model below changes one thing."""

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        self.mean_ = train.mean(axis=(0, 1))

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return np.repeat(context[:, -1:] + self.mean_, horizon, axis=1)

    @classmethod
    def small(cls) -> "Sound":
        return cls()


class Zeros(Sound):
    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return np.zeros((len(context), horizon, context.shape[2]))


class NotFinite(Sound):
    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return super()._predict(context, horizon) / 0.0


class ModifiesTrain(Sound):
    def _fit(self, train: Trajectories, **rest: object) -> None:
        train -= train.mean(axis=(0, 1))
        self.mean_ = train[0, 0]


class ModifiesContext(Sound):
    def _predict(self, context: Windows, horizon: int) -> Forecast:
        context[:, 0] = 0.0
        return super()._predict(context, horizon)


class IgnoresSeed(Sound):
    stochastic = True


class HidesSeed(Sound):
    def _fit(self, train: Trajectories, *, seed: int, **rest: object) -> None:
        self.mean_ = np.random.default_rng(seed).standard_normal(train.shape[2])


class Unseeded(Sound):
    def _fit(self, train: Trajectories, **rest: object) -> None:
        self.mean_ = np.random.default_rng().standard_normal(train.shape[2])


class SeedsEverybody(Sound):
    def _fit(self, train: Trajectories, *, seed: int, **rest: object) -> None:
        np.random.seed(seed)
        self.mean_ = train[0, 0]


@dataclass(kw_only=True)
class LeaksBetweenFits(Sound):
    fits: int = 0

    def _fit(self, train: Trajectories, **rest: object) -> None:
        self.mean_ = 0.9 * self.seen_ + train[0, 0, 0]
        self.seen_ = float(train[0, 0, 0])

    seen_ = 0.0


class LeaksBetweenPredictions(Sound):
    last_ = 0.0

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        forecast = super()._predict(context, horizon) + self.last_
        self.last_ = 0.1
        return forecast


@dataclass(kw_only=True)
class OverwritesHyperparameter(Sound):
    period: float | None = None

    def _fit(self, train: Trajectories, **rest: object) -> None:
        self.period = 3.0
        self.mean_ = train[0, 0]


class CountsNothing(Sound):
    def _fit(self, train: Trajectories, **rest: object) -> None:
        super()._fit(train, **rest)
        self.parameters_ = 0


class MixesWindows(Sound):
    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return super()._predict(context - context.mean(axis=0), horizon)


class DependsOnOrder(Sound):
    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return super()._predict(context, horizon) + np.arange(len(context))[:, None, None]


class LooksFurtherBack(Sound):
    def _fit(self, train: Trajectories, **rest: object) -> None:
        self.mean_ = train[0, 0]
        self.context_used_ = 5

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return np.repeat(context[:, -6:-5] + self.mean_, horizon, axis=1)


class LearnsAfterAll(Sound):
    zero_shot = True  # type: ignore[assignment]


class NeedsMore(Sound):
    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return np.repeat(context[:, -2:-1] + self.mean_, horizon, axis=1)


class ShrinksWithHorizon(Sound):
    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return super()._predict(context, horizon) / horizon


class Noisy(Sound, Sampler):
    """Persistence with noise, the same for every window."""

    def _sample(self, context: Windows, horizon: int, samples: int, seed: int) -> Samples:
        noise = np.random.default_rng(seed).normal(size=(samples, 1, horizon, 1))
        return self._predict(context, horizon) + noise


class Collapsed(Noisy):
    def _sample(self, context: Windows, horizon: int, samples: int, seed: int) -> Samples:
        return np.repeat(super()._sample(context, horizon, 1, seed), samples, axis=0)


class UnseededSamples(Noisy):
    def _sample(self, context: Windows, horizon: int, samples: int, seed: int) -> Samples:
        return super()._sample(context, horizon, samples, np.random.default_rng().integers(99999))


class SeedlessSamples(Noisy):
    def _sample(self, context: Windows, horizon: int, samples: int, seed: int) -> Samples:
        return super()._sample(context, horizon, samples, 0)


class MixesSamples(Noisy):
    def _sample(self, context: Windows, horizon: int, samples: int, seed: int) -> Samples:
        noise = np.random.default_rng(seed).normal(size=(len(context), samples, horizon, 1))
        return self._predict(context, horizon) + noise.swapaxes(0, 1)[:, ::-1]


class Pendulum(Sound, Differentiable):
    """x <- mean + sin(x - mean), coordinate by coordinate."""

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        state, states = context[:, -1], []
        for _ in range(horizon):
            state = self.mean_ + np.sin(state - self.mean_)
            states.append(state)
        return np.stack(states, axis=1)

    def _state(self, context: Windows) -> States:
        return context[:, -1].copy()

    def _advance(self, state: States, tangents: Tangents) -> tuple[States, Tangents]:
        angle = state - self.mean_
        return self.mean_ + np.sin(angle), np.cos(angle)[:, :, None] * tangents


class WrongJacobian(Pendulum):
    def _advance(self, state: States, tangents: Tangents) -> tuple[States, Tangents]:
        following, stretched = super()._advance(state, tangents)
        return following, stretched + 1e-3 * tangents


class WrongStep(Pendulum):
    def _state(self, context: Windows) -> States:
        return context[:, -2].copy()


class LostExponents(Pendulum):
    def _advance(self, state: States, tangents: Tangents) -> tuple[States, Tangents]:
        following, stretched = super()._advance(state, tangents)
        return following, np.where(np.abs(tangents).max() < 1, np.nan, stretched)


@dataclass
class NoForecaster:
    @classmethod
    def small(cls) -> "NoForecaster":
        return cls()


BROKEN = {
    Zeros: "depends on the training data or the context",
    NotFinite: "is finite",
    ModifiesTrain: "leave their inputs as they are: train was changed",
    ModifiesContext: "leave their inputs as they are: context was changed",
    IgnoresSeed: "declares itself stochastic depends on the seed",
    HidesSeed: "declares stochastic = True",
    Unseeded: "the same data and seed give the same forecast",
    SeedsEverybody: "global random state",
    LeaksBetweenFits: "fit forgets what was fitted before",
    LeaksBetweenPredictions: "predict changes nothing",
    CountsNothing: "parameters_ is the number of fitted numbers, or None",
    OverwritesHyperparameter: "fit leaves the hyperparameters as they are",
    MixesWindows: "does not depend on the other windows",
    DependsOnOrder: "does not depend on the other windows",
    LearnsAfterAll: "zero-shot learns nothing",
    LooksFurtherBack: "last context_used_ steps",
    NeedsMore: "context_needed_ steps of context are enough",
    ShrinksWithHorizon: "the beginning of a long one",
    Collapsed: "samples differ from one another",
    UnseededSamples: "the same seed gives the same samples",
    SeedlessSamples: "another seed gives other samples",
    MixesSamples: "the samples of a window do not depend on the other windows",
    WrongJacobian: "the Jacobian of its own step",
    WrongStep: "repeats what predict does",
    LostExponents: "has Lyapunov exponents",
    NoForecaster: "derived from models.Forecaster",
}


def test_a_sound_forecaster_passes_as_class_and_as_instance() -> None:
    check_forecaster(Sound)
    check_forecaster(Sound())
    check_forecaster(Noisy)
    check_forecaster(Pendulum)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda cls: cls.__name__)
def test_a_broken_forecaster_is_caught(broken: type) -> None:
    with (
        np.errstate(divide="ignore", invalid="ignore"),
        pytest.raises(ContractError, match=re.escape(BROKEN[broken])),
    ):
        check_forecaster(broken)


def test_a_direct_model_may_opt_out_of_agreeing_horizons() -> None:
    class Direct(ShrinksWithHorizon):
        autoregressive = False

    check_forecaster(Direct)


def test_the_test_problem_is_standardised_and_never_repeats() -> None:
    x = torus(3, trajectories=2, times=4000, seed=0)
    np.testing.assert_allclose(x.mean(axis=1), 0, atol=0.02)
    np.testing.assert_allclose(x.std(axis=1), 0.93, atol=0.1)
    distance = np.linalg.norm(x[0, 100:] - x[0, 0], axis=1)
    assert distance.min() > 1e-3
