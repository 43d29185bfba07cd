"""The experiment: one model on one task with one seed, in whatever process it is sent to.

`evaluate` is all of it, on arrays at hand: fit, forecast, score. `work` wraps it for an executor
and turns everything that goes wrong into a status.
"""

import ast
import copy
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import models as zoo
import systems
from dysts_bench.executors import Failed, failure
from dysts_bench.forecasts import Forecasts, read_forecasts
from dysts_bench.metrics import METRICS, Score, find, score
from dysts_bench.metrics.base import Data
from dysts_bench.records import one_line
from dysts_bench.task import DataError, Task, Windows, load


@dataclass(frozen=True)
class ModelSpec:
    """A model by name: of the zoo, with preset or hyperparameters, or a class in a file."""

    name: str
    preset: str = ""
    hyperparameters: tuple[tuple[str, Any], ...] = ()  # those that differ from the preset's
    file: str = ""  # path/to/file.py:Class

    @classmethod
    def parse(cls, text: str) -> "ModelSpec":
        """From `nvar`, `nvar:gilpin2023` or `path/to/file.py:Class`.

        Each may have hyperparameters behind it, `esn(units=300, leak=[0.3, 1.0])`: numbers, words
        and lists as in Python, whose quotes may be left out. Raises ValueError for anything else.
        """
        which, bracket, rest = text.strip().partition("(") if text.endswith(")") else (text, "", "")
        given = tuple(map(_hyperparameter, split_list(rest[:-1]))) if bracket else ()
        if ".py:" in which:
            return cls(which.rpartition(":")[2], hyperparameters=given, file=which)
        name, _, preset = which.partition(":")
        return cls(name, preset, given)

    @property
    def variant(self) -> str:
        """What distinguishes it from the model's defaults, for the column `preset`."""
        given = [f"{key}={value}" for key, value in self.hyperparameters]
        return ",".join([*filter(None, [self.preset]), *given])

    @property
    def label(self) -> str:
        """The name in leaderboards."""
        return f"{self.name}:{self.variant}" if self.variant else self.name

    def create(self) -> zoo.Forecaster:
        """A new, unfitted model."""
        name = self.file or (f"{self.name}:{self.preset}" if self.preset else self.name)
        return zoo.create(name, **dict(self.hyperparameters))


