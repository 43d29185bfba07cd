"""Cells that took long come first; the rest stays as it was."""

from pathlib import Path

import pytest
from test_leaderboard import row
from tiny_suite import cli, elsewhere  # noqa: F401

from dysts_bench import records, runner, timings
from dysts_bench.cells import ModelSpec
from dysts_bench.runner import cells
from dysts_bench.task import read_suite, tasks
from dysts_bench.timings import earlier, longest_first


def tiny_cells(*models: str, systems: tuple[str, ...] = ("Lorenz", "Rossler")):
    of = tasks(read_suite("tiny.toml"), list(systems))
    return cells(of, [ModelSpec.parse(model) for model in models], seeds=1)


def told(ordered):
    return [(cell.model.label, cell.task.system) for cell in ordered]


def test_long_cells_come_first_and_short_ones_stay_system_by_system() -> None:
    seconds = {("nvar", "Lorenz"): 3.0, ("nvar", "Rossler"): 20.0, ("linear", "Lorenz"): 7.0}
    seconds |= {("drift", name): 0.1 for name in ("Lorenz", "Rossler")}
    seconds |= {("persistence", "Lorenz"): 0.2}
    every = tiny_cells("drift", "nvar", "persistence", "linear")
    assert told(longest_first(every, seconds)) == [
        ("nvar", "Rossler"),
        ("linear", "Lorenz"),
        ("linear", "Rossler"),  # as long as on the system where it was timed
        ("nvar", "Lorenz"),
        ("drift", "Lorenz"),
        ("persistence", "Lorenz"),
        ("drift", "Rossler"),
        ("persistence", "Rossler"),
    ]


def test_models_that_were_never_timed_come_first_and_without_any_timing_nothing_moves() -> None:
    every = tiny_cells("drift", "nvar", "linear")
    assert longest_first(every, {}) == every
    ordered = longest_first(every, {("drift", "Chen"): 500.0, ("nvar", "Chen"): 0.5})
    assert told(ordered)[:4] == [
        ("linear", "Lorenz"),
        ("linear", "Rossler"),
        ("drift", "Lorenz"),
        ("drift", "Rossler"),
    ]


def test_a_preset_has_timings_of_its_own() -> None:
    every = tiny_cells("nvar", "nvar(orders=((2,),))")
    seconds = {("nvar", "Lorenz"): 2.0, (every[1].model.label, "Lorenz"): 4.0}
    assert [cell.model.label for cell in longest_first(every, seconds)][::2] == [
        every[1].model.label,
        "nvar",
    ]


def test_timings_are_of_this_hardware_only_and_the_longest_of_several_seeds(tmp_path: Path) -> None:
    here, suite = {"hardware_id": records.hardware_id()}, read_suite("tiny.toml")
    rows = [
        row("nvar", "Lorenz", 1.0, fit_seconds=2.0, predict_seconds=0.5, **here),
        row("nvar", "Lorenz", 1.0, seed=1, fit_seconds=3.0, predict_seconds=0.25, **here),
        row("nvar", "Rossler", 1.0, fit_seconds=9.0, predict_seconds=9.0, hardware_id="elsewhere"),
        row("nvar", "Chen", None, status="crash", fit_seconds=None, predict_seconds=None, **here),
        row("nvar", "Lorenz", 1.0, preset="fast", fit_seconds=0.5, predict_seconds=0.0, **here),
    ]
    records.write_csv(tmp_path / "reference" / "tiny" / "nvar.csv.gz", rows)
    other = row("esn", "Lorenz", 1.0, fit_seconds=7.0, predict_seconds=1.0, **here)
    records.write_csv(tmp_path / "local" / "tiny" / "esn.csv", [other])
    of_nvar = {("nvar", "Lorenz"): 3.25, ("nvar:fast", "Lorenz"): 0.5}
    assert earlier(tmp_path, suite, {"nvar"}) == of_nvar
    assert earlier(tmp_path, suite, {"nvar", "esn"}) == of_nvar | {("esn", "Lorenz"): 8.0}
    assert earlier(tmp_path, suite, set()) == earlier(tmp_path / "nowhere", suite, {"nvar"}) == {}


def test_a_run_takes_its_cells_in_this_order(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, execute = [], runner.execute
    monkeypatch.setattr(
        runner,
        "execute",
        lambda plan, *rest, **of: taken.append(plan) or execute(plan, *rest, **of),
    )
    monkeypatch.setattr(timings, "_SHORT", 0.0)
    run = ("run", "--suite", "tiny.toml", "--systems", "Lorenz", "--jobs", "0")
    cli(*run, "--models", "persistence,linear")
    cli(*run, "--models", "persistence,linear", "--overwrite", "always")
    orders = [[cell.model.name for cell in plan.pending] for plan in taken]
    assert orders == [["persistence", "linear"], ["linear", "persistence"]]
