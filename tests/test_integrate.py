"""The integrator against exact solutions, against extrapolation in extended precision, and against
equations that cannot be followed."""

import subprocess
import sys

import numpy as np
import pytest
from extrapolation_oracle import EXTENDED, error_over_a_period
from scipy.optimize import brentq

import systems
from systems import IntegrationError, simulate
from systems.catalog import System
from systems.integrate import STEPS, _Run, floor_of, integrate
from systems.llvm import compile_field


@pytest.fixture(scope="module")
def oscillator(make_system) -> System:
    return make_system({"x": "v", "v": "-x"}, [1.0, 0.0], period=2 * np.pi)


def circle(times: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(times), -np.sin(times)], axis=-1)


# ---- exact solutions -----------------------------------------------------------------------------


def test_a_hundred_turns_of_the_harmonic_oscillator(oscillator):
    times = np.linspace(0, 200 * np.pi, 3001)
    states = simulate(oscillator, times).states[0]
    assert np.abs(states - circle(times)).max() < 5e-12  # about 6000 steps of 1e-14


def test_logistic_growth(make_system):
    system = make_system({"x": "r*x*(1 - x/k)"}, [0.01], parameters={"r": 1.5, "k": 2.0})
    times = np.linspace(0, 12, 400)
    expected = 2.0 / (1 + (2.0 / 0.01 - 1) * np.exp(-1.5 * times))
    # between steps the interpolant of order 7 is up to a hundred times worse than at their ends
    assert np.abs(simulate(system, times).states[0, :, 0] - expected).max() < 5e-12


def test_five_turns_of_an_eccentric_kepler_orbit(make_system):
    eccentricity = 0.7
    system = make_system(
        {"x": "u", "y": "v", "u": "-x/(x**2 + y**2)**1.5", "v": "-y/(x**2 + y**2)**1.5"},
        [1 - eccentricity, 0.0, 0.0, np.sqrt((1 + eccentricity) / (1 - eccentricity))],
    )
    times = np.linspace(0, 10 * np.pi, 200)
    anomaly = np.array(
        [brentq(lambda e, t=t: e - eccentricity * np.sin(e) - t, t - 1, t + 1) for t in times]
    )
    x = np.cos(anomaly) - eccentricity
    y = np.sqrt(1 - eccentricity**2) * np.sin(anomaly)
    states = simulate(system, times).states[0]
    assert np.abs(states[:, :2] - np.stack([x, y], axis=-1)).max() < 1e-10


def test_time_enters_the_equations(make_system):
    system = make_system({"x": "cos(t)"}, [2.0])
    times = 5.0 + np.linspace(0, 30, 100)
    states = integrate(compile_field(system), times, np.array([[2.0]]), name="Made", start=5.0)
    assert np.abs(states[0, :, 0] - (2 + np.sin(times) - np.sin(5.0))).max() < 1e-13


def test_the_error_is_of_eighth_order_in_the_step(oscillator):
    times = np.linspace(0, 20 * np.pi, 1001)  # about as many between as at the steps
    errors, steps = [], []
    for tolerance in 10.0 ** -np.arange(5, 12):
        run = _Run(compile_field(oscillator), np.array([1.0, 0.0]), 0.0, tolerance, tolerance, 0.0)
        out = np.empty((len(times), 2))
        run.to(times, out, "oscillator", 10**6, np.inf)
        errors.append(np.abs(out - circle(times)).max())
        steps.append(run.counters[STEPS])
    order = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert 7.5 < order < 8.8


@pytest.mark.parametrize("name", ["Lorenz", "Duffing", "CellCycle"])
def test_the_error_follows_the_tolerance(name):
    system = systems.load(name)
    times = np.linspace(0, system.period, 50)
    expected = simulate(system, times).states
    tolerances = 10.0 ** -np.arange(6, 12)
    errors = [
        np.abs(simulate(system, times, rtol=tolerance, atol=tolerance).states - expected).max()
        for tolerance in tolerances
    ]
    slope = np.polyfit(np.log(tolerances), np.log(errors), 1)[0]
    assert 0.8 < slope < 1.3


# ---- extrapolation in extended precision ---------------------------------------------------------

QUICK = [
    "ArnoldBeltramiChildress",
    "BickleyJet",
    "CaTwoPlus",
    "Chen",
    "Chua",
    "Duffing",
    "ExcitableCell",
    "Halvorsen",
    "HindmarshRose",
    "HyperRossler",
    "Lorenz",
    "Rossler",
    "SprottA",
    "SwingingAtwood",
    "ThomasLabyrinth",
    "WindmiReduced",
]


