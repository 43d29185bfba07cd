"""The compiled part of the integrator (numba, cached on disk): import it only to integrate.

No fast-math: the order of operations is the one written here, on every machine.
"""

import math
from typing import Any

import llvmlite.ir as ir
import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from systems.integrate_numba import (
    COLLAPSED,
    DONE,
    GO_ON,
    HISTORY_FULL,
    NEWEST,
    NEXT_STOP,
    NEXT_TIME,
    NOT_FINITE,
    OLDEST,
    REJECTED,
    STARTED,
    STEPS,
    TINY,
)
from systems.tableaux import DENSE, ERROR_3, ERROR_5, A, C

_FIELD_ARGUMENTS = 4

# all combinations of stages as the rows of one sparse matrix: 0-15 A, then the two error
# estimates, then the four of the dense output
_ERROR_5, _ERROR_3, _DENSE = 16, 17, 18
_rows = [*A, *(np.pad(row, (0, 3)) for row in (ERROR_5, ERROR_3)), *DENSE]
_STAGE = np.concatenate([np.flatnonzero(row) for row in _rows])
_WEIGHT = np.concatenate([row[row != 0.0] for row in _rows])
_BEGIN = np.cumsum([0, *(np.count_nonzero(row) for row in _rows)])


@intrinsic
def call_field(typing, address, time, states, delayed, parameters, out):  # type: ignore[no-untyped-def]
    """Call the machine code at `address` on the data of four arrays."""
    signature = types.void(address, time, states, delayed, parameters, out)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        double, pointer = ir.DoubleType(), ir.PointerType(ir.DoubleType())
        function_type = ir.FunctionType(ir.VoidType(), [double, *[pointer] * _FIELD_ARGUMENTS])
        function = builder.inttoptr(arguments[0], function_type.as_pointer())
        data = [
            cgutils.create_struct_proxy(kind)(context, builder, value).data
            for kind, value in zip(signature.args[2:], arguments[2:], strict=True)
        ]
        builder.call(function, [arguments[1], *data])
        return context.get_dummy_value()

    return signature, generate


_float1 = types.Array(types.float64, 1, "C")
_float2 = types.Array(types.float64, 2, "C")
_int1 = types.Array(types.int64, 1, "C")


@njit(
    types.void(types.int64, types.float64, _float2, _float2, _float1, _float2),
    cache=True,
    error_model="numpy",
)
def evaluate_many(address, time, states, delayed, parameters, out):  # type: ignore[no-untyped-def]
    """The right-hand side at many states (points, dim)."""
    for i in range(states.shape[0]):
        call_field(address, time, states[i], delayed[i], parameters, out[i])


@njit(inline="always", error_model="numpy")
def _combine(row, k, i):  # type: ignore[no-untyped-def]
    """Σ_j weight_j k_j for component i."""
    total = 0.0
    for q in range(_BEGIN[row], _BEGIN[row + 1]):
        total += _WEIGHT[q] * k[_STAGE[q], i]
    return total


@njit(inline="always", error_model="numpy")
def _interpolate(row, i, n, x):  # type: ignore[no-untyped-def]
    """Component i of a stored step at the fraction x of its length (Hairer et al. 1993, II.6)."""
    y = 1.0 - x
    at = 3 + i
    value = row[at + 6 * n] + x * row[at + 7 * n]
    value = row[at + 5 * n] + y * value
    value = row[at + 4 * n] + x * value
    value = row[at + 3 * n] + y * value
    value = row[at + 2 * n] + x * value
    value = row[at + n] + y * value
    return row[at] + x * value


@njit(error_model="numpy")
def _look_back(when, delays, delayed_states, past, start, history, counters, n, delayed):  # type: ignore[no-untyped-def]
    """Fill in the delayed states at time `when`, from the stored steps or the constant history."""
    size = history.shape[0]
    for d in range(delays.shape[0]):
        state = delayed_states[d]
        at = when - delays[d]
        if at <= start or counters[NEWEST] == 0:
            delayed[d] = past[state]
            continue
        low, high = counters[OLDEST], counters[NEWEST] - 1
        while low < high:  # the newest step that begins at or before `at`
            middle = (low + high + 1) // 2
            if history[middle % size, 0] <= at:
                low = middle
            else:
                high = middle - 1
        row = history[low % size]
        delayed[d] = _interpolate(row, state, n, (at - row[0]) / row[1])


