"""Equations from data: a sparse polynomial vector field, identified from samples and integrated.

Derivatives are not to be had by differences from 30 samples a period. So none are taken: the
equations are fitted in their weak form, in which a test function carries the derivative, and what
its sum over samples leaves out is corrected by the model's own trajectories. Shapes and units are
those of models.base; a field is per sample, `equations_` are per unit of the system's time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import comb
from typing import Any

import numpy as np
from jaxtyping import Float

from models._monomials import Library
from models._regression import Regression
from models._tuning import best_on_free_runs, free_runs, split
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
    1e-12 of a state, is corrected, see `_corrected`. `equations_` holds the result as text.

    The state now is all that it looks at. A free run costs 2 μs a step on Lorenz's equations. It
    wins where the right-hand side is a polynomial and every state is observed: there the equations
    are found, and a forecast is as good as the data's last digits. It loses where a state is
    hidden, and where no polynomial of this size is the right-hand side; noise is averaged over the
    test function only.
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
        scouted = self._trials(
            fit_on, self.libraries, self.half_widths, SCOUTING_THRESHOLDS, SCOUTING_RIDGES
        )
        found, _ = best_on_free_runs(scouted, PolynomialField.run, runs)
        trials = self._trials(
            fit_on, [found["library"]], [found["half_width"]], self.thresholds, self.ridges
        )
        self.chosen_, self.field_ = best_on_free_runs(trials, PolynomialField.run, runs)
        self.equations_ = self.field_.equations(dt)
        self.context_needed_ = self.context_used_ = 1

    def _trials(
        self,
        train: Trajectories,
        libraries: Sequence[tuple[int, int]],
        half_widths: Sequence[int],
        thresholds: Sequence[float],
        ridges: Sequence[float],
    ) -> Iterator[tuple[dict[str, Any], "PolynomialField"]]:
        dim = train.shape[2]
        for degree, power in libraries:
            if comb(degree + dim, dim) + dim * (power - degree) > self.limit:
                continue
            library = polynomial_library(dim, degree, power)
            for half_width in half_widths:
                if 2 * half_width >= train.shape[1]:
                    continue
                weak = WeakForm.of(half_width)
                values = weak.values_of(monomials(library, train))
                regression = Regression.of(values, weak.rates_of(train))
                for ridge, threshold in product(ridges, thresholds):
                    weights = sparse_weights(regression, threshold, ridge)
                    field = PolynomialField.of(library, weights)
                    chosen = {
                        "library": (degree, power),
                        "half_width": half_width,
                        "threshold": threshold,
                        "ridge": ridge,
                    }
                    yield chosen | {"corrected": False, "terms": field.terms}, field
                    field = _corrected(field, library, weak, train, threshold, ridge)
                    yield chosen | {"corrected": True, "terms": field.terms}, field

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


def _corrected(
    field: "PolynomialField",
    library: Library,
    weak: "WeakForm",
    train: Trajectories,
    threshold: float,
    ridge: float,
) -> "PolynomialField":
    """The same fit without the error of the weak form, which is that of a sum over samples.

    The model's own trajectories obey the model's equations. By how much they fail the weak form is
    its error on trajectories that are next to the data's, and is taken off the data's rates.
    """
    width = len(weak.values) - 1
    thin = -(-train.shape[0] * (train.shape[1] - width) // CORRECTING_ROWS)
    values = weak.values_of(monomials(library, train))[::thin]
    rates = weak.rates_of(train)[::thin]
    starts = train[:, : train.shape[1] - width].reshape(-1, 1, train.shape[2])[::thin]
    for _ in range(CORRECTIONS):
        own = np.concatenate([starts, field.run(starts, width)], axis=1)
        error = weak.rates_of(own) - weak.values_of(monomials(field.library, own)) @ field.weights
        error[~np.isfinite(error).all(axis=1)] = 0.0  # a start from which the model diverges
        regression = Regression.of(values, rates - error)
        field = PolynomialField.of(library, sparse_weights(regression, threshold, ridge))
    return field


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
    x = np.moveaxis(states, 2, 0)
    values = np.ones((len(library.parents), *x.shape[1:]))
    for f in range(1, len(values)):
        np.multiply(values[library.parents[f]], x[library.variables[f]], out=values[f])
    return np.moveaxis(values, 0, 2)


def sparse_weights(
    regression: Regression, threshold: float, ridge: float
) -> Float[np.ndarray, "features dim"]:
    """Least squares with a ridge, without the terms below `threshold` of their equation's rates."""
    count, dim = len(regression.scale), regression.moments.shape[1]
    weights = np.zeros((count, dim))
    size = np.linalg.norm(regression.triangle, axis=0)  # root mean squares, times √rows
    rank = len(regression.triangle)
    for d in range(dim):
        least = threshold * np.linalg.norm(regression.moments[:, d])
        kept = np.arange(count)
        while len(kept):
            n = len(kept)
            # [features, rates] above [√ridge, 0]: QR, which does not square what nearly vanishes
            system = np.zeros((rank + n, n + 1))
            system[:rank, :n] = regression.triangle[:, kept]
            system[:rank, n] = regression.moments[:, d]
            system[rank:, :n] = np.sqrt(ridge) * np.eye(n)
            reduced = np.asarray(np.linalg.qr(system, mode="r"))
            found = np.linalg.solve(reduced[:n, :n], reduced[:n, n])
            strong = np.abs(found) * size[kept] >= least
            if strong.all():
                weights[kept, d] = found / regression.scale[kept]
                break
            kept = kept[strong]
    return weights


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
