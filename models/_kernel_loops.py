"""The free run of models.kernel, compiled by numba: import this module inside functions only.

States are stored (…, lane) with a lane per window, so that every inner loop is over neighbouring
numbers; no fast-math, so a lane's numbers do not depend on how many lanes there are.
"""

# mypy: allow-untyped-defs

import numba
import numpy as np

# numpy's rules for division: Python's would put a test for zero, and a branch, into every loop.
compiled = numba.njit(cache=True, error_model="numpy")


@compiled
def run_kernel(weights, centres, sharpness, history, taps, stride, horizon, limit):
    """Iterate x <- x + weights^T [k(v, centres); v; 1], k = exp(-sharpness |v - centre|²), for the
    delay vector v = [x_t, x_{t-s}, …].

    history: (windows, memory, dim). Returns (windows, horizon, dim), NaN from where |x| reaches
    `limit`.
    """
    lanes, memory, dim = history.shape
    past = np.empty((memory, dim, lanes))  # ring: time t lies at t % memory
    for t in range(memory):
        for d in range(dim):
            for lane in range(lanes):
                past[t, d, lane] = history[lane, t, d]
    size = taps * dim
    inputs = np.empty((size, lanes))
    change = np.empty((dim, lanes))
    distance = np.empty(lanes)
    forecast = np.full((lanes, horizon, dim), np.nan)
    for t in range(horizon):
        now = t + memory - 1
        for tap in range(taps):
            for d in range(dim):
                for lane in range(lanes):
                    inputs[tap * dim + d, lane] = past[(now - tap * stride) % memory, d, lane]
        for d in range(dim):
            for lane in range(lanes):
                change[d, lane] = weights[len(weights) - 1, d]
            for k in range(size):
                weight = weights[len(centres) + k, d]
                for lane in range(lanes):
                    change[d, lane] += weight * inputs[k, lane]
        for c in range(len(centres)):
            for lane in range(lanes):
                distance[lane] = 0.0
            for k in range(size):
                centre = centres[c, k]
                for lane in range(lanes):
                    distance[lane] += (inputs[k, lane] - centre) ** 2
            for lane in range(lanes):
                distance[lane] = exp(-sharpness * distance[lane])
            for d in range(dim):
                weight = weights[c, d]
                for lane in range(lanes):
                    change[d, lane] += weight * distance[lane]
        alive = False
        for lane in range(lanes):
            inside = True
            for d in range(dim):
                change[d, lane] += inputs[d, lane]
                inside = inside and abs(change[d, lane]) < limit
            for d in range(dim):
                following = change[d, lane] if inside else np.nan
                past[(now + 1) % memory, d, lane] = following
                forecast[lane, t, d] = following
            alive = alive or inside
        if not alive:
            break
    return forecast


@compiled
def spread(points, count):
    """The indices of `count` points far from one another: each the farthest from all before."""
    chosen = np.zeros(count, dtype=np.int64)
    nearest = np.full(len(points), np.inf)
    for i in range(1, count):
        last = points[chosen[i - 1]]
        best = 0
        for j in range(len(points)):
            distance = 0.0
            for k in range(points.shape[1]):
                distance += (points[j, k] - last[k]) ** 2
            nearest[j] = min(nearest[j], distance)
            if nearest[j] > nearest[best]:
                best = j
        chosen[i] = best
    return chosen


@compiled
def exp(x):
    """exp of x <= 0 without a branch, so that loops over it are vectorised; 0 below -700.

    exp(x) = 2^n exp(r) with x = n log 2 + r; the Taylor series to order 14 is exact to rounding for
    |r| <= log(2)/2.
    """
    y = max(x, -700.0)
    # Adding 1.5 · 2^52 rounds to an integer and leaves it in the last bits; floor and a cast to int
    # would do the same, but AVX2 has no vector instruction for that cast.
    shifted = y * 1.4426950408889634 + 6755399441055744.0
    n = shifted - 6755399441055744.0
    r = (y - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10
    series = 1.0 / 87178291200
    series = series * r + 1.0 / 6227020800
    series = series * r + 1.0 / 479001600
    series = series * r + 1.0 / 39916800
    series = series * r + 1.0 / 3628800
    series = series * r + 1.0 / 362880
    series = series * r + 1.0 / 40320
    series = series * r + 1.0 / 5040
    series = series * r + 1.0 / 720
    series = series * r + 1.0 / 120
    series = series * r + 1.0 / 24
    series = series * r + 1.0 / 6
    series = series * r + 0.5
    series = series * r * r + r
    power = np.int64((np.float64(shifted).view(np.int64) + 1023) << 52).view(np.float64)
    return power * series + power
