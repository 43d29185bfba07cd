"""Ridge regression for several penalties at once, on features that are nearly collinear."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float


def ridge_path(
    features: Float[np.ndarray, "rows features"],
    targets: Float[np.ndarray, "rows dim"],
    ridges: Sequence[float],
) -> Iterator[tuple[float, Float[np.ndarray, "features dim"]]]:
    """Minimise |features @ W - targets|² / rows + ridge |W|² for each ridge; yields (ridge, W)."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    rows = len(features)
    gram = features.T @ features / rows
    moments = features.T @ targets / rows
    for ridge in ridges:
        penalised = gram.copy()
        penalised.flat[:: len(gram) + 1] += ridge
        try:
            yield ridge, cho_solve(cho_factor(penalised, lower=True), moments)
        except LinAlgError:  # too small a ridge for the rounding of the Gram matrix
            continue
