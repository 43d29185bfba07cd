"""The local regression of models._neighbours, compiled by numba: import this inside functions only.

Of some 20 neighbours in 6 coordinates numpy takes most of its time for calls, not for numbers.
"""

# mypy: allow-untyped-defs

import numba
import numpy as np

compiled = numba.njit(cache=True, error_model="numpy")


@compiled
def local_weights(points, queries, distance, row, theta, ridge):
    """The factors of the futures in a local linear regression around each query.

    points: (rows, features); queries: (windows, features); distance, row: (windows, near). The
    formula stands in `models._neighbours.by_local_regression`.
    """
    windows, near = row.shape
    features = points.shape[1]
    factors = np.empty((windows, near))
    z = np.empty((near, features))
    mean = np.empty(features)
    moments = np.empty((features, features))
    for window in range(windows):
        weight = factors[window]
        scale = max(distance[window].mean(), 1e-12)
        for i in range(near):
            weight[i] = np.exp(-theta * distance[window, i] / scale)
        weight /= weight.sum()
        mean[:] = 0.0
        moments[:] = 0.0
        for i in range(near):
            for f in range(features):
                z[i, f] = points[row[window, i], f] - queries[window, f]
                mean[f] += weight[i] * z[i, f]
        for i in range(near):
            for f in range(features):
                z[i, f] -= mean[f]
            for f in range(features):
                weighted = weight[i] * z[i, f]
                for g in range(f + 1):
                    moments[f, g] += weighted * z[i, g]
        variance = 0.0
        for f in range(features):
            variance += moments[f, f] / features
        for f in range(features):
            # 1e-30: neighbours that are all the same leave no direction to regress on
            moments[f, f] += ridge * variance + 1e-30
        slope = mean  # in place
        solve_symmetric(moments, slope)
        for i in range(near):
            fall = 1.0
            for f in range(features):
                fall -= z[i, f] * slope[f]
            weight[i] *= fall
    return factors


@compiled
def solve_symmetric(matrix, vector):
    """vector <- matrix⁻¹ vector, from the lower triangle, which becomes L and D of L D L^T."""
    size = len(vector)
    for f in range(size):
        for g in range(f):
            for h in range(g):
                matrix[f, g] -= matrix[f, h] * matrix[g, h] * matrix[h, h]
            matrix[f, g] /= matrix[g, g]
            matrix[f, f] -= matrix[f, g] ** 2 * matrix[g, g]
    for f in range(size):
        for g in range(f):
            vector[f] -= matrix[f, g] * vector[g]
    for f in range(size - 1, -1, -1):
        vector[f] /= matrix[f, f]
        for g in range(f + 1, size):
            vector[f] -= matrix[g, f] * vector[g]
