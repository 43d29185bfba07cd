"""Who imports whom: read from the files, and looked at in fresh processes."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("systems", "models", "dysts_bench")
# at import time, a file of `systems` imports files of earlier groups only
SYSTEMS = (
    {"expr"},
    {"lower"},
    {"families"},
    {"catalog", "machine_code", "tableaux", "trajectory"},
    {"outside"},
    {"llvm", "calculus", "kernel_compiler", "lanes", "storage", "windows", "split", "gates"},
    {"random_streams", "series_graph", "taylor_reference", "delay_reference"},
    {"dop853_kernel", "taylor_kernel"},
    {"integrate", "jets"},
    {"integrate_diffrax", "integrate_taylor", "tangent"},
    {"solve", "delay_spectrum"},
    {"burn_in"},
    {"generate"},
    {"lyapunov", "process_noise", "attractor"},
    {"streaming", "perturbation"},
    {"calibrate", "certify", "dataset", "check"},
    {"literature"},
    {"__init__"},
)
HEAVY = {"jax", "torch", "sympy", "numba", "darts", "pandas", "scipy.stats"}
LIGHT = [
    *PACKAGES,
    "models.base",
    "dysts_bench.task",
    "dysts_bench.records",
    "dysts_bench.metrics",
]


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(p): p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))}


def imports(module: str, *, lazy: bool) -> set[str]:
    """What the file imports at import time; with `lazy`, also inside functions. What stands under
    `if TYPE_CHECKING` is never imported. `from package import name` counts as `package.name`
    where that is a module of ours."""
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    return {name for node in _statements(tree, lazy) for name in _names(node, module)}


def _statements(node: ast.AST, lazy: bool) -> Iterator[ast.stmt]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _statements(other, lazy)
        elif lazy or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _statements(child, lazy)


def _names(node: ast.stmt, module: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{module}: imports are absolute"
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            is_module = full in FILES or node.module in ("scipy",)
            yield full if is_module else str(node.module)


def ours(names: set[str]) -> set[str]:
    return {name for name in names if name.split(".")[0] in PACKAGES}


def test_the_walk_sees_what_is_there():
    assert len(FILES) > 25 and "systems.generate" in FILES and "dysts_bench" in FILES
    assert "systems.catalog" in imports("systems.generate", lazy=False)
    assert "pandas" not in imports("systems.trajectory", lazy=False)
    assert "pandas" in imports("systems.trajectory", lazy=True)
    assert "systems.llvm" in imports("systems.integrate", lazy=False)
    assert "systems" not in imports("systems.integrate", lazy=False)


def test_the_wheel_holds_these_three_packages():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == list(PACKAGES)


@pytest.mark.parametrize("module", [m for m in FILES if not m.startswith("dysts_bench")])
def test_systems_and_models_import_neither_each_other_nor_the_judge(module):
    own = module.split(".")[0]
    foreign = {n for n in ours(imports(module, lazy=True)) if n.split(".")[0] != own}
    assert foreign == set()


@pytest.mark.parametrize("module", FILES)
def test_nothing_imports_the_command_line(module):
    found = imports(module, lazy=True)
    if module != "dysts_bench.__main__":
        assert not {name for name in found if name.startswith("dysts_bench.cli")}
    if module != "dysts_bench.cli" and not module.startswith("dysts_bench.commands"):
        assert not {name for name in found if name.startswith("dysts_bench.commands")}


@pytest.mark.parametrize("module", [m for m in FILES if m.startswith("systems.")])
def test_systems_build_on_each_other_in_one_direction(module):
    """expr ← lower ← catalog ← llvm ← integrators ← solve ← generate ← lyapunov ← calibrate.
    A method of `System` that needs a later file imports it when it is called."""

    def level(name: str) -> int:
        return next(i for i, group in enumerate(SYSTEMS) if name in group)

    short = module.removeprefix("systems.")
    for name in ours(imports(module, lazy=False)):
        assert level(name.removeprefix("systems.")) < level(short), f"{module} imports {name}"


@pytest.mark.parametrize("module", [m for m in FILES if m.startswith("models.")])
def test_a_model_does_not_import_another_models_file(module):
    allowed = {"models.base", "models.ssm", "models.checks"}
    if module == "models.composed":  # asks the zoo for others by name
        allowed.add("models")
    for name in ours(imports(module, lazy=True)):
        shared = name.rsplit(".", 1)[-1].startswith("_")
        assert shared or name in allowed, f"{module} imports {name}"


@pytest.mark.parametrize("module", [m for m in FILES if m.startswith("dysts_bench.metrics")])
def test_metrics_import_numbers_only(module):
    for name in imports(module, lazy=True):
        library = name.split(".")[0]
        known = (
            library in ("numpy", "scipy", "numba", "jaxtyping")
            or library in sys.stdlib_module_names
        )
        assert known or name.startswith("dysts_bench.metrics"), f"{module} imports {name}"


def test_the_leaderboard_imports_statistics_and_how_tables_are_written_only():
    def found(name):
        return ours(imports(f"dysts_bench.{name}", lazy=True))

    assert found("leaderboard") == {"dysts_bench.standings", "dysts_bench.tables"}
    assert found("standings") == {"dysts_bench.quantiles"}
    assert found("quantiles") == found("tables") == set()


@pytest.mark.parametrize("module", [m for m in FILES if m.startswith("systems.")])
def test_only_calculus_and_lowering_know_sympy(module):
    """A round trip through sympy on the trajectory path would change bits."""
    if module not in ("systems.calculus", "systems.lower"):
        assert "sympy" not in imports(module, lazy=True)


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_import_nothing_heavy_not_even_through_others(module):
    seen, todo = set(), [module]
    while todo:
        current = todo.pop()
        seen.add(current)
        found = imports(current, lazy=False)
        heavy = {name for name in found for h in HEAVY if name == h or name.startswith(h + ".")}
        assert not heavy, f"{module}: {current} imports {heavy}"
        # importing a.b.c runs a and a.b first
        for name in ours(found):
            parts = name.split(".")
            prefixes = {".".join(parts[: i + 1]) for i in range(len(parts))}
            todo += sorted((prefixes & set(FILES)) - seen)


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh process has loaded after `code`."""
    script = f"{code}\nimport sys\nsys.stderr.write(chr(10).join(sys.modules))"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stderr.split())


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_load_nothing_heavy(module):
    assert HEAVY & loaded_by(f"import {module}") == set()


def test_help_loads_nothing_heavy_and_not_even_numpy():
    code = (
        "import runpy, sys\n"
        "sys.argv = ['dysts-bench', '--help']\n"
        "try:\n    runpy.run_module('dysts_bench', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code"
    )
    loaded = loaded_by(code)
    assert "dysts_bench.cli" in loaded
    assert loaded & (HEAVY | {"numpy", "scipy", "systems.catalog"}) == set()


def test_a_trajectory_needs_no_heavy_library():
    code = "import systems; systems.load('Lorenz').trajectory(5, cache=False)"
    assert loaded_by(code) & HEAVY == set()
