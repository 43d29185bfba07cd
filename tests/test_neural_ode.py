"""The neural ODE against scipy's integrator, a known field, and itself in a batch."""

import dataclasses
import sys

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import models
from models.base import FitError
from models.neural_ode import NeuralODE, Training, VectorField, _initial_layers, fit_many

jax = pytest.importorskip("jax")
pytest.importorskip("optax")

SMALL = NeuralODE.small()


def spiral(trajectories: int, times: int, seed: int) -> np.ndarray:
    """Oscillations that settle on the unit circle, exactly: r' = r (1 - r²) / 20, φ' = 0.2."""
    rng = np.random.default_rng(seed)
    r, phase = rng.uniform(0.3, 1.5, (trajectories, 1)), rng.uniform(0, 6.3, (trajectories, 1))
    t = np.arange(times)
    r = 1 / np.sqrt(1 + (1 / r**2 - 1) * np.exp(-t / 10))
    return np.stack([r * np.cos(phase + 0.2 * t), r * np.sin(phase + 0.2 * t)], axis=2)


def spiral_field(x: np.ndarray) -> np.ndarray:
    r2 = (x**2).sum(axis=-1, keepdims=True)
    return 0.05 * x * (1 - r2) + 0.2 * np.stack([-x[..., 1], x[..., 0]], axis=-1)


def training(dim: int, seed: int) -> Training:
    """Noise-free rotations with `dim` observed coordinates."""
    angle = 0.2 * np.arange(300) + np.arange(4)[:, None] + seed
    x = np.stack([np.sin(angle + i) + 0.3 * np.cos(2 * angle + i) for i in range(dim)], axis=2)
    return Training(x[:3], 0.1, x[3:], seed)


def random_field(dim: int, padded: int) -> VectorField:
    model = NeuralODE(width=12, depth=2)
    layers = _initial_layers(model, dim, padded, np.random.default_rng(0))
    scale = np.zeros(padded)
    scale[:dim] = 0.1
    return VectorField(tuple((w.astype(float), b.astype(float)) for w, b in layers), scale)


def by_hand(field: VectorField, x: np.ndarray) -> np.ndarray:
    (a, a0), (b, b0), (c, c0), (d, d0) = field.layers
    h = np.tanh(x @ a + a0)
    for w, bias in ((b, b0), (c, c0)):
        z = h @ w + bias
        h = h + z / (1 + np.exp(-z))
    return field.scale * (h @ d + d0)


def test_a_free_run_solves_the_field() -> None:
    field = random_field(dim=3, padded=3)
    context = np.random.default_rng(1).standard_normal((2, 4, 3))
    forecast = field.run(context, 70)  # more than one block
    for window in range(2):
        exact = solve_ivp(
            lambda t, x: by_hand(field, x),
            (0, 70),
            context[window, -1],
            t_eval=np.arange(1, 71),
            rtol=1e-11,
            atol=1e-12,
        ).y.T
        # the solver's own error at this scale, some 1e-6 a step; the forecast moves by more than 1
        np.testing.assert_allclose(forecast[window], exact, atol=1e-4)
        assert np.abs(exact[-1] - context[window, -1]).max() > 0.5


def test_padding_does_not_move_a_forecast() -> None:
    plain, padded = random_field(3, 3), random_field(3, 8)
    context = np.random.default_rng(1).standard_normal((2, 1, 3))
    np.testing.assert_allclose(padded.run(context, 20), plain.run(context, 20), rtol=1e-12)


def test_windows_are_drawn_evenly_and_never_across_trajectories() -> None:
    from models import _shooting

    states = np.arange(40.0)[:, None]  # 3 trajectories of 12 times, and padding
    task = _shooting.Task(states, 3, 12, None, None, np.array([1, 2], np.uint32))
    drawn = np.asarray(_shooting.draw(task, 5, window=4, longest=6, batch=4000))[..., 0]
    assert drawn.shape == (7, 4000)
    np.testing.assert_array_equal(drawn[:5] - drawn[0], np.tile(np.arange(5.0)[:, None], 4000))
    counts = np.bincount(drawn[0].astype(int), minlength=40)
    possible = np.add.outer(np.arange(3) * 12, np.arange(8)).ravel()
    assert counts.sum() == counts[possible].sum() == 4000
    expected = 4000 / 24
    # chi-squared with 23 degrees of freedom: below 53 in 99.96 %
    assert ((counts[possible] - expected) ** 2 / expected).sum() < 53


