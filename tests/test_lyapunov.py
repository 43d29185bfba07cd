"""Exponents against systems whose exponents are known: by algebra, or from the literature."""

import math

import numpy as np
import pytest

import systems
from systems import IntegrationError
from systems.lyapunov import (
    _tangent_exponents,
    dominant_period,
    kaplan_yorke_dimension,
    lyapunov_spectrum,
    separation_exponent,
)

# ---- by algebra ----------------------------------------------------------------------------------


def test_exponents_of_a_linear_flow_are_the_real_parts_of_its_eigenvalues(make_system):
    """x, y: eigenvalues -0.1 ± 2i; z: -1, and fed by x, so that the vectors are not orthogonal."""
    system = make_system(
        {"x": "-0.1*x + 2*y", "y": "-2*x - 0.1*y", "z": "3*x - z"}, [1.0, 0.0, 1.0], period=math.pi
    )
    spectrum = lyapunov_spectrum(system, periods=300, trajectories=2)
    assert spectrum.method == "tangent" and spectrum.trajectories == 2
    assert np.allclose(spectrum.exponents, [-0.1, -0.1, -1.0], atol=3 / spectrum.length)


def test_the_spectrum_descends_in_whatever_order_the_states_stand(make_system):
    system = make_system({"x": "-3*x", "y": "0.02*y", "z": "-z"}, [1.0, 1.0, 1.0])
    spectrum = lyapunov_spectrum(system, periods=100, trajectories=2)
    assert np.allclose(spectrum.exponents, [0.02, -1.0, -3.0], atol=1e-6)


def test_a_vector_that_nearly_vanishes_within_a_quarter_of_a_period_is_measured(make_system):
    """e^(-201/4) is far below the absolute tolerance for vectors of unit length."""
    system = make_system({"x": "-x", "y": "-201*y + x"}, [1.0, 1.0], period=1.0)
    exponents = _tangent_exponents(system, np.array([1.0, 0.005]), 50.0)
    assert np.allclose(np.sort(exponents)[::-1], [-1.0, -201.0], atol=1e-4)


def test_a_system_that_escapes_is_an_error(make_system):
    system = make_system({"x": "x**2 + 1"}, [0.0])
    with pytest.raises(IntegrationError, match="escape"):
        lyapunov_spectrum(system, periods=10, trajectories=2)


@pytest.mark.parametrize(("trajectories", "periods"), [(1, 100.0), (2, 0.0), (2, -1.0)])
def test_an_error_needs_two_runs_of_some_length(trajectories, periods):
    with pytest.raises(ValueError, match="2 or more trajectories"):
        lyapunov_spectrum(systems.load("Lorenz"), periods=periods, trajectories=trajectories)


@pytest.mark.parametrize(
    ("exponents", "dimension"),
    [
        ([0.9, 0.0, -14.57], 2 + 0.9 / 14.57),
        ([-14.57, 0.9, 0.0], 2 + 0.9 / 14.57),  # in any order
        ([0.1, 0.02, 0.0, -25.0], 3 + 0.12 / 25),
        ([1.0, -2.0], 1.5),
        ([0.0, -1.0], 1.0),
        ([-0.5, -1.0], 0.0),
        ([0.1, 0.0, -0.1], 3.0),  # a conservative flow fills its space
        ([0.5], 1.0),
    ],
)
def test_kaplan_yorke_dimension_by_hand(exponents, dimension):
    assert kaplan_yorke_dimension(exponents) == pytest.approx(dimension, rel=1e-12)


# ---- from the literature -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lorenz():
    return lyapunov_spectrum(systems.load("Lorenz"), periods=400)


def test_lorenz(lorenz):
    """0.9056 (Sprott 2003, Chaos and Time-Series Analysis, appendix A)."""
    first, second, third = lorenz.exponents
    assert lorenz.errors[0] < 0.01
    assert abs(first - 0.9056) < 3 * lorenz.errors[0]
    assert abs(second) < 0.005
    assert abs(third + 14.5723) < 3 * lorenz.errors[2]
    assert first + second + third == pytest.approx(-(10 + 1 + 8 / 3), abs=1e-6)


def test_lorenz_has_the_dimension_of_the_literature(lorenz):
    assert kaplan_yorke_dimension(lorenz.exponents) == pytest.approx(2.062, abs=1e-3)


def test_rossler():
    """0.0714, 0, -5.3943 (Sprott 2003) at a = b = 0.2, c = 5.7."""
    rossler = systems.load("Rossler").with_parameters(a=0.2, b=0.2, c=5.7)
    spectrum = lyapunov_spectrum(rossler, periods=1000)
    assert max(spectrum.errors) < 0.002
    assert abs(spectrum.exponents[0] - 0.0714) < 3 * spectrum.errors[0]
    assert abs(spectrum.exponents[2] + 5.3943) < 3 * spectrum.errors[2]


def test_a_hamiltonian_flow_keeps_its_volume():
    spectrum = lyapunov_spectrum(systems.load("SwingingAtwood"), periods=100, trajectories=2)
    assert spectrum.exponents[0] > 0.05
    assert sum(spectrum.exponents) == pytest.approx(0.0, abs=1e-6)


def test_two_trajectories_measure_what_tangents_do(lorenz):
    system = systems.load("Lorenz")
    starts = np.random.default_rng(0).normal([0.0, 0.0, 25.0], 5.0, (4, 3))
    runs = np.array([separation_exponent(system, start, 150.0)[0] for start in starts])
    error = math.hypot(runs.std(ddof=1) / 2, lorenz.errors[0])
    assert error < 0.05
    assert abs(runs.mean() - lorenz.exponents[0]) < 3 * error


def test_two_trajectories_of_a_stable_cycle_do_not_part(make_system):
    """Van der Pol: exponents 0 (along the cycle) and negative."""
    system = make_system({"x": "v", "v": "(1 - x**2)*v - x"}, [2.0, 0.0], period=6.66)
    [exponent] = separation_exponent(system, np.array([2.0, 0.0]), 2000.0)
    assert abs(exponent) < 2e-3


# ---- period --------------------------------------------------------------------------------------


@pytest.mark.parametrize("guess", [4.0, 2 * math.pi, 15.0])
def test_the_period_of_an_oscillation_is_found_from_a_poor_guess(make_system, guess):
    """Van der Pol at small damping: 2π."""
    system = make_system({"x": "v", "v": "0.05*(1 - x**2)*v - x"}, [2.0, 0.0], period=guess)
    assert dominant_period(system, periods=150) == pytest.approx(2 * math.pi, rel=0.06)


def test_the_period_scales_with_time(make_system):
    rossler = systems.load("Rossler")
    fast = make_system(
        {state: f"7*({text})" for state, text in rossler.equations.items()},
        list(rossler.initial),
        parameters=dict(rossler.parameters),
        period=rossler.period / 7,
    )
    assert dominant_period(fast, periods=150) == pytest.approx(
        dominant_period(rossler, periods=150) / 7, rel=0.05
    )
