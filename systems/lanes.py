"""Arithmetic on several trajectories at once, as lines of LLVM IR: doubles and double-doubles.

A value stands for `width` lanes, one a trajectory; every operation acts on each lane as IEEE 754
says, in the order in which it is written, so that a trajectory's bits do not depend on its
neighbours or on the number of lanes. Products that are summed use fused multiply-adds.

A double-double is an unevaluated sum hi + lo of two doubles with |lo| ≤ ulp(hi)/2: about 32 digits
(Dekker 1971, Numer. Math. 18, 224; Hida, Li and Bailey 2001, ARITH-15; Ogita, Rump and Oishi 2005,
SIAM J. Sci. Comput. 26, 1955, for sums of products).
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from typing import Any, Literal

from systems.machine_code import float_literal

Precision = Literal["double", "double-double"]
Value = tuple[str, ...]  # operands of the IR: (hi,) or (hi, lo)


class Code:
    """Lines of one function in static single assignment form: blocks, loops, numbered values."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.block = "entry"
        self.external: set[str] = set()
        self._count = 0

    def emit(self, instruction: str) -> str:
        self._count += 1
        name = f"%v{self._count}"
        self.lines.append(f"  {name} = {instruction}")
        return name

    def line(self, instruction: str) -> None:
        self.lines.append(f"  {instruction}")

    def loop(
        self,
        first: str,
        end: str,
        carried: Sequence[tuple[str, str]],
        body: Callable[[str, list[str]], Sequence[str]],
        step: int = 1,
    ) -> list[str]:
        """for i = first, first + step, … until `end`: carried = body(i, carried); returns them.

        `carried`: (type, initial value) of each value that goes from one turn to the next.
        """
        self._count += 1
        number, before = self._count, self.block
        index = f"%i{number}"
        names = [f"%c{number}.{j}" for j in range(len(carried))]
        self.line(f"br label %head{number}")
        self.lines.append(f"head{number}:")
        phis = len(self.lines)
        self.line(f"%more{number} = icmp ne i64 {index}, {end}")
        self.line(f"br i1 %more{number}, label %body{number}, label %after{number}")
        self.lines.append(f"body{number}:")
        self.block = f"body{number}"
        results = body(index, names)
        self.line(f"%next{number} = add i64 {index}, {step}")
        self.line(f"br label %head{number}")
        self.lines[phis:phis] = [
            f"  {name} = phi {kind} [ {initial}, %{before} ], [ {after}, %{self.block} ]"
            for name, kind, initial, after in zip(
                [index, *names],
                ["i64", *(kind for kind, _ in carried)],
                [first, *(initial for _, initial in carried)],
                [f"%next{number}", *results],
                strict=True,
            )
        ]
        self.lines.append(f"after{number}:")
        self.block = f"after{number}"
        return names


