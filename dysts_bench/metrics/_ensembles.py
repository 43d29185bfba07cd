"""Compiled loops over pairs of samples; imported when first needed, for numba is slow to load."""

from __future__ import annotations

import math

import numba
import numpy as np

from dysts_bench.metrics._pairs import squared_distances


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def energy_scores(errors):  # type: ignore[no-untyped-def]
    """mean |e_i| − ½ mean |e_i − e_j| at each step, over the samples e_i and all their pairs.

    errors: (windows, horizon, dim, samples), C-contiguous. Returns (windows, horizon).
    """
    windows, horizon, _, samples = errors.shape
    scores = np.empty((windows, horizon))
    origin = np.zeros((errors.shape[2], 1))
    distances = np.empty(samples)
    for window in range(windows):
        for step in range(horizon):
            points = errors[window, step]
            squared_distances(origin, 0, points, 0, distances)
            to_truth, between = 0.0, 0.0
            for i in range(samples):
                to_truth += math.sqrt(distances[i])
            for i in range(samples - 1):
                row = distances[: samples - 1 - i]
                squared_distances(points, i, points, i + 1, row)
                for j in range(len(row)):
                    row[j] = math.sqrt(row[j])  # a loop of its own: it vectorises
                for j in range(len(row)):
                    between += row[j]
            scores[window, step] = to_truth / samples - between / samples**2
    return scores
