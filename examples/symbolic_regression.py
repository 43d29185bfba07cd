"""Symbolic regression: are the equations found that made the data?

    python examples/symbolic_regression.py [--systems Lorenz,Rossler] [--noise 0.01] [--output FILE]

Gilpin (2021) asked this of the whole catalog, by the error of forecasts. Here the equations
themselves are compared: the catalog's, expanded into monomials, are the truth. A term of them can
be found or missing, one that is found and not in them is spurious, and the coefficients of the
terms that are right have errors. Only systems whose right-hand sides are polynomials take part.

Methods: `sindy` of our zoo, and pysindy (`pip install pysindy`) where it is installed.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from jaxtyping import Float

import models
import systems
from systems.calculus import polynomials

Runs = Float[np.ndarray, "trajectories times dim"]
Equation = Mapping[tuple[int, ...], float]  # a polynomial: coefficients by exponents
Equations = tuple[Equation, ...]
Method = Callable[[Runs, Runs, float], Equations]  # (train, validation, dt) to x' = …

POINTS, POINTS_PER_PERIOD = 3000, 100
THRESHOLDS = (1e-5, 1e-4, 1e-3, 1e-2, 0.1)


def main(
    names: Annotated[str, typer.Option("--systems", help='With commas, or "all".')] = "Lorenz",
    noise: Annotated[
        list[float] | None, typer.Option(help="In standard deviations; may be given twice.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="A CSV file for the table.")] = None,
) -> None:
    """Identify the equations of systems by every method at hand, and count their terms."""
    chosen = polynomial_systems() if names == "all" else names.split(",")
    table = pd.concat(
        study(chosen, level, progress=lambda row: print(row, flush=True)) for level in noise or [0]
    )
    if output is not None:
        table.to_csv(output, index=False, float_format="%.4g")
    print(summary(table).to_string())


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Over systems: terms in all, systems of which all terms are found and no others, the median
    error and the seconds of all fits."""
    exact = (table["missing"] == 0) & (table["spurious"] == 0)
    return (
        table.assign(exact=exact)
        .groupby(["noise", "method"])
        .agg(
            systems=("system", "count"),
            exact=("exact", "sum"),
            right=("right", "sum"),
            missing=("missing", "sum"),
            spurious=("spurious", "sum"),
            error=("error", "median"),
            seconds=("seconds", "sum"),
        )
    )


def polynomial_systems() -> list[str]:
    """The systems of the catalog whose right-hand sides are polynomials of their states."""
    found = []
    for name in systems.names():
        try:
            polynomials(systems.load(name))
        except ValueError:
            continue
        found.append(name)
    return found


def study(
    names: list[str],
    noise: float = 0.0,
    *,
    points: int = POINTS,
    methods: Mapping[str, Method] | None = None,
    progress: Callable[[str], None] = lambda row: None,
) -> pd.DataFrame:
    """A row a system and method: terms right, missing and spurious, error, seconds."""
    rows = []
    for name in names:
        system = systems.load(name)
        truth = polynomials(system)
        made = system.trajectory(
            points, points_per_period=POINTS_PER_PERIOD, trajectories=2, seed=1, noise=noise
        )
        dt = float(made.times[1] - made.times[0])
        for label, method in (methods or available()).items():
            begun = time.process_time()
            found = method(made.states[:1], made.states[1:], dt)
            spent = time.process_time() - begun
            row = {"system": name, "method": label, "noise": noise}
            rows.append(row | vars(compare(truth, found)) | {"seconds": spent})
            progress(", ".join(f"{key} {value}" for key, value in rows[-1].items()))
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Comparison:
    """Terms of all equations; `error` is the largest relative one of the coefficients of terms that
    are right, NaN without any."""

    right: int
    missing: int
    spurious: int
    error: float


def compare(truth: Equations, found: Equations) -> Comparison:
    """Monomial by monomial, equation by equation."""
    right = missing = spurious = 0
    errors = []
    for true, own in zip(truth, found, strict=True):
        common = true.keys() & own.keys()
        right += len(common)
        missing += len(true.keys() - own.keys())
        spurious += len(own.keys() - true.keys())
        errors += [abs(own[powers] / true[powers] - 1) for powers in common]
    return Comparison(right, missing, spurious, float(max(errors, default=np.nan)))


def available() -> dict[str, Method]:
    """The methods that are installed."""
    methods: dict[str, Method] = {"sindy": by_sindy}
    if find_spec("pysindy") is not None:
        methods["pysindy"] = by_pysindy
    return methods


def by_sindy(train: Runs, validation: Runs, dt: float) -> Equations:
    """Our zoo's: the equations in their weak form, chosen by free runs on the validation data.

    Forecasts do not mind terms of the size of rounding, so that `sindy` by itself may keep them.
    Here a term must contribute one part in 10⁵ of its equation's rate of change.
    """
    scale = train.std(axis=(0, 1))  # without the mean: a shift would make more terms of each
    model = models.create("sindy", thresholds=THRESHOLDS)
    field = model.fit(train / scale, dt=dt, validation=validation / scale).field_
    powers = np.zeros((len(field.weights), field.library.dim), dtype=int)
    for term in range(1, len(powers)):
        powers[term] = powers[field.library.parents[term]]
        powers[term, field.library.variables[term]] += 1
    return in_raw_units(powers, field.weights / dt, scale)


def by_pysindy(train: Runs, validation: Runs, dt: float) -> Equations:
    """pysindy with its defaults (differences, thresholds of 0.1), cubic monomials.

    Time is in hundredths of the sampling rate, so that rates are of the order of 1.
    """
    import pysindy

    scale, unit = train.std(axis=(0, 1)), POINTS_PER_PERIOD / (2 * np.pi)
    library = pysindy.PolynomialLibrary(degree=3)
    model = pysindy.SINDy(feature_library=library).fit(train[0] / scale, t=1 / unit)
    return in_raw_units(library.powers_, model.coefficients().T / (unit * dt), scale)


def in_raw_units(
    powers: np.ndarray, weights: Float[np.ndarray, "terms dim"], scale: Float[np.ndarray, " dim"]
) -> Equations:
    """Of u' = Σ weights · u^powers with u = x / scale, the equations of x."""
    own = weights * scale / np.prod(scale**powers, axis=1)[:, None]
    return tuple(
        {tuple(map(int, powers[i])): float(column[i]) for i in np.flatnonzero(column)}
        for column in own.T
    )


if __name__ == "__main__":
    typer.run(main)
