"""The equation reader refuses everything but arithmetic, and what it reads means what it says."""

import math
import re
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systems.expr import (
    FUNCTIONS,
    Apply,
    EquationError,
    Number,
    Symbol,
    check_known,
    parse,
    to_text,
    walk,
)
from systems.lower import evaluate, numpy_table

HOSTILE = [
    "__import__('os').system('true')",
    "x.__class__",
    "().__class__.__bases__[0]",
    "(lambda: 1)()",
    "[x for x in (1, 2)]",
    "open('f')",
    "eval('1')",
    "x if y else z",
    "x and y",
    "x < y",
    "x := 3",
    "x; y",
    "import os",
    "f'{x}'",
    "'text'",
    "b'bytes'",
    "True",
    "None",
    "1j",
    "x[0]",
    "{1: 2}",
    "*x",
    "x @ y",
    "x // y",
    "x % y",
    "x << 3",
    "~x",
    "not x",
    "9**9**9**9",
    "x**65",
    "x**(10*10**10)",
    "x**-1000",
    "10000000000000000000000000000000",
    "1e31",
    "1e999",
    "-1e999",
    "9" * 3999,
    "sin(x, y)",
    "sin()",
    "sin(x=1)",
    "sin(*x)",
    "sin",
    "unknown(x)",
    "min(x)",
    "delay(x + 1, tau)",
    "delay(x, delay(x, tau))",
    "(" * 90 + "x" + ")" * 90 + " +",
    "(" * 1000 + "x" + ")" * 1000,
    "-" * 3000 + "x",
    "+".join(["x"] * 1900),
    "sin(" * 150 + "x" + ")" * 150,
    "x" * 5000,
    "",
    "   ",
    "x\ny",
    "x\x00",
    "x # comment\n+ y",
    "...",
    "yield x",
    "await x",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:24]))
def test_hostile_text_is_refused(text):
    with pytest.raises(EquationError, match=r"Trap\.x"):
        parse(text, "Trap.x")


@pytest.mark.parametrize("thing", [3, None, ["x"], b"x"])
def test_what_is_not_text_is_refused(thing):
    with pytest.raises(EquationError, match="text"):
        parse(thing, "Trap.x")


@settings(max_examples=500)
@given(st.text(max_size=80))
def test_any_text_is_a_tree_or_an_equation_error(text):
    try:
        tree = parse(text)
    except EquationError:
        return
    assert all(isinstance(part, Number | Symbol | Apply) for part in walk(tree))


NAMES = ["x", "y", "sin", "cos", "delay", "exp", "lambda", "import", "for", "in", "__class__"]
fragments = st.sampled_from([*NAMES, *"()+-*/,._'[]:=@ ", "**", "2", ".5", "1e9"])


@settings(max_examples=500)
@given(st.lists(fragments, max_size=14).map("".join))
def test_no_mixture_of_fragments_gets_past_the_whitelist(text):
    try:
        tree = parse(text)
    except EquationError:
        return
    for part in walk(tree):
        if isinstance(part, Apply):
            assert part.function in FUNCTIONS or part.function in ("+", "-", "*", "/", "**", "neg")
        if isinstance(part, Number):
            assert math.isfinite(part.value)


numbers = st.floats(0.25, 4.0).map(Number)
trees = st.recursive(
    numbers | st.sampled_from([Symbol("x"), Symbol("y")]),
    lambda inner: st.one_of(
        st.builds(
            lambda f, a, b: Apply(f, (a, b)), st.sampled_from(["+", "-", "*", "/"]), inner, inner
        ),
        st.builds(
            lambda f, a: Apply(f, (a,)), st.sampled_from(["neg", "sin", "tanh", "abs"]), inner
        ),
        st.builds(lambda a, n: Apply("**", (a, Number(float(n)))), inner, st.integers(1, 5)),
    ),
    max_leaves=12,
)


@settings(max_examples=300)
@given(trees)
def test_text_of_a_tree_reads_back_as_the_same_tree(tree):
    assert parse(to_text(tree)) == tree


