"""What a metric is: a plain function of (truth, forecast, facts), registered with its meaning.

Shared parameters of every metric, said once:
    truth, forecast: (windows, horizon, dim), equal shapes, in the same units; the first step is
        the first after the context. Free runs are windows with a long horizon. Two kinds of data
        have other shapes: of `samples` the forecast is (samples, windows, horizon, dim), and
        `exponents` are Lyapunov spectra, (runs, exponents) in descending order, per system time.
    facts: what a score needs beside the two arrays, see `Facts`.
Every metric returns one value a window (a run).

Bad forecasts have declared values, so that failing is never cheaper than forecasting badly:
a value that cannot be computed because the forecast is NaN, infinite or overflows is the metric's
`worst`. Nothing is dropped and nothing is clipped. Truth that is not finite is an error.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal, TypeVar

import numpy as np
from jaxtyping import Float

Windows = Float[np.ndarray, "windows horizon dim"]
Part = Float[np.ndarray, "windows first dim"]
Samples = Float[np.ndarray, "samples windows horizon dim"]
Spectra = Float[np.ndarray, "windows exponents"]
PerWindow = Float[np.ndarray, " windows"]
Data = Literal["windows", "free_runs", "samples", "exponents"]

METRICS: dict[str, Metric] = {}
# How far forecasts are scored, in Lyapunov times, where one number does not say enough.
HORIZONS = (0.1, 0.5, 1.0, 2.0, 4.0, 10.0, 25.0)

# A forecast this many training standard deviations off the truth has left the attractor for good:
# 134 systems of the catalog stay within 24 of their mean, in 30 000 steps each.
DIVERGED = 1e3

OK, DIVERGED_STATUS, NAN, UNSUPPORTED, CRASH = "ok", "diverged", "nan", "unsupported", "crash"


@dataclass(frozen=True, eq=False)
class Facts:
    """What a score needs to know about the task beside truth and forecast.

    dt: time between two steps, in system time.
    lyapunov_time: 1 / largest Lyapunov exponent, in system time. For a system that is not chaotic,
        the time that its scores are to be read in (say, its period).
    scale: (dim,) standard deviation of the training data, in the units of truth and forecast.
    train: (trajectories, times, dim) the training data in those units; only `mase` needs it.

    Raises ValueError if a time or scale is not positive and finite, or train has another shape.
    """

    dt: float
    lyapunov_time: float
    scale: Float[np.ndarray, " dim"]
    train: Float[np.ndarray, "trajectories times dim"] | None = None

    def __post_init__(self) -> None:
        for name in ("dt", "lyapunov_time"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"Facts.{name} must be a positive, finite time; got {value}")
        scale = np.asarray(self.scale, dtype=float)
        if scale.ndim != 1 or not (np.isfinite(scale).all() and (scale > 0).all()):
            raise ValueError(
                "Facts.scale must hold one positive, finite standard deviation a coordinate, shape "
                f"(dim,); got {self.scale}. A coordinate that never varies has no unit of error: "
                "leave it out, or give it the scale 1."
            )
        object.__setattr__(self, "scale", scale)
        if self.train is not None and (self.train.ndim, *self.train.shape[2:]) != (3, len(scale)):
            raise ValueError(
                f"Facts.train must be (trajectories, times, dim) with the {len(scale)} coordinates "
                f"of Facts.scale; got shape {self.train.shape}"
            )


@dataclass(frozen=True)
class Metric:
    """A metric and how to read it.

    ideal: value of a perfect forecast (infinity: as far as the truth goes, see `limit`).
    worst: value of a forecast that is nothing but NaN.
    limit: (truth, facts) -> the value at which this truth ends: a score there is censored.
    per_window: one value a window is kept; otherwise the median over the windows.
    first: only so many Lyapunov times from the start are scored; None: all of the horizon.
    invariant: what a score does not depend on: "units" (a factor per coordinate) and "origin"
        (an offset per coordinate), applied to truth, forecast and facts alike.
    per_step: it means something for one step alone, see `at_each_step`.
    """

    name: str
    function: Callable[..., PerWindow]
    description: str
    unit: str
    better: Literal["higher", "lower"]
    ideal: float
    worst: float
    data: Data = "windows"
    per_window: bool = False
    limit: Callable[[Windows, Facts], float] | None = None
    invariant: frozenset[str] = frozenset()
    per_step: bool = False
    first: float | None = None

    def __call__(self, truth: Any, forecast: Any, facts: Facts) -> PerWindow:
        return self.function(*self.cut(truth, forecast, facts), facts)

    def cut(self, truth: Any, forecast: Any, facts: Facts) -> tuple[Any, Any]:
        """The part of both arrays that is scored; raises TooShort if they do not reach so far."""
        if self.first is None:
            return truth, forecast
        steps = max(1, round(self.first * facts.lyapunov_time / facts.dt))
        if truth.shape[-2] < steps:
            raise TooShort(
                f"the first {self.first:g} Lyapunov times are {steps} steps, the windows have "
                f"{truth.shape[-2]}; forecast further or leave this metric out"
            )
        return truth[..., :steps, :], forecast[..., :steps, :]

    def over(self, lyapunov_times: float) -> Metric:
        """This metric over only so many Lyapunov times from the start: `name_at_h`.

        Raises ValueError unless h is positive and the metric is of windows or samples.
        """
        if self.data not in ("windows", "samples") or self.first is not None:
            raise ValueError(f"{self.name} is not a metric of whole windows: it has no horizons")
        if not 0 < lyapunov_times < np.inf:
            raise ValueError(
                f"a horizon is a positive number of Lyapunov times, not {lyapunov_times}"
            )
        note = f"{self.description} First {lyapunov_times:g} Lyapunov times only."
        name = f"{self.name}_at_{lyapunov_times:g}"
        return replace(self, name=name, description=note, first=float(lyapunov_times))

    def at_each_step(
        self, truth: Windows, forecast: Windows, facts: Facts
    ) -> Float[np.ndarray, "windows horizon"]:
        """The metric of every step by itself.

        Raises ValueError for a metric without `per_step`: a correlation of one step is none.
        """
        if not self.per_step:
            raise ValueError(f"{self.name} compares whole windows: it has no value at one step")
        windows, horizon, dim = truth.shape
        steps = (windows * horizon, 1, dim)
        values = self.function(truth.reshape(steps), forecast.reshape(steps), facts)
        return values.reshape(windows, horizon)

    def cumulative(
        self, truth: Windows, forecast: Windows, facts: Facts, steps: Iterable[int]
    ) -> Float[np.ndarray, "windows lengths"]:
        """The metric over the first k steps, for each k of `steps`."""
        values = [self.function(truth[:, :k], forecast[:, :k], facts) for k in steps]
        return np.stack(values, axis=1)


class TooShort(ValueError):
    """The data cannot carry this metric: too few points, or none where some are needed."""


def metric(
    *,
    unit: str,
    better: Literal["higher", "lower"],
    ideal: float,
    worst: float,
    data: Data = "windows",
    per_window: bool = False,
    limit: Callable[[Windows, Facts], float] | None = None,
    invariant: tuple[str, ...] = (),
    per_step: bool = False,
) -> Callable[[Callable[..., PerWindow]], Callable[..., PerWindow]]:
    """Register a function as a metric under its own name; `Metric` says what each word means."""

    def register(function: Callable[..., PerWindow]) -> Callable[..., PerWindow]:
        checked = _checked(function, worst, data)
        METRICS[function.__name__] = Metric(
            name=function.__name__,
            function=checked,
            description=(function.__doc__ or "").strip().split("\n")[0],
            unit=unit,
            better=better,
            ideal=ideal,
            worst=worst,
            data=data,
            per_window=per_window,
            limit=limit,
            invariant=frozenset(invariant),
            per_step=per_step,
        )
        return checked

    return register


def find(name: str) -> Metric:
    """The metric of this name: one of METRICS, or `name_at_h` for its first h Lyapunov times.

    Raises KeyError for a name that is neither, with those that are close.
    """
    if name in METRICS:
        return METRICS[name]
    whole = re.fullmatch(r"(.+)_at_(\d+(?:\.\d+)?)", name)
    if whole and whole[1] in METRICS:
        return METRICS[whole[1]].over(float(whole[2]))
    close = get_close_matches(name, METRICS, n=3) or sorted(METRICS)
    raise KeyError(f"there is no metric {name!r}. Did you mean {', '.join(close)}?")


def _checked(
    function: Callable[..., PerWindow], worst: float, data: Data
) -> Callable[..., PerWindow]:
    """The function behind its boundary: arrays are checked, a bad forecast's NaN is `worst`."""

    @functools.wraps(function)
    def checked(truth: Any, forecast: Any, facts: Facts, **options: Any) -> PerWindow:
        check(truth, forecast, facts, data)
        with np.errstate(all="ignore"):
            values = function(truth, forecast, facts, **options)
        # The truth is finite and each function declares its own 0/0, so NaN comes of the forecast.
        return np.where(np.isnan(values), worst, values)

    return checked


