"""Scores of samples against analytic values, brute force and darts."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from darts import TimeSeries
from darts.metrics import mql
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dysts_bench.metrics import METRICS, Facts, TooShort, probabilistic, score

SCALE = np.array([1.0, 5.0, 0.2])
FACTS = Facts(dt=0.1, lyapunov_time=1.0, scale=SCALE)
UNIT = Facts(dt=0.1, lyapunov_time=1.0, scale=np.ones(3))
NAMES = [name for name, metric in METRICS.items() if metric.data == "samples"]
PROPER = ("crps", "energy_score", "quantile_loss")


def ensemble(samples: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Truth (4, 30, 3), and samples that are wrong in place and spread."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(4, 30, 3)) * SCALE
    return truth, truth + (0.3 + 0.7 * rng.normal(size=(samples, 4, 30, 3))) * SCALE


def calibrated(samples: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth and samples drawn from one distribution, whose place changes from step to step."""
    rng = np.random.default_rng(1)
    place = rng.normal(size=(1, steps, 3))
    draws = place + rng.normal(size=(samples + 1, 1, steps, 3)) * [1.0, 0.1, 3.0]
    return draws[0], draws[1:]


def test_these_five_are_registered() -> None:
    assert set(NAMES) == {*PROPER, "coverage_error", "spread_skill_error"}


@pytest.mark.parametrize("samples", [1, 2, 7, 50])
def test_crps_and_energy_score_equal_their_double_sums(samples: int) -> None:
    truth, forecast = ensemble(samples)
    x, y = truth / SCALE, forecast / SCALE
    pairs = y[:, None] - y[None]  # (samples, samples, windows, horizon, dim)
    by_coordinate = np.abs(y - x).mean(axis=0) - np.abs(pairs).mean(axis=(0, 1)) / 2
    np.testing.assert_allclose(
        METRICS["crps"](truth, forecast, FACTS), by_coordinate.mean(axis=(1, 2)), rtol=1e-12
    )
    norm = np.linalg.norm
    by_step = norm(y - x, axis=3).mean(axis=0) - norm(pairs, axis=4).mean(axis=(0, 1)) / 2
    np.testing.assert_allclose(
        METRICS["energy_score"](truth, forecast, FACTS), by_step.mean(axis=1), rtol=1e-12
    )


def test_crps_of_gaussian_samples_is_the_analytic_one() -> None:
    # Gneiting & Raftery 2007: σ (z (2 Φ(z) − 1) + 2 φ(z) − 1/√π) with z = (x − μ)/σ
    normal = scipy.stats.norm
    for x, mean, deviation in [(0.0, 0.0, 1.0), (2.0, 0.5, 0.7), (-1.0, 3.0, 2.0)]:
        z = (x - mean) / deviation
        exact = deviation * (
            z * (2 * normal.cdf(z) - 1) + 2 * normal.pdf(z) - 1 / math.sqrt(math.pi)
        )
        # quantiles at the midpoints in place of draws: the error is of order 1/samples
        samples = normal.ppf((np.arange(2000) + 0.5) / 2000, mean, deviation)
        truth = np.full((1, 1, 3), x)
        forecast = np.broadcast_to(samples[:, None, None, None], (2000, 1, 1, 3))
        assert probabilistic.crps(truth, forecast, UNIT) == pytest.approx(exact, rel=1e-3)


def test_energy_score_of_one_coordinate_is_the_crps() -> None:
    truth, forecast = ensemble(20)
    facts = replace(FACTS, scale=SCALE[:1])
    truth, forecast = truth[..., :1], forecast[..., :1]
    np.testing.assert_allclose(
        probabilistic.energy_score(truth, forecast, facts),
        probabilistic.crps(truth, forecast, facts),
        rtol=1e-12,
    )


def test_energy_score_sees_how_coordinates_hang_together_and_crps_does_not() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(51, 1, 400, 1))
    together = np.concatenate([x, x, x], axis=3)
    truth, forecast = together[0], together[1:]
    torn = np.concatenate([np.roll(forecast[..., d : d + 1], d, axis=0) for d in range(3)], axis=3)
    np.testing.assert_allclose(
        probabilistic.crps(truth, torn, UNIT), probabilistic.crps(truth, forecast, UNIT)
    )
    assert probabilistic.energy_score(truth, torn, UNIT) > 1.02 * probabilistic.energy_score(
        truth, forecast, UNIT
    )


