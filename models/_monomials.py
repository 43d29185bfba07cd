"""Polynomials of delayed states: the library of monomials behind NVAR, and the map it becomes."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from jaxtyping import Float, Int

from models._regression import BLOCK
from models.base import DIVERGED, Forecast, Trajectories, Windows


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
    def build(cls, dim: int, taps: int, stride: int, degree: int) -> "Library":
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

    def values(
        self, inputs: Float[np.ndarray, "variables *rows"]
    ) -> Float[np.ndarray, "monomials *rows"]:
        values = np.ones((len(self.parents), *inputs.shape[1:]))
        for f in range(1, len(values)):
            np.multiply(values[self.parents[f]], inputs[self.variables[f]], out=values[f])
        return values

    def blocks(
        self, train: Trajectories, most: int
    ) -> Iterator[
        tuple[
            Float[np.ndarray, "rows monomials"],
            Float[np.ndarray, "rows dim"],
            Float[np.ndarray, "rows dim"],
        ]
    ]:
        """Monomials, state and next state at evenly spaced times, about `most`, in blocks."""
        cuts = np.lib.stride_tricks.sliding_window_view(train, self.memory + 1, axis=1)
        every = len(cuts) * cuts.shape[1]
        rows = np.arange(0, every, -(-every // most))
        for begin in range(0, len(rows), BLOCK):
            trajectory, start = np.divmod(rows[begin : begin + BLOCK], cuts.shape[1])
            block = cuts[trajectory, start]  # (rows, dim, memory + 1), a copy
            past = block[:, :, -2 :: -self.stride]  # (rows, dim, taps), the newest first
            inputs = past.transpose(2, 1, 0).reshape(-1, len(block))
            yield self.values(inputs).T, block[:, :, -2], block[:, :, -1]


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
    ) -> "PolynomialMap":
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
