"""Ridge regression on nearly collinear features, for many penalties at once.

The features of a reservoir differ in directions that are 1e-10 of their size, and a forecaster of
chaos needs them: every factor e in one-step precision is a Lyapunov time of forecast. So columns
are scaled to unit mean square and reduced by QR. The textbook's normal equations square the
condition number; with them the same echo state network forecast Lorenz for 12 Lyapunov times
instead of 20. Long data come in blocks of rows that are reduced one after another (TSQR: Demmel,
Grigori, Hoemmen & Langou 2012), which squares nothing either and needs the memory of one block.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

# Rows of a block: above the standard 6000, whose bits are those of a single reduction, and 130 MB
# for the 1000 features of a large reservoir.
BLOCK = 2**14
# Absolute, for features of unit mean square: |error|² + ridge |weights|².
RIDGES = (1e-18, 1e-15, 1e-12, 1e-9, 1e-6, 1e-3, 1.0, 1e3)

Block = tuple[Float[np.ndarray, "rows features"], Float[np.ndarray, "rows outputs"]]


@dataclass(frozen=True)
class Regression:
    """|features @ W - targets|², reduced to |triangle @ (scale * W) - moments|² + constant."""

    triangle: Float[np.ndarray, "rank features"]
    moments: Float[np.ndarray, "rank outputs"]
    scale: Float[np.ndarray, "features"]

    @classmethod
    def of(
        cls,
        features: Float[np.ndarray, "rows features"],
        targets: Float[np.ndarray, "rows outputs"],
    ) -> "Regression":
        return cls.of_blocks([(features, targets)])

    @classmethod
    def of_blocks(cls, blocks: Iterable[Block]) -> "Regression":
        """The regression on the rows of all blocks (features, targets), of which there are some."""
        reduced, scale, squares, rows = np.empty(0), np.empty(0), np.zeros(0), 0
        for features, targets in blocks:
            squares_here = np.einsum("rf,rf->f", features, features)
            if rows == 0:
                scale = _root_mean(squares_here, len(features))  # any size near the final one
                squares, reduced = squares_here, np.empty((0, len(scale) + targets.shape[1]))
            else:
                squares = squares + squares_here
            rows += len(features)
            # Each feature's numbers side by side, as LAPACK wants them: built once, in place.
            width = len(scale) + targets.shape[1]
            stacked = np.empty((width, len(reduced) + len(features))).T
            stacked[: len(reduced)] = reduced
            np.divide(features, scale, out=stacked[len(reduced) :, : len(scale)])
            stacked[len(reduced) :, len(scale) :] = targets
            reduced = np.asarray(np.linalg.qr(stacked, mode="r"))
        count, final = len(scale), _root_mean(squares, rows)
        # Of a single block the factor is 1.0, which changes no bit.
        return cls(reduced[:count, :count] * (scale / final), reduced[:count, count:], final)

    @classmethod
    def joined(cls, parts: Sequence["Regression"]) -> "Regression":
        """The regression on the rows of all parts, of which each has as many."""
        scale = np.sqrt(np.mean([part.scale**2 for part in parts], axis=0))
        stacked = [
            np.concatenate([part.triangle * (part.scale / scale), part.moments], axis=1)
            for part in parts
        ]
        reduced = np.asarray(np.linalg.qr(np.concatenate(stacked), mode="r"))
        count = len(scale)
        return cls(reduced[:count, :count], reduced[:count, count:], scale)

    def among(self, columns: Int[np.ndarray, "used"]) -> "Regression":
        """The regression on some of the features, without going back to the data."""
        rank = min(len(self.triangle), columns[-1] + 1)  # below, these columns are zero
        return Regression(self.triangle[:rank, columns], self.moments[:rank], self.scale[columns])

    def solutions(
        self, ridges: Sequence[float]
    ) -> Iterator[tuple[float, Float[np.ndarray, "features outputs"]]]:
        """(ridge, W) that minimise |features @ W - targets|² + ridge |scale * W|²."""
        if len(ridges) == 1:  # a fifth of the cost of the singular values
            count = len(self.scale)
            penalty = np.sqrt(ridges[0]) * np.eye(count, count + self.moments.shape[1])
            stacked = np.concatenate([np.hstack([self.triangle, self.moments]), penalty])
            reduced = np.asarray(np.linalg.qr(stacked, mode="r"))
            solved = np.linalg.solve(reduced[:count, :count], reduced[:count, count:])
            yield ridges[0], solved / self.scale[:, None]
            return
        left, singular, right = _svd(self.triangle)
        moments = left.T @ self.moments
        for ridge in ridges:
            shrunk = singular / (singular**2 + ridge)
            yield ridge, right.T @ (shrunk[:, None] * moments) / self.scale[:, None]


def _root_mean(squares: Float[np.ndarray, "features"], rows: int) -> Float[np.ndarray, "features"]:
    scale = np.sqrt(squares / rows)
    scale[scale == 0] = 1.0  # a constant zero: its weight will be zero
    return scale


def _svd(
    matrix: Float[np.ndarray, "rank features"],
) -> tuple[
    Float[np.ndarray, "rank least"], Float[np.ndarray, "least"], Float[np.ndarray, "least features"]
]:
    """Singular values and vectors, whatever it takes.

    LAPACK's divide and conquer is three times as fast as its QR iteration, but gives up on some
    matrices whose columns are collinear up to rounding.
    """
    try:
        left, singular, right = np.linalg.svd(matrix, full_matrices=False)
    except np.linalg.LinAlgError:
        from scipy.linalg import svd

        left, singular, right = svd(matrix, full_matrices=False, lapack_driver="gesvd")
    return left, singular, right
