"""Entropies of series for which they are known, and beside antropy and nolds."""

from __future__ import annotations

import math
import sys
from functools import cache
from unittest.mock import MagicMock

import antropy
import numpy as np
import pytest

import systems
from dysts_bench.metrics import Facts, TooShort, complexity
from dysts_bench.metrics.complexity import (
    SCALES,
    multiscale_entropy,
    multiscale_entropy_error,
    permutation_entropy,
    permutation_entropy_error,
    sample_entropy,
)

RNG = np.random.default_rng(0)
_FRESH = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def _the_same_draws_in_any_order() -> None:
    RNG.bit_generator.state = _FRESH


@cache
def true_runs(name: str) -> tuple[np.ndarray, Facts]:
    """(4, 5000, dim) on the attractor, 30 points a period, and the facts to score against."""
    system = systems.load(name)
    made = system.trajectory(5000, points_per_period=30, trajectories=4)
    scale = made.states.std(axis=(0, 1))
    dt = float(made.times[1] - made.times[0])
    return made.states, Facts(dt=dt, lyapunov_time=system.lyapunov_time, scale=scale)


def logistic(times: int) -> np.ndarray:
    x, states = RNG.random(), []
    for _ in range(times):
        x = 4 * x * (1 - x)
        states.append(x)
    return np.array(states)


def facts(dim: int) -> Facts:
    return Facts(dt=1.0, lyapunov_time=10.0, scale=np.ones(dim))


SERIES = {
    "noise": RNG.normal(size=3000),
    "walk": RNG.normal(size=3000).cumsum(),
    "ties": RNG.integers(4, size=3000).astype(float),
    "logistic": logistic(3000),
    "sine": np.sin(np.arange(3000) / 5),
}
NAMED = pytest.mark.parametrize("series", SERIES.values(), ids=SERIES)


# ---- permutation entropy


@NAMED
@pytest.mark.parametrize(("order", "delay"), [(3, 1), (5, 1), (5, 7), (6, 2)])
def test_permutation_entropy_is_that_of_antropy(series: np.ndarray, order: int, delay: int) -> None:
    expected = antropy.perm_entropy(series, order, delay, normalize=True)
    assert permutation_entropy(series, order, delay) == pytest.approx(expected, abs=1e-14)


def test_permutation_entropy_is_1_for_noise_and_0_for_a_slope() -> None:
    # A sample of N patterns reads low by (5! − 1) / (2 N ln 5!).
    noise = RNG.normal(size=200_000)
    assert 1 - permutation_entropy(noise, 5) == pytest.approx(6.2e-5, rel=0.3)
    for monotone in (np.arange(500.0), -np.arange(500.0), np.exp(np.arange(500.0)), np.ones(500)):
        assert permutation_entropy(monotone, 5) == 0.0


def test_permutation_entropy_of_the_logistic_map() -> None:
    # By the angle: x = sin²(πa), and the order of three values changes at a = 1/6, 1/5, 1/3, 2/5.
    shares = np.array([5, 1, 4, 2, 3]) / 15  # three values never descend
    exact = -np.sum(shares * np.log(shares)) / np.log(6)
    assert permutation_entropy(logistic(100_000), 3) == pytest.approx(exact, abs=0.003)


def test_permutation_entropy_sees_order_only() -> None:
    series = SERIES["walk"]
    assert permutation_entropy(np.exp(series / 50), 5) == permutation_entropy(series, 5)


def test_too_few_values_for_their_orders_are_refused_with_how_many_it_takes() -> None:
    with pytest.raises(TooShort, match="at least 132 values"):
        permutation_entropy(RNG.random(131), 5, 3)
    assert permutation_entropy(RNG.random(132), 5, 3) > 0.8


# ---- sample entropy


@NAMED
@pytest.mark.parametrize("m", [1, 2, 3])
def test_sample_entropy_is_that_of_antropy(series: np.ndarray, m: int) -> None:
    expected = antropy.sample_entropy(series, m)
    assert sample_entropy(series, m) == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_sample_entropy_is_that_of_nolds(monkeypatch: pytest.MonkeyPatch) -> None:
    # nolds 0.6.3 reads its example data at import, in a way that fails on Python 3.11.
    monkeypatch.setitem(sys.modules, "nolds.datasets", MagicMock())
    nolds = pytest.importorskip("nolds")
    series = SERIES["walk"][:1000]
    expected = nolds.sampen(series, emb_dim=2, tolerance=1.5)
    assert sample_entropy(series, 2, 1.5) == pytest.approx(expected, rel=1e-12)


def test_sample_entropy_of_white_noise() -> None:
    # Two values of a Gaussian are closer than r with the chance erf(r / 2), whatever came before.
    noise = RNG.normal(size=10_000)
    for r in (0.1, 0.2, 0.5):
        assert sample_entropy(noise, 2, r) == pytest.approx(-math.log(math.erf(r / 2)), rel=0.01)


def test_sample_entropy_of_the_logistic_map_is_the_logarithm_of_2() -> None:
    # Where stretches are alike, the next values are twice as far apart, in the mean logarithm.
    assert sample_entropy(logistic(10_000), 4, 0.01) == pytest.approx(np.log(2), rel=0.05)


def test_series_that_vary_by_less_than_the_tolerance_have_entropy_0() -> None:
    assert sample_entropy(np.full(1000, 0.1)) == 0.0
    assert sample_entropy(0.1 * RNG.random(1000), tolerance=0.2) == 0.0
    assert sample_entropy(np.arange(1000.0)) == 0.0  # what is alike stays alike


