"""Transformers: one that hears single states, and one that hears patches of them.

Shapes and units are those of models.base.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from models._extras import needing_torch
from models._torch_model import TorchForecaster, changes, stages


@dataclass(kw_only=True)
class Transformer(TorchForecaster):
    """Causal transformer (Vaswani et al. 2017), a token a state, that forecasts step by step.

    x(t+1) = x(t) + s · (W z(t) + b), z(t) from attention over the states up to t. s is the root
    mean square change of each state in a sampling interval. Each of `layers` layers is attention of
    `heads` heads over the last `window` tokens, with rotary positions, and two dense layers with
    `ratio` · `width` units between them, each after a norm (RMSNorm) and added to its input. Keys
    and values are remembered in a forecast, so its time is linear. Adam trains it `updates` times
    on windows of true states; updates on its own free runs after that gave no better checkpoint in
    four fits.

    About layers · (4 + 2 · ratio) · width² parameters; time: updates · batch · steps heard ·
    parameters, whatever the length of the data. On 6000 points of Lorenz (other trajectories than
    the suites') it follows 3.1 and 3.4 Lyapunov times, medians of 40 windows from two seeds, after
    some 35 s of one core; 1000 updates gave 2.9 and 3.3, and the preset `cpu`, 500 updates, 2.6
    (one seed) after 14 s. NVAR follows for more than 20. A flow
    whose state is seen has no use for attention to the past; it should win where states are hidden
    and data are many, which is not measured.
    Source: Vaswani et al. 2017, with the pre-norm, positions and norms of Llama (Touvron et al.
    2023).
    """

    window: int = 8
    width: int = 64
    layers: int = 2
    heads: int = 4
    ratio: int = 2
    updates: int = 1500
    batch: int = 16
    rate: float = 2e-3
    checks: int = 5

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "cpu": {"updates": 500},
            "searched": {"search": {"window": (8, 24), "updates": (1500, 2500)}},
        }
    )

    def _stages(self) -> list[dict[str, Any]]:
        windows = {"teacher_forced": 2 * self._context()}
        return stages(windows, (self.updates,), self.batch, (self.rate,))

    def _context(self) -> int:
        return self.layers * (self.window - 1) + 1

    def _network(self, problem: Any) -> Any:
        networks = needing_torch("_transformer_networks")
        (scale,) = changes(problem.train, 1)
        return networks.StepTransformer(
            self.width, self.layers, self.heads, self.ratio, self.window, scale
        )

    @classmethod
    def small(cls) -> "Transformer":
        return cls(window=3, width=8, layers=1, heads=2, updates=20, batch=8, checks=1)


@dataclass(kw_only=True)
class PatchTransformer(TorchForecaster):
    """A transformer over patches of each coordinate, the architecture of Panda (Lai et al. 2025).

    x(t+j) = x(t) + s(j) · (W z(t) + b)(j) for j = 1 … `horizon`, z(t) from patches up to t. A token
    is `patch` successive values of one coordinate, with a learned vector that says of which
    coordinate. Each layer is attention over the earlier patches of the coordinate, with rotary
    positions, attention over the coordinates of a patch, and two dense layers, each after a norm
    (RMSNorm) and added to its input. s(j) is the root mean square change of a coordinate in j
    sampling intervals; a longer forecast is made block by block. Adam trains it `updates` times on
    windows of true states, in which what follows each patch counts.

    Panda's architecture, trained on one system: attention in time is causal, so that each patch of
    a window teaches something; coordinates have names; values are not scaled window by window,
    which would hide the place on the attractor; and the random polynomial features of patches are
    left out. Without `named` coordinates have no vectors and one scale s(j), and the weights serve
    any number of them: for models.pretrained, `panda`. It is not trained on its own runs, and not
    to the end on a core: after 346 updates it
    followed Lorenz for 1.1 Lyapunov times (median of 12 windows, one seed), which simpler models
    beat by far. More training should help; it was not tried.
    Source: Lai, Bao & Gilpin, Panda (arXiv 2505.13755); Nie et al., PatchTST (ICLR 2023).
    """

    context: int = 96
    patch: int = 8
    horizon: int = 16
    width: int = 64
    layers: int = 3
    heads: int = 4
    ratio: int = 2
    named: bool = True
    updates: int = 800
    batch: int = 16
    rate: float = 2e-3

    def _stages(self) -> list[dict[str, Any]]:
        windows: Mapping[str, int] = {"after_each_patch": self.context + self.horizon}
        return stages(windows, (self.updates,), self.batch, (self.rate,))

    def _context(self) -> int:
        return self.context

    def _least_context(self) -> int:
        return self.patch

    def _network(self, problem: Any) -> Any:
        if self.context % self.patch:
            raise ValueError(f"patch {self.patch} must divide context {self.context}")
        networks = needing_torch("_transformer_networks")
        scale = changes(problem.train, self.horizon)
        if not self.named:  # as if of one coordinate: the network repeats it for all
            scale = np.sqrt((scale**2).mean(axis=1, keepdims=True))
        return networks.PatchTransformer(
            self.context, self.patch, self.width, self.layers, self.heads, self.ratio, scale
        )

    @classmethod
    def small(cls) -> "PatchTransformer":
        return cls(
            context=16,
            patch=4,
            horizon=6,
            width=8,
            layers=1,
            heads=2,
            updates=20,
            batch=8,
            checks=1,
        )
