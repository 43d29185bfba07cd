"""Next-generation reservoir computing (NVAR) and the echo state network (ESN).

Both are a fixed nonlinear memory of the past with a linear readout that is fitted by ridge
regression, and both forecast by feeding their output back. They differ in the memory: NVAR writes
down the monomials of delayed states, ESN lets a random recurrent network find its own features.
Hyperparameters left None are chosen on validation free runs (models._tuning). Shapes and units are
those of models.base; ridges are absolute, as in the literature: |error|² + ridge |weights|².
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import comb
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float, Int

from models._regression import ridge_path
from models._tuning import best_on_free_runs, free_runs, split
from models.base import DIVERGED, Forecast, Forecaster, Trajectories, Windows


@dataclass(kw_only=True)
class NVAR(Forecaster):
    """Next-generation reservoir computing (Gauthier, Bollt, Griffith & Barbosa 2021).

    x(t+1) = x(t) + W p(x(t), x(t - s), …, x(t - (k-1) s)), where p holds a constant, the delayed
    states and all their monomials of the `orders`; k = `taps`, s = `stride`. The library grows as
    (k dim)^order and is limited to `limit` monomials; a fit takes a second. It wins where the
    equations are polynomial and every state is observed without noise, because the library then
    contains nearly the flow map; it loses on steep or discontinuous right-hand sides.
    """

    taps: int | tuple[int, ...] | None = None
    stride: int | None = None
    orders: tuple[int, ...] | None = None
    ridge: float | None = None
    constant: bool = True
    increment: bool = True  # the ridge pulls towards persistence; False: towards zero
    limit: int = 1000

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "tuned": {},
            # The benchmark of Gilpin (2023) calls nVAR what is a linear model: order 1.
            "gilpin2023": {
                "taps": (2, 5, 15, 30, 60, 120),
                "stride": 1,
                "orders": (),
                "ridge": 1e-4,
                "increment": False,
            },
            # Lorenz63 in Gauthier et al. (2021), who fit 400 points in raw units.
            "gauthier2021": {"taps": 2, "stride": 1, "orders": (2,), "ridge": 2.5e-6},
        }
    )

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        fit_on, held_out = split(train, validation)
        runs = free_runs(held_out, context=min(150, held_out.shape[1] // 3))
        self.chosen_, self.map_ = best_on_free_runs(
            self._trials(fit_on, runs.contexts.shape[1]), PolynomialMap.run, runs
        )
        self.context_needed_ = self.context_used_ = self.map_.memory

    def _trials(
        self, train: Trajectories, longest: int
    ) -> Iterator[tuple[dict[str, Any], "PolynomialMap"]]:
        ridges = (1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1.0) if self.ridge is None else (self.ridge,)
        for taps, stride, orders in self._libraries(train.shape[2]):
            library = Library.build(train.shape[2], taps, stride, orders, self.constant)
            if library.memory > longest or library.memory >= train.shape[1]:
                continue
            features, targets = library.rows(train, self.increment)
            for ridge, weights in ridge_path(features, targets, ridges):
                chosen = {"taps": taps, "stride": stride, "orders": orders, "ridge": ridge}
                yield chosen, PolynomialMap.of(library, weights, self.increment)

    def _libraries(self, dim: int) -> Iterator[tuple[int, int, tuple[int, ...]]]:
        match self.taps:
            case None:
                all_taps: tuple[int, ...] = (1, 2, 3, 4, 6, 8)
            case int():
                all_taps = (self.taps,)
            case _:
                all_taps = tuple(self.taps)
        all_orders = ((2,), (2, 3), (2, 3, 4)) if self.orders is None else (self.orders,)
        for taps in all_taps:
            for orders in all_orders:
                if comb(taps * dim + max(orders, default=1), taps * dim) > self.limit:
                    continue
                for stride in (
                    (1, 2, 4) if self.stride is None and taps > 1 else (self.stride or 1,)
                ):
                    yield taps, stride, orders

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return self.map_.run(context, horizon)

    @classmethod
    def small(cls) -> Self:
        return cls(taps=2, orders=(2,))


@dataclass(frozen=True)
class Library:
    """The monomials of the delayed states, each as its parent times one variable.

    Variable tap · dim + d is coordinate d, tap · stride steps ago. Monomial 0 is the constant; all
    monomials up to the highest order are listed, `used` marks those with a weight.
    """

    dim: int
    taps: int
    stride: int
    parents: Int[np.ndarray, "monomials"]
    variables: Int[np.ndarray, "monomials"]
    used: Int[np.ndarray, "features"]

    @classmethod
    def build(
        cls, dim: int, taps: int, stride: int, orders: tuple[int, ...], constant: bool
    ) -> Self:
        width = taps * dim
        monomials = [
            powers
            for order in range(max((1, *orders)) + 1)
            for powers in combinations_with_replacement(range(width), order)
        ]
        index = {powers: i for i, powers in enumerate(monomials)}
        kept = {1, *orders} | ({0} if constant else set())
        return cls(
            dim,
            taps,
            stride,
            parents=np.array([index[powers[:-1]] for powers in monomials]),
            variables=np.array([powers[-1] if powers else 0 for powers in monomials]),
            used=np.array([i for i, powers in enumerate(monomials) if len(powers) in kept]),
        )

    @property
    def memory(self) -> int:
        return (self.taps - 1) * self.stride + 1

    def rows(
        self, train: Trajectories, increment: bool
    ) -> tuple[Float[np.ndarray, "rows features"], Float[np.ndarray, "rows dim"]]:
        """Features and targets at every time of `train` that has a past and a next state."""
        last = train.shape[1] - 1
        inputs = np.stack(
            [
                train[:, self.memory - 1 - tap * self.stride : last - tap * self.stride, d].ravel()
                for tap in range(self.taps)
                for d in range(self.dim)
            ]
        )
        monomials = np.empty((len(self.parents), inputs.shape[1]))
        monomials[0] = 1.0
        for f in range(1, len(self.parents)):
            np.multiply(monomials[self.parents[f]], inputs[self.variables[f]], out=monomials[f])
        targets = train[:, self.memory :]
        if increment:
            targets = targets - train[:, self.memory - 1 : -1]
        return monomials[self.used].T, targets.reshape(-1, self.dim)


@dataclass(frozen=True)
class PolynomialMap:
    """x(t+1) = x(t) + weights^T p(delayed states): what NVAR has learned."""

    library: Library
    weights: Float[np.ndarray, "monomials dim"]

    @classmethod
    def of(
        cls, library: Library, weights: Float[np.ndarray, "features dim"], increment: bool
    ) -> Self:
        full = np.zeros((len(library.parents), library.dim))
        full[library.used] = weights
        if not increment:
            full[1 : library.dim + 1] -= np.eye(library.dim)
        return cls(library, full)

    @property
    def memory(self) -> int:
        return self.library.memory

    def run(self, context: Windows, horizon: int) -> Forecast:
        from models._reservoir_loops import run_polynomial

        return run_polynomial(
            self.weights,
            self.library.parents,
            self.library.variables,
            np.ascontiguousarray(context[:, -self.memory :]),
            self.library.taps,
            self.library.stride,
            horizon,
            DIVERGED,
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
    radius: float | None = None
    leak: float | tuple[float, ...] | None = None
    input_scale: float | None = None
    bias_scale: float = 0.5
    ridge: float | None = None
    degree: int = 6
    input_connectivity: float = 1.0
    squares: bool = True
    reads_input: bool = True
    increment: bool = True
    washout: int = 100

    stochastic: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "tuned": {},
            # Gilpin (2023), up to the distributions of the random weights. Leaks up to 1.1 were
            # tried there; above 1 is not a leak.
            "gilpin2023": {
                "units": 500,
                "radius": 0.99,
                "leak": (0.1, 0.3, 0.5, 0.7, 0.9, 1.0),
                "input_scale": 1.0,
                "bias_scale": 0.0,
                "ridge": 1e-4,
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
        self.chosen_, self.network_ = best_on_free_runs(
            self._trials(fit_on, np.random.default_rng(seed)), Network.run, runs
        )

    def _trials(
        self, train: Trajectories, rng: np.random.Generator
    ) -> Iterator[tuple[dict[str, Any], "Network"]]:
        ridges = (1e-10, 1e-8, 1e-6, 1e-4, 1e-2) if self.ridge is None else (self.ridge,)
        washout = min(self.washout, train.shape[1] // 3)
        at_rest = Network.random(
            self.units, train.shape[2], self.degree, self.input_connectivity, self.squares, rng
        )
        for radius, leak, input_scale in self._scales():
            network = at_rest.scaled(radius, leak, input_scale, self.bias_scale)
            features = np.concatenate([network.features(x[:-1])[washout:] for x in train])
            used = np.arange(features.shape[1])
            if not self.reads_input:
                used = np.delete(used, np.s_[self.units : self.units + train.shape[2]])
                features = features[:, used]
            targets = train[:, washout + 1 :]
            if self.increment:
                targets = targets - train[:, washout:-1]
            targets = targets.reshape(-1, train.shape[2])
            for ridge, weights in ridge_path(features, targets, ridges):
                chosen = {
                    "radius": radius,
                    "leak": leak,
                    "input_scale": input_scale,
                    "ridge": ridge,
                }
                yield chosen, network.reading(used, weights, self.increment)

    def _scales(self) -> Iterator[tuple[float, float, float]]:
        match self.leak:
            case None:
                leaks: tuple[float, ...] = (0.3, 1.0)
            case tuple():
                leaks = self.leak
            case _:
                leaks = (self.leak,)
        for leak in leaks:
            for radius in (0.4, 0.9) if self.radius is None else (self.radius,):
                for scale in (0.1, 0.3) if self.input_scale is None else (self.input_scale,):
                    yield radius, leak, scale

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
        return Network(
            self.sources,
            radius * self.links,
            input_scale * self.input_weights,
            bias_scale * self.bias,
            leak,
            self.squared,
            self.readout,
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
        return Network(
            self.sources,
            self.links,
            self.input_weights,
            self.bias,
            self.leak,
            self.squared,
            readout,
        )

    def features(
        self, series: Float[np.ndarray, "times dim"]
    ) -> Float[np.ndarray, "times features"]:
        """φ at every time of one series, the reservoir being started at rest."""
        from models._reservoir_loops import drive

        states = drive(
            self.sources, self.links, self.input_weights, self.bias, self.leak, series.copy()
        )
        states[:, self.squared] **= 2
        return np.concatenate([states, series, np.ones((len(series), 1))], axis=1)

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
