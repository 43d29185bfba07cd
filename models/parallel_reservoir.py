"""Local reservoirs side by side for extended systems: coordinates in a ring, each close to few.

Coordinates are taken in the order given, the last beside the first. Shapes and units are those of
models.base.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from models._network import DYNAMICS, Hidden, Network, ResumedRun
from models._regression import RIDGES, Regression
from models._tuning import (
    SCOUTING_ROWS,
    FreeRuns,
    best_on_free_runs,
    free_runs,
    ranked_on_free_runs,
    split,
)
from models.base import (
    DIVERGED,
    Differentiable,
    Forecast,
    States,
    Tangents,
    Trajectories,
    Windows,
)


@dataclass(kw_only=True)
class ParallelESN(Differentiable):
    """Parallel echo state networks (Pathak, Hunt, Girvan, Lu & Ott 2018).

    The ring is cut into groups of q neighbouring coordinates. A group's reservoir of `units` hears
    those and `overlap` more on either side, u_g, and forecasts its own q:
    h_g(t) = (1 - leak) h_g(t-1) + leak tanh(W h_g(t-1) + W_in u_g(t) + b),
    x_g(t+1) = x_g(t) + W_out φ(h_g, u_g), all else as in ESN. W, W_in and b are the same for all
    groups. So is W_out if `shared`: the equations are then taken not to know the place, and every
    group is an example for it. `neighbourhoods` are (q, overlap): q is lowered to a divisor of the
    dimension, and where a group would hear everything, one group does: an ESN of `units`.

    (units + q + 2 overlap + 1) · dim fitted numbers, 1/groups of it if shared; the regressions cost
    rows · groups · units² either way, as one ESN of units · √groups does. It wins in extended
    systems: features of a few neighbours stay dense where those of all coordinates are lost in high
    dimension. Of Lorenz96 with 20 coordinates and f = 20, from 6000 points, it forecast 3.9
    Lyapunov times (18 s to fit), the ESN 1.0 and NVAR 1.8 (10 s each). It loses where coordinates
    far apart in the list act on each other. A shared readout needs fewer data (1000 points: 3.9
    against 3.0 Lyapunov times), but all coordinates in one unit: standardised one by one, their
    deviations estimated from such data differ by 5 to 12 %, and it forecast 0.7; validation then
    chooses readouts of their own.
    Defaults were chosen on Lorenz96 of 20. With 40 coordinates and f = 8, from 10 000 points, they
    forecast 2.8 Lyapunov times, an ESN of 1000 units 0.2. They are poor on a finely sampled field:
    the Kuramoto-Sivashinsky equation (L = 22, 64 points, 10 000 samples) 0.3, the ESN 1.0. Its
    neighbours are nearly equal, and only large ridges run freely without diverging: 500 units with
    (8, 16) got 1.0, with every second point and (4, 8) 1.3, far from the 4 to 8 that are published
    for 5000 units and longer data.
    Source: Physical Review Letters 120, 024102 (2018).
    """

    units: int = 200
    neighbourhoods: tuple[tuple[int, int], ...] = ((2, 2), (1, 2), (2, 4))
    shared: tuple[bool, ...] = (True, False)
    dynamics: tuple[tuple[float, float, float, float], ...] = DYNAMICS
    ridges: tuple[float, ...] = RIDGES
    degree: int = 6
    squares: bool = True
    washout: int = 100
    scouts: int = 100

    stochastic: ClassVar[bool] = True

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        fit_on, held_out = split(train, validation)
        runs = free_runs(held_out, context=min(self.washout, held_out.shape[1] // 3))
        rng = np.random.default_rng(seed)
        places = [Groups.of(train.shape[2], *sizes) for sizes in self.neighbourhoods]
        places = list(dict.fromkeys(places))
        dynamics = list(self.dynamics)
        if len(dynamics) > 1:
            dynamics = [
                chosen["dynamics"]
                for chosen, _ in self._scouted(fit_on, places[:1], dynamics, runs, rng)
            ]
            dynamics = list(dict.fromkeys(dynamics))[:2]  # as in ESN: which is best depends on size
        if len(places) > 1:
            ranked = self._scouted(fit_on, places, dynamics[:1], runs, rng)
            places = [ranked[0][1].groups]
        every_row = fit_on.shape[0] * fit_on.shape[1]
        trials = self._trials(
            fit_on, places, dynamics, self.units, every_row, self.shared, self.ridges, rng
        )
        self.chosen_, self.networks_ = best_on_free_runs(trials, ResumedRun(), runs)
        self.parameters_ = self.networks_.readouts.size

    def _scouted(
        self,
        train: Trajectories,
        places: Sequence["Groups"],
        dynamics: Sequence[tuple[float, float, float, float]],
        runs: FreeRuns,
        rng: np.random.Generator,
    ) -> list[tuple[dict[str, Any], "LocalNetworks"]]:
        scouts = min(self.units, self.scouts)
        # Whether readouts are shared is not asked here, and ridges are asked for coarsely: free
        # runs are two thirds of the cost.
        trials = self._trials(
            train, places, dynamics, scouts, SCOUTING_ROWS, self.shared[-1:], self.ridges[::2], rng
        )
        return ranked_on_free_runs(trials, ResumedRun(), runs)

    def _trials(
        self,
        train: Trajectories,
        places: Sequence["Groups"],
        dynamics: Sequence[tuple[float, float, float, float]],
        units: int,
        most_rows: int,
        shared: Sequence[bool],
        ridges: Sequence[float],
        rng: np.random.Generator,
    ) -> Iterator[tuple[dict[str, Any], "LocalNetworks"]]:
        washout = min(self.washout, train.shape[1] // 3)
        for groups in places:
            at_rest = Network.random(units, groups.heard, self.degree, 1.0, self.squares, rng)
            for radius, leak, input_scale, bias_scale in dynamics:
                network = at_rest.scaled(radius, leak, input_scale, bias_scale)
                parts = [
                    Regression.of_blocks(
                        (features, (following - now)[:, groups.own])
                        for features, now, following in network.blocks(
                            train[:, :, neighbours], washout, most_rows
                        )
                    )
                    for neighbours in groups.neighbours
                ]
                for one_readout in shared if groups.count > 1 else (True,):
                    solved = [Regression.joined(parts)] if one_readout else parts
                    solutions = [part.solutions(ridges) for part in solved]
                    for readouts in zip(*solutions, strict=True):  # the same ridge for all
                        chosen = {
                            "group": groups.size,
                            "overlap": groups.overlap,
                            "shared": one_readout,
                            "dynamics": (radius, leak, input_scale, bias_scale),
                            "ridge": readouts[0][0],
                        }
                        weights = np.stack([weights for _, weights in readouts])
                        yield chosen, LocalNetworks(network, groups, weights)

    def _state(self, context: Windows) -> States:
        return self.networks_.state(context)

    def _advance(self, state: States, tangents: Tangents) -> tuple[States, Tangents]:
        return self.networks_.advance(state, tangents)

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return self.networks_.run(context, horizon)

    @classmethod
    def small(cls) -> "ParallelESN":
        return cls(units=30, neighbourhoods=((1, 1),), dynamics=DYNAMICS[:2], washout=30, scouts=20)


@dataclass(frozen=True)
class Groups:
    """Who forecasts what: `count` groups of `size` neighbours, who hear `overlap` more a side."""

    dim: int
    size: int
    overlap: int

    @classmethod
    def of(cls, dim: int, size: int, overlap: int) -> "Groups":
        """The nearest to what is asked for that a ring of `dim` coordinates allows."""
        size = max(divisor for divisor in range(1, min(size, dim) + 1) if dim % divisor == 0)
        if size + 2 * overlap >= dim:
            return cls(dim, dim, 0)
        return cls(dim, size, overlap)

    @property
    def count(self) -> int:
        return self.dim // self.size

    @property
    def heard(self) -> int:
        return self.size + 2 * self.overlap

    @property
    def own(self) -> slice:
        """Which of the coordinates that a group hears are its own."""
        return slice(self.overlap, self.overlap + self.size)

    @property
    def neighbours(self) -> Int[np.ndarray, "groups heard"]:
        """The coordinates that each group hears, in order."""
        first = np.arange(0, self.dim, self.size) - self.overlap
        return (first[:, None] + np.arange(self.heard)) % self.dim


@dataclass(frozen=True)
class LocalNetworks:
    """One reservoir, driven by each group's neighbourhood; a readout a group, or one of all."""

    network: Network  # its own readout is not used
    groups: Groups
    readouts: Float[np.ndarray, "readouts features size"]

    def run(self, context: Windows, horizon: int) -> Forecast:
        return self.resumed(self.started(context), context[:, -1:], horizon)

    @property
    def weights(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
        return self.network.weights

    def started(self, context: Windows) -> Hidden:
        """The reservoirs as the context's last state but one left them."""
        before = context[:, :-1]
        return np.stack([self.network.driven(before[:, :, k]) for k in self.groups.neighbours])

    def resumed(self, hidden: Hidden, newest: Windows, horizon: int) -> Forecast:
        """The run that goes on from `newest`, unheard as yet; `hidden` becomes where it ends."""
        from models._reservoir_loops import run_reservoirs

        return run_reservoirs(
            *self.network.weights,
            self.readouts,
            self.network.squared,
            self.groups.neighbours,
            self.groups.overlap,
            hidden,
            np.ascontiguousarray(newest),
            horizon,
            DIVERGED,
        )

    def state(self, context: Windows) -> States:
        """The reservoirs of all groups as all but the last state left them, and that state."""
        hidden = self.started(context).reshape(-1, len(context))
        return np.concatenate([hidden.T, context[:, -1]], axis=1)

    def advance(self, state: States, tangents: Tangents) -> tuple[States, Tangents]:
        """One step of the closed loop from such a state, and its Jacobian times the tangents."""
        from models._reservoir_loops import reservoirs_tangent

        return reservoirs_tangent(
            *self.network.weights,
            self.readouts,
            self.network.squared,
            self.groups.neighbours,
            self.groups.overlap,
            np.ascontiguousarray(state),
            np.ascontiguousarray(tangents),
        )
