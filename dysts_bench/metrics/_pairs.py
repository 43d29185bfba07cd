"""Compiled loops over pairs of points; imported when first needed, for numba is slow to load.

Memory is linear in the number of points: a loop holds one row of distances at a time.
"""

from __future__ import annotations

import math

import numba
import numpy as np

# A float64's own bits are its logarithm in pieces: exponent and leading mantissa bits number bins
# of squared distance, 32 to the octave, without calling log.
SHIFT = 47
# Squared distances below this count as zero: points are normalised to extent 1, where two
# distances of 1e-16 differ by rounding only.
ZERO = 2.0**-106
FIRST = int(np.float64(ZERO).view(np.int64)) >> SHIFT


def bin_edges(bins: int) -> np.ndarray:
    """(bins + 1,) the edges in squared distance of the bins that `count_pairs` counts in."""
    return (np.arange(FIRST, FIRST + bins + 1, dtype=np.int64) << SHIFT).view(np.float64)


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def count_pairs(points, theiler, blocks, farthest):  # type: ignore[no-untyped-def]
    """Histogram of squared distances of all pairs more than `theiler` apart in time.

    points: (dim, times), C-contiguous. farthest: larger squared distances are not counted.
    Returns (blocks + 1, bins): row 0 counts every pair once; row 1 + b those with a point in the
    b-th block of times, which is what deleting the block would take away.
    """
    times = points.shape[1]
    last = np.empty(1)
    last[0] = farthest
    bins = (last.view(np.int64)[0] >> SHIFT) - FIRST + 1
    counts = np.zeros((blocks + 1, bins), np.int64)
    distances = np.empty(times)
    for i in range(times - theiler - 1):
        start = i + theiler + 1
        row = distances[: times - start]
        squared_distances(points, i, points, start, row)
        bits = row.view(np.int64)
        block = 1 + i * blocks // times
        for j in range(len(row)):
            if row[j] <= farthest:
                k = max((bits[j] >> SHIFT) - FIRST, 0)
                counts[0, k] += 1
                counts[block, k] += 1
                other = 1 + (start + j) * blocks // times
                if other != block:
                    counts[other, k] += 1
    return counts


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def log_density(samples, centres, variance):  # type: ignore[no-untyped-def]
    """log of mean_j exp(−|s − c_j|² / (2 variance)) at each sample s, without over- or underflow.

    samples: (dim, samples), centres: (dim, centres), both C-contiguous. Returns (samples,).
    """
    row = np.empty(centres.shape[1])
    values = np.empty(samples.shape[1])
    for i in range(len(values)):
        squared_distances(samples, i, centres, 0, row)
        nearest = row.min()
        total = 0.0
        for j in range(len(row)):
            exponent = (nearest - row[j]) / (2 * variance)
            if exponent > -40:  # what lies farther changes no digit
                total += math.exp(exponent)
        values[i] = math.log(total / len(row)) - nearest / (2 * variance)
    return values


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def squared_distances(points, i, others, start, row):  # type: ignore[no-untyped-def]
    """row[j] = |points[:, i] − others[:, start + j]|²."""
    row[:] = 0.0
    for c in range(len(points)):
        x = points[c, i]
        coordinate = others[c, start:]  # contiguous, no index to wrap around: it vectorises
        for j in range(len(row)):
            row[j] += (x - coordinate[j]) ** 2
