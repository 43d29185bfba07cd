"""Small pictures as SVG paths: attractors, and forecasts beside the truth.

A report of 135 systems and 30 models has 4500 of them; matplotlib would take 50 ms for each. What
has axes to be read is drawn by matplotlib (figures.py).
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

from dysts_bench.portraits import plane
from systems import IntegrationError, System

POINTS, PER_PERIOD = 2400, 48  # of an attractor
LAG = PER_PERIOD // 4  # of a single coordinate
BOX = (320, 240)  # width and height of a projection, in SVG units
WIDE, HIGH = 1000, 150  # of a forecast


@dataclass(frozen=True)
class Projection:
    """A picture of an attractor seen along one direction: `path` in a BOX."""

    across: str
    up: str
    path: str


@dataclass(frozen=True)
class Course:
    """Truth and forecast of one coordinate over a test window, WIDE × HIGH; `right_until` is where
    the valid prediction time ends, in the same units (None: another metric is primary)."""

    truth: str
    forecast: str
    right_until: float | None


def orbit(system: System) -> Float[np.ndarray, "times dim"] | None:
    """A trajectory on the attractor, of observed coordinates; None where it escapes."""
    try:
        run = system.trajectory(POINTS, points_per_period=PER_PERIOD, precision="double")
    except IntegrationError:
        return None
    return run.states[0]


def thumbnail(run: Float[np.ndarray, "times dim"]) -> str:
    """The path of an attractor seen from the side where it spreads most."""
    return _fitted(plane(run, LAG))


def projections(system: System, run: Float[np.ndarray, "times dim"]) -> list[Projection]:
    """The first three observed coordinates in pairs; of a single one, against itself a quarter of
    a period before."""
    names = list(system.observables)
    if len(names) == 1:
        return [Projection(f"{names[0]}, a quarter of a period before", names[0], thumbnail(run))]
    return [
        Projection(names[i], names[j], _fitted(run[:, [i, j]]))
        for i, j in combinations(range(min(3, len(names))), 2)
    ]


def course(
    truth: Float[np.ndarray, " steps"],
    forecast: Float[np.ndarray, " steps"],
    right_for: float | None,
) -> Course:
    """A forecast beside the truth; `right_for` is a share of the steps. What leaves the picture is
    drawn at its edge, what is not finite ends the line."""
    middle, half = (truth.max() + truth.min()) / 2, 0.6 * max(np.ptp(truth), 1e-300)

    def line(values: np.ndarray) -> str:
        bad = np.flatnonzero(~np.isfinite(values))
        values = values[: bad[0] if len(bad) else None]
        up = HIGH / 2 * (1 - np.clip((values - middle) / half, -1, 1))
        return path(np.stack([np.arange(len(up)) * WIDE / max(len(truth) - 1, 1), up], axis=1))

    return Course(line(truth), line(forecast), None if right_for is None else WIDE * right_for)


def _fitted(points: Float[np.ndarray, "points 2"]) -> str:
    low, size = points.min(axis=0), np.ptp(points, axis=0)
    part = (points - low) / np.where(size > 0, size, 1.0)
    part[:, 1] = 1 - part[:, 1]  # SVG counts down
    return path(4 + part * (np.array(BOX) - 8))


def path(points: Float[np.ndarray, "points 2"]) -> str:
    """Points as the `d` of an SVG path, in whole units, step by step; empty without points."""
    whole = np.rint(points).astype(int)
    if len(whole) == 0:
        return ""
    steps = np.diff(whole, axis=0)
    steps = steps[steps.any(axis=1)]
    (x, y) = whole[0]
    return f"M{x} {y}l{' '.join(map(str, steps.ravel()))}" if len(steps) else f"M{x} {y}h1"
