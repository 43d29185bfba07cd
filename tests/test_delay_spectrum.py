"""Exponents of delay equations: by algebra, against a discretised twin, and from the literature."""

import math

import numpy as np
import pytest
from scipy.special import lambertw

import systems
from systems import IntegrationError, delay_spectrum
from systems.delay_spectrum import exponents_needed, leading_exponents
from systems.lyapunov import kaplan_yorke_dimension, lyapunov_spectrum


def characteristic_exponents(a: float, b: float, tau: float, count: int) -> np.ndarray:
    """Real parts of the roots of λ = a + b e^(-λτ), descending: λ = a + W_k(b τ e^(-aτ))/τ."""
    branches = np.arange(-count, count + 1)
    roots = a + lambertw(b * tau * math.exp(-a * tau), branches) / tau
    return np.sort(roots.real)[::-1][:count]


@pytest.mark.parametrize(
    ("a", "b", "tau"),
    [
        (0.0, -1.0, 1.0),  # pairs from the first on
        (0.0, 0.5, 1.0),  # a real exponent above the pairs
        (0.0, -0.4, 2.0),
        (-0.3, 0.5, 1.0),
        (-2.0, 1.9, 0.6),
        (0.2, -0.1, 1.5),  # growing
    ],
)
def test_exponents_of_a_linear_delay_equation_are_branches_of_lamberts_w(make_system, a, b, tau):
    system = make_system(
        {"x": "a*x + b*delay(x, tau)"}, [1e-6], parameters={"a": a, "b": b, "tau": tau}
    )
    length = 150 * tau
    found = leading_exponents(system, np.array([1e-6]), length, 7)
    # the frame turns with the pairs: up to a few radians of turning are missed at either end; the
    # last exponent's partner may lie outside
    expected = characteristic_exponents(a, b, tau, 7)
    assert np.abs(found - expected).max() < 1.5 / length
    sums = np.cumsum(found) - np.cumsum(expected)
    assert np.abs(sums).max() < 1.5 / length


def test_several_delays_and_states_by_their_characteristic_equation(make_system):
    """x' = -delay(y, 1), y' = 0.5 delay(x, 0.4): λ² = -0.5 e^(-1.4 λ), so λ = W_k(±0.7 i √0.5)/0.7.
    A third state that nothing delays, z' = -0.9 z + x, adds its own exponent."""
    system = make_system(
        {"x": "-delay(y, 1)", "y": "0.5*delay(x, 0.4)", "z": "-0.9*z + x"}, [1e-6, 0.0, 0.0]
    )
    found = leading_exponents(system, np.array(system.initial), 150.0, 5)
    roots = [lambertw(s * 0.7j * math.sqrt(0.5), k) / 0.7 for s in (1, -1) for k in range(-4, 5)]
    expected = np.sort([*np.real(roots), -0.9])[::-1][:5]
    assert np.abs(found - expected).max() < 0.01


def test_a_second_delay_of_one_state(make_system):
    """x' = -0.5 delay(x, 1) - 0.7 delay(x, 2): roots of the characteristic equation by Newton."""
    system = make_system({"x": "-0.5*delay(x, 1) - 0.7*delay(x, 2)"}, [1e-6])
    grid = np.linspace(-3, 1, 41)[:, None] + 1j * np.linspace(-20, 20, 401)
    for _ in range(60):
        first, second = np.exp(-grid), np.exp(-2 * grid)
        step = (grid + 0.5 * first + 0.7 * second) / (1 - 0.5 * first - 1.4 * second)
        grid = grid - step
    good = grid[np.isfinite(grid) & (np.abs(step) < 1e-12)]
    roots = np.unique(np.round(good, 8))
    expected = np.sort(roots.real)[::-1][:5]
    found = leading_exponents(system, np.array([1e-6]), 300.0, 5)
    assert np.abs(found - expected).max() < 0.006


