"""Text of an equation → tree: a parser that reads arithmetic and nothing else.

A catalog may come from a stranger, so text is never evaluated. Python's own grammar reads it
(`ast.parse`), a whitelist copies what is arithmetic into three frozen node types, and everything
else is an `EquationError`. Whatever is computed later is lowered from that checked tree.
"""

import ast
import difflib
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

MAX_LENGTH = 4000  # characters of one equation; the longest of the catalog has about 900
MAX_DEPTH = 120  # levels of the tree; a sum of n terms is n levels deep
MAX_LITERAL = 1e30
MAX_POWER = 64.0

# name → (least, most) number of arguments; the operators are functions like the others
FUNCTIONS: dict[str, tuple[int, int]] = {
    "sin": (1, 1),
    "cos": (1, 1),
    "tan": (1, 1),
    "sinh": (1, 1),
    "cosh": (1, 1),
    "tanh": (1, 1),
    "exp": (1, 1),
    "log": (1, 1),
    "sqrt": (1, 1),
    "abs": (1, 1),
    "sign": (1, 1),
    "heaviside": (2, 2),  # heaviside(x, value at 0)
    "exprel": (1, 1),  # (exp(x) - 1) / x, continued by 1 at x = 0
    "min": (2, 16),
    "max": (2, 16),
    "delay": (2, 2),  # delay(x, tau): the state x at time t - tau
}
CONSTANTS = {"pi": math.pi}
TIME = "t"
RESERVED = frozenset(FUNCTIONS) | frozenset(CONSTANTS) | {TIME}


class EquationError(ValueError):
    """An equation that is not arithmetic over known names: the rule, what arrived, what to do."""


@dataclass(frozen=True, slots=True)
class Number:
    value: float


@dataclass(frozen=True, slots=True)
class Symbol:
    name: str


@dataclass(frozen=True, slots=True)
class Apply:
    """A function or operator (`+ - * / ** neg` or a name of `FUNCTIONS`) applied to arguments."""

    function: str
    arguments: tuple["Expr", ...]


Expr = Number | Symbol | Apply

_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Pow: "**",
}


def parse(text: str, where: str = "equation") -> Expr:
    """The tree of `text`; `where` ("Lorenz.x") opens every error message.

    Raises `EquationError` for anything but numbers, names, `+ - * / **`, unary signs, parentheses
    and calls from `FUNCTIONS`, and for text, nesting, literals or powers beyond the bounds of this
    module.
    """
    if not isinstance(text, str):
        raise EquationError(f"{where}: an equation is a text, but a {type(text).__name__} arrived.")
    if len(text) > MAX_LENGTH:
        raise EquationError(
            f"{where}: at most {MAX_LENGTH} characters, but {len(text)} arrived. "
            "Split it into `let` lines."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # `2if` and the like: no warning scrolls by
            body = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, Warning, ValueError, RecursionError, MemoryError, OverflowError) as error:
        reason = getattr(error, "msg", None) or str(error) or type(error).__name__
        raise EquationError(
            f"{where}: `{_shorten(text)}` is not an expression ({reason}). "
            "Write it as in `sigma*(y - x)`."
        ) from None
    return _read(body, text.strip(), where, 0)


