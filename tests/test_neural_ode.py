"""The neural ODE against scipy's integrator, known fields, automatic derivatives, and itself."""

import dataclasses
import sys

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import models
from models import _matching
from models.base import FitError, Training
from models.neural_ode import (
    NeuralODE,
    VectorField,
    _initial_layers,
    _Problem,
    _shot,
)

jax = pytest.importorskip("jax")
pytest.importorskip("optax")

SMALL = NeuralODE.small()
SHOOTING = dataclasses.replace(
    SMALL, rounds=0, substeps=1, depth=1, curricula=(((1, 500), (3, 250)),), effort=0.02
)


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


def random_field(depth: int, substeps: int) -> VectorField:
    model = NeuralODE(width=12, depth=depth, rounds=0)
    layers = _initial_layers(model, 3, 3, np.random.default_rng(0))
    doubles = tuple((w.astype(float), b.astype(float)) for w, b in layers)
    return VectorField(doubles, np.array([0.1, 0.15, 0.05]), substeps)


def by_hand(field: VectorField, x: np.ndarray) -> np.ndarray:
    (first, offset), *hidden, (last, constant) = field.layers
    h = np.tanh(x @ first + offset)
    for w, bias in hidden:
        z = h @ w + bias
        h = h + z / (1 + np.exp(-z))
    return field.scale * (h @ last + constant)


# the solver's own error at these scales, some 1e-6 an interval, and 3⁴ times less
@pytest.mark.parametrize(("depth", "substeps", "error"), [(2, 1, 1e-4), (0, 3, 2e-6)])
def test_a_free_run_solves_the_field(depth: int, substeps: int, error: float) -> None:
    field = random_field(depth, substeps)
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
        np.testing.assert_allclose(forecast[window], exact, atol=error)
        assert np.abs(exact[-1] - context[window, -1]).max() > 0.5


def test_derivatives_are_exact_for_polynomials_and_do_not_cross_trajectories() -> None:
    t = np.linspace(-1, 1, 12)
    curves = np.stack([[t**8, t**3], [1 - t**7, t]]).transpose(0, 2, 1)
    slopes = np.stack([[8 * t**7, 3 * t**2], [-7 * t**6, 1 + 0 * t]]).transpose(0, 2, 1)
    x, change = _matching.derivatives(curves)
    np.testing.assert_array_equal(x, curves[:, 4:8].reshape(-1, 2))
    np.testing.assert_allclose(change / (2 / 11), slopes[:, 4:8].reshape(-1, 2), atol=1e-12)


def sample_of_a_network(rng: np.random.Generator) -> tuple[_matching.Hidden, np.ndarray]:
    hidden = _matching.Hidden(rng.normal(size=(2, 5)), rng.normal(size=5))
    return hidden, rng.normal(size=(300, 2))


def test_matching_finds_a_field_that_is_a_network() -> None:
    rng = np.random.default_rng(0)
    truth, x = sample_of_a_network(rng)
    targets = truth.features(x) @ rng.normal(size=(6, 2))
    start = _matching.Hidden(rng.uniform(-0.4, 0.4, (2, 12)), rng.uniform(-0.8, 0.8, 12))
    before = _matching.Eliminated.of(start, x, targets)
    after, _ = _matching.matched(start, x, targets, 40, 1e-3)
    size = np.sqrt((targets**2).mean())
    assert np.sqrt((before.residual**2).mean()) > 1e-2 * size
    assert np.sqrt((after.residual**2).mean()) < 1e-3 * size


def test_the_eliminated_layer_is_that_of_ridge_regression() -> None:
    rng = np.random.default_rng(1)
    hidden, x = sample_of_a_network(rng)
    targets = rng.normal(size=(300, 2))
    phi = hidden.features(x)
    penalty = _matching.RIDGE * np.diag((phi**2).mean(axis=0))
    expected = np.linalg.solve(phi.T @ phi + penalty, phi.T @ targets)
    fit = _matching.Eliminated.of(hidden, x, targets)
    np.testing.assert_allclose(fit.readout, expected, rtol=1e-6)
    cost = ((targets - phi @ expected) ** 2).sum() + (penalty @ expected**2).sum()
    assert fit.cost == pytest.approx(cost, rel=1e-9)