@pytest.mark.parametrize("samples", [2, 9, 40])
def test_quantile_loss_equals_that_of_darts(samples: int) -> None:
    truth, forecast = ensemble(samples)
    expected = [
        np.mean(
            [
                mql(
                    TimeSeries.from_values(x),
                    TimeSeries.from_values(np.moveaxis(y, 0, -1)),
                    q=float(q),
                )
                for q in np.arange(1, 10) / 10
            ]
        )
        for x, y in zip(truth, np.moveaxis(forecast, 1, 0), strict=True)
    ]
    np.testing.assert_allclose(
        probabilistic.quantile_loss(truth, forecast, UNIT), expected, rtol=1e-12
    )


def test_a_single_sample_scores_its_absolute_error() -> None:
    truth, forecast = ensemble(1)
    error = np.abs(forecast[0] - truth) / SCALE
    for name in ("crps", "quantile_loss"):
        np.testing.assert_allclose(
            METRICS[name](truth, forecast, FACTS), error.mean(axis=(1, 2)), rtol=1e-12
        )
    distance = np.linalg.norm(error, axis=2).mean(axis=1)
    np.testing.assert_allclose(METRICS["energy_score"](truth, forecast, FACTS), distance)


@pytest.mark.parametrize("name", ["coverage_error", "spread_skill_error"])
def test_a_single_sample_has_no_spread_to_score(name: str) -> None:
    truth, forecast = ensemble(1)
    with pytest.raises(TooShort, match="two samples or more, 20 to be of use; got 1"):
        METRICS[name](truth, forecast, FACTS)
    (row,) = score(truth, forecast, FACTS, data="samples", metrics=[name])
    assert row.status == "unsupported" and row.message.startswith(name.split("_")[0])


@pytest.mark.parametrize("samples", [2, 5, 19, 50])
def test_samples_of_the_right_distribution_are_calibrated(samples: int) -> None:
    truth, forecast = calibrated(samples, 20_000)
    # 60 000 values: a standard error of √(0.09 / 60 000) = 0.0012 of the coverage
    assert probabilistic.coverage(truth, forecast) == pytest.approx(0.9, abs=0.004)
    assert probabilistic.coverage_error(truth, forecast, UNIT) < 0.004
    assert probabilistic.spread_skill_ratio(truth, forecast, UNIT) == pytest.approx(1, abs=0.02)
    assert probabilistic.spread_skill_error(truth, forecast, UNIT) < 0.02


def test_coverage_is_the_share_between_two_samples_where_these_end_the_interval() -> None:
    truth, forecast = calibrated(199, 500)
    narrow = forecast.mean(axis=0) + 0.6 * (forecast - forecast.mean(axis=0))
    ordered = np.sort(narrow, axis=0)  # 200 gaps, of which the outer 10 on either side are 10 %
    share = np.mean((truth > ordered[9]) & (truth < ordered[189]))
    assert probabilistic.coverage(truth, narrow) == pytest.approx(share, rel=1e-12)
    expected = 2 * scipy.stats.norm.cdf(0.6 * 1.645) - 1
    assert share == pytest.approx(expected, abs=0.04)  # three standard errors of 1500 values


def test_half_the_spread_is_off_by_ln_2_and_has_the_sign_of_too_sure() -> None:
    truth, forecast = calibrated(400, 5000)
    centre = forecast.mean(axis=0)
    too_sure = centre + 0.5 * (forecast - centre)
    assert probabilistic.spread_skill_ratio(truth, too_sure, UNIT) == pytest.approx(0.5, rel=0.02)
    error = probabilistic.spread_skill_error(truth, too_sure, UNIT)
    assert error == pytest.approx(math.log(2), abs=0.02)
    assert probabilistic.spread_skill_ratio(truth, 2 * forecast - centre, UNIT) > 1.9


def test_a_truth_equal_to_some_samples_has_their_gaps_to_itself_evenly() -> None:
    truth = np.zeros((1, 1, 3))
    two = np.array([0.0, 1.0])[:, None, None, None] * np.ones(3)
    # gaps: (−∞, 0), (0, 1), (1, ∞); the truth has the first two, of which 0.05 … 2/3 is inside
    expected = (2 / 3 - 0.05) / (2 / 3)
    assert probabilistic.coverage(truth, two) == pytest.approx(expected)