def _read(node: ast.expr, text: str, where: str, depth: int) -> Expr:
    if depth > MAX_DEPTH:
        raise EquationError(
            f"{where}: nested deeper than {MAX_DEPTH} levels. Name the parts in `let` lines."
        )
    match node:
        case ast.Constant(value=bool() | None):
            raise _refusal(node, text, where, "numbers and names only")
        case ast.Constant(value=int() | float() as value):
            return _number(value, node, text, where)
        case ast.Name(id=name) if name in CONSTANTS:
            return Number(CONSTANTS[name])
        case ast.Name(id=name) if name in FUNCTIONS:
            raise _refusal(node, text, where, f"`{name}` is a function: give it arguments")
        case ast.Name(id=name):
            return Symbol(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return Apply("neg", (_read(operand, text, where, depth + 1),))
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _read(operand, text, where, depth + 1)
        case ast.BinOp(op=op, left=left, right=right) if type(op) in _OPERATORS:
            arguments = (
                _read(left, text, where, depth + 1),
                _read(right, text, where, depth + 1),
            )
            if isinstance(op, ast.Pow):
                _check_power(arguments[1], node, text, where)
            return Apply(_OPERATORS[type(op)], arguments)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
            return _call(name, args, node, text, where, depth)
        case ast.Call(func=ast.Name(id=name)):
            hint = _did_you_mean(name, FUNCTIONS)
            raise _refusal(node, text, where, f"functions are {', '.join(FUNCTIONS)}.{hint}")
        case _:
            raise _refusal(node, text, where, "arithmetic with named functions only")


def _number(value: float, node: ast.expr, text: str, where: str) -> Number:
    # compared as it came: float() of an integer of 400 digits would overflow
    if not abs(value) <= MAX_LITERAL:
        raise _refusal(node, text, where, f"numbers are finite and at most {MAX_LITERAL:g}")
    return Number(float(value))


def _check_power(exponent: Expr, node: ast.expr, text: str, where: str) -> None:
    for part in walk(exponent):
        if isinstance(part, Number) and abs(part.value) > MAX_POWER:
            raise _refusal(node, text, where, f"exponents are at most {MAX_POWER:g}")
        if isinstance(part, Apply) and part.function not in ("neg", "+", "-", "*", "/"):
            raise _refusal(node, text, where, "an exponent holds no power and no function")


def _call(
    name: str, args: list[ast.expr], node: ast.expr, text: str, where: str, depth: int
) -> Apply:
    least, most = FUNCTIONS[name]
    if not least <= len(args) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise _refusal(node, text, where, f"`{name}` takes {wanted} argument(s), not {len(args)}")
    arguments = tuple(_read(argument, text, where, depth + 1) for argument in args)
    if name == "delay" and not isinstance(arguments[0], Symbol):
        raise _refusal(node, text, where, "`delay` takes a state first: delay(x, tau)")
    if name == "delay" and any(_is_delay(part) for part in walk(arguments[1])):
        raise _refusal(node, text, where, "a delay is made of parameters: delay(x, tau)")
    return Apply(name, arguments)


def _is_delay(part: Expr) -> bool:
    return isinstance(part, Apply) and part.function == "delay"


def _refusal(node: ast.expr, text: str, where: str, rule: str) -> EquationError:
    fragment = ast.get_source_segment(text, node) or text
    return EquationError(f"{where}: `{_shorten(fragment)}` is refused: {rule.rstrip('.')}.")


def _shorten(text: str, most: int = 80) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean `{close[0]}`?" if close else ""


def walk(expr: Expr) -> Iterator[Expr]:
    """Every node of the tree, parents first."""
    yield expr
    if isinstance(expr, Apply):
        for argument in expr.arguments:
            yield from walk(argument)


def symbols(expr: Expr) -> set[str]:
    """The names that an expression uses."""
    return {part.name for part in walk(expr) if isinstance(part, Symbol)}


def functions(expr: Expr) -> set[str]:
    """The functions and operators that an expression uses."""
    return {part.function for part in walk(expr) if isinstance(part, Apply)}


def check_known(expr: Expr, known: Iterable[str], where: str) -> None:
    """Raise `EquationError` at the first name in `expr` that is not in `known`."""
    known = list(known)
    for name in sorted(symbols(expr) - set(known)):
        raise EquationError(
            f"{where}: `{name}` is not a state, parameter, earlier `let` or function."
            + _did_you_mean(name, known)
        )


def substitute(expr: Expr, values: Mapping[str, Expr]) -> Expr:
    """The tree with symbols replaced."""
    match expr:
        case Symbol(name):
            return values.get(name, expr)
        case Apply(function, arguments):
            return Apply(function, tuple(substitute(part, values) for part in arguments))
        case _:
            return expr


def to_text(expr: Expr) -> str:
    """Fully parenthesised text that `parse` reads back into the same tree."""
    match expr:
        case Number(value):
            return repr(value)
        case Symbol(name):
            return name
        case Apply("neg", (argument,)):
            return f"(-{to_text(argument)})"
        case Apply(("+" | "-" | "*" | "/" | "**") as operator, (left, right)):
            return f"({to_text(left)} {operator} {to_text(right)})"
        case Apply(name, arguments):
            return f"{name}({', '.join(map(to_text, arguments))})"
