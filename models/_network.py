"""The reservoir behind the echo state network: random weights, driven states, a readout."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from models.base import DIVERGED, Forecast, States, Tangents, Trajectories, Windows


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

    def state(self, context: Windows) -> States:
        """[h, x]: the reservoir as the context's last state but one left it, and the last state."""
        from models._reservoir_loops import drive

        windows, known, _ = context.shape
        rest = np.zeros((windows, len(self.sources)))
        if known > 1:
            heard = np.ascontiguousarray(context[:, :-1])
            rest = drive(
                self.sources,
                self.links,
                self.input_weights,
                self.bias,
                self.leak,
                heard,
                known - 2,
            )[:, 0].T
        return np.concatenate([rest, context[:, -1]], axis=1)

    def advance(self, state: States, tangents: Tangents) -> tuple[States, Tangents]:
        """One step of the closed loop from [h, x], and its Jacobian times the tangents."""
        from models._reservoir_loops import reservoir_tangent

        return reservoir_tangent(
            self.sources,
            self.links,
            self.input_weights,
            self.bias,
            self.leak,
            self.readout,
            self.squared,
            np.ascontiguousarray(state),
            np.ascontiguousarray(tangents),
        )
