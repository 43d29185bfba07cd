"""The time loops of models.reservoir, compiled by numba: import this module inside functions only.

States are stored (unit, lane) with a lane per window, so that every inner loop is over
neighbouring numbers; no fast-math, so a lane's numbers do not depend on how many lanes there are.
A lane that leaves |x| < limit is NaN from there on.
"""

# mypy: allow-untyped-defs

import numba
import numpy as np

# numpy's rules for division: Python's would put a test for zero, and a branch, into every loop.
compiled = numba.njit(cache=True, error_model="numpy")
# a * b + c in one rounding: the same whether lanes go four at a time or alone.
contracted = numba.njit(cache=True, error_model="numpy", fastmath={"contract"})
# Fewer lanes than this are done one by one: a loop over lanes costs more to start than to do.
FEW = 8


@compiled
def run_polynomial(weights, parents, variables, history, taps, stride, horizon, limit):
    """Iterate x <- x + weights^T p(x_t, x_{t-s}, …), where monomial f is parents[f] · variables[f].

    history: (windows, memory, dim), of which the last (taps - 1) · stride + 1 states are used.
    Returns (windows, horizon, dim).
    """
    lanes, known, dim = history.shape
    memory = (taps - 1) * stride + 1
    past = np.empty((memory, dim, lanes))  # ring: time t lies at t % memory
    for t in range(memory):
        for d in range(dim):
            for lane in range(lanes):
                past[t, d, lane] = history[lane, known - memory + t, d]
    features = weights.shape[0]
    inputs = np.empty((taps * dim, lanes))
    monomials = np.empty((features, lanes))
    monomials[0] = 1.0
    change = np.empty((dim, lanes))
    forecast = np.empty((lanes, horizon, dim))
    x = past[memory - 1].copy()
    for t in range(horizon):
        now = t + memory - 1
        for tap in range(taps):
            for d in range(dim):
                copy(past[(now - tap * stride) % memory, d], inputs[tap * dim + d])
        for d in range(dim):
            change[d] = weights[0, d]
        for f in range(1, features):
            for lane in range(lanes):
                monomials[f, lane] = monomials[parents[f], lane] * inputs[variables[f], lane]
            for d in range(dim):
                weight = weights[f, d]
                for lane in range(lanes):
                    change[d, lane] += weight * monomials[f, lane]
        if not advance(x, change, forecast, t, limit):
            break
        for d in range(dim):
            copy(x[d], past[(now + 1) % memory, d])
    return forecast


@compiled
def polynomial_tangent(weights, parents, variables, taps, stride, states, tangents):
    """One step of `run_polynomial`'s map, and its Jacobian times tangents.

    states: (windows, memory · dim), the oldest first; tangents: (windows, memory · dim,
    directions). Returns both after the step.
    """
    lanes, size, directions = tangents.shape
    features, dim = weights.shape
    following = np.empty_like(states)
    stretched = np.empty_like(tangents)
    monomials = np.ones(features)
    gradients = np.zeros((features, directions))
    for lane in range(lanes):
        old, new = tangents[lane], stretched[lane]
        copy(states[lane, dim:], following[lane, : size - dim])
        copy(states[lane, size - dim :], following[lane, size - dim :])
        for k in range(size):
            copy(old[k + dim if k < size - dim else k], new[k])
        for f in range(features):
            if f > 0:
                tap, d = divmod(variables[f], dim)
                k = size - dim - tap * stride * dim + d
                parent, variable = monomials[parents[f]], states[lane, k]
                monomials[f] = parent * variable
                for c in range(directions):
                    gradients[f, c] = gradients[parents[f], c] * variable + parent * old[k, c]
            for d in range(dim):
                weight = weights[f, d]
                following[lane, size - dim + d] += weight * monomials[f]
                for c in range(directions):
                    new[size - dim + d, c] += weight * gradients[f, c]
    return following, stretched


@compiled
def advance(x, change, forecast, t, limit):
    """x <- x + change, written to `forecast` at step t, NaN for a lane that leaves the limit.

    Returns whether any lane is still inside; if none is, the rest of the forecast is NaN.
    """
    dim, lanes = x.shape
    alive = False
    for lane in range(lanes):
        inside = True
        for d in range(dim):
            inside = inside and abs(x[d, lane] + change[d, lane]) < limit
        alive = alive or inside
        for d in range(dim):
            x[d, lane] = x[d, lane] + change[d, lane] if inside else np.nan
            forecast[lane, t, d] = x[d, lane]
    if not alive:
        forecast[:, t:] = np.nan
    return alive


