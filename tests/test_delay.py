"""Delay equations: the method of steps against exact solutions and against scipy."""

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import systems
from systems import simulate
from systems.catalog import System
from systems.integrate import _Run
from systems.llvm import compile_field


@pytest.fixture(scope="module")
def linear(make_system) -> System:
    return make_system({"x": "-delay(x, tau)"}, [1.0], parameters={"tau": 1.0})


def by_steps(times: np.ndarray, tau: float = 1.0) -> np.ndarray:
    """x' = -x(t - τ), x = 1 up to t = 0: Σ_k (-1)^k (t - (k - 1) τ)^k / k! over k ≤ t/τ + 1."""
    return np.array(
        [
            sum(
                (-1) ** k * (t - (k - 1) * tau) ** k / math.factorial(k)
                for k in range(math.floor(t / tau) + 2)
            )
            for t in times
        ]
    )


def by_scipy(system: System, times: np.ndarray, breaks: np.ndarray) -> np.ndarray:
    """scipy's DOP853 from break to break, each piece reading the dense output of those before."""
    field = system.rhs()
    initial = np.array(system.initial)
    pieces: list = []

    def at(time: float) -> np.ndarray:
        if time <= 0:
            return initial
        return next(piece for piece in pieces if time <= piece.t_max)(time)

    def slope(time: float, state: np.ndarray) -> np.ndarray:
        past = np.array([at(time - delay.tau)[delay.state] for delay in system.delays])
        return field(state, time, past)

    shortest = min(delay.tau for delay in system.delays)
    ends = np.unique(np.concatenate([breaks, np.arange(0, times[-1], shortest / 2), times[-1:]]))
    state, begin = initial, 0.0
    for end in ends[(ends > 0) & (ends <= times[-1])]:
        made = solve_ivp(
            slope, (begin, end), state, "DOP853", dense_output=True, rtol=1e-13, atol=1e-14
        )
        pieces.append(made.sol)
        state, begin = made.y[:, -1], end
    return np.array([at(time) for time in times])


def test_the_polynomials_of_the_method_of_steps(linear):
    times = np.linspace(0, 4, 401)
    assert np.abs(simulate(linear, times).states[0, :, 0] - by_steps(times)).max() < 1e-12


@pytest.mark.parametrize("tau", [0.3, 1 / 3, 0.7, math.pi])
def test_delays_that_are_no_round_numbers(linear, tau):
    times = np.linspace(0, 6 * tau, 401)
    states = simulate(linear.with_parameters(tau=tau), times).states[0, :, 0]
    assert np.abs(states - by_steps(times, tau)).max() < 1e-12


def test_a_constant_history_holds_before_the_start(linear):
    times = np.linspace(0, 1, 11)
    states = simulate(linear, times, initial=np.array([[3.0], [-2.0]])).states[..., 0]
    assert np.abs(states - np.outer([3.0, -2.0], 1 - times)).max() < 1e-13


def test_the_error_follows_the_tolerance(make_system):
    system = make_system(
        {"x": "beta*delay(x, tau)/(1 + delay(x, tau)**4) - x"},
        [0.5],
        parameters={"beta": 2.5, "tau": 2.0},
    )
    times = np.linspace(0, 20, 200)
    expected = simulate(system, times).states
    tolerances = 10.0 ** -np.arange(5, 12)
    errors = [
        np.abs(simulate(system, times, rtol=tolerance, atol=tolerance).states - expected).max()
        for tolerance in tolerances
    ]
    slope = np.polyfit(np.log(tolerances), np.log(errors), 1)[0]
    assert 0.75 < slope < 1.3


def test_two_delays_and_two_states(make_system):
    system = make_system(
        {"x": "-1.5*delay(y, 0.7) + 0.2*x", "y": "sin(delay(x, 1)) - 0.5*y + 0.1*delay(y, 0.7)"},
        [1.0, -0.5],
    )
    assert [(delay.state, delay.tau) for delay in system.delays] == [(1, 0.7), (0, 1.0)]
    times = np.linspace(0, 8, 161)
    breaks = np.array([0.7 * i + j for i in range(12) for j in range(9)])
    expected = by_scipy(system, times, breaks)
    assert np.abs(simulate(system, times).states[0] - expected).max() < 1e-10


def test_a_history_of_many_steps_grows_its_ring_without_harm(make_system):
    """x' follows a fast oscillation: hundreds of steps a delay, more than the ring begins with."""
    system = make_system({"x": "-delay(x, tau)*cos(30*t)"}, [1.0], parameters={"tau": 3.0})
    times = np.linspace(0, 9, 301)
    run = _Run(compile_field(system), np.array([1.0]), 0.0, 1e-14, 1e-14, 0.0)
    at_first = len(run.history)
    out = np.empty((len(times), 1))
    run.to(times, out, "Made", 10**6, np.inf)
    assert len(run.history) > at_first
    expected = by_scipy(system, times, np.arange(0, 10, 3.0))
    assert np.abs(out - expected).max() < 1e-11
    assert (simulate(system, times).states[0] == out).all()


def test_the_ring_turns_over_a_long_run(linear):
    """After a dozen delays the slowest mode e^{λt}, λ = -0.318 + 1.337i, is left alone, for which
    x(t + 1) - 2 Re(e^λ) x(t) + |e^λ|² x(t - 1) = 0."""
    from scipy.special import lambertw

    times = np.arange(12.0, 40.0)
    states = simulate(linear, times).states[0, :, 0]
    growth = np.exp(lambertw(-1))
    rest = states[2:] - 2 * growth.real * states[1:-1] + abs(growth) ** 2 * states[:-2]
    assert np.abs(rest / np.abs(growth) ** times[1:-1]).max() < 1e-8


def test_repeated_runs_and_batches_have_the_same_bits():
    system = systems.load("MackeyGlass")
    times, initial = np.linspace(0, 100, 50), np.array([[0.5], [0.9], [1.2]])
    together = simulate(system, times, initial=initial).states
    assert (simulate(system, times, initial=initial).states == together).all()
    assert (simulate(system, times, initial=initial[1:2]).states[0] == together[1]).all()


@pytest.fixture(scope="module")
def mackey_glass() -> np.ndarray:
    """Delay 17, 2000 time units after 1000 of burn-in, ten points a unit."""
    system = systems.load("MackeyGlass").with_parameters(tau=17.0)
    return simulate(system, 1000 + np.arange(0, 2000, 0.1)).states[0, :, 0]


def test_mackey_glass_is_bounded(mackey_glass):
    assert 0.2 < mackey_glass.min() < 0.5 and 1.2 < mackey_glass.max() < 1.4


def test_mackey_glass_at_delay_17_never_returns_and_at_10_does(mackey_glass):
    def closest_return(x: np.ndarray) -> float:
        """Least mean distance, over shifts of 20 to 500 time units, of the series from itself."""
        shifts = range(200, 5000)
        return min(np.abs(x[shift : shift + 5000] - x[:5000]).mean() for shift in shifts) / x.std()

    periodic = systems.load("MackeyGlass").with_parameters(tau=10.0)
    x = simulate(periodic, 1000 + np.arange(0, 1000, 0.1)).states[0, :, 0]
    assert closest_return(x) < 0.005  # half a sample of phase
    assert closest_return(mackey_glass[:10000]) > 0.05
