"""Scores of Lyapunov spectra, and the Kaplan–Yorke dimension against known ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dysts_bench.metrics import METRICS, Facts, TooShort, exponents, score
from dysts_bench.metrics.exponents import kaplan_yorke_dimension
from systems.lyapunov import kaplan_yorke_dimension as of_systems

LORENZ = np.array([0.9056, 0.0, -14.5723])
FACTS = Facts(dt=0.02, lyapunov_time=1 / 0.9056, scale=np.ones(3))


@pytest.mark.parametrize(
    ("spectrum", "dimension"),
    [
        (LORENZ, 2 + 0.9056 / 14.5723),
        (np.array([0.419, -1.623]), 1.258),  # the Hénon map
        (np.array([0.0714, 0.0, -5.3943]), 2.0132),  # Rössler
        (np.array([-0.1, -2.0]), 0.0),  # a fixed point
        (np.array([0.0, -0.3, -0.4]), 1.0),  # a limit cycle
        (np.array([0.0, 0.0, -1.0]), 2.0),  # a torus
        (np.array([0.05, 0.0, 0.0, -0.05]), 4.0),  # conservative
        (np.array([0.4, 0.1]), 2.0),  # all that is known is: no fewer
        (np.array([0.4, -np.inf]), 1.0),  # a map of one state, in company
    ],
)
def test_kaplan_yorke_dimension_of_known_spectra(spectrum: np.ndarray, dimension: float) -> None:
    assert kaplan_yorke_dimension(spectrum) == pytest.approx(dimension, abs=5e-4)
    assert kaplan_yorke_dimension(spectrum[::-1]) == kaplan_yorke_dimension(spectrum)


@given(st.lists(st.floats(-20, 5), min_size=1, max_size=8))
def test_kaplan_yorke_dimension_is_that_of_the_catalog(spectrum: list[float]) -> None:
    assert kaplan_yorke_dimension(np.array(spectrum)) == pytest.approx(of_systems(spectrum))


@pytest.mark.parametrize("spectrum", [[], [0.1, np.nan], [np.inf, -1.0]])
def test_what_is_no_spectrum_is_refused(spectrum: list[float]) -> None:
    with pytest.raises(ValueError, match="one or more exponents below infinity"):
        kaplan_yorke_dimension(np.array(spectrum))


def test_a_model_that_does_not_amplify_errors_is_off_by_one_per_lyapunov_time() -> None:
    still = np.array([[0.0, -1.0, -14.5723]])
    assert exponents.model_lyapunov_exponent_error(LORENZ[None], still, FACTS) == pytest.approx(1)
    twice = np.array([[2 * 0.9056, 0.0, -14.0]])
    assert exponents.model_lyapunov_exponent_error(LORENZ[None], twice, FACTS) == pytest.approx(1)


def test_dimensions_are_compared_run_by_run() -> None:
    truth = np.stack([LORENZ, LORENZ])
    model = np.array([[0.9, 0.0, -9.0], [-0.1, -0.2, -9.0]])
    np.testing.assert_allclose(
        exponents.model_kaplan_yorke_error(truth, model, FACTS),
        [0.1 - 0.9056 / 14.5723, 2 + 0.9056 / 14.5723],
        rtol=1e-12,
    )


def test_a_model_that_does_not_contract_counts_as_many_dimensions_as_were_given() -> None:
    model = np.array([[0.9, 0.3, 0.1]])
    value = exponents.model_kaplan_yorke_error(LORENZ[None], model, FACTS)
    assert value == pytest.approx(1 - 0.9056 / 14.5723)


def test_a_true_spectrum_that_is_cut_off_is_too_short_for_a_dimension() -> None:
    first = LORENZ[None, :1]
    with pytest.raises(TooShort, match=r"the 1 true exponents add up to 0\.906"):
        exponents.model_kaplan_yorke_error(first, first, FACTS)
    assert exponents.model_lyapunov_exponent_error(first, first, FACTS) == 0
    conservative = np.array([[0.05, 1e-6, 0.0, -0.05]])  # positive by an error of measurement
    assert exponents.model_kaplan_yorke_error(conservative, conservative, FACTS) == 0


@pytest.mark.parametrize("bad", [[np.nan] * 3, [0.9, 0.0, np.nan], [np.inf, 0.0, -1.0]])
def test_exponents_of_a_run_that_diverged_have_the_worst_value(bad: list[float]) -> None:
    truth = np.stack([LORENZ, LORENZ])
    for name in ("model_lyapunov_exponent_error", "model_kaplan_yorke_error"):
        values = METRICS[name](truth, np.stack([bad, LORENZ]), FACTS)
        np.testing.assert_array_equal(values, [np.inf, 0.0])


def test_directions_that_a_model_does_not_have_are_no_failure() -> None:
    model = np.array([[0.9056, -np.inf, -np.inf]])
    assert exponents.model_lyapunov_exponent_error(LORENZ[None], model, FACTS) == 0
    assert exponents.model_kaplan_yorke_error(LORENZ[None], model, FACTS) == pytest.approx(
        1.0621, abs=1e-3
    )


def test_score_knows_both() -> None:
    rows = score(LORENZ[None], LORENZ[None] + 0.01, FACTS, data="exponents")
    names = {row.metric.name for row in rows}
    assert {"model_lyapunov_exponent_error", "model_kaplan_yorke_error"} <= names
    assert all(row.status == "ok" and 0 < row.value < 0.02 for row in rows)