R = TypeVar("R")


# More than there are invariants with a floor, or runs of a task, which come round and round.
KEPT = 32


def remembered(function: Callable[..., R]) -> Callable[..., R]:
    """`function` of a run and hashable arguments, which keeps its last `KEPT` results.

    For what is known of the truth, so that many models are scored against it for the price of one.
    Keyed by the run's own bytes: no reference to hand around, and no way to meet a stale one.
    """

    @functools.lru_cache(maxsize=KEPT)
    def kept(run: bytes, shape: tuple[int, ...], *arguments: Any) -> R:
        return function(np.frombuffer(run).reshape(shape), *arguments)

    @functools.wraps(function)
    def remember(run: np.ndarray, *arguments: Any) -> R:
        run = np.asarray(run, dtype=float)
        return kept(run.tobytes(), run.shape, *arguments)

    remember.cache_info = kept.cache_info  # type: ignore[attr-defined]
    return remember


SHAPES: dict[Data, str] = {
    "windows": "(windows, horizon, dim)",
    "free_runs": "(windows, horizon, dim)",
    "samples": "(windows, horizon, dim) and (samples, windows, horizon, dim)",
    "exponents": "(runs, exponents)",
}


def check(truth: Any, forecast: Any, facts: Facts, data: Data = "windows") -> None:
    """Raise ValueError unless these arrays can be scored: shapes fit, truth finite."""
    one = forecast.shape[1:] if data == "samples" else forecast.shape  # of one sample
    if truth.shape != one:
        raise ValueError(
            f"truth and forecast must have one shape, {SHAPES[data]}; "
            f"got {truth.shape} and {forecast.shape}"
        )
    if truth.ndim != (2 if data == "exponents" else 3) or 0 in forecast.shape:
        raise ValueError(
            f"truth and forecast must be {SHAPES[data]} with at least one of each; "
            f"got {truth.shape} and {forecast.shape}"
        )
    if data == "exponents":
        if not np.isfinite(truth).all():
            raise ValueError(f"the true exponents must be finite; got {truth}")
        return
    if facts.scale.shape != truth.shape[2:]:
        raise ValueError(
            f"Facts.scale must hold one value for each of the {truth.shape[2]} coordinates; "
            f"got shape {facts.scale.shape}"
        )
    if not np.isfinite(truth).all():
        window, step, coordinate = np.argwhere(~np.isfinite(truth))[0]
        raise ValueError(
            "truth must be finite; got "
            f"{truth[window, step, coordinate]} at window {window}, step {step}, coordinate "
            f"{coordinate}. Cut the windows where the truth ends."
        )


