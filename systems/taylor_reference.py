"""Equations → heyoka, and a reference solution in quadruple precision (113 bits of mantissa).

heyoka (Biscani & Izzo 2021) integrates by Taylor series of its own: another code, and more digits
than ours, also than our double-double. The tree of the equations is what both read. Kinks and
jumps become switches: each is ±1, a parameter of the integrator, and turned by an event that heyoka
finds as a root of the series and where it ends a step; so no step runs across a kink.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from systems.catalog import System
from systems.expr import TIME, functions
from systems.lower import Table, evaluate
from systems.trajectory import optional

MOST_EVENTS = 100_000  # of one trajectory; sliding along a jump is an event without end
TOLERANCES = (0.0, 1e-32)  # of the reference and of the one beside it; 0: the rounding, order 40
ANALYTIC = ("sin", "cos", "tan", "sinh", "cosh", "tanh", "exp", "log", "sqrt")
# tanh and its like can be flat to the last digit before a steep slope, which the series of a step
# from there does not know: steps are at most this part of a period, in each of the two references
STEEP = ("tanh", "exp", "sinh", "cosh")
LONGEST_STEPS = (1 / 200, 1 / 270)
HALVINGS, TERMS = 6, 24  # exprel(x) is right to 1e-33 for |x| < 32


class ReferenceFailure(ArithmeticError):
    """The reference itself cannot be trusted here; the text says why."""


@dataclass(frozen=True)
class Field:
    """The right-hand side as heyoka expressions, with the arguments of abs, sign, max, … in it."""

    equations: list[tuple[Any, Any]]  # (variable, its time derivative)
    switches: dict[str, Any] = field(default_factory=dict)  # text → the argument; its sign is a par


def expressions(system: System, number: Callable[[float], Any]) -> Field:
    """The equations of an ODE as heyoka expressions; `number` makes the type that they compute in.

    Every number, the parameters too, is the double that our own integrator reads. Raises
    `ValueError` for delay equations.
    """
    hy = optional("heyoka", extra="certify")
    if system.delays:
        raise ValueError(f"{system.name}: heyoka has no delay equations.")
    switches: dict[str, Any] = {}
    table = _table(hy, lambda value: hy.expression(number(value)), switches)
    variables = [hy.expression(f"v{i}_{name}") for i, name in enumerate(system.states)]
    env = dict(zip(system.states, variables, strict=True)) | {TIME: hy.time}
    env |= {name: table["number"](value) for name, value in system.parameters.items()}
    for name, tree in system.let_trees.items():
        env[name] = evaluate(tree, env, table)
    slopes = [evaluate(tree, env, table) for tree in system.equation_trees]
    return Field(list(zip(variables, slopes, strict=True)), switches)


def _table(hy: Any, number: Callable[[float], Any], switches: dict[str, Any]) -> Table:
    def switch(argument: Any) -> Any:
        """±1, the sign of the argument: one switch for one argument, however often it is used."""
        text = str(argument)
        switches.setdefault(text, argument)
        return hy.par[list(switches).index(text)]

    def larger(a: Any, b: Any) -> Any:
        return (a + b + switch(a - b) * (a - b)) * number(0.5)

    def smaller(a: Any, b: Any) -> Any:
        return (a + b - switch(a - b) * (a - b)) * number(0.5)

    def fold(function: Callable[[Any, Any], Any], *arguments: Any) -> Any:
        result = arguments[0]
        for argument in arguments[1:]:
            result = function(result, argument)
        return result

    def exprel(x: Any) -> Any:
        """(exp(x) - 1)/x without its removable singularity: the series at x/64, then doublings by
        exprel(2y) = exprel(y) (exp(y) + 1)/2."""
        small = x * number(0.5**HALVINGS)
        result = number(1.0)
        for k in range(TERMS, 1, -1):
            result = number(1.0) + result * small / number(float(k))
        for j in range(HALVINGS, 0, -1):
            result = result * (hy.exp(x * number(0.5**j)) + number(1.0)) * number(0.5)
        return result

    return {
        "number": number,
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "/": lambda a, b: a / b,
        "**": lambda a, b: a**b,
        "neg": lambda a: -a,
        "abs": lambda a: switch(a) * a,
        "sign": switch,
        "heaviside": lambda a, _: (switch(a) + number(1.0)) * number(0.5),
        "max": lambda *arguments: fold(larger, *arguments),
        "min": lambda *arguments: fold(smaller, *arguments),
        "exprel": exprel,
        **{name: getattr(hy, name) for name in ANALYTIC},
    }


def _functions(system: System) -> set[str]:
    trees = (*system.let_trees.values(), *system.equation_trees)
    return set().union(*(functions(tree) for tree in trees))


class TaylorReference:
    """Solutions through `initial` (starts, dim), in quadruple precision.

    `beside=True` makes another one, with other step lengths and another order: as far as the two
    agree each can be trusted.
    """

    def __init__(
        self, system: System, initial: Float[np.ndarray, "starts dim"], *, beside: bool = False
    ) -> None:
        hy = optional("heyoka", extra="certify")
        self.quad = hy.real128
        self.name = system.name
        self.field = expressions(system, self.quad)
        events = " with events" if self.field.switches else ""
        self.method = f"Taylor series of order 40{events}, 113 bits, heyoka {hy.__version__}"
        variables = [variable for variable, _ in self.field.equations]
        arguments = list(self.field.switches.values())
        self.arguments = (
            hy.cfunc(arguments, vars=variables, fp_type=self.quad) if arguments else None
        )
        self.logs: list[list[tuple[float, int, float]]] = [[] for _ in initial]
        self.initial_signs: list[np.ndarray] = []
        steep = any(function in STEEP for function in _functions(system))
        self.longest = system.period * LONGEST_STEPS[beside] if steep else math.inf
        self.runs = [
            self._integrator(hy, start, log, TOLERANCES[beside])
            for start, log in zip(initial, self.logs, strict=True)
        ]

    def _integrator(self, hy: Any, start: np.ndarray, log: list[Any], tolerance: float) -> Any:
        state = start.astype(self.quad)
        signs = np.ones(len(self.field.switches), dtype=self.quad)
        for _ in signs:  # an argument can hold another switch
            signs = np.where(self._argument(state, signs) < 0, -1.0, 1.0).astype(self.quad)
        self.initial_signs.append(signs.astype(float))

        def turn(number: int) -> Callable[[Any, int], bool]:
            def callback(run: Any, sign: int) -> bool:
                run.pars[number] = self.quad(sign)
                log.append((float(run.time), number, float(sign)))
                return len(log) < MOST_EVENTS

            return callback

        return hy.taylor_adaptive(
            self.field.equations,
            state,
            fp_type=self.quad,
            tol=self.quad(tolerance),
            pars=signs,
            t_events=[
                hy.t_event(argument, callback=turn(number), fp_type=self.quad)
                for number, argument in enumerate(self.field.switches.values())
            ],
            compact_mode=True,
        )

    def _argument(self, states: np.ndarray, signs: np.ndarray) -> np.ndarray:
        if self.arguments is None:
            return np.zeros(0)
        return self.arguments(states, pars=signs[: self.arguments.nparams])

    def advance(self, start: int, times: Float[np.ndarray, "times"]) -> Float[np.ndarray, "t dim"]:
        """The states of one start at later `times`, rounded to double."""
        run = self.runs[start]
        grid, started = times.astype(self.quad), run.time
        asked = np.concatenate([[started], grid[grid > started]])
        outcome = run.propagate_grid(asked, max_delta_t=self.quad(self.longest))
        states = outcome[-1][int(started < grid[0]) :]
        if "time_limit" not in str(outcome[0]) or len(states) < len(times):
            reason = "slides along a jump" if len(self.logs[start]) >= MOST_EVENTS else outcome[0]
            raise ReferenceFailure(f"{self.name}: the reference stops: {reason}")
        if self.arguments is not None:
            self._check_signs(start, times, states)
        return states.astype(float)

    def _check_signs(self, start: int, times: np.ndarray, states: np.ndarray) -> None:
        """Every switch stands as the sign of its argument says, or an event was missed."""
        signs = np.repeat(self.initial_signs[start][:, None], len(times), axis=1)
        for time, number, sign in self.logs[start]:
            signs[number, times > time] = sign
        columns = np.ascontiguousarray(states.T), signs.astype(self.quad)
        arguments = self._argument(*columns).astype(float)
        size = 1e-9 * np.abs(arguments).max(axis=1, keepdims=True, initial=math.ulp(0.0))
        if (arguments * signs < -size).any():
            raise ReferenceFailure(f"{self.name}: heyoka has missed the crossing of a kink.")
