"""Vector fields of one hidden layer, fitted in float64 by second-order steps, without JAX.

The field f(x) = φ(x) W, φ = [tanh(x A + a), 1], is linear in W, and so is an explicit solver's
step along a known path. Both are used: A and a are learned on derivatives of the data with W
eliminated (variable projection), and then W is solved for through the solver. Rows are states
(rows, dim); time is in sampling intervals.

Adam on the same loss stops at one-step errors of 5e-3, where this gets to 1e-6, in a quarter of the
time. What was tried and is worse: Levenberg-Marquardt on all weights at once, through the solver,
which squares a condition number of 1e10 (half the error, and forecasts a fifth shorter); and
eliminating W from the solver's step, whose path moves with W, so that steps are refused.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from models._regression import Regression

RIDGE = 1e-10  # of the eliminated W: on |targets|² = rows · outputs
HALF_WIDTH = 4  # of the central differences: their error is of order 8
REPEATS = 2  # of each solution through the solver: its path follows from the last one
DAMPING, LEAST_DAMPING, RELAXED, TIGHTENED = 1e-3, 1e-12, 4.0, 4.0
REFUSALS = 8  # in a row, after which a round gives up

Rows = Float[np.ndarray, "rows _columns"]


@dataclass(frozen=True)
class Hidden:
    """The layer tanh(x A + a)."""

    weights: Float[np.ndarray, "dim width"]
    bias: Float[np.ndarray, "width"]

    def features(self, x: Rows) -> Rows:
        return np.concatenate([np.tanh(x @ self.weights + self.bias), np.ones((len(x), 1))], axis=1)

    def moved(self, by: Float[np.ndarray, "inputs width"]) -> "Hidden":
        return Hidden(self.weights + by[1:], self.bias + by[0])


def derivatives(trajectories: Float[np.ndarray, "trajectories times dim"]) -> tuple[Rows, Rows]:
    """States and their change per sampling interval, by central differences.

    Noise in the data is amplified 1.2 times, in one-step differences 1.4 times.
    """
    times, dim = trajectories.shape[1:]
    m = min(HALF_WIDTH, (times - 1) // 2)
    if m < 1:
        return trajectories[:, 0], np.diff(trajectories, axis=1)[:, 0]
    change = np.zeros((len(trajectories), times - 2 * m, dim))
    for k in range(1, m + 1):
        size = math.comb(2 * m, m - k) / math.comb(2 * m, m) / k
        ahead, behind = trajectories[:, m + k : times - m + k], trajectories[:, m - k : -m - k]
        change += (-1) ** (k + 1) * size * (ahead - behind)
    return trajectories[:, m : times - m].reshape(-1, dim), change.reshape(-1, dim)


@dataclass(frozen=True)
class Eliminated:
    """The best W for a hidden layer: minimal |targets - φ W|² + RIDGE |scale · W|² = `cost`."""

    hidden: Hidden
    basis: Rows  # of the features, such that basis basisᵀ takes targets to their fit
    readout: Float[np.ndarray, "features outputs"]
    residual: Rows
    cost: float

    @classmethod
    def of(cls, hidden: Hidden, x: Rows, targets: Rows) -> "Eliminated":
        features = hidden.features(x)
        scale = np.sqrt((features**2).mean(axis=0))
        scale[scale == 0] = 1.0
        count = features.shape[1]
        penalised = np.concatenate([features / scale, math.sqrt(RIDGE) * np.eye(count)])
        orthogonal, triangle = np.linalg.qr(penalised)
        basis = orthogonal[: len(x)]
        readout = np.linalg.solve(triangle, basis.T @ targets) / scale[:, None]
        residual = targets - features @ readout
        return cls(hidden, basis, readout, residual, float((residual * targets).sum()))


def matched(
    hidden: Hidden, x: Rows, targets: Rows, rounds: int, damping: float
) -> tuple[Eliminated, float]:
    """`rounds` of Levenberg-Marquardt on A and a; also the damping to go on with.

    Kaufman's (1975) variable projection: a weight into unit i moves the fit by g ⊗ W[i], where g is
    the derivative of the unit's output, less what the features can make up for. So the matrix of
    the normal equations is (gᵀg') · (W[i] · W[i']), of the inputs' size whatever the outputs are.
    """
    now = Eliminated.of(hidden, x, targets)
    inputs = x.shape[1] + 1
    for _ in range(rounds):
        width = len(now.hidden.bias)
        slope = 1 - np.tanh(x @ now.hidden.weights + now.hidden.bias) ** 2
        slopes = np.concatenate([slope] + [slope * column[:, None] for column in x.T], axis=1)
        within = now.basis.T @ slopes
        readout = now.readout[:width]
        normal = slopes.T @ slopes - within.T @ within
        normal *= np.tile(readout @ readout.T, (inputs, inputs))
        pull = (slopes.T @ now.residual).reshape(inputs, width, -1) * readout
        diagonal = np.diag(normal)
        diagonal = np.maximum(diagonal, 1e-10 * diagonal.max())
        for _ in range(REFUSALS):
            damped = normal + damping * np.diag(diagonal)
            by = np.linalg.solve(damped, pull.sum(axis=2).ravel())
            trial = Eliminated.of(now.hidden.moved(by.reshape(inputs, width)), x, targets)
            if trial.cost < now.cost:
                now, damping = trial, max(damping / RELAXED, LEAST_DAMPING)
                break
            damping *= TIGHTENED
        else:
            break
    return now, damping


def solved(
    hidden: Hidden,
    readout: Float[np.ndarray, "features outputs"],
    now: Rows,
    following: Rows,
    substeps: int,
    ridges: Sequence[float],
) -> Iterator[tuple[float, Float[np.ndarray, "features outputs"]]]:
    """W such that the solver takes `now` to `following`, for each ridge, from large to small.

    Each begins with the path of the one before; at a path that diverges they end.
    """
    for ridge in sorted(ridges, reverse=True):
        for _ in range(REPEATS):
            average = _averaged(hidden, readout, now, substeps)
            if not np.isfinite(average).all():
                return
            regression = Regression.of(average, following - now)
            [(_, readout)] = regression.solutions((ridge,))
        yield ridge, readout


def _averaged(
    hidden: Hidden, readout: Float[np.ndarray, "features outputs"], x: Rows, substeps: int
) -> Rows:
    """φ averaged over the stages of the solver, which goes from x to x + average @ readout."""
    h, total = 1 / substeps, np.zeros((len(x), len(readout)))
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(substeps):
            one = hidden.features(x)
            two = hidden.features(x + h / 2 * (one @ readout))
            three = hidden.features(x + h / 2 * (two @ readout))
            four = hidden.features(x + h * (three @ readout))
            average = h / 6 * (one + 2 * two + 2 * three + four)
            total += average
            x = x + average @ readout
    return total
