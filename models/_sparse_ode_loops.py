"""The integrator of models.sparse_ode, compiled by numba: import this module inside functions only.

A polynomial field has exact Taylor coefficients at the price of one product of series a monomial,
so a step is a Taylor expansion of order ORDER whose length follows from its last coefficients.
Series are stored (…, coefficient, lane) with a lane per window, so that every inner loop is over
neighbouring numbers. Each lane has steps of its own, and no fast-math: its numbers do not depend
on the other lanes.
"""

# mypy: allow-untyped-defs

import numba
import numpy as np

# numpy's rules for division: Python's would put a test for zero, and a branch, into every loop.
compiled = numba.njit(cache=True, error_model="numpy")

ORDER = 14
# Jorba & Zou, Experimental Mathematics 14, 99 (2005): at e^-2 of the radius of convergence the
# last term is e^-28 = 7e-13 of the first.
SHARE = np.exp(-2.0)
MOST_STEPS = 24  # a sample; a field that needs more is stiff beyond use, or blows up
LANES = 8  # windows side by side: of large libraries 16 would not fit into the cache


@compiled
def run_field(weights, parents, variables, start, horizon, limit):
    """Integrate x' = weights^T p(x), time in samples; monomial f is parents[f] · variables[f].

    start: (windows, dim). Returns (windows, horizon, dim), NaN from where |x| reaches `limit`.
    Steps end where the expansion does, and samples are read off on the way. A lane whose window has
    ended takes the next one, so none waits for another.
    """
    windows, dim = start.shape
    forecast = np.full((windows, horizon, dim), np.nan)
    series = np.zeros((dim, ORDER + 1, LANES))
    monomials = np.empty((len(parents), ORDER, LANES))
    window = np.full(LANES, -1)  # that the lane is at; -1: none
    arrived = np.zeros(LANES, dtype=np.int64)  # samples
    ahead = np.zeros(LANES)  # of the last sample
    steps = np.zeros(LANES, dtype=np.int64)  # since the last sample
    waiting = 0  # the next window that has no lane yet
    while True:
        for lane in range(LANES):
            if window[lane] < 0 and waiting < windows:
                window[lane], arrived[lane], ahead[lane], steps[lane] = waiting, 0, 0.0, 0
                series[:, 0, lane] = start[waiting]
                waiting += 1
        if window.max() < 0:
            return forecast
        expand(weights, parents, variables, series, monomials)
        for lane in range(LANES):
            if window[lane] < 0:
                continue
            step = reach(series, lane)
            inside = step > 0.0  # False for NaN
            steps[lane] += 1
            while inside and arrived[lane] < horizon and 1.0 - ahead[lane] <= step:
                following = forecast[window[lane], arrived[lane]]
                inside = evaluate(series, lane, 1.0 - ahead[lane], limit, following)
                if not inside:
                    following[:] = np.nan
                ahead[lane] -= 1.0
                arrived[lane] += 1
                steps[lane] = 0
            inside = inside and evaluate(series, lane, step, limit, series[:, 0, lane])
            ahead[lane] += step
            if not inside or arrived[lane] == horizon or steps[lane] == MOST_STEPS:
                window[lane] = -1
                series[:, 0, lane] = 0.0


@compiled
def field_tangent(weights, parents, variables, states, tangents):
    """One sample of `run_field` from states (windows, dim), and its Jacobian times tangents
    (windows, dim, directions): the variational equations, expanded along with the field."""
    windows, dim, directions = tangents.shape
    features = len(parents)
    following = states.copy()
    stretched = tangents.copy()
    series = np.empty((dim, ORDER + 1, 1))
    monomials = np.empty((features, ORDER, 1))
    varied = np.empty((dim, ORDER + 1, directions))
    gradients = np.zeros((features, ORDER, directions))
    for window in range(windows):
        series[:, 0, 0] = states[window]
        left = 1.0
        for _ in range(MOST_STEPS):
            if not left > 0.0:
                break
            expand(weights, parents, variables, series, monomials)
            step = min(left, reach(series, 0))
            left -= step
            varied[:, 0] = stretched[window]
            for k in range(ORDER):
                for f in range(1, features):
                    parent, variable = parents[f], variables[f]
                    gradient = gradients[f, k]
                    gradient[:] = 0.0
                    for j in range(k + 1):
                        outer, inner = series[variable, k - j, 0], monomials[parent, j, 0]
                        for c in range(directions):
                            gradient[c] += outer * gradients[parent, j, c]
                            gradient[c] += inner * varied[variable, k - j, c]
                integrate(weights, gradients, varied, k)
            for d in range(dim):
                add_up(varied[d], np.full(directions, step))
                add_up(series[d], np.full(1, step))
            stretched[window] = varied[:, 0]
        for d in range(dim):
            following[window, d] = series[d, 0, 0] if left <= 0.0 else np.nan
    return following, stretched


@compiled
def expand(weights, parents, variables, series, monomials):
    """Fill in the Taylor coefficients of x and of the monomials from x = series[:, 0]."""
    lanes = series.shape[2]
    for k in range(ORDER):
        for lane in range(lanes):
            monomials[0, k, lane] = 1.0 if k == 0 else 0.0
        for f in range(1, len(parents)):
            one, other = parents[f], variables[f]
            for lane in range(lanes):
                monomials[f, k, lane] = 0.0
            for j in range(k + 1):
                for lane in range(lanes):
                    monomials[f, k, lane] += monomials[one, j, lane] * series[other, k - j, lane]
        integrate(weights, monomials, series, k)


@compiled
def integrate(weights, integrand, series, k):
    """Coefficient k + 1 of the integral of weights^T integrand."""
    dim, _, lanes = series.shape
    for d in range(dim):
        for lane in range(lanes):
            series[d, k + 1, lane] = 0.0
    for f in range(len(weights)):
        for d in range(dim):
            weight = weights[f, d] / (k + 1)
            if weight != 0.0:
                for lane in range(lanes):
                    series[d, k + 1, lane] += weight * integrand[f, k, lane]


@compiled
def reach(series, lane):
    """How far the expansion is good to 1e-12, from its last two coefficients."""
    scale, before, last = 1.0, 0.0, 0.0
    for d in range(len(series)):
        scale = max(scale, abs(series[d, 0, lane]))
        before = max(before, abs(series[d, ORDER - 1, lane]))
        last = max(last, abs(series[d, ORDER, lane]))
    return SHARE * min((scale / before) ** (1.0 / (ORDER - 1)), (scale / last) ** (1.0 / ORDER))


@compiled
def evaluate(series, lane, time, limit, state):
    """state <- the lane's series at a time; returns whether it is inside the limit."""
    inside = True
    for d in range(len(series)):
        total = series[d, ORDER, lane]
        for k in range(ORDER - 1, -1, -1):
            total = total * time + series[d, k, lane]
        state[d] = total
        inside = inside and abs(total) < limit
    return inside


@compiled
def add_up(coefficients, time):
    """coefficients[0] <- the value of each lane's series at its time."""
    for lane in range(len(time)):
        total = coefficients[ORDER, lane]
        for k in range(ORDER - 1, -1, -1):
            total = total * time[lane] + coefficients[k, lane]
        coefficients[0, lane] = total