class Doubles:
    """Values of one double a lane."""

    planes = 1

    def __init__(self, code: Code, width: int) -> None:
        self.code, self.width = code, width
        self.type = "double" if width == 1 else f"<{width} x double>"
        self.whole_type = "i64" if width == 1 else f"<{width} x i64>"
        self.suffix = "f64" if width == 1 else f"v{width}f64"

    def splat(self, literal: str, kind: str = "double") -> str:
        if self.width == 1:
            return literal
        return "<" + ", ".join([f"{kind} {literal}"] * self.width) + ">"

    def literal(self, value: float) -> str:
        return self.splat(float_literal(value))

    def number(self, value: float) -> Value:
        return (self.literal(value),)

    def spread(self, scalar: str) -> Value:
        """The same number, known at run time, in every lane."""
        if self.width == 1:
            return (scalar,)
        one = self.code.emit(f"insertelement {self.type} undef, double {scalar}, i32 0")
        zeros = f"<{self.width} x i32> zeroinitializer"
        return (self.code.emit(f"shufflevector {self.type} {one}, {self.type} undef, {zeros}"),)

    def whole(self, integer: str) -> Value:
        return self.spread(self.code.emit(f"sitofp i64 {integer} to double"))

    def one_over(self, integer: str) -> Value:
        divisor = self.code.emit(f"sitofp i64 {integer} to double")
        return self.spread(self.code.emit(f"fdiv double {float_literal(1.0)}, {divisor}"))

    def load(self, pointer: str) -> Value:
        return (self.load_one(pointer),)

    def store(self, value: Value, pointer: str) -> None:
        self.store_one(value[0], pointer)

    def load_one(self, pointer: str) -> str:
        return self.code.emit(f"load {self.type}, ptr {pointer}, align 8")

    def store_one(self, value: str, pointer: str) -> None:
        self.code.line(f"store {self.type} {value}, ptr {pointer}, align 8")

    def exactly(self, value: str) -> Value:
        """A double as a number of this kind."""
        return (value,)

    def load_doubles(self, pointer: str) -> Value:
        return self.exactly(self.load_one(pointer))

    def op(self, instruction: str, a: str, b: str) -> str:
        return self.code.emit(f"{instruction} {self.type} {a}, {b}")

    def call(self, function: str, *arguments: str) -> str:
        """An LLVM intrinsic on every lane."""
        name = f"llvm.{function}.{self.suffix}"
        slots = ", ".join([self.type] * len(arguments))
        self.code.external.add(f"declare {self.type} @{name}({slots})")
        given = ", ".join(f"{self.type} {argument}" for argument in arguments)
        return self.code.emit(f"call {self.type} @{name}({given})")

    def negative(self, a: str) -> str:
        return self.code.emit(f"fneg {self.type} {a}")

    def two_sum(self, a: str, b: str) -> Value:
        """a + b and its rounding error, exactly."""
        total = self.op("fadd", a, b)
        of_b = self.op("fsub", total, a)
        of_a = self.op("fsub", total, of_b)
        return total, self.op("fadd", self.op("fsub", a, of_a), self.op("fsub", b, of_b))

    def ordered_sum(self, a: str, b: str) -> Value:
        """`two_sum` where |a| ≥ |b|."""
        total = self.op("fadd", a, b)
        return total, self.op("fsub", b, self.op("fsub", total, a))

    def negate(self, a: Value) -> Value:
        return (self.negative(a[0]),)

    def add(self, a: Value, b: Value) -> Value:
        return (self.op("fadd", a[0], b[0]),)

    def subtract(self, a: Value, b: Value) -> Value:
        return (self.op("fsub", a[0], b[0]),)

    def multiply(self, a: Value, b: Value) -> Value:
        return (self.op("fmul", a[0], b[0]),)

    def divide(self, a: Value, b: Value) -> Value:
        return (self.op("fdiv", a[0], b[0]),)

    def add_product(self, total: Value, a: Value, b: Value) -> Value:
        return (self.call("fma", a[0], b[0], total[0]),)

    def settle(self, total: Value) -> Value:
        return total

    def carried_sum(self, a: Value, change: Value, carry: str) -> Value:
        """a + (change + carry) and what its rounding leaves, to be carried to the next sum."""
        return self.two_sum(a[0], self.op("fadd", change[0], carry))

    def log2_estimate(self, a: str) -> str:
        """log2 a within 0.05, from the bits of a positive double."""
        bits = self.code.emit(f"bitcast {self.type} {a} to {self.whole_type}")
        number = self.code.emit(f"sitofp {self.whole_type} {bits} to {self.type}")
        octaves = self.op("fmul", number, self.literal(2.0**-52))
        return self.op("fsub", octaves, self.literal(1022.957))

    def exp2_estimate(self, a: str) -> str:
        """2^a within 6 %, for -900 < a < 900."""
        bounded = self.call(
            "maxnum", self.call("minnum", a, self.literal(900.0)), self.literal(-900.0)
        )
        octaves = self.op("fadd", bounded, self.literal(1022.957))
        number = self.op("fmul", octaves, self.literal(2.0**52))
        bits = self.code.emit(f"fptosi {self.type} {number} to {self.whole_type}")
        return self.code.emit(f"bitcast {self.whole_type} {bits} to {self.type}")

    def power(self, a: Value, b: Value) -> Value:
        return (self.call("pow", a[0], b[0]),)

    def apply(self, function: str, a: Value) -> Value:
        """sqrt, exp, log, sin, … of each lane, by the C library but for sqrt."""
        if function in ("tan", "sinh", "cosh", "tanh"):
            return (self._one_by_one(function, a[0]),)
        return (self.call(function, a[0]),)

    def _one_by_one(self, function: str, a: str) -> str:
        self.code.external.add(f"declare double @{function}(double)")
        if self.width == 1:
            return self.code.emit(f"call double @{function}(double {a})")
        result = "undef"
        for lane in range(self.width):
            x = self.code.emit(f"extractelement {self.type} {a}, i32 {lane}")
            y = self.code.emit(f"call double @{function}(double {x})")
            result = self.code.emit(f"insertelement {self.type} {result}, double {y}, i32 {lane}")
        return result


