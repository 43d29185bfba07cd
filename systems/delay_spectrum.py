"""Lyapunov exponents of delay equations: tangent vectors are pieces of history, kept orthonormal.

The state of a delay equation is its present value x(t) and the piece of history that will be read
again. Tangent solutions of the exact linearised equation, dv/dt = J v + Jᵈ v(t - τ), are followed
together with the system by the compiled driver, and made orthonormal again and again in

    ⟨v, w⟩ = Σ_i v_i(t) w_i(t) + Σ_d (1/τ_d) ∫ v_d(s) w_d(s) ds  over  s in [t - τ_d, t],

where d runs over the delayed components and τ_d is the longest delay of each (Farmer 1982, Physica
D 4, 366; Breda and Van Vleck 2014, Numerische Mathematik 126, 225). Nothing is discretised for it:
all vectors share their steps, so that a step of history is one polynomial a vector on one interval;
Gauss-Legendre nodes integrate their products exactly, and the change to the orthonormal vectors is
linear in the coefficients that the driver stores.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from systems import llvm
from systems.catalog import System
from systems.dop853_kernel import NEWEST, NEXT_STOP, NEXT_TIME, OLDEST, STARTED
from systems.integrate import IntegrationError, _breaking_points, _Run

TOLERANCE = 1e-9  # of the tangent dynamics: far below the statistical error
MOST = 48  # exponents; a spectrum whose sum is still positive then has no Kaplan-Yorke dimension
PILOT = 150  # delays over which the number of exponents is found
# The shortest that a vector may become, relative to its part along the others, between two
# orthonormalisations: a tenth of the digits that the tolerance leaves.
INDEPENDENT = 1e-6
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)  # exact to degree 15; products have 14
_NODES, _WEIGHTS = (_NODES + 1) / 2, _WEIGHTS / 2

Measure = Callable[[System, Float[np.ndarray, "dim"], float], Float[np.ndarray, "exponents"]]


def history_exponents(system: System) -> Measure:
    """measure(system, state, length): the leading exponents of one run of at least `length`
    (system time), through a history that was `state` for long.

    As many as determine the Kaplan-Yorke dimension and some more, at most `MOST`. Raises
    `IntegrationError` where the right-hand side jumps: the tangent dynamics would miss the jumps.
    """
    if system.discontinuous:
        raise IntegrationError(
            f"{system.name}: the right-hand side jumps and has delays; exponents of such systems "
            "are not measured. Replace `sign` and `heaviside` by steep smooth functions (tanh)."
        )
    number = exponents_needed(system)

    def measure(
        system: System, state: Float[np.ndarray, "dim"], length: float
    ) -> Float[np.ndarray, "exponents"]:
        return leading_exponents(system, state, length, number)

    return measure


def exponents_needed(system: System) -> int:
    """The exponents after which their sum turns negative in a short run, and a fifth more: a
    longer run may move the turn."""
    longest = max(delay.tau for delay in system.delays)
    number = 4
    while True:
        found = leading_exponents(system, np.array(system.initial), PILOT * longest, number)
        negative = np.flatnonzero(np.cumsum(found) < 0)
        if len(negative):
            return min(int(negative[0]) + 2 + int(negative[0]) // 5, MOST)
        if number == MOST:
            return MOST
        number = min(2 * number, MOST)


def leading_exponents(
    system: System, state: Float[np.ndarray, "dim"], length: float, number: int
) -> Float[np.ndarray, "number"]:
    """The `number` largest exponents, in descending order of the growth of areas and volumes.

    A tenth of `length`, and ten delays at least, is spent before on the turning of the vectors.
    """
    segment = max(delay.tau for delay in system.delays)
    for _ in range(8):
        exponents = _stretching(system, state, length, number, segment)
        if exponents is not None:
            return exponents
        segment /= 2
    raise IntegrationError(f"{system.name}: the tangent histories cannot be kept apart.")


def _stretching(
    system: System,
    state: Float[np.ndarray, "dim"],
    length: float,
    number: int,
    segment: float,
) -> Float[np.ndarray, "number"] | None:
    """Mean growth rates of an orthonormal frame, restored after each `segment`; None where a vector
    becomes parallel to the others within one."""
    frame = _Frame(system, state, number)
    settled = frame.time + max(0.1 * length, 10 * frame.longest)
    while frame.time < settled:
        if frame.stretched(segment) is None:
            return None
    begun, growth = frame.time, np.zeros(number)
    while frame.time < begun + length:
        stretched = frame.stretched(segment)
        if stretched is None:
            return None
        growth += stretched
    return growth / (frame.time - begun)


class _Frame:
    """A trajectory and `number` tangent histories on their way."""

    def __init__(self, system: System, state: Float[np.ndarray, "dim"], number: int) -> None:
        self.system, self.n, self.number = system, system.dimension, number
        self.reach = {
            component: max(d.tau for d in system.delays if d.state == component)
            for component in sorted({delay.state for delay in system.delays})
        }
        self.longest = max(self.reach.values())
        joint = np.concatenate([state, np.zeros(self.n * number)])
        tangent = llvm.compile_tangent(system, number)
        self.run = _Run(tangent, joint, 0.0, TOLERANCE, TOLERANCE, 0.0)
        # a history of steps in place of the constant one, which no vector may have in common
        self._advance(10 * self.longest)
        self._plant()

    @property
    def time(self) -> float:
        return float(self.run.control[0])

    def stretched(self, segment: float) -> Float[np.ndarray, "number"] | None:
        """Logarithms of the growth over `segment` or a little more (a whole number of steps)."""
        self._advance(segment)
        frame = self._samples()
        triangle = np.linalg.qr(frame, mode="r")
        growth = np.abs(np.diag(triangle))
        if not (growth > INDEPENDENT * np.linalg.norm(frame, axis=0)).all():
            return None
        self._combine(np.linalg.inv(triangle))
        return np.log(growth)

    def _advance(self, duration: float) -> None:
        self.run.counters[NEXT_TIME] = 0
        times, out = np.array([self.time + duration]), np.empty((1, len(self.run.states)))
        self.run.to(times, out, self.system.name, np.iinfo(np.int64).max, np.inf)

    def _plant(self) -> None:
        """Begin the vectors as cosines of the history, each faster than the one before."""

        def cosine(time: np.ndarray) -> np.ndarray:
            past = (time[..., None, None] - self.time) / self.longest
            vector, component = np.arange(self.number)[:, None], np.arange(self.n)
            return np.cos(np.pi * vector * past + 1.7 * (vector + 1) * component)

        steps, rows = self._steps()
        values = cosine(steps[:, :1] + steps[:, 1:2] * _NODES)  # (steps, nodes, vectors, n)
        fitted = np.linalg.solve(_basis(_NODES), values.reshape(len(steps), 8, -1))
        steps[:, 3:].reshape(-1, 8, 1 + self.number, self.n)[:, :, 1:] = fitted.reshape(
            values.shape
        )
        self.run.history[rows] = steps
        self.run.states[self.n :] = cosine(np.array(self.time)).ravel()
        # the slopes of the vectors jump here, and later derivatives after each delay
        self.run.stops = self.time + _breaking_points(sorted({d.tau for d in self.system.delays}))
        self.run.counters[NEXT_STOP] = 0
        self.run.counters[STARTED] = 0  # the driver evaluates the slopes anew

    def _samples(self) -> Float[np.ndarray, "samples number"]:
        """Rows whose sum of products is the inner product of two vectors."""
        steps, _ = self._steps()
        coefficients = steps[:, 3:].reshape(-1, 8, 1 + self.number, self.n)[:, :, 1:]
        parts = [self.run.states[self.n :].reshape(self.number, self.n).T]
        for component, reach in self.reach.items():
            begin = np.maximum(steps[:, 0], self.time - reach)
            length = np.maximum(steps[:, 2] - begin, 0.0)  # 0: older than the delay
            nodes = (begin - steps[:, 0])[:, None] + length[:, None] * _NODES
            values = _basis(nodes / steps[:, 1:2]) @ coefficients[..., component]
            weights = np.sqrt(length[:, None] * _WEIGHTS / reach)
            parts.append((weights[..., None] * values).reshape(-1, self.number))
        return np.concatenate(parts)

    def _combine(self, columns: Float[np.ndarray, "number number"]) -> None:
        """Replace the vectors by combinations of them: present, slopes and history."""
        steps, rows = self._steps()
        polynomials = steps[:, 3:].reshape(-1, 8, 1 + self.number, self.n)
        polynomials[:, :, 1:] = np.einsum("srvi,vw->srwi", polynomials[:, :, 1:], columns)
        self.run.history[rows] = steps
        for present in (self.run.states, self.run.stages[0]):
            vectors = present[self.n :].reshape(self.number, self.n)
            present[self.n :] = (columns.T @ vectors).ravel()

    def _steps(self) -> tuple[Float[np.ndarray, "steps width"], Float[np.ndarray, "steps"]]:
        """The stored steps in order of time, and where they stand in the ring."""
        oldest, newest = self.run.counters[OLDEST], self.run.counters[NEWEST]
        rows = np.arange(oldest, newest) % len(self.run.history)
        return self.run.history[rows], rows


def _basis(x: Float[np.ndarray, "*nodes"]) -> Float[np.ndarray, "*nodes 8"]:
    """What the coefficients of dense output multiply: 1, x, xy, x²y, … with y = 1 - x."""
    columns = [np.ones_like(x)]
    for power in range(7):
        columns.append(columns[-1] * (x if power % 2 == 0 else 1.0 - x))
    return np.stack(columns, axis=-1)
