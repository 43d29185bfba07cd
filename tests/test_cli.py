"""The commands as a user types them, on a real system with a suite small enough for a test."""

import csv
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console
from tiny_suite import TINY, cli, elsewhere  # noqa: F401

from dysts_bench import display
from dysts_bench.commands import running
from dysts_bench.leaderboard import COLUMNS
from dysts_bench.records import read_csv
from dysts_bench.store import Store


def run_tiny(*arguments, code=0, jobs="0"):
    return cli(
        "run", "--suite", "tiny.toml", "--systems", "Lorenz", "--jobs", jobs, *arguments, code=code
    )


# ---- run and leaderboard ---------------------------------------------------------------------


def test_a_run_ends_with_the_leaderboard_and_the_next_resumes(tmp_path):
    first = run_tiny("--models", "persistence,naive_mean")
    assert "2 cells; 0 finished before, 2 to run" in first
    assert "valid_prediction_time (Lyapunov times), chaotic systems" in first
    with (tmp_path / "results" / "leaderboard-tiny.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert {row["model"] for row in rows} == {"persistence", "naive_mean"}
    assert {(row["source"], row["systems"], row["failures"]) for row in rows} == {
        ("local", "1", "0")
    }
    table = (tmp_path / "results" / "leaderboard-tiny.csv").read_bytes()
    assert "2 finished before, 0 to run" in run_tiny("--models", "persistence,naive_mean")
    assert (tmp_path / "results" / "leaderboard-tiny.csv").read_bytes() == table


def test_the_profile_says_which_models_run_unless_others_are_named(tmp_path):
    assert "1 models on 1 systems: 1 cells" in run_tiny()
    folder = tmp_path / "results" / "local" / "tiny"
    assert sorted(path.name for path in folder.glob("*.csv")) == ["persistence.csv"]
    run_tiny("--model", "mine.py:Good")
    assert {path.name for path in folder.glob("*.csv")} == {"persistence.csv", "Good.csv"}


def test_a_profiles_models_for_a_subset_run_on_that_part_of_the_systems_named(tmp_path):
    output = run_tiny("--systems", "Lorenz,Rossler")
    assert "1 models on 2 systems and 1 models on 1 systems: 3 cells" in output
    assert "one: 1 chaotic systems" in output
    rows = read_csv(tmp_path / "results" / "local" / "tiny" / "drift.csv")
    assert {row.system for row in rows} == {"Rossler"}
    assert "1 models on 1 systems: 1 cells" in run_tiny("--systems", "one", "--models", "drift")
    found = json.loads(cli("leaderboard", "--suite", "tiny.toml", "--format", "json"))
    assert {(e["group"], e["model"], e["systems"]) for e in found} == {
        ("chaotic", "persistence", 2),
        ("chaotic", "drift", 1),
        ("one", "persistence", 1),
        ("one", "drift", 1),
    }


def test_a_system_wins_over_a_subset_whose_name_is_like_its_own(tmp_path):
    (tmp_path / "tiny.toml").write_text(
        TINY.replace("one =", "lorenz =").replace("also.one", "also.lorenz")
    )
    assert "1 models on 1 systems: 1 cells" in run_tiny("--models", "drift")  # Lorenz, the system


def test_ones_own_model_ranks_beside_the_reference_without_running_it_again(tmp_path):
    run_tiny("--models", "persistence")
    (tmp_path / "results" / "local").rename(tmp_path / "results" / "reference")
    assert "1 cells" in run_tiny("--model", "mine.py:Good")
    found = json.loads(cli("leaderboard", "--suite", "tiny", "--format", "json"))
    assert {(e["model"], e["source"], e["win_rate"]) for e in found} == {
        ("persistence", "reference", 0.5),  # Good is persistence under another name
        ("Good", "local", 0.5),
    }


@pytest.mark.parametrize("typed", [["--results", "{}"], ["--results", "{}/"], ["--results={}"]])
def test_a_manifest_does_not_say_where_on_a_machine_results_lie(tmp_path, monkeypatch, typed):
    folder = tmp_path / "of" / "mine"
    given = [word.format(folder) for word in typed]
    monkeypatch.setattr(sys, "argv", ["/usr/bin/dysts-bench", "run", "--models", "drift", *given])
    command = running._command(Store(folder / "local" / "tiny"))
    assert command[:4] == ["dysts-bench", "run", "--models", "drift"]
    assert " ".join(command[4:]).replace("=", " ") == "--results results"


def test_a_model_with_hyperparameters_runs_beside_the_model_without(tmp_path):
    output = run_tiny("--models", "seasonal,seasonal(period=9.5, longest=40)")
    assert "2 models" in output and "seasonal:period=9.5,longest=40" in output
    rows = read_csv(tmp_path / "results" / "local" / "tiny" / "seasonal.csv")
    assert {row.preset for row in rows} == {"", "period=9.5,longest=40"}
    given = json.loads(next(row.hyperparameters for row in rows if row.preset))
    assert (given["period"], given["longest"], given["zero_shot"]) == (9.5, 40, True)


def test_a_pretrained_model_runs_with_its_weights_and_again_with_others(tmp_path):
    pytest.importorskip("chronos")
    import tiny_weights

    named = f"chronos2(weights={tiny_weights.chronos2(tmp_path / 'w')})"
    assert "0 finished before, 1 to run" in run_tiny("--models", named)
    path = tmp_path / "results" / "local" / "tiny" / "chronos2.csv"
    before = read_csv(path)
    primary = [row for row in before if row.metric == "valid_prediction_time"]
    assert {row.status for row in primary} == {"ok"}
    recorded = json.loads(before[0].hyperparameters)
    assert recorded["zero_shot"] is True and recorded["trained_on"] and recorded["weights_hash"]
    assert "1 finished before, 0 to run" in run_tiny("--models", named)
    tiny_weights.chronos2(tmp_path / "w", seed=1)
    assert "0 finished before, 1 to run" in run_tiny("--models", named)
    after = read_csv(path)
    assert len(after) == len(before)
    assert json.loads(after[0].hyperparameters)["weights_hash"] != recorded["weights_hash"]


def test_all_models_are_those_that_need_no_weights_and_it_says_so():
    import models

    output = run_tiny("--models", "all", "--data-only")
    assert f"{len(models.self_contained())} models" in output
    assert "chronos2, timesfm, panda need weights and are left out" in output
    assert "left out" not in run_tiny("--data-only")
    assert "chronos2 (weights=path) Chronos-2" in cli("list", "models")


def test_a_dying_model_in_worker_processes_costs_its_own_rows_only(tmp_path):
    output = run_tiny("--models", "persistence", "--model", "mine.py:Exits", jobs="2")
    assert "Lorenz: Exits: crash: the process ended with exit code 3" in output
    folder = tmp_path / "results" / "local" / "tiny"
    dead, alive = read_csv(folder / "Exits.csv"), read_csv(folder / "persistence.csv")
    assert {(row.status, row.value) for row in dead} == {("crash", None)}
    primary = [row for row in alive if row.metric == "valid_prediction_time"]
    assert [row.status for row in primary] == ["ok"] * 3


def test_worker_processes_and_this_process_give_the_same_scores(tmp_path):
    def values(results, jobs):
        run_tiny("--models", "linear", "--results", results, jobs=jobs)
        rows = read_csv(tmp_path / results / "local" / "tiny" / "linear.csv")
        return [(row.metric, row.window, row.value, row.data_hash) for row in rows]

    assert values("here", "0") == values("there", "1")


def test_kept_forecasts_are_scored_anew_where_a_suite_gains_a_metric(tmp_path):
    run_tiny("--models", "linear", "--keep-forecasts")
    (tmp_path / "tiny.toml").write_text(TINY.replace('"smape", ', '"smape", "mae", '))
    arguments = ("--suite", "tiny.toml", "--systems", "Lorenz", "--jobs", "0")
    output = cli("rescore", *arguments, "--models", "linear,drift")
    assert "1 of 2 cells to score anew, 0 are as they should be, 1 have no forecasts" in output
    folder = tmp_path / "results" / "local" / "tiny"
    assert "mae" in {row.metric for row in read_csv(folder / "linear.csv")}
    assert not (folder / "drift.csv").exists()
    assert "1 finished before, 1 to run" in cli("run", *arguments, "--models", "linear,drift")


def test_data_only_makes_the_data_and_no_results(tmp_path):
    run_tiny("--data-only")
    assert list((tmp_path / "cache").rglob("Lorenz-*.npz"))
    assert not list(tmp_path.rglob("leaderboard*.csv"))


def test_the_leaderboard_is_written_in_the_format_asked_for(tmp_path):
    run_tiny()
    cli("leaderboard", "--suite", "tiny", "--metric", "smape", "--output", "smape.csv")
    assert (tmp_path / "smape.csv").read_text().startswith(",".join(COLUMNS))
    assert "| group | model |" in cli("leaderboard", "--suite", "tiny", "--format", "markdown")


def test_a_leaderboard_says_its_formulas_its_baseline_and_who_is_told_apart():
    run_tiny("--models", "persistence,drift", "--systems", "Lorenz,Rossler")
    printed = cli("leaderboard", "--suite", "tiny.toml")
    assert "Skill: 1 - geometric mean over systems of baseline / value, each within 0.01" in printed
    assert "baseline: persistence." in printed
    assert "2 entries on 2 chaotic systems, on which all were asked: Not told apart" in printed
    against = json.loads(
        cli("leaderboard", "--suite", "tiny.toml", "--baseline", "drift", "--format", "json")
    )
    assert {e["model"]: e["baseline"] for e in against} == {
        "persistence": "drift",
        "drift": "drift",
    }
    assert "Did you mean" not in cli("leaderboard", "--baseline", "dirft", code=2)
    assert "There are drift" in cli(
        "leaderboard", "--suite", "tiny.toml", "--baseline", "dirft", code=2
    )


def test_one_system_has_a_leaderboard_and_nobody_told_apart():
    run_tiny("--models", "persistence,drift")
    printed = cli("leaderboard", "--suite", "tiny.toml")
    assert "persistence" in printed and "told apart" not in printed


def test_a_leaderboard_by_groups_of_systems_has_a_table_for_each():
    run_tiny("--systems", "Lorenz,MackeyGlass")
    found = json.loads(
        cli("leaderboard", "--suite", "tiny.toml", "--by", "dimension", "--format", "json")
    )
    assert [(e["group"], e["systems"]) for e in found] == [
        ("dimension 3", 1),
        ("infinite (a delay)", 1),
    ]
    assert "no metric nrmse_at_" in cli(
        "leaderboard", "--suite", "tiny.toml", "--by", "horizon", code=2
    )


def test_outside_a_terminal_progress_is_lines_with_a_limited_rate(monkeypatch):
    moments = iter([0.0, 0.0, 1.0, 11.0, 12.0, 20.0])
    monkeypatch.setattr(display.time, "monotonic", lambda: next(moments))
    console = Console(file=io.StringIO(), width=100)
    with display.progress(console, "models", 4, lambda: "Lorenz esn") as bar:
        for failed in (False, True, False, False):
            bar.advance(failed)
    assert console.file.getvalue().splitlines() == [
        "models: 2 of 4 in 0:11, about 0:11 left; now Lorenz esn; 1 failed",
        "models: 4 of 4 in 0:20; 1 failed",
    ]


def test_in_a_terminal_progress_says_what_runs_how_far_and_what_failed():
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    with display.progress(console, "models", 2, lambda: "Lorenz esn") as bar:
        bar.advance(failed=True)
    last = [line for line in console.file.getvalue().split("\r") if "models" in line][-1]
    for part in ("1/2", "left", "1 failed", "Lorenz esn"):
        assert part in last


# ---- what a user gets wrong ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--systems", "Lorentz"], "Did you mean `Lorenz`"),
        (["--systems", "onee"], "Did you mean one"),
        (["--models", "nvra"], "Did you mean nvar"),
        (["--models", "nvar:gilpin"], "Did you mean gilpin2023"),
        (["--models", "esn(unit=3)"], "Did you mean units"),
        (["--models", "chronos2"], "needs weights, which do not come with this package"),
        (["--models", "chronos2(weights=amazon/chronos-2)"], "nothing is downloaded"),
        (["--model", "mine.py:Goof"], "Did you mean Good"),
        (["--model", "nowhere.py:Good"], "no file"),
        (["--suite", "standrad"], "Did you mean standard"),
        (["--gpus", "0"], "--gpus needs worker processes"),
        (["--gpus", "0,,1", "--jobs", "1"], "CUDA devices with commas between"),
        (["--gpus", "0", "--scheduler", "tcp://here:1"], "workers bring their own"),
        (["--profile", "fast"], "Known: quick"),
    ],
)
def test_a_wrong_name_ends_with_code_2_and_a_suggestion(arguments, said):
    assert said in run_tiny(*arguments, code=2)


