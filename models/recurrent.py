"""LSTM and GRU: gated recurrent networks that forecast by hearing themselves.

Both are trained by models._torch_training, on true states first and then on their own free runs.
Shapes and units are those of models.base.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

from models._extras import needing_torch
from models._torch_model import TorchForecaster, changes, stages
from models.base import Differentiable, States, Tangents, Windows

Network = TypeVar("Network", bound="Recurrent")


@dataclass(kw_only=True)
class Recurrent(TorchForecaster, Differentiable):
    """h(t) = cell(x(t), h(t-1)), x(t+1) = x(t) + s · (W [h(t); x(t)] + b), and h = 0 at first.

    s is the root mean square change of each state in a sampling interval, so that the network's
    task is of order one. It hears `memory` states before it forecasts. Adam trains it on windows of
    2 · memory true states, the second half of which counts, `updates[0]` times, and then
    `updates[1]` times on free runs of `horizon` steps after `memory` states, with gradients through
    the whole run. `checks`, `seconds` and the rest are those of `TorchForecaster`.

    4 · units · (units + dim) parameters (GRU: 3), 18,000 by default in 3 dimensions; time: updates
    · batch · memory · parameters, whatever the length of the data. On 6000 points of Lorenz and of
    Duffing (other trajectories than the suites') LSTM follows 3.3 and 3.2 Lyapunov times, means of
    the medians of 40 windows from two seeds, after 22 s of one core; 4000 and 500 updates, 38 s,
    gave 3.8 on Lorenz, and the preset `cpu`, 900 and 80 updates, 2.7 and 2.3 after 9 s. NVAR and
    reservoirs follow Lorenz for more than 20, for a tenth of the time.
    A network with a memory should win where states are hidden and data are many and noisy, given
    that it looks far enough back: the preset `searched` chooses how far, and how long to train.
    What the reference rows show of both: docs/findings.md.
    """

    units: int = 64
    memory: int = 10
    horizon: int = 10
    updates: tuple[int, int] = (2500, 200)
    batch: int = 64
    rates: tuple[float, float] = (5e-3, 1e-3)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "cpu": {"updates": (900, 80)},
            "searched": {
                "search": {"memory": (10, 30), "updates": ((2500, 200), (5000, 400))},
            },
        }
    )

    def _stages(self) -> list[dict[str, Any]]:
        windows = {"teacher_forced": 2 * self.memory, "free_running": self.memory + self.horizon}
        return stages(windows, self.updates, self.batch, self.rates)

    def _context(self) -> int:
        return self.memory

    def _network(self, problem: Any) -> Any:
        networks = needing_torch("_recurrent_networks")
        (scale,) = changes(problem.train, 1)
        return networks.RecurrentNetwork(self._cell(), self.units, self.memory, scale)

    @abstractmethod
    def _cell(self) -> str:
        """Its name in models._recurrent_networks.CELLS."""

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