@contracted
def drive(sources, links, input_weights, bias, leak, segments, washout, state):
    """Reservoir states (units, times - washout, lanes) under segments (lanes, times, dim).

    The lanes start in `state` (units, lanes), which becomes where they end; their first `washout`
    states are not recorded.
    """
    lanes, times, dim = segments.shape
    units = len(sources)
    states = np.empty((units, times - washout, lanes))
    field = np.empty((units, lanes))
    x = np.empty((dim, lanes))
    for t in range(times):
        for d in range(dim):
            for lane in range(lanes):
                x[d, lane] = segments[lane, t, d]
        step(sources, links, input_weights, bias, leak, x, state, field)
        if t >= washout:
            for i in range(units):
                for lane in range(lanes):
                    states[i, t - washout, lane] = state[i, lane]
    return states


@contracted
def run_reservoirs(
    sources,
    links,
    input_weights,
    bias,
    leak,
    readouts,
    squared,
    neighbours,
    overlap,
    states,
    context,
    horizon,
    limit,
):
    """Drive reservoirs by the context (windows, context, dim), then by their own output.

    They start in `states` (groups, units, windows), which becomes where they end: all but the last
    x of the forecast heard, so that a call with that x for context goes on with the run.

    One reservoir for each row of neighbours (groups, heard), all with the same weights: it hears
    these coordinates and changes those that are not in the `overlap` at either end. readouts:
    (1 or groups, units + heard + 1, outputs) on [h, squared where squared[i]; heard; 1]; the output
    is the change of x. Returns (windows, horizon, dim).
    """
    lanes, known, dim = context.shape
    groups, heard = neighbours.shape
    field = np.empty((len(sources), lanes))
    local, local_change = np.empty((heard, lanes)), np.empty((heard - 2 * overlap, lanes))
    x = np.empty((dim, lanes))
    change = np.empty((dim, lanes))
    forecast = np.empty((lanes, horizon, dim))
    for t in range(known + horizon - 1):
        if t < known:
            for d in range(dim):
                for lane in range(lanes):
                    x[d, lane] = context[lane, t, d]
        for g in range(groups):
            for k in range(heard):
                copy(x[neighbours[g, k]], local[k])
            step(sources, links, input_weights, bias, leak, local, states[g], field)
            if t >= known - 1:
                read(readouts[g % len(readouts)], squared, states[g], local, local_change)
                for k in range(len(local_change)):
                    copy(local_change[k], change[neighbours[g, overlap + k]])
        if t >= known - 1 and not advance(x, change, forecast, t - known + 1, limit):
            break
    return forecast


@contracted
def reservoirs_tangent(
    sources,
    links,
    input_weights,
    bias,
    leak,
    readouts,
    squared,
    neighbours,
    overlap,
    states,
    tangents,
):
    """One step of `run_reservoirs`' closed loop, and its Jacobian times tangents.

    states: (windows, groups * units + dim), the reservoirs before they hear x, then x; tangents:
    (windows, groups * units + dim, directions). Returns both after the step.
    """
    lanes, size, directions = tangents.shape
    groups, heard = neighbours.shape
    units = len(sources)
    first_x = groups * units
    # the tangents of all lanes side by side: inner loops are then long enough to be vectorised
    old = np.ascontiguousarray(tangents.transpose(1, 0, 2)).reshape(size, lanes * directions)
    new, pull = np.empty_like(old), np.empty(lanes * directions)
    following = np.empty_like(states)
    field, state = np.empty((units, lanes)), np.empty((units, lanes))
    local, change = np.empty((heard, lanes)), np.empty((heard - 2 * overlap, lanes))
    for g in range(groups):
        first = g * units
        readout = readouts[g % len(readouts)]
        for i in range(units):
            for lane in range(lanes):
                state[i, lane] = states[lane, first + i]
        for k in range(heard):
            for lane in range(lanes):
                local[k, lane] = states[lane, first_x + neighbours[g, k]]
        step(sources, links, input_weights, bias, leak, local, state, field)
        read(readout, squared, state, local, change)
        slopes = field.ravel()  # the field is not needed any more
        for i in range(units * lanes):  # a loop of its own: it is vectorised
            slopes[i] = leak * (1 - tanh(slopes[i]) ** 2)
        for i in range(units):
            pull[:] = 0.0
            for j in range(sources.shape[1]):
                add(pull, links[i, j], old[first + sources[i, j]])
            for k in range(heard):
                add(pull, input_weights[i, k], old[first_x + neighbours[g, k]])
            for lane in range(lanes):
                following[lane, first + i] = state[i, lane]
                for c in range(lane * directions, (lane + 1) * directions):
                    new[first + i, c] = (1 - leak) * old[first + i, c] + field[i, lane] * pull[c]
        for d in range(heard - 2 * overlap):
            own = first_x + neighbours[g, overlap + d]
            copy(old[own], pull)
            for i in range(units):
                weight = readout[i, d]
                if squared[i]:
                    for lane in range(lanes):
                        for c in range(lane * directions, (lane + 1) * directions):
                            pull[c] += 2 * weight * state[i, lane] * new[first + i, c]
                else:
                    add(pull, weight, new[first + i])
            for k in range(heard):
                add(pull, readout[units + k, d], old[first_x + neighbours[g, k]])
            copy(pull, new[own])
            for lane in range(lanes):
                following[lane, own] = states[lane, own] + change[d, lane]
    stretched = np.ascontiguousarray(new.reshape(size, lanes, directions).transpose(1, 0, 2))
    return following, stretched


