"""The interface of every forecaster, and the one place where what goes in and out is checked.

A model that can do more than `predict` derives from `Sampler`, which draws forecasts, or from
`Differentiable`, which knows the Jacobian of its own step, or from both.

Shapes: `train`, `validation` (trajectories, times, dim); `context` (windows, context, dim);
forecasts (windows, horizon, dim). float64, standardised with the training mean and standard
deviation by whoever calls, unless a model asks for `raw_units`; `dt` is the sampling interval in
the system's time. Horizons and context lengths are in steps: a forecaster knows no Lyapunov time
and no equations.
"""

import copy
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar, final

import numpy as np
from jaxtyping import Float

from models._progress import Listener, counted_trials, heard_by, report
from models._tangent import States, Tangents, growth_rates

# A leading underscore: each argument has a length of its own.
Trajectories = Float[np.ndarray, "_trajectories _times dim"]
Windows = Float[np.ndarray, "windows _context dim"]
Forecast = Float[np.ndarray, "windows horizon dim"]
Samples = Float[np.ndarray, "samples windows horizon dim"]

# In standardised units. Attractors live within |x| < 10; a forecast out here never comes back.
DIVERGED = 1e3

# Not typing.Self, which checkers of shapes at run time refuse.
Model = TypeVar("Model", bound="Forecaster")


class FitError(RuntimeError):
    """No candidate could be fitted: the training data cannot carry this model."""


@dataclasses.dataclass(frozen=True)
class Training:
    """The arguments of one `fit`."""

    train: Trajectories
    dt: float
    validation: Trajectories | None = None
    seed: int = 0


