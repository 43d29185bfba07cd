"""Other packages bring systems and models by entry points: a distribution made for the test."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_leaderboard import row
from tiny_suite import cli, elsewhere  # noqa: F401

import systems
from dysts_bench.leaderboard import leaderboard
from dysts_bench.records import to_frame
from systems import CatalogError, UnknownSystemError
from systems.outside import outside_entries

RABINOVICH = {  # the catalog's entry, other parameters
    "states": ["x", "y", "z"],
    "parameters": {"a": 1.1, "g": 0.87},
    "equations": {
        "x": "y*(z - 1 + x**2) + g*x",
        "y": "x*(3*z + 1 - x**2) + g*y",
        "z": "-2*z*(a + x*y)",
    },
    "initial": [-1.0, 0.1, 0.5],
    "period": 2.0,
    "lyapunov_spectrum": [0.2],
    "tags": ["chaotic"],
}
MODELS = '''
from dataclasses import dataclass
from models import Forecaster


@dataclass(kw_only=True)
class Same(Forecaster):
    """The last state."""

    def _fit(self, train, *, dt, validation, seed): ...

    def _predict(self, context, horizon):
        return context[:, -1:].repeat(horizon, axis=1)

    @classmethod
    def small(cls):
        return cls()
'''
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """install("pkg", {name: entry}): as pip would leave the distribution on the path."""
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(site)

    def make(package: str, entries: dict[str, Any] | str, points: str = "") -> None:
        (site / package).mkdir(parents=True)
        (site / package / "__init__.py").touch()
        (site / package / "zoo.py").write_text(MODELS)
        text = entries if isinstance(entries, str) else json.dumps({"systems": entries})
        (site / package / "catalog.json").write_text(text)
        about = site / f"{package}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        points = points or f"{package} = {package}\n"
        (about / "entry_points.txt").write_text(
            f"[dysts_bench.systems]\n{points}"
            f"[dysts_bench.models]\n{package}_same = {package}.zoo:Same\n"
        )
        outside_entries.cache_clear()

    yield make
    for name in [name for name in sys.modules if name.startswith("pkg_")]:
        del sys.modules[name]
    outside_entries.cache_clear()


def test_systems_of_an_installed_package_load_beside_the_catalogs_and_do_not_join_it(
    install: Install,
) -> None:
    before = systems.names()
    install("pkg_circuits", {"Mine": RABINOVICH, "Lorenz": RABINOVICH})
    assert systems.names() == before and systems.outside_names() == ["Mine"]
    mine = systems.load("Mine")
    assert mine.parameters == {"a": 1.1, "g": 0.87} and mine.lyapunov_time == 5.0
    assert systems.load("Lorenz").parameters["sigma"] == 10  # the built-in one
    assert mine.trajectory(50).states.shape == (1, 50, 3)
    with pytest.raises(UnknownSystemError, match="Did you mean `Mine`"):
        systems.load("Mines")


def test_of_two_packages_the_first_by_name_wins(install: Install) -> None:
    install("pkg_b", {"Mine": RABINOVICH | {"period": 3.0}})
    install("pkg_a", {"Mine": RABINOVICH | {"period": 4.0}})
    assert systems.load("Mine").period == 4.0


@pytest.mark.parametrize(
    ("entries", "points", "said"),
    [
        ({"Mine": RABINOVICH}, "mine = pkg_nowhere\n", "`mine` .* names 'pkg_nowhere'.*No module"),
        ({"Mine": RABINOVICH}, "mine = json\n", "`mine` .* names 'json'.*catalog.json"),
        ({"Mine": RABINOVICH | {"period": -1.0}}, "", "systems.Mine.period"),
        ("{", "", "not JSON"),
    ],
)
def test_a_package_without_a_sound_catalog_is_named(
    install: Install, entries: Any, points: str, said: str
) -> None:
    install("pkg_broken", entries, points)
    with pytest.raises(CatalogError, match=said):
        systems.load("Mine")
    assert systems.load("Lorenz").dimension == 3  # the built-in catalog needs none of it


def test_the_commands_know_what_packages_bring(install: Install) -> None:
    install("pkg_circuits", {"Mine": RABINOVICH})
    assert "Mine 3" in cli("list", "systems") and "pkg_circuits_same" in cli("list", "models")
    assert "x**2" in cli("show", "Mine")
    output = cli(
        *("run", "--suite", "tiny.toml", "--jobs", "0", "--systems", "Lorenz,Mine"),
        *("--models", "pkg_circuits_same"),
    )
    assert "2 cells; 0 finished before, 2 to run" in output
    assert "chaotic systems" in output and "1 additional systems" in output


def test_a_system_that_a_suite_does_not_have_makes_nobodys_coverage_incomplete() -> None:
    rows = [row(model, name, 1.0) for model in ("A", "B") for name in ("Lorenz", "Rossler")]
    rows += [row("B", "Mine", 2.0)]
    table = leaderboard(to_frame(rows), systems=["Lorenz", "Rossler"])
    assert table[["group", "model", "systems"]].to_numpy().tolist() == [
        ["chaotic", "A", 2],
        ["chaotic", "B", 2],
        ["outside", "B", 1],
    ]


def test_seconds_are_those_of_one_kind_of_machine() -> None:
    rows = [row("A", name, 1.0, fit_seconds=3.0) for name in ("Lorenz", "Rossler", "Chen")]
    rows += [row("B", "Lorenz", 1.0, fit_seconds=5.0), row("B", "Rossler", 1.0, hardware_id="fast")]
    rows += [row("C", name, 1.0, hardware_id="fast") for name in ("Lorenz", "Rossler")]
    table = leaderboard(to_frame(rows)).set_index("model")
    assert table.loc["A", "fit_seconds"] == 3.0 and table.loc["B", "fit_seconds"] == 5.0
    assert table.loc["C", ["fit_seconds", "predict_seconds"]].isna().all()
