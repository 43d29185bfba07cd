"""Hybrid echo state network: a reservoir that corrects a known, imperfect model of the system.

Shapes and units are those of models.base.
"""

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from models._network import DYNAMICS, Network
from models._regression import RIDGES, Regression
from models._tuning import (
    SCOUTING_ROWS,
    best_on_free_runs,
    free_runs,
    ranked_on_free_runs,
    split,
)
from models.base import DIVERGED, Forecast, Forecaster, Trajectories, Windows

States = Float[np.ndarray, "rows dim"]
Knowledge = Callable[[np.ndarray, float], np.ndarray]


@dataclass(kw_only=True)
class HybridESN(Forecaster):
    """Hybrid reservoir computing (Pathak, Wikner, Fussell, Chandra, Hunt, Girvan & Ott 2018).

    x(t+1) = k(x(t)) + W_out [h with every second unit squared; x; k(x); 1], where k is the known
    model and the reservoir h is driven by [x; k(x)] (see ESN in models.reservoir). The ridge pulls
    towards k, so data that teach nothing leave the known model as it is.

    `knowledge` names k as "package.module:function": called as function(states, dt) with states
    (rows, dim), it returns them `dt` later, in the system's units. `mean` and `std` (one number a
    coordinate) are those by which the data were standardised; without them, they were not. Without
    `knowledge`, k is persistence, which makes an ESN. The function is imported and run: name only
    what you trust.

    (units + 2 dim + 1) · dim fitted numbers; the regression costs rows · units², a step of the
    forecast a call of k (once for all windows). It wins where equations are known but for a few
    per cent or a missing term, and data are few: with 6000 clean points an ESN of 500 units needs
    no help on Lorenz. It is no use where k has another attractor altogether: ridge and validation
    then leave a plain ESN.
    Source: Chaos 28, 041101 (2018), where W_out reads k(x) itself and the ridge pulls to zero.
    """

    knowledge: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    units: int = 300
    dynamics: tuple[tuple[float, float, float, float], ...] = DYNAMICS
    ridges: tuple[float, ...] = RIDGES
    degree: int = 6
    squares: bool = True
    washout: int = 100
    scouts: int = 150

    stochastic: ClassVar[bool] = True

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        fit_on, held_out = split(train, validation)
        runs = free_runs(held_out, context=min(self.washout, held_out.shape[1] // 3))
        rng = np.random.default_rng(seed)
        known = self._known(train.shape[2], dt)
        dynamics = self.dynamics
        if len(dynamics) > 1:
            scouts = min(self.units, self.scouts)
            scouted = self._trials(fit_on, known, dynamics, scouts, SCOUTING_ROWS, rng)
            ranked = ranked_on_free_runs(scouted, Corrected.run, runs)
            dynamics = tuple(dict.fromkeys(chosen["dynamics"] for chosen, _ in ranked))[:2]
        every_row = fit_on.shape[0] * fit_on.shape[1]
        trials = self._trials(fit_on, known, dynamics, self.units, every_row, rng)
        self.chosen_, self.corrected_ = best_on_free_runs(trials, Corrected.run, runs)
        self.parameters_ = self.corrected_.readout.size

    def _known(self, dim: int, dt: float) -> "Known":
        mean = np.zeros(dim) if self.mean is None else np.array(self.mean, dtype=float)
        std = np.ones(dim) if self.std is None else np.array(self.std, dtype=float)
        if mean.shape != (dim,) or std.shape != (dim,) or not (std > 0).all():
            raise ValueError(
                f"mean and std are {dim} numbers each, one a coordinate, and std is positive: got "
                f"{self.mean} and {self.std}"
            )
        return Known(_imported(self.knowledge), mean, std, dt)

    def _trials(
        self,
        train: Trajectories,
        known: "Known",
        dynamics: Sequence[tuple[float, float, float, float]],
        units: int,
        most_rows: int,
        rng: np.random.Generator,
    ) -> Iterator[tuple[dict[str, Any], "Corrected"]]:
        dim, washout = train.shape[2], min(self.washout, train.shape[1] // 3)
        at_rest = Network.random(units, 2 * dim, self.degree, 1.0, self.squares, rng)
        heard = known.beside(train)
        for radius, leak, input_scale, bias_scale in dynamics:
            network = at_rest.scaled(radius, leak, input_scale, bias_scale)
            regression = Regression.of_blocks(
                (features, following[:, :dim] - now[:, dim:])
                for features, now, following in network.blocks(heard, washout, most_rows)
            )
            for ridge, weights in regression.solutions(self.ridges):
                chosen = {"dynamics": (radius, leak, input_scale, bias_scale), "ridge": ridge}
                yield chosen, Corrected(known, network, np.ascontiguousarray(weights))

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return self.corrected_.run(context, horizon)

    @classmethod
    def small(cls) -> "HybridESN":
        return cls(units=40, washout=30, dynamics=DYNAMICS[:1])


def _imported(reference: str | None) -> Knowledge:
    if reference is None:
        return persistence
    module, _, name = reference.partition(":")
    if not (module and name.isidentifier()):
        raise ValueError(f"knowledge is named as package.module:function, got {reference!r}")
    function = vars(importlib.import_module(module)).get(name)
    if not callable(function):
        raise ValueError(f"{module} has no function {name!r}: knowledge is module:function")
    return function


def persistence(states: np.ndarray, dt: float) -> np.ndarray:
    """The state stays as it is: no knowledge."""
    return states


@dataclass(frozen=True)
class Known:
    """The known model as a map of standardised states."""

    function: Knowledge
    mean: Float[np.ndarray, "dim"]
    std: Float[np.ndarray, "dim"]
    dt: float

    def __call__(self, states: States) -> States:
        # Where the known model itself overflows, the forecast has diverged.
        with np.errstate(over="ignore", invalid="ignore"):
            moved = np.asarray(self.function(self.mean + self.std * states, self.dt), dtype=float)
        if moved.shape != states.shape:
            raise ValueError(
                f"knowledge maps states to states of one shape, got {states.shape} to {moved.shape}"
            )
        return (moved - self.mean) / self.std

    def beside(self, states: Windows) -> Float[np.ndarray, "windows _context twice"]:
        """[x; k(x)] at every time."""
        flat = self(states.reshape(-1, states.shape[2])).reshape(states.shape)
        return np.concatenate([states, flat], axis=2)


@dataclass(frozen=True)
class Corrected:
    """The known model and the reservoir whose readout is added to it."""

    known: Known
    network: Network  # its own readout is not used
    readout: Float[np.ndarray, "features dim"]

    def run(self, context: Windows, horizon: int) -> Forecast:
        """A loop in Python: the known model is a Python function, called once a step."""
        from models._reservoir_loops import read, step

        windows, _, dim = context.shape
        hidden = self.network.driven(self.known.beside(context[:, :-1]))
        field, change = np.empty_like(hidden), np.empty((dim, windows))
        forecast = np.full((windows, horizon, dim), np.nan)
        x = context[:, -1]
        lost = np.zeros(windows, dtype=bool)
        for t in range(horizon):
            moved = self.known(x)
            heard = np.concatenate([x, moved], axis=1).T.copy()
            step(*self.network.weights, heard, hidden, field)
            read(self.readout, self.network.squared, hidden, heard, change)
            x = moved + change.T
            lost |= ~(np.abs(x) < DIVERGED).all(axis=1)  # of NaN too
            if lost.all():
                break
            x = np.where(lost[:, None], 0.0, x)  # goes on as something tame, unseen
            forecast[~lost, t] = x[~lost]
        return forecast
