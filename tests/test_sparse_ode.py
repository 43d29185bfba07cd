"""SINDy: its weak form, its integrator and the equations it finds, against known ones."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from models._regression import Regression
from models._sparse_ode_loops import field_tangent
from models.sparse_ode import (
    PolynomialField,
    SINDy,
    WeakForm,
    monomials,
    polynomial_library,
    sparse_path,
)

LYAPUNOV_TIME = 1 / 0.9056  # of Lorenz63
DT = 0.025


def lorenz_rates(t: float, s: np.ndarray) -> np.ndarray:
    x, y, z = s
    return np.array([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])


def lorenz(times: int, seed: int) -> np.ndarray:
    """(1, times, 3) on the attractor, every DT."""
    start = np.array([1.0, 1.0, 20.0]) + np.random.default_rng(seed).standard_normal(3)
    span = np.arange(400 + times) * DT
    solution = solve_ivp(
        lorenz_rates, (0, span[-1]), start, "DOP853", t_eval=span, rtol=1e-12, atol=1e-12
    )
    return solution.y.T[None, 400:]


@pytest.fixture(scope="module")
def fitted() -> tuple[SINDy, np.ndarray, np.ndarray, np.ndarray]:
    """A model of Lorenz63 from raw states, which are 40 at most, the mean and std, and a test."""
    train, validation, test = lorenz(3000, 0), lorenz(1200, 1), lorenz(900, 2)
    mean, std = train.mean(axis=(0, 1)), train.std(axis=(0, 1))
    model = SINDy(libraries=((1, 1), (2, 2), (3, 3)), half_widths=(4,))
    model.fit((train - mean) / std, dt=DT, validation=(validation - mean) / std)
    return model, mean, std, (test - mean) / std


@pytest.mark.parametrize("half_width", [1, 2, 4, 8])
def test_weak_form_is_exact_for_polynomials_of_degree_4m(half_width: int) -> None:
    weak = WeakForm.of(half_width)
    t = np.arange(-half_width, half_width + 1) / half_width
    for degree in range(4 * half_width + 1):
        rate = degree * t ** max(degree - 1, 0) / half_width
        assert weak.slopes @ t**degree == pytest.approx(weak.values @ rate, abs=1e-13)
    assert weak.values.sum() == pytest.approx(1)


def test_weak_form_of_three_samples_is_the_compact_difference_of_fourth_order() -> None:
    # Lele (1992): f'(-1) + 4 f'(0) + f'(1) = 3 (f(1) - f(-1))
    weak = WeakForm.of(1)
    np.testing.assert_allclose(weak.values * 6, [1, 4, 1])
    np.testing.assert_allclose(weak.slopes * 6, [-3, 0, 3], atol=1e-15)


def test_library_holds_pure_powers_beyond_its_degree() -> None:
    library = polynomial_library(dim=2, degree=2, power=5)
    x, y = 1.3, -0.7
    values = monomials(library, np.array([[[x, y]]]))[0, 0]
    by_hand = [1, x, y, x * x, x * y, y * y, x**3, x**4, x**5, y**3, y**4, y**5]
    np.testing.assert_allclose(values, by_hand)


def test_each_threshold_leaves_the_least_squares_fit_of_the_terms_above_it() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((200, 6))
    true = np.zeros((6, 2))
    true[[0, 2], 0], true[[1, 2, 5], 1] = [1.0, 0.02], [0.5, 2.0, 1e-4]
    targets = features @ true + 1e-8 * rng.standard_normal((200, 2))
    path = sparse_path(Regression.of(features, targets), (0.0, 1e-6, 1e-3, 0.1), 1e-18)
    terms = [(6, 6), (2, 3), (2, 2), (1, 2)]
    for (threshold, weights), counts in zip(path, terms, strict=True):
        assert tuple((weights != 0).sum(axis=0)) == counts, threshold
        for d in range(2):
            kept = np.flatnonzero(weights[:, d])
            expected = np.linalg.lstsq(features[:, kept], targets[:, d])[0]
            np.testing.assert_allclose(weights[kept, d], expected, atol=1e-13)


def test_integrator_agrees_with_dop853() -> None:
    library = polynomial_library(dim=2, degree=3, power=3)
    rng = np.random.default_rng(0)
    weights = np.zeros((10, 2))
    weights[:6] = 0.3 * rng.standard_normal((6, 2))
    weights[6:, 0], weights[6:, 1] = [-0.4, 0, -0.2, 0], [0, -0.2, 0, -0.4]  # x³ and its like damp
    field = PolynomialField.of(library, weights)
    starts = rng.standard_normal((20, 1, 2))  # more than fit into one block of lanes

    def rates(t: float, s: np.ndarray) -> np.ndarray:
        return monomials(library, s[None, None])[0, 0] @ weights

    forecast = field.run(starts, 30)
    for window in (0, 7, 19):
        span = np.arange(1, 31)
        expected = solve_ivp(
            rates, (0, 30), starts[window, 0], "DOP853", t_eval=span, rtol=1e-12, atol=1e-13
        )
        np.testing.assert_allclose(forecast[window], expected.y.T, atol=1e-9)


def test_field_that_blows_up_ends_in_nan_and_leaves_other_windows_alone() -> None:
    # x' = x², from 1/2 infinite at t = 2; from -1, x = -1/(1 + t)
    field = PolynomialField.of(polynomial_library(1, 2, 2), np.array([[0.0], [0.0], [1.0]]))
    forecast = field.run(np.array([[[0.5]], [[-1.0]]]), 5)
    assert forecast[0, 0, 0] == pytest.approx(1.0)
    assert np.isnan(forecast[0, 1:]).all()
    # each of some ten Taylor steps leaves out 7e-13
    np.testing.assert_allclose(forecast[1, :, 0], -1 / np.arange(2, 7), rtol=1e-11)


def test_tangents_of_a_linear_field_are_its_matrix_exponential() -> None:
    # x' = A x turns by 0.3 a sample and shrinks by 0.1
    weights = np.array([[0.0, 0.0], [-0.1, 0.3], [-0.3, -0.1]])
    library = polynomial_library(2, 1, 1)
    _, turned = field_tangent(
        weights, library.parents, library.variables, np.ones((1, 2)), np.eye(2)[None]
    )
    c, s = np.exp(-0.1) * np.cos(0.3), np.exp(-0.1) * np.sin(0.3)
    np.testing.assert_allclose(turned[0], [[c, -s], [s, c]], rtol=1e-12)


def test_lorenz_equations_are_found_term_by_term(fitted: tuple) -> None:
    model, mean, std, _ = fitted
    weights = dict(zip(_names(model.field_), model.field_.weights / DT, strict=True))
    # s = mean + std x: every coefficient of the standardised equations by hand
    (mx, my, mz), (sx, sy, sz) = mean, std
    expected = np.zeros((len(weights), 3))
    rows = {name: i for i, name in enumerate(weights)}
    expected[rows[""]] = lorenz_rates(0, mean) / std
    expected[rows["x0"]] = [-10, (28 - mz) * sx / sy, my * sx / sz]
    expected[rows["x1"]] = [10 * sy / sx, -1, mx * sy / sz]
    expected[rows["x2"]] = [0, -mx * sz / sy, -8 / 3]
    expected[rows["x0 x2"], 1] = -sx * sz / sy
    expected[rows["x0 x1"], 2] = sx * sy / sz
    np.testing.assert_allclose(np.array(list(weights.values())), expected, atol=1e-7)
    assert model.equations_[0].startswith("x0' = ") and "x1" in model.equations_[0]
    assert len(model.equations_) == 3


def _names(field: PolynomialField) -> list[str]:
    return [field._name(term) for term in range(len(field.weights))]


def test_lorenz_is_forecast_for_twenty_lyapunov_times(fitted: tuple) -> None:
    model, _, _, test = fitted
    end = int(20 * LYAPUNOV_TIME / DT)
    forecast = model.predict(test[:, :1], end)
    error = np.sqrt(((forecast - test[:, 1 : end + 1]) ** 2).mean(axis=2))
    assert error.max() < 0.4


def test_lyapunov_exponents_of_the_model_are_those_of_lorenz(fitted: tuple) -> None:
    # spectrum of Lorenz63: 0.906, 0, -14.57; finite runs: 10 % of the first
    model, _, _, test = fitted
    exponents = model.lyapunov_exponents(test[:, :1], 4000, 3)[0]
    np.testing.assert_allclose(exponents, [0.906, 0.0, -14.57], atol=0.1)
    assert exponents.sum() == pytest.approx(-(10 + 1 + 8 / 3), abs=1e-4)


def test_equations_are_written_per_unit_of_time() -> None:
    weights = np.zeros((6, 2))
    weights[1, 0], weights[4, 0], weights[5, 1], weights[0, 1] = -0.02, 0.01, 0.05, 0.1
    field = PolynomialField.of(polynomial_library(2, 2, 2), weights)
    assert field.equations(0.1) == ("x0' = -0.2 x0 + 0.1 x0 x1", "x1' = 1 + 0.5 x1^2")