@pytest.mark.parametrize("name", PROPER)
def test_the_true_spread_scores_better_than_others(name: str) -> None:
    truth, forecast = calibrated(100, 4000)
    centre = forecast.mean(axis=0)
    values = [
        METRICS[name](truth, centre + factor * (forecast - centre), UNIT).item()
        for factor in (0.0, 0.5, 1.0, 2.0)
    ]
    assert min(values) == values[2]


@pytest.mark.parametrize("name", NAMES)
def test_samples_equal_to_the_truth_are_ideal_and_equally_wrong_ones_are_not(name: str) -> None:
    truth, _ = ensemble(1)
    same = np.repeat(truth[None], 7, axis=0)
    np.testing.assert_allclose(METRICS[name](truth, same, FACTS), 0.0, atol=1e-15)
    missed = METRICS[name](truth, same + 0.1, FACTS)
    if name == "spread_skill_error":
        assert np.isposinf(missed).all()  # sure, and wrong
    else:
        assert (missed > 0.01).all()
    many = np.repeat(truth[None], 19, axis=0) + 0.1  # enough samples to tell a miss
    if name == "coverage_error":
        np.testing.assert_allclose(METRICS[name](truth, many, FACTS), 0.9, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_value_of_one_sample_is_the_worst_of_its_window_only(name: str, bad: float) -> None:
    truth, forecast = ensemble(60)
    good = METRICS[name](truth, forecast, FACTS)
    forecast[30, 2, 17, 1] = bad
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = METRICS[name](truth, forecast, FACTS)
    assert values[2] == METRICS[name].worst
    np.testing.assert_array_equal(np.delete(values, 2), np.delete(good, 2))


@pytest.mark.parametrize("name", NAMES)
def test_windows_are_scored_each_by_itself_and_samples_in_any_order(name: str) -> None:
    truth, forecast = ensemble(12)
    values = METRICS[name](truth, forecast, FACTS)
    order = np.array([2, 0, 3, 1])
    np.testing.assert_array_equal(
        METRICS[name](truth[order], forecast[:, order], FACTS), values[order]
    )
    np.testing.assert_array_equal(METRICS[name](truth[:1], forecast[:, :1], FACTS), values[:1])
    np.testing.assert_allclose(METRICS[name](truth, forecast[::-1], FACTS), values, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_units_and_origin_do_not_matter(name: str) -> None:
    truth, forecast = ensemble(12)
    factor, offset = np.array([3.0, 0.5, 8.0]), np.array([1.0, -2.0, 0.3])
    facts = replace(FACTS, scale=SCALE * factor)
    np.testing.assert_allclose(
        METRICS[name](truth * factor + offset, forecast * factor + offset, facts),
        METRICS[name](truth, forecast, FACTS),
        rtol=1e-9,
    )


def test_a_horizon_cuts_the_samples_too() -> None:
    truth, forecast = ensemble(12)
    names = [f"{name}_at_1" for name in NAMES]  # dt 0.1, Lyapunov time 1: ten steps
    for row in score(truth, forecast, FACTS, data="samples", metrics=names):
        whole = METRICS[row.metric.name.removesuffix("_at_1")]
        assert row.value == np.median(whole(truth[:, :10], forecast[:, :, :10], FACTS))


TAME = st.floats(-3, 3) | st.just(0.0)
WIDE = st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1e150, -1e300, np.nan, np.inf, -np.inf])


@given(arrays(float, (2, 5, 3), elements=TAME), arrays(float, (4, 2, 5, 3), elements=WIDE))
def test_no_samples_give_nan_a_warning_or_less_than_ideal(
    truth: np.ndarray, forecast: np.ndarray
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in NAMES:
            values = METRICS[name](truth, forecast, FACTS)
            assert ((values >= -1e-9) & (values <= METRICS[name].worst)).all(), name
            if np.isfinite(forecast).all() and np.abs(forecast).max() <= 1e6:
                with np.errstate(all="ignore"):
                    bare = METRICS[name].function.__wrapped__(truth, forecast, FACTS)
                assert not np.isnan(bare).any(), name
