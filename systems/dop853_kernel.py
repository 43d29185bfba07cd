"""The loops of the integrator, in the language of `kernel_compiler`; `compiled()` runs them.

Arrays are flat: component i of stage s is k[s * n + i]. `control` (time, its rounding error, step
length) and `counters` (STEPS … NEWEST) hold the state of a run beside the arrays, so that a later
call goes on where it was. `history` is a ring of `size` steps that can be interpolated; a step is
its begin, length and end, then 8 polynomial coefficients for each component.
"""

import math
from functools import cache
from typing import Any

import numpy as np

from systems import machine_code
from systems.kernel_compiler import Floats, Ints, call_field, load_kernels
from systems.tableaux import DENSE, ERROR_3, ERROR_5, A, C

DONE, GO_ON, NOT_FINITE, COLLAPSED, HISTORY_FULL, PARALLEL = 0, 1, 2, 3, 4, -1
STEPS, NEXT_TIME, NEXT_STOP, STARTED, REJECTED, TINY, OLDEST, NEWEST = range(8)

Row = tuple[tuple[int, float], ...]  # weights of stages, without the zeros
Stages = tuple[tuple[int, float, Row], ...]  # number, node and row of each


def _rows(matrix: np.ndarray) -> tuple[Row, ...]:
    return tuple(tuple((int(j), float(row[j])) for j in np.flatnonzero(row)) for row in matrix)


_STAGES: Stages = tuple((s, float(C[s]), row) for s, row in enumerate(_rows(A)))
_STEP, _EXTENSION = _STAGES[1:13], _STAGES[13:]
_ERROR_5, _ERROR_3 = _rows(np.stack([ERROR_5, ERROR_3]))
_DENSE = tuple(enumerate(_rows(DENSE)))


@cache
def compiled() -> Any:
    """The kernels `drive`, `stretch_frame` and `evaluate_many` as functions of arrays."""
    made_from = machine_code.sources("dop853_kernel.py", "kernel_compiler.py", "tableaux.py")
    return load_kernels((drive, stretch_frame, evaluate_many), made_from)


