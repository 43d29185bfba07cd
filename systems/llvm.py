"""Tree → machine code: right-hand sides and tangent dynamics as LLVM IR, called by address.

numba's front end would need seconds a system; lowering the checked tree ourselves takes a
millisecond, and the integrator is compiled once for all systems. Every function has the signature

    void f(double t, ptr states, ptr delayed, ptr parameters, ptr derivatives)

Operations stand in the order in which the equation is written: no fast-math and no contraction to
fused multiply-adds, so that a trajectory does not depend on the optimiser. Equal subexpressions are
computed once, which changes no bit.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from systems import machine_code
from systems.catalog import System
from systems.expr import TIME, Expr
from systems.lower import evaluate
from systems.machine_code import float_literal


@dataclass(frozen=True)
class Compiled:
    """A right-hand side in memory: where it is, its dimension, and what it reads of the past."""

    address: int
    dimension: int
    delayed_states: tuple[int, ...]
    delays: tuple[float, ...]
    parameters: tuple[float, ...]


def compile_field(system: System) -> Compiled:
    """The right-hand side of `system` as machine code; compiled once a process."""
    return compile_fields([system])[0]


def compile_fields(systems: Sequence[System]) -> list[Compiled]:
    """The right-hand sides of many systems, those not yet compiled in one module."""
    bodies = {identity(system): partial(_field_body, system) for system in systems}
    found = dict(zip(bodies, _addresses(bodies), strict=True))
    return [_field(system, found[identity(system)]) for system in systems]


def _field(system: System, address: int) -> Compiled:
    delays = system.delays if mentions(system, "delay") else ()
    return Compiled(
        address,
        system.dimension,
        tuple(delay.state for delay in delays),
        tuple(delay.tau for delay in delays),
        tuple(system.parameters.values()),
    )


def identity(system: System) -> str:
    """What the code of a right-hand side is made from: not the parameters' values."""
    facts = [system.states, sorted(system.equations.items()), list(system.lets.items())]
    return json.dumps([*facts, list(system.parameters)])


def mentions(system: System, *functions: str) -> bool:
    """Whether an equation uses one of `functions`: a look at the text (no other name can read so),
    as parsing all equations would take longer than loading their machine code."""
    called = re.compile(rf"\b({'|'.join(functions)})\s*\(")
    return any(called.search(text) for text in (*system.lets.values(), *system.equations.values()))


def compile_tangent(system: System, vectors: int) -> Compiled:
    """The system together with `vectors` tangent vectors v, dv/dt = J v (+ Jᵈ v(t - τ)).

    The state of length dim·(1 + vectors) holds the state and then one vector after the other.
    """
    from systems.calculus import partial_derivatives

    derivatives = partial_derivatives(system)
    body = _tangent_body(system, derivatives, vectors)
    address = _addresses({"\n".join([*sorted(body.external), *body.lines]): lambda: body})[0]
    n = system.dimension
    copies = range(1 + vectors)
    return Compiled(
        address,
        n * (1 + vectors),
        tuple(delay.state + copy * n for copy in copies for delay in system.delays),
        tuple(delay.tau for _ in copies for delay in system.delays),
        tuple(system.parameters.values()),
    )


# ---- bodies --------------------------------------------------------------------------------------


@dataclass
class _Body:
    """Instructions of one function: values are numbered, equal operations are the same value."""

    lines: list[str] = field(default_factory=list)
    known: dict[tuple[str, ...], str] = field(default_factory=dict)
    external: set[str] = field(default_factory=set)

    def value(self, instruction: str, *operands: str) -> str:
        """The value of `instruction`, whose text has a {} for each operand."""
        key = (instruction, *operands)
        if key not in self.known:
            self.known[key] = f"%v{len(self.known)}"
            self.lines.append(f"  {self.known[key]} = {instruction.format(*operands)}")
        return self.known[key]

    def load(self, pointer: str, index: int) -> str:
        address = self.value(f"getelementptr double, ptr {pointer}, i64 {index}")
        return self.value("load double, ptr {}", address)

    def store(self, value: str, pointer: str, index: int) -> None:
        address = self.value(f"getelementptr double, ptr {pointer}, i64 {index}")
        self.lines.append(f"  store double {value}, ptr {address}")

    def call(self, function: str, *arguments: str) -> str:
        self.external.add(f"declare double @{function}({', '.join(['double'] * len(arguments))})")
        slots = ", ".join(["double {}"] * len(arguments))
        return self.value(f"call double @{function}({slots})", *arguments)

    def select(self, comparison: str, a: str, b: str, yes: str, no: str) -> str:
        condition = self.value(f"fcmp {comparison} double {{}}, {{}}", a, b)
        return self.value("select i1 {}, double {}, double {}", condition, yes, no)


ZERO, ONE, MINUS_ONE = float_literal(0.0), float_literal(1.0), float_literal(-1.0)
_INTRINSICS = {
    "sin": "sin",
    "cos": "cos",
    "exp": "exp",
    "log": "log",
    "sqrt": "sqrt",
    "abs": "fabs",
}
_LIBM = ("tan", "sinh", "cosh", "tanh")


