"""The neural ODE: a network for the vector field, trained through the solver that follows it.

`NeuralODE` is one model; `fit_many` trains one for each of many data sets or seeds in a single
compiled program. Both train through `_trained`, so a model is the same either way, up to rounding.
JAX is imported at the first fit and computes on the device that it finds; it is the extra `jax`.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from models._tuning import FreeRuns, best_on_free_runs, free_runs, split
from models.base import (
    Differentiable,
    FitError,
    Forecast,
    States,
    Tangents,
    Trajectories,
    Windows,
    checked_training,
)

Curriculum = tuple[tuple[int, int], ...]  # (steps in a window, updates), one after the other
Layers = tuple[tuple[np.ndarray, np.ndarray], ...]  # (weights, bias), inputs first

# Sizes are rounded up to multiples of these, so that nearly equal problems share a program.
DIMENSIONS, ROWS, WINDOWS, STEPS, UPDATES = 8, 1000, 8, 50, 10


@dataclass(kw_only=True)
class NeuralODE(Differentiable):
    """Neural ordinary differential equation (Chen, Rubanova, Bettencourt & Duvenaud 2018).

    dx/dt = s · N(x), time in sampling intervals, N a tanh layer, `depth` residual SiLU layers and a
    linear one, each of `width` units; s is the root mean square change of each state in an
    interval, so that N is of order one (1 if not `scaled`). Trained by multiple shooting: Adam on
    random windows of the data, each followed from its true first state, through the solver. A
    curriculum makes windows longer as it goes; the rate falls along it by half a cosine. `checks`
    times in each stage the model runs freely on validation data, and the best of these is kept,
    out of all `curricula`. `effort` multiplies the number of updates.

    width² · depth parameters, 8,800 by default in 3 dimensions; time: updates · batch · window ·
    parameters, whatever the length of the data. The defaults have not been searched on data yet (so
    there is no preset `tuned`), and what follows is expected, not measured. It wins where the whole
    state is observed, the flow is smooth and its form is not known, and with noise, where windows
    average what one-step regression takes for truth. It loses to NVAR and to sparse regression
    where the equations are polynomial, to anything with a memory where states are hidden, and where
    fast and slow motion need more digits than a network learns.
    """

    width: int = 64
    depth: int = 2
    curricula: tuple[Curriculum, ...] = (((1, 16000), (4, 4000), (12, 1000)),)
    batch: int = 128
    rate: float = 3e-3
    final_rate: float = 3e-5
    effort: float = 1.0
    scaled: bool = True
    initial_std: float | None = None
    checks: int = 5
    raw_units: bool = False

    stochastic: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "gilpin2023": {
                "width": 30,
                "curricula": tuple(((window, 500),) for window in (2, 5, 15, 30, 60, 120)),
                "rate": 1e-2,
                "final_rate": 1e-2,
                "scaled": False,
                "initial_std": 0.1,
                "raw_units": True,
            },
        }
    )

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        (outcome,) = _trained(self, [Training(train, dt, validation, seed)])
        self._adopt(outcome)

    def _adopt(self, outcome: "tuple[Mapping[str, Any], VectorField] | FitError") -> None:
        if isinstance(outcome, FitError):
            raise outcome
        self.chosen_, self.field_ = outcome
        self.context_needed_ = self.context_used_ = 1

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return self.field_.run(context, horizon)

    def _state(self, context: Windows) -> States:
        return context[:, -1]

    def _advance(self, state: States, tangents: Tangents) -> tuple[States, Tangents]:
        return self.field_.advance(state, tangents)

    @classmethod
    def small(cls) -> "NeuralODE":
        return cls(
            width=16, depth=1, curricula=(((1, 500), (3, 250)),), batch=16, effort=0.02, checks=1
        )


@dataclass(frozen=True)
class Training:
    """The arguments of one `fit`."""

    train: Trajectories
    dt: float
    validation: Trajectories | None = None
    seed: int = 0


def fit_many(
    trainings: Sequence[Training], model: NeuralODE | None = None
) -> list[NeuralODE | FitError]:
    """A model like `model` fitted to each of `trainings`, all at once, in one compiled program.

    Each equals its `fit` up to the rounding of float32, which training amplifies. Trainings may
    differ in shape and dimension; all are computed at the largest, and a curriculum with a window
    longer than the shortest trajectory is left out. A training that fails has its FitError in its
    place. Raises ValueError where `fit` does.
    """
    model = NeuralODE() if model is None else model
    checked = []
    for task in trainings:
        train, validation = checked_training(task.train, task.dt, task.validation)
        checked.append(Training(train, float(task.dt), validation, task.seed))
    results: list[NeuralODE | FitError] = []
    for task, outcome in zip(checked, _trained(model, checked), strict=True):
        one = dataclasses.replace(model)
        try:
            one._adopt(outcome)
        except FitError as error:
            results.append(error)
            continue
        one.dim_, one.dt_ = task.train.shape[2], task.dt
        results.append(one)
    return results


@dataclass(frozen=True)
class VectorField:
    """A trained network, and the change of each state per sampling interval that its unit is.

    Both are padded to `padded` ≥ dim states, the rest of which stay 0.
    """

    layers: Layers
    scale: Float[np.ndarray, "padded"]

    def run(self, context: Windows, steps: int) -> Forecast:
        """The free run from the last states of `context`."""
        windows, _, dim = context.shape
        state = np.zeros((_up(windows, WINDOWS), len(self.scale)))
        state[:windows, :dim] = context[:, -1]
        blocks = []
        with _double_precision() as shooting:
            for _ in range(0, steps, STEPS):
                block = np.asarray(shooting.run(self.layers, self.scale, state, steps=STEPS))
                blocks.append(block[:windows, :, :dim])
                state = block[:, -1]
        return np.concatenate(blocks, axis=1)[:, :steps]

    def advance(self, state: States, tangents: Tangents) -> tuple[States, Tangents]:
        dim, padding = state.shape[1], len(self.scale) - state.shape[1]
        with _double_precision() as shooting:
            following, moved = shooting.tangent(
                self.layers,
                self.scale,
                np.pad(state, ((0, 0), (0, padding))),
                np.pad(tangents, ((0, 0), (0, padding), (0, 0))),
            )
        return np.asarray(following)[:, :dim], np.asarray(moved)[:, :dim]


@dataclass(frozen=True)
class _Problem:
    """What a task of a batch is trained on, and the free runs that judge it."""

    train: Trajectories
    runs: FreeRuns
    seed: int

    @classmethod
    def of(cls, task: Training, raw_units: bool) -> "_Problem":
        fit_on, held_out = split(task.train, task.validation)
        return cls(fit_on, free_runs(held_out, context=1, raw_units=raw_units), task.seed)


@dataclass(frozen=True)
class _Checkpoint:
    """All fields of a batch at one moment, and their free runs."""

    chosen: Mapping[str, Any]
    layers: Layers  # stacked
    forecasts: Float[np.ndarray, "tasks windows horizon dim"]


def _trained(
    model: NeuralODE, trainings: Sequence[Training]
) -> list[tuple[Mapping[str, Any], VectorField] | FitError]:
    """What was chosen, and the field, for each task."""
    outcomes: list[Any] = []
    for task in trainings:
        try:
            outcomes.append(_Problem.of(task, model.raw_units))
        except FitError as error:
            outcomes.append(error)
    problems = [problem for problem in outcomes if isinstance(problem, _Problem)]
    if problems:
        checkpoints = list(_checkpoints(model, problems))
        results = iter([_best(model, checkpoints, i, p) for i, p in enumerate(problems)])
        outcomes = [next(results) if isinstance(o, _Problem) else o for o in outcomes]
    return outcomes


def _best(
    model: NeuralODE, checkpoints: list[_Checkpoint], index: int, problem: _Problem
) -> tuple[Mapping[str, Any], VectorField] | FitError:
    """The checkpoint whose free runs last longest."""
    dim = problem.train.shape[2]
    windows, horizon, _ = problem.runs.truths.shape

    def run(checkpoint: _Checkpoint, contexts: Windows, steps: int) -> Forecast:
        if steps <= horizon:
            return checkpoint.forecasts[index, :windows, :steps, :dim]
        return field(checkpoint).run(contexts, steps)

    def field(checkpoint: _Checkpoint) -> VectorField:
        layers = tuple(
            (weights[index].astype(float), bias[index].astype(float))
            for weights, bias in checkpoint.layers
        )
        scale = _padded(_scale(model, problem), layers[-1][1].size)
        return VectorField(layers, scale.astype(float))

    if checkpoints and not any(np.isfinite(c.forecasts[index, :, 0]).all() for c in checkpoints):
        return FitError(
            "training the neural ODE diverged: lower its rate, or look for outliers in the data"
        )
    trials = ((dict(checkpoint.chosen), checkpoint) for checkpoint in checkpoints)
    try:
        chosen, checkpoint = best_on_free_runs(trials, run, problem.runs)
    except FitError as error:
        return error
    return chosen, field(checkpoint)


def _checkpoints(model: NeuralODE, problems: list[_Problem]) -> Iterator[_Checkpoint]:
    """Train all problems; now and then, hand out where they are."""
    jax, shooting = _libraries()
    start, tasks, contexts = _stacked(model, problems)
    horizon = _up(max(p.runs.truths.shape[1] for p in problems), STEPS)
    times = min(p.train.shape[1] for p in problems)
    curricula = [c for c in model.curricula if max(window for window, _ in c) < times]
    longest = max((window for c in curricula for window, _ in c), default=0)
    for curriculum in curricula:
        chunks = [math.ceil(model.effort * updates / UPDATES) for _, updates in curriculum]
        total, done = sum(chunks) * UPDATES, 0
        layers = start
        with _single_precision():
            moments = shooting.moments_of(start)
        for (window, _), count in zip(curriculum, chunks, strict=True):
            for chunk in range(count):
                numbers = np.arange(done, done + UPDATES, dtype=np.int32)
                rates = _rates(model, numbers / total)
                with _single_precision():
                    layers, moments = shooting.train(
                        layers,
                        moments,
                        tasks,
                        rates,
                        numbers,
                        np.int32(window),
                        longest=longest,
                        batch=model.batch,
                    )
                done += UPDATES
                # `checks` times a stage, evenly, the last time at its end
                if (chunk + 1) * model.checks // count > chunk * model.checks // count:
                    with _single_precision():
                        runs = shooting.run_many(layers, tasks.scale, contexts, steps=horizon)
                    chosen = {"window": window, "updates": done}
                    yield _Checkpoint(chosen, jax.tree.map(np.asarray, layers), np.asarray(runs))


def _stacked(model: NeuralODE, problems: list[_Problem]) -> tuple[Layers, Any, np.ndarray]:
    """Initial layers, tasks and contexts of all problems, padded to one shape."""
    _, shooting = _libraries()
    dim = _up(max(p.train.shape[2] for p in problems), DIMENSIONS)
    rows = _up(max(p.train.shape[0] * p.train.shape[1] for p in problems), ROWS)
    windows = _up(max(len(p.runs.contexts) for p in problems), WINDOWS)
    layers, tasks, contexts = [], [], []
    for problem in problems:
        rng = np.random.default_rng(problem.seed)
        layers.append(_initial_layers(model, problem.train.shape[2], dim, rng))
        scale = _scale(model, problem)
        weight = np.full(len(scale), 1 / (len(scale) * np.mean(scale**2)))
        tasks.append(
            shooting.Task(
                states=_padded(problem.train.reshape(-1, problem.train.shape[2]), rows, dim),
                trajectories=np.int32(len(problem.train)),
                times=np.int32(problem.train.shape[1]),
                scale=_padded(scale, dim),
                weight=_padded(weight, dim),
                key=rng.integers(2**32, size=2, dtype=np.uint32),
            )
        )
        contexts.append(_padded(problem.runs.contexts[:, -1], windows, dim))
    stack = _libraries()[0].tree.map
    return (
        stack(lambda *parts: np.stack(parts), *layers),
        stack(lambda *parts: np.stack(parts), *tasks),
        np.stack(contexts),
    )


def _initial_layers(model: NeuralODE, dim: int, padded: int, rng: np.random.Generator) -> Layers:
    """Random layers that do not depend on what they are padded to."""
    sizes = [dim, *[model.width] * (model.depth + 1), dim]
    layers = []
    for inputs, outputs in pairwise(sizes):
        std = 1 / math.sqrt(inputs) if model.initial_std is None else model.initial_std
        layers.append((rng.normal(0, std, (inputs, outputs)), np.zeros(outputs)))
    shapes = pairwise([padded, *sizes[1:-1], padded])
    return tuple(
        (_padded(weights, inputs, outputs), _padded(bias, outputs))
        for (weights, bias), (inputs, outputs) in zip(layers, shapes, strict=True)
    )


def _scale(model: NeuralODE, problem: _Problem) -> Float[np.ndarray, "dim"]:
    """The root mean square change of each state in a sampling interval."""
    if not model.scaled:
        return np.ones(problem.train.shape[2])
    return np.sqrt((np.diff(problem.train, axis=1) ** 2).mean(axis=(0, 1)))


def _rates(model: NeuralODE, progress: np.ndarray) -> np.ndarray:
    """Half a cosine from `rate` to `final_rate` as progress goes from 0 to 1."""
    left = (1 + np.cos(np.pi * progress)) / 2
    return (model.final_rate + (model.rate - model.final_rate) * left).astype(np.float32)


def _padded(values: np.ndarray, *shape: int) -> np.ndarray:
    padded = np.zeros(shape, np.float32)
    padded[tuple(slice(length) for length in values.shape)] = values
    return padded


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


@contextmanager
def _single_precision() -> Iterator[None]:
    """float32 in full: on a GPU the default, TensorFloat-32, has too few digits to follow a flow.

    float64 takes two to three times as long on a CPU, for errors that are those of the network.
    """
    jax, _ = _libraries()
    with jax.enable_x64(False), jax.default_matmul_precision("highest"):
        yield


@contextmanager
def _double_precision() -> Iterator[ModuleType]:
    """The programs, in float64 on the CPU: alone or in a batch, a forecast is then the same.

    One small state after another is too little work for a GPU.
    """
    jax, shooting = _libraries()
    with jax.enable_x64(True), jax.default_device(jax.local_devices(backend="cpu")[0]):
        yield shooting


def _libraries() -> tuple[Any, Any]:
    try:
        import jax

        from models import _shooting
    except ImportError as error:
        raise ImportError(
            f"The neural ODE needs jax and optax ({error}). "
            "Install them with `pip install 'dysts-bench[jax]'`."
        ) from error
    return jax, _shooting
