"""What every forecaster must do, as a check that anybody can run on their own model.

`check_forecaster(MyModel)` fits the model's `small()` to a few hundred points of a quasi-periodic
orbit and raises a ContractError that names the rule and what happened. It says nothing about
skill: a forecaster that returns the training mean passes, one that returns zeros does not.
"""

import copy
import dataclasses

import numpy as np

from models.base import (
    Differentiable,
    Forecaster,
    Sampler,
    Trajectories,
    Windows,
    hyperparameters,
)

HORIZON = 20
STEP = 1e-5  # of difference quotients, to both sides


class ContractError(AssertionError):
    """A forecaster breaks a rule that the harness relies on."""


def check_forecaster(model: type[Forecaster] | Forecaster) -> None:
    """Raise ContractError unless `model` (a class, checked by its `small()`, or an unfitted
    instance) keeps the contract, in 1, 3 and 5 dimensions.

    Equality is up to `model.tolerance`: rounding that depends on the batch grows along a chaotic
    forecast, so what is compared is 20 steps. Takes some ten fits.
    """
    cls = model if isinstance(model, type) else type(model)
    _require(
        issubclass(cls, Forecaster) and dataclasses.is_dataclass(cls),
        "a forecaster is a dataclass derived from models.Forecaster",
        f"{cls.__name__} is not",
    )
    unfitted = model.small() if isinstance(model, type) else copy.deepcopy(model)
    hyperparameters(unfitted)  # raises what is not ready for JSON
    for dim in (1, 3, 5):
        _check_shapes_and_values(unfitted, dim)
    _check_inputs_stay(unfitted)
    _check_progress(unfitted)
    fitted = _fit(unfitted, dim=3, seed=0)
    _check_predict_is_repeatable(fitted)
    _check_data_matter(unfitted, fitted)
    _check_seed(unfitted, fitted)
    _check_refit(unfitted, fitted)
    if fitted.zero_shot:
        _check_zero_shot(unfitted, fitted)
    _check_windows_are_independent(fitted)
    _check_context_bounds(fitted)
    _check_horizons_agree(fitted)
    if isinstance(fitted, Sampler):
        _check_samples(fitted)
    if isinstance(fitted, Differentiable):
        _check_jacobian(fitted)


def _check_shapes_and_values(unfitted: Forecaster, dim: int) -> None:
    fitted = _fit(unfitted, dim=dim, seed=0)
    context = _context(dim)
    for horizon in (1, HORIZON):
        forecast = fitted.predict(context, horizon)
        _require(
            forecast.shape == (3, horizon, dim),
            "a forecast has shape (windows, horizon, dim)",
            f"context {context.shape} and horizon {horizon} gave {forecast.shape}",
        )
        _require(
            bool(np.isfinite(forecast).all()),
            "a forecast of a small smooth problem is finite",
            f"dim {dim}, horizon {horizon}: {np.isnan(forecast).sum()} values are NaN",
        )
    hyperparameters(fitted)


def _check_inputs_stay(unfitted: Forecaster) -> None:
    train, validation = _problem(3)
    context = _context(3)
    before = [array.copy() for array in (train, validation, context)]
    luck = repr(np.random.get_state(legacy=False))
    # not seed 0, which may be what the global state was set to before
    fitted = copy.deepcopy(unfitted).fit(train, dt=0.1, validation=validation, seed=4)
    fitted.predict(context, HORIZON)
    for name, old, new in zip(
        ("train", "validation", "context"), before, (train, validation, context), strict=True
    ):
        _require(
            np.array_equal(old, new),
            "fit and predict leave their inputs as they are",
            f"{name} was changed in place",
        )
    _require(
        luck == repr(np.random.get_state(legacy=False)),
        "fit and predict leave numpy's global random state as it is",
        "it moved: make a numpy.random.default_rng(seed)",
    )
    given, left = hyperparameters(unfitted), hyperparameters(fitted)
    fitted_numbers = left.get("parameters")
    _require(
        fitted_numbers is None or (isinstance(fitted_numbers, int) and fitted_numbers > 0),
        "parameters_ is the number of fitted numbers, or None",
        f"it is {fitted_numbers!r}",
    )
    _require(
        all(left[key] == given[key] for key in given),
        "fit leaves the hyperparameters as they are (what it finds goes to chosen_)",
        f"{given} became {left}",
    )


def _check_progress(unfitted: Forecaster) -> None:
    train, validation = _problem(1)
    told: list[tuple[int, int | None, str]] = []

    def listen(done: int, total: int | None, what: str) -> None:
        told.append((done, total, what))

    model = copy.deepcopy(unfitted)
    model.fit(train, dt=0.1, validation=validation, progress=listen)
    model.predict(_context(1), HORIZON, progress=listen)
    wrong = [now for now in told if now[0] < 0 or (now[1] is not None and now[0] > now[1])]
    _require(
        bool(told) and not wrong,
        "progress is reported as (done, total or None, of what), and done is at most total",
        f"it was told {wrong[:3] or 'nothing'}",
    )


