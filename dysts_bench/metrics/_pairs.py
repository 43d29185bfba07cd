"""Compiled loops over pairs of points; imported when first needed, for numba is slow to load.

Memory is linear in the number of points: a loop holds one row of distances at a time.
Points are (dim, points), C-contiguous: a coordinate after the other, which is what vectorises.
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

# Added to a number and taken off again, this rounds to the nearest integer, which it leaves in its
# last bits in between: an instruction that every processor has eight wide, as floor is not.
ROUNDER = 1.5 * 2.0**52
ONE = int(np.float64(1.0).view(np.int64))
LOG2_E, LN_2 = 1 / math.log(2), math.log(2)


def bin_edges(bins: int) -> np.ndarray:
    """(bins + 1,) the edges in squared distance of the bins that `count_pairs` counts in."""
    return (np.arange(FIRST, FIRST + bins + 1, dtype=np.int64) << SHIFT).view(np.float64)


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def count_pairs(points, theiler, blocks):  # type: ignore[no-untyped-def]
    """Histogram of squared distances of all pairs more than `theiler` apart in time.

    points: (dim, times), none farther than 1 from another in any coordinate.
    Returns (blocks + 1, bins): row 0 counts every pair once; row 1 + b those with a point in the
    b-th block of times, which is what deleting the block would take away.
    """
    times = points.shape[1]
    farthest = np.full(1, 2.0 * len(points))
    bins = (farthest.view(np.int64)[0] >> SHIFT) - FIRST + 1
    by_blocks = np.zeros((blocks, blocks, bins), np.int64)
    distances = np.empty(times)
    starts = np.empty(blocks + 1, np.int64)
    for b in range(blocks + 1):
        starts[b] = b * times // blocks
    block = 0
    for i in range(times - theiler - 1):
        while i >= starts[block + 1]:
            block += 1
        first = i + theiler + 1
        row = distances[: times - first]
        squared_distances(points, i, points, first, row)
        # Counting all pairs, and not the closest only, costs less than a branch for each.
        bits = row.view(np.int64)
        for j in range(len(row)):
            bits[j] = max((bits[j] >> SHIFT) - FIRST, 0)
        for other in range(block, blocks):
            counts = by_blocks[block, other]
            for j in range(max(starts[other] - first, 0), starts[other + 1] - first):
                counts[bits[j]] += 1
    counts = np.zeros((blocks + 1, bins), np.int64)
    for b in range(blocks):
        for other in range(b, blocks):
            for k in range(bins):  # not by rows, which take two seconds more to compile
                number = by_blocks[b, other, k]
                counts[0, k] += number
                counts[1 + b, k] += number
                if other != b:
                    counts[1 + other, k] += number
    return counts


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def log_density(samples, centres, variance):  # type: ignore[no-untyped-def]
    """log of mean_j exp(−|s − c_j|² / (2 variance)) at each sample s, without over- or underflow.

    samples: (dim, samples), centres: (dim, centres). Returns (samples,).
    """
    row, powers = np.empty(centres.shape[1]), np.empty(centres.shape[1])
    values = np.empty(samples.shape[1])
    factor = -1 / (2 * variance)
    for i in range(len(values)):
        squared_distances(samples, i, centres, 0, row)
        nearest = least(row)
        for j in range(len(row)):
            row[j] = factor * (row[j] - nearest)
        exponentials(row, powers)
        values[i] = math.log(total(row) / len(row)) + factor * nearest
    return values


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def mean_distance(points, others):  # type: ignore[no-untyped-def]
    """Mean over all pairs of a point and one of the others of |x − y|."""
    row = np.empty(others.shape[1])
    added = 0.0
    for i in range(points.shape[1]):
        squared_distances(points, i, others, 0, row)
        for j in range(len(row)):
            row[j] = math.sqrt(row[j])
        added += total(row)
    return added / (points.shape[1] * len(row))


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def mean_gaussian(points, others, variance):  # type: ignore[no-untyped-def]
    """Mean over all pairs of a point and one of the others of exp(−|x − y|² / (2 variance))."""
    row, powers = np.empty(others.shape[1]), np.empty(others.shape[1])
    added, factor = 0.0, -1 / (2 * variance)
    for i in range(points.shape[1]):
        squared_distances(points, i, others, 0, row)
        for j in range(len(row)):
            row[j] *= factor
        exponentials(row, powers)
        added += total(row)
    return added / (points.shape[1] * len(row))


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def squared_distances(points, i, others, start, row):  # type: ignore[no-untyped-def]
    """row[j] = |points[:, i] − others[:, start + j]|²."""
    row[:] = 0.0
    for c in range(len(points)):
        x = points[c, i]
        coordinate = others[c, start:]  # contiguous, no index to wrap around: it vectorises
        for j in range(len(row)):
            row[j] += (x - coordinate[j]) ** 2


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def exponentials(row, powers):  # type: ignore[no-untyped-def]
    """row[j] ← exp(row[j]) for row[j] ≤ 0, to a relative 1e-14; below −693, e^−693 = 1e-301.

    A polynomial times a power of two, for a call of libm's exp keeps the loop from vectorising.
    powers: room for as many numbers as there are in the row.
    """
    for j in range(len(row)):
        octaves = max(row[j] * LOG2_E, -1000.0)
        powers[j] = octaves + ROUNDER
        r = (octaves - (powers[j] - ROUNDER)) * LN_2  # |r| ≤ ln(2) / 2
        tail = 1 / 720 + r * (1 / 5040 + r * (1 / 40320 + r * (1 / 362880 + r * (1 / 3628800))))
        tail = tail + r**5 / 39916800
        row[j] = 1 + r * (1 + r * (1 / 2 + r * (1 / 6 + r * (1 / 24 + r * (1 / 120 + r * tail)))))
    bits = powers.view(np.int64)
    for j in range(len(row)):
        bits[j] = (bits[j] << 52) + ONE
    for j in range(len(row)):
        row[j] *= powers[j]


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def total(row):  # type: ignore[no-untyped-def]
    """Sum of a row, in whatever order is fastest."""
    added = 0.0
    for j in range(len(row)):
        added += row[j]
    return added


@numba.njit(cache=True, nogil=True, fastmath={"nnan", "nsz", "reassoc"})
def least(row):  # type: ignore[no-untyped-def]
    """Smallest entry of a row without NaN; numpy's minimum looks for them, one by one."""
    smallest = row[0]
    for j in range(len(row)):
        smallest = min(smallest, row[j])
    return smallest
