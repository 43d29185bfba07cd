"""The neural ODE: a network for the vector field, and the solver that follows it.

`fit` and `fit_many` train through `_trained`, so a model is the same either way; only a GPU, which
trains many side by side, rounds differently. JAX, the extra `jax`, is imported at the first fit.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, pairwise
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from models import _matching
from models._progress import report
from models._tuning import FreeRuns, best_on_continuation, best_on_free_runs, free_runs, split
from models.base import (
    Differentiable,
    FitError,
    Forecast,
    States,
    Tangents,
    Training,
    Trajectories,
    Windows,
)

Curriculum = tuple[tuple[int, int], ...]  # (steps in a window, updates), one after the other
Layers = tuple[tuple[np.ndarray, np.ndarray], ...]  # (weights, bias), inputs first

# Sizes are rounded up to multiples of these, so that nearly equal problems share a program.
DIMENSIONS, ROWS, WINDOWS, STEPS, UPDATES = 8, 1000, 8, 50, 10


@dataclass(kw_only=True)
class NeuralODE(Differentiable):
    """Neural ordinary differential equation (Chen, Rubanova, Bettencourt & Duvenaud 2018).

    dx/dt = s · N(x), time in sampling intervals, N a tanh layer, `depth` residual SiLU layers and a
    linear one; s is the root mean square change of each state in an interval (1 if not `scaled`).
    The solver takes `substeps` Runge-Kutta steps an interval. There are two ways to train it; of
    all that either has made, what runs freely on validation data for longest is kept.

    Matching, the default, for a net without residual layers: the hidden layer starts random and
    small and is fitted to differences of the data, on `rows` points, by `rounds` of second order;
    at its start and `checks` times on the way the last layer is solved for through the solver, for
    each of the `ridges` (models._matching). This replaces, and is far better than, what papers do:

    Shooting, where there are `curricula`: Adam on random windows of the data, each followed from
    its true first state through the solver. A curriculum makes windows longer as it goes, and the
    rate falls along it by half a cosine.

    `effort` multiplies rounds and updates; the preset `cpu` has half: it gave Lorenz and Duffing
    0.2 and 0.7 Lyapunov times less. width · (2 dim + 1) parameters, 1,400 in 3 dimensions. Matching
    costs rounds · rows · (width · dim)², whatever the length of the data: with 6000 points
    20 CPU seconds in 3 dimensions and 28 in 6, of which 2 are spent on compiling the forecast.

    Mean valid prediction times in Lyapunov times, of 20 windows of trajectories beside those that
    chose, though whoever set the defaults saw both (NVAR; ESN; this): Lorenz 25, 22, 13; Rossler
    24, 19, 9; Lorenz96 12, 9, 8; Duffing 9, 16, 12; Thomas 5, 8, 7; Chua 3.6, 4.2, 5.1;
    HyperRossler 0.4, 0.4, 0.8; CellCycle 1.5, 4.8, 2.9; DoublePendulum 0.8, 1.2, 0.7; MackeyGlass
    7, 7, 0. Shooting for 21 to 29 seconds reached 3.2 for Lorenz and 1.6 for Rossler. So it wins
    where the flow has kinks, to which its units move; it loses to NVAR where the equations are
    polynomial, and it fails where states are hidden, for it has no memory.
    """

    width: int = 200
    rounds: int = 20
    rows: int = 4000
    ridges: tuple[float, ...] = (1e-10, 1e-7, 1e-4, 1e-1)
    substeps: int = 3
    input_scale: float = 0.4
    bias_scale: float = 0.8
    checks: int = 2
    effort: float = 1.0
    scaled: bool = True
    depth: int = 0
    curricula: tuple[Curriculum, ...] = ()
    batch: int = 128
    rate: float = 3e-3
    final_rate: float = 3e-5
    clip: float | None = 1.0  # of the gradient's norm
    initial_std: float | None = None
    raw_units: bool = False
    by_continuation: bool = False  # choose a curriculum as studies do that split one series

    stochastic: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "tuned": {},
            "cpu": {"effort": 0.5},
            # Gilpin (2023), up to the solver, an adaptive one there. Some 100 CPU seconds to choose
            # the window, whatever the length of the data: half of them on windows of 120.
            "gilpin2023": {
                "width": 30,
                "depth": 2,
                "rounds": 0,
                "substeps": 1,
                "curricula": tuple(((window, 500),) for window in (2, 5, 15, 30, 60, 120)),
                "rate": 1e-2,
                "final_rate": 1e-2,
                "clip": None,
                "checks": 1,
                "scaled": False,
                "initial_std": 0.1,
                "raw_units": True,
                "by_continuation": True,
            },
        }
    )

    def __post_init__(self) -> None:
        if self.rounds and self.depth:
            raise ValueError(
                f"matching fits a network without residual layers, not one of depth {self.depth}: "
                "set depth=0, or rounds=0 and some curricula"
            )

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        (error,) = self._fit_many([self], [Training(train, dt, validation, seed)])
        if error is not None:
            raise error

    def _fit_many(
        self, fitted: Sequence[Any], trainings: Sequence[Training]
    ) -> list[FitError | None]:
        """With the programs of one, in time linear in their number.

        Only shooting on a GPU takes all side by side, when a curriculum with a window longer than
        their shortest trajectory is left out. (Not run on a GPU since it was changed.)
        """
        outcomes = _trained(self, trainings)
        return [model._adopt(outcome) for model, outcome in zip(fitted, outcomes, strict=True)]

    def _adopt(
        self, outcome: "tuple[Mapping[str, Any], VectorField] | FitError"
    ) -> FitError | None:
        if isinstance(outcome, FitError):
            return outcome
        self.chosen_, self.field_ = outcome
        self.context_needed_ = self.context_used_ = 1
        self.parameters_ = sum(weights.size + bias.size for weights, bias in self.field_.layers)
        return None

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return self.field_.run(context, horizon)

    def _state(self, context: Windows) -> States:
        return context[:, -1]

    def _advance(self, state: States, tangents: Tangents) -> tuple[States, Tangents]:
        return self.field_.advance(state, tangents)

    @classmethod
    def small(cls) -> "NeuralODE":
        return cls(width=16, rounds=4, ridges=(1e-4, 1e-2), batch=16, effort=0.02, checks=1)


@dataclass(frozen=True)
class VectorField:
    """A network, the change of each state per interval that its unit is, and the solver's steps."""

    layers: Layers
    scale: Float[np.ndarray, "dim"]
    substeps: int = 1

    def run(self, context: Windows, steps: int) -> Forecast:
        """The free run from the last states of `context`."""
        windows, _, dim = context.shape
        state = np.zeros((_up(windows, WINDOWS), dim))
        state[:windows] = context[:, -1]
        blocks = []
        with _double_precision() as shooting:
            for _ in range(0, steps, STEPS):
                block = np.asarray(
                    shooting.run(
                        self.layers, self.scale, state, steps=STEPS, substeps=self.substeps
                    )
                )
                blocks.append(block[:windows])
                state = block[:, -1]
        return np.concatenate(blocks, axis=1)[:, :steps]

    def advance(self, state: States, tangents: Tangents) -> tuple[States, Tangents]:
        with _double_precision() as shooting:
            following, moved = shooting.tangent(
                self.layers, self.scale, state, tangents, substeps=self.substeps
            )
        return np.asarray(following), np.asarray(moved)