def test_without_a_pair_alike_the_value_is_that_of_a_single_one() -> None:
    # Stretches of two values: (0, 1) and (0.1, 1.1) are alike, 5 and −5 that follow are not.
    series = np.array([0.0, 1.0, 5.0, 0.1, 1.1, -5.0])
    assert sample_entropy(series, 2, 0.2) == 0.0  # −ln(1 / 1)
    apart = np.array([0.0, 1.0, 5.0, 20.0, 40.0, 80.0])
    assert sample_entropy(apart, 2, 0.2) == pytest.approx(np.log(6))  # of 4 stretches, 6 pairs
    twice = np.array([0.0, 1.0, 5.0, 0.1, 1.1, -5.0, 0.0, 1.1, 60.0])
    assert sample_entropy(twice, 2, 0.2) == pytest.approx(np.log(3))  # 3 pairs, none stays alike
    with pytest.raises(TooShort, match="at least 4"):
        sample_entropy(np.arange(3.0))


def test_sample_entropy_of_a_flow_is_that_of_antropy() -> None:
    series = np.ascontiguousarray(true_runs("Lorenz")[0][0, :4900, 0])
    assert sample_entropy(series) == pytest.approx(antropy.sample_entropy(series), rel=1e-12)


# ---- over scales


def test_averages_of_white_noise_shrink_and_their_entropy_falls() -> None:
    noise = RNG.normal(size=20_000)
    chances = [math.erf(0.2 * math.sqrt(scale) / 2) for scale in SCALES]
    np.testing.assert_allclose(
        multiscale_entropy(noise, tolerance=0.2), -np.log(chances), rtol=0.06
    )


def test_entropies_over_scales_are_those_of_the_averages() -> None:
    series = SERIES["walk"]
    r = 0.2 * series.std()
    averages = [[series[i : i + s].mean() for i in range(0, 3000 - s + 1, s)] for s in (1, 3, 7)]
    expected = [antropy.sample_entropy(np.array(average), tolerance=r) for average in averages]
    np.testing.assert_allclose(multiscale_entropy(series, (1, 3, 7)), expected, rtol=1e-12)


# ---- as metrics


def imitations(runs: np.ndarray) -> dict[str, np.ndarray]:
    mean = runs.mean(axis=1, keepdims=True)
    spectrum = np.fft.rfft(runs - mean, axis=1)
    phases = np.exp(2j * np.pi * RNG.random((len(runs), spectrum.shape[1], 1)))
    phases[:, [0, -1]] = 1.0
    return {
        "phase-randomised": np.fft.irfft(spectrum * phases, n=runs.shape[1], axis=1) + mean,
        "shuffled": RNG.permuted(runs, axis=1),
        "noise": mean + RNG.normal(size=runs.shape) * runs.std(axis=(0, 1)),
        "constant": np.broadcast_to(mean, runs.shape),
    }


@pytest.mark.parametrize("name", ["Lorenz", "Rossler"])
@pytest.mark.parametrize("error", [permutation_entropy_error, multiscale_entropy_error])
def test_another_true_run_is_closer_than_any_imitation(name: str, error) -> None:
    runs, task = true_runs(name)
    floor = np.median(error(runs, np.roll(runs, 1, axis=0), task))
    values = {kind: error(runs[:2], fake, task) for kind, fake in imitations(runs[:2]).items()}
    assert all((value > 10 * floor).all() for value in values.values()), (floor, values)
    diverged = runs[:2].copy()
    diverged[1, 4000:] = 1e9
    np.testing.assert_array_equal(error(runs[:2], diverged, task), [0.0, np.inf])


def test_errors_are_means_of_absolute_differences() -> None:
    truth, forecast = RNG.normal(size=(2, 1, 1000, 2)).cumsum(axis=2) / 20
    delay = complexity.decorrelation_time(truth[0])
    orders = [
        [permutation_entropy(series, 5, delay) for series in runs[0].T]
        for runs in (truth, forecast)
    ]
    found = permutation_entropy_error(truth, forecast, facts(2))
    assert found == pytest.approx(np.mean(np.abs(np.subtract(*orders))), rel=1e-12)
    repeats = [
        [multiscale_entropy(series, tolerance=0.2) for series in runs[0].T]
        for runs in (truth, forecast)
    ]
    found = multiscale_entropy_error(truth, forecast, facts(2))
    assert found == pytest.approx(np.mean(np.abs(np.subtract(*repeats))), rel=1e-12)


def test_a_run_that_stops_has_entropy_0() -> None:
    runs, task = true_runs("Lorenz")
    still, quiet = np.ones_like(runs[:1]), runs[:1] * 1e-3
    x = (runs[0] / task.scale).T
    delay = complexity.decorrelation_time(x.T)
    orders = [permutation_entropy(series, 5, delay) for series in x]
    repeats = [multiscale_entropy(series, tolerance=0.2) for series in x]
    assert permutation_entropy_error(runs[:1], still, task) == pytest.approx(np.mean(orders))
    assert multiscale_entropy_error(runs[:1], still, task) == pytest.approx(np.mean(repeats))
    # What is alike is so in units of the truth; an order has no units.
    np.testing.assert_array_equal(
        multiscale_entropy_error(runs[:1], quiet, task),
        multiscale_entropy_error(runs[:1], still, task),
    )
    assert permutation_entropy_error(runs[:1], quiet, task) == 0.0


def test_runs_too_short_for_the_largest_scale_are_refused() -> None:
    with pytest.raises(TooShort, match="at least 480"):
        multiscale_entropy_error(RNG.random((1, 479, 2)), RNG.random((1, 479, 2)), facts(2))
    found = multiscale_entropy_error(RNG.random((1, 480, 2)), RNG.random((1, 480, 2)), facts(2))
    assert 0 < found < 0.2