def split_list(text: str) -> list[str]:
    """What stands between the commas of `text`, except for commas in brackets or quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        if letter == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    if depth or quote:
        raise ValueError(f"a bracket or quote in {text!r} has no partner")
    return [part.strip() for part in parts if part.strip()]


def _hyperparameter(text: str) -> tuple[str, Any]:
    """From `units=300`."""
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (equals and name.isidentifier()):
        raise ValueError(f"hyperparameters are written as name=value, got {text!r}")
    try:
        return name, _frozen(ast.literal_eval(value))
    except (ValueError, SyntaxError):
        return name, value


def _frozen(value: Any) -> Any:
    """Lists as tuples: a cell is hashable."""
    match value:
        case list() | tuple():
            return tuple(map(_frozen, value))
        case None | bool() | int() | float() | str():
            return value
    raise ValueError


@dataclass(frozen=True)
class Cell:
    """One model on one task with one seed: what runs, fails, is kept and is resumed as one."""

    task: Task
    model: ModelSpec
    seed: int


@dataclass(frozen=True)
class Measurement:
    """The part of a row that differs within a cell; the fields are those of records.Result."""

    metric: str
    window: int | None
    value: float | None
    status: str
    message: str
    censored: bool | None
    noise_floor: float | None


@dataclass
class Evaluation:
    """What came out of one cell."""

    measurements: list[Measurement] = field(default_factory=list)
    hyperparameters: dict[str, Any] | None = None  # with what was chosen on validation data
    fit_seconds: float | None = None
    predict_seconds: float | None = None
    peak_memory_mb: float | None = None
    data_hash: str = ""
    forecasts: Forecasts = field(default_factory=dict)  # to be kept; empty if one has failed


def work(cell: Cell, *, keep: bool = False) -> Evaluation | Failed:
    """Run one cell. Never raises an Exception: it returns what went wrong.

    The evaluation brings the forecasts along if these are to be kept.
    """
    measurable = _forget_peak_memory()
    try:
        windows = _windows(cell.task)
    except Exception as error:
        return _data_failure(error)
    try:
        evaluation = evaluate(windows, cell.model.create(), cell.seed, cell.task.metrics, keep=keep)
    except zoo.FitError as error:  # the model itself says that these data are not for it
        return Failed("unsupported", f"FitError: {error}")
    except Exception as error:
        return failure(error)
    evaluation.peak_memory_mb = _peak_memory_mb() if measurable else None
    return evaluation


def work_again(cell: Cell, *, kept: Callable[[Cell], Path]) -> Evaluation | Failed:
    """Score the forecasts of a cell that are `kept`: measurements and nothing else."""
    try:
        windows = _windows(cell.task)
    except Exception as error:
        return _data_failure(error)
    try:
        return rescore(windows, read_forecasts(kept(cell))[1], cell.task.metrics)
    except Exception as error:
        return failure(error)


def work_on_data(task: Task) -> Failed | None:
    """Make the data of a task, so that they lie in the cache when its cells come."""
    try:
        load(task)
    except Exception as error:
        return _data_failure(error)
    return None


def evaluate(
    windows: Windows,
    model: zoo.Forecaster,
    seed: int,
    metrics: Iterable[str] = tuple(METRICS),
    *,
    keep: bool = False,
) -> Evaluation:
    """Fit, forecast the test windows and the free runs, score both by the metrics named.

    Raises what `model.fit` raises. A failing forecast fails its own metrics only.
    """
    metrics = list(metrics)
    evaluation = Evaluation(data_hash=windows.data_hash, predict_seconds=0.0)
    with np.errstate(all="ignore"):  # a diverging forecast is a row, not a line on the screen
        start = time.perf_counter()
        fitted = _fit(model, windows, seed)
        evaluation.fit_seconds = time.perf_counter() - start
        evaluation.hyperparameters = _hyperparameters(fitted)
        asked = {find(name).data for name in metrics}
        for data in [kind for kind in _abilities(model, windows) if kind in asked]:
            start = time.perf_counter()
            try:
                forecast = _forecast(data, fitted, windows, seed)
                if data in ("windows", "free_runs"):  # what every model does
                    evaluation.predict_seconds += time.perf_counter() - start  # type: ignore[operator]
                evaluation.measurements += _measured(windows, forecast, data, metrics)
                evaluation.forecasts[data] = forecast
            except Exception as error:
                evaluation.measurements += no_values(failure(error), metrics, (data,))
                keep = False  # a failure is not made again from what is left
    if not keep:
        evaluation.forecasts = {}
    return evaluation


def rescore(windows: Windows, forecasts: Forecasts, metrics: Iterable[str]) -> Evaluation:
    """The measurements that `evaluate` makes of these forecasts; raises what a metric raises."""
    metrics = list(metrics)
    evaluation = Evaluation(data_hash=windows.data_hash)
    with np.errstate(all="ignore"):
        for data, forecast in forecasts.items():
            evaluation.measurements += _measured(windows, forecast, data, metrics)
    return evaluation


def _fit(model: zoo.Forecaster, windows: Windows, seed: int) -> list[zoo.Forecaster]:
    """The fitted model; under a protocol that fits to the contexts, one for each window."""
    seen = _seen_by(model, windows)
    validation, dt = seen(windows.validation), windows.facts.dt
    if windows.protocol.fit_on == "train":
        return [model.fit(seen(windows.train), dt=dt, validation=validation, seed=seed)]
    return [
        copy.deepcopy(model).fit(each, dt=dt, validation=validation, seed=seed)
        for each in np.split(seen(windows.train), len(windows.train))
    ]


def _seen_by(model: zoo.Forecaster, windows: Windows) -> Callable[[np.ndarray], np.ndarray]:
    """From the arrays at hand to those that the model asks for, which are always copies:

    the data serve the next model too, and a library may write into what it is given.
    """
    return windows.in_units if model.raw_units else np.copy


def _hyperparameters(fitted: list[zoo.Forecaster]) -> dict[str, Any]:
    """Those of the model; what was chosen, one for each fit if there are several."""
    first, *others = map(zoo.hyperparameters, fitted)
    if others and "chosen" in first:
        first["chosen"] = [each["chosen"] for each in (first, *others)]
    return first


def _abilities(model: zoo.Forecaster, windows: Windows) -> list[Data]:
    """The kinds of data that this model can be scored on."""
    kinds: list[Data] = ["windows", "free_runs"]
    if isinstance(model, zoo.Sampler):
        kinds.append("samples")
    if isinstance(model, zoo.Differentiable) and len(windows.spectrum):
        kinds.append("exponents")
    return kinds


def _forecast(data: Data, fitted: list[zoo.Forecaster], windows: Windows, seed: int) -> np.ndarray:
    """In the shape of this kind of data and the system's own units:

    sMAPE and the like depend on the origin. Exponents are per unit of time anyway.
    """
    model, protocol = fitted[0], windows.protocol
    seen = _seen_by(model, windows)

    def in_units(forecast: np.ndarray) -> np.ndarray:
        return forecast if model.raw_units else windows.in_units(forecast)

    if data == "exponents":
        assert isinstance(model, zoo.Differentiable)
        contexts, count = seen(windows.free_contexts), len(windows.spectrum)
        return model.lyapunov_exponents(contexts, protocol.exponent_steps, count)
    if data == "free_runs":
        return in_units(model.predict(seen(windows.free_contexts), protocol.free_steps))
    steps, parts = windows.truth.shape[1], []
    for one, contexts in zip(fitted, np.split(seen(windows.contexts), len(fitted)), strict=True):
        if data == "windows":
            parts.append(one.predict(contexts, steps))
        else:
            assert isinstance(one, zoo.Sampler)
            parts.append(one.sample(contexts, steps, protocol.samples, seed=seed))
    return in_units(np.concatenate(parts, axis=0 if data == "windows" else 1))


def _truth(data: Data, windows: Windows) -> np.ndarray:
    """What a forecast of this kind is compared with."""
    if data == "exponents":
        return np.tile(windows.spectrum, (len(windows.free_contexts), 1))
    return windows.in_units(windows.free_truth if data == "free_runs" else windows.truth)


def no_values(
    failed: Failed, metrics: Iterable[str], kinds: tuple[Data, ...] = ("windows", "free_runs")
) -> list[Measurement]:
    """One row without a value for every metric named that is of these kinds of data."""
    message = one_line(failed.message)
    return [
        Measurement(name, None, None, failed.status, message, None, None)
        for name in metrics
        if find(name).data in kinds
    ]


def _measured(
    windows: Windows, forecast: np.ndarray, data: Data, metrics: list[str]
) -> list[Measurement]:
    """Scores as rows. A forecast that is not finite from its first step on has no value."""
    absent = ~np.isfinite(_first_step(forecast, data)).all(axis=1)
    if absent.all():
        nothing = Failed("nan", "no forecast: NaN or infinity from its first step on")
        return no_values(nothing, metrics, (data,))
    truth = _truth(data, windows)
    scores = score(truth, forecast, windows.facts, data=data, metrics=metrics)
    return [measurement for each in scores for measurement in _rows_of(each, absent)]


def _first_step(forecast: np.ndarray, data: Data) -> np.ndarray:
    """(windows, numbers) what there is of a forecast if there is anything; a spectrum is whole."""
    match data:
        case "samples":
            return np.concatenate(forecast[:, :, 0], axis=1)
        case "exponents":
            return np.where(np.isneginf(forecast), 0.0, forecast)  # -inf: a direction it lacks
    return forecast[:, 0]


def _rows_of(score: Score, absent: np.ndarray) -> Iterator[Measurement]:
    floor = score.floor if score.floor is not None and math.isfinite(score.floor) else None
    for i, (value, status) in enumerate(zip(score.values, score.statuses, strict=True)):
        missing = not math.isfinite(value) or (score.metric.per_window and bool(absent[i]))
        message = score.message
        if missing and status == "ok":
            # Declared, as a percentage of exactly zero; or else the metric itself is at fault.
            status = "unsupported" if math.isinf(value) else "crash"
            message = f"{score.metric.name} of this forecast is {value}"
        yield Measurement(
            metric=score.metric.name,
            window=i if score.metric.per_window else None,
            value=None if missing else value,
            status=status,
            message=one_line(message) if status != "ok" else "",
            censored=None if missing or score.metric.limit is None else score.censored[i],
            noise_floor=floor,
        )


@lru_cache(maxsize=2)  # cells come system by system
def _windows(task: Task) -> Windows:
    return load(task)


def _data_failure(error: Exception) -> Failed:
    if isinstance(error, DataError | systems.IntegrationError):
        return Failed("unsupported", f"no data: {error}")
    failed = failure(error)
    return Failed(failed.status, f"no data: {failed.message}")


def _forget_peak_memory() -> bool:
    """Reset the high-water mark of this process, which only Linux can; True if it is done."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak_memory_mb() -> float | None:
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return round(int(found[1]) / 1024, 1) if found else None
