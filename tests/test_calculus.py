"""Derivatives and LaTeX of single equations; every system's are in the contract tests."""

import math

import numpy as np
import pytest

import systems
from systems.calculus import partial_derivatives, polynomials
from systems.catalog import System
from systems.expr import Number, symbols


def derivative_at(make_system, text: str, x: float, **parameters: float) -> float:
    """d/dx of `text` at x, through both tables, which must agree."""
    system = make_system({"x": text}, [1.0], parameters=parameters)
    numpy, compiled = (
        system.jacobian(backend)(np.array([x]), 0.7)[0, 0] for backend in ("numpy", "compiled")
    )
    assert compiled == pytest.approx(numpy, rel=1e-14, abs=1e-300)
    return float(numpy)


@pytest.mark.parametrize(
    ("text", "x", "expected"),
    [
        ("3*x**2 - 2*x + 7", 5.0, 28.0),
        ("x**-3", 2.0, -3 / 16),
        ("x**(1/2)", 4.0, 0.25),
        ("sqrt(x)", 4.0, 0.25),
        ("x**(5/4)", 16.0, 2.5),
        ("1/(1 + x**2)", 2.0, -4 / 25),
        ("sin(2*x)*cos(x)", 0.5, 2 * math.cos(1) * math.cos(0.5) - math.sin(1) * math.sin(0.5)),
        ("tan(x)", 0.3, 1 / math.cos(0.3) ** 2),
        ("sinh(x) + cosh(x)", 0.3, math.exp(0.3)),
        ("tanh(2*x)", 0.4, 2 / math.cosh(0.8) ** 2),
        ("exp(-x**2)", 0.6, -1.2 * math.exp(-0.36)),
        ("log(3*x)", 2.0, 0.5),
        ("abs(x - 1)", 0.5, -1.0),
        ("abs(x - 1)", 1.5, 1.0),
        ("x*abs(x)", -1.5, 3.0),
        ("sign(x)*x**2", -2.0, 4.0),  # the jump has no derivative: that of the smooth pieces
        ("heaviside(x, 0.5)*x", 2.0, 1.0),
        ("heaviside(x, 0.5)*x", -2.0, 0.0),
        ("min(x, 2)", 1.0, 1.0),
        ("min(x, 2)", 3.0, 0.0),
        ("max(0, x, 3*x - 4)", 3.0, 3.0),
        ("max(0, x, 3*x - 4)", 1.0, 1.0),
        ("max(0, x, 3*x - 4)", -1.0, 0.0),
        ("exprel(x)", 2.0, (math.exp(2) - (math.exp(2) - 1) / 2) / 2),
        ("x*t", 3.0, 0.7),
        ("pi*x", 3.0, math.pi),
    ],
)
def test_derivatives_by_hand(make_system, text, x, expected):
    assert derivative_at(make_system, text, x) == pytest.approx(expected, rel=1e-14, abs=1e-15)


def test_a_power_with_a_parameter_has_its_derivative_at_zero(make_system):
    """sympy writes x**n*n/x, which is 0/0 there."""
    assert derivative_at(make_system, "x**n", 0.0, n=2.0) == 0.0
    assert derivative_at(make_system, "x**n", 0.0, n=1.0) == 1.0
    assert derivative_at(make_system, "x**n", 2.0, n=3.5) == pytest.approx(3.5 * 2**2.5, rel=1e-14)


@pytest.mark.xfail(strict=True, reason="(exp(x) - exprel(x))/x is 0/0 at zero and cancels near it")
@pytest.mark.parametrize("x", [0.0, 1e-9])
def test_the_derivative_of_exprel_near_zero(make_system, x):
    assert derivative_at(make_system, "exprel(x)", x) == pytest.approx(0.5 + x / 3, rel=1e-9)


def test_lets_are_joined_by_the_chain_rule(make_system):
    system = make_system(
        {"x": "b*y", "y": "a**2"},
        [1.0, 1.0],
        let={"a": "x*y", "b": "sin(a)"},
    )
    x, y = 0.7, 1.3
    expected = [
        [y * math.cos(x * y) * y, math.sin(x * y) + y * math.cos(x * y) * x],
        [2 * x * y**2, 2 * x**2 * y],
    ]
    assert np.allclose(system.jacobian()(np.array([x, y])), expected, rtol=1e-14)


def test_jacobians_take_any_batch_of_states():
    lorenz = systems.load("Lorenz")
    states = np.random.default_rng(0).normal(size=(4, 5, 3))
    for backend in ("numpy", "compiled"):
        many = lorenz.jacobian(backend)(states)
        assert many.shape == (4, 5, 3, 3)
        assert (many[2, 3] == lorenz.jacobian(backend)(states[2, 3])).all()