@dataclass(frozen=True)
class Score:
    """What one metric says about one forecast.

    values, statuses, censored: one entry a window if the metric is `per_window`, else one entry,
        the median over the windows and their worst status.
    status: of the forecast, `ok`, `diverged` or `nan`: its value is then the declared one, and is
        to be kept. Only `unsupported` (data too short) and `crash` come with the value NaN.
    censored: the metric reached the end of the truth: the value is a lower bound.
    floor: of an invariant, its value between independent true runs, see `noise_floor`; else None.
    """

    metric: Metric
    values: tuple[float, ...]
    statuses: tuple[str, ...]
    censored: tuple[bool, ...]
    message: str = ""
    floor: float | None = None

    @property
    def value(self) -> float:
        """The median over `values`."""
        return float(np.median(self.values))

    @property
    def status(self) -> str:
        """The worst of `statuses`."""
        return _worst_status(self.statuses)

    @property
    def normalised(self) -> float | None:
        """floor / value, at most 1: from 1, as good as the truth, to 0, `worst` or not finite.

        None for a metric without noise floor. (Invariants are distances, ideally 0.)
        """
        if self.floor is None or np.isnan(self.value):
            return None
        if self.value == self.metric.worst:
            return 0.0
        return 1.0 if self.value <= self.floor else self.floor / self.value


