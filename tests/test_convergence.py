"""Orders of convergence: how fast each integrator's error falls, on problems solved exactly.

With fixed steps h the error of a method of order p is C hᵖ, of a single step C hᵖ⁺¹, and of dense
output of order q within a step C h^(q+1). With step-size control it is proportional to the
tolerance.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import ellipj

from systems import simulate
from systems.catalog import System, from_entry
from systems.dop853_kernel import NEXT_TIME, STEPS
from systems.integrate import _Run
from systems.lanes import Precision
from systems.llvm import compile_field

ECCENTRICITY, MODULUS = 0.3, 0.7


def kepler(t: float) -> list[float]:
    """Position and velocity on an ellipse of semi-axis 1 about its focus, from the pericentre."""
    e = ECCENTRICITY
    anomaly = brentq(lambda u: u - e * math.sin(u) - t, t - 1, t + 1, xtol=1e-15, rtol=1e-15)
    c, s, minor = math.cos(anomaly), math.sin(anomaly), math.sqrt(1 - e**2)
    speed = 1 / (1 - e * c)
    return [c - e, minor * s, -s * speed, minor * c * speed]


@dataclass(frozen=True)
class Problem:
    """Equations with their exact solution, and the longest of the steps that are compared."""

    equations: dict[str, str]
    exact: Callable[[float], list[float]]
    step: float

    def system(self) -> System:
        entry = {
            "states": list(self.equations),
            "parameters": {},
            "equations": self.equations,
            "initial": self.exact(0.0),
            "period": 1.0,
        }
        return from_entry("Made", entry)

    def error(self, times: np.ndarray, states: np.ndarray) -> float:
        return float(np.abs(states - np.array([self.exact(t) for t in times])).max())


PROBLEMS = {
    "Kepler": Problem(
        {
            "x": "u",
            "y": "v",
            "u": "-x/(x**2 + y**2)**1.5",
            "v": "-y/(x**2 + y**2)**1.5",
        },
        kepler,
        0.6,
    ),
    "rigid body": Problem(  # Jacobi's sn, cn, dn
        {"x": "y*z", "y": "-x*z", "z": f"-{MODULUS}*x*y"},
        lambda t: list(ellipj(t, MODULUS)[:3]),
        1.0,
    ),
    "forced": Problem(  # depends on time; x = e^(sin t)
        {"x": "x*cos(t)"},
        lambda t: [math.exp(math.sin(t))],
        1.0,
    ),
    # a delay, and a break at each whole time: x = 1 before 0, cos(5t) after
    "delayed": Problem(
        {"x": "-5*sin(5*t) + x*(delay(x, 1) - cos(5*max(t - 1, 0)))"},
        lambda t: [math.cos(5 * t)],
        0.5,
    ),
}
SMOOTH = ["Kepler", "rigid body", "forced"]


def fixed_steps(problem: Problem, step: float, count: int, times: np.ndarray) -> np.ndarray:
    """The driver's solution at `times` with `count` steps of one length: its error control is told
    to accept every step, and its stops are the ends of the steps."""
    system = problem.system()
    run = _Run(compile_field(system), np.array(system.initial), 0.0, 1e9, 1e9, 0.0)
    run.to(np.zeros(1), np.empty((1, system.dimension)), "Made", 10, math.inf)  # at the start
    run.stops = step * np.arange(1, count + 1)
    run.control[2] = step
    run.counters[NEXT_TIME] = 0
    out = np.empty((len(times), system.dimension))
    run.to(times, out, "Made", 10**6, math.inf)
    assert run.counters[STEPS] == count
    return out


def slope(x: list[float], errors: list[float]) -> float:
    assert min(errors) > 1e-14, "rounding hides the method's error"
    return float(np.polyfit(np.log(x), np.log(errors), 1)[0])


@pytest.mark.parametrize("name", PROBLEMS)
def test_dop853_is_of_order_8(name):
    """At the end of steps of h, h/1.5, h/2 and h/3. With a delay the error of the history, which is
    of order 8 too, is carried along."""
    problem = PROBLEMS[name]
    steps, errors = [], []
    for divisor in (1.0, 1.5, 2.0, 3.0):
        step = problem.step / divisor
        count = round(4 * problem.step / step)
        ends = step * np.arange(1, count + 1)
        steps.append(step)
        errors.append(problem.error(ends[-1:], fixed_steps(problem, step, count, ends[-1:])))
    assert 7.4 < slope(steps, errors) < 9.5


@pytest.mark.parametrize("name", SMOOTH)
def test_a_single_step_of_dop853_errs_by_h_to_the_9(name):
    problem = PROBLEMS[name]
    steps = [problem.step / divisor for divisor in (3.0, 3.5, 4.0, 5.0)]
    ends = [np.array([step]) for step in steps]
    errors = [problem.error(end, fixed_steps(problem, end[0], 1, end)) for end in ends]
    assert 8.5 < slope(steps, errors) < 10


@pytest.mark.parametrize("name", SMOOTH)
def test_dense_output_is_of_order_7(name):
    problem = PROBLEMS[name]
    steps = [problem.step / divisor for divisor in (1.5, 2.0, 2.5, 3.0)]
    within = np.linspace(0.05, 0.95, 19)
    errors = [
        problem.error(step * within, fixed_steps(problem, step, 1, step * within)) for step in steps
    ]
    assert 7.4 < slope(steps, errors) < 9.5


def test_the_dense_history_of_a_delay_system_is_of_order_7():
    """Between the ends of the steps, over three delays, where each reads the pieces before it."""
    problem = PROBLEMS["delayed"]
    times = np.linspace(0.0, 3.0, 100)[1:-1]
    steps = [1 / 3, 1 / 4, 1 / 5, 1 / 6, 1 / 8]
    errors = [
        problem.error(times, fixed_steps(problem, step, round(3 / step), times)) for step in steps
    ]
    assert 7.4 < slope(steps, errors) < 9.5


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_error_is_proportional_to_the_tolerance(name):
    problem = PROBLEMS[name]
    times = np.linspace(0.0, 10.0, 101)
    tolerances = list(10.0 ** -np.arange(4.0, 12.0))
    errors = [
        problem.error(times, simulate(problem.system(), times, rtol=tol, atol=tol).states[0])
        for tol in tolerances
    ]
    assert 0.75 < slope(tolerances, errors) < 1.25
    assert all(error < 1000 * tol for error, tol in zip(errors, tolerances, strict=True))


# ---- what `simulate` gives without being asked for a tolerance -----------------------------------


def deviation(problem: Problem, precision: Precision) -> float:
    times = np.linspace(0.0, 10.0, 101)
    made = simulate(problem.system(), times, precision=precision)
    return problem.error(times, made.states[0])


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_solution_in_double_precision_is_exact_to_its_rounding(name):
    assert deviation(PROBLEMS[name], "double") < 2e-12


@pytest.mark.parametrize("name", SMOOTH)
def test_the_solution_in_double_double_precision_is_exact_to_the_last_digit(name):
    """32 digits on the way: what is left is the rounding of the answer, and of the exact one here,
    which the functions of scipy carry."""
    assert deviation(PROBLEMS[name], "double-double") < 1e-14
