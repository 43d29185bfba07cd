"""A reference for delay equations: Gauss collocation in extended precision on pieces of the delay.

The delay is divided into equal elements, on each of which the solution is the polynomial whose
slope fulfils the equation at the Gauss points. A delayed state is then the polynomial at the same
point of an earlier element: nothing is interpolated, and what breaks in the solution breaks at the
ends of elements. It shares nothing with `systems.integrate` but the tree, and needs one delay (or
several equal ones).
"""

import numpy as np
from jaxtyping import Float

from systems.catalog import System
from systems.expr import TIME
from systems.lower import evaluate, numpy_table

Long = np.longdouble
POINTS = (12, 10)  # Gauss points on an element, of the reference and of the one beside it
SWEEPS = 60  # of the fixed-point iteration on one element, at most


class CollocationReference:
    """Solutions that are `initial` (starts, dim) for all times before 0.

    `elements` a delay; `beside=True` makes another one with other elements and points.
    """

    def __init__(
        self, system: System, initial: Float[np.ndarray, "starts dim"], *, beside: bool = False
    ) -> None:
        delays = {delay.tau for delay in system.delays}
        if len(delays) != 1:
            raise ValueError(
                f"{system.name}: the reference needs one delay; {len(delays)} arrived."
            )
        self.system, [self.tau] = system, delays
        shortest = min(self.tau, system.period) / (16 if beside else 12)
        self.elements = int(np.ceil(self.tau / shortest))
        self.length = Long(self.tau) / self.elements
        self.points, self.weights = gauss(POINTS[beside])
        self.integrals = integral_weights(self.points, self.weights, self.points)
        self.method = f"Gauss collocation of {POINTS[False]} points, 64 bits, our own"
        self.past = np.array(initial, dtype=Long)  # (starts, dim)
        self.stages: list[np.ndarray] = []  # of each element, (starts, points, dim)
        self.begins = [self.past]
        self.slopes: list[np.ndarray] = []
        self.table = dict(numpy_table()) | {"number": Long}
        self.parameters = {name: Long(value) for name, value in system.parameters.items()}

    def advance(self, start: int, times: Float[np.ndarray, "times"]) -> Float[np.ndarray, "t dim"]:
        """The states of one start at `times`, rounded to double."""
        while float(self.length) * len(self.stages) < times[-1]:
            self._element()
        places = times.astype(Long) / self.length
        numbers = np.minimum(places.astype(int), len(self.stages) - 1)
        weights = self.length * integral_weights(self.points, self.weights, places - numbers)
        begins = np.array([self.begins[number][start] for number in numbers])
        slopes = np.array([self.slopes[number][start] for number in numbers])
        return (begins + np.einsum("tp,tpd->td", weights, slopes)).astype(float)

    def _element(self) -> None:
        """The next element, by fixed-point iteration to the rounding."""
        number, begin = len(self.stages), self.begins[-1]
        if number >= self.elements:
            delayed = self.stages[number - self.elements]
        else:
            delayed = np.repeat(self.past[:, None], len(self.points), axis=1)
        times = self.length * (number + self.points)
        stages = np.repeat(begin[:, None], len(self.points), axis=1)
        for _ in range(SWEEPS):
            slopes = self._slopes(times, stages, delayed)
            improved = begin[:, None] + self.length * (self.integrals @ slopes)
            change = np.abs(improved - stages).max()
            stages = improved
            if change <= 4 * np.finfo(Long).eps * np.abs(stages).max():
                break
        slopes = self._slopes(times, stages, delayed)
        self.stages.append(stages)
        self.slopes.append(slopes)
        self.begins.append(begin + self.length * np.einsum("p,spd->sd", self.weights, slopes))

    def _slopes(self, times: np.ndarray, states: np.ndarray, delayed: np.ndarray) -> np.ndarray:
        env = dict(self.parameters) | {TIME: times}
        env |= {name: states[..., i] for i, name in enumerate(self.system.states)}
        env |= {delay.name: delayed[..., delay.state] for delay in self.system.delays}
        for name, tree in self.system.let_trees.items():
            env[name] = evaluate(tree, env, self.table)
        columns = [evaluate(tree, env, self.table) for tree in self.system.equation_trees]
        return np.stack([np.broadcast_to(c, states.shape[:-1]) for c in columns], axis=-1)


def gauss(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss points and weights on [0, 1], in extended precision."""
    x = np.polynomial.legendre.leggauss(count)[0].astype(Long)
    for _ in range(3):  # Newton, from double to extended precision
        values, slopes = _legendre(count, x)
        x = x - values / slopes
    _, slopes = _legendre(count, x)
    return (x + 1) / 2, 1 / ((1 - x**2) * slopes**2)


def integral_weights(points: np.ndarray, weights: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """∫₀^end ℓ_j, (ends, points), ℓ_j the Lagrange polynomials of the Gauss points: by the Gauss
    rule itself, which is exact for them."""
    count = len(points)
    differences = ends[:, None, None] * points[:, None] - points  # (ends, places, points)
    result = np.empty((len(ends), count), dtype=Long)
    for j in range(count):
        others = np.arange(count) != j
        lagrange = np.prod(differences[:, :, others] / (points[j] - points[others]), axis=2)
        result[:, j] = ends * (lagrange @ weights)
    return result


def _legendre(count: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The Legendre polynomial of degree `count` and its derivative."""
    before, now = np.ones_like(x), x
    for k in range(2, count + 1):
        before, now = now, ((2 * k - 1) * x * now - (k - 1) * before) / k
    return now, count * (x * now - before) / (x * x - 1)