class Forecaster(ABC):
    """A model that is fitted to trajectories and then continues contexts it has not seen.

    A concrete model is a dataclass with keyword-only hyperparameters that implements `_fit`,
    `_predict` and `small`; what it learns is stored in attributes that end with an underscore.
    `models.checks.check_forecaster` states what a good one does.
    """

    # The result depends on the seed, so several seeds make sense.
    stochastic: ClassVar[bool] = False
    # A shorter horizon is the beginning of a longer one. Direct multi-step models may opt out.
    autoregressive: ClassVar[bool] = True
    # Largest difference (standardised units) that rounding may cause over some 20 steps, such as
    # between a window alone and in a batch. float32 models need about 1e-3.
    tolerance: ClassVar[float] = 1e-9
    # It has no weights before it is given some: it is made with a file of them.
    needs_weights: ClassVar[bool] = False
    # Named sets of hyperparameters: create("esn:gilpin2023").
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({})

    # Wants data in the system's own units, not standardised: what a study of raw data repeats. (A
    # model that can have it both ways makes a field of it.)
    raw_units: bool = False

    # Set by fit. (No dataclass fields: they are not hyperparameters.)
    dim_: int = 0  # 0: not fitted
    dt_: float = np.nan
    context_needed_: int = 1  # steps of context without which there is no forecast
    context_used_: int | None = None  # steps of context that are looked at; None: all
    chosen_: Mapping[str, Any] = MappingProxyType({})  # hyperparameters found on validation data
    parameters_: int | None = None  # fitted numbers, before too; None: data are kept instead
    # How often `fit` compared a candidate by forecasts of validation data: settings, or checkpoints
    # of a training; finalists that are compared again count again. None after `fit_many`, which may
    # compare those of many fits at once.
    trials_: int | None = None

    @final
    def fit(
        self: Model,
        train: Trajectories,
        *,
        dt: float,
        validation: Trajectories | None = None,
        seed: int = 0,
        progress: Listener | None = None,
    ) -> Model:
        """Learn from `train`; choose hyperparameters by free runs on `validation`.

        Without `validation` a model that chooses holds back the tail of `train` for it. As it goes,
        `progress(done, total, what)` is called, with total None where it is not known beforehand.
        Raises ValueError for data of the wrong shape or with NaN, FitError if nothing fits.
        """
        training = _checked_training(Training(train, dt, validation, seed))
        self._forget()
        with heard_by(progress), counted_trials() as trials:
            self._fit(
                training.train, dt=training.dt, validation=training.validation, seed=training.seed
            )
        self.dim_, self.dt_ = training.train.shape[2], training.dt
        self.trials_ = trials.count
        return self

    @final
    def fit_many(
        self: Model, trainings: Sequence[Training], *, progress: Listener | None = None
    ) -> "list[Model | FitError]":
        """A model like this one for each of `trainings`, which itself stays as it is.

        Each becomes what its own `fit` would make of it, up to rounding; models that can learn from
        many data sets in one program do. A training that fails has its FitError in its place.
        Raises ValueError where `fit` does.
        """
        checked = [_checked_training(training) for training in trainings]
        fitted = [copy.deepcopy(self) for _ in checked]
        for model in fitted:
            model._forget()
        with heard_by(progress):
            errors = self._fit_many(fitted, checked)
        for model, training in zip(fitted, checked, strict=True):
            model.dim_, model.dt_ = training.train.shape[2], training.dt
        return [error or model for error, model in zip(errors, fitted, strict=True)]

    @final
    def predict(
        self, context: Windows, horizon: int, *, progress: Listener | None = None
    ) -> Forecast:
        """Continue each window of `context` by `horizon` steps; `progress` as in `fit`.

        A forecast that leaves |x| < 1e3 or is not finite has diverged: it is NaN from there on.
        Raises ValueError for a context that does not fit the model, RuntimeError before `fit`.
        """
        context = _accepted(self, context)
        _at_least_one("horizon", "steps", horizon)
        with heard_by(progress):
            forecast = self._predict(context, int(horizon))
            report(int(horizon), int(horizon), "steps")
        _require_shape(self, "_predict", forecast, (len(context), horizon, self.dim_))
        return end_at_divergence(forecast)

    @property
    def zero_shot(self) -> bool:
        """Whether it learns nothing in a fit: forecasts follow from contexts, and from weights."""
        return False

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Data sets that its weights were trained on before any fit; none but those it is given."""
        return ()

    @property
    def weights_hash(self) -> str:
        """A hash of the weights that it has before any fit, "" if there are none."""
        return ""

    def settled(self: Model) -> Model:
        """An unfitted model whose only candidates are the hyperparameters that this one chose.

        For more fits like this one: other seeds, other data. A model that chooses overrides it.
        """
        return dataclasses.replace(self)  # type: ignore[type-var]

    @abstractmethod
    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        """Learn from checked data, which must not be modified."""

    def _fit_many(
        self, fitted: Sequence[Any], trainings: Sequence[Training]
    ) -> list[FitError | None]:
        """Fit each of these models, all like this one, to its training; the errors where one fails.

        A model that trains many at once overrides it.
        """
        errors: list[FitError | None] = []
        for model, each in zip(fitted, trainings, strict=True):
            try:
                model._fit(each.train, dt=each.dt, validation=each.validation, seed=each.seed)
            except FitError as error:
                errors.append(error)
            else:
                errors.append(None)
        return errors

    def _forget(self) -> None:
        """Be as before the first fit."""
        self.dim_, self.context_needed_, self.context_used_ = 0, 1, None
        self.chosen_, self.parameters_, self.trials_ = {}, None, None

    @abstractmethod
    def _predict(self, context: Windows, horizon: int) -> Forecast:
        """Forecast from a checked context, which must not be modified."""

    @classmethod
    @abstractmethod
    def small(cls: type[Model]) -> Model:
        """An instance that fits a few hundred points within a second, for the contract tests."""


class Sampler(Forecaster):
    """A forecaster that can draw its forecast from a distribution over the futures of a context."""

    @final
    def sample(self, context: Windows, horizon: int, samples: int, seed: int = 0) -> Samples:
        """Continue each window of `context` by `horizon` steps, `samples` times over.

        Each sample is a trajectory of its own: its steps belong together. The same seed gives the
        same samples, and those of a window do not depend on the other windows. A sample that
        diverges is NaN from there on, as in `predict`, which also says what is refused.
        """
        context = _accepted(self, context)
        _at_least_one("horizon", "steps", horizon)
        _at_least_one("samples", "forecasts", samples)
        drawn = self._sample(context, int(horizon), int(samples), seed)
        shape = (samples, len(context), horizon, self.dim_)
        _require_shape(self, "_sample", drawn, shape)
        return end_at_divergence(drawn.reshape(-1, horizon, self.dim_)).reshape(shape)

    @abstractmethod
    def _sample(self, context: Windows, horizon: int, samples: int, seed: int) -> Samples:
        """Samples from a checked context, which must not be modified."""


class Differentiable(Forecaster):
    """A forecaster that is a differentiable map of its own state, fed with its own output.

    The state holds all that the next step depends on: what is remembered of the context, or hidden
    units. Its last `dim` entries are the newest x.
    """

    @final
    def lyapunov_exponents(
        self, context: Windows, steps: int, count: int
    ) -> Float[np.ndarray, "windows {count}"]:
        """The `count` largest Lyapunov exponents of the model along its own runs, descending.

        Per unit of system time, so they compare with those of the equations, whatever `dt` is. From
        each window's context the model runs `steps` // 5 steps in which tangent vectors align, and
        then `steps` that count, with its exact Jacobian at every step. Directions that the model
        does not have are −inf; a run that diverges has NaN. Raises as `predict` does.
        Source: Benettin, Galgani, Giorgilli & Strelcyn, Meccanica 15, 9 (1980).
        """
        context = _accepted(self, context)
        _at_least_one("steps", "steps", steps)
        _at_least_one("count", "exponents", count)
        state = self._state(context)
        rates = growth_rates(self._advance, state, self.dim_, steps, count, diverged=DIVERGED)
        return rates / self.dt_

    @abstractmethod
    def _state(self, context: Windows) -> States:
        """The model's state after a checked context, which must not be modified."""

    @abstractmethod
    def _advance(self, state: States, tangents: Tangents) -> tuple[States, Tangents]:
        """The next state, and the Jacobian of this step times each tangent; nothing in place."""


