"""Nearest neighbours and how they part, compiled: loops over all pairs of points of one run.

Apart from `dynamics` because it needs numba, which is slow to load. Memory is linear in the number
of points: a loop holds a row of distances at a time.

Shared arguments:
    points: (dim, times), C-contiguous, of extent about 1.
    directions: (dim, times), unit vectors, or zeros: what lies along them is no distance.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from dysts_bench.metrics._pairs import ZERO

ROW = 512  # points at a time: distances stay in the fastest cache, which saves a third
TOGETHER = 8  # squared distances whose product is still a float64: one logarithm for all


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def nearest_neighbours(points, directions, reach, theiler, candidates):  # type: ignore[no-untyped-def]
    """Index of the point nearest to each, of those more than `theiler` apart in time.

    reach: (times,) points farther than this along the direction are nobody's neighbours.
    candidates: so many points from the start have neighbours, and are neighbours.
    Returns (candidates,), -1 for a point without a neighbour.
    """
    nearest = np.full(candidates, -1)
    squared, along = np.empty(ROW), np.empty(ROW)
    for i in range(candidates):
        smallest, farthest = np.inf, reach[i] * reach[i]
        for start in range(0, candidates, ROW):
            row = min(ROW, candidates - start)
            squared[:] = 0.0
            along[:] = 0.0
            for c in range(len(points)):
                x, direction = points[c, i], directions[c, i]
                coordinate = points[c, start : start + row]
                for j in range(row):
                    offset = coordinate[j] - x
                    squared[j] += offset * offset
                    along[j] += offset * direction
            for j in range(row):
                ahead = along[j] * along[j]
                distance = squared[j] - ahead
                if distance < smallest and ahead <= farthest and abs(start + j - i) > theiler:
                    smallest = distance
                    nearest[i] = start + j
    return nearest


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def divergence(points, directions, nearest, steps, blocks):  # type: ignore[no-untyped-def]
    """Logarithms of the distance between each point and its neighbour, k steps later, added up.

    nearest: (references,), each with `steps` points after it and after its neighbour.
    Returns sums and numbers of terms, (blocks, steps + 1), by block of reference points. Distances
    of rounding only are left out.
    """
    sums = np.zeros((blocks, steps + 1))
    terms = np.zeros((blocks, steps + 1), np.int64)
    squared, along, product = np.empty(steps + 1), np.empty(steps + 1), np.empty(steps + 1)
    for block in range(blocks):
        first = -(-block * len(nearest) // blocks)
        end = -(-(block + 1) * len(nearest) // blocks)
        for start in range(first, end, TOGETHER):
            product[:] = 1.0
            for i in range(start, min(start + TOGETHER, end)):
                if nearest[i] >= 0:
                    apart(points, directions, i, nearest[i], squared, along)
                    for k in range(steps + 1):
                        counts = squared[k] > ZERO
                        product[k] *= squared[k] if counts else 1.0
                        terms[block, k] += counts
            for k in range(steps + 1):
                sums[block, k] += 0.5 * math.log(product[k])
    return sums, terms


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def apart(points, directions, i, j, squared, along):  # type: ignore[no-untyped-def]
    """squared[k] = |p_j+k − p_i+k|², less what lies along the direction at i + k."""
    steps = len(squared)
    squared[:] = 0.0
    along[:] = 0.0
    for c in range(len(points)):
        here, there = points[c, i : i + steps], points[c, j : j + steps]
        direction = directions[c, i : i + steps]
        for k in range(steps):
            offset = there[k] - here[k]
            squared[k] += offset * offset
            along[k] += offset * direction[k]
    for k in range(steps):
        squared[k] -= along[k] * along[k]


@numba.njit(cache=True, nogil=True)
def count_alike(stretches, tolerance):  # type: ignore[no-untyped-def]
    """Pairs of stretches that are alike in all values but the last, and in all.

    stretches: (values, stretches), C-contiguous, in ascending order of their first value.
    Alike: closer than the tolerance in each value.
    """
    last = len(stretches) - 1
    shorter = longer = 0
    for i in range(stretches.shape[1]):
        for j in range(i + 1, stretches.shape[1]):
            if stretches[0, j] - stretches[0, i] >= tolerance:
                break
            k = 1
            while k < last and abs(stretches[k, j] - stretches[k, i]) < tolerance:
                k += 1
            if k == last:
                shorter += 1
                longer += abs(stretches[last, j] - stretches[last, i]) < tolerance
    return shorter, longer
