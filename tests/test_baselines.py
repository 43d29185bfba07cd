"""The baselines against arithmetic that can be done by hand."""

import numpy as np
import pytest

from models.base import FitError
from models.baselines import (
    Drift,
    Linear,
    NaiveMean,
    Persistence,
    Seasonal,
    dominant_period,
)


def ramp(windows: int, times: int) -> np.ndarray:
    """Two coordinates: the time, and minus twice the time; window w starts at time w."""
    time = np.arange(windows)[:, None] + np.arange(times)
    return np.stack([time, -2 * time], axis=2).astype(float)


def sine(period: float, times: int, phases: tuple[float, ...]) -> np.ndarray:
    """A sine and a cosine of the given period (steps), one trajectory a phase."""
    angle = 2 * np.pi * (np.arange(times) / period + np.array(phases)[:, None])
    return np.stack([np.sin(angle), np.cos(angle)], axis=2)


def test_naive_mean_is_the_mean_of_all_training_data() -> None:
    train = np.array([[[1.0], [2.0]], [[3.0], [10.0]]])
    forecast = NaiveMean().fit(train, dt=1.0).predict(np.zeros((1, 4, 1)), 3)
    np.testing.assert_array_equal(forecast, [[[4.0], [4.0], [4.0]]])


def test_persistence_is_the_last_state() -> None:
    forecast = Persistence().fit(ramp(1, 9), dt=1.0).predict(ramp(2, 5), 3)
    np.testing.assert_array_equal(forecast, [[[4.0, -8.0]] * 3, [[5.0, -10.0]] * 3])


def test_drift_continues_a_straight_line() -> None:
    model = Drift().fit(ramp(1, 9), dt=1.0)
    np.testing.assert_allclose(model.predict(ramp(2, 5), 4), ramp(2, 9)[:, 5:], rtol=1e-14)
    bent = np.array([[[0.0], [7.0], [-3.0], [3.0]]])  # only the first and the last state count
    model.fit(bent, dt=1.0)
    np.testing.assert_allclose(model.predict(bent, 2)[0, :, 0], [4.0, 5.0])


def test_seasonal_repeats_the_last_period_exactly_when_it_is_a_whole_number_of_steps() -> None:
    model = Seasonal(period=25.0).fit(sine(25, 400, (0.0,)), dt=1.0)
    x = sine(25, 300, (0.1, 0.73))
    np.testing.assert_allclose(model.predict(x[:, :100], 200), x[:, 100:], atol=1e-12)


def test_seasonal_finds_a_period_between_steps_and_keeps_its_phase() -> None:
    model = Seasonal().fit(sine(27.3, 6000, (0.0, 0.4)), dt=1.0)
    assert model.chosen_["period"] == pytest.approx(27.3, abs=0.02)
    x = sine(27.3, 512 + 1000, (0.2,))
    # Between steps the sine is interpolated linearly: at most (2 pi / 27.3)^2 / 8 = 0.7 %. Whole
    # steps (27) would be out of phase by 1.4 after 1000 steps.
    error = np.abs(model.predict(x[:, :512], 1000) - x[:, 512:])
    assert error[:, :100].max() < 0.02
    assert error.max() < 0.15


def test_seasonal_takes_the_strongest_return_not_the_first_wiggle() -> None:
    t = np.arange(4000)
    x = (np.sin(2 * np.pi * t / 60) + 0.5 * np.sin(2 * np.pi * t / 20))[None, :, None]
    assert dominant_period(x, 500) == pytest.approx(60, abs=0.05)


def test_seasonal_without_a_period_stays_within_reach() -> None:
    walk = np.cumsum(np.random.default_rng(0).standard_normal((1, 2000, 1)), axis=1)
    assert 1 <= dominant_period(walk, 500) <= 500
    assert 1 <= dominant_period(np.ones((1, 2000, 1)), 300) <= 300


def var2(trajectories: int, times: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x(t) = A x(t-1) + B x(t-2) + c from random starts: two undamped oscillations."""
    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    mix = np.array([[1.0, 0.4], [-0.2, 1.5]])
    one = mix @ (turn + 0.99 * turn.T @ turn.T) @ np.linalg.inv(mix)  # roots turn and 0.99 turn^-2
    two = -mix @ (0.99 * turn.T) @ np.linalg.inv(mix)
    x = np.random.default_rng(seed).standard_normal((trajectories, times, 2))
    for t in range(2, times):
        x[:, t] = x[:, t - 1] @ one.T + x[:, t - 2] @ two.T + 0.05
    return x, one, two


def test_linear_recovers_a_vector_autoregression() -> None:
    x, one, two = var2(5, 400, seed=0)
    model = Linear(lags=(2,), ridges=(1e-18,)).fit(x, dt=1.0, validation=var2(2, 300, seed=1)[0])
    constant, oldest, newest = model.weights_[0], model.weights_[1:3], model.weights_[3:]
    np.testing.assert_allclose(constant, 0.05, atol=1e-11)
    np.testing.assert_allclose(oldest.T, two, atol=1e-11)
    np.testing.assert_allclose(newest.T, one - np.eye(2), atol=1e-11)  # the target is the change
    test = var2(3, 1200, seed=2)[0]
    np.testing.assert_allclose(model.predict(test[:, :200], 1000), test[:, 200:], atol=1e-8)


def test_linear_finds_the_number_of_lags_by_free_runs() -> None:
    x = var2(5, 400, seed=0)[0]
    model = Linear(ridges=(1e-18,)).fit(x, dt=1.0, validation=var2(2, 600, seed=1)[0])
    assert model.chosen_["lags"] >= 2  # one lag cannot carry two oscillations
    test = var2(3, 400, seed=2)[0]
    np.testing.assert_allclose(model.predict(test[:, :200], 200), test[:, 200:], atol=1e-7)


def test_an_unstable_linear_model_ends_in_nan_and_not_in_infinity() -> None:
    growth = 1.1 ** np.arange(60).reshape(1, 60, 1)
    model = Linear(lags=(1,), ridges=(1e-18,)).fit(growth, dt=1.0, validation=growth)
    forecast = model.predict(growth[:, :10], 400)[0, :, 0]
    np.testing.assert_allclose(forecast[:50], growth[0, 10:, 0], rtol=1e-9)
    first = int(np.argmax(1.1 ** np.arange(10, 410) >= 1e3))
    assert np.isfinite(forecast[:first]).all()
    assert np.isnan(forecast[first:]).all()


def test_data_too_short_for_every_candidate_is_a_fit_error() -> None:
    with pytest.raises(FitError, match="too short, or too high-dimensional"):
        Linear(lags=(64,)).fit(ramp(1, 30), dt=1.0, validation=ramp(1, 40))