def score(
    truth: Any,
    forecast: Any,
    facts: Facts,
    *,
    data: Data = "windows",
    metrics: Iterable[str] | None = None,
) -> list[Score]:
    """One `Score` a metric: of every one registered for this kind of data, or of those named.

    Names may be of other kinds of data too, which are passed over, and may end with a horizon,
    as `smape_at_4`; see `find`. A metric that cannot be computed is a Score with its reason; it
    costs no other metric its row. Invariants come with their noise floor where there are two runs.
    Raises ValueError if the arrays' shapes differ or the truth is not finite, KeyError for a name.
    """
    check(truth, forecast, facts, data)
    asked = [find(name) for name in (METRICS if metrics is None else metrics)]
    return [_score(metric, truth, forecast, facts) for metric in asked if metric.data == data]


def _score(metric: Metric, truth: Any, forecast: Any, facts: Facts) -> Score:
    entries = len(truth) if metric.per_window else 1
    try:
        truth, forecast = metric.cut(truth, forecast, facts)
        values = metric.function(truth, forecast, facts)
        floor = noise_floor(metric, truth, facts)
    except TooShort as error:
        return _no_score(metric, entries, UNSUPPORTED, str(error))
    except Exception as error:  # one metric's bug is its own row, not the end of the others'
        return _no_score(metric, entries, CRASH, f"{type(error).__name__}: {error}")
    statuses = conditions(truth, forecast, facts, metric.data)
    bad = sum(status != OK for status in statuses)
    if not metric.per_window:
        values, statuses = np.median(values, keepdims=True), (_worst_status(statuses),)
    limit = metric.limit(truth, facts) if metric.limit else None
    return Score(
        metric,
        values=tuple(values.tolist()),
        statuses=statuses,
        censored=tuple(limit is not None and value >= limit for value in values.tolist()),
        message=f"{bad} of {len(truth)} forecasts diverged or are not finite" if bad else "",
        floor=floor,
    )


def noise_floor(metric: Metric, truth: Any, facts: Facts) -> float | None:
    """The value of an invariant between independent true runs, which nothing can be told from.

    Each run plays the forecast of the one before; the median over the runs. It holds for runs of
    this length and number only. None for a metric that is no invariant, and of a single run.
    """
    if metric.data != "free_runs" or len(truth) < 2:
        return None
    return _floor(truth, metric.name, metric.function, facts)


@remembered
def _floor(truth: Windows, name: str, function: Callable[..., PerWindow], facts: Facts) -> float:
    return float(np.median(function(truth, np.roll(truth, -1, axis=0), facts)))


def _no_score(metric: Metric, entries: int, status: str, message: str) -> Score:
    return Score(metric, (np.nan,) * entries, (status,) * entries, (False,) * entries, message)


def conditions(truth: Any, forecast: Any, facts: Facts, data: Data = "windows") -> tuple[str, ...]:
    """Each window is `nan`, `diverged` (infinite, or 1000 training deviations off) or `ok`."""
    if data == "exponents":  # −inf is a direction that the model does not have
        isnan, diverged = np.isnan(forecast).any(axis=1), np.isposinf(forecast).any(axis=1)
    else:
        with np.errstate(all="ignore"):
            distance = np.abs(forecast - truth) / facts.scale
        others = (0, 2, 3) if data == "samples" else (1, 2)
        isnan = np.isnan(forecast).any(axis=others)
        diverged = (distance > DIVERGED).any(axis=others)
    return tuple(np.where(isnan, NAN, np.where(diverged, DIVERGED_STATUS, OK)).tolist())


def _worst_status(statuses: tuple[str, ...]) -> str:
    return max(statuses, key=(OK, DIVERGED_STATUS, NAN, UNSUPPORTED, CRASH).index)