@pytest.fixture(scope="module")
def of_the_spiral() -> NeuralODE:
    model = dataclasses.replace(SMALL, effort=8.0, rate=1e-2)
    return model.fit(spiral(9, 110, 1), dt=0.1, validation=spiral(3, 100, 2), seed=3)


def test_the_field_is_learned_per_sampling_interval(of_the_spiral: NeuralODE) -> None:
    x = spiral(20, 60, 4).reshape(-1, 2)
    field = of_the_spiral.field_
    (a, a0), (b, b0), (c, c0) = field.layers
    h = np.tanh(np.pad(x, ((0, 0), (0, 6))) @ a + a0)
    z = h @ b + b0
    learned = (field.scale * ((h + z / (1 + np.exp(-z))) @ c + c0))[:, :2]
    error = np.sqrt(((learned - spiral_field(x)) ** 2).mean())
    assert error < 0.05 * np.sqrt((spiral_field(x) ** 2).mean())


def test_a_limit_cycle_is_followed_for_three_turns(of_the_spiral: NeuralODE) -> None:
    truth = spiral(5, 105, 5)
    error = of_the_spiral.predict(truth[:, :10], 95) - truth[:, 10:]
    assert np.sqrt((error**2).mean()) < 0.1


def test_exponents_of_a_limit_cycle_are_zero_and_its_contraction(
    of_the_spiral: NeuralODE,
) -> None:
    # at r = 1: d(r (1 - r²) / 20)/dr = -1/10 a sampling interval, -1 in units of dt = 0.1
    exponents = of_the_spiral.lyapunov_exponents(spiral(2, 50, 6), 400, 2)
    np.testing.assert_allclose(exponents, [[0, -1]] * 2, atol=0.15)


def test_many_fits_at_once_equal_fits_one_by_one() -> None:
    tasks = [training(2, 0), training(3, 1), training(3, 2)]
    for task, together in zip(tasks, fit_many(tasks, SMALL), strict=True):
        assert isinstance(together, NeuralODE)
        alone = dataclasses.replace(SMALL).fit(
            task.train, dt=task.dt, validation=task.validation, seed=task.seed
        )
        assert together.chosen_ == alone.chosen_
        context = task.train[:, :5]
        # float32 rounds at 1e-7; some twenty updates of Adam make it larger
        np.testing.assert_allclose(
            together.predict(context, 30), alone.predict(context, 30), atol=1e-4
        )
        assert (together.dim_, together.dt_, together.context_used_) == (alone.dim_, 0.1, 1)


def test_another_fit_of_nearly_the_same_shape_compiles_nothing() -> None:
    from models import _shooting

    def fit(dim: int, seed: int, times: int) -> None:
        task = training(dim, seed)
        model = dataclasses.replace(SMALL, rate=1e-3, effort=0.04)
        model.fit(task.train[:, :times], dt=0.1, validation=task.validation, seed=seed)
        model.predict(task.train[:, :5], 7 + dim)

    fit(3, 0, 300)
    programs = (_shooting.train, _shooting.run_many, _shooting.run, _shooting.moments_of)
    before = [program._cache_size() for program in programs]
    fit(2, 1, 290)
    assert [program._cache_size() for program in programs] == before


def test_training_that_diverges_says_so() -> None:
    task = training(3, 0)
    with pytest.raises(FitError, match="diverged"):
        dataclasses.replace(SMALL, rate=1e30, final_rate=1e30).fit(
            task.train, dt=task.dt, validation=task.validation
        )


def test_a_task_that_cannot_be_fitted_does_not_stop_the_others() -> None:
    tasks = [training(2, 0), training(3, 1), training(3, 2)]
    tasks[1] = dataclasses.replace(tasks[1], validation=tasks[1].train[:, :2])
    first, failed, last = fit_many([*tasks, training(2, 3)], SMALL)[:3]
    assert isinstance(failed, FitError)
    assert isinstance(first, NeuralODE) and isinstance(last, NeuralODE)


def test_without_jax_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(ImportError, match=r"dysts-bench\[jax\]"):
        NeuralODE.small().fit(spiral(1, 50, 0), dt=0.1)


def test_the_published_preset_has_small_weights_and_no_scale() -> None:
    model = models.create("neural_ode:gilpin2023")
    layers = _initial_layers(model, 3, 8, np.random.default_rng(0))
    assert [weights.shape for weights, _ in layers] == [(8, 30), (30, 30), (30, 30), (30, 8)]
    inner = np.concatenate([weights.ravel() for weights, _ in layers[1:3]])
    assert inner.std() == pytest.approx(0.1, rel=0.1)
    assert not any(bias.any() for _, bias in layers)
    assert not layers[0][0][3:].any() and not model.scaled