def test_derivatives_by_delayed_states_are_apart(make_system):
    system = make_system({"x": "-3*x + x*delay(x, 1)**2"}, [1.0])
    delayed = np.array([0.5])
    for backend in ("numpy", "compiled"):
        assert system.jacobian(backend)(np.array([2.0]), 0.0, delayed) == pytest.approx(-2.75)
    derivatives = partial_derivatives(system)
    assert [set(row) for row in derivatives.by_delayed] == [{0}]
    assert symbols(derivatives.by_delayed[0][0]) == {"x", "delay(x, 1.0)"}


def test_states_of_another_dimension_are_refused():
    lorenz, delayed = systems.load("Lorenz"), systems.load("MackeyGlass")
    with pytest.raises(ValueError, match=r"Lorenz: states are \(…, 3\); .* \(5,\)"):
        lorenz.jacobian()(np.ones(5))
    with pytest.raises(ValueError, match=r"Lorenz: states are \(…, 3\); .* \(5,\)"):
        lorenz.rhs()(np.ones(5))
    for field in (delayed.rhs(), delayed.jacobian()):
        with pytest.raises(ValueError, match=r"MackeyGlass: .*delayed states"):
            field(np.ones(1))


@pytest.mark.parametrize("method", ["rhs", "jacobian"])
def test_an_unknown_backend_is_refused(method):
    with pytest.raises(ValueError, match="backends are numpy, compiled and jax; 'cuda' arrived"):
        getattr(systems.load("Lorenz"), method)("cuda")


def test_latex_of_lorenz():
    assert systems.load("Lorenz").latex() == (
        "\\begin{aligned}\n"
        "\\dot{x} &= \\sigma \\left(- x + y\\right) \\\\\n"
        "\\dot{y} &= x \\left(\\rho - z\\right) - y \\\\\n"
        "\\dot{z} &= - \\beta z + x y\n"
        "\\end{aligned}"
    )


def test_latex_writes_a_delayed_state_with_its_delay():
    text = systems.load("MackeyGlass").latex()
    assert "x_{\\tau}" in text and "delay" not in text


def test_two_delays_of_one_state_are_two_symbols(make_system):
    system: System = make_system({"x": "delay(x, 1) - delay(x, 2)"}, [1.0])
    assert "x_{1} - x_{2}" in system.latex()
    [row] = partial_derivatives(system).by_delayed
    assert row == {0: Number(1.0), 1: Number(-1.0)}


# ---- polynomials -----------------------------------------------------------------------------


def test_lorenz_is_the_polynomials_of_the_textbook():
    first, second, third = polynomials(systems.load("Lorenz"))
    assert first == {(0, 1, 0): 10, (1, 0, 0): -10}
    assert second == {(1, 0, 0): 28, (0, 1, 0): -1, (1, 0, 1): -1}
    assert third == pytest.approx({(1, 1, 0): 1, (0, 0, 1): -8 / 3}, rel=1e-3)


def test_polynomials_have_the_values_of_the_right_hand_side():
    rng, tried = np.random.default_rng(0), 0
    for name in systems.names():
        system = systems.load(name)
        try:
            found = polynomials(system)
        except ValueError:
            continue
        tried += 1
        states = rng.uniform(-2, 2, (20, system.dimension))
        values = [
            sum(
                factor * np.prod(states ** np.array(powers), axis=1) for powers, factor in f.items()
            )
            for f in found
        ]
        expected = system.rhs()(states)
        np.testing.assert_allclose(np.transpose(values), expected, rtol=1e-9, atol=1e-9)
    assert tried > 70


@pytest.mark.parametrize(
    ("equation", "message"),
    [
        ("sin(x)", "x' is no polynomial"),
        ("x/(1 + x)", "x' is no polynomial"),
        ("x*t", "reads time"),
    ],
)
def test_what_is_no_polynomial_is_refused(make_system, equation, message):
    with pytest.raises(ValueError, match=message):
        polynomials(make_system({"x": equation}, [1.0]))


def test_lets_are_put_in_and_terms_that_cancel_vanish(make_system):
    system = make_system(
        {"x": "a*x*(x + d) - 0.1*x - 3*x**2", "y": "(x - y)**2"},
        [1.0, 1.0],
        let={"d": "1/a*0.1"},
        parameters={"a": 3.0},
    )
    assert polynomials(system) == ({}, {(2, 0): 1.0, (1, 1): -2.0, (0, 2): 1.0})
