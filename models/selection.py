"""The better of several models on validation data. Shapes and units are those of models.base."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from models._tuning import best_on_free_runs, free_runs, split
from models.base import FitError, Forecast, Forecaster, Trajectories, Windows

CONTEXT = 150  # steps, where validation data are long enough


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

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        fit_on, held_out = split(train, validation)
        runs = free_runs(held_out, context=min(CONTEXT, held_out.shape[1] // 3))
        trials = self._trials(fit_on, held_out, dt, seed)
        found, self.member_ = best_on_free_runs(trials, Forecaster.predict, runs)
        self.chosen_ = found | dict(self.member_.chosen_)
        self.context_needed_ = self.member_.context_needed_
        self.context_used_ = self.member_.context_used_

    def _trials(
        self, train: Trajectories, validation: Trajectories, dt: float, seed: int
    ) -> Iterator[tuple[dict[str, Any], Forecaster]]:
        from models import create

        for name, settings in self.members.items():
            member = create(name, **settings)
            if member.raw_units:
                raise ValueError(f"{name} wants raw units: members see standardised data alike")
            try:
                yield {"member": name}, member.fit(train, dt=dt, validation=validation, seed=seed)
            except FitError:  # not for this one; if for none, the search says so
                continue

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return self.member_.predict(context, horizon)

    @classmethod
    def small(cls) -> "BestOf":
        reservoir = {"units": 40, "washout": 30, "dynamics": ((0.4, 1.0, 0.1, 1.0),)}
        return cls(members={"naive_mean": {}, "esn": reservoir})