def test_a_round_with_little_damping_is_a_gauss_newton_step_on_all_weights() -> None:
    # Kaufman's step is that of all weights together at a W that is optimal: from a start near
    # the truth both must arrive at the same hidden layer.
    rng = np.random.default_rng(2)
    truth, x = sample_of_a_network(rng)
    targets = truth.features(x) @ rng.normal(size=(6, 2))
    start = truth.moved(1e-3 * rng.normal(size=(3, 5)))
    fit = _matching.Eliminated.of(start, x, targets)
    moved, _ = _matching.matched(start, x, targets, 1, 1e-12)
    slope = 1 - np.tanh(x @ start.weights + start.bias) ** 2
    inner = np.stack(
        [np.outer(slope[:, i] * g, fit.readout[i]).ravel()
         for g in (np.ones(300), *x.T) for i in range(5)], axis=1,
    )  # fmt: skip
    outer = np.kron(start.features(x), np.eye(2))
    step = np.linalg.lstsq(np.hstack([inner, outer]), fit.residual.ravel(), rcond=None)[0]
    expected = start.moved(step[:15].reshape(3, 5))
    np.testing.assert_allclose(moved.hidden.weights, expected.weights, atol=1e-7)
    np.testing.assert_allclose(moved.hidden.bias, expected.bias, atol=1e-7)


def test_the_last_layer_is_found_through_the_solver() -> None:
    rng = np.random.default_rng(3)
    hidden, x = sample_of_a_network(rng)
    readout = 0.1 * rng.normal(size=(6, 2))
    layers = ((hidden.weights, hidden.bias), (readout[:-1], readout[-1]))
    following = VectorField(layers, np.ones(2), substeps=2).run(x[:, None], 1)[:, 0]
    found = list(_matching.solved(hidden, 0 * readout, x, following, 2, [1e-12, 1e-11, 1e-13]))
    assert [ridge for ridge, _ in found] == [1e-11, 1e-12, 1e-13]
    errors = [np.abs(weights - readout).max() for _, weights in found]
    assert errors[2] < errors[0] and errors[2] < 1e-4


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
    model = dataclasses.replace(SMALL, rounds=20, effort=1.0)
    return model.fit(spiral(9, 110, 1), dt=0.1, validation=spiral(3, 100, 2), seed=3)


def test_the_field_is_learned_per_sampling_interval(of_the_spiral: NeuralODE) -> None:
    x = spiral(20, 60, 4).reshape(-1, 2)
    learned = by_hand(of_the_spiral.field_, x)
    error = np.sqrt(((learned - spiral_field(x)) ** 2).mean())
    assert error < 1e-3 * np.sqrt((spiral_field(x) ** 2).mean())


def test_a_limit_cycle_is_followed_for_three_turns(of_the_spiral: NeuralODE) -> None:
    truth = spiral(5, 105, 5)
    error = of_the_spiral.predict(truth[:, :10], 95) - truth[:, 10:]
    assert np.sqrt((error**2).mean()) < 1e-3


def test_exponents_of_a_limit_cycle_are_zero_and_its_contraction(
    of_the_spiral: NeuralODE,
) -> None:
    # at r = 1: d(r (1 - r²) / 20)/dr = -1/10 a sampling interval, -1 in units of dt = 0.1
    exponents = of_the_spiral.lyapunov_exponents(spiral(2, 50, 6), 400, 2)
    np.testing.assert_allclose(exponents, [[0, -1]] * 2, atol=0.02)


def test_shooting_learns_the_field_too() -> None:
    model = dataclasses.replace(SHOOTING, effort=4.0, rate=1e-2)
    model.fit(spiral(9, 110, 1), dt=0.1, validation=spiral(3, 100, 2), seed=3)
    x = spiral(20, 60, 4).reshape(-1, 2)
    error = np.sqrt(((by_hand(model.field_, x) - spiral_field(x)) ** 2).mean())
    assert error < 0.1 * np.sqrt((spiral_field(x) ** 2).mean())


