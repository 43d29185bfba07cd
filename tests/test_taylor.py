"""The Taylor integrator against exact solutions, mpmath, DOP853, and itself in other company."""

import ctypes
import math

import mpmath
import numpy as np
import pytest

import systems
from systems import machine_code
from systems.integrate import IntegrationError, compiled_field, integrate
from systems.integrate_taylor import Lanes
from systems.jets import has_series
from systems.lanes import Code, DoubleDoubles
from systems.llvm import compile_field
from systems.lyapunov import _tangent_exponents
from systems.solve import precision_of, solve
from systems.tangent import growth_rates

# ---- double-double arithmetic --------------------------------------------------------------------


def run_on_pairs(name, write, *arguments):
    """`write(numbers, *values)` on arrays (4, 2) of high and low parts, in four lanes."""
    code = Code()
    numbers = DoubleDoubles(code, 4)
    values = [numbers.load(f"%a{i}") for i in range(len(arguments))]
    numbers.store(write(numbers, *values), "%out")
    slots = ", ".join(f"ptr %a{i}" for i in range(len(arguments)))
    text = "\n".join(sorted(code.external)) + (
        f"\ndefine void @{name}({slots}, ptr %out) {{\nentry:\n"
        + "\n".join(code.lines)
        + "\n  ret void\n}\n"
    )
    (address,) = machine_code.addresses([name], [text], lambda: text)
    arrays = [np.ascontiguousarray(np.asarray(a, dtype=float).T) for a in arguments]
    out = np.zeros((2, 4))
    pointers = [array.ctypes.data for array in [*arrays, out]]
    ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(pointers))(address)(*pointers)
    return out.T


def exact(pair):
    return mpmath.mpf(float(pair[0])) + mpmath.mpf(float(pair[1]))


def pairs(values, rng):
    """Doubles with a random low part, of at most half an ulp."""
    high = np.asarray(values, dtype=float)
    return np.stack([high, high * rng.uniform(-1, 1, high.shape) * 2.0**-54], axis=1)


@pytest.mark.parametrize("operation", ["add", "subtract", "multiply", "divide"])
def test_double_double_arithmetic_has_thirty_digits(operation):
    rng = np.random.default_rng(0)
    a = pairs([1.7, -3e5, 0.1, 2.5e-8], rng)
    b = pairs([-1.6999999, 7.0, 0.3, 2.5e-8], rng)
    found = run_on_pairs(f"pair_{operation}", lambda n, x, y: getattr(n, operation)(x, y), a, b)
    symbols = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}
    with mpmath.workdps(60):
        for x, y, z in zip(a, b, found, strict=True):
            true = eval(f"x {symbols[operation]} y", {"x": exact(x), "y": exact(y)})
            assert abs(exact(z) - true) <= 4 * 2.0**-104 * abs(true)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("sqrt", [2.0, 1e-7, 5e9, 0.3]),
        ("exp", [0.3, -60.0, 200.5, 1e-9]),
        ("log", [3.0, 1e-12, 7e8, 0.9]),
        ("sin", [0.3, -2.0, 4711.3, 25.0]),
        ("cos", [0.3, -2.0, 4711.3, 25.0]),
        ("tan", [0.3, -2.0, 4711.3, 25.1]),
        ("sinh", [0.5, -3.0, 30.0, 1.0]),
        ("cosh", [0.5, -3.0, 30.0, 1.0]),
        ("tanh", [0.5, -3.0, 300.0, -18.5]),
    ],
)
def test_double_double_functions_have_thirty_digits(function, arguments):
    a = pairs(arguments, np.random.default_rng(1))
    found = run_on_pairs(f"pair_{function}", lambda n, x: n.apply(function, x), a)
    with mpmath.workdps(60):
        for x, y in zip(a, found, strict=True):
            true = getattr(mpmath, function)(exact(x))
            argument = max(1.0, abs(float(x[0])))  # whose rounding the function magnifies
            assert abs(exact(y) - true) <= 1e-30 * argument * max(abs(true), 1e-3)


# ---- recurrences, against solutions in closed form -----------------------------------------------

# equation, solution of x(0) = x0
SOLUTIONS = {
    "-x*x": lambda x, t: x / (1 + x * t),
    "x*(1 - x)": lambda x, t: 1 / (1 + (1 / x - 1) * mpmath.exp(-t)),
    "1/(2*x)": lambda x, t: mpmath.sqrt(x * x + t),
    "(1 + x)/(2 + x - 1)": lambda x, t: x + t,
    "x/2/0.25": lambda x, t: x * mpmath.exp(2 * t),
    "sqrt(x)": lambda x, t: (mpmath.sqrt(x) + t / 2) ** 2,
    "exp(-x)": lambda x, t: mpmath.log(mpmath.exp(x) + t),
    "-x*log(x)": lambda x, t: mpmath.exp(mpmath.log(x) * mpmath.exp(-t)),
    "sin(x)": lambda x, t: 2 * mpmath.atan(mpmath.exp(t) * mpmath.tan(x / 2)),
    "cos(x)": lambda x, t: 2 * mpmath.atan(mpmath.tanh(t / 2 + mpmath.atanh(mpmath.tan(x / 2)))),
    "tan(x)": lambda x, t: mpmath.asin(mpmath.exp(t) * mpmath.sin(x)),
    "sinh(x)": lambda x, t: 2 * mpmath.atanh(mpmath.exp(t) * mpmath.tanh(x / 2)),
    "1/cosh(x)": lambda x, t: mpmath.asinh(mpmath.sinh(x) + t),
    "tanh(x)": lambda x, t: mpmath.asinh(mpmath.exp(t) * mpmath.sinh(x)),
    "x**1.5": lambda x, t: (1 / mpmath.sqrt(x) - t / 2) ** -2,
    "x**(0.5*(1 + 0*x))": lambda x, t: (mpmath.sqrt(x) + t / 2) ** 2,
    "x**3": lambda x, t: 1 / mpmath.sqrt(1 / (x * x) - 2 * t),
    "x*cos(t)": lambda x, t: x * mpmath.exp(mpmath.sin(t)),
}


