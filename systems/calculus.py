"""Derivatives and LaTeX of the equations, through sympy.

The tree goes to sympy, is differentiated there, and comes back as a tree for the same tables as the
equations. This never happens on the trajectory path: a round trip through sympy reorders sums and
products, and in chaos other bits are another trajectory.

`let` lines are differentiated one by one and joined by the chain rule as further `let` lines, so
that derivatives stay about as long as the equations.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from systems.expr import TIME, Apply, EquationError, Expr, Number, Symbol, symbols, to_text
from systems.lower import Table, evaluate, jax_table, numpy_table

if TYPE_CHECKING:
    from systems.catalog import Backend, Field, System


@dataclass(frozen=True)
class Derivatives:
    """∂f_i/∂x_j as trees over states, parameters and `lets` (absent entries are zero)."""

    lets: Mapping[str, Expr]
    by_state: tuple[Mapping[int, Expr], ...]
    by_delayed: tuple[Mapping[int, Expr], ...]


def partial_derivatives(system: "System") -> Derivatives:
    """The derivatives of every equation by every state and by every delayed state, derived once a
    process for equal equations (sympy takes up to seconds).

    Where a right-hand side has a kink or a jump, the derivative is that of the smooth pieces.
    """
    if system.equations_hash not in _derived:
        _derived[system.equations_hash] = _derive(system)
    return _derived[system.equations_hash]


_derived: dict[str, Derivatives] = {}


def _derive(system: "System") -> Derivatives:
    inputs = [*system.states, *(delay.name for delay in system.delays)]
    lets: dict[str, Expr] = {}
    chain: dict[str, dict[int, Expr]] = {}
    for name, tree in system.let_trees.items():
        lets[name] = tree
        chain[name] = {}
        for j, derivative in _total_derivatives(tree, inputs, chain).items():
            inner = f"d {name} / d {inputs[j]}"  # no equation can hold such a name
            lets[inner] = derivative
            chain[name][j] = Symbol(inner)
    rows = [_total_derivatives(tree, inputs, chain) for tree in system.equation_trees]
    n = system.dimension
    return Derivatives(
        lets,
        tuple({j: tree for j, tree in row.items() if j < n} for row in rows),
        tuple({j - n: tree for j, tree in row.items() if j >= n} for row in rows),
    )


def _total_derivatives(
    tree: Expr, inputs: list[str], chain: Mapping[str, Mapping[int, Expr]]
) -> dict[int, Expr]:
    sympy_tree, names = _to_sympy(tree)
    total: dict[int, Expr] = {}
    for name in sorted(names):
        outer = _from_sympy(_without_impulses(sympy_tree.diff(names[name])), names)
        if outer == Number(0.0):
            continue
        if name in inputs:
            _add(total, inputs.index(name), outer)
        for j, inner in chain.get(name, {}).items():
            _add(total, j, Apply("*", (outer, inner)))
    return total


def _add(total: dict[int, Expr], j: int, term: Expr) -> None:
    total[j] = Apply("+", (total[j], term)) if j in total else term


def jacobian(system: "System", backend: "Backend" = "numpy") -> "Field":
    """J(states, time=0.0[, delayed]) → (…, dim, dim), J[…, i, j] = ∂f_i/∂x_j."""
    if backend == "compiled":
        from systems.integrate import compiled_jacobian

        return compiled_jacobian(system)
    xp, table = _library(backend)
    derivatives = partial_derivatives(system)
    n = system.dimension

    def field(states: Any, time: Any = 0.0, delayed: Any = None) -> Any:
        states = xp.asarray(states)
        system.check_states(states)
        system.check_delayed(delayed)
        env: dict[str, Any] = {**system.parameters, TIME: time}
        env.update((name, states[..., i]) for i, name in enumerate(system.states))
        env.update((d.name, delayed[..., i]) for i, d in enumerate(system.delays))
        with np.errstate(all="ignore"):
            for name, tree in derivatives.lets.items():
                env[name] = evaluate(tree, env, table)
            rows = [
                [evaluate(row.get(j, Number(0.0)), env, table) for j in range(n)]
                for row in derivatives.by_state
            ]
        shape = states.shape[:-1]
        stacked = [[xp.broadcast_to(xp.asarray(e), shape) for e in row] for row in rows]
        return xp.stack([xp.stack(row, axis=-1) for row in stacked], axis=-2)

    return field


def _library(backend: "Backend") -> tuple[Any, Table]:
    if backend == "numpy":
        return np, numpy_table()
    if backend != "jax":
        raise ValueError(f"backends are numpy, compiled and jax; {backend!r} arrived.")
    import jax.numpy as jnp

    return jnp, jax_table()


def latex(system: "System") -> str:
    """The `let` lines and equations as one LaTeX `aligned` block, in catalog order."""
    import sympy

    def text(tree: Expr) -> str:
        return sympy.latex(_to_sympy(tree)[0])

    def symbol(name: str) -> str:
        return sympy.latex(sympy.Symbol(name))

    lines = [f"{symbol(name)} &= {text(tree)}" for name, tree in system.let_trees.items()]
    lines += [
        rf"\dot{{{symbol(state)}}} &= {text(tree)}"
        for state, tree in zip(system.states, system.equation_trees, strict=True)
    ]
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"


def polynomials(system: "System") -> tuple[dict[tuple[int, ...], float], ...]:
    """The right-hand side as polynomials of the states: of each equation coefficients by exponents.

    Expanded, at the system's parameters: of y' = x (28 - z) - y in Lorenz' states x, y, z that is
    {(1, 0, 1): -1, (1, 0, 0): 28, (0, 1, 0): -1}. Raises ValueError for a system that is not
    polynomial, or reads time or delayed states.
    """
    import sympy

    if system.reads_time or system.delays:
        raise ValueError(
            f"{system.name} reads time or delayed states: no polynomial of its states."
        )

    def number(value: float) -> Any:  # exact, so that terms which cancel do so
        return sympy.Rational(repr(value))

    table = {**_sympy_table(), "number": number}
    states = [sympy.Symbol(name, real=True) for name in system.states]
    known: dict[str, Any] = {name: number(value) for name, value in system.parameters.items()}
    known |= zip(system.states, states, strict=True)
    for name, tree in system.let_trees.items():
        known[name] = evaluate(tree, known, table)
    found = []
    for state, tree in zip(system.states, system.equation_trees, strict=True):
        try:
            terms = sympy.Poly(evaluate(tree, known, table), *states).terms()
        except sympy.PolynomialError as error:
            raise ValueError(f"{system.name}: {state}' is no polynomial of the states.") from error
        found.append({powers: float(factor) for powers, factor in terms if factor != 0})
    return tuple(found)


# ---- tree ↔ sympy --------------------------------------------------------------------------------


def _to_sympy(tree: Expr) -> tuple[Any, dict[str, Any]]:
    """The sympy expression and the symbol of each name (delayed states count as names)."""
    import sympy

    tree, delayed = _delays_as_symbols(tree)
    names = {name: sympy.Symbol(name, real=True) for name in symbols(tree)}
    for name, part in delayed.items():
        state, delay = part.arguments
        shown = f"{to_text(state)}_{{{sympy.latex(_to_sympy(delay)[0])}}}"
        names[name] = sympy.Symbol(shown, real=True)
    return evaluate(tree, names, _sympy_table()), names


def _delays_as_symbols(tree: Expr) -> tuple[Expr, dict[str, Apply]]:
    from systems.lower import delayed_name

    found: dict[str, Apply] = {}

    def replace(part: Expr) -> Expr:
        if isinstance(part, Apply) and part.function == "delay":
            found[delayed_name(part)] = part
            return Symbol(delayed_name(part))
        if isinstance(part, Apply):
            return Apply(part.function, tuple(map(replace, part.arguments)))
        return part

    return replace(tree), found


@cache
def _sympy_table() -> Table:
    import sympy

    def number(value: float) -> Any:
        return sympy.Integer(int(value)) if value.is_integer() else sympy.Float(value)

    def power(base: Any, exponent: Any) -> Any:
        return (
            sympy.Pow(base, exponent) if exponent.is_number else _functions()["**"](base, exponent)
        )

    return {
        "number": number,
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "/": lambda a, b: a / b,
        "**": power,
        "neg": lambda a: -a,
        "abs": sympy.Abs,
        "heaviside": sympy.Heaviside,
        "min": sympy.Min,
        "max": sympy.Max,
        "exprel": _functions()["exprel"],
        **{
            name: getattr(sympy, name)
            for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "exp", "log", "sqrt", "sign")
        },
    }


@cache
def _functions() -> dict[str, Any]:
    """Functions of ours for sympy: `exprel`, and a power whose derivative has no 0/0 at zero
    (sympy writes xⁿ·n/x for a symbolic n)."""
    import sympy

    class exprel(sympy.Function):
        def fdiff(self, argindex: int = 1) -> Any:
            # (eˣ - exprel x)/x: the quotient is 0/0 in the single point x = 0
            return (sympy.exp(self.args[0]) - self) / self.args[0]

    class power(sympy.Function):
        is_real = True

        def fdiff(self, argindex: int = 1) -> Any:
            base, exponent = self.args
            if argindex == 1:
                return exponent * power(base, exponent - 1)
            return self * sympy.log(base)

        def _latex(self, printer: Any, exp: Any = None) -> str:
            text = f"{printer.parenthesize(self.args[0], 1000)}^{{{printer._print(self.args[1])}}}"
            return text if exp is None else rf"\left({text}\right)^{{{exp}}}"

    return {"exprel": exprel, "**": power}


def _without_impulses(expression: Any) -> Any:
    import sympy

    return expression.replace(sympy.DiracDelta, lambda *arguments: sympy.Integer(0))


def _from_sympy(expression: Any, names: Mapping[str, Any]) -> Expr:
    import sympy

    back = {symbol: name for name, symbol in names.items()}
    direct = {sympy.Abs: "abs", sympy.Heaviside: "heaviside", sympy.Min: "min", sympy.Max: "max"}
    direct |= {
        getattr(sympy, name): name
        for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "exp", "log", "sign")
    }
    direct |= {_functions()["exprel"]: "exprel", _functions()["**"]: "**"}

    def fold(operator: str, parts: list[Expr]) -> Expr:
        result = parts[0]
        for part in parts[1:]:
            result = Apply(operator, (result, part))
        return result

    def convert(node: Any) -> Expr:
        if node.is_Symbol:
            return Symbol(back[node])
        if node.is_number and not node.free_symbols:
            return Number(float(node))
        if node.is_Add:
            return fold("+", [convert(part) for part in node.args])
        if node.is_Mul:
            numerator, denominator = node.as_numer_denom()
            if denominator != 1:
                return Apply("/", (convert(numerator), convert(denominator)))
            return fold("*", [convert(part) for part in node.args])
        if node.is_Pow and node.exp == sympy.Rational(1, 2):
            return Apply("sqrt", (convert(node.base),))
        if node.is_Pow and node.exp.could_extract_minus_sign():
            return Apply("/", (Number(1.0), convert(sympy.Pow(node.base, -node.exp))))
        if node.is_Pow:
            return Apply("**", (convert(node.base), convert(node.exp)))
        if node.func in direct:
            return Apply(direct[node.func], tuple(convert(part) for part in node.args))
        raise EquationError(f"the derivative holds {node.func.__name__}, which has no lowering.")

    return convert(expression)
