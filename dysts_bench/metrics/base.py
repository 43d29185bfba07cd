"""What a metric is: a plain function of (truth, forecast, facts), registered with its meaning.

Shared parameters of every metric, said once:
    truth, forecast: (windows, horizon, dim), equal shapes, in the same units; the first step is
        the first after the context. Free runs are windows with a long horizon.
    facts: what a score needs beside the two arrays, see `Facts`.
Every metric returns one value a window.

Bad forecasts have declared values, so that failing is never cheaper than forecasting badly:
a value that cannot be computed because the forecast is NaN, infinite or overflows is the metric's
`worst`. Nothing is dropped and nothing is clipped. Truth that is not finite is an error.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

Windows = Float[np.ndarray, "windows horizon dim"]
Part = Float[np.ndarray, "windows first dim"]
PerWindow = Float[np.ndarray, " windows"]

METRICS: dict[str, Metric] = {}

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
    """

    name: str
    function: Callable[..., PerWindow]
    description: str
    unit: str
    better: Literal["higher", "lower"]
    ideal: float
    worst: float
    data: Literal["windows", "free_runs"] = "windows"
    per_window: bool = False
    limit: Callable[[Windows, Facts], float] | None = None
    invariant: frozenset[str] = frozenset()
    first: float | None = None

    def __call__(self, truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
        return self.function(*self.cut(truth, forecast, facts), facts)

    def cut(self, truth: Windows, forecast: Windows, facts: Facts) -> tuple[Part, Part]:
        """The part of both arrays that is scored; raises TooShort if they do not reach so far."""
        if self.first is None:
            return truth, forecast
        steps = max(1, round(self.first * facts.lyapunov_time / facts.dt))
        if truth.shape[1] < steps:
            raise TooShort(
                f"the first {self.first:g} Lyapunov times are {steps} steps, the windows have "
                f"{truth.shape[1]}; forecast further or leave this metric out"
            )
        return truth[:, :steps], forecast[:, :steps]


class TooShort(ValueError):
    """The data cannot carry this metric: too few points, or none where some are needed."""


def metric(
    *,
    unit: str,
    better: Literal["higher", "lower"],
    ideal: float,
    worst: float,
    data: Literal["windows", "free_runs"] = "windows",
    per_window: bool = False,
    limit: Callable[[Windows, Facts], float] | None = None,
    invariant: tuple[str, ...] = (),
    at: tuple[float, ...] = (),
) -> Callable[[Callable[..., PerWindow]], Callable[..., PerWindow]]:
    """Register a function as a metric under its own name; `Metric` says what each word means.

    at: also register `name_at_h`, the same metric over the first h Lyapunov times, for each h.
    """

    def register(function: Callable[..., PerWindow]) -> Callable[..., PerWindow]:
        checked = _checked(function, worst)
        summary = (function.__doc__ or "").strip().split("\n")[0]
        whole = Metric(
            name=function.__name__,
            function=checked,
            description=summary,
            unit=unit,
            better=better,
            ideal=ideal,
            worst=worst,
            data=data,
            per_window=per_window,
            limit=limit,
            invariant=frozenset(invariant),
        )
        METRICS[whole.name] = whole
        for h in at:
            name, note = f"{whole.name}_at_{h:g}", f"{summary} First {h:g} Lyapunov times only."
            METRICS[name] = replace(whole, name=name, description=note, first=h)
        return checked

    return register


def _checked(function: Callable[..., PerWindow], worst: float) -> Callable[..., PerWindow]:
    """The function behind its boundary: arrays are checked, a bad forecast's NaN is `worst`."""

    @functools.wraps(function)
    def checked(truth: Windows, forecast: Windows, facts: Facts, **options: float) -> PerWindow:
        check(truth, forecast, facts)
        with np.errstate(all="ignore"):
            values = function(truth, forecast, facts, **options)
        # The truth is finite and each function declares its own 0/0, so NaN comes of the forecast.
        return np.where(np.isnan(values), worst, values)

    return checked


def check(truth: Windows, forecast: Windows, facts: Facts) -> None:
    """Raise ValueError unless these arrays can be scored: shapes equal, truth finite."""
    if truth.shape != forecast.shape:
        raise ValueError(
            "truth and forecast must have one shape, (windows, horizon, dim); "
            f"got {truth.shape} and {forecast.shape}"
        )
    if truth.ndim != 3 or 0 in truth.shape:
        raise ValueError(
            "truth and forecast must be (windows, horizon, dim) with at least one of each; "
            f"got {truth.shape}"
        )
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
    """

    metric: Metric
    values: tuple[float, ...]
    statuses: tuple[str, ...]
    censored: tuple[bool, ...]
    message: str = ""

    @property
    def value(self) -> float:
        """The median over `values`."""
        return float(np.median(self.values))

    @property
    def status(self) -> str:
        """The worst of `statuses`."""
        return _worst_status(self.statuses)


def score(
    truth: Windows,
    forecast: Windows,
    facts: Facts,
    *,
    data: Literal["windows", "free_runs"] = "windows",
) -> list[Score]:
    """One `Score` for every registered metric of this kind of data, in order of registration.

    A metric that cannot be computed is a Score with its reason; it costs no other metric its row.
    Raises ValueError if the arrays' shapes differ or the truth is not finite.
    """
    check(truth, forecast, facts)
    return [
        _score(metric, truth, forecast, facts) for metric in METRICS.values() if metric.data == data
    ]


def _score(metric: Metric, truth: Windows, forecast: Windows, facts: Facts) -> Score:
    entries = len(truth) if metric.per_window else 1
    try:
        truth, forecast = metric.cut(truth, forecast, facts)
        values = metric.function(truth, forecast, facts)
    except TooShort as error:
        return _no_score(metric, entries, UNSUPPORTED, str(error))
    except Exception as error:  # one metric's bug is its own row, not the end of the others'
        return _no_score(metric, entries, CRASH, f"{type(error).__name__}: {error}")
    statuses = conditions(truth, forecast, facts)
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
    )


def _no_score(metric: Metric, entries: int, status: str, message: str) -> Score:
    return Score(metric, (np.nan,) * entries, (status,) * entries, (False,) * entries, message)


def conditions(truth: Windows, forecast: Windows, facts: Facts) -> tuple[str, ...]:
    """Each window is `nan`, `diverged` (infinite, or 1000 training deviations off) or `ok`."""
    with np.errstate(all="ignore"):
        distance = np.abs(forecast - truth) / facts.scale
    isnan = np.isnan(forecast).any(axis=(1, 2))
    diverged = (distance > DIVERGED).any(axis=(1, 2))
    return tuple(np.where(isnan, NAN, np.where(diverged, DIVERGED_STATUS, OK)).tolist())


def _worst_status(statuses: tuple[str, ...]) -> str:
    return max(statuses, key=(OK, DIVERGED_STATUS, NAN, UNSUPPORTED, CRASH).index)
