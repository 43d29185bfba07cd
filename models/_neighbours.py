"""Delay vectors of the training data in a k-d tree, and forecasts that follow the nearest ones."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from models._rollout import autoregress
from models.base import Forecast, Samples, Trajectories, Windows

Queries = Float[np.ndarray, "windows features"]
Near = tuple[Float[np.ndarray, "windows near"], Int[np.ndarray, "windows near"]]


@dataclass(frozen=True)
class Library:
    """Delay vectors (x_t, x_{t-s}, …, x_{t-(k-1)s}) of the training data, with what followed each.

    `futures` are the next `block` states, minus x_t where `increment`. Vectors are searched along
    their principal axes: the coordinates of a delay vector are all but equal, and a tree that
    splits along one of them separates little (of 32 coordinates the search takes 3 times longer).
    """

    tree: Any  # scipy.spatial.cKDTree
    axes: Float[np.ndarray, "features features"]
    futures: Float[np.ndarray, "rows block dim"]
    taps: int
    stride: int
    increment: bool

    @classmethod
    def build(
        cls, train: Trajectories, taps: int, stride: int, block: int, increment: bool = True
    ) -> "Library":
        from scipy.spatial import cKDTree

        memory = (taps - 1) * stride + 1
        dim = train.shape[2]
        # (trajectories, starts, dim, memory + block) -> (rows, memory + block, dim)
        cuts = np.lib.stride_tricks.sliding_window_view(train, memory + block, axis=1)
        cuts = np.moveaxis(cuts, -1, 2).reshape(-1, memory + block, dim)
        futures = cuts[:, memory:]
        if increment:
            futures = futures - cuts[:, memory - 1 : memory]
        vectors = _delay_vectors(cuts[:, :memory], stride)
        axes = np.eye(vectors.shape[1])
        if taps > 1:
            centred = vectors - vectors.mean(axis=0)
            axes = np.linalg.eigh(centred.T @ centred).eigenvectors
        return cls(cKDTree(vectors @ axes), axes, futures, taps, stride, increment)

    @property
    def memory(self) -> int:
        return (self.taps - 1) * self.stride + 1

    @property
    def coordinates(self) -> int:
        return self.taps * self.futures.shape[2]

    def nearest(self, queries: Queries, neighbours: int) -> Near:
        """Distances of the nearest delay vectors, ascending, and their rows."""
        distance, row = self.tree.query(queries @ self.axes, k=np.arange(1, neighbours + 1))
        return distance, row


@dataclass(frozen=True)
class Follower:
    """A library and a rule that weighs its rows: `weigh(library, queries)`, weights of sum one."""

    library: Library
    weigh: Callable[[Library, Queries], Near]

    def run(self, context: Windows, horizon: int) -> Forecast:
        """Each block is the weighted mean of what followed the rows."""
        return autoregress(self._mean_block, context, horizon, memory=self.library.memory)

    def draw(self, context: Windows, horizon: int, samples: int, seed: int) -> Samples:
        """Each block is what followed one row, drawn with its weight."""
        rng = np.random.default_rng(seed)

        def step(recent: Windows) -> Windows:
            # One draw a sample, for all windows: none depends on which others there are.
            return self._drawn_block(recent, np.repeat(rng.random(samples), len(context)))

        every = np.tile(context, (samples, 1, 1))
        drawn = autoregress(step, every, horizon, memory=self.library.memory)
        return drawn.reshape(samples, len(context), horizon, context.shape[2])

    def _mean_block(self, recent: Windows) -> Windows:
        weight, row = self.weigh(self.library, _delay_vectors(recent, self.library.stride))
        block = np.einsum("wn,wnbd->wbd", weight, self.library.futures[row])
        return recent[:, -1:] + block if self.library.increment else block

    def _drawn_block(self, recent: Windows, luck: Float[np.ndarray, "windows"]) -> Windows:
        """One row's block for each window, by its `luck` in [0, 1)."""
        weight, row = self.weigh(self.library, _delay_vectors(recent, self.library.stride))
        passed = np.cumsum(weight, axis=1)[:, :-1] <= luck[:, None]
        chosen = np.take_along_axis(row, passed.sum(axis=1, keepdims=True), axis=1)[:, 0]
        block = self.library.futures[chosen]
        return recent[:, -1:] + block if self.library.increment else block


def by_inverse_distance(library: Library, queries: Queries, *, neighbours: int) -> Near:
    """Lorenz's analogues: weights 1 / d."""
    distance, row = library.nearest(queries, neighbours)
    weight = 1 / (distance + 1e-12)  # an exact repetition takes all the weight
    weight /= weight.sum(axis=1, keepdims=True)
    return weight, row


def by_simplex(library: Library, queries: Queries, *, neighbours: int) -> Near:
    """Sugihara & May (1990): weights exp(-d / d_1), with d_1 the distance of the nearest."""
    distance, row = library.nearest(queries, neighbours)
    nearest = np.maximum(distance[:, :1], 1e-12)  # an exact repetition takes all the weight
    weight = np.exp(-distance / nearest)
    weight /= weight.sum(axis=1, keepdims=True)
    return weight, row


def by_local_regression(
    library: Library, queries: Queries, *, neighbours: int, theta: float, ridge: float
) -> Near:
    """Sugihara (1994): the row weights of a local linear regression, which may be negative.

    With w = exp(-theta d / mean d) and z = neighbour - query, the regression minimises
    sum w |future - c - B z|² + ridge |z|² |B|², where |z|² is the weighted variance a coordinate.
    Its forecast, c, is linear in the futures; the factors are what is returned.
    """
    from models._neighbours_loops import local_weights

    distance, row = library.nearest(queries, neighbours)
    factors = local_weights(library.tree.data, queries @ library.axes, distance, row, theta, ridge)
    return factors, row


def _delay_vectors(recent: Windows, stride: int) -> Queries:
    return recent[:, ::-1][:, ::stride].reshape(len(recent), -1)
