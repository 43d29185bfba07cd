"""Delay systems against jitcdde, over 50 delays: `make test-delay`.

jitcdde (Ansmann 2018, Chaos 28, 043116) is another method by another hand: Bogacki and Shampine's
pair of order 3 with Hermite interpolation. Both integrate from the same constant histories. In
chaos a difference grows, whosever it is, so the table shows by how much: the growth of a
perturbation of 10⁻¹³ of the initial state over the same time. Where growth times the error that
either code makes (about 10⁻¹³) passes 10⁻⁶, agreement to 10⁻⁶ cannot be had in float64, and the
table says up to how many delays it could be and was.
"""

import contextlib
import sys
import tempfile
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

import systems
from systems.catalog import System
from systems.expr import TIME
from systems.lower import evaluate

AGREEMENT = 1e-6  # in the states' units, which are of order 1
DELAYS = 50
PER_DELAY = 4  # points that are compared
TOLERANCE = 1e-13  # jitcdde's; at 1e-14 its rounding errors are larger than at 1e-13
PERTURBATION = 1e-13
HISTORIES = (1.0, 0.9, 1.1)  # times the catalog's initial state


def by_jitcdde(
    system: System, times: Float[np.ndarray, "times"], *, tolerance: float = TOLERANCE
) -> Float[np.ndarray, "times dim"]:
    """The solution through the constant history `system.initial`, by jitcdde from our trees."""
    import symengine
    from jitcdde import jitcdde, t, y

    longest = max(delay.tau for delay in system.delays)
    env: dict[str, Any] = {**system.parameters, TIME: t}
    env |= {name: y(i) for i, name in enumerate(system.states)}
    env |= {delay.name: y(delay.state, t - delay.tau) for delay in system.delays}
    table = _symengine_table(symengine)
    for name, tree in system.let_trees.items():
        env[name] = evaluate(tree, env, table)
    field = [evaluate(tree, env, table) for tree in system.equation_trees]
    # jitcdde compiles in the working directory and reads a pyproject.toml that it finds there
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        solver = jitcdde(field, max_delay=longest, verbose=False)
        solver.constant_past(np.array(system.initial))
        solver.set_integration_parameters(
            atol=tolerance, rtol=tolerance, first_step=1e-4, min_step=1e-14, max_step=longest / 20
        )
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error"
            )  # without a compiler it would go on a hundred times slower
            solver.compile_C(extra_compile_args=["-O2", "-Wno-unknown-pragmas"])
        solver.step_on_discontinuities()
        if not times[0] >= solver.t:
            raise ValueError(f"jitcdde begins at {solver.t:g}, after the breaks; {times[0]:g} came")
        found = np.array([solver.integrate(time) for time in times])
        solver.__del__()  # removes its folder, which waits for the garbage collector otherwise
    return found


def _symengine_table(symengine: Any) -> Mapping[str, Any]:
    names = ("sin", "cos", "tan", "sinh", "cosh", "tanh", "exp", "log", "sqrt")
    return {
        "number": symengine.RealDouble,
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "/": lambda a, b: a / b,
        "**": lambda a, b: a**b,
        "neg": lambda a: -a,
        **{name: getattr(symengine, name) for name in names},
    }


def compare(system: System) -> tuple[np.ndarray, np.ndarray]:
    """The difference from jitcdde, and the growth of a perturbation, up to each compared time."""
    longest = max(delay.tau for delay in system.delays)
    times = np.arange(2 * PER_DELAY, DELAYS * PER_DELAY + 1) * longest / PER_DELAY
    initial = np.array([system.initial])
    pair = np.concatenate([initial, initial + PERTURBATION])
    ours, shifted = systems.simulate(system, times, initial=pair).states
    difference = np.abs(by_jitcdde(system, times) - ours).max(axis=1)
    growth = np.abs(shifted - ours).max(axis=1) / PERTURBATION
    return np.maximum.accumulate(difference), np.maximum.accumulate(growth)


def delays_below(values: np.ndarray, bound: float) -> float:
    """Delays up to which `values`, as `compare` samples them, stay below `bound`."""
    above = np.flatnonzero(values >= bound)
    return (2 * PER_DELAY + (above[0] if len(above) else len(values)) - 1) / PER_DELAY


def main() -> None:
    import dataclasses

    header = f"{'system':18}{'history':>10}{'growth':>10}{'difference':>12}{'< 1e-6 for':>12}"
    print(f"{header}{'float64 allows':>16}   (over {DELAYS} delays)")
    missed = []
    for name in systems.names("delay"):
        system = systems.load(name)
        for factor in HISTORIES:
            start = dataclasses.replace(system, initial=(factor * system.initial[0],))
            difference, growth = compare(start)
            agreed = delays_below(difference, AGREEMENT)
            allowed = delays_below(growth, AGREEMENT / TOLERANCE)
            print(
                f"{name:18}{start.initial[0]:10.4f}{growth[-1]:10.1e}{difference[-1]:12.1e}"
                f"{agreed:12.1f}{allowed:16.1f}",
                flush=True,
            )
            # three delays: the bound of float64 is an estimate
            if agreed < allowed - 3:
                missed.append(f"{name} from {start.initial[0]:g}")
    if missed:
        sys.exit(f"further from jitcdde than float64 explains: {', '.join(missed)}")


if __name__ == "__main__":
    main()
