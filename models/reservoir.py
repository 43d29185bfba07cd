"""Next-generation reservoir computing (NVAR) and the echo state network (ESN).

Both are a fixed nonlinear memory of the past with a linear readout that is fitted by ridge
regression, and both forecast by feeding their output back. They differ in the memory: NVAR writes
down the monomials of delayed states, ESN lets a random recurrent network find its own features.

Hyperparameters in the plural list candidates, from which validation free runs choose
(models._tuning); one candidate fixes them. Ridges are absolute, as in the literature, for features
of unit mean square: |error|² + ridge |weights|². Shapes and units are those of models.base.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from models._monomials import Library, PolynomialMap
from models._network import DYNAMICS, Network, ResumedRun
from models._regression import RIDGES, Regression
from models._tuning import (
    SCOUTING_ROWS,
    FreeRuns,
    best_on_continuation,
    best_on_free_runs,
    free_runs,
    ranked_on_free_runs,
    split,
)
from models.base import Differentiable, Forecast, States, Tangents, Trajectories, Windows

# (taps, stride) that NVAR tries: the state alone, two states, and memories of up to 23 steps.
DELAYS = ((1, 1), (2, 1), (3, 2), (4, 1), (4, 4), (6, 2), (6, 4), (12, 2))
ORDERS = tuple(tuple(range(2, degree + 1)) for degree in (1, 2, 3, 4, 5, 6, 8, 10, 12))


@dataclass(kw_only=True)
class NVAR(Differentiable):
    """Next-generation reservoir computing (Gauthier, Bollt, Griffith & Barbosa 2021).

    x(t+1) = x(t) + W p(x(t), x(t - s), …, x(t - (k-1) s)), where p holds a constant, the delayed
    states and all their monomials of the `orders`, for `delays` (k, s). Libraries above `limit`
    monomials are not tried. It wins where the equations are smooth and every state is observed
    without noise: with k = 1 and a high order the library nearly contains the flow map. It loses on
    steep or discontinuous right-hand sides, where a polynomial needs ever more terms, and it may
    diverge where training data never were. C(k dim + order, order) · dim fitted numbers; the
    regression costs rows · monomials², in blocks of rows whose size bounds its memory.
    """

    delays: tuple[tuple[int, int], ...] = DELAYS
    orders: tuple[tuple[int, ...], ...] = ORDERS
    ridges: tuple[float, ...] = RIDGES
    constant: bool = True
    increment: bool = True  # the ridge pulls towards persistence; False: towards zero
    limit: int = 500
    raw_units: bool = False
    by_continuation: bool = False  # choose delays as studies do that split one series

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "tuned": {},
            # The benchmark of Gilpin (2023) calls nVAR what is a linear model: order 1.
            "gilpin2023": {
                "delays": ((2, 1), (5, 1), (15, 1), (30, 1), (60, 1), (120, 1)),
                "orders": ((),),
                "ridges": (1e-4,),
                "increment": False,
                "limit": 2000,
                "raw_units": True,
                "by_continuation": True,
            },
            # Lorenz63 in Gauthier et al. (2021), who fit 400 points in raw units.
            "gauthier2021": {
                "delays": ((2, 1),),
                "orders": ((2,),),
                "ridges": (2.5e-6,),
                "raw_units": True,
            },
        }
    )

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        fit_on, held_out = split(train, validation)
        context = min(150, held_out.shape[1] // 3)
        runs = free_runs(held_out, context=context, raw_units=self.raw_units)
        delays = self.delays
        every_row = fit_on.shape[0] * fit_on.shape[1]
        if self.by_continuation:
            found, _ = best_on_continuation(
                lambda seen: self._trials(seen, runs, delays, every_row),
                PolynomialMap.run,
                held_out,
            )
            delays = ((found["taps"], found["stride"]),)
        if len(delays) > 1:
            scouted = self._trials(fit_on, runs, delays, SCOUTING_ROWS)
            found, _ = best_on_free_runs(scouted, PolynomialMap.run, runs)
            delays = ((found["taps"], found["stride"]),)
        trials = self._trials(fit_on, runs, delays, every_row)
        self.chosen_, self.map_ = best_on_free_runs(trials, PolynomialMap.run, runs)
        self.context_needed_ = self.context_used_ = self.map_.library.memory
        self.parameters_ = int(np.count_nonzero(self.map_.weights))

    def _trials(
        self, train: Trajectories, runs: FreeRuns, delays: Sequence[tuple[int, int]], most_rows: int
    ) -> Iterator[tuple[dict[str, Any], "PolynomialMap"]]:
        dim, longest = train.shape[2], min(runs.contexts.shape[1], train.shape[1] - 1)
        for taps, stride in delays:
            all_orders = [
                orders
                for orders in self.orders
                if comb(taps * dim + max((1, *orders)), taps * dim) <= self.limit
            ]
            if not all_orders or (taps - 1) * stride + 1 > longest:
                continue
            library = Library.build(dim, taps, stride, max(max((1, *o)) for o in all_orders))
            regression = Regression.of_blocks(
                (features, following - now if self.increment else following)
                for features, now, following in library.blocks(train, most_rows)
            )
            for orders in all_orders:
                used = library.of_orders({1, *orders} | ({0} if self.constant else set()))
                for ridge, weights in regression.among(used).solutions(self.ridges):
                    chosen = {"taps": taps, "stride": stride, "orders": orders, "ridge": ridge}
                    yield chosen, PolynomialMap.of(library, used, weights, self.increment)

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return self.map_.run(context, horizon)

    def _state(self, context: Windows) -> States:
        remembered = context[:, -self.map_.library.memory :]
        return remembered.reshape(len(context), -1)

    def _advance(self, state: States, tangents: Tangents) -> tuple[States, Tangents]:
        from models._reservoir_loops import polynomial_tangent

        library = self.map_.library
        return polynomial_tangent(
            self.map_.weights,
            library.parents,
            library.variables,
            library.taps,
            library.stride,
            np.ascontiguousarray(state),
            np.ascontiguousarray(tangents),
        )

    def settled(self) -> "NVAR":
        chosen = self.chosen_
        return replace(
            self,
            delays=((chosen["taps"], chosen["stride"]),),
            orders=(chosen["orders"],),
            ridges=(chosen["ridge"],),
            by_continuation=False,
        )

    @classmethod
    def small(cls) -> "NVAR":
        return cls(delays=((1, 1), (2, 1)), limit=100)


@dataclass(kw_only=True)
class ESN(Differentiable):
    """Echo state network (Jaeger 2001): a random recurrent network with a trained readout.

    h(t) = (1 - leak) h(t-1) + leak tanh(W h(t-1) + W_in x(t) + b),  x(t+1) = x(t) + W_out φ(t),
    φ = [h with every second unit squared; x; 1]. W is sparse with `degree` inputs a unit and
    spectral radius `radius`; W_in and b are uniform in ±input_scale and ±bias_scale; the first
    `washout` states are not learned from. Everything random comes from the seed.

    (units + dim + 1) · dim fitted numbers. The regression costs rows · units² for each of two
    candidates that are fitted in full, and the memory of a block of rows, however long the data.
    It wins where the state is partly observed or the equations are not polynomial; short contexts
    cost it, because the network must first forget that it started at rest.
    """

    units: int = 500
    dynamics: tuple[tuple[float, float, float, float], ...] = DYNAMICS
    ridges: tuple[float, ...] = RIDGES
    degree: int = 6
    input_connectivity: float = 1.0
    squares: bool = True
    reads_input: bool = True
    increment: bool = True
    washout: int = 100
    scouts: int = 200
    raw_units: bool = False
    by_continuation: bool = False  # choose dynamics as studies do that split one series

    stochastic: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "tuned": {},
            # Gilpin (2023): inputs of ±1 there, uniform ones of the same variance here. Leaks up to
            # 1.1 were tried there; above 1 is not a leak.
            "gilpin2023": {
                "units": 500,
                "dynamics": tuple(
                    (0.99, leak, 3**0.5, 0.0) for leak in (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
                ),
                "ridges": (1e-4,),
                "scouts": 500,
                "degree": 50,
                "input_connectivity": 0.2,
                "squares": False,
                "reads_input": False,
                "increment": False,
                "raw_units": True,
                "by_continuation": True,
            },
        }
    )

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        fit_on, held_out = split(train, validation)
        context = min(self.washout, held_out.shape[1] // 3)
        runs = free_runs(held_out, context=context, raw_units=self.raw_units)
        rng = np.random.default_rng(seed)
        dynamics = self.dynamics
        every_row = fit_on.shape[0] * fit_on.shape[1]
        if self.by_continuation:
            found, _ = best_on_continuation(
                lambda seen: self._trials(seen, dynamics, self.units, every_row, rng),
                Network.run,
                held_out,
            )
            dynamics = (found["dynamics"],)
        if len(dynamics) > 1:
            scouts = min(self.units, self.scouts)
            scouted = self._trials(fit_on, dynamics, scouts, SCOUTING_ROWS, rng)
            ranked = ranked_on_free_runs(scouted, ResumedRun(), runs)
            # The best two: which of them is best changes with the size and the draw.
            dynamics = tuple(dict.fromkeys(chosen["dynamics"] for chosen, _ in ranked))[:2]
        trials = self._trials(fit_on, dynamics, self.units, every_row, rng)
        self.chosen_, self.network_ = best_on_free_runs(trials, ResumedRun(), runs)
        self.parameters_ = self.network_.readout.size

    def _trials(
        self,
        train: Trajectories,
        dynamics: Sequence[tuple[float, float, float, float]],
        units: int,
        most_rows: int,
        rng: np.random.Generator,
    ) -> Iterator[tuple[dict[str, Any], "Network"]]:
        dim, washout = train.shape[2], min(self.washout, train.shape[1] // 3)
        at_rest = Network.random(
            units, dim, self.degree, self.input_connectivity, self.squares, rng
        )
        used = np.arange(units + dim + 1)
        if not self.reads_input:
            used = np.delete(used, np.s_[units : units + dim])
        for radius, leak, input_scale, bias_scale in dynamics:
            network = at_rest.scaled(radius, leak, input_scale, bias_scale)
            regression = Regression.of_blocks(
                (features, following - now if self.increment else following)
                for features, now, following in network.blocks(train, washout, most_rows)
            )
            for ridge, weights in regression.among(used).solutions(self.ridges):
                chosen = {"dynamics": (radius, leak, input_scale, bias_scale), "ridge": ridge}
                yield chosen, network.reading(used, weights, self.increment)

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return self.network_.run(context, horizon)

    def _state(self, context: Windows) -> States:
        return self.network_.state(context)

    def _advance(self, state: States, tangents: Tangents) -> tuple[States, Tangents]:
        return self.network_.advance(state, tangents)

    def settled(self) -> "ESN":
        chosen = self.chosen_
        return replace(
            self,
            dynamics=(chosen["dynamics"],),
            ridges=(chosen["ridge"],),
            by_continuation=False,
        )

    @classmethod
    def small(cls) -> "ESN":
        return cls(units=60, washout=30)
