"""Machine code from the cache does what fresh code does, to the bit, and the cache never harms."""

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import systems
from systems import dop853_kernel, integrate, machine_code

# delays, jumps, an explicit time, libm functions, 2 to 10 states
NAMES = [
    "Lorenz",
    "MackeyGlass",
    "StickSlipOscillator",
    "Duffing",
    "CellCycle",
    "Hopfield",
    "MacArthur",
    "DoublePendulum",
    "ExcitableCell",
    "Thomas",
]
START = f"""
import sys, systems
from systems import machine_code

compiled = 0
compile = machine_code._compile

def counted(*arguments):
    global compiled
    compiled += 1
    return compile(*arguments)

machine_code._compile = counted
machine_code.WORTH_STORING = 0.0  # on a fast machine, too
made = systems.make_dataset({NAMES}, 200, transient=1, observe="states", cache=False)
heavy = {{"numba", "scipy", "sympy", "jax", "pandas"}} & set(sys.modules)
print(compiled, ",".join(sorted(heavy)) or "none", *(made[name].hash for name in made))
"""
ANSWER = "define double @answer() {{\n  ret double {}\n}}\n"


def start(cache: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"DYSTS_BENCH_CACHE": str(cache)}
    return subprocess.Popen(
        [sys.executable, "-c", START], env=environment, stdout=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, list[str]]:
    """How many modules were compiled, which heavy libraries were imported, and all hashes."""
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    compiled, heavy, *hashes = output.split()
    return int(compiled), heavy, hashes


def test_a_warm_start_compiles_nothing_imports_nothing_heavy_and_finds_the_same_bits(cache_folder):
    cold = finish(start(cache_folder))
    warm = finish(start(cache_folder))
    # the loops of each integrator, the fields of those for DOP853, and the steps of the others in
    # each precision: one module for many systems
    assert cold[0] == 5
    assert warm[0] == 0
    assert cold[1] == warm[1] == "none"
    assert cold[2] == warm[2]
    assert len(set(warm[2])) == len(NAMES)


def test_processes_that_build_at_the_same_time_do_not_disturb_each_other(cache_folder):
    both = [finish(process) for process in [start(cache_folder) for _ in range(2)]]
    assert both[0][2] == both[1][2]
    assert finish(start(cache_folder))[0] == 0
    assert all(path.suffix == ".o" for path in (cache_folder / "code").iterdir())


def test_a_start_without_a_writable_cache_works(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert finish(start(blocked))[2] == finish(start(tmp_path / "cache"))[2]
    assert blocked.read_text() == "not a folder"


# ---- one small module ----------------------------------------------------------------------------


@pytest.fixture
def answer(monkeypatch, cache_folder) -> Callable[..., tuple[float, bool]]:
    """What a module returns in a fresh process, and whether it had to be compiled."""
    monkeypatch.setattr(machine_code, "WORTH_STORING", 0.0)

    def evaluate(value: float = 42.0, ingredients: tuple[str, ...] = ("a",)) -> tuple[float, bool]:
        written = []

        def write() -> str:
            written.append(value)
            return ANSWER.format(machine_code.float_literal(value))

        monkeypatch.setattr(machine_code, "_loaded", {})
        (address,) = machine_code.addresses(["answer"], ingredients, write)
        return _call(address), bool(written)

    return evaluate


def _call(address: int) -> float:
    return ctypes.CFUNCTYPE(ctypes.c_double)(address)()


def stored(cache: Path) -> Path:
    (path,) = (cache / "code").iterdir()
    return path


def test_a_module_is_compiled_once(answer):
    assert [answer(), answer()] == [(42.0, True), (42.0, False)]


def test_other_ingredients_are_another_module(answer):
    assert answer(1.0, ("a", "b")) == (1.0, True)
    assert answer(2.0, ("ab",)) == (2.0, True)
    assert answer(3.0, ("a", "b")) == (1.0, False)


@pytest.mark.parametrize("fact", ["get_host_cpu_name", "get_process_triple"])
def test_another_machine_makes_its_own(monkeypatch, fact):
    here = machine_code._key(["a"])
    monkeypatch.setattr(f"llvmlite.binding.{fact}", lambda: "another")
    assert machine_code._key(["a"]) != here


def test_another_compiler_makes_its_own(monkeypatch):
    here = machine_code._key(["a"])
    monkeypatch.setattr("llvmlite.__version__", "0.0")
    assert machine_code._key(["a"]) != here


@pytest.mark.parametrize(
    "damage",
    [
        lambda code: b"",
        lambda code: code[:100],
        lambda code: code[:-1] + bytes([code[-1] ^ 1]),
        lambda code: bytes([code[0] ^ 1]) + code[1:],
    ],
    ids=["empty", "torn", "altered code", "altered checksum"],
)
def test_a_damaged_file_is_made_again(answer, cache_folder, damage):
    answer()
    whole = stored(cache_folder).read_bytes()
    stored(cache_folder).write_bytes(damage(whole))
    assert answer() == (42.0, True)
    assert stored(cache_folder).read_bytes() == whole
    assert answer() == (42.0, False)


def test_a_file_under_another_files_name_is_not_loaded(answer, cache_folder):
    answer(1.0, ("one",))
    one = stored(cache_folder)
    answer(2.0, ("two",))
    (two,) = set((cache_folder / "code").iterdir()) - {one}
    two.write_bytes(one.read_bytes())
    assert answer(2.0, ("two",)) == (2.0, True)


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_may_write_to_is_not_loaded(answer, cache_folder, mode):
    answer()
    stored(cache_folder).chmod(mode)
    assert answer() == (42.0, True)
    assert stored(cache_folder).stat().st_mode & 0o777 == 0o600
    assert answer() == (42.0, False)


def test_what_is_made_quickly_is_not_kept(answer, cache_folder, monkeypatch):
    monkeypatch.setattr(machine_code, "WORTH_STORING", 60.0)
    assert [answer(), answer()] == [(42.0, True), (42.0, True)]
    assert not (cache_folder / "code").exists()


# ---- what machine code promises ------------------------------------------------------------------


def test_products_and_sums_are_not_fused(make_system):
    x = 1 + 2.0**-30  # x*x is not a double: its rounding is 2^-60
    system = make_system({"x": "x*x - y", "y": "x"}, [1.0, 0.0])
    assert system.rhs("compiled")(np.array([x, x * x]))[0] == 0.0


def test_other_threads_go_on_while_a_trajectory_is_computed(monkeypatch):
    monkeypatch.setattr(integrate._Run, "steps_per_call", 10**9)
    dop853_kernel.compiled()
    lorenz = systems.load("Lorenz")
    times = np.array([2e4 * lorenz.period])  # about half a second in one call
    thread = threading.Thread(target=systems.simulate, args=(lorenz, times))
    thread.start()
    ticks = 0
    while thread.is_alive():
        ticks += 1
        time.sleep(0.001)
    assert ticks > 10
