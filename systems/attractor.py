"""What a long trajectory says of an attractor: moments, bounds, divergence, dimension, stiffness.

All statistics are time averages over independent trajectories after their burn-in; standard errors
come from the scatter of the trajectories. Coordinates are the observed ones, which are bounded.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from systems.catalog import System
from systems.generate import trajectory

TRAJECTORIES = 8
DENSE = 4000  # points of each trajectory, 32 a period: moments, bounds
SPARSE = 1500  # points of each, a golden fraction of a period apart: dimension, divergence, …
GOLDEN = (math.sqrt(5) - 1) / 2  # out of step with any oscillation of the period
STILL = 1e-9  # a coordinate with less deviation, relative to its size, does not move
SCALING = 1e-3, 1e-5  # shares of all pairs between which the correlation sum is fitted


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error."""

    value: float
    error: float


@dataclass(frozen=True)
class Attractor:
    """Statistics of the observed coordinates (`mean`, `std`, `min`, `max`: one each), and of the
    vector field: `divergence` (per unit of system time; None where the right-hand side jumps, has
    delays or reads the time) and `stiffness` (see `stiffness`; None for the same). `dimension` is
    the correlation dimension (None for a delay equation), `initial_distance` the distance of the
    initial state, see `distance_from`."""

    mean: Float[np.ndarray, "observed"]
    std: Float[np.ndarray, "observed"]
    min: Float[np.ndarray, "observed"]
    max: Float[np.ndarray, "observed"]
    divergence: Estimate | None
    stiffness: float | None
    dimension: Estimate | None
    initial_distance: float


def measure_attractor(system: System, *, seed: int = 0) -> Attractor:
    """The statistics of the attractor that the catalog's initial state leads to.

    Raises `IntegrationError` where trajectories escape.
    """
    dense = _sample(system, DENSE, system.period / 32, seed)
    sparse = _sample(system, SPARSE, system.period * GOLDEN, seed)
    observed = system.observed(dense).reshape(-1, len(system.observables))
    points = system.observed(sparse).reshape(-1, len(system.observables))
    initial = system.observed(np.array([system.initial]))[0]
    differentiable = not (system.delays or system.discontinuous or system.reads_time)
    return Attractor(
        observed.mean(axis=0),
        observed.std(axis=0),
        observed.min(axis=0),
        observed.max(axis=0),
        # the longer runs: long cycles are averaged over whole ones, nearly
        mean_divergence(system, sparse) if differentiable else None,
        stiffness(system, sparse.reshape(-1, system.dimension)) if differentiable else None,
        None if system.delays else correlation_dimension(points),
        distance_from(points, initial),
    )


def _sample(system: System, points: int, dt: float, seed: int) -> np.ndarray:
    return trajectory(
        system, points, dt=dt, trajectories=TRAJECTORIES, seed=seed, observe="states", cache=False
    ).states


def mean_divergence(
    system: System, states: Float[np.ndarray, "trajectories times dim"]
) -> Estimate:
    """Time average of the trace of the Jacobian, per unit of system time: the sum of all exponents
    (Eckmann and Ruelle 1985, Reviews of Modern Physics 57, 617)."""
    traces = np.trace(system.jacobian()(states), axis1=-2, axis2=-1)
    runs = traces.mean(axis=1)
    return Estimate(float(runs.mean()), float(runs.std(ddof=1) / math.sqrt(len(runs))))


def stiffness(system: System, states: Float[np.ndarray, "points dim"]) -> float:
    """Mean over the attractor of max |Re eigenvalue of the Jacobian| × period: how many decay
    times of the fastest motion pass in one period. An explicit method of order 8 needs at least a
    sixth of so many steps for its stability. (The median misses relaxation oscillations, whose
    fast motion is short: 26 for BelousovZhabotinsky, which takes hundreds.)"""
    chosen = states[:: max(1, len(states) // 2000)]
    jacobians = system.jacobian()(chosen)
    finite = np.isfinite(jacobians).all(axis=(1, 2))  # a root has no slope at 0, say
    rates = np.abs(np.linalg.eigvals(jacobians[finite]).real).max(axis=1)
    return float(rates.mean() * system.period)


def correlation_dimension(points: Float[np.ndarray, "points dim"]) -> Estimate:
    """Slope of log C(r) against log r, C(r) the share of pairs of points closer than r.

    Fitted between two shares of all pairs (`SCALING`), each coordinate in units of its standard
    deviation (Grassberger and Procaccia 1983, Physica D 9, 189). The points are far apart in time,
    so that neighbours are not mere successors. The error is half the difference between the slopes
    of the lower and the upper half, and 2 D/√points for chance, in quadrature.
    """
    scaled = _scaled(points, points)
    if scaled.shape[1] == 0:
        return Estimate(0.0, 0.0)  # nothing moves
    n = len(scaled)
    pairs = n * (n - 1) // 2
    most, least = (max(2, int(share * pairs)) for share in SCALING)
    tree = cKDTree(scaled)
    radius = _radius_of(tree, scaled, most)
    close = tree.query_pairs(radius, output_type="ndarray")
    distances = np.sort(np.linalg.norm(scaled[close[:, 0]] - scaled[close[:, 1]], axis=1))
    distances = distances[distances > 1e-9]  # a cycle that closes on itself, or a fixed point
    if len(distances) < 100:
        return Estimate(0.0, 0.0)
    counts = np.unique(
        np.geomspace(min(least, len(distances) // 10), len(distances), 40).astype(int)
    )
    log_r, log_c = np.log(distances[counts - 1]), np.log(counts)
    slope, lower, upper = (
        float(np.polyfit(log_r[part], log_c[part], 1)[0])
        for part in (slice(None), slice(0, len(counts) // 2), slice(len(counts) // 2, None))
    )
    return Estimate(slope, math.hypot((upper - lower) / 2, 2 * slope / math.sqrt(n)))


def _radius_of(tree: cKDTree, points: np.ndarray, pairs: int) -> float:
    """A radius within which about `pairs` pairs lie."""
    low, high = 0.0, float(np.linalg.norm(np.ptp(points, axis=0)))
    for _ in range(40):
        middle = (low + high) / 2
        found = (int(tree.count_neighbors(tree, middle)) - len(points)) // 2
        if 0.9 * pairs < found < 1.1 * pairs:
            return middle
        low, high = (middle, high) if found < pairs else (low, middle)
    return high


def distance_from(
    points: Float[np.ndarray, "points dim"], state: Float[np.ndarray, "dim"]
) -> float:
    """Distance from `state` to the nearest of the points of an attractor, in units of the distance
    that 99 % of the points keep below to theirs (each coordinate in units of its deviation).

    Up to about 1 on the attractor. inf where the points do not move and `state` is elsewhere.
    """
    scaled = _scaled(points, np.vstack([points, state]))
    if scaled.shape[1] == 0:
        return 0.0 if np.allclose(points[0], state, rtol=1e-6, atol=1e-9) else math.inf
    tree = cKDTree(scaled[:-1])
    typical = np.quantile(tree.query(scaled[:-1], k=2)[0][:, 1], 0.99)
    return float(tree.query(scaled[-1])[0] / max(typical, 1e-6))


def _scaled(points: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`values` without the coordinates in which `points` do not move, in units of deviations."""
    deviation = points.std(axis=0)
    moves = deviation > STILL * np.maximum(np.abs(points).max(axis=0), 1e-300)
    return values[:, moves] / deviation[moves]
