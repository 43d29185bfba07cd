"""Valid prediction time, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dysts_bench.metrics import Facts, score
from dysts_bench.metrics.horizon import normalised_error, valid_prediction_time

FACTS = Facts(dt=0.05, lyapunov_time=2.0, scale=np.array([2.0, 0.5]))  # 40 steps a Lyapunov time


def forecast_with_error(error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Truth and a forecast whose normalised error at each step is `error`, (windows, horizon)."""
    truth = np.random.default_rng(0).normal(size=(*error.shape, 2))
    return truth, truth + error[..., None] * FACTS.scale * [1.0, -1.0]


def test_exponential_error_growth_by_hand() -> None:
    # e(t) = 1e-3 exp(t), t in Lyapunov times from the first step on: above 0.4 from t = ln 400.
    t = np.arange(1, 401) / 40
    truth, forecast = forecast_with_error(1e-3 * np.exp(t)[None])
    steps_within = np.floor(np.log(400) * 40)
    assert valid_prediction_time(truth, forecast, FACTS) == pytest.approx(steps_within / 40)
    np.testing.assert_allclose(normalised_error(truth, forecast, FACTS), 1e-3 * np.exp(t)[None])


def test_ten_times_the_initial_error_costs_ln_10_lyapunov_times() -> None:
    t = np.arange(1, 401) / 40
    truth, forecast = forecast_with_error(np.array([1e-4, 1e-3, 1e-2])[:, None] * np.exp(t))
    values = valid_prediction_time(truth, forecast, FACTS)
    np.testing.assert_allclose(-np.diff(values), np.log(10), atol=1 / 40)


@pytest.mark.parametrize(
    ("errors", "steps"),
    [
        ([0.0, 0.1, 0.5, 0.0, 0.0], 2),  # the first exceedance ends it, later luck does not count
        ([0.5, 0.0, 0.0, 0.0, 0.0], 0),
        ([0.0, 0.0, 0.0, 0.0, 0.5], 4),
        ([0.0, 0.0, 0.0, 0.0, 0.0], 5),  # censored: the truth ends
        ([0.0, np.nan, 0.0, 0.0, 0.0], 1),
        ([0.0, 0.0, np.inf, 0.0, 0.0], 2),
    ],
)
def test_counts_the_steps_before_the_first_exceedance(errors: list[float], steps: int) -> None:
    truth, forecast = forecast_with_error(np.array([errors]))
    assert valid_prediction_time(truth, forecast, FACTS) == pytest.approx(steps * 0.05 / 2.0)


def test_the_threshold_itself_does_not_exceed() -> None:
    truth = np.zeros((1, 3, 1))
    forecast = np.array([0.25, 0.5, np.nextafter(0.5, 1)])[None, :, None]
    facts = Facts(dt=1.0, lyapunov_time=1.0, scale=np.ones(1))
    assert valid_prediction_time(truth, forecast, facts, threshold=0.5) == 2.0
    assert valid_prediction_time(truth, forecast, facts, threshold=0.2) == 0.0


def test_one_coordinate_off_by_half_its_deviation_is_averaged_over_both() -> None:
    truth = np.zeros((1, 4, 2))
    forecast = truth + np.array([0.5 * 2.0, 0.0])  # e = 0.5 / √2 = 0.354
    assert valid_prediction_time(truth, forecast, FACTS) == pytest.approx(4 * 0.05 / 2)
    assert valid_prediction_time(truth, 1.2 * forecast, FACTS) == 0.0  # 0.424


def test_windows_that_never_exceed_are_censored_at_the_end_of_the_truth() -> None:
    truth, forecast = forecast_with_error(np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.9]]))
    (vpt,) = [s for s in score(truth, forecast, FACTS) if s.metric.name == "valid_prediction_time"]
    assert vpt.values == pytest.approx((3 * 0.05 / 2, 2 * 0.05 / 2))
    assert vpt.censored == (True, False)
    assert vpt.metric.per_window
    assert vpt.value == pytest.approx(2.5 * 0.05 / 2)