def drive(
    field: int,
    parameters: Floats,
    n: int,
    m: int,
    sources: Ints,
    delays: Floats,
    delayed: Floats,
    past: Floats,
    stops: Floats,
    stop_count: int,
    y: Floats,
    u: Floats,
    k: Floats,
    history: Floats,
    size: int,
    control: Floats,
    counters: Ints,
    options: Floats,
    times: Floats,
    count: int,
    out: Floats,
    budget: int,
) -> int:
    """Advance one trajectory until `times` are filled, or `budget` steps are done.

    There are `n` states `y`, and `m` delayed ones: state sources[d] at t - delays[d], which was
    `past` before the start. Steps end at `stops`. `u` (2, n) and `delayed` are scratch. `options`:
    rtol, atol, floor and start.
    """
    width = 3 + 8 * n
    rtol, atol, floor, start = options[0], options[1], options[2], options[3]
    t, t_error, h = control[0], control[1], control[2]
    shortest = math.inf
    longest = 0.0
    for d in range(m):
        shortest = min(shortest, delays[d])
        longest = max(longest, delays[d])

    if counters[STARTED] == 0:
        counters[STARTED] = 1
        look_back(t, m, sources, delays, delayed, past, start, n, history, size, counters)
        call_field(field, t, y, delayed, parameters, k)
        h = first_length(n, y, k, rtol, atol)
        while counters[NEXT_TIME] < count and times[counters[NEXT_TIME]] <= t:
            for i in range(n):
                out[counters[NEXT_TIME] * n + i] = y[i]
            counters[NEXT_TIME] += 1

    status = DONE
    used = 0
    while counters[NEXT_TIME] < count:
        if used >= budget:
            status = GO_ON
            break
        if m > 0:
            while (
                counters[OLDEST] < counters[NEWEST]
                and history[counters[OLDEST] % size * width + 2] < t - longest
            ):
                counters[OLDEST] += 1
            if counters[NEWEST] - counters[OLDEST] >= size - 1:
                status = HISTORY_FULL
                break
            h = min(h, shortest)
        at_stop = False
        if counters[NEXT_STOP] < stop_count:
            remaining = (stops[counters[NEXT_STOP]] - t) - t_error
            if h >= remaining * 0.999999:
                h = remaining
                at_stop = True
        if not abs(h) > 1e-15 * abs(t) + 1e-300:
            status = COLLAPSED
            break
        used += 1
        counters[STEPS] += 1

        for s, node, row in _STEP:
            for i in range(n):
                u[i] = y[i] + h * combine(row, k, n, i)
            when = t + node * h
            if m > 0:
                look_back(
                    when, m, sources, delays, delayed, past, start, n, history, size, counters
                )
            call_field(field, when, u, delayed, parameters, k[s * n :])
        end = u[n:]
        for i in range(n):
            end[i] = u[i]

        error = estimated_error(h, n, y, end, k, rtol, atol)
        finite = math.isfinite(error)
        # A jump of the right-hand side satisfies the estimate at no length that the clock resolves:
        # it is stepped over once the step is a ten-millionth of the floor. Sliding along one would
        # take such steps for ever, and is followed in steps of the floor.
        sliding = counters[TINY] > 50 and abs(h) <= floor and finite
        crossing = abs(h) <= 1e-7 * floor and finite
        factor = 6.0
        if error > 1e-12:
            factor = 0.9 / math.sqrt(math.sqrt(math.sqrt(error)))
        if error > 1.0 and not (sliding or crossing):
            if not finite and abs(h) < 1e-12 * (1.0 + abs(t)):
                status = NOT_FINITE
                break
            h *= max(0.1, factor)
            counters[REJECTED] = 1
            continue
        if floor > 0.0:
            if sliding and error > 1.0:
                factor = 1.0
            elif abs(h) < 0.01 * floor:
                counters[TINY] += 1
            elif abs(h) >= floor:
                counters[TINY] = 0
            if error > 1.0 and not sliding:
                factor = 6.0
            h_next = floor if counters[TINY] > 50 else h * min(6.0, factor)
        elif counters[REJECTED] == 1:
            h_next = h * min(1.0, factor)
        else:
            h_next = h * min(6.0, factor)
        counters[REJECTED] = 0

        # compensated: over 10⁶ steps the clock would lose four digits
        increment = h + t_error
        t_next = t + increment
        t_error_next = increment - (t_next - t)
        if at_stop:
            t_next, t_error_next = stops[counters[NEXT_STOP]], 0.0
            counters[NEXT_STOP] += 1

        if times[counters[NEXT_TIME]] <= t_next or m > 0:
            for s, node, row in _EXTENSION:
                for i in range(n):
                    u[i] = y[i] + h * combine(row, k, n, i)
                when = t + node * h
                if m > 0:
                    look_back(
                        when, m, sources, delays, delayed, past, start, n, history, size, counters
                    )
                call_field(field, when, u, delayed, parameters, k[s * n :])
            step = history[counters[NEWEST] % size * width :]
            step[0], step[1], step[2] = t, h, t_next
            keep_polynomial(step[3:], h, n, y, end, k)
            while counters[NEXT_TIME] < count and times[counters[NEXT_TIME]] <= t_next:
                x = ((times[counters[NEXT_TIME]] - t) - t_error) / h
                for i in range(n):
                    out[counters[NEXT_TIME] * n + i] = interpolate(step[3:], i, n, x)
                counters[NEXT_TIME] += 1
            if m > 0:
                counters[NEWEST] += 1

        t, t_error, h = t_next, t_error_next, h_next
        for i in range(n):
            y[i] = end[i]
            k[i] = k[12 * n + i]

    control[0], control[1], control[2] = t, t_error, h
    return status


def combine(row: Row, k: Floats, n: int, i: int) -> float:
    """Σ_j weight_j k_j for component i."""
    total = 0.0
    for j, weight in row:
        total += weight * k[j * n + i]
    return total


def first_length(n: int, y: Floats, k: Floats, rtol: float, atol: float) -> float:
    """A first step by the sizes of state and derivative (Hairer et al. 1993, II.4)."""
    size_y = size_k = 0.0
    for i in range(n):
        scale = atol + rtol * abs(y[i])
        size_y += square(y[i] / scale)
        size_k += square(k[i] / scale)
    if size_k < 1e-10 or size_y < 1e-10:
        return 1e-6
    return 1e-3 * math.sqrt(size_y / size_k)


def square(x: float) -> float:
    return x * x


def estimated_error(
    h: float, n: int, y: Floats, end: Floats, k: Floats, rtol: float, atol: float
) -> float:
    """The error of a step in units of the tolerance (Hairer et al. 1993, II.5, (5.10) and below);
    inf where the step leaves the floating-point range."""
    error_5 = error_3 = 0.0
    for i in range(n):
        scale = atol + rtol * max(abs(y[i]), abs(end[i]))
        error_5 += square(combine(_ERROR_5, k, n, i) / scale)
        error_3 += square(combine(_ERROR_3, k, n, i) / scale)
        if not math.isfinite(end[i]):
            return math.inf
    denominator = error_5 + 0.01 * error_3
    if denominator == 0.0:
        return 0.0
    error = abs(h) * error_5 / math.sqrt(denominator * n)
    return error if math.isfinite(error) else 1e16