def _check_predict_is_repeatable(fitted: Forecaster) -> None:
    gap = _difference(fitted, fitted)
    _require(
        gap <= fitted.tolerance,
        "predict changes nothing in the model",
        f"the second of two equal calls differs by {gap:.2g}",
    )


def _check_data_matter(unfitted: Forecaster, fitted: Forecaster) -> None:
    train, validation = _problem(3)
    moved = copy.deepcopy(unfitted).fit(train + 1, dt=0.1, validation=validation + 1, seed=0)
    gap = _gap(fitted.predict(_context(3), HORIZON), moved.predict(_context(3) + 1, HORIZON))
    _require(
        gap > 1e-6,
        "a forecast depends on the training data or the context",
        "moving all of them by one standard deviation left the forecast where it was",
    )


def _check_seed(unfitted: Forecaster, fitted: Forecaster) -> None:
    same = _difference(fitted, _fit(unfitted, dim=3, seed=0))
    _require(
        same <= fitted.tolerance,
        "the same data and seed give the same forecast",
        f"two fits with seed 0 differ by {same:.2g}",
    )
    other = _difference(fitted, _fit(unfitted, dim=3, seed=1))
    if fitted.stochastic:
        _require(
            other > 0,
            "a model that declares itself stochastic depends on the seed",
            "seeds 0 and 1 gave the same forecast: use the seed, or set stochastic = False",
        )
    else:
        _require(
            other <= fitted.tolerance,
            "a model that depends on the seed declares stochastic = True",
            f"seeds 0 and 1 differ by {other:.2g}",
        )


def _check_refit(unfitted: Forecaster, fitted: Forecaster) -> None:
    again = copy.deepcopy(unfitted)
    again.fit(torus(2, trajectories=1, times=240, seed=7), dt=0.2, seed=5)
    again.predict(torus(2, trajectories=2, times=200, seed=8), 3)
    train, validation = _problem(3)
    again.fit(train, dt=0.1, validation=validation, seed=0)
    gap = _difference(again, fitted)
    _require(
        gap <= fitted.tolerance,
        "fit forgets what was fitted before",
        f"a model fitted to other data first differs by {gap:.2g} from a new one",
    )


def _check_zero_shot(unfitted: Forecaster, fitted: Forecaster) -> None:
    other = torus(3, trajectories=1, times=260, seed=7)
    elsewhere = copy.deepcopy(unfitted).fit(2 * other - 1, dt=0.2, seed=5)
    gap = _difference(elsewhere, fitted)
    _require(
        gap <= fitted.tolerance,
        "a model that declares itself zero-shot learns nothing from the data of a fit",
        f"fitted to other data it differs by {gap:.2g}",
    )


def _check_windows_are_independent(fitted: Forecaster) -> None:
    context = _context(3)
    together = fitted.predict(context, HORIZON)
    alone = np.concatenate([fitted.predict(context[i : i + 1], HORIZON) for i in range(3)])
    reversed_ = fitted.predict(context[::-1], HORIZON)[::-1]
    for other, how in ((alone, "alone"), (reversed_, "in another order")):
        gap = _gap(together, other)
        _require(
            gap <= fitted.tolerance,
            "the forecast of a window does not depend on the other windows",
            f"windows {how} and together differ by {gap:.2g}",
        )


def _check_context_bounds(fitted: Forecaster) -> None:
    used = fitted.context_used_
    context = _context(3)
    if used is not None and used < context.shape[1]:
        other = context.copy()
        other[:, : context.shape[1] - used] += 1.0
        gap = _gap(fitted.predict(context, HORIZON), fitted.predict(other, HORIZON))
        _require(
            gap <= fitted.tolerance,
            "the forecast depends on the last context_used_ steps of the context only",
            f"context_used_ is {used}, yet a change before that moved the forecast by {gap:.2g}",
        )
    needed = fitted.context_needed_
    _require(
        1 <= needed <= context.shape[1],
        f"a small() model gets by with {context.shape[1]} steps of context",
        f"context_needed_ is {needed}",
    )
    rule = "context_needed_ steps of context are enough for a forecast"
    try:
        shortest = fitted.predict(context[:, context.shape[1] - needed :], 1)
    except Exception as error:
        raise ContractError(f"{rule}: with {needed} steps, {error}") from error
    _require(bool(np.isfinite(shortest).all()), rule, f"{needed} steps gave {shortest.tolist()}")


