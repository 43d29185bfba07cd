"""LSTM and GRU: gated recurrent networks that forecast by hearing themselves.

Both are trained by models._torch_training, on true states first and then on their own free runs.
PyTorch is imported at the first fit; it is the extra `torch`. Shapes and units are those of
models.base.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np

from models._extras import needing_torch
from models._tuning import free_runs, split
from models.base import (
    Differentiable,
    FitError,
    Forecast,
    States,
    Tangents,
    Trajectories,
    Windows,
)

Network = TypeVar("Network", bound="Recurrent")


@dataclass(kw_only=True)
class Recurrent(Differentiable):
    """h(t) = cell(x(t), h(t-1)), x(t+1) = x(t) + s · (W [h(t); x(t)] + b), and h = 0 at first.

    s is the root mean square change of each state in a sampling interval, so that the network's
    task is of order one. It hears `memory` states before it forecasts. Adam trains it on windows of
    2 · memory true states, the second half of which counts, `updates[0]` times, and then
    `updates[1]` times on free runs of `horizon` steps after `memory` states, with gradients through
    the whole run. `checks` times in each of the two it runs freely on validation data, and the best
    checkpoint is kept. `seconds` is a guard: what is not trained by then stays untrained, and the
    result depends on the machine.

    4 · units · (units + dim) parameters (GRU: 3), 18,000 by default in 3 dimensions; time: updates
    · batch · memory · parameters, whatever the length of the data. On 6000 points of Lorenz and of
    Rössler (other trajectories than the suites') LSTM follows 4.2 and 3.6 Lyapunov times, medians
    of 12 windows from one seed, after some 40 s of one core; half the memory gave 3.8 on Lorenz.
    Settings were chosen with these windows in view. NVAR and reservoirs follow Lorenz for more than
    20, for a tenth of the time or less. A network with a memory should
    win where states are hidden and data are many and noisy; that is expected, not measured.
    """

    units: int = 64
    memory: int = 10
    horizon: int = 10
    updates: tuple[int, int] = (4000, 500)
    batch: int = 64
    rates: tuple[float, float] = (5e-3, 1e-3)
    checks: int = 10
    seconds: float | None = None

    stochastic: ClassVar[bool] = True

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        training = needing_torch("_torch_training")
        fit_on, held_out = split(train, validation)
        runs = free_runs(held_out, context=min(self.memory, held_out.shape[1] // 3))
        plan = training.Plan(
            stages=(
                training.Stage(
                    "teacher_forced",
                    window=2 * self.memory,
                    updates=self.updates[0],
                    batch=self.batch,
                    rate=self.rates[0],
                ),
                training.Stage(
                    "free_running",
                    window=self.memory + self.horizon,
                    updates=self.updates[1],
                    batch=self.batch,
                    rate=self.rates[1],
                ),
            ),
            checks=self.checks,
            seconds=self.seconds,
        )
        problem = training.Problem(fit_on, runs, seed)
        (outcome,) = training.trained(self._network, [problem], plan)
        if isinstance(outcome, FitError):
            raise outcome
        self.chosen_, self.trained_ = outcome
        self.context_used_ = self.memory

    def _network(self, problem: Any) -> Any:
        networks = needing_torch("_recurrent_networks")
        scale = np.sqrt((np.diff(problem.train, axis=1) ** 2).mean(axis=(0, 1)))
        scale[scale == 0] = 1.0  # a coordinate that never moves
        return networks.RecurrentNetwork(self._cell(), self.units, self.memory, scale)

    @abstractmethod
    def _cell(self) -> str:
        """Its name in models._recurrent_networks.CELLS."""

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return self.trained_.run(context, horizon)

    def _state(self, context: Windows) -> States:
        return needing_torch("_recurrent_networks").packed(self.trained_.network, context)

    def _advance(self, state: States, tangents: Tangents) -> tuple[States, Tangents]:
        return needing_torch("_recurrent_networks").advanced(self.trained_.network, state, tangents)

    @classmethod
    def small(cls: type[Network]) -> Network:
        return cls(
            units=8,
            memory=4,
            horizon=3,
            updates=(30, 6),
            batch=16,
            rates=(1e-2, 3e-3),
            checks=1,
        )


@dataclass(kw_only=True)
class LSTM(Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997); see `Recurrent`."""

    def _cell(self) -> str:
        return "lstm"


@dataclass(kw_only=True)
class GRU(Recurrent):
    """Gated recurrent unit (Cho et al. 2014), three gates where LSTM has four; see `Recurrent`."""

    def _cell(self) -> str:
        return "gru"