def keep_polynomial(row: Floats, h: float, n: int, y: Floats, end: Floats, k: Floats) -> None:
    """Write the coefficients of dense output (Hairer et al. 1993, II.6)."""
    for i in range(n):
        step = end[i] - y[i]
        row[i] = y[i]
        row[n + i] = step
        row[2 * n + i] = h * k[i] - step
        row[3 * n + i] = 2.0 * step - h * (k[12 * n + i] + k[i])
        for r, weights in _DENSE:
            row[(4 + r) * n + i] = h * combine(weights, k, n, i)


def interpolate(row: Floats, i: int, n: int, x: float) -> float:
    """Component i at the fraction x of a step."""
    y = 1.0 - x
    value = row[6 * n + i] + x * row[7 * n + i]
    value = row[5 * n + i] + y * value
    value = row[4 * n + i] + x * value
    value = row[3 * n + i] + y * value
    value = row[2 * n + i] + x * value
    value = row[n + i] + y * value
    return row[i] + x * value


def look_back(
    when: float,
    m: int,
    sources: Ints,
    delays: Floats,
    delayed: Floats,
    past: Floats,
    start: float,
    n: int,
    history: Floats,
    size: int,
    counters: Ints,
) -> None:
    """Fill in the delayed states at time `when`, from the stored steps or the constant history."""
    width = 3 + 8 * n
    for d in range(m):
        state = sources[d]
        at = when - delays[d]
        if at <= start or counters[NEWEST] == 0:
            delayed[d] = past[state]
            continue
        low, high = counters[OLDEST], counters[NEWEST] - 1
        while low < high:  # the newest step that begins at or before `at`
            middle = (low + high + 1) // 2
            if history[middle % size * width] <= at:
                low = middle
            else:
                high = middle - 1
        step = history[low % size * width :]
        delayed[d] = interpolate(step[3:], state, n, (at - step[0]) / step[1])


def stretch_frame(
    field: int,
    parameters: Floats,
    n: int,
    vectors: int,
    y: Floats,
    u: Floats,
    k: Floats,
    step: Floats,
    control: Floats,
    counters: Ints,
    options: Floats,
    target: Floats,
    end: Floats,
    segment: float,
    segments: int,
    growth: Floats,
    nothing: Floats,
    none: Ints,
) -> int:
    """Follow a state and its tangent vectors; after each segment make them orthonormal.

    `y` holds the n states and then the vectors. Adds the logarithms of their stretching to `growth`
    (modified Gram-Schmidt). Returns what `drive` does, or PARALLEL where the vectors became so.
    """
    whole = n + n * vectors
    for _ in range(segments):
        target[0] = control[0] + segment
        counters[NEXT_TIME] = 0
        status = drive(
            field,
            parameters,
            whole,
            0,
            none,
            nothing,
            nothing,
            nothing,
            nothing,
            0,
            y,
            u,
            k,
            step,
            1,
            control,
            counters,
            options,
            target,
            1,
            end,
            1_000_000,
        )
        if status != DONE:
            return status
        for a in range(1, vectors + 1):
            before = after = 0.0
            for i in range(n):
                before += square(y[a * n + i])
            for b in range(1, a):
                dot = 0.0
                for i in range(n):
                    dot += y[a * n + i] * y[b * n + i]
                for i in range(n):
                    y[a * n + i] -= dot * y[b * n + i]
            for i in range(n):
                after += square(y[a * n + i])
            if not after > 1e-20 * before:
                return PARALLEL
            size = math.sqrt(after)
            growth[a - 1] += math.log(size)
            for i in range(n):
                y[a * n + i] /= size
        call_field(field, control[0], y, nothing, parameters, k)
    return DONE


def stretch(
    address: int,
    parameters: np.ndarray,
    n: int,
    y: np.ndarray,
    k: np.ndarray,
    control: np.ndarray,
    counters: np.ndarray,
    options: np.ndarray,
    segment: float,
    segments: int,
    growth: np.ndarray,
) -> int:
    """`stretch_frame` with its scratch arrays; `k` has 16 rows as long as `y`."""
    nothing, none = np.zeros(0), np.zeros(0, dtype=np.int64)
    scratch = np.zeros(2 * y.size), np.zeros(3 + 8 * y.size), np.zeros(1), np.zeros(y.size)
    u, step, target, end = scratch
    return compiled().stretch_frame(
        address,
        parameters,
        n,
        y.size // n - 1,
        y,
        u,
        k,
        step,
        control,
        counters,
        options,
        target,
        end,
        segment,
        segments,
        growth,
        nothing,
        none,
    )


def evaluate_many(
    field: int,
    time: float,
    points: int,
    n: int,
    m: int,
    states: Floats,
    delayed: Floats,
    parameters: Floats,
    out: Floats,
) -> None:
    """The right-hand side at `points` states, each with its `m` delayed ones."""
    for point in range(points):
        call_field(
            field, time, states[point * n :], delayed[point * m :], parameters, out[point * n :]
        )