def _check_horizons_agree(fitted: Forecaster) -> None:
    if not fitted.autoregressive:
        return
    context = _context(3)
    gap = _gap(fitted.predict(context, 10), fitted.predict(context, 20)[:, :10])
    _require(
        gap <= fitted.tolerance,
        "a short forecast is the beginning of a long one (or set autoregressive = False)",
        f"the first 10 of 20 steps differ by {gap:.2g} from a forecast of 10 steps",
    )


def _check_samples(fitted: Sampler) -> None:
    context = _context(3)
    samples = fitted.sample(context, HORIZON, 5, seed=1)
    _require(
        samples.shape == (5, 3, HORIZON, 3) and bool(np.isfinite(samples).all()),
        "samples are finite, of shape (samples, windows, horizon, dim)",
        f"5 of 3 windows of {HORIZON} steps gave {samples.shape}, {np.isnan(samples).sum()} NaN",
    )
    gap = _gap(samples, fitted.sample(context, HORIZON, 5, seed=1))
    _require(
        gap <= fitted.tolerance,
        "the same seed gives the same samples",
        f"two calls with seed 1 differ by {gap:.2g}",
    )
    _require(
        _gap(samples, fitted.sample(context, HORIZON, 5, seed=2)) > 0,
        "another seed gives other samples",
        "seeds 1 and 2 gave the same",
    )
    _require(
        _gap(samples[1:], samples[:-1]) > 0,
        "samples differ from one another",
        "5 samples of one forecast are equal",
    )
    gap = _gap(samples[:, 1:2], fitted.sample(context[1:2], HORIZON, 5, seed=1))
    _require(
        gap <= fitted.tolerance,
        "the samples of a window do not depend on the other windows",
        f"a window alone and together with others differ by {gap:.2g}",
    )


def _check_jacobian(fitted: Differentiable) -> None:
    context = _context(3)
    state = fitted._state(context)
    directions = np.random.default_rng(0).normal(size=(*state.shape, 2))
    forecast = fitted.predict(context, HORIZON)
    for step in range(HORIZON):
        following, tangents = fitted._advance(state, directions)
        small = STEP * directions[..., 0]
        after, before = (fitted._advance(state + h, directions)[0] for h in (small, -small))
        quotient = (after - before) / (2 * STEP)
        gap = _gap(quotient, tangents[..., 0]) / (1 + float(np.abs(quotient).max()))
        _require(
            gap <= fitted.tolerance**0.5,  # half the digits are lost in a difference quotient
            "_advance returns the Jacobian of its own step times the tangents",
            f"at step {step} it differs by {gap:.2g} from a difference quotient",
        )
        state = following
        gap = _gap(state[:, -3:], forecast[:, step])
        _require(
            gap <= fitted.tolerance,
            "_advance repeats what predict does",
            f"after {step + 1} steps they differ by {gap:.2g}",
        )
    exponents = fitted.lyapunov_exponents(context, 50, 2)
    stays = np.isfinite(fitted.predict(context, 60)).all(axis=(1, 2))
    _require(
        exponents.shape == (3, 2) and not np.isnan(exponents[stays]).any(),
        "a model that does not diverge has Lyapunov exponents, (windows, count)",
        f"3 windows and 2 exponents gave {exponents.tolist()}",
    )


def torus(dim: int, *, trajectories: int, times: int, seed: int) -> Trajectories:
    """Standardised sums of two incommensurate oscillations, each trajectory at its own phase.

    The second harmonic makes the observation of the phases nonlinear.
    """
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, (trajectories, 1, 2))
    angle = phase + np.arange(times)[:, None] * np.array([0.21, 0.21 * (np.sqrt(5) - 1) / 2])
    shift = np.arange(dim) * 0.9
    one, two = angle[:, :, :1] + shift, angle[:, :, 1:] + 2 * shift
    return (np.sin(one) + 0.6 * np.sin(two) + 0.3 * np.sin(2 * one)) / 0.9


def _problem(dim: int) -> tuple[Trajectories, Trajectories]:
    train = torus(dim, trajectories=2, times=240, seed=1)
    return train, torus(dim, trajectories=1, times=300, seed=2)


def _context(dim: int) -> Windows:
    return torus(dim, trajectories=3, times=200, seed=3)


def _fit(unfitted: Forecaster, *, dim: int, seed: int) -> Forecaster:
    train, validation = _problem(dim)
    return copy.deepcopy(unfitted).fit(train, dt=0.1, validation=validation, seed=seed)


def _difference(one: Forecaster, other: Forecaster) -> float:
    return _gap(one.predict(_context(3), HORIZON), other.predict(_context(3), HORIZON))


def _gap(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.max(np.abs(one - other), initial=0.0))


def _require(holds: bool, rule: str, happened: str) -> None:
    if not holds:
        raise ContractError(f"{rule}: {happened}")