@dataclass(frozen=True)
class Rounded:
    """A double with a bound of its rounding error (Higham 2002, running error analysis)."""

    value: float
    error: float = 0.0

    @classmethod
    def of(cls, value, carried):
        return cls(float(value), float(carried + 8 * np.finfo(float).eps * abs(value)))

    def __add__(self, other):
        return Rounded.of(self.value + other.value, self.error + other.error)

    def __sub__(self, other):
        return self + -other

    def __neg__(self):
        return Rounded(-self.value, self.error)

    def __abs__(self):
        return Rounded(abs(self.value), self.error)

    def __mul__(self, other):
        a, b = abs(self.value), abs(other.value)
        carried = a * other.error + b * self.error + self.error * other.error
        return Rounded.of(self.value * other.value, carried)

    def __truediv__(self, other):
        nearest_zero = abs(other.value) - other.error
        if not nearest_zero > 0:
            return Rounded(np.float64(self.value) / other.value, math.inf)
        quotient = self.value / other.value
        return Rounded.of(quotient, (self.error + abs(quotient) * other.error) / nearest_zero)

    def __pow__(self, other):
        power = Rounded(1.0)
        for _ in range(int(other.value)):
            power = power * self
        return power

    def sin(self):
        return Rounded.of(math.sin(self.value), self.error) if math.isfinite(self.value) else self

    def tanh(self):
        return Rounded.of(math.tanh(self.value), self.error)


@settings(max_examples=300)
@given(trees, st.floats(-3, 3), st.floats(-3, 3))
def test_values_equal_those_of_python_itself_to_the_rounding(tree, x, y):
    text = re.sub(r"\d[\d.]*(e-?\d+)?", r"number(\g<0>)", to_text(tree))
    names = {
        **{"number": Rounded, "x": Rounded(x), "y": Rounded(y)},
        **{"abs": abs, "sin": Rounded.sin, "tanh": Rounded.tanh, "__builtins__": {}},
    }
    with np.errstate(all="ignore"):
        expected = eval(text, names)  # our own text, not a stranger's
        actual = float(evaluate(tree, {"x": np.float64(x), "y": np.float64(y)}, numpy_table()))
    if math.isfinite(expected.value) and math.isfinite(expected.error):
        assert abs(actual - expected.value) <= expected.error


def test_a_whole_power_is_multiplied_out():
    def count(text):
        calls = []
        table = dict(numpy_table()) | {"*": lambda a, b: calls.append(1) or a * b}
        return evaluate(parse(text), {"x": 3.0}, table), len(calls)

    assert count("x**2") == (9.0, 1)
    assert count("x**5") == (243.0, 3)
    assert count("x**-2") == (1 / 9, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2 + 3*4", 14.0),
        ("2 - 3 - 4", -5.0),
        ("2**3**1", None),
        ("-2**2", -4.0),
        ("heaviside(0, 0.5) + heaviside(2, 0) - heaviside(-1, 1)", 1.5),
        ("sign(-3) + sign(0)", -1.0),
        ("min(3, 1, 2) + max(3, 1, 2)", 4.0),
        ("exprel(0) + exprel(1)", 1 + math.e - 1),
        ("cos(pi)", -1.0),
        ("16**(1/4)", 2.0),
    ],
)
def test_arithmetic(text, expected):
    if expected is None:  # a power in an exponent is refused, as it can be giant
        with pytest.raises(EquationError, match="exponent"):
            parse(text)
    else:
        assert evaluate(parse(text), {}, numpy_table()) == pytest.approx(expected, rel=1e-15)


def test_an_unknown_name_is_met_with_the_closest():
    with pytest.raises(EquationError, match=r"Lorenz\.x: `sgima`.*Did you mean `sigma`"):
        check_known(parse("sgima*(y - x)"), ["sigma", "x", "y"], "Lorenz.x")


def test_an_unknown_function_is_met_with_the_closest():
    with pytest.raises(EquationError, match="Did you mean `sin`"):
        parse("sine(x)")


def test_a_division_by_zero_is_infinite():
    with np.errstate(all="ignore"):
        assert evaluate(parse("1/(1 - 1)"), {}, numpy_table()) == math.inf