@pytest.mark.parametrize("precision", ["double", "double-double"])
@pytest.mark.parametrize("equation", SOLUTIONS)
def test_solutions_are_right_to_the_rounding_of_float64(equation, precision, make_system):
    system = make_system({"x": equation}, [0.3])
    times = np.array([0.0, 0.1, 0.37, 1.0])
    states, failures = solve(system, times, np.array([[0.3]]), precision=precision)
    with mpmath.workdps(50):
        true = [float(SOLUTIONS[equation](mpmath.mpf(0.3), mpmath.mpf(t))) for t in times]
    assert not failures
    ulps = 2 if precision == "double-double" else 8
    assert np.abs(states[0, :, 0] - true).max() <= ulps * 2.0**-53 * max(np.abs(true))


def test_double_double_keeps_its_digits_over_many_periods(make_system):
    """An oscillator after 1000 periods: the phase error of double precision shows."""
    system = make_system({"x": "y", "y": "-x"}, [1.0, 0.0])
    times = 2 * math.pi * np.array([0.0, 1000.0])
    with mpmath.workdps(40):
        end = mpmath.mpf(times[1])
        true = np.array([float(mpmath.cos(end)), float(-mpmath.sin(end))])
    errors = {
        precision: np.abs(
            solve(system, times, np.ones((1, 2)) * [1, 0], precision=precision)[0][0, 1] - true
        ).max()
        for precision in ("double", "double-double")
    }
    assert errors["double-double"] <= 2.0**-53
    assert errors["double"] < 1e-12


# ---- lanes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["double", "double-double"])
@pytest.mark.parametrize("name", ["Lorenz", "Thomas", "CellCycle"])
def test_a_trajectory_has_the_same_bits_in_any_company(name, precision):
    system = systems.load(name)
    rng = np.random.default_rng(2)
    initial = np.array(system.initial) * (1 + 1e-2 * rng.standard_normal((5, system.dimension)))
    times = np.linspace(0, 2 * system.period, 41)
    together, _ = solve(system, times, initial, precision=precision)
    alone = [solve(system, times, state[None], precision=precision)[0][0] for state in initial]
    assert np.array_equal(together, np.stack(alone))
    assert not np.array_equal(together[0], together[1])


def test_a_run_that_is_continued_equals_a_run_in_one_go():
    system = systems.load("Rossler")
    times = np.linspace(0, 10 * system.period, 501)
    initial = np.array([system.initial])

    def lanes():
        return Lanes(system, initial, width=1, precision="double-double")

    begun = lanes()
    pieces = [begun.advance(part) for part in np.split(times, [1, 7, 130, 131])]
    assert np.array_equal(np.concatenate(pieces, axis=1), lanes().advance(times))


def test_one_lane_that_diverges_leaves_the_others_alone(make_system):
    system = make_system({"x": "x*x"}, [1.0])
    times = np.linspace(0, 2, 9)
    states, failures = solve(system, times, np.array([[-1.0], [1.0], [0.25]]), precision="double")
    assert list(failures) == [1] and "diverges" in failures[1]
    assert np.allclose(states[0, :, 0], -1 / (1 + times), rtol=1e-14)
    assert np.allclose(states[2, :, 0], 0.25 / (1 - 0.25 * times), rtol=1e-14)
    assert np.allclose(states[1, :4, 0], 1 / (1 - times[:4])) and np.isnan(states[1, -1, 0])


def test_a_solution_that_spirals_out_is_given_up(make_system):
    """It oscillates faster the farther out it is, and never overflows in finite time."""
    r2 = "(x*x + y*y)"
    system = make_system({"x": f"0.5*x - y*{r2}", "y": f"0.5*y + x*{r2}"}, [1.0, 0.0])
    states, failures = solve(system, np.array([1.0, 100.0]), np.array([[1.0, 0.0]]))
    assert "more than 50000 steps a period" in failures[0]
    assert np.hypot(*states[0, 0]) == pytest.approx(math.exp(0.5), rel=1e-15)


