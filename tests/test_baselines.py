"""The baselines against arithmetic that can be done by hand."""

import numpy as np
import pytest

import systems
from dysts_bench.metrics import METRICS, Facts
from models.base import FitError
from models.baselines import (
    Analog,
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


def test_analog_adds_what_its_nearest_neighbour_did_next() -> None:
    rng = np.random.default_rng(0)
    train, context = rng.standard_normal((2, 60, 3)), rng.standard_normal((4, 10, 3))
    model = Analog(neighbours=(1,), delays=((2, 3),), block=2).fit(train, dt=1.0, validation=train)
    forecast = model.predict(context, 2)
    for window in range(4):
        candidates = [
            (
                np.sum((train[j, t] - context[window, -1]) ** 2)
                + np.sum((train[j, t - 3] - context[window, -4]) ** 2),
                train[j, t + 1 : t + 3] - train[j, t],
            )
            for j in range(2)
            for t in range(3, 58)
        ]
        _, increments = min(candidates, key=lambda pair: pair[0])
        np.testing.assert_allclose(forecast[window], context[window, -1] + increments, rtol=1e-12)


def test_analog_weights_several_neighbours_by_inverse_distance() -> None:
    train = np.array([0.0, 1.0, 3.0, 3.5]).reshape(1, 4, 1)
    model = Analog(neighbours=(2,), delays=((1, 1),), block=1)
    model.fit(train, dt=1.0, validation=np.tile(train, (1, 5, 1)))
    # from 0.25: distances 0.25 to x = 0 (then +1) and 0.75 to x = 1 (then +2)
    forecast = model.predict(np.array([[[0.25]]]), 1)
    assert forecast.item() == pytest.approx(0.25 + (1 / 0.25 + 2 / 0.75) / (1 / 0.25 + 1 / 0.75))


def test_analog_follows_a_periodic_orbit_for_ever() -> None:
    x = sine(24, 1200, (0.0,))
    model = Analog().fit(x[:, :600], dt=1.0, validation=x[:, :400])
    np.testing.assert_allclose(model.predict(x[:, 600:660], 540), x[:, 660:], atol=1e-9)


def test_analog_draws_a_neighbour_by_inverse_distance() -> None:
    train = np.array([0.0, 1.0, 3.0, 3.5]).reshape(1, 4, 1)
    model = Analog(neighbours=(1,), delays=((1, 1),), block=1)
    model.fit(train, dt=1.0, validation=np.tile(train, (1, 5, 1)))
    # from 0.25, among at least three: 0.25 to x = 0 (then +1), 0.75 to 1 (+2), 2.75 to 3 (+0.5)
    samples = model.sample(np.array([[[0.25]]]), 1, 20_000, seed=3)[:, 0, 0, 0]
    weights = np.array([1 / 0.25, 1 / 0.75, 1 / 2.75])
    for change, share in zip((1.0, 2.0, 0.5), weights / weights.sum(), strict=True):
        # four standard errors of 20 000 draws: 0.014 at most
        assert np.mean(samples == 0.25 + change) == pytest.approx(share, abs=0.014)


def test_analog_samples_follow_a_periodic_orbit_for_ever() -> None:
    x = sine(24, 1200, (0.0,))
    model = Analog().fit(x[:, :600], dt=1.0, validation=x[:, :400])
    # An exact repetition takes all the weight, and the training data hold 25 of them.
    samples = model.sample(x[:, 600:660], 540, 3)
    np.testing.assert_allclose(samples, np.repeat(x[None, :, 660:], 3, axis=0), atol=1e-9)


def test_analog_samples_are_better_forecasts_of_lorenz_than_its_single_one() -> None:
    lorenz = systems.load("Lorenz")
    x = lorenz.trajectory(6000, trajectories=3, points_per_period=30, seed=1, cache=False).states
    x = (x - x[0].mean(axis=0)) / x[0].std(axis=0)
    dt = lorenz.period / 30
    model = Analog().fit(x[:1], dt=dt, validation=x[1:2, :2000])
    starts = np.arange(200, 5000, 240)
    context = np.stack([x[2, start - 100 : start] for start in starts])
    truth = np.stack([x[2, start : start + 150] for start in starts])  # 3.4 Lyapunov times
    facts = Facts(dt=dt, lyapunov_time=lorenz.lyapunov_time, scale=np.ones(3))
    samples = model.sample(context, 150, 40)
    values = {
        name: float(np.mean(METRICS[name](truth, samples, facts)))
        for name in ("crps", "coverage_error", "spread_skill_error")
    }
    single = METRICS["crps"](truth, model.predict(context, 150)[None], facts).mean()
    assert values["crps"] < 0.75 * single  # measured: 0.6
    assert values["coverage_error"] < 0.15
    assert values["spread_skill_error"] < 0.4


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