@compiled
def copy(source, target):
    """target <- source, for two rows.

    `target[:] = source` does the same, but numba then compiles the message for rows that do not fit
    as well: some two seconds for each function that has one.
    """
    for c in range(len(target)):
        target[c] = source[c]


@contracted
def add(total, weight, x):
    """total <- total + weight · x, for two rows."""
    for c in range(len(total)):
        total[c] += weight * x[c]


@contracted
def step(sources, links, input_weights, bias, leak, x, state, field):
    """state <- (1 - leak) state + leak tanh(W state + W_in x + b), in place.

    Unit i hears the units sources[i] with the weights links[i]: a fixed in-degree.
    """
    units, lanes = state.shape
    for i in range(units):
        if lanes < FEW:
            for lane in range(lanes):
                pull = bias[i]
                for d in range(len(x)):
                    pull += input_weights[i, d] * x[d, lane]
                for j in range(sources.shape[1]):
                    pull += links[i, j] * state[sources[i, j], lane]
                field[i, lane] = pull
        else:
            for lane in range(lanes):
                field[i, lane] = bias[i]
            for d in range(len(x)):
                weight = input_weights[i, d]
                for lane in range(lanes):
                    field[i, lane] += weight * x[d, lane]
            for j in range(sources.shape[1]):
                source, weight = sources[i, j], links[i, j]
                for lane in range(lanes):
                    field[i, lane] += weight * state[source, lane]
    flat_field, flat_state = field.ravel(), state.ravel()
    for i in range(units * lanes):
        flat_state[i] = (1 - leak) * flat_state[i] + leak * tanh(flat_field[i])


@contracted
def read(readout, squared, state, x, change):
    """change <- readout^T [state, squared where squared[i]; x; 1]."""
    units, lanes = state.shape
    dim, outputs = len(x), len(change)
    for d in range(outputs):
        change[d] = readout[units + dim, d]
    if lanes < FEW:
        for d in range(outputs):
            for lane in range(lanes):
                total = change[d, lane]
                for i in range(units):
                    h = state[i, lane]
                    total += readout[i, d] * (h * h if squared[i] else h)
                for k in range(dim):
                    total += readout[units + k, d] * x[k, lane]
                change[d, lane] = total
        return
    for i in range(units + dim):
        for d in range(outputs):
            weight = readout[i, d]
            if i >= units:
                for lane in range(lanes):
                    change[d, lane] += weight * x[i - units, lane]
            elif squared[i]:
                for lane in range(lanes):
                    change[d, lane] += weight * (state[i, lane] * state[i, lane])
            else:
                for lane in range(lanes):
                    change[d, lane] += weight * state[i, lane]


@contracted
def tanh(x):
    """E / (E + 2) with E = exp(2x) - 1, without a branch, so that loops over it are vectorised.

    Eight times faster here than the C library's, one call at a time, and as exact (a few 1e-16).
    exp(2x) - 1 = 2^n expm1(r) + 2^n - 1 with 2x = n log 2 + r; the Taylor series of expm1 to
    order 14 is exact to rounding for |r| <= log(2)/2, and tanh is 1 beyond |x| = 20.
    """
    y = 2.0 * min(max(x, -20.0), 20.0)
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
    minus_one = power * series + (power - 1.0)
    return minus_one / (minus_one + 2.0)
