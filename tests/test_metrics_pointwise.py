"""Pointwise metrics against scipy, scikit-learn, darts and dysts, and by hand where those disagree.

The tables compare one window at a time, on random data and on a forecast of Lorenz that lags.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import dysts.metrics
import numpy as np
import pytest
import scipy.spatial.distance
import scipy.special
import scipy.stats
import sklearn.feature_selection
import sklearn.metrics

import systems
from dysts_bench.metrics import METRICS, Facts, TooShort, find, pointwise

RNG = np.random.default_rng(0)
_FRESH = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def _the_same_draws_in_any_order() -> None:
    RNG.bit_generator.state = _FRESH


TRUTH = RNG.normal(size=(4, 50, 3)) * [1.0, 5.0, 0.2] + [0.0, 3.0, -1.0]
FORECAST = TRUTH + RNG.normal(size=TRUTH.shape) * [0.5, 1.0, 0.3]
SCALE = np.array([1.0, 5.0, 0.2])
FACTS = Facts(dt=0.1, lyapunov_time=1.0, scale=SCALE, train=RNG.normal(size=(2, 400, 3)))
ONE = Facts(dt=1.0, lyapunov_time=1.0, scale=np.ones(1))

Quantity = Callable[[np.ndarray, np.ndarray], float]
Case = tuple[np.ndarray, np.ndarray, Facts]


def late_lorenz() -> Case:
    """Two windows of 300 steps of Lorenz, forecast with a delay of five steps and some noise."""
    run = systems.load("Lorenz").trajectory(1000, seed=1).states[0]
    truth = np.stack([run[5:305], run[605:905]])
    noise = 0.05 * np.random.default_rng(1).normal(size=truth.shape)
    forecast = np.stack([run[:300], run[600:900]]) + noise
    return truth, forecast, Facts(0.01, 1.1, run.std(axis=0), run[None])


@pytest.fixture(scope="module", params=["random", "Lorenz"])
def case(request: pytest.FixtureRequest) -> Case:
    return late_lorenz() if request.param == "Lorenz" else (TRUTH, FORECAST, FACTS)


def by_coordinate(quantity: Quantity) -> Quantity:
    """The mean over coordinates of a quantity of two series."""
    return lambda x, y: float(np.mean([quantity(a, b) for a, b in zip(x.T, y.T, strict=True)]))


def assert_agrees(name: str, oracle: Quantity, case: Case, rtol: float) -> None:
    truth, forecast, facts = case
    expected = [oracle(x, y) for x, y in zip(truth, forecast, strict=True)]
    np.testing.assert_allclose(METRICS[name](truth, forecast, facts), expected, rtol=rtol)


def information(x: np.ndarray, y: np.ndarray) -> float:
    found = sklearn.feature_selection.mutual_info_regression(x[:, None], y, random_state=0)
    return found[0]


SCIPY_AND_SKLEARN = {
    "mse": sklearn.metrics.mean_squared_error,
    "mae": sklearn.metrics.mean_absolute_error,
    "mape": lambda x, y: 100 * sklearn.metrics.mean_absolute_percentage_error(x, y),
    "r2": sklearn.metrics.r2_score,
    "pearson": by_coordinate(lambda x, y: scipy.stats.pearsonr(x, y).statistic),
    "spearman": by_coordinate(lambda x, y: scipy.stats.spearmanr(x, y).statistic),
    "kendall": by_coordinate(lambda x, y: scipy.stats.kendalltau(x, y).statistic),
    "mutual_information": by_coordinate(information),
}


@pytest.mark.parametrize("name", SCIPY_AND_SKLEARN)
def test_equals_scipy_or_sklearn(name: str, case: Case) -> None:
    assert_agrees(name, SCIPY_AND_SKLEARN[name], case, rtol=1e-9)


# As published, with all coordinates at once.
DYSTS = {
    "mse": dysts.metrics.mse,
    "mae": dysts.metrics.mae,
    "rmse": dysts.metrics.rmse,
    "smape": lambda x, y: dysts.metrics.smape(x, y, scaled=False),
    "mape": dysts.metrics.mape,
    "pearson": dysts.metrics.pearson,
    "spearman": dysts.metrics.spearman,
    "kendall": dysts.metrics.kendall,
}
# These dysts pools over coordinates.
DYSTS_BY_COORDINATE = {
    "wape": dysts.metrics.wape,
    "marre": dysts.metrics.marre,
    "ope": dysts.metrics.ope,
    "r2": dysts.metrics.r2_score,
}


@pytest.mark.parametrize("name", DYSTS | DYSTS_BY_COORDINATE)
def test_equals_dysts(name: str, case: Case) -> None:
    oracle = DYSTS.get(name) or by_coordinate(DYSTS_BY_COORDINATE[name])
    assert_agrees(name, oracle, case, rtol=1e-6)  # dysts adds 1e-10 to denominators


@pytest.mark.parametrize("name", DYSTS_BY_COORDINATE)
def test_no_coordinate_counts_for_more_as_it_does_where_dysts_pools(name: str) -> None:
    forecast = TRUTH.copy()
    forecast[..., 2] += 0.2  # wrong in the smallest coordinate only
    pooled = [DYSTS_BY_COORDINATE[name](x, y) for x, y in zip(TRUTH, forecast, strict=True)]
    perfect = METRICS[name].ideal
    ours = np.abs(METRICS[name](TRUTH, forecast, FACTS) - perfect)
    assert (ours > 2 * np.abs(np.array(pooled) - perfect)).all()


def test_nrmse_equals_that_of_dysts_given_the_scale(case: Case) -> None:
    scale = case[2].scale
    oracle = lambda x, y: dysts.metrics.nrmse(x, y, scale=scale, eps=0.0)  # noqa: E731
    assert_agrees("nrmse", oracle, case, rtol=1e-12)


def test_dtw_equals_that_of_dysts_in_standard_deviations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # dysts 0.96 puts a (1, 1) array in one element, which numpy no longer allows
    distance = scipy.spatial.distance.cdist
    monkeypatch.setattr(dysts.metrics, "cdist", lambda a, b, metric: distance(a, b, metric).item())
    oracle = lambda x, y: dysts.metrics.dtw(x / SCALE, y / SCALE)[0]  # noqa: E731
    assert_agrees("dtw", oracle, (TRUTH[:2], FORECAST[:2], FACTS), rtol=1e-12)


def test_mase_equals_that_of_dysts_for_each_coordinate() -> None:
    train = FACTS.train[:1, :50]  # dysts wants training data of the forecast's length
    expected = np.mean(
        [dysts.metrics.mase(TRUTH[0, :, d], FORECAST[0, :, d], train[0, :, d]) for d in range(3)]
    )
    facts = Facts(0.1, 1.0, SCALE, train)
    assert pointwise.mase(TRUTH[:1], FORECAST[:1], facts) == pytest.approx(expected)


def test_rmsle_equals_dysts_and_sklearn_where_both_series_have_the_same_minimum() -> None:
    truth, forecast = np.abs(TRUTH), np.abs(FORECAST)
    truth[:, 7] = forecast[:, 20] = 0.0
    squared = sklearn.metrics.mean_squared_log_error
    for oracle in (lambda x, y: np.sqrt(squared(x, y)), dysts.metrics.rmsle):
        assert_agrees("rmsle", by_coordinate(oracle), (truth, forecast, FACTS), rtol=1e-9)


def test_coefficient_of_variation_equals_that_of_dysts_for_errors_without_bias() -> None:
    error = FORECAST - TRUTH
    forecast = TRUTH + error - error.mean(axis=1, keepdims=True)
    oracle = by_coordinate(lambda x, y: abs(dysts.metrics.coefficient_of_variation(x, y)))
    assert_agrees("coefficient_of_variation", oracle, (TRUTH, forecast, FACTS), rtol=1e-6)


@pytest.fixture(scope="module")
def darts() -> SimpleNamespace:
    """darts.metrics and what it takes; slow to import."""
    import darts.dataprocessing.dtw
    import darts.metrics

    return SimpleNamespace(
        metrics=darts.metrics, series=darts.TimeSeries.from_values, dtw=darts.dataprocessing.dtw.dtw
    )


# Our name: darts'. By its default it averages over the components.
DARTS = {
    "mse": "mse",
    "mae": "mae",
    "smape": "smape",
    "mape": "mape",
    "wape": "wmape",
    "marre": "marre",
    "r2": "r2_score",
}


@pytest.mark.parametrize("name", DARTS)
def test_equals_darts(name: str, case: Case, darts: SimpleNamespace) -> None:
    theirs = getattr(darts.metrics, DARTS[name])
    oracle = lambda x, y: theirs(darts.series(x), darts.series(y))  # noqa: E731
    assert_agrees(name, oracle, case, rtol=1e-9)


def test_coefficient_of_variation_equals_that_of_darts(case: Case, darts: SimpleNamespace) -> None:
    theirs = darts.metrics.coefficient_of_variation  # divides by the mean with its sign
    oracle = by_coordinate(lambda x, y: abs(theirs(darts.series(x), darts.series(y))))
    assert_agrees("coefficient_of_variation", oracle, case, rtol=1e-9)


def test_rmsle_equals_that_of_darts_above_the_truths_minimum(darts: SimpleNamespace) -> None:
    lowest = TRUTH.min(axis=1, keepdims=True)
    forecast = np.maximum(FORECAST, lowest)
    expected = [
        darts.metrics.rmsle(darts.series(x), darts.series(y))
        for x, y in zip(TRUTH - lowest, forecast - lowest, strict=True)
    ]
    np.testing.assert_allclose(pointwise.rmsle(TRUTH, forecast, FACTS), expected, rtol=1e-12)


def test_mase_equals_that_of_darts(darts: SimpleNamespace) -> None:
    times = FACTS.train.shape[1]
    expected = []
    for x, y in zip(TRUTH, FORECAST, strict=True):  # darts wants what follows the training data
        both = [darts.series(np.concatenate([FACTS.train[0], z]))[times:] for z in (x, y)]
        expected.append(darts.metrics.mase(*both, darts.series(FACTS.train[0]), m=1))
    facts = Facts(0.1, 1.0, SCALE, FACTS.train[:1])
    np.testing.assert_allclose(pointwise.mase(TRUTH, FORECAST, facts), expected, rtol=1e-12)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 6), (40, 40), (40, 15), (15, 40)])
def test_the_warped_distance_is_that_of_darts(n: int, m: int, darts: SimpleNamespace) -> None:
    x, y = TRUTH[0, :n], FORECAST[1, :m]
    for dims in (1, 3):
        series = darts.series(x[:, :dims]), darts.series(y[:, :dims])
        distance = lambda a, b: float(np.linalg.norm(a - b))  # noqa: E731
        expected = darts.dtw(*series, distance=distance).distance()
        assert pointwise.warped_distance(x[:, :dims], y[:, :dims]) == pytest.approx(expected)


def test_what_darts_calls_ope_finds_a_shuffled_truth_perfect(darts: SimpleNamespace) -> None:
    truth = TRUTH[:1] + 10
    shuffled = RNG.permuted(truth, axis=1)
    assert darts.metrics.ope(darts.series(truth[0]), darts.series(shuffled[0])) < 1e-9
    assert pointwise.ope(truth, shuffled, FACTS) > 1


@pytest.mark.parametrize("name", ["mse", "mae", "rmse", "nrmse", "smape", "mape", "mase"])
def test_at_each_step_is_the_metric_of_a_window_of_one_step(name: str) -> None:
    each = METRICS[name].at_each_step(TRUTH, FORECAST, FACTS)
    assert each.shape == (4, 50)
    for t in (0, 17, 49):
        alone = METRICS[name](TRUTH[:, t : t + 1], FORECAST[:, t : t + 1], FACTS)
        np.testing.assert_allclose(each[:, t], alone, rtol=1e-12)


@pytest.mark.parametrize("name", ["mse", "mae", "smape", "mape", "mase"])
def test_steps_average_to_the_window_where_the_metric_is_a_mean(name: str) -> None:
    each = METRICS[name].at_each_step(TRUTH, FORECAST, FACTS)
    np.testing.assert_allclose(each.mean(axis=1), METRICS[name](TRUTH, FORECAST, FACTS), rtol=1e-12)


def test_at_each_step_by_hand() -> None:
    truth, forecast = np.array([1.0, 2.0, -4.0]), np.array([2.0, 2.0, 4.0])
    each = {"mae": [1, 0, 8], "mse": [1, 0, 64], "mape": [100, 0, 200], "smape": [200 / 3, 0, 200]}
    for name, expected in each.items():
        values = METRICS[name].at_each_step(truth[None, :, None], forecast[None, :, None], ONE)
        np.testing.assert_allclose(values, [expected], rtol=1e-15)


@pytest.mark.parametrize("name", ["pearson", "kendall", "mutual_information", "marre", "rmsle"])
def test_what_compares_whole_windows_has_no_value_at_one_step(name: str) -> None:
    with pytest.raises(ValueError, match="no value at one step"):
        METRICS[name].at_each_step(TRUTH, FORECAST, FACTS)


@pytest.mark.parametrize("name", ["rmse", "smape", "mape", "kendall"])
def test_cumulative_is_the_horizoned_metric_of_dysts(name: str) -> None:
    expected = [dysts.metrics.horizoned_metric(TRUTH[w], FORECAST[w], DYSTS[name]) for w in (0, 1)]
    # of a single step dysts' correlations are NaN
    values = METRICS[name].cumulative(TRUTH[:2], FORECAST[:2], FACTS, range(2, 51))
    np.testing.assert_allclose(values, np.array(expected)[:, 1:], rtol=1e-6)


def test_a_horizon_scores_the_first_lyapunov_time_only() -> None:
    forecast = FORECAST.copy()
    forecast[:, 10:] = 1e9  # dt 0.1, Lyapunov time 1: ten steps
    for name in ("smape", "nrmse", "kendall", "mutual_information", "dtw"):
        np.testing.assert_array_equal(
            find(f"{name}_at_1")(TRUTH, forecast, FACTS),
            METRICS[name](TRUTH[:, :10], FORECAST[:, :10], FACTS),
        )


def test_mase_without_training_data_says_so() -> None:
    with pytest.raises(TooShort, match=r"Facts\.train"):
        pointwise.mase(TRUTH, FORECAST, Facts(0.1, 1.0, SCALE))


@pytest.mark.parametrize(
    ("x", "y", "smape"),
    [(0.0, 0.0, 0.0), (1.0, 3.0, 100.0), (1.0, -1.0, 200.0), (0.0, 1e-300, 200.0)],
)
def test_smape_runs_from_0_to_200(x: float, y: float, smape: float) -> None:
    assert pointwise.smape(np.full((1, 4, 1), x), np.full((1, 4, 1), y), ONE) == smape


def test_smape_counts_what_is_not_finite_as_wholly_wrong() -> None:
    truth, forecast = np.ones((1, 4, 1)), np.ones((1, 4, 1))
    forecast[0, 2:, 0] = np.nan, np.inf
    assert pointwise.smape(truth, forecast, ONE) == 100.0


RELATIVE = ["mape", "wape", "marre", "ope", "coefficient_of_variation"]


@pytest.mark.parametrize("name", RELATIVE)
def test_an_error_relative_to_nothing_is_infinite_unless_there_is_none(name: str) -> None:
    nothing = np.zeros((1, 6, 1))
    assert METRICS[name](nothing, nothing.copy(), ONE) == 0.0
    assert METRICS[name](nothing, nothing + 1e-9, ONE) == np.inf


@pytest.mark.parametrize("name", ["marre", "ope"])
def test_a_constant_truth_has_no_range_though_its_mean_rounds(name: str) -> None:
    truth = np.full((1, 50, 1), 0.1)
    assert METRICS[name](truth, truth.copy(), ONE) == 0.0
    assert METRICS[name](truth, truth + 1, ONE) == np.inf


def test_mape_is_infinite_where_the_truth_is_zero_at_one_step_and_missed() -> None:
    truth = np.array([1.0, 0.0, 2.0])[None, :, None]
    first = np.array([0.1, 0.0, 0.0])[None, :, None]
    assert pointwise.mape(truth, truth + first, ONE) == pytest.approx(10 / 3)
    assert pointwise.mape(truth, truth + 0.1, ONE) == np.inf
    assert pointwise.wape(truth, truth + 0.1, ONE) == pytest.approx(10)


@pytest.mark.parametrize(
    "name", [m.name for m in METRICS.values() if m.function.__module__ == pointwise.__name__]
)
def test_errors_see_a_forecast_too_high_throughout_and_correlations_do_not(name: str) -> None:
    correlations = {"pearson", "spearman", "kendall", "mutual_information"}
    best = METRICS[name](TRUTH, TRUTH.copy(), FACTS)
    values = METRICS[name](TRUTH, TRUTH + 0.5, FACTS)
    if name in correlations:
        np.testing.assert_allclose(values, best, rtol=1e-12)
    else:
        worse = values < best if METRICS[name].better == "higher" else values > best
        assert worse.all()


def test_coefficient_of_variation_is_positive_where_the_mean_is_negative() -> None:
    truth = TRUTH[:1, :, 2:]  # about −1
    assert dysts.metrics.coefficient_of_variation(truth, truth * 2) < 0
    assert pointwise.coefficient_of_variation(truth, truth * 2, ONE) > 100


def test_rmsle_grows_as_a_forecast_sinks_below_the_truths_minimum() -> None:
    truth = np.array([0.0, 1.0, 3.0])[None, :, None]
    first = np.array([1.0, 0.0, 0.0])[None, :, None]
    above = pointwise.rmsle(truth, truth + first, ONE)
    below = pointwise.rmsle(truth, truth - first, ONE)
    assert above == below == pytest.approx(np.log(2) / np.sqrt(3))
    depths = [pointwise.rmsle(truth, truth - depth, ONE)[0] for depth in (0.0, 0.1, 1.0, 10.0)]
    assert depths[0] == 0 and depths == sorted(set(depths))


def test_the_training_mean_has_nrmse_1() -> None:
    truth = RNG.normal(size=(1, 100_000, 3)) * SCALE
    assert pointwise.nrmse(truth, np.zeros_like(truth), FACTS) == pytest.approx(1, abs=0.01)


def test_the_windows_mean_has_ope_1() -> None:
    mean = np.broadcast_to(TRUTH.mean(axis=1, keepdims=True), TRUTH.shape)
    np.testing.assert_allclose(pointwise.ope(TRUTH, mean, FACTS), 1, rtol=1e-12)


@pytest.mark.parametrize("name", ["spearman", "kendall"])
@pytest.mark.parametrize("values", [2, 4, 40])
def test_rank_correlations_treat_ties_as_scipy_does(name: str, values: int) -> None:
    truth, forecast = RNG.integers(values, size=(2, 3, 41, 2)).astype(float)
    facts = Facts(1.0, 1.0, np.ones(2))
    assert_agrees(name, SCIPY_AND_SKLEARN[name], (truth, forecast, facts), rtol=1e-9)


def test_kendall_counts_pairs_in_order_by_hand() -> None:
    x = np.array([1.0, 2.0, 3.0, 4.0])
    assert pointwise.kendall_tau(x, x) == 1.0
    assert pointwise.kendall_tau(x, -x) == -1.0
    assert pointwise.kendall_tau(x, np.array([1.0, 3.0, 2.0, 4.0])) == pytest.approx(4 / 6)
    assert pointwise.kendall_tau(x, np.array([1.0, 1.0, 2.0, 3.0])) == pytest.approx(5 / 30**0.5)
    assert np.isnan(pointwise.kendall_tau(x, np.ones(4)))


@pytest.mark.parametrize("name", ["pearson", "spearman", "kendall", "r2"])
def test_a_constant_coordinate_counts_only_if_met_exactly(name: str) -> None:
    truth = np.stack([TRUTH[0, :, 0], np.full(50, 0.1)], axis=1)[None]  # 0.1: its mean rounds
    facts = Facts(1.0, 1.0, np.ones(2))
    missed = truth + np.array([0.0, 1.0])
    assert METRICS[name](truth, truth.copy(), facts) == pytest.approx(1.0, abs=1e-12)
    assert METRICS[name](truth, missed, facts) == pytest.approx(0.5, abs=1e-12)


def test_pearson_is_not_spearman_in_one_dimension() -> None:
    truth = np.linspace(0, 5, 200)[None, :, None]
    assert pointwise.spearman(truth, np.exp(truth), ONE) == pytest.approx(1.0)
    expected = scipy.stats.pearsonr(truth.ravel(), np.exp(truth).ravel()).statistic
    assert pointwise.pearson(truth, np.exp(truth), ONE) == pytest.approx(expected)


@pytest.mark.parametrize("correlation", [0.0, 0.6, -0.95])
def test_shared_information_of_gaussians_is_known(correlation: float) -> None:
    x, noise = RNG.normal(size=(2, 20_000))
    y = correlation * x + np.sqrt(1 - correlation**2) * noise
    expected = -np.log(1 - correlation**2) / 2
    # between draws of this size the estimate varies by 0.01
    assert pointwise.shared_information(x, y) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("neighbours", [1, 3, 8])
def test_shared_information_is_that_of_sklearn_whatever_the_neighbours(neighbours: int) -> None:
    x, y = TRUTH[0, :, 1], FORECAST[0, :, 1]
    expected = sklearn.feature_selection.mutual_info_regression(
        x[:, None], y, n_neighbors=neighbours, random_state=0
    )
    assert pointwise.shared_information(x, y, neighbours) == pytest.approx(expected[0], abs=1e-9)


def test_equal_spacing_raises_shared_information_no_further_than_the_largest() -> None:
    x = np.array([0.0, 1.0, 3.0, 5.0, 7.0, 9.0])  # from 1: one neighbour at 1, two at 2 and more
    most = pointwise.largest_information(x[None, :, None], ONE)
    assert pointwise.shared_information(x, x) == most
    assert pointwise.shared_information(x, 3 - 0.3 * x) == pytest.approx(most, abs=1e-12)


def test_shared_information_is_equal_in_both_directions() -> None:
    x, y = late_lorenz()[0][:, :, 0]
    assert pointwise.shared_information(x, y) == pytest.approx(
        pointwise.shared_information(y, x), abs=1e-12
    )


def test_the_truth_shares_most_information_with_itself() -> None:
    truth, forecast, facts = late_lorenz()
    most = scipy.special.digamma(300) - scipy.special.digamma(3)
    assert pointwise.largest_information(truth, facts) == pytest.approx(most, rel=1e-12)
    itself = METRICS["mutual_information"](truth, truth.copy(), facts)
    np.testing.assert_array_equal(itself, METRICS["mutual_information"].limit(truth, facts))
    assert (METRICS["mutual_information"](truth, forecast, facts) < most).all()


def test_repeated_values_share_no_more_information_than_there_is() -> None:
    x, y = RNG.integers(3, size=(2, 400)).astype(float)
    assert pointwise.shared_information(x, x) <= np.log(3)
    assert pointwise.shared_information(x, y) == 0.0
    assert pointwise.shared_information(x, RNG.normal(size=400)) < 0.1


def test_a_constant_coordinate_shares_all_information_only_if_met_exactly() -> None:
    truth = np.stack([TRUTH[0, :, 0], np.full(50, 0.1)], axis=1)[None]
    facts = Facts(1.0, 1.0, np.ones(2))
    most = pointwise.largest_information(truth, facts)
    missed = truth + np.array([0.0, 1.0])
    assert pointwise.mutual_information(truth, truth.copy(), facts) == most
    assert pointwise.mutual_information(truth, missed, facts) == pytest.approx(most / 2)


@pytest.mark.parametrize("steps", [1, 3])
def test_mutual_information_says_how_many_steps_it_needs(steps: int) -> None:
    with pytest.raises(TooShort, match=f"windows of {steps} steps.* 4 steps at least"):
        pointwise.mutual_information(TRUTH[:, :steps], FORECAST[:, :steps], FACTS)
    with pytest.raises(TooShort, match=f"3 neighbours of each of {steps} points"):
        pointwise.shared_information(TRUTH[0, :steps, 0], FORECAST[0, :steps, 0])


def test_warping_forgives_a_delay() -> None:
    truth, forecast, facts = late_lorenz()
    warped = pointwise.dtw(truth, forecast, facts)
    in_step = np.mean(np.linalg.norm((truth - forecast) / facts.scale, axis=2), axis=1) / 2
    assert (warped < in_step / 4).all()


def test_warping_by_hand() -> None:
    x, y = np.array([[0.0], [0.0], [1.0]]), np.array([[0.0], [1.0], [1.0], [3.0]])
    assert pointwise.warped_distance(x, y) == 2.0  # only the 3 has no match: it costs 2
    assert pointwise.dtw(x[None], y[None, :3], ONE) == 0.0
    assert pointwise.dtw(x[None], x[None] + 8, ONE) == pytest.approx((8 + 8 + 8) / 8)


def test_the_warped_distance_of_long_series_is_that_of_the_plain_recursion() -> None:
    x, y = RNG.normal(size=(2, 300, 2)).cumsum(axis=1)
    distance = scipy.spatial.distance.cdist(x, y[:211])
    cost = np.full((301, 212), np.inf)
    cost[0, 0] = 0.0
    for i, j in np.ndindex(distance.shape):
        cost[i + 1, j + 1] = distance[i, j] + min(cost[i, j], cost[i, j + 1], cost[i + 1, j])
    assert pointwise.warped_distance(x, y[:211]) == pytest.approx(cost[-1, -1], rel=1e-13)
