"""The reservoir behind the echo state network: random weights, driven states, a readout."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from models._regression import BLOCK
from models.base import DIVERGED, Forecast, States, Tangents, Trajectories, Windows

# (spectral radius, leak, input scale, bias scale) that are tried: hardly any memory and small
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

Hidden = Float[np.ndarray, "groups units windows"]


@dataclass(frozen=True)
class Network:
    """A reservoir and its readout. Unit i hears units sources[i] with weights links[i]."""

    sources: Int[np.ndarray, "units degree"]
    links: Float[np.ndarray, "units degree"]
    input_weights: Float[np.ndarray, "units dim"]
    bias: Float[np.ndarray, "units"]
    leak: float
    squared: Bool[np.ndarray, "units"]
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
    ) -> "Network":
        """Spectral radius 1, weights and biases uniform in ±1, no readout."""
        degree = min(degree, units)
        sources = np.stack([rng.choice(units, degree, replace=False) for _ in range(units)])
        links = rng.uniform(-1, 1, (units, degree))
        input_weights = rng.uniform(-1, 1, (units, dim))
        input_weights *= rng.uniform(size=(units, dim)) < input_connectivity
        return cls(
            sources,
            links / spectral_radius(sources, links),
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
            leak=float(leak),  # an int would be compiled for anew
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

    def blocks(
        self, train: Trajectories, washout: int, most: int
    ) -> Iterator[
        tuple[
            Float[np.ndarray, "rows features"],
            Float[np.ndarray, "rows dim"],
            Float[np.ndarray, "rows dim"],
        ]
    ]:
        """φ, state and next state at times of `train` after the washout, about `most` of them.

        A long trajectory is cut into segments that are driven side by side, each started at rest
        `washout` steps early: the reservoir forgets its start, and lanes are faster than one line.
        A block holds a stretch of times of all lanes: of about BLOCK times in all, before thinning.
        """
        from models._reservoir_loops import drive

        count, times, dim = train.shape
        usable = times - 1 - washout
        per_trajectory = max(1, min(16 // count, usable // (4 * washout + 1)))
        length = usable // per_trajectory
        first = times - 1 - per_trajectory * length  # at least washout
        segments = np.lib.stride_tricks.sliding_window_view(train, washout + length + 1, axis=1)
        segments = segments[:, first - washout :: length]  # a view: only stretches are copied
        lanes = count * per_trajectory
        thin = -(-lanes * length // most)
        stretch = max(1, BLOCK // lanes)
        state = np.zeros((len(self.sources), lanes))
        for begin in range(0, length, stretch):
            skip = washout if begin == 0 else 0  # later stretches go on where the last one ended
            end = washout + min(begin + stretch, length)
            heard = segments[..., washout + begin - skip : end + 1]
            heard = np.moveaxis(heard, -1, 2).reshape(lanes, -1, dim)
            states = drive(*self.weights, np.ascontiguousarray(heard[:, :-1]), skip, state)
            states[self.squared] **= 2
            now = heard[:, skip:-1].transpose(2, 1, 0).reshape(dim, -1)
            following = heard[:, skip + 1 :].transpose(2, 1, 0).reshape(dim, -1)
            features = np.concatenate([states.reshape(len(states), -1), now, np.ones_like(now[:1])])
            kept = slice(-begin * lanes % thin, None, thin)
            yield features.T[kept], now.T[kept], following.T[kept]

    def run(self, context: Windows, horizon: int) -> Forecast:
        return self.resumed(self.started(context), context[:, -1:], horizon)

    def started(self, context: Windows) -> Hidden:
        """The reservoir as the context's last state but one left it."""
        return self.driven(context[:, :-1])[None]

    def resumed(self, hidden: Hidden, newest: Windows, horizon: int) -> Forecast:
        """The run that goes on from `newest`, unheard as yet; `hidden` becomes where it ends."""
        from models._reservoir_loops import run_reservoirs

        everyone = np.arange(newest.shape[2])[None]  # one reservoir, which hears all
        return run_reservoirs(
            *self.weights,
            self.readout[None],
            self.squared,
            everyone,
            0,
            hidden,
            np.ascontiguousarray(newest),
            horizon,
            DIVERGED,
        )

    def state(self, context: Windows) -> States:
        """[h, x]: the reservoir as the context's last state but one left it, and the last state."""
        return np.concatenate([self.started(context)[0].T, context[:, -1]], axis=1)

    def driven(self, heard: Windows) -> Float[np.ndarray, "units windows"]:
        """The states in which the reservoir is left by what it heard, having started at rest."""
        from models._reservoir_loops import drive

        state = np.zeros((len(self.sources), len(heard)))
        drive(*self.weights, np.ascontiguousarray(heard), heard.shape[1], state)
        return state

    def advance(self, state: States, tangents: Tangents) -> tuple[States, Tangents]:
        """One step of the closed loop from [h, x], and its Jacobian times the tangents."""
        from models._reservoir_loops import reservoirs_tangent

        everyone = np.arange(self.readout.shape[1])[None]
        return reservoirs_tangent(
            *self.weights,
            self.readout[None],
            self.squared,
            everyone,
            0,
            np.ascontiguousarray(state),
            np.ascontiguousarray(tangents),
        )

    @property
    def weights(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
        """What the compiled loops call (sources, links, input_weights, bias, leak)."""
        return self.sources, self.links, self.input_weights, self.bias, self.leak


@runtime_checkable
class Resumable(Protocol):
    """A reservoir, or several, in closed loop."""

    @property
    def weights(self) -> tuple[Any, ...]: ...
    def started(self, context: Windows) -> Hidden: ...
    def resumed(self, hidden: Hidden, newest: Windows, horizon: int) -> Forecast: ...


class ResumedRun:
    """`run`, bit for bit, for a search: steps that a call before has made are not made again.

    Of one reservoir's readouts, each drives it by the same contexts; and candidates are probed,
    then run on, and the winner further: together two fifths of the steps.
    """

    def __init__(self) -> None:
        self.contexts: Windows = np.empty((0, 0, 0))
        self.bias: np.ndarray = np.empty(0)  # a reservoir's own, whatever it reads
        self.start: Hidden = np.empty((0, 0, 0))
        self.fitted: Resumable | None = None
        self.hidden: Hidden = np.empty((0, 0, 0))
        self.forecast: Forecast = np.empty((0, 0, 0))

    def __call__(self, fitted: Resumable, contexts: Windows, horizon: int) -> Forecast:
        bias = fitted.weights[3]
        if contexts is not self.contexts or bias is not self.bias:
            self.contexts, self.bias, self.fitted = contexts, bias, None
            self.start = fitted.started(contexts)
        if fitted is not self.fitted:
            self.fitted, self.hidden = fitted, self.start.copy()
            self.forecast = contexts[:, :0]
        known = self.forecast.shape[1]
        if horizon > known:
            newest = self.forecast[:, -1:] if known else contexts[:, -1:]
            more = fitted.resumed(self.hidden, newest, horizon - known)
            self.forecast = np.concatenate([self.forecast, more], axis=1)
        return self.forecast[:, :horizon]


def spectral_radius(
    sources: Int[np.ndarray, "units degree"], links: Float[np.ndarray, "units degree"]
) -> float:
    """Largest |eigenvalue| of the sparse matrix, to 1e-6 where units are many."""
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import ArpackNoConvergence, eigs

    units, degree = links.shape
    ends = np.arange(0, units * degree + 1, degree)
    matrix = csr_array((links.ravel(), sources.ravel(), ends), shape=(units, units))
    if units > 100:
        with suppress(ArpackNoConvergence):
            # Always the same start: the default one is drawn from a global generator.
            found = eigs(matrix, k=2, v0=np.ones(units), tol=1e-6, return_eigenvectors=False)
            return float(np.abs(found).max())
    return float(np.abs(np.linalg.eigvals(matrix.toarray())).max())
