"""The loop of the Taylor integrator, in the language of `kernel_compiler`; `compiled()` runs it.

It takes steps of `systems.jets` for `width` trajectories at once and evaluates their series at the
requested times. `begin` (2, width) holds the time at which each lane's present series begins and
its rounding error, `epoch` (width) what is added for equations that read the time, `clock` (2,
width) that sum and the length over which the series holds (0 before the first step). A later call
goes on where this one was.
"""

import math
from functools import cache
from typing import Any

from systems import machine_code
from systems.kernel_compiler import Floats, Ints, call_field, load_kernels

DONE, GO_ON = 0, 1
POINTS = 8  # at which a series is summed at once
RUNNING, NOT_FINITE, COLLAPSED, SLOW = range(4)  # of a lane; SLOW is given from outside


@cache
def compiled() -> Any:
    """The kernels `follow` and `stretch` as functions of arrays."""
    made_from = machine_code.sources("taylor_kernel.py", "kernel_compiler.py")
    return load_kernels((follow, stretch), made_from)


def follow(
    step: int,
    series: int,
    parameters: Floats,
    n: int,
    width: int,
    log2_tolerance: float,
    states: Floats,
    clock: Floats,
    begin: Floats,
    epoch: Floats,
    coefficients: Floats,
    times: Floats,
    count: int,
    out: Floats,
    next_time: Ints,
    state: Ints,
    offsets: Floats,
    values: Floats,
    budget: int,
) -> int:
    """Fill `out` (width, count, n) at the increasing `times`; lanes that fail say so in `state`.

    Returns DONE, or GO_ON after `budget` steps.
    """
    used = 0
    while True:
        unfinished = 0
        for lane in range(width):
            if state[lane] == RUNNING and clock[width + lane] > 0.0:
                evaluate(
                    series,
                    lane,
                    n,
                    width,
                    clock,
                    begin,
                    coefficients,
                    times,
                    count,
                    out,
                    next_time,
                    offsets,
                    values,
                )
            if state[lane] == RUNNING and next_time[lane] < count:
                unfinished += 1
        if unfinished == 0:
            return DONE
        if used >= budget:
            return GO_ON
        used += 1
        for lane in range(width):
            t, error, h = begin[lane], begin[width + lane], clock[width + lane]
            increment = h + error
            begin[lane] = t + increment
            begin[width + lane] = increment - (begin[lane] - t)
            clock[lane] = epoch[lane] + begin[lane]
        call_field(step, log2_tolerance, states, clock, parameters, coefficients)
        for lane in range(width):
            if state[lane] == RUNNING and next_time[lane] < count:
                state[lane] = condition(lane, n, width, states, clock, begin)


def condition(lane: int, n: int, width: int, states: Floats, clock: Floats, begin: Floats) -> int:
    """Whether a lane can go on after a step."""
    for i in range(n):
        if not math.isfinite(states[3 * i * width + lane]):
            return NOT_FINITE
    if not clock[width + lane] > 1e-15 * abs(begin[lane]) + 1e-300:
        return COLLAPSED
    return RUNNING


def evaluate(
    series: int,
    lane: int,
    n: int,
    width: int,
    clock: Floats,
    begin: Floats,
    coefficients: Floats,
    times: Floats,
    count: int,
    out: Floats,
    next_time: Ints,
    offsets: Floats,
    values: Floats,
) -> None:
    """Sum a lane's series at the times that it reaches, `POINTS` at once."""
    t, error, h = begin[lane], begin[width + lane], clock[width + lane]
    first = next_time[lane]
    while first < count and (times[first] - t) - error <= h:
        reached = 0
        for p in range(POINTS):
            offsets[p] = (times[min(first + p, count - 1)] - t) - error
            if first + p < count and offsets[p] <= h:
                reached = p + 1
        call_field(series, 0.0, offsets, offsets, coefficients[lane:], values)
        for p in range(reached):
            for i in range(n):
                out[(lane * count + first + p) * n + i] = values[i * POINTS + p]
        first += reached
    next_time[lane] = first


def stretch(
    step: int,
    parameters: Floats,
    n: int,
    vectors: int,
    width: int,
    log2_tolerance: float,
    states: Floats,
    clock: Floats,
    begin: Floats,
    epoch: Floats,
    coefficients: Floats,
    until: float,
    growth: Floats,
    state: Ints,
    budget: int,
) -> int:
    """Follow states and their tangent vectors until all are past `until`, and make the vectors
    orthonormal after each step (modified Gram–Schmidt); `growth` (vectors, width) gains the
    logarithms of their stretching. Returns DONE, or GO_ON after `budget` steps."""
    for _ in range(budget):
        unfinished = 0
        for lane in range(width):
            if state[lane] == RUNNING and begin[lane] < until:
                unfinished += 1
            clock[lane] = epoch[lane] + begin[lane]
        if unfinished == 0:
            return DONE
        call_field(step, log2_tolerance, states, clock, parameters, coefficients)
        for lane in range(width):
            if state[lane] == RUNNING:
                state[lane] = condition(lane, n + n * vectors, width, states, clock, begin)
            if state[lane] == RUNNING:
                begin[lane] += clock[width + lane]
                straighten(lane, n, vectors, width, states, growth)
    return GO_ON


def straighten(lane: int, n: int, vectors: int, width: int, states: Floats, growth: Floats) -> None:
    """Make a lane's tangent vectors orthonormal; they were nearly so."""
    row = 3 * width
    for a in range(vectors):
        v = states[(n + a * n) * row + lane :]
        for b in range(a):
            w = states[(n + b * n) * row + lane :]
            dot = 0.0
            for i in range(n):
                dot += v[i * row] * w[i * row]
            for i in range(n):
                v[i * row] = v[i * row] - dot * w[i * row]
        size = 0.0
        for i in range(n):
            size += v[i * row] * v[i * row]
        size = math.sqrt(size)
        growth[a * width + lane] += math.log(size)
        for i in range(n):
            v[i * row] = v[i * row] / size
            v[i * row + width] = 0.0  # what was left of the rounding
            v[i * row + 2 * width] = 1.0  # the scale of a unit vector
