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

LEAF = 64  # points that are looked at, or passed over, together
TOGETHER = 8  # squared distances whose product is still a float64: one logarithm for all


def nearest_neighbours(
    points: np.ndarray, directions: np.ndarray, reach: np.ndarray, theiler: int, candidates: int
) -> np.ndarray:
    """Index of the point nearest to each, of those more than `theiler` apart in time.

    reach: (times,) points farther than this along the direction are nobody's neighbours.
    candidates: so many points from the start have neighbours, and are neighbours.
    Returns (candidates,), -1 for a point without a neighbour; the first in time of equals.
    """
    order = _in_leaves(points[:, :candidates])
    return _nearest_in_leaves(
        np.ascontiguousarray(points[:, order]),
        np.ascontiguousarray(directions[:, order]),
        reach[order],
        order,
        theiler,
    )


def _in_leaves(points: np.ndarray) -> np.ndarray:
    """An order of the points in which every LEAF successive ones lie close together:

    halves of halves, each along the coordinate in which it is widest.
    """
    order = np.arange(points.shape[1])
    parts = [order]
    while parts:
        part = parts.pop()
        if len(part) > LEAF:
            inside = points[:, part]
            widest = inside[np.argmax(np.ptp(inside, axis=1))]
            half = LEAF * -(-len(part) // (2 * LEAF))
            part[:] = part[np.argpartition(widest, half - 1)]  # a view: it sorts `order` itself
            parts += [part[:half], part[half:]]
    return order


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _nearest_in_leaves(points, directions, reach, times, theiler):  # type: ignore[no-untyped-def]
    """`nearest_neighbours` of points that are sorted into leaves; `times` is where they stood.

    A leaf is looked at only if its box is near enough: the distance that counts is that across the
    direction, and what lies along it is at most `reach`.
    """
    dim, count = points.shape
    leaves = -(-count // LEAF)
    lowest, highest = np.empty((dim, leaves)), np.empty((dim, leaves))
    for leaf in range(leaves):
        for c in range(dim):
            lowest[c, leaf] = points[c, leaf * LEAF : (leaf + 1) * LEAF].min()
            highest[c, leaf] = points[c, leaf * LEAF : (leaf + 1) * LEAF].max()
    nearest = np.full(count, -1)
    squared, along, to_box = np.empty(LEAF), np.empty(LEAF), np.empty(leaves)
    for i in range(count):
        own, farthest = i // LEAF, reach[i] * reach[i]
        to_box[:] = 0.0
        for c in range(dim):
            x = points[c, i]
            for leaf in range(leaves):
                outside = max(lowest[c, leaf] - x, x - highest[c, leaf], 0.0)
                to_box[leaf] += outside * outside
        smallest, first = np.inf, -1
        for turn in range(leaves):
            leaf = (own + turn) % leaves  # its own first: what is found there rules others out
            # A little more than it must be, for the rounding of either side.
            if to_box[leaf] > 1.000001 * (smallest + farthest):
                continue
            start = leaf * LEAF
            row = min(LEAF, count - start)
            squared[:] = 0.0
            along[:] = 0.0
            for c in range(dim):
                x, direction = points[c, i], directions[c, i]
                coordinate = points[c, start : start + row]
                for j in range(row):
                    offset = coordinate[j] - x
                    squared[j] += offset * offset
                    along[j] += offset * direction
            for j in range(row):
                ahead = along[j] * along[j]
                distance = squared[j] - ahead
                if distance <= smallest and ahead <= farthest:
                    time = times[start + j]
                    sooner = distance < smallest or time < first
                    if sooner and abs(time - times[i]) > theiler:
                        smallest, first = distance, time
        nearest[times[i]] = first
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