@pytest.mark.skipif(not EXTENDED, reason="this machine's long double is a double")
@pytest.mark.parametrize("name", QUICK)
def test_states_are_good_to_1e_10_over_a_period(name):
    """Where a perturbation grows more than 1e4-fold in a period, so may the error. All systems:
    `python tests/extrapolation_oracle.py` (minutes)."""
    error, growth = error_over_a_period(systems.load(name))
    assert error < 1e-10 * max(1.0, growth / 1e4)


# ---- what must not matter ------------------------------------------------------------------------


def test_a_state_does_not_depend_on_the_other_times_asked_for(oscillator):
    lorenz = systems.load("Lorenz")
    even = simulate(lorenz, np.linspace(0, 4, 9)).states
    uneven_times = np.sort(np.concatenate([np.linspace(0, 4, 9), 4 * np.linspace(0, 1, 50) ** 3]))
    uneven = simulate(lorenz, uneven_times).states
    shared = np.searchsorted(uneven_times, np.linspace(0, 4, 9))
    assert (uneven[:, shared] == even).all()
    assert np.abs(simulate(oscillator, uneven_times).states - circle(uneven_times)).max() < 1e-13


def test_equal_times_give_equal_states_and_time_zero_the_initial_state(oscillator):
    states = simulate(oscillator, np.array([0.0, 0.0, 1.0, 1.0])).states[0]
    assert (states[0] == [1.0, 0.0]).all() and (states[1] == states[0]).all()
    assert (states[3] == states[2]).all()


def test_an_autonomous_system_does_not_know_the_time():
    lorenz = systems.load("Lorenz")
    times, initial = np.linspace(0, 3, 50), np.array([lorenz.initial])
    here = integrate(compile_field(lorenz), times, initial, name="Lorenz")
    later = integrate(compile_field(lorenz), 1e4 + times, initial, name="Lorenz", start=1e4)
    # the clock at 1e4 has a resolution of 2e-12, and the state moves by up to 200 a unit of time
    assert np.abs(here - later).max() < 1e-8


def test_a_trajectory_is_the_same_alone_and_in_a_batch():
    lorenz = systems.load("Lorenz")
    times = np.linspace(0, 5, 100)
    initial = np.array(lorenz.initial) + np.random.default_rng(0).normal(0, 1, (5, 3))
    together = simulate(lorenz, times, initial=initial).states
    for one, expected in zip(initial, together, strict=True):
        assert (simulate(lorenz, times, initial=one[None]).states[0] == expected).all()


def test_parameters_reach_the_compiled_equations():
    """Equal equations are compiled once; each call still takes its own parameters."""
    lorenz = systems.load("Lorenz")
    times = np.linspace(0, 1, 5)
    changed = simulate(lorenz.with_parameters(rho=20.0), times).states
    assert np.abs(changed - simulate(lorenz, times).states).max() > 0.1
    field = lorenz.with_parameters(rho=20.0).rhs()
    assert (lorenz.with_parameters(rho=20.0).rhs("compiled")(changed) == field(changed)).all()


def test_another_process_finds_the_same_bits():
    code = "import systems; print(systems.load('Chen').trajectory(300, cache=False).hash)"
    found = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        for _ in range(2)
    }
    assert found == {systems.load("Chen").trajectory(300, cache=False).hash}


# ---- what cannot be followed ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("equations", "initial"),
    [
        ({"x": "x**2"}, [1.0]),  # infinite at t = 1
        ({"x": "x**2"}, [1e8]),  # … at t = 1e-8
        ({"x": "exp(x)"}, [1.0]),
        ({"x": "x"}, [1.0]),  # overflows at t = 709
        ({"x": "1e4*x**3 - 1e6*x", "y": "x"}, [11.0, 0.0]),  # stiff decay unless |x| > 10
        ({"x": "1/x"}, [0.0]),
        ({"x": "-1 - sqrt(x)"}, [1.0]),  # leaves the domain of the root
        ({"x": "log(x)"}, [-1.0]),  # begins outside the domain
    ],
)
def test_divergence_ends_in_few_steps_with_an_error(make_system, equations, initial):
    system = make_system(equations, initial)
    with pytest.raises(IntegrationError, match=r"Made: at time .* (diverges|collapses)"):
        integrate(
            compile_field(system),
            np.array([1000.0]),
            np.array([initial]),
            name=system.name,
            max_steps=30_000,
        )


def test_the_limit_of_steps_holds(oscillator):
    with pytest.raises(IntegrationError, match="limit of 50 steps"):
        integrate(
            compile_field(oscillator),
            np.array([1e6]),
            np.array([[1.0, 0.0]]),
            name="oscillator",
            max_steps=50,
        )