@njit(
    types.int64(
        types.int64,
        _float1,
        _int1,
        _float1,
        _float1,
        _float1,
        _float1,
        _float2,
        _float2,
        _float1,
        _int1,
        _float1,
        _float1,
        _float2,
        types.int64,
    ),
    cache=True,
    error_model="numpy",
)
def drive(  # type: ignore[no-untyped-def]
    address,
    parameters,
    delayed_states,
    delays,
    stops,
    past,
    y,
    k,
    history,
    control,
    counters,
    options,
    times,
    out,
    budget,
):
    """Advance one trajectory until `times` are filled, or `budget` steps are done.

    `y`, `k`, `history`, `control`, `counters` hold the whole state, so that a later call goes on.
    A row of `history`: begin, length, end, then 8 polynomial coefficients for each component.
    """
    n = y.shape[0]
    m = delays.shape[0]
    rtol, atol, floor, start = options[0], options[1], options[2], options[3]
    t, t_error, h = control[0], control[1], control[2]
    u = np.empty(n)
    end = np.empty(n)
    delayed = np.empty(max(m, 1))
    shortest = math.inf
    longest = 0.0
    for d in range(m):
        shortest = min(shortest, delays[d])
        longest = max(longest, delays[d])
    size = history.shape[0]

    if counters[STARTED] == 0:
        counters[STARTED] = 1
        _look_back(t, delays, delayed_states, past, start, history, counters, n, delayed)
        call_field(address, t, y, delayed, parameters, k[0])
        # Hairer et al. II.4: a first step by the sizes of state and derivative
        size_y = size_k = 0.0
        for i in range(n):
            scale = atol + rtol * abs(y[i])
            size_y += (y[i] / scale) ** 2
            size_k += (k[0, i] / scale) ** 2
        h = 1e-6 if size_k < 1e-10 or size_y < 1e-10 else 1e-3 * math.sqrt(size_y / size_k)
        while counters[NEXT_TIME] < times.shape[0] and times[counters[NEXT_TIME]] <= t:
            for i in range(n):
                out[counters[NEXT_TIME], i] = y[i]
            counters[NEXT_TIME] += 1

    status = DONE
    used = 0
    while counters[NEXT_TIME] < times.shape[0]:
        if used >= budget:
            status = GO_ON
            break
        if m > 0:
            while (
                counters[OLDEST] < counters[NEWEST]
                and history[counters[OLDEST] % size, 2] < t - longest
            ):
                counters[OLDEST] += 1
            if counters[NEWEST] - counters[OLDEST] >= size - 1:
                status = HISTORY_FULL
                break
            h = min(h, shortest)
        at_stop = False
        if counters[NEXT_STOP] < stops.shape[0]:
            remaining = (stops[counters[NEXT_STOP]] - t) - t_error
            if h >= remaining * 0.999999:
                h = remaining
                at_stop = True
        if not abs(h) > 1e-15 * abs(t) + 1e-300:
            status = COLLAPSED
            break
        used += 1
        counters[STEPS] += 1

        for s in range(1, 13):
            for i in range(n):
                u[i] = y[i] + h * _combine(s, k, i)
            when = t + C[s] * h
            if m > 0:
                _look_back(when, delays, delayed_states, past, start, history, counters, n, delayed)
            call_field(address, when, u, delayed, parameters, k[s])
        for i in range(n):
            end[i] = u[i]

        error_5 = error_3 = 0.0
        finite = True
        for i in range(n):
            scale = atol + rtol * max(abs(y[i]), abs(end[i]))
            error_5 += (_combine(_ERROR_5, k, i) / scale) ** 2
            error_3 += (_combine(_ERROR_3, k, i) / scale) ** 2
            if not math.isfinite(end[i]):
                finite = False
        denominator = error_5 + 0.01 * error_3
        error = 0.0
        if denominator > 0.0:
            error = abs(h) * error_5 / math.sqrt(denominator * n)
        if not finite or not math.isfinite(error):
            error = 1e16
        # sliding along a discontinuity: no step length satisfies the estimate
        sliding = floor > 0.0 and counters[TINY] > 50 and abs(h) <= floor and finite
        factor = 6.0
        if error > 1e-12:
            factor = 0.9 / math.sqrt(math.sqrt(math.sqrt(error)))
        if error > 1.0 and not sliding:
            if not finite and abs(h) < 1e-12 * (1.0 + abs(t)):
                status = NOT_FINITE
                break
            h *= max(0.1, factor)
            counters[REJECTED] = 1
            continue
        if floor > 0.0:
            if error > 1.0:
                factor = 1.0
            elif abs(h) < 0.01 * floor:
                counters[TINY] += 1
            elif abs(h) >= floor:
                counters[TINY] = 0
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

        wanted = times[counters[NEXT_TIME]] <= t_next
        if wanted or m > 0:
            for s in range(13, 16):
                for i in range(n):
                    u[i] = y[i] + h * _combine(s, k, i)
                when = t + C[s] * h
                if m > 0:
                    _look_back(
                        when, delays, delayed_states, past, start, history, counters, n, delayed
                    )
                call_field(address, when, u, delayed, parameters, k[s])
            row = history[counters[NEWEST] % size]
            row[0], row[1], row[2] = t, h, t_next
            for i in range(n):
                step = end[i] - y[i]
                row[3 + i] = y[i]
                row[3 + n + i] = step
                row[3 + 2 * n + i] = h * k[0, i] - step
                row[3 + 3 * n + i] = 2.0 * step - h * (k[12, i] + k[0, i])
                for r in range(4):
                    row[3 + (4 + r) * n + i] = h * _combine(_DENSE + r, k, i)
            while counters[NEXT_TIME] < times.shape[0] and times[counters[NEXT_TIME]] <= t_next:
                x = ((times[counters[NEXT_TIME]] - t) - t_error) / h
                for i in range(n):
                    out[counters[NEXT_TIME], i] = _interpolate(row, i, n, x)
                counters[NEXT_TIME] += 1
            if m > 0:
                counters[NEWEST] += 1

        t, t_error, h = t_next, t_error_next, h_next
        for i in range(n):
            y[i] = end[i]
            k[0, i] = k[12, i]

    control[0], control[1], control[2] = t, t_error, h
    return status