def test_wrong_names_elsewhere_end_with_code_2_too():
    assert "Did you mean `Lorenz`" in cli("show", "Lorentz", code=2)
    assert "Did you mean `Lorenz`" in cli("generate", "--systems", "Lorentz", code=2)
    assert "Did you mean Lorenz" in cli("check", "Lorens", code=2)
    assert "run first" in cli("leaderboard", "--results", "nowhere", code=2)


# ---- the other commands ----------------------------------------------------------------------


def test_list_names_everything_there_is():
    import models
    import systems
    from dysts_bench.metrics import METRICS

    for what, names in {
        "systems": systems.names(),
        "models": models.names(),
        "metrics": list(METRICS),
        "suites": ["standard"],
    }.items():
        printed = cli("list", what).split()
        assert set(names) <= set(printed), what


def test_show_prints_the_equations_and_the_erratum():
    shown = cli("show", "Lorenz")
    assert "x' = sigma*(y - x)" in shown and "rho = 28" in shown
    assert "parameters in edition dysts: beta = 2.667" in shown
    assert "parameters in edition corrected: beta = 2.66666" in cli(
        "show", "Lorenz", "--edition", "dysts"
    )


def test_generate_writes_one_readable_file_a_system(tmp_path):
    import systems

    cli("generate", "--systems", "Lorenz,Rossler", "--points", "50", "--trajectories", "2")
    read = systems.Trajectory.read(tmp_path / "data" / "Lorenz.npz")
    np.testing.assert_array_equal(
        read.states, systems.load("Lorenz").trajectory(50, trajectories=2).states
    )
    assert (tmp_path / "data" / "Rossler.npz").exists()


