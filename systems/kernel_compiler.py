"""Loops over numbers, written in Python → LLVM IR: the small language of `dop853_kernel`.

numba reads far more of Python, but takes 5 s for the integrator's loops and 0.4 s to be imported;
this compiler takes 0.5 s, once a machine. Kernels remain Python: the tests run them interpreted and
compare bits.

The language: functions whose arguments are annotated `int` (64 bits), `float` (double), `Ints` or
`Floats` (memory, without bounds; what a function writes, no other argument shares), and whose
results are int, float or None. A local variable keeps the type of its first assignment. There are
if, while, for over a range, arithmetic, comparisons, and/or/not, conditional expressions, x[i],
x[i:] (the same memory, from i on), abs, min, max, math.sqrt, math.log, math.isfinite, and calls of
other such functions. `//` and `%` are for numbers ≥ 0; a division by 0 gives inf or nan. Names of
the module are constants. What depends on constants alone is computed here: a loop over a constant
tuple is written out, and so is a function that is called with one.

Operations keep the order in which they are written: no fast-math, no contraction.
"""

import ast
import builtins
import ctypes
import inspect
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np

from systems import machine_code
from systems.machine_code import float_literal

Function = Callable[..., Any]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]

_LLVM = {"int": "i64", "float": "double", "bool": "i1", "Floats": "ptr", "Ints": "ptr"}
_ELEMENT = {"Floats": "float", "Ints": "int"}
# what it does to constants, and the instruction for each type
_ARITHMETIC: dict[type, tuple[Callable[..., Any], dict[str, str]]] = {
    ast.Add: (operator.add, {"int": "add", "float": "fadd"}),
    ast.Sub: (operator.sub, {"int": "sub", "float": "fsub"}),
    ast.Mult: (operator.mul, {"int": "mul", "float": "fmul"}),
    ast.Div: (operator.truediv, {"float": "fdiv"}),
    ast.FloorDiv: (operator.floordiv, {"int": "udiv"}),
    ast.Mod: (operator.mod, {"int": "urem"}),
}
_COMPARISONS: dict[type, tuple[Callable[..., Any], dict[str, str]]] = {
    ast.Lt: (operator.lt, {"int": "icmp slt", "float": "fcmp olt"}),
    ast.LtE: (operator.le, {"int": "icmp sle", "float": "fcmp ole"}),
    ast.Gt: (operator.gt, {"int": "icmp sgt", "float": "fcmp ogt"}),
    ast.GtE: (operator.ge, {"int": "icmp sge", "float": "fcmp oge"}),
    ast.Eq: (operator.eq, {"int": "icmp eq", "float": "fcmp oeq"}),
    ast.NotEq: (operator.ne, {"int": "icmp ne", "float": "fcmp une"}),
}
_INTRINSICS = {abs: "fabs", math.sqrt: "sqrt", math.log: "log"}


class KernelError(TypeError):
    """A kernel that leaves the language: the function, the line, and what it holds."""


def call_field(
    address: int, time: float, states: Floats, delayed: Floats, parameters: Floats, out: Floats
) -> None:
    """Call the right-hand side at `address`: the one function that kernels do not define."""
    raise NotImplementedError("call_field exists in compiled kernels only")


def load_kernels(functions: Sequence[Function], *ingredients: str) -> SimpleNamespace:
    """`functions` as machine code: they take numbers and contiguous arrays, and release the GIL.

    `ingredients` determine what they do, see `machine_code.addresses`.
    """
    names = [function.__name__ for function in functions]
    found = machine_code.addresses(
        names, ingredients, lambda: compile_kernels(functions), optimize=True
    )
    kernels = [_prototype(one)(address) for one, address in zip(functions, found, strict=True)]
    return SimpleNamespace(**dict(zip(names, kernels, strict=True)))


def _prototype(function: Function) -> Any:
    types: dict[Any, Any] = {int: ctypes.c_int64, float: ctypes.c_double, None: None}
    types |= {Floats: _Memory(np.float64), Ints: _Memory(np.int64)}
    *arguments, result = (types[kind] for kind in function.__annotations__.values())
    return ctypes.CFUNCTYPE(result, *arguments)


class _Memory:
    """How ctypes takes an array; numpy's own ndpointer takes 5 µs, which short runs notice."""

    def __init__(self, dtype: type) -> None:
        self.dtype = np.dtype(dtype)

    def from_param(self, array: np.ndarray) -> ctypes.c_void_p:
        if array.dtype != self.dtype or not array.flags.c_contiguous:
            raise TypeError(f"kernels take contiguous arrays of {self.dtype}, not {array.dtype}.")
        return ctypes.c_void_p(array.ctypes.data)


