"""Tree → the distinct subexpressions of a right-hand side, in the order in which their Taylor
coefficients can be computed."""

from collections.abc import Mapping
from functools import partial, reduce
from typing import Any

from systems.calculus import partial_derivatives
from systems.catalog import System
from systems.expr import TIME
from systems.lower import Table, evaluate

# functions whose coefficients need those of another function of the same argument
PARTNERS = {"sin": "cos", "cos": "sin", "sinh": "cosh", "cosh": "sinh"}
_SUMS = frozenset({"*", "/", "sqrt", "exp", "log", "power", "tan", "tanh", "slope", *PARTNERS})
_INPUTS = frozenset({"state", "parameter", "number", "time"})


class Graph:
    """The distinct subexpressions of a right-hand side, operands before operations.

    A node is an operation on earlier nodes ("power" where the exponent is constant,
    "slope" for 1 + tan² and 1 - tanh², "ramp" for t times a derivative, whose coefficients are
    those of the operand times their order), or an input: a state, a parameter, a number, the time.
    """

    def __init__(self, system: System, vectors: int = 0) -> None:
        self.nodes: list[tuple[Any, ...]] = []
        self.constant: list[bool] = []
        self.is_sum: list[bool] = []  # coefficients are sums over all lower orders
        self.level: list[int] = []  # sums of one level do not need each other
        self._known: dict[tuple[Any, ...], int] = {}
        n = system.dimension
        self.states = [self.node("state", i) for i in range(n * (1 + vectors))]
        env = dict(zip(system.states, self.states, strict=False))
        env |= {name: self.node("parameter", i) for i, name in enumerate(system.parameters)}
        env[TIME] = self.node("time")
        table = self._table()
        derivatives = partial_derivatives(system) if vectors else None
        for name, tree in (derivatives.lets if derivatives else system.let_trees).items():
            env[name] = evaluate(tree, env, table)
        self.derivatives = [evaluate(tree, env, table) for tree in system.equation_trees]
        if derivatives:
            rows = [
                {j: evaluate(tree, env, table) for j, tree in row.items()}
                for row in derivatives.by_state
            ]
            for vector in range(1, 1 + vectors):
                v = self.states[vector * n : (vector + 1) * n]
                self.derivatives += [self._dot(row, v) for row in rows]

    def _dot(self, row: Mapping[int, int], v: list[int]) -> int:
        terms = [self.node("*", entry, v[j]) for j, entry in row.items()]
        if not terms:
            return self.node("number", 0.0)
        return reduce(lambda a, b: self.node("+", a, b), terms)

    def node(self, operation: str, *operands: Any) -> int:
        node = (operation, *operands)
        if node not in self._known:
            inputs = () if operation in _INPUTS else operands
            constant = operation in ("parameter", "number") or (
                bool(inputs) and all(self.constant[i] for i in inputs)
            )
            scales = (operation == "*" and any(self.constant[i] for i in inputs)) or (
                operation == "/" and self.constant[inputs[1]]
            )
            is_sum = operation in _SUMS and not constant and not scales
            level = max((self.level[i] for i in inputs), default=0) + is_sum
            self._known[node] = len(self.nodes)
            self.nodes.append(node)
            self.constant.append(constant)
            self.is_sum.append(is_sum)
            self.level.append(level)
        return self._known[node]

    def find(self, operation: str, *operands: int) -> int:
        return self._known[(operation, *operands)]

    def remembered(self) -> list[int]:
        """The nodes whose coefficients later orders need: the states come first."""
        needed = dict.fromkeys(self.states)
        for node, (operation, *operands) in enumerate(self.nodes):
            if self.is_sum[node]:
                needed |= dict.fromkeys(i for i in operands if not self.constant[i])
            if operation == "ramp" or (self.is_sum[node] and operation != "*"):
                needed[node] = None
        return list(needed)

    def _table(self) -> Table:
        """The operations of `lower.evaluate`: a value is the number of a node."""

        def unary(operation: str, a: int) -> int:
            result = self.node(operation, a)
            if self.constant[a]:
                return result
            if operation in PARTNERS:
                self.node(PARTNERS[operation], a)
            if operation in ("tan", "tanh"):
                self.node("slope", result)
            if operation in ("exp", "log", "tan", "tanh", *PARTNERS):
                self.node("ramp", result if operation == "log" else a)
            return result

        def power(a: int, exponent: int) -> int:
            if self.constant[exponent]:
                return self.node("power", a, exponent)
            return unary("exp", self.node("*", exponent, unary("log", a)))

        unaries = ("neg", "sqrt", "exp", "log", "tan", "tanh", *PARTNERS)
        return {
            "number": lambda value: self.node("number", float(value)),
            **{name: partial(self.node, name) for name in "+-*/"},
            **{name: partial(unary, name) for name in unaries},
            "**": power,
        }
