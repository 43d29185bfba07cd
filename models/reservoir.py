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
from itertools import combinations_with_replacement
from math import comb
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float, Int

from models._regression import Regression
from models._tuning import FreeRuns, best_on_free_runs, free_runs, ranked_on_free_runs, split
from models.base import DIVERGED, Forecast, Forecaster, Trajectories, Windows

# (taps, stride) that NVAR tries: the state alone, two states, and memories of up to 23 steps.
DELAYS = ((1, 1), (2, 1), (3, 2), (4, 1), (4, 4), (6, 2), (6, 4), (12, 2))
ORDERS = tuple(tuple(range(2, degree + 1)) for degree in (1, 2, 3, 4, 5, 6, 8, 10, 12))
RIDGES = (1e-18, 1e-15, 1e-12, 1e-9, 1e-6, 1e-3, 1.0, 1e3)
SCOUTING_ROWS = 2000


@dataclass(kw_only=True)
class NVAR(Forecaster):
    """Next-generation reservoir computing (Gauthier, Bollt, Griffith & Barbosa 2021).

    x(t+1) = x(t) + W p(x(t), x(t - s), …, x(t - (k-1) s)), where p holds a constant, the delayed
    states and all their monomials of the `orders`, for `delays` (k, s). Libraries above `limit`
    monomials are not tried. It wins where the equations are smooth and every state is observed
    without noise: with k = 1 and a high order the library nearly contains the flow map. It loses on
    steep or discontinuous right-hand sides, where a polynomial needs ever more terms, and it may
    diverge where training data never were.
    """

    delays: tuple[tuple[int, int], ...] = DELAYS
    orders: tuple[tuple[int, ...], ...] = ORDERS
    ridges: tuple[float, ...] = RIDGES
    constant: bool = True
    increment: bool = True  # the ridge pulls towards persistence; False: towards zero
    limit: int = 500

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
            },
            # Lorenz63 in Gauthier et al. (2021), who fit 400 points in raw units.
            "gauthier2021": {"delays": ((2, 1),), "orders": ((2,),), "ridges": (2.5e-6,)},
        }
    )

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        fit_on, held_out = split(train, validation)
        runs = free_runs(held_out, context=min(150, held_out.shape[1] // 3))
        delays = self.delays
        if len(delays) > 1:
            scouted = self._trials(fit_on, runs, delays, SCOUTING_ROWS)
            found, _ = best_on_free_runs(scouted, PolynomialMap.run, runs)
            delays = ((found["taps"], found["stride"]),)
        trials = self._trials(fit_on, runs, delays, fit_on.shape[0] * fit_on.shape[1])
        self.chosen_, self.map_ = best_on_free_runs(trials, PolynomialMap.run, runs)
        self.context_needed_ = self.context_used_ = self.map_.library.memory

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
            features, now, following = library.rows(train, most_rows)
            regression = Regression.of(features, following - now if self.increment else following)
            for orders in all_orders:
                used = library.of_orders({1, *orders} | ({0} if self.constant else set()))
                for ridge, weights in regression.among(used).solutions(self.ridges):
                    chosen = {"taps": taps, "stride": stride, "orders": orders, "ridge": ridge}
                    yield chosen, PolynomialMap.of(library, used, weights, self.increment)

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return self.map_.run(context, horizon)

    @classmethod
    def small(cls) -> Self:
        return cls(delays=((1, 1), (2, 1)), limit=100)


@dataclass(frozen=True)
class Library:
    """All monomials of the delayed states up to a degree, each as its parent times one variable.

    Variable tap · dim + d is coordinate d, tap · stride steps ago. Monomial 0 is the constant, the
    next taps · dim are the variables; degrees ascend.
    """

    dim: int
    taps: int
    stride: int
    parents: Int[np.ndarray, "monomials"]
    variables: Int[np.ndarray, "monomials"]
    degrees: Int[np.ndarray, "monomials"]

    @classmethod
    def build(cls, dim: int, taps: int, stride: int, degree: int) -> Self:
        monomials = [
            powers
            for order in range(degree + 1)
            for powers in combinations_with_replacement(range(taps * dim), order)
        ]
        index = {powers: i for i, powers in enumerate(monomials)}
        return cls(
            dim,
            taps,
            stride,
            parents=np.array([index[powers[:-1]] for powers in monomials]),
            variables=np.array([powers[-1] if powers else 0 for powers in monomials]),
            degrees=np.array([len(powers) for powers in monomials]),
        )

    @property
    def memory(self) -> int:
        return (self.taps - 1) * self.stride + 1

    def of_orders(self, orders: set[int]) -> Int[np.ndarray, "features"]:
        return np.flatnonzero(np.isin(self.degrees, list(orders)))

    def rows(
        self, train: Trajectories, most: int
    ) -> tuple[
        Float[np.ndarray, "rows monomials"],
        Float[np.ndarray, "rows dim"],
        Float[np.ndarray, "rows dim"],
    ]:
        """Monomials, state and next state at evenly spaced times, about `most` of them."""
        cuts = np.lib.stride_tricks.sliding_window_view(train, self.memory + 1, axis=1)
        cuts = cuts.reshape(-1, self.dim, self.memory + 1)
        cuts = cuts[:: -(-len(cuts) // most)]
        past = cuts[:, :, -2 :: -self.stride]  # (rows, dim, taps), the newest first
        inputs = past.transpose(2, 1, 0).reshape(-1, len(cuts))
        monomials = np.ones((len(self.parents), len(cuts)))
        for f in range(1, len(monomials)):
            np.multiply(monomials[self.parents[f]], inputs[self.variables[f]], out=monomials[f])
        return monomials.T, cuts[:, :, -2], cuts[:, :, -1]


@dataclass(frozen=True)
class PolynomialMap:
    """x(t+1) = x(t) + weights^T p(delayed states): what NVAR has learned."""

    library: Library
    weights: Float[np.ndarray, "monomials dim"]  # of the library's first monomials

    @classmethod
    def of(
        cls,
        library: Library,
        used: Int[np.ndarray, "features"],
        weights: Float[np.ndarray, "features dim"],
        increment: bool,
    ) -> Self:
        full = np.zeros((used[-1] + 1, library.dim))
        full[used] = weights
        if not increment:
            full[1 : library.dim + 1] -= np.eye(library.dim)
        return cls(library, full)

    def run(self, context: Windows, horizon: int) -> Forecast:
        from models._reservoir_loops import run_polynomial

        return run_polynomial(
            self.weights,
            self.library.parents,
            self.library.variables,
            np.ascontiguousarray(context[:, -self.library.memory :]),
            self.library.taps,
            self.library.stride,
            horizon,
            DIVERGED,
        )


# (spectral radius, leak, input scale, bias scale) that the ESN tries: hardly any memory and small
# inputs, nearly a polynomial, for smooth equations; longer memory for partly observed states;
# larger inputs, which saturate the units, for equations with edges.
DYNAMICS = (
    (0.1, 1.0, 0.03, 0.3),
    (0.1, 1.0, 0.1, 0.5),
    (0.1, 1.0, 0.3, 1.0),
    (0.4, 1.0, 0.1, 1.0),
    (0.1, 0.4, 0.3, 1.0),
    (0.1, 1.0, 1.0, 1.0),
    (0.1, 1.0, 1.0, 3.0),
    (0.4, 1.0, 1.0, 1.0),
    (0.4, 0.4, 0.1, 0.3),
    (0.4, 0.4, 0.3, 0.3),
    (0.9, 1.0, 0.3, 0.5),
    (0.4, 0.4, 2.5, 1.0),
    (0.1, 0.4, 2.5, 3.0),
    (0.4, 1.0, 2.5, 3.0),
)


@dataclass(kw_only=True)
class ESN(Forecaster):
    """Echo state network (Jaeger 2001): a random recurrent network with a trained readout.

    h(t) = (1 - leak) h(t-1) + leak tanh(W h(t-1) + W_in x(t) + b),  x(t+1) = x(t) + W_out φ(t),
    φ = [h with every second unit squared; x; 1]. W is sparse with `degree` inputs a unit and
    spectral radius `radius`; W_in and b are uniform in ±input_scale and ±bias_scale; the first
    `washout` states are not learned from. Everything random comes from the seed. Time and memory:
    training steps · units² for the regression. It wins where the state is partly observed or the
    equations are not polynomial; short contexts cost it, because the network must first forget
    that it started at rest.
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

    stochastic: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "tuned": {},
            # Gilpin (2023), up to the distributions of the random weights. Leaks up to 1.1 were
            # tried there; above 1 is not a leak.
            "gilpin2023": {
                "units": 500,
                "dynamics": tuple(
                    (0.99, leak, 1.0, 0.0) for leak in (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
                ),
                "ridges": (1e-4,),
                "degree": 50,
                "input_connectivity": 0.2,
                "squares": False,
                "reads_input": False,
                "increment": False,
            },
        }
    )

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        fit_on, held_out = split(train, validation)
        runs = free_runs(held_out, context=min(self.washout, held_out.shape[1] // 3))
        rng = np.random.default_rng(seed)
        dynamics = self.dynamics
        if len(dynamics) > 1:
            scouts = min(self.units, self.scouts)
            scouted = self._trials(fit_on, dynamics, scouts, SCOUTING_ROWS, rng)
            ranked = ranked_on_free_runs(scouted, Network.run, runs)
            # The best two: which of them is best changes with the size and the draw.
            dynamics = tuple(dict.fromkeys(chosen["dynamics"] for chosen, _ in ranked))[:2]
        every_row = fit_on.shape[0] * fit_on.shape[1]
        trials = self._trials(fit_on, dynamics, self.units, every_row, rng)
        self.chosen_, self.network_ = best_on_free_runs(trials, Network.run, runs)

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
            features, now, following = network.rows(train, washout, most_rows)
            regression = Regression.of(features, following - now if self.increment else following)
            for ridge, weights in regression.among(used).solutions(self.ridges):
                chosen = {"dynamics": (radius, leak, input_scale, bias_scale), "ridge": ridge}
                yield chosen, network.reading(used, weights, self.increment)

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return self.network_.run(context, horizon)

    @classmethod
    def small(cls) -> Self:
        return cls(units=60, washout=30)


@dataclass(frozen=True)
class Network:
    """A reservoir and its readout. Unit i hears units sources[i] with weights links[i]."""

    sources: Int[np.ndarray, "units degree"]
    links: Float[np.ndarray, "units degree"]
    input_weights: Float[np.ndarray, "units dim"]
    bias: Float[np.ndarray, "units"]
    leak: float
    squared: np.ndarray  # (units,) bool
    readout: Float[np.ndarray, "features dim"]

    @classmethod
    def random(
        cls,
        units: int,
        dim: int,
        degree: int,
        input_connectivity: float,
        squares: bool,
        rng: np.random.Generator,
    ) -> Self:
        """Spectral radius 1, weights and biases uniform in ±1, no readout."""
        degree = min(degree, units)
        sources = np.stack([rng.choice(units, degree, replace=False) for _ in range(units)])
        links = rng.uniform(-1, 1, (units, degree))
        dense = np.zeros((units, units))
        np.put_along_axis(dense, sources, links, axis=1)
        input_weights = rng.uniform(-1, 1, (units, dim))
        input_weights *= rng.uniform(size=(units, dim)) < input_connectivity
        return cls(
            sources,
            links / np.abs(np.linalg.eigvals(dense)).max(),
            input_weights,
            bias=rng.uniform(-1, 1, units),
            leak=1.0,
            squared=(np.arange(units) % 2 == 0) & squares,
            readout=np.zeros((units + dim + 1, dim)),
        )

    def scaled(
        self, radius: float, leak: float, input_scale: float, bias_scale: float
    ) -> "Network":
        return replace(
            self,
            links=radius * self.links,
            input_weights=input_scale * self.input_weights,
            bias=bias_scale * self.bias,
            leak=leak,
        )

    def reading(
        self,
        used: Int[np.ndarray, "used"],
        weights: Float[np.ndarray, "used dim"],
        increment: bool,
    ) -> "Network":
        """The same reservoir with a fitted readout, expressed as a change of x."""
        units, dim = self.input_weights.shape
        readout = np.zeros_like(self.readout)
        readout[used] = weights
        if not increment:
            readout[units : units + dim] -= np.eye(dim)
        return replace(self, readout=readout)

    def rows(
        self, train: Trajectories, washout: int, most: int
    ) -> tuple[
        Float[np.ndarray, "rows features"],
        Float[np.ndarray, "rows dim"],
        Float[np.ndarray, "rows dim"],
    ]:
        """φ, state and next state at times of `train` after the washout, about `most` of them.

        A long trajectory is cut into segments that are driven side by side, each started at rest
        `washout` steps early: the reservoir forgets its start, and lanes are faster than one line.
        """
        from models._reservoir_loops import drive

        count, times, dim = train.shape
        usable = times - 1 - washout
        per_trajectory = max(1, min(16 // count, usable // (4 * washout + 1)))
        length = usable // per_trajectory
        first = times - 1 - per_trajectory * length  # at least washout
        cuts = np.lib.stride_tricks.sliding_window_view(train, washout + length + 1, axis=1)
        cuts = np.moveaxis(cuts[:, first - washout :: length], -1, 2)
        segments = cuts.reshape(-1, washout + length + 1, dim)
        states = drive(
            self.sources,
            self.links,
            self.input_weights,
            self.bias,
            self.leak,
            np.ascontiguousarray(segments[:, :-1]),
            washout,
        )
        states[self.squared] **= 2
        now = segments[:, washout:-1].transpose(2, 1, 0).reshape(dim, -1)
        following = segments[:, washout + 1 :].transpose(2, 1, 0).reshape(dim, -1)
        features = np.concatenate([states.reshape(len(states), -1), now, np.ones_like(now[:1])])
        thin = -(-features.shape[1] // most)
        return features.T[::thin], now.T[::thin], following.T[::thin]

    def run(self, context: Windows, horizon: int) -> Forecast:
        from models._reservoir_loops import run_reservoir

        return run_reservoir(
            self.sources,
            self.links,
            self.input_weights,
            self.bias,
            self.leak,
            self.readout,
            self.squared,
            np.ascontiguousarray(context),
            horizon,
            DIVERGED,
        )
