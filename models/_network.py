"""The reservoir behind the echo state network: random weights, driven states, a readout."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

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
        from models._reservoir_loops import run_reservoirs

        everyone = np.arange(context.shape[2])[None]  # one reservoir, which hears all
        return run_reservoirs(
            *self.weights,
            self.readout[None],
            self.squared,
            everyone,
            0,
            np.ascontiguousarray(context),
            horizon,
            DIVERGED,
        )

    def state(self, context: Windows) -> States:
        """[h, x]: the reservoir as the context's last state but one left it, and the last state."""
        return np.concatenate([self.driven(context[:, :-1]).T, context[:, -1]], axis=1)

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