def hyperparameters(model: Forecaster) -> dict[str, Any]:
    """The dataclass fields of `model`; once fitted, what it chose, among how many, how many numbers
    it fitted, and its background.

    Ready for JSON. Raises TypeError if it is no dataclass, or holds what JSON cannot.
    """
    if not dataclasses.is_dataclass(model):
        raise TypeError(f"{type(model).__name__} must be a dataclass: its fields are recorded")
    known = {f.name: _plain(getattr(model, f.name)) for f in dataclasses.fields(model)}
    if model.dim_:
        known |= background(model)
    fitted = {
        "chosen": _plain(model.chosen_) or None,
        "trials": model.trials_ or None,  # none that was counted: it may choose in a way of its own
        "parameters": model.parameters_,
    }
    return known | {name: value for name, value in fitted.items() if value is not None}


def background(model: Forecaster) -> dict[str, Any]:
    """What a forecast rests on beside hyperparameters and data, where there is such a thing."""
    known = {
        "zero_shot": model.zero_shot,
        "trained_on": _plain(model.trained_on),
        "weights_hash": model.weights_hash,
    }
    return {key: value for key, value in known.items() if value}


def end_at_divergence(forecast: Forecast) -> Forecast:
    """The forecast as float64, NaN from the first step that is not finite or beyond DIVERGED."""
    forecast = np.asarray(forecast, dtype=float)
    inside = (np.abs(forecast) < DIVERGED).all(axis=2)  # False for NaN too
    alive = np.logical_and.accumulate(inside, axis=1)
    return np.where(alive[:, :, None], forecast, np.nan)


def _checked_training(training: Training) -> Training:
    """The data of a fit as float64; raises ValueError for what `fit` refuses."""
    dt, validation = training.dt, training.validation
    train = _checked(training.train, "train", "(trajectories, times, dim)")
    if train.shape[1] < 2:
        raise ValueError(f"train must hold at least 2 times per trajectory, got {train.shape}")
    if validation is not None:
        validation = _checked(validation, "validation", "(trajectories, times, dim)")
        if validation.shape[2] != train.shape[2]:
            raise ValueError(
                f"validation has {validation.shape[2]} dimensions, train {train.shape[2]}"
            )
    if not (np.isfinite(dt) and dt > 0):
        raise ValueError(f"dt is the sampling interval and must be positive, got {dt!r}")
    return Training(train, float(dt), validation, training.seed)


def _accepted(model: Forecaster, context: np.ndarray) -> Windows:
    """The context as float64; raises unless the model is fitted, to data of this dimension."""
    name = type(model).__name__
    if model.dim_ == 0:
        raise RuntimeError(f"{name} is not fitted: call fit(train, dt=…) first")
    context = _checked(context, "context", "(windows, context, dim)")
    if context.shape[2] != model.dim_:
        raise ValueError(
            f"{name} was fitted to dim {model.dim_}, context has shape {context.shape}"
        )
    if context.shape[1] < model.context_needed_:
        raise ValueError(
            f"{name} needs {model.context_needed_} steps of context, got {context.shape[1]}: "
            "pass a longer context or choose a model with less memory"
        )
    return context


def _at_least_one(name: str, unit: str, number: int) -> None:
    if number < 1:
        raise ValueError(f"{name} is a number of {unit} and at least 1, got {number!r}")


def _require_shape(
    model: Forecaster, method: str, result: np.ndarray, expected: tuple[int, ...]
) -> None:
    if result.shape != expected:
        raise RuntimeError(
            f"{type(model).__name__}.{method} returned {result.shape}, expected {expected}"
        )


def _checked(values: np.ndarray, name: str, shape: str) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(f"{name} must be a non-empty array {shape}, got shape {array.shape}")
    if not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(array))[0].tolist()
        raise ValueError(f"{name} must be finite, but {name}{bad} is {array[tuple(bad)]}")
    return array


def _plain(value: Any) -> Any:
    """JSON's types only: tuples become lists, numpy scalars Python numbers, infinity is a word."""
    match value:
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple() | np.ndarray():
            return [_plain(item) for item in value]
        case np.generic():
            return _plain(value.item())
        case float() if not np.isfinite(value):
            return str(value)
        case None | bool() | int() | float() | str():
            return value
    raise TypeError(f"hyperparameters hold numbers, text and lists of them, got {value!r}")