def compile_kernels(functions: Iterable[Function]) -> str:
    """The text of an LLVM module that exports `functions` under their names."""
    module = _Module()
    for function in functions:
        module.name(function, {}, exported=True)
    intrinsics = [f"declare double @llvm.{name}.f64(double)" for name in _INTRINSICS.values()]
    return "\n".join([*intrinsics, *module.definitions, ""])


class _Module:
    """The functions written so far; those that are called are written on the way."""

    def __init__(self) -> None:
        self.definitions: list[str] = []
        self.names: dict[Any, str] = {}

    def name(self, function: Function, constants: dict[str, Any], *, exported: bool = False) -> str:
        """The name of the function that is written out for `constants`."""
        key = function, tuple(constants.items())
        if key not in self.names:
            self.names[key] = function.__name__ + ("" if exported else f".{len(self.names)}")
            text = _Function(self, function, constants).text(self.names[key])
            self.definitions.append(text)
        return self.names[key]


@dataclass(frozen=True)
class _Value:
    """What is known at run time only: its name in the IR and its type. Constants are themselves."""

    name: str
    kind: str


class _Function:
    """One function: statements become lines of IR, variables slots of its stack, which LLVM turns
    into registers."""

    def __init__(self, module: _Module, function: Function, constants: dict[str, Any]) -> None:
        self.module = module
        self.tree = _tree(function)
        self.globals = function.__globals__
        self.constants = dict(constants)
        self.result = _annotation(self.tree.returns)
        self.slots: dict[str, _Value] = {}
        self.lines: list[str] = []
        self.loops: list[tuple[str, str]] = []  # where continue and break go
        self.numbers = count()

    def text(self, name: str) -> str:
        arguments = [
            (argument.arg, _annotation(argument.annotation))
            for argument in self.tree.args.args
            if argument.arg not in self.constants
        ]
        for argument, kind in arguments:
            self.assign(argument, _Value(f"%{argument}", kind))
        self.block(self.tree.body)
        self.line("ret void" if self.result == "None" else "unreachable")
        listed = ", ".join(
            f"{_LLVM[kind]}{' noalias' if kind in _ELEMENT else ''} %{argument}"
            for argument, kind in arguments
        )
        linkage = "internal " if "." in name else ""
        head = f"define {linkage}{_LLVM.get(self.result, 'void')} @{name}({listed}) nounwind {{"
        slots = [f"  {slot.name} = alloca {_LLVM[slot.kind]}" for slot in self.slots.values()]
        return "\n".join([head, "entry:", *slots, *self.lines, "}"])

    # ---- statements --------------------------------------------------------------------------

    def block(self, statements: Sequence[ast.stmt]) -> None:
        for node in statements:
            try:
                self.statement(node)
            except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
                if isinstance(error, KernelError):
                    raise
                raise KernelError(
                    f"{self.tree.name}: `{ast.unparse(node).splitlines()[0]}` is not in the "
                    f"language of kernels ({type(error).__name__}: {error})."
                ) from error

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=parts)):
                values = [self.value(part) for part in parts]
                for target, value in zip(targets, values, strict=True):
                    self.put(target, value)
            case ast.Assign(targets=targets, value=right):
                value = self.value(right)
                for target in targets:
                    self.put(target, value)
            case ast.AugAssign(target=target, op=op, value=value):
                self.put(target, self.arithmetic(op, self.value(target), self.value(value)))
            case ast.If(test=test, body=body, orelse=orelse):
                self.either(self.value(test), lambda: self.block(body), lambda: self.block(orelse))
            case ast.While(test=test, body=body, orelse=[]):
                self.loop(lambda: self.value(test), lambda: self.block(body), lambda: None)
            case ast.For(
                target=ast.Name(id=name),
                iter=ast.Call(func=ast.Name(id="range"), args=bounds),
                body=body,
                orelse=[],
            ):
                self.counted(name, [self.value(bound) for bound in bounds], body)
            case ast.For(target=target, iter=over, body=body, orelse=[]):
                self.written_out(target, self.value(over), body)
            case ast.Continue():
                self.leave(f"br label %{self.loops[-1][0]}")
            case ast.Break():
                self.leave(f"br label %{self.loops[-1][1]}")
            case ast.Return(value=ast.expr() as value):
                self.leave(f"ret {self.typed(self.value(value), self.result)}")
            case ast.Expr(value=ast.Constant(value=str())):
                pass  # the docstring
            case ast.Expr(value=ast.Call() as value):
                self.value(value)
            case _:
                raise TypeError("no such statement")

    def put(self, target: ast.expr, value: Any) -> None:
        match target:
            case ast.Name(id=name):
                self.assign(name, value)
            case ast.Subscript(value=memory, slice=index):
                place, kind = self.place(self.value(memory), self.value(index))
                self.line(f"store {self.typed(value, kind)}, ptr {place.name}")
            case _:
                raise TypeError("no such target")

    def assign(self, name: str, value: Any) -> None:
        assert name not in self.constants, f"{name} is a constant"
        slot = self.slots.setdefault(name, _Value(f"%{name}.slot", _kind(value)))
        self.line(f"store {self.typed(value, slot.kind)}, ptr {slot.name}")

    def either(self, test: Any, yes: Callable[[], Any], no: Callable[[], Any]) -> Any:
        """What `yes` or `no` returns; only one of them is done."""
        if not isinstance(test, _Value):
            return yes() if test else no()
        number = next(self.numbers)
        self.line(f"br i1 {test.name}, label %yes.{number}, label %no.{number}")
        for label, branch in (("yes", yes), ("no", no)):
            self.label(f"{label}.{number}")
            value = branch()
            if value is not None:
                self.assign(f"either.{number}", value)
            self.line(f"br label %after.{number}")
        self.label(f"after.{number}")
        return None if value is None else self.variable(f"either.{number}")

    def loop(
        self, test: Callable[[], Any], body: Callable[[], None], step: Callable[[], None]
    ) -> None:
        number = next(self.numbers)
        self.line(f"br label %test.{number}")
        self.label(f"test.{number}")
        self.line(f"br {self.typed(test(), 'bool')}, label %body.{number}, label %after.{number}")
        self.label(f"body.{number}")
        self.loops.append((f"step.{number}", f"after.{number}"))
        body()
        self.loops.pop()
        self.line(f"br label %step.{number}")
        self.label(f"step.{number}")
        step()
        self.line(f"br label %test.{number}")
        self.label(f"after.{number}")

    def counted(self, name: str, bounds: Sequence[Any], body: Sequence[ast.stmt]) -> None:
        start, end = bounds if len(bounds) == 2 else (0, *bounds)
        counter = f"{name}.{next(self.numbers)}"
        self.assign(counter, start)

        def once() -> None:
            self.assign(name, self.variable(counter))
            self.block(body)

        self.loop(
            lambda: self.compare(ast.Lt(), self.variable(counter), end),
            once,
            lambda: self.assign(counter, self.arithmetic(ast.Add(), self.variable(counter), 1)),
        )

    def written_out(self, target: ast.expr, items: Any, body: Sequence[ast.stmt]) -> None:
        assert isinstance(items, tuple), "neither a range nor a constant tuple"
        names = [part.id for part in ast.walk(target) if isinstance(part, ast.Name)]
        for item in items:
            self.constants |= zip(names, item if len(names) > 1 else (item,), strict=True)
            self.block(body)

    def leave(self, instruction: str) -> None:
        self.line(instruction)
        self.label(f"never.{next(self.numbers)}")

    # ---- expressions -------------------------------------------------------------------------

    def value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return self.variable(name)
            case ast.Attribute(value=owner, attr=name):
                return getattr(self.value(owner), name)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self.arithmetic(ast.Mult(), -1, self.value(operand))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self.either(self.value(operand), lambda: False, lambda: True)
            case ast.BinOp(left=left, op=op, right=right):
                return self.arithmetic(op, self.value(left), self.value(right))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self.compare(op, self.value(left), self.value(right))
            case ast.BoolOp(op=op, values=[first, *others]):
                rest = ast.BoolOp(op, others) if len(others) > 1 else others[0]
                if isinstance(op, ast.And):
                    return self.either(self.value(first), lambda: self.value(rest), lambda: False)
                return self.either(self.value(first), lambda: True, lambda: self.value(rest))
            case ast.IfExp(test=test, body=yes, orelse=no):
                return self.either(
                    self.value(test), lambda: self.value(yes), lambda: self.value(no)
                )
            case ast.Subscript(
                value=memory, slice=ast.Slice(lower=ast.expr() as lower, upper=None)
            ):
                return self.place(self.value(memory), self.value(lower))[0]
            case ast.Subscript(value=memory, slice=index):
                return self.element(self.value(memory), self.value(index))
            case ast.Call(func=function, args=arguments, keywords=[]):
                return self.call(self.value(function), [self.value(part) for part in arguments])
        raise TypeError("no such expression")

    def variable(self, name: str) -> Any:
        if name in self.constants:
            return self.constants[name]
        if name in self.slots:
            slot = self.slots[name]
            return self.emit(f"load {_LLVM[slot.kind]}, ptr {slot.name}", slot.kind)
        return self.globals[name] if name in self.globals else getattr(builtins, name)

    def arithmetic(self, op: ast.operator, a: Any, b: Any) -> Any:
        compute, instructions = _ARITHMETIC[type(op)]
        if not _runs(a, b):
            return compute(a, b)
        kind = "float" if isinstance(op, ast.Div) else _common(a, b)
        return self.emit(f"{instructions[kind]} {self.typed(a, kind)}, {self.bare(b, kind)}", kind)

    def compare(self, op: ast.cmpop, a: Any, b: Any) -> Any:
        compute, instructions = _COMPARISONS[type(op)]
        if not _runs(a, b):
            return compute(a, b)
        kind = _common(a, b)
        return self.emit(
            f"{instructions[kind]} {self.typed(a, kind)}, {self.bare(b, kind)}", "bool"
        )

    def element(self, memory: Any, index: Any) -> Any:
        if not isinstance(memory, _Value):
            return memory[index]
        place, kind = self.place(memory, index)
        return self.emit(f"load {_LLVM[kind]}, ptr {place.name}", kind)

    def place(self, memory: _Value, index: Any) -> tuple[_Value, str]:
        """Where memory[index] is, and the type of what is there."""
        kind = _ELEMENT[memory.kind]
        offset = self.typed(index, "int")
        text = f"getelementptr {_LLVM[kind]}, ptr {memory.name}, {offset}"
        return self.emit(text, memory.kind), kind

    def call(self, function: Any, arguments: Sequence[Any]) -> Any:
        if function in (min, max):
            return self.extreme(ast.Lt() if function is min else ast.Gt(), *arguments)
        if function in _INTRINSICS:
            (x,) = (self.typed(argument, "float") for argument in arguments)
            return self.emit(f"call double @llvm.{_INTRINSICS[function]}.f64({x})", "float")
        if function is math.isfinite:
            return self.compare(ast.Lt(), self.call(abs, arguments), math.inf)
        if function is call_field:
            address, *others = self.operands(function, arguments)
            target = self.emit(f"inttoptr {address} to ptr", "Floats")
            self.line(f"call void {target.name}({', '.join(others)})")
            return None
        assert isinstance(function, FunctionType), f"{function} is no kernel"
        return self.call_kernel(function, arguments)

    def extreme(self, op: ast.cmpop, a: Any, b: Any) -> Any:
        """b where it compares so with a, else a: as in Python."""
        if not _runs(a, b):
            return b if self.compare(op, b, a) else a
        kind, condition = _common(a, b), self.compare(op, b, a)
        return self.emit(
            f"select i1 {condition.name}, {self.typed(b, kind)}, {self.typed(a, kind)}", kind
        )

    def call_kernel(self, function: Function, arguments: Sequence[Any]) -> Any:
        parameters = [argument.arg for argument in _tree(function).args.args]
        constants = {
            name: value
            for name, value in zip(parameters, arguments, strict=True)
            if isinstance(value, tuple)
        }
        listed = ", ".join(self.operands(function, arguments))
        result = _annotation(_tree(function).returns)
        text = f"@{self.module.name(function, constants)}({listed})"
        if result == "None":
            self.line(f"call void {text}")
            return None
        return self.emit(f"call {_LLVM[result]} {text}", result)

    def operands(self, function: Function, arguments: Sequence[Any]) -> list[str]:
        """The arguments as operands of a call, but for constant tuples."""
        return [
            self.typed(value, _annotation(argument.annotation))
            for argument, value in zip(_tree(function).args.args, arguments, strict=True)
            if not isinstance(value, tuple)
        ]

    # ---- lines -------------------------------------------------------------------------------

    def typed(self, value: Any, kind: str) -> str:
        return f"{_LLVM[kind]} {self.bare(value, kind)}"

    def bare(self, value: Any, kind: str) -> str:
        """`value` as an operand of type `kind`, without the type."""
        found = _kind(value)
        assert found == kind or (found, kind) == ("int", "float"), f"{found}, not {kind}"
        if not isinstance(value, _Value):
            return float_literal(value) if kind == "float" else str(int(value))
        if found == kind:
            return value.name
        return self.emit(f"sitofp i64 {value.name} to double", kind).name

    def emit(self, instruction: str, kind: str) -> _Value:
        value = _Value(f"%v{next(self.numbers)}", kind)
        self.line(f"{value.name} = {instruction}")
        return value

    def line(self, instruction: str) -> None:
        self.lines.append(f"  {instruction}")

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")


@cache
def _tree(function: Function) -> ast.FunctionDef:
    (tree,) = ast.parse(inspect.getsource(function)).body
    assert isinstance(tree, ast.FunctionDef)
    return tree


def _annotation(annotation: ast.expr | None) -> str:
    assert annotation is not None, "arguments and results are annotated"
    return ast.unparse(annotation)


def _runs(*values: Any) -> bool:
    return any(isinstance(value, _Value) for value in values)


def _kind(value: Any) -> str:
    return value.kind if isinstance(value, _Value) else type(value).__name__


def _common(a: Any, b: Any) -> str:
    kinds = {_kind(a), _kind(b)}
    if kinds == {"int", "float"}:
        return "float"
    (kind,) = kinds
    return kind