@pytest.mark.parametrize("model", [SMALL, SHOOTING], ids=["matching", "shooting"])
def test_many_fits_equal_fits_one_by_one(model: NeuralODE) -> None:
    tasks = [training(2, 0), training(2, 1)]
    for task, together in zip(tasks, model.fit_many(tasks), strict=True):
        assert isinstance(together, NeuralODE)
        alone = dataclasses.replace(model).fit(
            task.train, dt=task.dt, validation=task.validation, seed=task.seed
        )
        assert together.chosen_ == alone.chosen_
        context = task.train[:, :5]
        np.testing.assert_array_equal(together.predict(context, 30), alone.predict(context, 30))
        assert (together.dim_, together.dt_, together.context_used_) == (alone.dim_, 0.1, 1)


def test_problems_side_by_side_equal_problems_one_by_one() -> None:
    problems = [_Problem.of(training(dim, dim), False) for dim in (2, 3)]
    together = list(_shot(SHOOTING, problems))
    assert len(together) == 2  # a stage, a check
    for place, problem in enumerate(problems):
        for (chosen, fields), (alone, (field,)) in zip(
            together, _shot(SHOOTING, [problem]), strict=True
        ):
            assert chosen == alone
            for one, other in zip(fields[place].layers, field.layers, strict=True):
                # float32 rounds at 1e-7; some twenty updates of Adam make it larger
                np.testing.assert_allclose(one[0], other[0], atol=1e-4)
    first, second = (fields[1].layers[0][0] for _, fields in together)
    assert np.abs(first - second).max() > 1e-3


def test_another_fit_of_nearly_the_same_shape_compiles_nothing() -> None:
    from models import _shooting

    def fit(seed: int, times: int) -> None:
        task = training(2, seed)
        model = dataclasses.replace(SHOOTING, rate=1e-3, effort=0.04)
        model.fit(task.train[:, :times], dt=0.1, validation=task.validation, seed=seed)
        model.predict(task.train[:, :5], 7 + seed)

    fit(0, 300)
    programs = (_shooting.train, _shooting.run, _shooting.moments_of)
    before = [program._cache_size() for program in programs]
    fit(1, 290)
    assert [program._cache_size() for program in programs] == before


def test_training_that_diverges_says_so() -> None:
    task = training(2, 0)
    with pytest.raises(FitError, match="diverged"):
        dataclasses.replace(SHOOTING, rate=1e30, final_rate=1e30).fit(
            task.train, dt=task.dt, validation=task.validation
        )


def test_a_task_that_cannot_be_fitted_does_not_stop_the_others() -> None:
    tasks = [training(2, 0), training(3, 1), training(3, 2)]
    tasks[1] = dataclasses.replace(tasks[1], validation=tasks[1].train[:, :2])
    first, failed, last = SMALL.fit_many([*tasks, training(2, 3)])[:3]
    assert isinstance(failed, FitError)
    assert isinstance(first, NeuralODE) and isinstance(last, NeuralODE)


def test_without_jax_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(ImportError, match=r"dysts-bench\[jax\]"):
        NeuralODE.small().fit(spiral(1, 50, 0), dt=0.1)


def test_the_published_preset_has_small_weights_and_no_scale() -> None:
    model = models.create("neural_ode:gilpin2023")
    layers = _initial_layers(model, 3, 3, np.random.default_rng(0))
    assert [weights.shape for weights, _ in layers] == [(3, 30), (30, 30), (30, 30), (30, 3)]
    inner = np.concatenate([weights.ravel() for weights, _ in layers[1:3]])
    assert inner.std() == pytest.approx(0.1, rel=0.1)
    assert not any(bias.any() for _, bias in layers)
    assert not model.scaled and model.raw_units


def test_matching_a_deep_network_is_refused() -> None:
    with pytest.raises(ValueError, match="depth=0, or rounds=0"):
        NeuralODE(depth=2)


def test_a_study_of_one_series_chooses_one_curriculum_by_its_continuation() -> None:
    model = dataclasses.replace(SHOOTING, by_continuation=True)
    model.curricula = (((2, 100),), ((8, 100),))
    task = training(2, 0)
    model.fit(task.train, dt=task.dt, validation=task.validation, seed=0)
    chosen = model.chosen_["window"]
    only = dataclasses.replace(SHOOTING, curricula=(((chosen, 100),),))
    only.fit(task.train, dt=task.dt, validation=task.validation, seed=0)
    context = task.train[:, :5]
    np.testing.assert_array_equal(model.predict(context, 20), only.predict(context, 20))
