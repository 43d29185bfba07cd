"""The loop of models._tangent, compiled by numba: import this module inside functions only."""

# mypy: allow-untyped-defs

import math

import numba
import numpy as np

# A vector that lost so much of its length to the others is made orthogonal to them once more, for
# rounding; "twice is enough" (Giraud, Langou, Rozložník & van den Eshof, Numer. Math. 101, 2005).
SHORTENED = 0.7


@numba.njit(cache=True, error_model="numpy")
def orthonormalised(tangents):
    """The Q of the QR decomposition of each (states, directions), and |diagonal of R|.

    Gram and Schmidt's way, for a few directions several times faster than a call of LAPACK. A
    column of length 0 stays 0.
    """
    lanes, states, directions = tangents.shape
    frames, stretches = np.empty_like(tangents), np.empty((lanes, directions))
    for lane in range(lanes):
        q = frames[lane]
        for i in range(states):
            for c in range(directions):
                q[i, c] = tangents[lane, i, c]
        for c in range(directions):
            length = norm(q, c)
            for _ in range(2):
                for b in range(c):
                    shadow = 0.0
                    for i in range(states):
                        shadow += q[i, b] * q[i, c]
                    for i in range(states):
                        q[i, c] -= shadow * q[i, b]
                before, length = length, norm(q, c)
                if length >= SHORTENED * before:
                    break
            stretches[lane, c] = length
            for i in range(states):
                q[i, c] = q[i, c] / length if length > 0 else 0.0
    return frames, stretches


@numba.njit(cache=True, error_model="numpy")
def norm(q, c):
    total = 0.0
    for i in range(len(q)):
        total += q[i, c] * q[i, c]
    return math.sqrt(total)