@njit(
    types.int64(
        types.int64,
        _float1,
        types.int64,
        _float1,
        _float2,
        _float1,
        _int1,
        _float1,
        types.float64,
        types.int64,
        _float1,
    ),
    cache=True,
    error_model="numpy",
)
def stretch(  # type: ignore[no-untyped-def]
    address, parameters, n, y, k, control, counters, options, segment, segments, growth
):
    """Follow a state and its tangent vectors; after each segment make them orthonormal.

    `y` holds the n states and then the vectors. Adds the logarithms of their stretching to `growth`
    (modified Gram-Schmidt). Returns the driver's status, or -1 where vectors became parallel.
    """
    vectors = y.shape[0] // n - 1
    none = np.empty(0, np.int64)
    nothing = np.empty(0)
    history = np.empty((1, 3 + 8 * y.shape[0]))
    target = np.empty(1)
    out = np.empty((1, y.shape[0]))
    for _ in range(segments):
        target[0] = control[0] + segment
        counters[NEXT_TIME] = 0
        status = drive(
            address,
            parameters,
            none,
            nothing,
            nothing,
            y,
            y,
            k,
            history,
            control,
            counters,
            options,
            target,
            out,
            1_000_000,
        )
        if status != DONE:
            return status
        for a in range(1, vectors + 1):
            before = after = 0.0
            for i in range(n):
                before += y[a * n + i] ** 2
            for b in range(1, a):
                dot = 0.0
                for i in range(n):
                    dot += y[a * n + i] * y[b * n + i]
                for i in range(n):
                    y[a * n + i] -= dot * y[b * n + i]
            for i in range(n):
                after += y[a * n + i] ** 2
            if not after > 1e-20 * before:
                return -1
            size = math.sqrt(after)
            growth[a - 1] += math.log(size)
            for i in range(n):
                y[a * n + i] /= size
        call_field(address, control[0], y, nothing, parameters, k[0])
    return DONE