@dataclass(frozen=True)
class _Problem:
    """What is trained on, and the free runs that judge it."""

    train: Trajectories
    held_out: Trajectories
    runs: FreeRuns
    seed: int

    @classmethod
    def of(cls, task: Training, raw_units: bool) -> "_Problem":
        fit_on, held_out = split(task.train, task.validation)
        runs = free_runs(held_out, context=1, raw_units=raw_units)
        return cls(fit_on, held_out, runs, task.seed)

    @property
    def dim(self) -> int:
        return self.train.shape[2]


Trials = Iterator[tuple[dict[str, Any], VectorField]]


def _trained(
    model: NeuralODE, trainings: Sequence[Training]
) -> list[tuple[Mapping[str, Any], VectorField] | FitError]:
    """What was chosen, and the field, for each task."""
    jax, _ = _libraries()
    outcomes: list[Any] = []
    for task in trainings:
        try:
            outcomes.append(_Problem.of(task, model.raw_units))
        except FitError as error:
            outcomes.append(error)
    indices = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, _Problem)]
    # Two cores gain nothing from problems side by side, a thousand do.
    together = (
        jax.default_backend() != "cpu" and bool(model.curricula) and not model.by_continuation
    )
    for members in [indices] if together else [[i] for i in indices]:
        problems = [outcomes[i] for i in members]
        shots: Iterable[tuple[dict[str, Any], list[VectorField]]]
        if model.by_continuation:
            try:
                shots = _shot(_by_continuation(model, problems[0]), problems)
            except FitError as error:
                outcomes[members[0]] = error
                continue
        else:
            shots = list(_shot(model, problems)) if together else _shot(model, problems)
        for place, (i, problem) in enumerate(zip(members, problems, strict=True)):
            one = ((chosen, fields[place]) for chosen, fields in shots)
            outcomes[i] = _best(chain(_matched(model, problem), one), problem)
    return outcomes


