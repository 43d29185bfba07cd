"""The kernel model: its loop and centres against slow transcriptions, its skill on a sine map."""

import numpy as np
import pytest

from models._kernel_loops import exp, run_kernel, spread
from models.kernel import Kernel, KernelMap


def sine_circle(times: int, seed: int) -> np.ndarray:
    """(1, times, 2): a chaotic map of the plane whose right-hand side is no polynomial."""
    x = np.empty((times + 100, 2))
    x[0] = np.random.default_rng(seed).uniform(-1, 1, 2)
    for t in range(len(x) - 1):
        a, b = x[t]
        x[t + 1] = 1.6 * np.sin(2 * a) + 0.3 * np.cos(b), 0.9 * np.sin(a) - 0.2 * np.sin(b)
    return x[None, 100:]


def test_exponential_is_exact_to_rounding() -> None:
    x = -np.concatenate([np.logspace(-12, 2.8, 200), [0.0]])
    found = np.array([exp(value) for value in x])
    np.testing.assert_allclose(found, np.exp(x), rtol=1e-15 * 4)
    assert exp(-1e6) < 1e-300


def test_centres_are_each_the_farthest_from_those_before() -> None:
    line = np.array([[0.0], [0.1], [1.0], [0.45], [0.8]])
    # 1.0 is farthest from 0; then 0.45, halfway; then 0.8, 0.2 from 1.0
    np.testing.assert_array_equal(spread(line, 4), [0, 2, 3, 4])


def test_loop_equals_its_formula() -> None:
    rng = np.random.default_rng(0)
    taps, stride, dim, length = 3, 2, 2, 1.3
    centres = rng.standard_normal((5, taps * dim))
    weights = 0.05 * rng.standard_normal((5 + taps * dim + 1, dim))
    context = rng.standard_normal((3, 9, dim))
    fitted = KernelMap(taps, stride, 0.5 / (taps * length**2), centres, weights)
    forecast = fitted.run(context, 12)
    for window in range(3):
        past = list(context[window])
        for _ in range(12):
            v = np.concatenate([past[-1], past[-3], past[-5]])
            similar = [np.exp(-((v - c) ** 2).sum() / (2 * taps * length**2)) for c in centres]
            past.append(past[-1] + np.concatenate([similar, v, [1.0]]) @ weights)
        np.testing.assert_allclose(forecast[window], past[9:], rtol=1e-12)
    np.testing.assert_allclose(
        fitted.features(centres)[np.arange(5), np.arange(5)], 1.0, rtol=1e-15
    )


def test_window_that_diverges_ends_in_nan_and_leaves_others_alone() -> None:
    # no centre near: x doubles, from 1 to 1024 > 1000 in ten steps; 0 stays
    weights = np.array([[0.0], [1.0], [0.0]])
    far = np.array([[1e6]])
    forecast = run_kernel(weights, far, 1.0, np.array([[[1.0]], [[0.0]]]), 1, 1, 12, 1e3)
    np.testing.assert_array_equal(forecast[0, :9, 0], 2.0 ** np.arange(1, 10))
    assert np.isnan(forecast[0, 9:]).all()
    np.testing.assert_array_equal(forecast[1], 0.0)


def test_ridge_weights_minimise_the_penalised_error() -> None:
    # the textbook: (F'F + r S) w = F'y with S the columns' mean squares
    data = sine_circle(400, 0)
    model = Kernel(delays=((1, 1),), lengths=(1.0,), ridges=(1e-2,), centres=20)
    model.fit(data[:, :300], dt=1.0, validation=data[:, 300:])
    vectors, change = data[0, :299], np.diff(data[0, :300], axis=0)
    features = model.map_.features(vectors)
    penalty = 1e-2 * np.diag((features**2).mean(axis=0))
    expected = np.linalg.solve(features.T @ features + penalty, features.T @ change)
    np.testing.assert_allclose(model.map_.weights, expected, rtol=1e-6, atol=1e-9)


def test_map_of_sines_is_learned_to_five_digits() -> None:
    model = Kernel(delays=((1, 1), (2, 1)), lengths=(0.5, 1.0), centres=150)
    model.fit(sine_circle(1500, 0), dt=1.0, validation=sine_circle(600, 1))
    test = sine_circle(400, 2)[0]
    forecast = model.predict(test[:-1, None], 1)[:, 0] if model.chosen_["taps"] == 1 else None
    assert forecast is not None  # one state is all that the map needs
    assert np.sqrt(((forecast - test[1:]) ** 2).mean()) < 1e-5
    assert model.chosen_["length"] in (0.5, 1.0)


@pytest.mark.parametrize("taps", [1, 3])
def test_context_needed_is_the_memory_of_the_delays(taps: int) -> None:
    data = sine_circle(400, 0)
    model = Kernel(delays=((taps, 2),), lengths=(1.0,), centres=30)
    model.fit(data, dt=1.0)
    assert model.context_needed_ == model.context_used_ == 2 * (taps - 1) + 1
