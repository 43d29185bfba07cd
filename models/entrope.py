"""EntroPE: a transformer over patches that start where the next value is hard to foresee.

Shapes and units are those of models.base.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from models._extras import needing_torch
from models._torch_model import TorchForecaster, changes

BOUNDARIES = ("quantile", "dual", "fixed")


@dataclass(kw_only=True)
class EntroPE(TorchForecaster):
    """A transformer over patches that begin where the next state is hard to foresee (EntroPE).

    x(t+h) = x(t) + s(h) · (W z(t))(h) for h = 1 … `horizon`, then the next such block. s(h) is the
    root mean square change of each state in h intervals. z comes from the last `memory` states in
    three steps. A small causal transformer, trained first and then frozen, predicts in which of
    `bins` equal bins each value of x(t+1) lies; H(t) = -Σ p log p is the entropy of that
    prediction, summed over channels. Patches start where H is high: `boundaries` "quantile" starts
    one at t+1 where H(t) is above the `level` quantile of the window, "dual" where the rise H(t) -
    H(t-1) is above its quantile as well, "fixed" never; and after `max_patch` times. Tokens, W
    [x(t), dx(t)] of each time, pass a causal block, patches gather the maximum of their tokens and
    attend to these (with `own_tokens` False also to earlier ones), `layers` blocks let patches hear
    each other, tokens hear their patch and those before, and the newest token gives the forecast.

    With `independent` each channel is a sequence of its own, with patches of its own; `tokens`
    embeds the bins, and not the values; `normalised` takes the mean and the standard deviation from
    each window (RevIN). Adam makes `updates` steps on the bins, on forecasts of one block and on
    runs of `blocks` blocks, with gradients through the whole run. `checks`, `seconds` and the rest
    are those of `TorchForecaster`; the bins have no checks.

    60,000 parameters by default in 3 dimensions, and half as many for the bins; time: updates ·
    batch · memory · parameters. On 6000 points of Lorenz (another trajectory than the suites') it
    follows 1.3 and 1.6 Lyapunov times, medians of 40 windows from two seeds, after some 50 s of one
    core; with fixed patches 1.6 after 32 s (one seed), so entropies show no gain there; with 200,
    1000 and 100 updates, 80 s, 1.4 in the mean of three seeds, and without the last of these 1.1.
    With `memory` 96 and `horizon` 32, nearer to the paper, 1.0 after 241 s, in an earlier
    measurement. LSTM follows 3.3, NVAR and reservoirs more than 20. A window teaches
    one block only, so it learns slowly. It should win where quiet and eventful times alternate and
    memories are long; that is expected, not measured.

    The preset `cpu` makes two fifths of the updates: 0.5 on Lorenz, one seed, 26 s.

    Source: Abeywickrama et al., arXiv 2509.26157. The preset `tokens` sees what is published there:
    bins, each channel and each window by itself. Its window and sizes are those of the default, and
    what harms the code behind the paper is mended: bins cover the values that they are applied to
    (there, what is beyond some 1.6 deviations is clipped), entropies are those of one window, and
    places without a patch are heard by nobody. Other than there, a patch's position is its time,
    and the head reads the newest token and not all of them.
    """

    memory: int = 24
    horizon: int = 8
    width: int = 32
    heads: int = 4
    layers: int = 2
    boundaries: str = "quantile"
    level: float = 0.8
    max_patch: int = 6
    bins: int = 64
    independent: bool = False
    tokens: bool = False
    own_tokens: bool = True
    normalised: bool = False
    blocks: int = 2
    updates: tuple[int, int, int] = (150, 600, 60)
    batch: int = 32
    rates: tuple[float, float, float] = (3e-3, 4e-3, 1e-3)
    checks: int = 5

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "cpu": {"updates": (60, 250, 25)},
            "tokens": {
                "bins": 251,
                "independent": True,
                "tokens": True,
                "own_tokens": False,
                "normalised": True,
            },
        }
    )

    def __post_init__(self) -> None:
        if self.boundaries not in BOUNDARIES:
            known = ", ".join(BOUNDARIES)
            raise ValueError(f"boundaries is one of {known}, got {self.boundaries!r}")
        if not 0 <= self.level < 1:
            raise ValueError(f"level is that of a quantile, in [0, 1), got {self.level!r}")
        if self.max_patch < 1:
            raise ValueError(f"max_patch is a number of steps and at least 1, got {self.max_patch}")

    def _stages(self) -> list[dict[str, Any]]:
        windows = (self.memory, *(self.memory + n * self.horizon for n in (1, self.blocks)))
        stages = [
            {"window": window, "updates": updates, "batch": self.batch, "rate": rate}
            for window, updates, rate in zip(windows, self.updates, self.rates, strict=True)
        ]
        # no free run judges the entropy model, for the forecaster is not trained yet
        bins = stages[0] | {"loss": "cross_entropy", "trains": "entropy.", "checked": False}
        forecasts = [
            stage | {"loss": "free_running", "trains": "forecaster."} for stage in stages[1:]
        ]
        return forecasts if self.boundaries == "fixed" else [bins, *forecasts]

    def _context(self) -> int:
        return self.memory

    def _network(self, problem: Any) -> Any:
        networks = needing_torch("_entrope_networks")
        channels = networks.Channels(self.independent, self.normalised)
        cuts = networks.Cuts(self.boundaries, self.level, self.max_patch)
        values = channels.examples(problem.train, self.memory)
        entropy = networks.EntropyModel(values, self.bins, self.width, self.heads)
        if self.tokens:
            embed = networks.Bins(values, self.bins, self.width)
        else:
            embed = networks.WithDifferences(values, self.width)
        forecaster = networks.PatchForecaster(
            embed,
            self.horizon,
            most=cuts.most(self.memory),
            heads=self.heads,
            layers=self.layers,
            own_tokens=self.own_tokens,
        )
        scale = changes(problem.train, self.horizon)
        return networks.EntroPENetwork(entropy, forecaster, cuts, channels, self.memory, scale)

    @classmethod
    def small(cls) -> "EntroPE":
        return cls(
            memory=12,
            horizon=40,
            width=8,
            heads=2,
            layers=1,
            max_patch=4,
            bins=8,
            updates=(5, 10, 2),
            batch=8,
            checks=1,
        )
