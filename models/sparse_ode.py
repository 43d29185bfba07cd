"""Equations from data: a sparse polynomial vector field, identified from samples and integrated.

Derivatives are not to be had by differences from 30 samples a period. So none are taken: the
equations are fitted in their weak form, in which a test function carries the derivative, and what
its sum over samples leaves out is corrected by the model's own trajectories. Shapes and units are
those of models.base; a field is per sample, `equations_` are per unit of the system's time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import comb
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from models._monomials import Library
from models._regression import Regression
from models._tuning import STEPS, best_on_free_runs, free_runs, ranked_on_free_runs, split
from models.base import (
    DIVERGED,
    Differentiable,
    Forecast,
    States,
    Tangents,
    Trajectories,
    Windows,
)

# (degree, power): all monomials up to the degree, and the powers of single coordinates. These are
# for sines and edges of one coordinate, which a full library of that degree could not afford.
LIBRARIES = ((1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (2, 9), (3, 15))
SCOUTING_THRESHOLDS, SCOUTING_RIDGES = (1e-4,), (1e-12,)
LEADERS = 3
CORRECTIONS = 4  # of the error of the weak form; on Rössler's equations each takes 3 digits off it
CORRECTING_ROWS = 600


@dataclass(kw_only=True)
class SINDy(Differentiable):
    """Sparse identification of nonlinear dynamics (Brunton, Proctor & Kutz 2016), in weak form.

    x' = W p(x), where p holds the monomials of one of the `libraries` (of at most `limit`). For a
    test function φ on 2 · half_width + 1 samples, Σ φ W p(x) = -Σ φ' x is a linear regression, at
    every time one row (Messenger & Bortz 2021). Of each equation, terms are struck out that
    contribute less than `threshold` of the rate of change (root mean squares), and the others are
    fitted again, until none is left to strike out. What the sum over samples leaves out, 5e-4 to
    1e-12 of a state, is corrected (`WeakSystem.corrected`). `equations_` holds the result as text.

    The state now is all that it looks at. A free run costs 1 μs a step on Lorenz's equations, a fit
    0.5 s there and some 10 s on stiff ones with the largest library. It wins where the right-hand
    side is a polynomial and every state is observed: there the equations are found, and a forecast
    is as good as the data's last digits. It loses where a state is hidden, where no polynomial of
    this size is the right-hand side, and where something happens within a sample: HyperRossler's
    spikes and AtmosphericRegime's turns last one, and not even their own equations are found there.
    Noise is averaged over the test function only, and a forecast starts from the last state as it
    was seen: at 1 % of noise it is no better than the S-map, 3 Lyapunov times of Lorenz's
    equations instead of 25. Of ten states only quadratic libraries are within `limit`.
    """

    libraries: tuple[tuple[int, int], ...] = LIBRARIES
    half_widths: tuple[int, ...] = (2, 8)
    thresholds: tuple[float, ...] = (0.0, 1e-6, 1e-4, 1e-3, 1e-2, 0.1)
    ridges: tuple[float, ...] = (1e-18, 1e-6)
    limit: int = 130

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        fit_on, held_out = split(train, validation)
        runs = free_runs(held_out, context=1)
        systems = self._systems(fit_on)
        scouted = (
            trial
            for system in systems.values()
            for trial in system.trials(SCOUTING_THRESHOLDS, SCOUTING_RIDGES)
        )
        ranked = ranked_on_free_runs(scouted, PolynomialField.run_briefly, runs)
        # The correction takes most of the time of a fit, so only the leaders get it.
        leaders = ranked[:LEADERS]
        for chosen, field in ranked[:LEADERS]:
            place = chosen["library"], chosen["half_width"]
            systems[place, True] = systems[place, False].corrected(field, fit_on)
            leaders += systems[place, True].trials(SCOUTING_THRESHOLDS, SCOUTING_RIDGES)
        found, _ = best_on_free_runs(leaders, PolynomialField.run, runs)
        best = systems[(found["library"], found["half_width"]), found["corrected"]]
        trials = best.trials(self.thresholds, self.ridges)
        self.chosen_, self.field_ = best_on_free_runs(trials, PolynomialField.run, runs)
        self.equations_ = self.field_.equations(dt)
        self.parameters_ = int(np.count_nonzero(self.field_.weights))
        self.context_needed_ = self.context_used_ = 1

    def _systems(
        self, train: Trajectories
    ) -> dict[tuple[tuple[tuple[int, int], int], bool], "WeakSystem"]:
        """The linear systems of all candidates, by ((library, half_width), corrected)."""
        dim = train.shape[2]
        found = {}
        for degree, power in self.libraries:
            if comb(degree + dim, dim) + dim * (power - degree) > self.limit:
                continue
            library = polynomial_library(dim, degree, power)
            signals = monomials(library, train)
            for half_width in self.half_widths:
                if 2 * half_width < train.shape[1]:
                    weak = WeakForm.of(half_width)
                    chosen = {"library": (degree, power), "half_width": half_width}
                    rows = weak.values_of(signals), weak.rates_of(train)
                    system = WeakSystem(chosen | {"corrected": False}, library, weak, *rows)
                    found[((degree, power), half_width), False] = system
        return found

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return self.field_.run(context, horizon)

    def _state(self, context: Windows) -> States:
        return context[:, -1]

    def _advance(self, state: States, tangents: Tangents) -> tuple[States, Tangents]:
        from models._sparse_ode_loops import field_tangent

        library = self.field_.library
        return field_tangent(
            self.field_.weights,
            library.parents,
            library.variables,
            np.ascontiguousarray(state),
            np.ascontiguousarray(tangents),
        )

    @classmethod
    def small(cls) -> "SINDy":
        return cls(libraries=((1, 1), (2, 2)), half_widths=(2,), thresholds=(0.0, 1e-3))


@dataclass(frozen=True)
class WeakSystem:
    """rates = values @ weights: the weak form of the equations, one row for every time."""

    chosen: dict[str, Any]
    library: Library
    weak: "WeakForm"
    values: Float[np.ndarray, "rows monomials"]
    rates: Float[np.ndarray, "rows dim"]

    def trials(
        self, thresholds: Sequence[float], ridges: Sequence[float]
    ) -> Iterator[tuple[dict[str, Any], "PolynomialField"]]:
        regression = Regression.of(self.values, self.rates)
        for ridge in ridges:
            before = None
            for threshold, weights in sparse_path(regression, thresholds, ridge):
                field = PolynomialField.of(self.library, weights)
                if before is None or field.terms < before:  # else it is the same field again
                    found = {"threshold": threshold, "ridge": ridge, "terms": field.terms}
                    yield self.chosen | found, field
                before = field.terms

    def corrected(self, field: "PolynomialField", train: Trajectories) -> "WeakSystem":
        """On fewer rows, without the error of the weak form, which is that of a sum over samples.

        The model's own trajectories obey the model's equations. By how much they fail the weak form
        is its error on trajectories that are next to the data's, and is taken off the data's rates.
        """
        width = len(self.weak.values) - 1
        thin = -(-len(self.values) // CORRECTING_ROWS)
        starts = train[:, : train.shape[1] - width].reshape(-1, 1, train.shape[2])[::thin]
        values, rates = self.values[::thin], self.rates[::thin]
        system = replace(self, chosen=self.chosen | {"corrected": True}, values=values, rates=rates)
        for correction in range(CORRECTIONS):
            if correction > 0:
                ((_, field),) = system.trials(SCOUTING_THRESHOLDS, SCOUTING_RIDGES)
            own = np.concatenate([starts, field.run(starts, width)], axis=1)
            error = self.weak.rates_of(own)
            error -= self.weak.values_of(monomials(field.library, own)) @ field.weights
            error[~np.isfinite(error).all(axis=1)] = 0.0  # a start from which the model diverges
            system = replace(system, rates=rates - error)
        return system


@dataclass(frozen=True)
class WeakForm:
    """A test function: Σ values x' = Σ slopes x, exact for polynomials x(t) of degree 4 m.

    On samples k = -m … m the values are C(2m, m + k)², a bell √m wide, over their sum. With each
    sample twice a node, the sum says that the divided difference of highest order vanishes.
    """

    values: Float[np.ndarray, "samples"]
    slopes: Float[np.ndarray, "samples"]

    @classmethod
    def of(cls, half_width: int) -> "WeakForm":
        offsets = np.arange(-half_width, half_width + 1)
        values = np.array([comb(2 * half_width, half_width + k) ** 2 for k in offsets], dtype=float)
        values /= values.sum()
        gaps = offsets[:, None] - offsets + np.eye(len(offsets))  # 1 on the diagonal, taken off
        return cls(values, 2 * values * ((1 / gaps).sum(axis=1) - 1))

    def values_of(
        self, signals: Float[np.ndarray, "trajectories times signals"]
    ) -> Float[np.ndarray, "rows signals"]:
        return _slide(self.values, signals)

    def rates_of(
        self, signals: Float[np.ndarray, "trajectories times signals"]
    ) -> Float[np.ndarray, "rows signals"]:
        return _slide(self.slopes, signals)


def _slide(
    weights: Float[np.ndarray, "samples"],
    signals: Float[np.ndarray, "trajectories times signals"],
) -> Float[np.ndarray, "rows signals"]:
    rows = signals.shape[1] - len(weights) + 1
    total = np.zeros((len(signals), rows, signals.shape[2]))
    for k, weight in enumerate(weights):
        total += weight * signals[:, k : k + rows]
    return total.reshape(-1, signals.shape[2])


def polynomial_library(dim: int, degree: int, power: int) -> Library:
    """All monomials up to `degree`, then the powers of each coordinate up to `power`."""
    full = Library.build(dim, 1, 1, degree)
    parents, variables, degrees = list(full.parents), list(full.variables), list(full.degrees)
    for d in range(dim):
        last = 0
        for order in range(1, power + 1):
            if order <= degree:
                of_last = (full.parents == last) & (full.variables == d) & (full.degrees == order)
                last = int(np.flatnonzero(of_last)[0])
            else:
                parents.append(last)
                variables.append(d)
                degrees.append(order)
                last = len(parents) - 1
    return Library(dim, 1, 1, np.array(parents), np.array(variables), np.array(degrees))


def monomials(
    library: Library, states: Float[np.ndarray, "trajectories times dim"]
) -> Float[np.ndarray, "trajectories times monomials"]:
    return np.moveaxis(library.values(np.moveaxis(states, 2, 0)), 0, 2)


def sparse_path(
    regression: Regression, thresholds: Sequence[float], ridge: float
) -> Iterator[tuple[float, Float[np.ndarray, "features dim"]]]:
    """Least squares with a ridge, without the terms below a threshold of their equation's rates.

    Thresholds ascend: each starts from the terms that the one before has left.
    """
    count, dim = len(regression.scale), regression.moments.shape[1]
    size = np.linalg.norm(regression.triangle, axis=0)  # root mean squares, times √rows
    rates = np.linalg.norm(regression.moments, axis=0)
    # [features, rates] above [√ridge, 0]: QR, which does not square what nearly vanishes
    rank = len(regression.triangle)
    system = np.zeros((rank + count, count + dim))
    system[:rank, :count], system[:rank, count:] = regression.triangle, regression.moments
    system[rank:, :count] = np.sqrt(ridge) * np.eye(count)
    reduced = np.asarray(np.linalg.qr(system, mode="r"))[:count]
    left = [(np.arange(count), _solved(reduced, np.arange(count), count + d)) for d in range(dim)]
    for threshold in thresholds:
        weights = np.zeros((count, dim))
        for d, (kept, found) in enumerate(left):
            strong = np.abs(found) * size[kept] >= threshold * rates[d]
            while not strong.all():
                kept = kept[strong]
                found = _solved(reduced, kept, count + d)
                strong = np.abs(found) * size[kept] >= threshold * rates[d]
            left[d] = kept, found
            weights[kept, d] = found / regression.scale[kept]
        yield threshold, weights


def _solved(
    triangle: Float[np.ndarray, "features all"], kept: Int[np.ndarray, "kept"], target: int
) -> Float[np.ndarray, "kept"]:
    """The least-squares solution of columns `kept` for column `target`."""
    n = len(kept)
    if n == 0:
        return np.empty(0)
    columns = triangle[:, np.append(kept, target)]
    if n < len(triangle):
        columns = np.asarray(np.linalg.qr(columns, mode="r"))
    return np.linalg.solve(columns[:n, :n], columns[:n, n])


@dataclass(frozen=True)
class PolynomialField:
    """x' = weights^T p(x), time in samples."""

    library: Library
    weights: Float[np.ndarray, "monomials dim"]

    @classmethod
    def of(cls, library: Library, weights: Float[np.ndarray, "monomials dim"]) -> "PolynomialField":
        """With the monomials that are used, and those of which they are products."""
        needed = np.zeros(len(weights), dtype=bool)
        needed[: library.dim + 1] = True
        for term in np.flatnonzero(weights.any(axis=1)):
            while not needed[term]:
                needed[term] = True
                term = library.parents[term]
        kept = np.flatnonzero(needed)
        parents = np.searchsorted(kept, library.parents[kept])
        slim = Library(library.dim, 1, 1, parents, library.variables[kept], library.degrees[kept])
        return cls(slim, weights[kept])

    @property
    def terms(self) -> int:
        return int(np.count_nonzero(self.weights))

    def run(self, context: Windows, horizon: int) -> Forecast:
        from models._sparse_ode_loops import run_field

        return run_field(
            self.weights,
            self.library.parents,
            self.library.variables,
            np.ascontiguousarray(context[:, -1]),
            horizon,
            DIVERGED,
        )

    def run_briefly(self, context: Windows, horizon: int) -> Forecast:
        """Without the test of endurance, which is too dear for what is only scouted."""
        return self.run(context, min(horizon, STEPS))

    def equations(self, dt: float) -> tuple[str, ...]:
        """One line a coordinate, such as `x1' = 2.5 x0 - 1 x1 x2^2`, in standardised units."""
        names = [self._name(term) for term in range(len(self.weights))]
        lines = []
        for d, column in enumerate(self.weights.T / dt):
            terms = [f"{column[f]:+.6g} {names[f]}".strip() for f in np.flatnonzero(column)]
            right = " ".join(f"{term[0]} {term[1:]}" for term in terms)
            lines.append(f"x{d}' = {right or '0'}".replace("= + ", "= ").replace("= - ", "= -"))
        return tuple(lines)

    def _name(self, term: int) -> str:
        powers: dict[int, int] = {}
        while term:
            variable = int(self.library.variables[term])
            powers[variable] = powers.get(variable, 0) + 1
            term = int(self.library.parents[term])
        return " ".join(f"x{d}^{n}" if n > 1 else f"x{d}" for d, n in sorted(powers.items()))
