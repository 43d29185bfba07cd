"""The training loop of every model in PyTorch: one network, or one for each of many data sets.

A model brings a network, an nn.Module with methods

    loss(windows)           of (batch, times, dim) to a number; any name, a stage says which
    run(contexts, steps)    the free run, (windows, context, dim) to (windows, steps, dim)

and stages, each so many Adam updates on random windows with gradients clipped, while the rate warms
up and then falls by half a cosine. Now and then the network runs freely on validation data, and
what ran best is kept: one-step errors say little about free runs. A stage begins with the best of
the stage before it, or with its last weights if that was not `checked`.

The networks of many problems are trained with stacked parameters, by torch.func.vmap of what trains
one, and all else is done to each by itself: each becomes what it becomes alone, up to rounding.
(Not with dropout, whose random numbers are drawn together.) An attribute `vmapped` tells the
network of it, for some layers of PyTorch can't be.

Everything random comes from the seeds; the global random states stay as they are.
Imports torch: to be imported when a model is fitted.
"""

import copy
import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.optim.adam import adam as update_by_adam

from models._progress import count_trial, report
from models._tuning import FreeRuns, best_on_free_runs, score
from models.base import FitError, Forecast, Trajectories, Windows, end_at_divergence

WARM_UP = 0.05  # of a stage's updates
LAST_RATE = 0.01  # of the highest
CHECKED = 250  # steps of a free run at a check, which takes as long as many updates
KEPT = 3  # checkpoints, of which the best that also endures is chosen

_checkpoints: ContextVar[Path | None] = ContextVar("checkpoints", default=None)


@dataclass(frozen=True)
class Stage:
    """Updates of one kind."""

    loss: str  # the method of the network
    window: int  # times in a window
    updates: int
    batch: int = 64
    rate: float = 1e-3  # the highest
    trains: str = ""  # only parameters with this in their name
    checked: bool = True  # by free runs; of the stages at least the last is


@dataclass(frozen=True)
class Plan:
    """How to train. Without `seconds` the result depends on nothing but the seed."""

    stages: tuple[Stage, ...]
    checks: int = 10  # free runs on validation data in each stage
    patience: int = 10  # checks without a better free run after which a stage ends
    clip: float = 1.0  # of the gradient's norm
    seconds: float | None = None  # of wall time, after which the best so far is taken
    bfloat16: bool = False  # losses in bfloat16, which GPUs are fast in; weights stay float32
    device: str | None = None  # None: a GPU if there is one


@dataclass(frozen=True)
class Problem:
    """What one network is trained on, and the free runs that judge it."""

    train: Trajectories
    runs: FreeRuns
    seed: int


@dataclass(frozen=True)
class Trained:
    """A network, in float64 on the CPU: alone or in a batch, a forecast is then the same."""

    network: nn.Module

    @property
    def parameters(self) -> int:
        return sum(weights.numel() for weights in self.network.parameters())

    def run(self, contexts: Windows, steps: int) -> Forecast:
        with torch.inference_mode():  # a fifth faster than no_grad, step by step
            return self.network.run(torch.as_tensor(contexts.copy()), steps).numpy()


Outcome = tuple[dict[str, Any], Trained]
Weights = dict[str, Tensor]  # by name; with a leading axis of problems


@contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Trainings within keep a checkpoint in `folder`, from which the same training goes on.

    With the same data, seeds, plan and version of PyTorch the result is that of a training that was
    not interrupted. The checkpoint is removed at the end.
    """
    token = _checkpoints.set(folder)
    try:
        yield
    finally:
        _checkpoints.reset(token)


def trained(
    build: Callable[[Problem], nn.Module], problems: Sequence[Problem], plan: Plan
) -> list[Outcome | FitError]:
    """A network for each problem, and how far its training went; all at once.

    Problems have one dimension and shape of validation runs. One that diverges before its first
    check has its FitError in its place.
    """
    device = plan.device or ("cuda" if torch.cuda.is_available() else "cpu")
    end = math.inf if plan.seconds is None else time.monotonic() + plan.seconds
    networks = [_seeded(problem.seed, build, problem).float() for problem in problems]
    now = _Now(*stack_module_state([network.to(device) for network in networks]))
    program = _Program(_Calls(networks[0]), plan, many=len(problems) > 1)
    for problem in problems:
        now.best.append(_Best())
        if max(stage.window for stage in plan.stages) > problem.train.shape[1]:
            raise FitError(_too_short(problem, plan))
    file = _file(problems, plan, now)
    if file is not None and file.exists():
        now.load(file, device)
    total = sum(stage.updates for stage in plan.stages)
    first = next(number for number, stage in enumerate(plan.stages) if stage.checked)
    for number, stage in enumerate(plan.stages):
        done = sum(earlier.updates for earlier in plan.stages[:number])
        trains = {name: p for name, p in now.parameters.items() if stage.trains in name}
        blocks = _blocks(stage.updates, plan.checks)
        for check, block in enumerate(blocks):
            if (number, check) < (now.stage, now.check):
                continue  # of a training that was interrupted
            if time.monotonic() > end and (number, check) > (first, 0):
                break
            adam = now.adam = now.adam or _Adam.at_rest(trains)
            batches, luck = _drawn(problems, stage, number, check, len(block), device)
            with _own_randomness(luck, device):
                for update, batch in zip(block, batches, strict=True):
                    gradients = program.gradients(trains, now, stage.loss, batch)
                    _clip(gradients, plan.clip)
                    adam.step(trains, gradients, _rate(stage, update))
                    if update % 10 == 0:
                        report(done + update, total, "updates")
                    if time.monotonic() > end:
                        break
            late = time.monotonic() > end
            if stage.checked:
                chosen = {"stage": number, "updates": done + update + 1}
                forecasts = program.free_runs(now, problems, device)
                for index, (problem, forecast) in enumerate(zip(problems, forecasts, strict=True)):
                    now.best[index].judge(forecast, problem, chosen, now.of(index), plan.patience)
            now.check = check + 1
            ended = late or all(best.waited >= plan.patience for best in now.best)
            if ended or check + 1 == len(blocks):
                now.begin_next_stage(stage.checked)
            if file is not None:
                now.save(file)
            if ended:
                break
    if file is not None:
        file.unlink(missing_ok=True)
    return [_outcome(networks[i], now.best[i], problem) for i, problem in enumerate(problems)]


class _Calls(nn.Module):
    """functional_call knows forward only: this one calls any method of a network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, method: str, *arguments: Any) -> Tensor:
        return getattr(self.network, method)(*arguments)


@dataclass
class _Best:
    """The checkpoints of one problem that ran best, the best first, and how long ago that was."""

    kept: list[tuple[tuple[float, float], dict[str, Any], Weights]] = field(default_factory=list)
    waited: int = 0

    def judge(
        self,
        forecast: Forecast,
        problem: Problem,
        chosen: dict[str, Any],
        weights: Weights,
        patience: int,
    ) -> None:
        if self.waited >= patience:  # the stage goes on for other problems only
            return
        count_trial()
        forecast = end_at_divergence(forecast)
        if np.isnan(forecast[:, 0]).all():
            self.waited += 1
            return
        truths = problem.runs.truths[:, : forecast.shape[1]]
        result = score(forecast, truths, problem.runs.scale)
        better = not self.kept or result > self.kept[0][0]
        self.waited = 0 if better else self.waited + 1
        self.kept.append((result, chosen, {name: w.cpu().clone() for name, w in weights.items()}))
        self.kept = sorted(self.kept, key=lambda entry: entry[0], reverse=True)[:KEPT]


@dataclass
class _Adam:
    """Adam (Kingma & Ba 2015). The class of torch.optim, unlike the function that it calls, brings
    the compiler along: 1.7 s in every process."""

    first: list[Tensor]  # moving averages of gradients
    second: list[Tensor]  # and of their squares
    updates: list[Tensor]

    @classmethod
    def at_rest(cls, trains: Weights) -> "_Adam":
        first, second = ([torch.zeros_like(w) for w in trains.values()] for _ in range(2))
        return cls(first, second, [torch.zeros((), device=w.device) for w in trains.values()])

    @torch.no_grad()
    def step(self, trains: Weights, gradients: Sequence[Tensor], rate: float) -> None:
        update_by_adam(
            list(trains.values()),
            [g.contiguous() for g in gradients],  # which the fused loop takes for granted
            self.first,
            self.second,
            [],
            self.updates,
            fused=True,  # in a fifth of the time
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )


@dataclass
class _Now:
    """Where a training is."""

    parameters: Weights
    buffers: Weights
    best: list[_Best] = field(default_factory=list)
    stage: int = 0
    check: int = 0
    adam: _Adam | None = None

    def of(self, index: int) -> Weights:
        """The weights of one problem, buffers and all."""
        return {name: w.detach()[index] for name, w in (self.parameters | self.buffers).items()}

    def begin_next_stage(self, from_best: bool) -> None:
        self.stage, self.check, self.adam = self.stage + 1, 0, None
        for index, best in enumerate(self.best):
            best.waited = 0
            if from_best and best.kept:
                with torch.no_grad():
                    for name, parameter in self.parameters.items():
                        parameter[index] = best.kept[0][2][name]

    def save(self, file: Path) -> None:
        best = [(b.kept, b.waited) for b in self.best]
        adam = None if self.adam is None else vars(self.adam)
        state = (self.parameters, best, self.stage, self.check, adam)
        written = file.with_suffix(f".{os.getpid()}")
        torch.save(state, written)
        written.replace(file)

    def load(self, file: Path, device: str) -> None:
        state = torch.load(file, map_location=device, weights_only=True)
        parameters, best, self.stage, self.check, adam = state
        self.adam = None if adam is None else _Adam(**adam)
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(parameters[name])
        self.best = [_Best(kept, waited) for kept, waited in best]


class _Program:
    """What is computed at every update and at every check: for one network, or vmapped for many."""

    def __init__(self, network: _Calls, plan: Plan, *, many: bool) -> None:
        self.network, self.bfloat16, self.many = network, plan.bfloat16, many
        network.network.vmapped = many

    def gradients(
        self, trains: Weights, now: _Now, method: str, windows: Tensor
    ) -> tuple[Tensor, ...]:
        """d loss / d each of `trains`, stacked."""
        frozen = {name: p for name, p in now.parameters.items() if name not in trains}
        frozen |= now.buffers

        def loss(trains: Weights, frozen: Weights, windows: Tensor) -> Tensor:
            with torch.autocast(windows.device.type, torch.bfloat16, enabled=self.bfloat16):
                return self._call(trains | frozen, method, windows)

        self.network.train()
        if self.many:
            frozen = {name: value.detach() for name, value in frozen.items()}
            alone = {name: value.detach() for name, value in trains.items()}
            each = vmap(grad_and_value(loss), randomness="different")
            return tuple(each(alone, frozen, windows)[0].values())
        # plain autograd, which costs one network less than torch.func does
        value = loss(_first(trains), _first(frozen), windows[0])
        return torch.autograd.grad(
            value, list(trains.values()), allow_unused=True, materialize_grads=True
        )

    def free_runs(self, now: _Now, problems: Sequence[Problem], device: str) -> list[Forecast]:
        """Of each problem, from its validation contexts."""
        contexts = np.stack([problem.runs.contexts for problem in problems])
        steps = min(CHECKED, problems[0].runs.truths.shape[1])

        def run(weights: Weights, contexts: Tensor) -> Tensor:
            return self._call(weights, "run", contexts, steps)

        self.network.eval()
        inputs = torch.as_tensor(contexts, dtype=torch.float32, device=device)
        weights = now.parameters | now.buffers
        with torch.no_grad():
            if self.many:
                return list(vmap(run)(weights, inputs).cpu().numpy())
            return [run(_first(weights), inputs[0]).cpu().numpy()]

    def _call(self, weights: Weights, method: str, *arguments: Any) -> Tensor:
        named = {f"network.{name}": value for name, value in weights.items()}
        return functional_call(self.network, named, (method, *arguments))


