"""HiSS: state-space layers over chunks of states, and state-space layers over what these say.

Shapes and units are those of models.base.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from models._extras import needing_torch
from models._torch_model import TorchForecaster, changes, stages

LOWS = ("s4d", "mamba")


@dataclass(kw_only=True)
class HiSS(TorchForecaster):
    """Hierarchical state-space model (Bhirangi et al., arXiv 2402.10211): chunk after chunk.

    x(t+j) = x(t) + s(j) · (W h(t) + b)(j) for j = 1 … `chunk`, h(t) after the chunk ending at t. It
    was made for sensors; here a chunk predicts the next. The low level, `low_layers` layers of S4D
    or Mamba, hears the states of one chunk and their differences, and begins anew at each chunk;
    the high level, `layers` layers of Mamba-2, hears the low level's last word on each. s(j) is the
    root mean square change of a state in j sampling intervals. Adam trains it on windows of 2 ·
    `chunks` chunks of true states, `updates[0]` times, and then `updates[1]` times on free runs of
    `unrolled` chunks after `chunks`, with gradients through the whole run.

    63,000 parameters by default in 3 dimensions; time: updates · batch · chunks · parameters,
    whatever the length of the data. On 6000 points of Lorenz (other trajectories than the suites')
    it follows 1.7 and 1.8 Lyapunov times, medians of 40 windows from two seeds, after some 35 s of
    one core; without updates on its own runs 1.6 and 1.8. Twice the batch and 2000 and 200 updates
    gave half as much again, in an earlier measurement. LSTM follows 3.3, NVAR more than 20.
    It should win where much is sampled within a time in which little changes; not measured, nor are
    the presets.

    Presets: `cpu` makes fewer updates (0.9 on Lorenz, one seed, 14 s); `mamba` has it for the low
    level as well; `flat` has no hierarchy, both levels hear every state, with the same parameters.
    """

    chunk: int = 5
    chunks: int = 8
    low: str = "s4d"
    low_width: int = 32
    low_layers: int = 1
    width: int = 64
    layers: int = 2
    states: int = 16
    hierarchical: bool = True
    unrolled: int = 3
    updates: tuple[int, int] = (1200, 100)
    batch: int = 16
    rates: tuple[float, float] = (3e-3, 1e-3)
    checks: int = 5

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "cpu": {"updates": (450, 40)},
            "mamba": {"low": "mamba"},
            "flat": {"hierarchical": False},
        }
    )

    def _stages(self) -> list[dict[str, Any]]:
        heard = self._context()
        windows = {
            "teacher_forced": 2 * heard - 1,
            "free_running": heard + self.unrolled * self.chunk,
        }
        return stages(windows, self.updates, self.batch, self.rates)

    def _context(self) -> int:
        return 1 + self.chunk * self.chunks

    def _least_context(self) -> int:
        return 1 + self.chunk

    def _network(self, problem: Any) -> Any:
        if self.low not in LOWS:
            raise ValueError(f"low is one of {', '.join(LOWS)}; got {self.low!r}")
        networks = needing_torch("_hiss_networks")
        return networks.HierarchicalNetwork(
            self.chunk,
            self.chunks,
            self.low,
            (self.low_width, self.low_layers),
            (self.width, self.layers),
            self.states,
            self.hierarchical,
            changes(problem.train, self.chunk * self.unrolled),
        )

    @classmethod
    def small(cls) -> "HiSS":
        return cls(
            chunk=4,
            chunks=3,
            low_width=8,
            width=8,
            layers=1,
            states=4,
            unrolled=2,
            updates=(15, 3),
            batch=8,
            checks=1,
        )
