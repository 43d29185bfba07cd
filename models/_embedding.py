"""Delay embedding of a series: its delay by mutual information, its dimension by false neighbours.

Both look at training data only. Source: Fraser & Swinney, Phys. Rev. A 33, 1134 (1986); Kennel,
Brown & Abarbanel, Phys. Rev. A 45, 3403 (1992).
"""

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree
from scipy.special import digamma

from models.base import Trajectories

Series = Float[np.ndarray, "trajectories times"]

POINTS = 2000  # of a series are enough for either estimate
NEIGHBOURS = 3  # of a point, by which `mutual_information` measures how dense they lie
TOO_FAR = 15.0  # a neighbour is false if one coordinate more moves it away by this factor
LARGEST = 2.0  # or to a distance of so many standard deviations
FALSE_SHARE = 0.02  # of neighbours that may be false


def embedding(
    train: Trajectories,
    span: int,
    *,
    delay: int | None = None,
    dimension: int | None = None,
    largest: int = 5,
) -> tuple[int, int]:
    """(delay, dimension) of delay vectors, with (dimension - 1) · delay <= `span`.

    What is not given is the median over coordinates, those that never move left out, and the
    dimension at most `largest`.
    """
    moving = [x for x in np.moveaxis(train, 2, 0) if np.ptp(x) > 0]
    longest = min(span // max(1, (dimension or 2) - 1), train.shape[1] // 4)
    if delay is None:
        delays = [delay_of_least_information(x, longest) for x in moving if longest > 0]
        delay = round(float(np.median(delays))) if delays else 1
    if dimension is None:
        largest = max(1, min(largest, 1 + min(span, train.shape[1] // 4) // delay))
        found = [dimension_without_false_neighbours(x, delay, largest) for x in moving]
        dimension = round(float(np.median(found))) if found else 1
    return delay, dimension


def delay_of_least_information(series: Series, longest: int) -> int:
    """The first local minimum, in steps, of the mutual information of x(t) and x(t + delay).

    `longest` where it falls all the way.
    """
    times = series.shape[1]
    starts = np.arange(times - longest - 1)
    starts = starts[:: max(1, starts.size * len(series) // POINTS)]
    before = np.inf
    for delay in range(1, longest + 1):
        now, after = (
            mutual_information(series[:, starts].ravel(), series[:, starts + later].ravel())
            for later in (delay, delay + 1)
        )
        if now < before and now <= after:
            return delay
        before = now
    return longest


def mutual_information(x: Float[np.ndarray, " times"], y: Float[np.ndarray, " times"]) -> float:
    """In nats, by distances to nearest neighbours, each series in its standard deviations.

    ψ(n) + ψ(k) − mean(ψ(n_x) + ψ(n_y)): n_x is how many points (the point itself included) are
    nearer to it in x than its k-th neighbour is in the plane, in the maximum norm.
    Source: Kraskov, Stögbauer & Grassberger, Phys. Rev. E 69, 066138 (2004), equation 8, k = 3.
    """
    plane = np.stack([x, y], axis=1) / [x.std(), y.std()]
    distances, _ = cKDTree(plane).query(plane, NEIGHBOURS + 1, p=np.inf)
    nearer = distances[:, -1] * (1 - 1e-9)  # the k-th itself is not nearer
    loss = 0.0
    for values in plane.T:
        ordered = np.sort(values)
        last = np.searchsorted(ordered, values + nearer, side="right")
        count = last - np.searchsorted(ordered, values - nearer, side="left")
        # fewer only if several are as far as the k-th
        loss += digamma(np.maximum(count, NEIGHBOURS)).mean()
    return max(0.0, float(digamma(len(x)) + digamma(NEIGHBOURS) - loss))


def dimension_without_false_neighbours(series: Series, delay: int, largest: int) -> int:
    """The least dimension of which at most FALSE_SHARE of nearest neighbours are false."""
    for dimension in range(1, largest):
        if false_neighbours(series, delay, dimension) <= FALSE_SHARE:
            return dimension
    return largest


def false_neighbours(series: Series, delay: int, dimension: int) -> float:
    """The share of nearest neighbours that the next coordinate shows to be far apart.

    Vectors are taken a delay or more apart, so that neighbours are not such because of time.
    """
    starts = np.arange(series.shape[1] - dimension * delay)
    starts = starts[:: max(delay, starts.size * len(series) // POINTS)]
    columns = [series[:, starts + k * delay].ravel() for k in range(dimension + 1)]
    vectors, following = np.stack(columns[:-1], axis=1), columns[-1]
    distances, nearest = cKDTree(vectors).query(vectors, 2)
    distance, nearest = distances[:, 1], nearest[:, 1]
    moved = np.abs(following - following[nearest])
    apart = moved > TOO_FAR * distance
    return float((apart | (np.hypot(distance, moved) > LARGEST * series.std())).mean())