def _blocks(updates: int, checks: int) -> list[range]:
    """The updates before each check."""
    bounds = [updates * check // checks for check in range(checks + 1)]
    return [range(first, last) for first, last in pairwise(bounds) if last > first]


def _drawn(
    problems: Sequence[Problem],
    stage: Stage,
    number: int,
    check: int,
    updates: int,
    device: str,
) -> tuple[Iterator[Tensor], int]:
    """Random windows (problems, batch, times, dim) for the updates up to a check, and a seed."""
    times, firsts = torch.arange(stage.window), []
    for problem in problems:
        # of its own for each check, so that a resumed training draws what it would have drawn
        rng = np.random.default_rng((problem.seed, number, check))
        luck = int(rng.integers(2**62))
        trajectories, length, _ = problem.train.shape
        starts = length - stage.window + 1  # of one trajectory
        chosen = rng.integers(trajectories * starts, size=(updates, stage.batch))
        firsts.append(torch.as_tensor(chosen // starts * length + chosen % starts).to(device))
    times = times.to(device)
    flat = [torch.tensor(p.train, dtype=torch.float32).flatten(0, 1) for p in problems]
    data = [values.to(device) for values in flat]

    def windows() -> Iterator[Tensor]:
        for update in range(updates):
            chosen = (first[update][:, None] + times for first in firsts)
            yield torch.stack([x[i] for x, i in zip(data, chosen, strict=True)])

    return windows(), luck


def _clip(gradients: Sequence[Tensor], most: float) -> None:
    """Scale the gradients of each problem so that their norm, over all weights, is at most this."""
    norm = sum(g.reshape(len(g), -1).square().sum(1) for g in gradients).sqrt()
    factor = (most / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor.view(-1, *[1] * (gradient.dim() - 1)))


def _rate(stage: Stage, update: int) -> float:
    warm = min(1.0, (update + 1) / (WARM_UP * stage.updates))
    falling = (1 + math.cos(math.pi * update / stage.updates)) / 2
    return stage.rate * warm * (LAST_RATE + (1 - LAST_RATE) * falling)


def _outcome(network: nn.Module, best: _Best, problem: Problem) -> Outcome | FitError:
    if not best.kept:
        return FitError(
            "training diverged: no check on validation data gave a finite forecast. Lower the "
            "rate, or look for outliers in the data"
        )

    def follower(weights: Weights) -> Trained:
        kept = copy.deepcopy(network).cpu()
        kept.load_state_dict(weights)
        return Trained(kept.double().eval().requires_grad_(False))

    trials = ((chosen, follower(weights)) for _, chosen, weights in best.kept)
    try:
        return best_on_free_runs(trials, Trained.run, problem.runs)
    except FitError as error:
        return error


def _too_short(problem: Problem, plan: Plan) -> str:
    return (
        f"training trajectories of {problem.train.shape[1]} times are shorter than a window of "
        f"{max(stage.window for stage in plan.stages)}: pass longer ones or shorten the windows"
    )


def _file(problems: Sequence[Problem], plan: Plan, now: _Now) -> Path | None:
    """Where this training keeps its checkpoint: named by all that it depends on."""
    folder = _checkpoints.get()
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(repr((plan, torch.__version__)).encode())
    for problem in problems:
        digest.update(repr((problem.seed, problem.train.shape)).encode())
        for values in (problem.train, problem.runs.contexts, problem.runs.truths):
            digest.update(values.tobytes())
    for name, value in (now.parameters | now.buffers).items():
        digest.update(name.encode() + value.detach().cpu().numpy().tobytes())
    return folder / f"{digest.hexdigest()[:24]}.pt"


def _first(weights: Weights) -> Weights:
    return {name: value[0] for name, value in weights.items()}


def _seeded(seed: int, build: Callable[[Problem], nn.Module], problem: Problem) -> nn.Module:
    with _own_randomness(seed, "cpu"):
        return build(problem)


@contextmanager
def _own_randomness(seed: int, device: str) -> Iterator[None]:
    devices = [torch.cuda.current_device()] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
