"""Models made of models of the zoo: the best of several, and an ensemble of seeds.

Shapes and units are those of models.base.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from models._tuning import best_on_free_runs, free_runs, split
from models.base import (
    FitError,
    Forecast,
    Forecaster,
    Sampler,
    Samples,
    Trajectories,
    Windows,
)

CONTEXT = 150  # steps, where validation data are long enough
SMALL = {"units": 40, "washout": 30, "dynamics": ((0.4, 1.0, 0.1, 1.0),)}  # an esn, for checks


@dataclass(kw_only=True)
class BestOf(Forecaster):
    """The one of `members` whose free runs on validation data last longest.

    Members are named as on the command line, each with the hyperparameters that differ from its
    defaults; all are fitted to the same data with the same seed, and choose their own first. Cost:
    that of all members. It wins where the best model differs from system to system, and loses to
    the best member where validation data are too few to tell them apart: one trajectory then
    decides by luck.
    """

    members: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: {"nvar": {}, "esn": {}}
    )

    stochastic: ClassVar[bool] = True

    @property
    def trained_on(self) -> tuple[str, ...]:
        each = (_create(name, settings) for name, settings in self.members.items())
        return tuple(dict.fromkeys(data for member in each for data in member.trained_on))

    @property
    def weights_hash(self) -> str:
        each = (_create(name, settings) for name, settings in self.members.items())
        return " ".join(filter(None, (member.weights_hash for member in each)))

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        fit_on, held_out = split(train, validation)
        runs = free_runs(held_out, context=min(CONTEXT, held_out.shape[1] // 3))
        trials = self._trials(fit_on, held_out, dt, seed)
        found, self.member_ = best_on_free_runs(trials, Forecaster.predict, runs)
        self.chosen_ = found | dict(self.member_.chosen_)
        self.parameters_ = self.member_.parameters_
        self.context_needed_ = self.member_.context_needed_
        self.context_used_ = self.member_.context_used_

    def _trials(
        self, train: Trajectories, validation: Trajectories, dt: float, seed: int
    ) -> Iterator[tuple[dict[str, Any], Forecaster]]:
        for name, settings in self.members.items():
            member = _create(name, settings)
            try:
                yield {"member": name}, member.fit(train, dt=dt, validation=validation, seed=seed)
            except FitError:  # not for this one; if for none, the search says so
                continue

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return self.member_.predict(context, horizon)

    @classmethod
    def small(cls) -> "BestOf":
        return cls(members={"naive_mean": {}, "esn": SMALL})


@dataclass(kw_only=True)
class Ensemble(Sampler):
    """`size` models that differ in their seed alone, as weather is forecast.

    The forecast is the mean of theirs, step by step; those that have diverged are left out. A
    sample is the forecast of one of them, each before any comes again. The first member searches
    for hyperparameters, the others take over what it chose (`Forecaster.settled`): of `esn`, eight
    cost three times as much as one. As long as all agree, the mean is hardly better than a member;
    where they part it goes to the middle, so squared errors gain and invariants of long runs lose.
    Their spread tells how long to trust them, for as far as errors come from the fit.
    """

    member: str = "esn"
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    size: int = 8

    stochastic: ClassVar[bool] = True

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        model = _create(self.member, self.hyperparameters)
        if not model.stochastic:
            raise ValueError(f"{self.member} does not depend on its seed: its members would agree")
        self.members_ = []
        for own in np.random.SeedSequence(seed).generate_state(self.size).tolist():
            model.fit(train, dt=dt, validation=validation, seed=own)
            self.members_.append(model)
            model = model.settled()
        first = self.members_[0]
        self.chosen_ = first.chosen_
        counts = [m.parameters_ for m in self.members_ if m.parameters_ is not None]
        self.parameters_ = sum(counts) if counts else None
        self.context_needed_ = max(member.context_needed_ for member in self.members_)
        self.context_used_ = first.context_used_

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        forecasts = np.stack([member.predict(context, horizon) for member in self.members_])
        alive = np.isfinite(forecasts)
        with np.errstate(invalid="ignore"):  # all have diverged: NaN
            return np.where(alive, forecasts, 0.0).sum(axis=0) / alive.sum(axis=0)

    def _sample(self, context: Windows, horizon: int, samples: int, seed: int) -> Samples:
        forecasts = np.stack([member.predict(context, horizon) for member in self.members_])
        rng = np.random.default_rng(seed)
        rounds = [rng.permutation(self.size) for _ in range(-(-samples // self.size))]
        return forecasts[np.concatenate(rounds)[:samples]]

    @classmethod
    def small(cls) -> "Ensemble":
        return cls(hyperparameters=SMALL, size=3)


def _create(name: str, settings: Mapping[str, Any]) -> Forecaster:
    from models import create

    model = create(name, **settings)
    if model.raw_units:
        raise ValueError(f"{name} wants raw units: members see standardised data alike")
    return model