def test_the_limit_of_seconds_holds(oscillator):
    with pytest.raises(IntegrationError, match=r"oscillator.*limit of 0\.01 s"):
        integrate(
            compile_field(oscillator),
            np.array([1e9]),
            np.array([[1.0, 0.0]]),
            name="oscillator",
            max_seconds=0.01,
        )


@pytest.mark.parametrize(
    "times",
    [[1.0, 0.5], [], [-1.0, 0.5], [0.0, np.nan], [0.0, np.inf], [[0.0, 1.0]]],
    ids=["decreasing", "none", "before the start", "nan", "inf", "two-dimensional"],
)
def test_bad_times_are_refused(oscillator, times):
    with pytest.raises(ValueError, match="Made: times"):
        simulate(oscillator, np.array(times))


@pytest.mark.parametrize("initial", [[1.0, 0.0], [[1.0]], [[[1.0, 0.0]]], [[np.nan, 0.0]]])
def test_bad_initial_states_are_refused(oscillator, initial):
    with pytest.raises(ValueError, match="initial states"):
        simulate(oscillator, np.array([0.0, 1.0]), initial=np.array(initial))


@pytest.mark.parametrize("tolerance", [-1.0, np.nan, 0.0])
def test_bad_tolerances_are_refused(oscillator, tolerance):
    with pytest.raises(ValueError, match="tol"):
        simulate(oscillator, np.array([0.0, 1.0]), rtol=tolerance, atol=tolerance)


def test_the_compiled_right_hand_side_refuses_states_of_another_dimension():
    with pytest.raises(ValueError, match="states are"):
        systems.load("Lorenz").rhs("compiled")(np.ones((2, 6)))


def test_the_compiled_right_hand_side_of_no_states_is_empty():
    assert systems.load("Lorenz").rhs("compiled")(np.ones((0, 3))).shape == (0, 3)


# ---- discontinuities -----------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0.0, 100.0, 1000.0])
def test_a_sliding_motion_reaches_the_surface_and_stays_within_a_few_floors(make_system, start):
    """Late starts too: there the clock resolves only 1e-13, and a jump is crossed all the same."""
    system = make_system({"x": "-sign(x)", "y": "x"}, [1.0, 0.0])
    times, initial = np.linspace(0, 3, 31), np.array([system.initial])
    field, floor = compile_field(system), floor_of(system)
    found = integrate(field, start + times, initial, start=start, floor=floor, name=system.name)
    x = found[0, :, 0]
    before = times < 0.95
    assert np.abs(x[before] - (1 - times[before])).max() < 1e-12
    # a step that happens to satisfy the error estimate may be followed by one six times as long
    assert np.abs(x[times > 1.05]).max() <= 6 * floor


def test_a_sliding_motion_moves_at_the_mean_velocity(make_system):
    """Filippov: where x = 0 attracts from both sides, y moves at the convex combination of
    velocities that keeps x at rest: x' = 0.5 - sign(x) rests for sign(x) = 0.5 on average."""
    system = make_system({"x": "0.5 - sign(x)", "y": "sign(x)"}, [0.0, 0.0])
    times = np.linspace(0, 4, 41)
    y = simulate(system, times).states[0, :, 1]
    assert np.polyfit(times[5:], y[5:], 1)[0] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("start", [0.0, 1000.0])
def test_a_jump_that_is_crossed_costs_no_accuracy(make_system, start):
    """x' = 1 + heaviside(x, 0): slope 1 up to x = 0, 2 after it."""
    system = make_system({"x": "1 + heaviside(x, 0)"}, [-1.0])
    times, initial = np.linspace(0, 2, 41), np.array([system.initial])
    field, floor = compile_field(system), floor_of(system)
    found = integrate(field, start + times, initial, start=start, floor=floor, name=system.name)
    expected = np.where(times < 1, times - 1, 2 * (times - 1))
    assert np.abs(found[0, :, 0] - expected).max() < 1e-11


@pytest.mark.xfail(strict=True, reason="after 1e4 periods a crossing step is lost in the clock")
def test_a_jump_is_crossed_at_any_time(make_system):
    system = make_system({"x": "1 + heaviside(x, 0)"}, [-1.0])
    field, floor = compile_field(system), floor_of(system)
    integrate(field, np.array([1e5 + 2]), np.array([[-1.0]]), start=1e5, floor=floor, name="Made")


@pytest.mark.parametrize("name", [n for n in systems.names() if systems.load(n).discontinuous])
def test_a_discontinuous_system_is_followed_for_a_thousand_periods(name):
    system = systems.load(name)
    made = simulate(system, np.array([1000 * system.period]))
    assert np.isfinite(made.states).all()
