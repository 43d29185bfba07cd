"""Tree → numbers: one `evaluate` and a table of operations for each library that computes.

A table maps the operators and functions of `expr.FUNCTIONS` to callables. Whole powers are
multiplied out here, once for every table, so that all backends do the same operations in the
same order.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from systems.expr import Apply, Expr, Number, Symbol, to_text

Table = Mapping[str, Callable[..., Any]]
MAX_WHOLE_POWER = 16


def evaluate(expr: Expr, env: Mapping[str, Any], table: Table) -> Any:
    """The value of `expr`: names stand for values in `env`, operations for those of `table`.

    `delay(x, tau)` is looked up in `env` under `delayed_name(...)`: delayed states are inputs.
    """
    match expr:
        case Number(value):
            return table["number"](value)
        case Symbol(name):
            return env[name]
        case Apply("delay"):
            return env[delayed_name(expr)]
        case Apply("**", (base, exponent)):
            whole = whole_exponent(exponent)
            if whole is not None:
                return _whole_power(evaluate(base, env, table), whole, table)
            return table["**"](evaluate(base, env, table), evaluate(exponent, env, table))
        case Apply(function, arguments):
            return table[function](*[evaluate(argument, env, table) for argument in arguments])


def delayed_name(expr: Apply) -> str:
    """The name under which a delayed state is an input: distinct for each (state, delay)."""
    return to_text(expr)


def whole_exponent(exponent: Expr) -> int | None:
    """The exponent as an integer of at most `MAX_WHOLE_POWER` in size, or None."""
    sign = 1
    if isinstance(exponent, Apply) and exponent.function == "neg":
        sign, exponent = -1, exponent.arguments[0]
    if not isinstance(exponent, Number) or not exponent.value.is_integer():
        return None
    return sign * int(exponent.value) if 1 <= abs(exponent.value) <= MAX_WHOLE_POWER else None


def _whole_power(base: Any, exponent: int, table: Table) -> Any:
    """base**exponent by repeated squaring; a negative exponent divides 1 by the positive power."""
    if exponent < 0:
        return table["/"](table["number"](1.0), _whole_power(base, -exponent, table))
    multiply = table["*"]
    result, square = None, base
    while True:
        if exponent & 1:
            result = square if result is None else multiply(result, square)
        exponent >>= 1
        if not exponent:
            return result
        square = multiply(square, square)


@cache
def numpy_table() -> Table:
    import numpy as np

    def exprel(x: Any) -> Any:
        from scipy.special import exprel as scipy_exprel

        return scipy_exprel(x)

    return _array_table(np, float, exprel)


@cache
def jax_table() -> Table:
    import jax.numpy as jnp

    def exprel(x: Any) -> Any:
        safe = jnp.where(x == 0, 1.0, x)  # keeps the gradient of the other branch finite
        return jnp.where(x == 0, 1.0, jnp.expm1(safe) / safe)

    return _array_table(jnp, float, exprel)


def _array_table(xp: Any, number: Callable[[float], Any], exprel: Callable[[Any], Any]) -> Table:
    names = ("sin", "cos", "tan", "sinh", "cosh", "tanh", "exp", "log", "sqrt", "abs", "sign")
    return {
        "number": number,
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "/": xp.divide,  # 1/0 among plain numbers is infinite too, as in machine code
        "**": xp.power,
        "neg": lambda a: -a,
        "heaviside": xp.heaviside,
        "exprel": exprel,
        "min": lambda *arguments: _fold(xp.minimum, arguments),
        "max": lambda *arguments: _fold(xp.maximum, arguments),
        **{name: getattr(xp, name) for name in names},
    }


def _fold(function: Callable[[Any, Any], Any], arguments: tuple[Any, ...]) -> Any:
    result = arguments[0]
    for argument in arguments[1:]:
        result = function(result, argument)
    return result
