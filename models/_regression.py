"""Ridge regression on nearly collinear features, for many penalties at once.

The features of a reservoir differ in directions that are 1e-10 of their size, and a forecaster of
chaos needs them: every factor e in one-step precision is a Lyapunov time of forecast. So columns
are scaled to unit mean square and reduced by QR. The textbook's normal equations square the
condition number; with them the same echo state network forecast Lorenz for 12 Lyapunov times
instead of 20.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Regression:
    """|features @ W - targets|², reduced to |triangle @ (scale * W) - moments|² + constant."""

    triangle: Float[np.ndarray, "rank features"]
    moments: Float[np.ndarray, "rank dim"]
    scale: Float[np.ndarray, "features"]

    @classmethod
    def of(
        cls, features: Float[np.ndarray, "rows features"], targets: Float[np.ndarray, "rows dim"]
    ) -> "Regression":
        scale = np.sqrt(np.einsum("rf,rf->f", features, features) / len(features))
        scale[scale == 0] = 1.0  # a constant zero: its weight will be zero
        count = features.shape[1]
        reduced = np.asarray(
            np.linalg.qr(np.concatenate([features / scale, targets], axis=1), mode="r")
        )
        return cls(reduced[:count, :count], reduced[:count, count:], scale)

    def among(self, columns: Int[np.ndarray, "used"]) -> "Regression":
        """The regression on some of the features, without going back to the data."""
        rank = min(len(self.triangle), columns[-1] + 1)  # below, these columns are zero
        return Regression(self.triangle[:rank, columns], self.moments[:rank], self.scale[columns])

    def solutions(
        self, ridges: Sequence[float]
    ) -> Iterator[tuple[float, Float[np.ndarray, "features dim"]]]:
        """(ridge, W) that minimise |features @ W - targets|² + ridge |scale * W|²."""
        left, singular, right = np.linalg.svd(self.triangle, full_matrices=False)
        moments = left.T @ self.moments
        for ridge in ridges:
            shrunk = singular / (singular**2 + ridge)
            yield ridge, right.T @ (shrunk[:, None] * moments) / self.scale[:, None]