def _by_continuation(model: NeuralODE, problem: _Problem) -> NeuralODE:
    """`model` with the one curriculum that continues the validation data best."""

    def fit(seen: Trajectories) -> Trials:
        shots = _shot(model, [dataclasses.replace(problem, train=seen)])
        return ((chosen, field) for chosen, (field,) in shots)

    found, _ = best_on_continuation(fit, VectorField.run, problem.held_out)
    windows = [[window for window, _ in curriculum] for curriculum in model.curricula]
    place = next(i for i, each in enumerate(windows) if found["window"] in each)
    return dataclasses.replace(model, curricula=(model.curricula[place],))


def _best(trials: Trials, problem: _Problem) -> tuple[Mapping[str, Any], VectorField] | FitError:
    """The field whose free runs last longest."""
    try:
        return best_on_free_runs(trials, VectorField.run, problem.runs)
    except FitError as error:
        return FitError(
            f"training the neural ODE diverged, or there was nothing to train: {error}. Lower its "
            "rate, raise its ridges, or look for outliers in the data"
        )


def _matched(model: NeuralODE, problem: _Problem) -> Trials:
    """Fields of one hidden layer, from the random one on."""
    if model.rounds == 0:
        return
    rng = np.random.default_rng(problem.seed)
    hidden = _matching.Hidden(
        rng.uniform(-model.input_scale, model.input_scale, (problem.dim, model.width)),
        rng.uniform(-model.bias_scale, model.bias_scale, model.width),
    )
    x, change = _matching.derivatives(problem.train)
    chosen = rng.permutation(len(x))[: model.rows]
    unit = np.sqrt((change**2).mean())
    x, targets = x[chosen], change[chosen] / unit
    now = problem.train[:, :-1].reshape(-1, problem.dim)
    following = problem.train[:, 1:].reshape(-1, problem.dim)
    scale = _scale(model, problem)
    rounds = math.ceil(model.effort * model.rounds)
    damping, done = _matching.DAMPING, 0
    for part in range(model.checks + 1):
        more = rounds * part // model.checks - done
        fit, damping = _matching.matched(hidden, x, targets, more, damping)
        hidden, done = fit.hidden, done + more
        report(done, rounds, "rounds")
        readout = fit.readout * unit
        for ridge, weights in chain(
            [(None, readout)],
            _matching.solved(hidden, readout, now, following, model.substeps, model.ridges),
        ):
            layers = (
                (hidden.weights, hidden.bias),
                (weights[:-1] / scale, weights[-1] / scale),
            )
            chosen_here = {"rounds": done, "ridge": ridge}
            yield chosen_here, VectorField(layers, scale, model.substeps)


