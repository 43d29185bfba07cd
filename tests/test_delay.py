"""Delay equations: the method of steps against exact solutions and against scipy."""

import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import systems
from systems import simulate
from systems.catalog import System
from systems.dop853_kernel import NEWEST, NEXT_TIME, OLDEST
from systems.integrate import _breaking_points, _Run
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


Polynomial = list[Fraction]  # coefficients, constant first, of the time since the piece began


def exact_pieces(
    rates: list[list[tuple[Fraction, int, int]]], initial: list[Fraction], pieces: int
) -> list[list[Polynomial]]:
    """x_i' = Σ a x_j(t - d w) over rates[i] = [(a, j, d), …], constant before 0, piece by piece of
    length w = 1: polynomials in exact rational arithmetic."""
    before: list[Polynomial] = [[value] for value in initial]
    solution: list[list[Polynomial]] = []
    at_begin = list(initial)
    for k in range(pieces):
        piece = []
        for i, terms in enumerate(rates):
            slope: Polynomial = []
            for a, j, d in terms:
                source = solution[k - d][j] if k >= d else before[j]
                slope += [Fraction(0)] * (len(source) - len(slope))
                for power, coefficient in enumerate(source):
                    slope[power] += a * coefficient
            piece.append([at_begin[i], *(c / (power + 1) for power, c in enumerate(slope))])
        solution.append(piece)
        at_begin = [sum(polynomial, Fraction(0)) for polynomial in piece]
    return solution


def exact_values(solution: list[list[Polynomial]], times: list[Fraction]) -> np.ndarray:
    rows = []
    for t in times:
        piece = solution[min(math.floor(t), len(solution) - 1)]
        s = t - min(math.floor(t), len(solution) - 1)
        rows.append([float(sum(c * s**power for power, c in enumerate(p))) for p in piece])
    return np.array(rows)


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


def test_thirty_delays_against_exact_rational_arithmetic(linear):
    """The 30th piece has degree 30; in floating point its terms would cancel to nothing."""
    solution = exact_pieces([[(Fraction(-1), 0, 1)]], [Fraction(1)], 30)
    times = [Fraction(n, 7) for n in range(0, 211)]
    states = simulate(linear, np.array([float(t) for t in times])).states[0]
    assert np.abs(states - exact_values(solution, times)).max() < 1e-13


def test_two_delays_in_two_states_against_exact_rational_arithmetic(make_system):
    """In units of 1/2, the piece that both delays, 1 and 3/2, are multiples of."""
    system = make_system(
        {
            "x": "-1.5*delay(y, 1) + 0.25*delay(x, 1.5)",
            "y": "0.75*delay(x, 1.5) - 0.5*delay(y, 1.5)",
        },
        [1.0, -0.5],
    )
    half = Fraction(1, 2)
    rates = [
        [(half * Fraction(-3, 2), 1, 2), (half * Fraction(1, 4), 0, 3)],
        [(half * Fraction(3, 4), 0, 3), (half * Fraction(-1, 2), 1, 3)],
    ]
    solution = exact_pieces(rates, [Fraction(1), Fraction(-1, 2)], 24)
    times = [Fraction(n, 9) for n in range(0, 217)]
    states = simulate(system, np.array([float(t) / 2 for t in times])).states[0]
    expected = exact_values(solution, times)  # up to 100
    assert (np.abs(states - expected) / (1 + np.abs(expected))).max() < 1e-13


def test_at_loose_tolerance_the_first_pieces_are_still_exact(linear):
    """A method of order 8 integrates polynomials of degree 7 exactly, if no step crosses a break:
    one that did would err by 1e-4 here."""
    times = np.linspace(0, 7, 141)
    states = simulate(linear, times, rtol=1e-2, atol=1e-2).states[0, :, 0]
    assert np.abs(states - by_steps(times)).max() < 1e-13


def test_steps_end_at_every_break(make_system):
    """Breaks at the sums of the delays: 0.7 i + 1.1 j, each smoother by one derivative a delay."""
    system = make_system({"x": "-delay(x, 0.7) - 0.5*delay(x, 1.1)"}, [1.0])
    run = _Run(compile_field(system), np.array([1.0]), 0.0, 1e-3, 1e-3, 0.0)
    rows = []
    for time in np.arange(0.1, 3.0, 0.1):
        run.counters[NEXT_TIME] = 0
        run.to(np.array([time]), np.empty((1, 1)), "Made", 10**6, np.inf)
        kept = np.arange(run.counters[OLDEST], run.counters[NEWEST]) % len(run.history)
        rows += list(run.history[kept, 2])
    ends = np.unique(rows)
    breaks = {0.7 * i + 1.1 * j for i in range(5) for j in range(3) if i + j > 0}
    for point in (point for point in breaks if point < 2.9):
        assert np.abs(ends - point).min() < 1e-14
    assert {round(b, 9) for b in breaks} <= {round(b, 9) for b in _breaking_points([0.7, 1.1])}


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


# ---- against another code ------------------------------------------------------------------------


@pytest.fixture
def by_jitcdde(monkeypatch):
    """jitcdde on our trees; it is an optional oracle (`make test-delay` has all of the catalog)."""
    pytest.importorskip("jitcdde")
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    from benchmarks.delay import by_jitcdde

    return by_jitcdde


def test_mackey_glass_agrees_with_jitcdde_over_fifty_delays(by_jitcdde):
    system = systems.load("MackeyGlass")
    times = 17.0 * np.arange(4, 101) / 2
    theirs = by_jitcdde(system, times, tolerance=1e-11)
    assert np.abs(theirs - simulate(system, times).states[0]).max() < 1e-6


def test_a_file_with_several_delays_and_states_agrees_with_jitcdde(by_jitcdde, tmp_path):
    """Two coupled feedback loops, chaotic in themselves, with three delays."""
    entry = {
        "states": ["x", "y"],
        "parameters": {"b": 2, "g": 1, "c": 0.3, "tau1": 2, "tau2": 1.7, "tau3": 0.9},
        "let": {"px": "delay(x, tau1)", "py": "delay(y, tau2)"},
        "equations": {
            "x": "b*px/(1 + px**9.65) - g*x + c*(delay(y, tau3) - x)",
            "y": "b*py/(1 + py**9.65) - g*y + c*(delay(x, tau3) - y)",
        },
        "initial": [0.5, 0.8],
        "period": 5.0,
    }
    path = tmp_path / "Loops.json"
    path.write_text(json.dumps({"systems": {"Loops": entry}}), encoding="utf-8")
    system = systems.load_file(path)["Loops"]
    assert {(d.state, d.tau) for d in system.delays} == {(0, 2.0), (1, 1.7), (1, 0.9), (0, 0.9)}
    times = np.arange(8.0, 100.0, 0.5)
    theirs = by_jitcdde(system, times, tolerance=1e-11)
    ours = simulate(system, times).states[0]
    assert ours[100:].std(axis=0).min() > 0.1
    assert np.abs(theirs - ours).max() < 1e-6
