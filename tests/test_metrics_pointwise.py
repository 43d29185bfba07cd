"""Pointwise metrics against scikit-learn, scipy and dysts, and by hand where those disagree."""

from __future__ import annotations

from collections.abc import Callable

import dysts.metrics
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from dysts_bench.metrics import METRICS, Facts, TooShort, pointwise

RNG = np.random.default_rng(0)
_FRESH = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def _the_same_draws_in_any_order() -> None:
    RNG.bit_generator.state = _FRESH


TRUTH = RNG.normal(size=(4, 50, 3)) * [1.0, 5.0, 0.2] + [0.0, 3.0, -1.0]
FORECAST = TRUTH + RNG.normal(size=TRUTH.shape) * [0.5, 1.0, 0.3]
SCALE = np.array([1.0, 5.0, 0.2])
FACTS = Facts(dt=0.1, lyapunov_time=1.0, scale=SCALE, train=RNG.normal(size=(2, 400, 3)))


def per_coordinate(correlation: Callable) -> Callable:
    return lambda x, y: np.mean(
        [correlation(a, b).statistic for a, b in zip(x.T, y.T, strict=True)]
    )


ORACLES = {
    "mse": sklearn.metrics.mean_squared_error,
    "mae": sklearn.metrics.mean_absolute_error,
    "rmse": dysts.metrics.rmse,
    "nrmse": lambda x, y: dysts.metrics.nrmse(x, y, scale=SCALE, eps=0.0),
    "smape": lambda x, y: dysts.metrics.smape(x, y, scaled=False),
    "r2": sklearn.metrics.r2_score,
    "pearson": per_coordinate(scipy.stats.pearsonr),
    "spearman": per_coordinate(scipy.stats.spearmanr),
}


@pytest.mark.parametrize("name", ORACLES)
def test_equals_its_oracle(name: str) -> None:
    expected = [ORACLES[name](x, y) for x, y in zip(TRUTH, FORECAST, strict=True)]
    np.testing.assert_allclose(METRICS[name](TRUTH, FORECAST, FACTS), expected, rtol=1e-9)


def test_mase_equals_that_of_dysts_for_each_coordinate() -> None:
    train = FACTS.train[:1, :50]  # dysts wants training data of the forecast's length
    expected = np.mean(
        [dysts.metrics.mase(TRUTH[0, :, d], FORECAST[0, :, d], train[0, :, d]) for d in range(3)]
    )
    facts = Facts(0.1, 1.0, SCALE, train)
    assert pointwise.mase(TRUTH[:1], FORECAST[:1], facts) == pytest.approx(expected)


def test_mase_without_training_data_says_so() -> None:
    with pytest.raises(TooShort, match=r"Facts\.train"):
        pointwise.mase(TRUTH, FORECAST, Facts(0.1, 1.0, SCALE))


def test_at_1_scores_the_first_lyapunov_time_only() -> None:
    forecast = FORECAST.copy()
    forecast[:, 10:] = 1e9  # dt 0.1, Lyapunov time 1: ten steps
    for name in ("smape", "nrmse"):
        np.testing.assert_array_equal(
            METRICS[f"{name}_at_1"](TRUTH, forecast, FACTS),
            METRICS[name](TRUTH[:, :10], FORECAST[:, :10], FACTS),
        )


@pytest.mark.parametrize(
    ("x", "y", "smape"),
    [(0.0, 0.0, 0.0), (1.0, 3.0, 100.0), (1.0, -1.0, 200.0), (0.0, 1e-300, 200.0)],
)
def test_smape_runs_from_0_to_200(x: float, y: float, smape: float) -> None:
    facts = Facts(1.0, 1.0, np.ones(1))
    assert pointwise.smape(np.full((1, 4, 1), x), np.full((1, 4, 1), y), facts) == smape


def test_smape_counts_what_is_not_finite_as_wholly_wrong() -> None:
    truth, forecast = np.ones((1, 4, 1)), np.ones((1, 4, 1))
    forecast[0, 2:, 0] = np.nan, np.inf
    assert pointwise.smape(truth, forecast, Facts(1.0, 1.0, np.ones(1))) == 100.0


def test_the_training_mean_has_nrmse_1() -> None:
    truth = RNG.normal(size=(1, 100_000, 3)) * SCALE
    assert pointwise.nrmse(truth, np.zeros_like(truth), FACTS) == pytest.approx(1, abs=0.01)


def test_spearman_gives_ties_their_mean_rank() -> None:
    truth, forecast = RNG.integers(4, size=(2, 3, 40, 2)).astype(float)
    expected = [ORACLES["spearman"](x, y) for x, y in zip(truth, forecast, strict=True)]
    facts = Facts(1.0, 1.0, np.ones(2))
    np.testing.assert_allclose(pointwise.spearman(truth, forecast, facts), expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["pearson", "spearman", "r2"])
def test_a_constant_coordinate_counts_only_if_met_exactly(name: str) -> None:
    truth = np.stack([TRUTH[0, :, 0], np.full(50, 0.1)], axis=1)[None]  # 0.1: its mean rounds
    facts = Facts(1.0, 1.0, np.ones(2))
    missed = truth + np.array([0.0, 1.0])
    assert METRICS[name](truth, truth.copy(), facts) == pytest.approx(1.0, abs=1e-12)
    assert METRICS[name](truth, missed, facts) == pytest.approx(0.5, abs=1e-12)


def test_pearson_is_not_spearman_in_one_dimension() -> None:
    truth = np.linspace(0, 5, 200)[None, :, None]
    facts = Facts(1.0, 1.0, np.ones(1))
    assert pointwise.spearman(truth, np.exp(truth), facts) == pytest.approx(1.0)
    expected = scipy.stats.pearsonr(truth.ravel(), np.exp(truth).ravel()).statistic
    assert pointwise.pearson(truth, np.exp(truth), facts) == pytest.approx(expected)