def test_each_lane_starts_at_a_time_of_its_own(make_system):
    system = make_system({"x": "x*cos(t)"}, [1.0])
    starts, epochs = np.array([-1.0, -3.0]), np.array([0.5, 2.0])
    states, _ = solve(system, np.array([0.0, 1.0]), np.ones((2, 1)), starts=starts, epochs=epochs)
    for i in range(2):
        change = np.sin(epochs[i] + np.array([0.0, 1.0])) - np.sin(epochs[i] + starts[i])
        assert np.allclose(states[i, :, 0], np.exp(change), rtol=1e-14)


# ---- the catalog ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in systems.names() if has_series(systems.load(n))])
def test_taylor_agrees_with_dop853_over_half_a_period(name):
    """Another method, another compiler path. Steep switches (tanh of 60 sin) are in it: a step
    that leaps over one is wrong by far more than this."""
    system = systems.load(name)
    initial = np.array([system.initial])
    times = np.linspace(0, system.period / 2, 11)
    taylor, failures = solve(system, times, initial, precision="double")
    other = integrate(compile_field(system), times, initial, name=name)
    scale = np.abs(other).max() + np.ptp(other[0], axis=0)
    assert not failures
    assert (np.abs(taylor - other) / scale).max() < 1e-9


def test_equations_with_a_removable_singularity_are_left_to_dop853():
    """The dysts edition writes u/(1 - exp(-u)) out; the other has exprel."""
    for edition in ("corrected", "dysts"):
        system = systems.load("ExcitableCell", edition)
        assert not has_series(system)
        assert np.isfinite(system.trajectory(100, transient=1, cache=False).states).all()


def test_large_families_are_left_to_dop853():
    """Their series would take minutes to compile."""
    assert has_series(systems.load("Lorenz96", size=40))
    large = systems.load("Lorenz96", size=256)
    assert not has_series(large)
    assert np.isfinite(large.trajectory(20, transient=1, cache=False).states).all()


def test_the_switch_of_a_mixing_flow_is_not_leapt_over():
    system = systems.load("BlinkingVortex")
    times = np.linspace(0, 3 * system.period, 31)
    initial = np.array([system.initial])
    first, _ = solve(system, times, initial, precision="double")
    second, _ = solve(system, times, initial, precision="double-double")
    assert np.abs(first - second).max() < 1e-10


def test_exponents_of_lanes_are_those_of_dop853():
    system = systems.load("Rossler")
    rates = growth_rates(system, np.array([system.initial] * 2), 200 * system.period)
    other = _tangent_exponents(system, np.array(system.initial), 200 * system.period)
    assert np.array_equal(rates[0], rates[1])
    assert np.allclose(rates[0], other, atol=[0.01, 0.003, 0.03])  # two chaotic runs


def test_the_sum_of_exponents_is_the_divergence():
    system = systems.load("Lorenz")
    rates = growth_rates(system, np.array([system.initial]), 30 * system.period)
    assert rates.sum() == pytest.approx(-(10 + 1 + system.parameters["beta"]), abs=1e-10)


def test_growth_rates_of_a_run_that_escapes_are_nan(make_system):
    system = make_system({"x": "x*x"}, [1.0])
    rates = growth_rates(system, np.array([[1.0], [-1.0]]), 5.0)
    assert np.isnan(rates[0]).all() and np.isfinite(rates[1]).all()


# ---- arguments -----------------------------------------------------------------------------------


def test_the_default_precision_is_the_best_that_the_equations_allow():
    assert precision_of(systems.load("Lorenz")) == "double-double"
    assert precision_of(systems.load("Lorenz"), rtol=1e-9) == "double"
    assert precision_of(systems.load("Chua")) == "double"


def test_impossible_precisions_are_refused():
    with pytest.raises(ValueError, match="Chua: double-double precision needs"):
        precision_of(systems.load("Chua"), "double-double")
    with pytest.raises(ValueError, match="one of double, double-double; 'quad' arrived"):
        precision_of(systems.load("Lorenz"), "quad")


@pytest.mark.parametrize(
    ("times", "initial", "match"),
    [
        ([1.0, 0.5], [[1.0, 1.0, 1.0]], "times are increasing"),
        ([0.0, 1.0], [[1.0, 1.0]], r"initial states are \(trajectories, 3\)"),
        ([0.0, math.nan], [[1.0, 1.0, 1.0]], "times"),
        ([-1.0, 1.0], [[1.0, 1.0, 1.0]], "not before 0"),
        ([0.0, 1.0], [[1.0, math.inf, 1.0]], "finite"),
    ],
)
def test_bad_arguments_of_a_solution_are_named(times, initial, match):
    with pytest.raises(ValueError, match=match):
        solve(systems.load("Lorenz"), np.array(times), np.array(initial))


def test_time_limits_end_a_run():
    with pytest.raises(IntegrationError, match=r"limit of 0\.05 s"):
        systems.simulate(systems.load("Thomas"), np.array([0.0, 1e9]), max_seconds=0.05)


def test_the_machine_code_of_a_field_is_unchanged_by_series():
    system = systems.load("Thomas")
    state = np.array(system.initial)
    assert np.array_equal(compiled_field(system)(state), system.rhs()(state))
