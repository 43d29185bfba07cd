"""What the wheel and the sdist hold, read from pyproject.toml; `make test-wheel` tries them."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TARGETS = PROJECT["tool"]["hatch"]["build"]["targets"]
HOOK = ast.parse((ROOT / "hatch_build.py").read_text(encoding="utf-8"))
[PLACES] = [ast.literal_eval(node.value) for node in HOOK.body if isinstance(node, ast.Assign)]


@pytest.mark.parametrize("package", TARGETS["wheel"]["packages"])
def test_packages_are_typed(package):
    assert (ROOT / package / "py.typed").is_file()


def test_what_is_shipped_is_there():
    for path in PLACES:
        assert any((ROOT / path).iterdir())
    for path in TARGETS["sdist"]["include"]:
        assert (ROOT / path.lstrip("/")).exists(), path


def test_the_wheel_brings_the_reference_rows_where_they_are_looked_for():
    from dysts_bench.records import BUNDLED

    assert not BUNDLED.exists()  # in a checkout results/ is the only place
    inside = BUNDLED.relative_to(ROOT).as_posix()
    assert set(PLACES.values()) == {f"{inside}/reference", f"{inside}/published"}


def test_versions_are_said_once_more_alike():
    version = PROJECT["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_hooks_run_the_pinned_versions():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = re.findall(r"additional_dependencies: \[(.+)\]", hooks)
    assert pins and set(pins) <= set(constraints)


def test_every_dependency_is_pinned_for_make():
    """All but heavy extras that `make` never installs."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = {name.lower().replace("_", "-") for name in re.findall(r"^([\w.-]+)==", text, re.M)}
    extras = PROJECT["project"]["optional-dependencies"]
    needed = PROJECT["project"]["dependencies"] + [
        line
        for extra in ("jax", "torch", "plots", "report", "docs", "browser", "dev")
        for line in extras[extra]
    ]
    names = {re.match(r"[\w.-]+", line).group().lower().replace("_", "-") for line in needed}
    assert names - pinned == set()
