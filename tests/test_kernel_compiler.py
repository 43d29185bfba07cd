"""Kernels are Python: compiled and interpreted they do the same, to the bit."""

import ctypes
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import systems
from systems import dop853_kernel, integrate, kernel_compiler, machine_code
from systems.kernel_compiler import Floats, Ints, KernelError, compile_kernels
from systems.llvm import compile_field

CALL = ctypes.CFUNCTYPE(None, ctypes.c_double, *[ctypes.c_void_p] * 4)


# ---- the whole driver ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Lorenz", "Lorenz96", "MackeyGlass", "StickSlipOscillator"])
def test_the_driver_interpreted_and_compiled_finds_the_same_bits(name, monkeypatch):
    system = systems.load(name)
    times = np.linspace(0, 0.3, 8) * system.period

    def run() -> np.ndarray:
        return integrate.integrate(
            compile_field(system),
            times,
            np.array([system.initial]),
            name=name,
            rtol=1e-9,
            atol=1e-9,
            floor=integrate.floor_of(system),
        )

    compiled = run()
    monkeypatch.setattr(dop853_kernel, "call_field", _call_field)
    monkeypatch.setattr(dop853_kernel, "compiled", lambda: SimpleNamespace(drive=_interpreted))
    assert run().tobytes() == compiled.tobytes()
    assert np.isfinite(compiled).all() and np.ptp(compiled[0], axis=0).max() > 0


def _interpreted(*arguments: object) -> int:
    flat = [part.reshape(-1) if isinstance(part, np.ndarray) else part for part in arguments]
    return DRIVE(*flat)


DRIVE = dop853_kernel.drive


def _call_field(address: int, time: float, *memory: np.ndarray) -> None:
    CALL(address)(time, *(part.ctypes.data for part in memory))


# ---- the language --------------------------------------------------------------------------------

WEIGHTS = ((0, 0.5), (2, 3.0))
SCALE = 10.0


def arithmetic(a: float, b: float, i: int) -> float:
    return -a * b + SCALE / (1.0 + abs(b)) - i * 2 + math.sqrt(abs(a)) - math.pi


def branches(a: float, b: float) -> float:
    if a < b and not (a == b or a > b):
        return 1.0
    elif a > b or b != b:
        return 2.0 if b > 0.0 else 3.0
    return min(a, 4.0) + max(b, 5.0)


def whole_numbers(i: int, j: int) -> int:
    return (i // j) * 7 + i % j - min(i, j)


def first_above(x: Floats, n: int, limit: float) -> int:
    found = -1
    for i in range(n):
        if not x[i] > limit:
            continue
        found = i
        break
    return found


def safe(x: Floats, n: int, i: int) -> float:
    """The right operand is read only where the left one allows it."""
    total = 0.0
    while i < n and x[i] >= 0.0:
        total += x[i]
        i += 1
    return total


def weighted(row: tuple, x: Floats) -> float:
    total = 0.0
    for j, weight in row:
        total += weight * x[j]
    return total


def sums(x: Floats, n: int, out: Floats, seen: Ints) -> None:
    for i in range(1, n - 2):
        out[i] = weighted(WEIGHTS, x[i:])
        seen[0], seen[1] = seen[1], seen[0] + i


def assigns_the_loop_variable(n: int) -> int:
    total = i = 0
    for i in range(n):
        total += i
        i += 5
    return total + 100 * i


def finite(x: float) -> int:
    return 1 if math.isfinite(x) else 0


FUNCTIONS = (
    arithmetic,
    branches,
    whole_numbers,
    first_above,
    safe,
    sums,
    finite,
    assigns_the_loop_variable,
)
doubles = st.floats(-1e6, 1e6)


@pytest.fixture(scope="module")
def kernels() -> SimpleNamespace:
    return kernel_compiler.load_kernels(FUNCTIONS, machine_code.float_literal(0.0))


@given(a=doubles, b=doubles, i=st.integers(-(2**40), 2**40))
def test_arithmetic_and_branches(kernels, a, b, i):
    assert kernels.arithmetic(a, b, i) == arithmetic(a, b, i)
    assert kernels.branches(a, b) == branches(a, b)


@given(i=st.integers(0, 2**55), j=st.integers(1, 2**55))
def test_division_of_whole_numbers(kernels, i, j):
    assert kernels.whole_numbers(i, j) == whole_numbers(i, j)


@given(st.lists(doubles, min_size=4, max_size=9), doubles, st.integers(0, 8))
def test_loops_and_memory(kernels, values, limit, i):
    x = np.array(values)
    assert kernels.first_above(x, len(x), limit) == first_above(x, len(x), limit)
    assert kernels.safe(x, len(x), min(i, len(x))) == safe(x, len(x), min(i, len(x)))
    results = []
    for function in (kernels.sums, sums):
        out, seen = np.zeros(len(x)), np.array([1, 2])
        function(x, len(x), out, seen)
        results.append((out.tobytes(), seen.tobytes()))
    assert results[0] == results[1]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_loop_counts_whatever_its_body_assigns(kernels, n):
    assert kernels.assigns_the_loop_variable(n) == assigns_the_loop_variable(n)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, 1e308])
def test_values_that_are_no_numbers(kernels, value):
    assert kernels.finite(value) == finite(value)
    assert kernels.branches(1.0, value) == branches(1.0, value)
    assert kernels.branches(value, 1.0) == pytest.approx(branches(value, 1.0), nan_ok=True)


def test_arrays_of_another_kind_are_refused(kernels):
    with pytest.raises(ctypes.ArgumentError, match="contiguous arrays of float64"):
        kernels.first_above(np.arange(4), 4, 1.0)
    with pytest.raises(ctypes.ArgumentError, match="contiguous"):
        kernels.first_above(np.arange(8.0)[::2], 4, 1.0)


# ---- what is not in it ---------------------------------------------------------------------------


def prints(a: float) -> None:
    print(a)


def slices(x: Floats) -> None:
    x[1:3] = 0.0


def comprehends(n: int) -> int:
    return sum([i for i in range(n)])


def changes_its_type(n: int) -> int:
    n = 0.5
    return n


def mixes(n: int) -> int:
    done = n > 1
    return done + n


def raises_powers(a: float) -> float:
    return a**3


def with_else(n: int) -> int:
    while n > 0:
        n -= 1
    else:
        n = 5
    return n


@pytest.mark.parametrize(
    ("function", "line"),
    [
        (prints, "print(a)"),
        (slices, "x[1:3] = 0.0"),
        (comprehends, "return sum"),
        (changes_its_type, "n = 0.5"),
        (mixes, "return done + n"),
        (raises_powers, "return a ** 3"),
        (with_else, "while n > 0:"),
    ],
)
def test_what_is_not_in_the_language_is_named(function, line):
    with pytest.raises(KernelError) as caught:
        compile_kernels([function])
    assert function.__name__ in str(caught.value)
    assert line in str(caught.value)