def test_fast_contraction_takes_shorter_segments(make_system):
    """Over one delay the vector of y shrinks by e^(-60), which is below the tolerance."""
    system = make_system({"x": "-delay(x, 1)", "y": "-60*y"}, [1e-6, 0.0])
    found = leading_exponents(system, np.array(system.initial), 60.0, 3)
    expected = characteristic_exponents(0.0, -1.0, 1.0, 3)
    assert np.abs(found - expected).max() < 0.03


def chebyshev_twin(nodes: int) -> dict[str, str]:
    """Mackey and Glass at tau = 17 as ODEs: u0 is the present, u1 … the history at Chebyshev nodes,
    which moves along by the derivative of the polynomial through them (Breda et al. 2005)."""
    theta = np.cos(np.pi * np.arange(nodes + 1) / nodes)
    c = np.array([2.0, *np.ones(nodes - 1), 2.0]) * (-1.0) ** np.arange(nodes + 1)
    differences = theta[:, None] - theta + np.eye(nodes + 1)
    matrix = np.outer(c, 1 / c) / differences
    matrix -= np.diag(matrix.sum(axis=1))
    matrix *= 2 / 17.0
    equations = {"u0": f"0.2*u{nodes}/(1 + u{nodes}**10) - 0.1*u0"}
    for i in range(1, nodes + 1):
        terms = [f"({matrix[i, j]:.17g})*u{j}" for j in range(nodes + 1)]
        equations[f"u{i}"] = " + ".join(terms)
    return equations


def test_a_pseudospectral_twin_has_the_same_exponents(make_system):
    """The nonlinear equation through another method: 11 ODEs, their own tangent dynamics."""
    equations = chebyshev_twin(10)
    twin = make_system(equations, [0.9] * len(equations), period=49.0)
    ours = lyapunov_spectrum(systems.load("MackeyGlass"), periods=120, trajectories=3)
    theirs = lyapunov_spectrum(twin, periods=60, trajectories=3)
    assert ours.method == "history segments" and theirs.method == "tangent"
    for i in range(4):
        error = math.hypot(ours.errors[i], theirs.errors[i])
        # the twin's polynomial of degree 10 is off by up to 2 % of the contracting exponents
        allowed = 4 * error + 0.03 * abs(ours.exponents[i]) + 2e-4
        assert abs(ours.exponents[i] - theirs.exponents[i]) < allowed


@pytest.fixture(scope="module")
def mackey_glass_30():
    """At tau = 30, where Farmer (1982) found two positive exponents and a dimension of 3.6."""
    system = systems.load("MackeyGlass").with_parameters(tau=30.0)
    return lyapunov_spectrum(system, periods=300, trajectories=4)


def test_mackey_glass_has_one_zero_exponent_and_two_positive_ones(mackey_glass_30):
    first, second, third, fourth = mackey_glass_30.exponents[:4]
    errors = mackey_glass_30.errors
    assert first > 0.005 > second > 5 * errors[1]
    assert abs(third) < 4 * errors[2] + 1e-4
    assert fourth < -0.005


def test_mackey_glass_has_farmers_dimension(mackey_glass_30):
    assert kaplan_yorke_dimension(mackey_glass_30.exponents) == pytest.approx(3.6, abs=0.15)


def test_enough_exponents_are_measured_for_a_dimension():
    system = systems.load("IkedaDelay")
    number = exponents_needed(system)
    found = leading_exponents(system, np.array(system.initial), 60.0, number)
    assert (found > 0.05).sum() >= 6
    assert found[: number - 1].sum() < 0 < found[0]


def test_a_stable_equation_needs_few(make_system):
    system = make_system({"x": "-0.5*x + 0.1*delay(x, 1)"}, [1.0])
    assert exponents_needed(system) == 2


def test_no_more_than_the_most_are_asked_for(make_system, monkeypatch):
    monkeypatch.setattr(delay_spectrum, "MOST", 5)
    assert exponents_needed(systems.load("IkedaDelay")) == 5


def test_jumps_and_delays_together_are_refused(make_system):
    system = make_system({"x": "-sign(delay(x, 1)) - 0.1*x"}, [1.0])
    with pytest.raises(IntegrationError, match="jumps and has delays"):
        delay_spectrum.history_exponents(system)