def _shot(
    model: NeuralODE, problems: list[_Problem]
) -> Iterator[tuple[dict[str, Any], list[VectorField]]]:
    """Train on all problems; now and then, hand out their fields."""
    if not model.curricula:
        return
    jax, shooting = _libraries()
    start, tasks = _stacked(model, problems)
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
                        np.float32(math.inf if model.clip is None else model.clip),
                        longest=longest,
                        batch=model.batch,
                        substeps=model.substeps,
                    )
                done += UPDATES
                # `checks` times a stage, evenly, the last time at its end
                if (chunk + 1) * model.checks // count > chunk * model.checks // count:
                    report(done, total, f"updates of windows up to {curriculum[-1][0]}")
                    stacked = jax.tree.map(lambda leaf: np.asarray(leaf, dtype=float), layers)
                    yield (
                        {"window": window, "updates": done},
                        [
                            VectorField(
                                _without_padding(stacked, i, problem.dim),
                                _scale(model, problem),
                                model.substeps,
                            )
                            for i, problem in enumerate(problems)
                        ],
                    )


def _stacked(model: NeuralODE, problems: list[_Problem]) -> tuple[Layers, Any]:
    """Initial layers and tasks of all problems, padded to one shape."""
    jax, shooting = _libraries()
    dim = _up(max(p.dim for p in problems), DIMENSIONS)
    rows = _up(max(p.train.shape[0] * p.train.shape[1] for p in problems), ROWS)
    layers, tasks = [], []
    for problem in problems:
        rng = np.random.default_rng(problem.seed)
        layers.append(_initial_layers(model, problem.dim, dim, rng))
        scale = _scale(model, problem)
        tasks.append(
            shooting.Task(
                states=_padded(problem.train.reshape(-1, problem.dim), rows, dim),
                trajectories=np.int32(len(problem.train)),
                times=np.int32(problem.train.shape[1]),
                scale=_padded(scale, dim),
                weight=np.float32(dim / problem.dim / np.mean(scale**2)),
                key=rng.integers(2**32, size=2, dtype=np.uint32),
            )
        )
    stacked = jax.tree.map(lambda *parts: np.stack(parts), *layers)
    return stacked, jax.tree.map(lambda *parts: np.stack(parts), *tasks)


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


def _without_padding(stacked: Layers, index: int, dim: int) -> Layers:
    """The layers of one problem. A padded state is always 0: what it feeds counts for nothing."""
    layers = [(weights[index], bias[index]) for weights, bias in stacked]
    layers[0] = (layers[0][0][:dim], layers[0][1])
    layers[-1] = (layers[-1][0][:, :dim], layers[-1][1][:dim])
    return tuple(layers)


def _padded(values: np.ndarray, *shape: int) -> np.ndarray:
    padded = np.zeros(shape, np.float32)
    padded[tuple(slice(length) for length in values.shape)] = values
    return padded


def _scale(model: NeuralODE, problem: _Problem) -> Float[np.ndarray, "dim"]:
    """The root mean square change of each state in a sampling interval; 1 where it is constant."""
    if not model.scaled:
        return np.ones(problem.dim)
    scale = np.sqrt((np.diff(problem.train, axis=1) ** 2).mean(axis=(0, 1)))
    scale[scale == 0] = 1.0
    return scale


def _rates(model: NeuralODE, progress: np.ndarray) -> np.ndarray:
    """Half a cosine from `rate` to `final_rate` as progress goes from 0 to 1."""
    left = (1 + np.cos(np.pi * progress)) / 2
    return (model.final_rate + (model.rate - model.final_rate) * left).astype(np.float32)


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