def test_calibrate_prints_what_it_measured(monkeypatch):
    import systems
    from systems import calibrate

    def measured(names, *, seconds, again, jobs):
        assert (names, seconds, again, jobs) == (["Lorenz"], 5.0, True, 1)
        facts = {"period": 0.75, "lyapunov_spectrum": [0.9056, 0.0, -14.57]}
        yield calibrate.Measured(systems.load("Lorenz"), facts)

    monkeypatch.setattr(calibrate, "calibrate_catalog", measured)
    printed = cli("calibrate", "--systems", "Lorenz", "--seconds", "5", "--again")
    assert printed == "Lorenz, edition corrected: period 0.75, largest exponent 0.9056"


def test_check_gives_a_verdict_on_systems_and_models():
    assert "✓ Lorenz: 3 states" in cli("check", "Lorenz")
    assert "✓ persistence keeps the contract" in cli("check", "persistence")
    fixed = "seasonal(period=12.5)"
    assert f"✓ {fixed} keeps the contract" in cli("check", fixed)
    assert "✓ mine.py:Good keeps the contract" in cli("check", "mine.py:Good")
    assert "✗ mine.py:Forgetful breaks the contract" in cli("check", "mine.py:Forgetful", code=1)


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from typer.testing import CliRunner; from dysts_bench.cli import app\n"
        "assert 'leaderboard' in CliRunner().invoke(app, ['--help']).output\n"
        "print([m for m in ('numpy', 'pandas', 'numba', 'scipy', 'sympy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_another_package_of_the_name_models_is_met_with_an_error_that_says_so(tmp_path):
    (tmp_path / "models.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", "import dysts_bench"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert f"Python finds {tmp_path.resolve() / 'models.py'}. Rename that" in done.stderr


def test_python_m_is_the_same_command():
    done = subprocess.run(
        [sys.executable, "-m", "dysts_bench", "list", "suites"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "standard" in done.stdout
