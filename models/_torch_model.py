"""What every model in PyTorch does alike: fitted by one loop, run in float64 on the CPU.

PyTorch is imported at the first fit; it is the extra `torch`. Shapes and units are those of
models.base.
"""

from abc import abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import product
from typing import Any, ClassVar, TypeVar, final

import numpy as np
from jaxtyping import Float

from models._extras import needing_torch
from models._tuning import best_on_free_runs, free_runs, split
from models.base import FitError, Forecast, Forecaster, Training, Trajectories, Windows

Network = TypeVar("Network", bound="TorchForecaster")


@dataclass(kw_only=True)
class TorchForecaster(Forecaster):
    """A network, trained in stages, of which the checkpoint is kept that runs best by itself.

    `checks` times in each stage it runs freely on validation data; see models._torch_training.
    `seconds` is a guard: what is not trained by then stays untrained, and the result depends on the
    machine. With `bfloat16` losses are computed in that, which GPUs are fast in. `device` is where
    it trains: None is a GPU if there is one.

    `search` lists values of other hyperparameters: a network is trained with each combination of
    these, from the same seed, and the one kept whose free runs on validation data last longest. The
    preset `searched` of some models has such lists, as many trainings as they make, and costs as
    many times more.
    """

    search: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    checks: int = 10
    seconds: float | None = None
    bfloat16: bool = False
    device: str | None = None

    stochastic: ClassVar[bool] = True

    @final
    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        if self.search:
            self._fit_searched(Training(train, dt, validation, seed))
            return
        (error,) = self._fit_many([self], [Training(train, dt, validation, seed)])
        if error is not None:
            raise error

    def _fit_searched(self, training: Training) -> None:
        fit_on, held_out = split(training.train, training.validation)
        context = max(model._context() for _, model in self._candidates())

        def trials() -> Iterator[tuple[dict[str, Any], TorchForecaster]]:
            for values, model in self._candidates():
                try:
                    yield (
                        values,
                        model.fit(fit_on, dt=training.dt, validation=held_out, seed=training.seed),
                    )
                except FitError:  # not for this one; if for none, the search says so
                    continue

        runs = free_runs(held_out, context=min(context, held_out.shape[1] // 3))
        found, best = best_on_free_runs(trials(), Forecaster.predict, runs)
        self._adopt((found | {"checkpoint": best.chosen_}, best.trained_))
        self.context_needed_, self.context_used_ = best.context_needed_, best.context_used_

    def _candidates(self: Network) -> Iterator[tuple[dict[str, Any], Network]]:
        """Each combination of the values in `search`, and the model that has them."""
        known = {each.name for each in fields(self)} - {"search"}
        if wrong := [name for name in self.search if name not in known or not self.search[name]]:
            raise ValueError(
                f"search lists values of hyperparameters: {wrong[0]!r} is none of "
                f"{type(self).__name__}, or has no values"
            )
        for values in product(*self.search.values()):
            found = dict(zip(self.search, values, strict=True))
            yield found, replace(self, search={}, **found)

    def settled(self: Network) -> Network:
        return replace(self, search={}, **{name: self.chosen_[name] for name in self.search})

    @final
    def _fit_many(
        self, fitted: Sequence[Any], trainings: Sequence[Training]
    ) -> list[FitError | None]:
        """All that are alike in one program; `seconds` are for each of these."""
        if self.search:
            return super()._fit_many(fitted, trainings)
        training = needing_torch("_torch_training")
        plan = training.Plan(
            stages=tuple(training.Stage(**stage) for stage in self._stages()),
            checks=self.checks,
            seconds=self.seconds,
            bfloat16=self.bfloat16,
            device=self.device,
        )
        longest = max(stage.window for stage in plan.stages)
        errors: list[FitError | None] = [None] * len(fitted)
        alike: dict[Hashable, dict[int, Any]] = {}
        for index, each in enumerate(trainings):
            fit_on, held_out = split(each.train, each.validation)
            try:
                context = min(self._context(), held_out.shape[1] // 3)
                runs = free_runs(held_out, context=context)
            except FitError as error:
                errors[index] = error
                continue
            problem = training.Problem(fit_on, runs, each.seed)
            too_short = fit_on.shape[1] < longest  # and fails, but nothing else does
            kind = (self._kind(problem), runs.truths.shape, runs.contexts.shape, too_short)
            alike.setdefault(kind, {})[index] = problem
        for problems in alike.values():
            try:
                outcomes = training.trained(self._network, list(problems.values()), plan)
            except FitError as error:
                outcomes = [error] * len(problems)
            for index, outcome in zip(problems, outcomes, strict=True):
                errors[index] = fitted[index]._adopt(outcome)
        return errors

    def _adopt(self, outcome: tuple[dict[str, Any], Any] | FitError) -> FitError | None:
        if isinstance(outcome, FitError):
            return outcome
        self.chosen_, self.trained_ = outcome
        self.context_needed_, self.context_used_ = self._least_context(), self._context()
        self.parameters_ = self.trained_.parameters
        return None

    @final
    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return self.trained_.run(context, horizon)

    @abstractmethod
    def _network(self, problem: Any) -> Any:
        """The nn.Module that a models._torch_training.Problem asks for."""

    @abstractmethod
    def _stages(self) -> Sequence[Mapping[str, Any]]:
        """The arguments of each models._torch_training.Stage, in order."""

    @abstractmethod
    def _context(self) -> int:
        """Steps of context that a forecast depends on, where there are so many."""

    def _kind(self, problem: Any) -> Hashable:
        """Problems for which this is equal get networks of the same shapes and code."""
        return None

    def _least_context(self) -> int:
        """Steps of context without which there is no forecast."""
        return 1


def changes(train: Trajectories, steps: int) -> Float[np.ndarray, "{steps} dim"]:
    """The root mean square change of each state in 1, 2, … `steps` intervals; 1 where it is 0.

    In these units a network's task is of order one, whatever the sampling interval.
    """
    moved = (train[:, step:] - train[:, :-step] for step in range(1, steps + 1))
    scale = np.sqrt([(change**2).mean(axis=(0, 1)) for change in moved])
    scale[scale == 0] = 1.0  # a coordinate that never moves
    return scale


def stages(
    windows: Mapping[str, int],
    updates: Sequence[int],
    batch: int,
    rates: Sequence[float],
) -> list[dict[str, Any]]:
    """A stage for each loss, with windows of so many times, so many updates and such a rate."""
    return [
        {"loss": loss, "window": window, "updates": number, "batch": batch, "rate": rate}
        for (loss, window), number, rate in zip(windows.items(), updates, rates, strict=True)
    ]