class DoubleDoubles(Doubles):
    """Values of two doubles a lane."""

    planes = 2

    def number(self, value: float | Fraction) -> Value:
        hi = float(value)
        lo = float(Fraction(value) - Fraction(hi)) if math.isfinite(hi) else 0.0
        return self.literal(hi), self.literal(lo)

    def spread(self, scalar: str) -> Value:
        return *super().spread(scalar), self.literal(0.0)

    def one_over(self, integer: str) -> Value:
        code, one = self.code, float_literal(1.0)
        divisor = code.emit(f"sitofp i64 {integer} to double")
        hi = code.emit(f"fdiv double {one}, {divisor}")
        code.external.add("declare double @llvm.fma.f64(double, double, double)")
        minus = code.emit(f"fneg double {hi}")
        rest = code.emit(
            f"call double @llvm.fma.f64(double {minus}, double {divisor}, double {one})"
        )
        lo = code.emit(f"fdiv double {rest}, {divisor}")
        spread = super().spread
        return *spread(hi), *spread(lo)

    def exactly(self, value: str) -> Value:
        return value, self.literal(0.0)

    def load(self, pointer: str) -> Value:
        return self.load_one(pointer), self.load_one(self._low(pointer))

    def store(self, value: Value, pointer: str) -> None:
        self.store_one(value[0], pointer)
        self.store_one(value[1], self._low(pointer))

    def _low(self, pointer: str) -> str:
        return self.code.emit(f"getelementptr double, ptr {pointer}, i64 {self.width}")

    # ---- sums and products -------------------------------------------------------------------

    def two_product(self, a: str, b: str) -> Value:
        """a·b and its rounding error, exactly."""
        product = self.op("fmul", a, b)
        return product, self.call("fma", a, b, self.negative(product))

    def negate(self, a: Value) -> Value:
        return self.negative(a[0]), self.negative(a[1])

    def add(self, a: Value, b: Value) -> Value:
        hi, error = self.two_sum(a[0], b[0])
        lo, rest = self.two_sum(a[1], b[1])
        hi, error = self.ordered_sum(hi, self.op("fadd", error, lo))
        return self.ordered_sum(hi, self.op("fadd", error, rest))

    def subtract(self, a: Value, b: Value) -> Value:
        return self.add(a, self.negate(b))

    def multiply(self, a: Value, b: Value) -> Value:
        return self.ordered_sum(*self._product(a, b))

    def _product(self, a: Value, b: Value) -> Value:
        hi, error = self.two_product(a[0], b[0])
        return hi, self.call("fma", a[0], b[1], self.call("fma", a[1], b[0], error))

    def add_product(self, total: Value, a: Value, b: Value) -> Value:
        """total + a·b; a sum of many is normalised once, by `settle`."""
        hi, lo = self._product(a, b)
        hi, error = self.two_sum(total[0], hi)
        return hi, self.op("fadd", total[1], self.op("fadd", error, lo))

    def settle(self, total: Value) -> Value:
        return self.two_sum(*total)

    def divide(self, a: Value, b: Value) -> Value:
        return self._called("_divide", a, b)

    def _divide(self, a: Value, b: Value) -> Value:
        first = self.op("fdiv", a[0], b[0])
        rest = self.subtract(a, self.multiply((first, self.literal(0.0)), b))
        second = self.op("fdiv", rest[0], b[0])
        rest = self.subtract(rest, self.multiply((second, self.literal(0.0)), b))
        third = self.op("fdiv", rest[0], b[0])
        return self.add(self.ordered_sum(first, second), (third, self.literal(0.0)))

    def carried_sum(self, a: Value, change: Value, carry: str) -> Value:
        return self.add(a, change)

    def power(self, a: Value, b: Value) -> Value:
        return self.apply("exp", self.multiply(b, self.apply("log", a)))

    # ---- functions ---------------------------------------------------------------------------

    def apply(self, function: str, a: Value) -> Value:
        return self._called(f"_{function}", a)

    def _called(self, method: str, *arguments: Value) -> Value:
        """The value of a method that is long: written once a module, as a function."""
        name = f"double_double{method}_{self.width}"
        self.code.external |= _function(name, method, self.width, len(arguments))
        pair = f"{{ {self.type}, {self.type} }}"
        given = ", ".join(f"{self.type} {part}" for value in arguments for part in value)
        result = self.code.emit(f"call {pair} @{name}({given})")
        return (
            self.code.emit(f"extractvalue {pair} {result}, 0"),
            self.code.emit(f"extractvalue {pair} {result}, 1"),
        )

    def _sqrt(self, a: Value) -> Value:
        root = self.call("sqrt", a[0])
        error = self.subtract(a, self.two_product(root, root))
        twice = self.op("fadd", root, root)
        return self.ordered_sum(root, self.op("fdiv", error[0], twice))

    def _exp(self, a: Value) -> Value:
        """exp a = 2^k (exp r)^256, |r| ≤ ln 2 / 512."""
        bounded = self._clip(a, 690.0)
        k = self.call("rint", self.op("fmul", bounded[0], self.literal(1 / math.log(2))))
        r = self._reduced(bounded, k, _ln_2())
        r = self._scaled(r, self.literal(2.0**-8))
        series = self._polynomial(r, [Fraction(1, math.factorial(j)) for j in range(1, 12)])
        for _ in range(8):  # exp(2r) - 1 = 2 (exp r - 1) + (exp r - 1)²
            series = self.add(
                self._scaled(series, self.literal(2.0)), self.multiply(series, series)
            )
        return self._scaled(self.add(series, self.number(1.0)), self._power_of_two(k))

    def _log(self, a: Value) -> Value:
        """One step of Newton's method from the double."""
        guess = (self.call("log", a[0]), self.literal(0.0))
        ratio = self.multiply(a, self.apply("exp", self.negate(guess)))
        return self.add(guess, self.subtract(ratio, self.number(1.0)))

    def _sin(self, a: Value) -> Value:
        return self._turned(a, 0.0)

    def _cos(self, a: Value) -> Value:
        return self._turned(a, 1.0)

    def _turned(self, a: Value, quarters: float) -> Value:
        """sin(a + quarters·π/2), from the series of sin and cos on |r| ≤ π/4."""
        k = self.call("rint", self.op("fmul", a[0], self.literal(2 / math.pi)))
        r = self._reduced(a, k, _half_pi())
        square = self.multiply(r, r)
        odd = [Fraction((-1) ** j, math.factorial(2 * j + 1)) for j in range(15)]
        even = [Fraction((-1) ** j, math.factorial(2 * j)) for j in range(1, 16)]
        sine = self.multiply(r, self.add(self._polynomial(square, odd[1:]), self.number(1.0)))
        cosine = self.add(self._polynomial(square, even), self.number(1.0))
        turns = self.op("fadd", k, self.literal(quarters))
        half = self.call("floor", self.op("fmul", turns, self.literal(0.5)))
        odd_turn = self.op("fsub", turns, self.op("fadd", half, half))  # 0 or 1
        chosen = self._select(odd_turn, cosine, sine)
        whole = self.call("floor", self.op("fmul", half, self.literal(0.5)))
        opposite = self.op("fsub", half, self.op("fadd", whole, whole))
        return self._select(opposite, self.negate(chosen), chosen)

    def _tan(self, a: Value) -> Value:
        return self.divide(self.apply("sin", a), self.apply("cos", a))

    def _sinh(self, a: Value) -> Value:
        up = self.apply("exp", a)
        return self._scaled(self.subtract(up, self.divide(self.number(1.0), up)), self.literal(0.5))

    def _cosh(self, a: Value) -> Value:
        up = self.apply("exp", a)
        return self._scaled(self.add(up, self.divide(self.number(1.0), up)), self.literal(0.5))

    def _tanh(self, a: Value) -> Value:
        up = self.apply("exp", self._scaled(self._clip(a, 40.0), self.literal(2.0)))
        one = self.number(1.0)
        return self.divide(self.subtract(up, one), self.add(up, one))

    def _scaled(self, a: Value, power_of_two: str) -> Value:
        return self.op("fmul", a[0], power_of_two), self.op("fmul", a[1], power_of_two)

    def _polynomial(self, x: Value, coefficients: Sequence[Fraction]) -> Value:
        """Σ_j coefficients[j] x^(j + 1)."""
        result = self.number(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            result = self.add(self.multiply(result, x), self.number(coefficient))
        return self.multiply(result, x)

    def _reduced(self, a: Value, k: str, unit: Fraction) -> Value:
        """a - k·unit, with the unit in three doubles."""
        for _ in range(3):
            part = float(unit)
            unit -= Fraction(part)
            a = self.subtract(a, self.two_product(k, self.literal(part)))
        return a

    def _clip(self, a: Value, bound: float) -> Value:
        inside = self.code.emit(
            f"fcmp ule {self.type} {self.call('fabs', a[0])}, {self.literal(bound)}"
        )
        edge = self.call("copysign", self.literal(bound), a[0]), self.literal(0.0)
        return self._choose(inside, a, edge)

    def _select(self, flag: str, yes: Value, no: Value) -> Value:
        """`yes` in lanes where `flag` is 1."""
        set_ = self.code.emit(f"fcmp ogt {self.type} {flag}, {self.literal(0.5)}")
        return self._choose(set_, yes, no)

    def _choose(self, condition: str, yes: Value, no: Value) -> Value:
        kind = "i1" if self.width == 1 else f"<{self.width} x i1>"
        return tuple(
            self.code.emit(f"select {kind} {condition}, {self.type} {y}, {self.type} {n}")
            for y, n in zip(yes, no, strict=True)
        )

    def _power_of_two(self, k: str) -> str:
        """2^k: the last bits of k + 1.5·2^52 are those of the integer k, moved to the exponent."""
        shifted = self.op("fadd", k, self.literal(1.5 * 2.0**52))
        bits = self.code.emit(f"bitcast {self.type} {shifted} to {self.whole_type}")
        bits = self.code.emit(f"shl {self.whole_type} {bits}, {self.splat('52', 'i64')}")
        bias = self.splat(str(1023 << 52), "i64")
        bits = self.code.emit(f"add {self.whole_type} {bits}, {bias}")
        return self.code.emit(f"bitcast {self.whole_type} {bits} to {self.type}")


@cache
def _function(name: str, method: str, width: int, arguments: int) -> frozenset[str]:
    """The definition of a method of `DoubleDoubles` as a function, and what it calls."""
    code = Code()
    numbers = DoubleDoubles(code, width)
    names = [(f"%hi{i}", f"%lo{i}") for i in range(arguments)]
    value = getattr(numbers, method)(*names)
    pair = f"{{ {numbers.type}, {numbers.type} }}"
    half = code.emit(f"insertvalue {pair} undef, {numbers.type} {value[0]}, 0")
    whole = code.emit(f"insertvalue {pair} {half}, {numbers.type} {value[1]}, 1")
    slots = ", ".join(f"{numbers.type} {part}" for parts in names for part in parts)
    body = "\n".join(code.lines)
    text = f"define internal {pair} @{name}({slots}) nounwind {{\n{body}\n  ret {pair} {whole}\n}}"
    return frozenset({text, *code.external})


@cache
def _ln_2() -> Fraction:
    """ln 2 = Σ 1/(j 2^j) to 170 bits."""
    return sum((Fraction(1, j * 2**j) for j in range(1, 180)), Fraction(0))


@cache
def _half_pi() -> Fraction:
    """π/2 by Machin's formula, 8 atan(1/5) - 2 atan(1/239), to 200 bits."""

    def atan(inverse: int) -> Fraction:
        terms = (Fraction((-1) ** j, (2 * j + 1) * inverse ** (2 * j + 1)) for j in range(45))
        return sum(terms, Fraction(0))

    return 8 * atan(5) - 2 * atan(239)


def arithmetic(precision: Precision, code: Code, width: int) -> Any:
    return (Doubles if precision == "double" else DoubleDoubles)(code, width)