def _table(body: _Body) -> Mapping[str, Callable[..., Any]]:
    """The operations of `lower.evaluate`; each writes an instruction and names its value."""

    def arithmetic(instruction: str, a: str, b: str) -> str:
        return body.value(instruction + " double {}, {}", a, b)

    def commutative(instruction: str, a: str, b: str) -> str:
        return arithmetic(instruction, *sorted((a, b)))

    def sign(x: str) -> str:
        negative = body.select("olt", x, ZERO, MINUS_ONE, x)
        return body.select("ogt", x, ZERO, ONE, negative)

    def heaviside(x: str, at_zero: str) -> str:
        at_most_zero = body.select("olt", x, ZERO, ZERO, at_zero)
        return body.select("ogt", x, ZERO, ONE, at_most_zero)

    def exprel(x: str) -> str:
        safe = body.select("oeq", x, ZERO, ONE, x)
        ratio = arithmetic("fdiv", body.call("expm1", safe), safe)
        return body.select("oeq", x, ZERO, ONE, ratio)

    def extreme(comparison: str, *arguments: str) -> str:
        result = arguments[0]
        for other in arguments[1:]:
            result = body.select(comparison, other, result, other, result)
        return result

    return {
        "number": float_literal,
        "+": partial(commutative, "fadd"),
        "-": partial(arithmetic, "fsub"),
        "*": partial(commutative, "fmul"),
        "/": partial(arithmetic, "fdiv"),
        "neg": lambda a: body.value("fneg double {}", a),
        "**": partial(body.call, "llvm.pow.f64"),
        "sign": sign,
        "heaviside": heaviside,
        "exprel": exprel,
        "min": partial(extreme, "olt"),
        "max": partial(extreme, "ogt"),
        **{name: partial(body.call, f"llvm.{llvm}.f64") for name, llvm in _INTRINSICS.items()},
        **{name: partial(body.call, name) for name in _LIBM},
    }


def _inputs(body: _Body, system: System) -> dict[str, str]:
    env = {TIME: "%t"}
    env.update((name, body.load("%states", i)) for i, name in enumerate(system.states))
    env.update((name, body.load("%parameters", i)) for i, name in enumerate(system.parameters))
    env.update((delay.name, body.load("%delayed", i)) for i, delay in enumerate(system.delays))
    return env


def _field_body(system: System) -> _Body:
    body = _Body()
    table = _table(body)
    env = _inputs(body, system)
    for name, tree in system.let_trees.items():
        env[name] = evaluate(tree, env, table)
    for i, tree in enumerate(system.equation_trees):
        body.store(evaluate(tree, env, table), "%out", i)
    return body


def _tangent_body(system: System, derivatives: Any, vectors: int) -> _Body:
    body = _Body()
    table = _table(body)
    env = _inputs(body, system)
    for name, tree in derivatives.lets.items():
        env[name] = evaluate(tree, env, table)
    n, delayed = system.dimension, len(system.delays)
    for i, tree in enumerate(system.equation_trees):
        body.store(evaluate(tree, env, table), "%out", i)
    rows = [_row(body, table, env, row) for row in derivatives.by_state]
    delayed_rows = [_row(body, table, env, row) for row in derivatives.by_delayed]
    for vector in range(1, 1 + vectors):
        for i in range(n):
            terms = [
                table["*"](entry, body.load("%states", vector * n + j))
                for j, entry in rows[i].items()
            ] + [
                table["*"](entry, body.load("%delayed", vector * delayed + j))
                for j, entry in delayed_rows[i].items()
            ]
            total = terms[0] if terms else ZERO
            for term in terms[1:]:
                total = table["+"](total, term)
            body.store(total, "%out", vector * n + i)
    return body


def _row(
    body: _Body, table: Any, env: Mapping[str, str], row: Mapping[int, Expr]
) -> dict[int, str]:
    return {j: evaluate(tree, env, table) for j, tree in row.items()}


# ---- compilation ---------------------------------------------------------------------------------

_compiled: dict[str, int] = {}


def _addresses(bodies: Mapping[str, Callable[[], _Body]]) -> list[int]:
    """Where the functions are, given what determines each and how it is written."""
    missing = {identity: write for identity, write in bodies.items() if identity not in _compiled}
    if missing:
        names = [f"field_{i}" for i in range(len(missing))]
        made_from = machine_code.sources("expr.py", "lower.py", "llvm.py")
        found = machine_code.addresses(
            names,
            [made_from, *missing],
            lambda: _module(dict(zip(names, (write() for write in missing.values()), strict=True))),
        )
        _compiled.update(zip(missing, found, strict=True))
    return [_compiled[identity] for identity in bodies]


def _module(bodies: Mapping[str, _Body]) -> str:
    text = "\n".join(sorted(set().union(*(body.external for body in bodies.values())))) + "\n"
    return text + "".join(definition(name, body.lines) for name, body in bodies.items())


def definition(name: str, lines: Sequence[str]) -> str:
    """The text of a function with the arguments that all functions here have."""
    pointers = (f"ptr noalias %{name}" for name in ("states", "delayed", "parameters", "out"))
    body = "\n".join(lines)
    return (
        f"define void @{name}({', '.join(['double %t', *pointers])}) nounwind {{\n"
        f"entry:\n{body}\n  ret void\n}}\n"
    )
