"""One failure is one row, finished cells stay finished, and damage is noticed."""

import itertools
import json
import logging
import os
import subprocess
import sys
import textwrap
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_suite import MISBEHAVING

from dysts_bench import cells as cells_module
from dysts_bench import runner
from dysts_bench import task as task_module
from dysts_bench.cells import Cell, ModelSpec, _fit, evaluate, split_list
from dysts_bench.executors import Done, Failed, Local, Serial
from dysts_bench.leaderboard import as_text, leaderboard
from dysts_bench.metrics import METRICS, Score, find
from dysts_bench.records import read_csv, to_frame
from dysts_bench.runner import execute, plan, run
from dysts_bench.store import Store, write_cell
from dysts_bench.task import DataError, Protocol, Task, load

PROTOCOL = Protocol(
    points_per_time_unit=10,
    time_unit="shorter",
    fit_on="train",
    train_points=200,
    validation_points=100,
    windows=4,
    context=20,
    horizon=3.0,
    horizon_unit="lyapunov_time",
    horizon_max_steps=1000,
    free_runs=2,
    free_context=20,
    free_steps=600,
    samples=4,
    exponent_steps=50,
    noise=0.0,
    observe="all",
    precision="double",
)


@dataclass
class Clockwork:
    """A system in place of the catalog's: sines whose phases follow from the seed."""

    name: str
    period: float = 1.0
    lyapunov_time: float = 2.0
    lyapunov_spectrum: tuple[float, ...] = (0.5, 0.0)
    certified_horizon: dict = field(default_factory=dict)
    observables: tuple[str, ...] = ("x", "y")
    broken: bool = False

    @property
    def hash(self):
        return f"hash-of-{self.name}"

    def trajectory(self, n, *, dt, trajectories, seed, noise, observe, precision):
        if self.broken:
            raise DataError(f"{self.name}: it never moves")
        rng = np.random.default_rng([seed, len(self.name)])
        phases = rng.uniform(0, 2 * np.pi, (trajectories, 1, 2))
        return SimpleNamespace(
            states=5 + np.sin(phases + 2 * np.pi * np.arange(n)[:, None] * dt * [1.0, 1.7])
        )


SYSTEMS = {s.name: s for s in (Clockwork("One"), Clockwork("Second"))}


@pytest.fixture(autouse=True)
def fake_systems(monkeypatch):
    catalog = dict(SYSTEMS)
    for module in (task_module, runner):
        monkeypatch.setattr(module.systems, "load", lambda name, edition="": catalog[name])
    monkeypatch.setattr(runner.systems, "names", lambda: list(catalog))
    caches = [runner._of_task, runner._of_model, cells_module._windows]
    for cached in caches:
        cached.cache_clear()
    yield catalog
    for cached in caches:
        cached.cache_clear()


@pytest.fixture
def mine(tmp_path):
    """A ModelSpec of a class in a copy of misbehaving.py, by name."""
    path = tmp_path / "mine.py"
    path.write_text(MISBEHAVING.read_text())
    return lambda name: ModelSpec.parse(f"{path}:{name}")


METRICS_ASKED = (
    "valid_prediction_time",
    "rmse",
    "smape_at_1",
    "power_spectrum_distance",
    "kl_divergence",
    "crps",
    "model_lyapunov_exponent_error",
)
OF_EVERY_MODEL = METRICS_ASKED[:-2]


def task(name="One"):
    return Task("tiny", 1, name, "corrected", "main", METRICS_ASKED, PROTOCOL, seed=0)


TASKS = [task("One"), task("Second")]
FACTS = {"command": ["test"]}


def complete(cells, store, executor=None, overwrite="never"):
    """Run what is pending; how many cells that were."""
    todo = plan(cells, store, overwrite)
    return len(list(execute(todo, executor or Serial(), FACTS, store=store)))


def table_of(store):
    rows = [row for path in sorted(store.folder.glob("*.csv")) for row in read_csv(path)]
    return leaderboard(to_frame(rows))


def without_seconds(table):
    """The leaderboard but for what depends on seconds, which no two runs share."""
    return as_text(table.drop(columns=["fit_seconds", "predict_seconds", "front"]), "csv")


# ---- one cell --------------------------------------------------------------------------------


def test_a_cell_has_a_row_for_every_window_of_the_primary_metric_and_one_for_the_others(mine):
    results = list(run([task()], [mine("Good")]))
    primary = [r for r in results if r.metric == "valid_prediction_time"]
    assert [r.window for r in primary] == [0, 1, 2, 3]
    others = [r for r in results if r.metric != "valid_prediction_time" and r.window is None]
    assert [r.metric for r in others] == list(OF_EVERY_MODEL[1:])
    assert len(results) == len(primary) + len(others)


def test_a_row_says_what_was_done(mine):
    row = next(iter(run([task()], [replace(mine("Good"), hyperparameters=(("gain", 0.5),))])))
    assert (row.suite, row.task, row.system, row.model) == ("tiny", "main/One", "One", "Good")
    assert (row.preset, row.hyperparameters) == ("gain=0.5", '{"gain":0.5}')
    assert (row.status, row.unit, row.n_points) == ("ok", "Lyapunov times", 200)
    assert row.horizon_lyapunov_times == pytest.approx(3.0)
    assert row.catalog_hash == "hash-of-One" and len(row.data_hash) == 12
    assert row.fit_seconds >= 0 and row.predict_seconds >= 0


def test_scores_are_those_of_the_metric_on_standardised_data(mine):
    windows = load(task())
    forecast = np.repeat(windows.contexts[:, -1:], 60, axis=1)
    error = np.sqrt(np.mean((forecast - windows.truth) ** 2, axis=2))  # scale is 1 by now
    first = np.argmax(error > 0.4, axis=1) * 0.1 / 2.0  # steps of 0.1, Lyapunov time 2
    results = run([task()], [mine("Good")])
    values = [r.value for r in results if r.metric == "valid_prediction_time"]
    np.testing.assert_allclose(values, first, atol=0.051)  # to one step: the metric's convention


def test_a_system_that_is_not_chaotic_is_scored_in_periods(fake_systems, mine):
    fake_systems["One"] = Clockwork("One", lyapunov_time=float("inf"))
    units = {r.metric: r.unit for r in run([task()], [mine("Good")])}
    assert units["valid_prediction_time"] == "periods"


def test_models_get_copies_so_one_cannot_spoil_the_next(mine):
    windows = load(task())
    before = windows.train.copy()

    class Vandal(mine("Good").create().__class__):
        def _fit(self, train, *, dt, validation, seed):
            train[...] = 0.0

    evaluate(windows, Vandal(), seed=0)
    np.testing.assert_array_equal(windows.train, before)


def test_a_model_that_can_do_more_is_scored_on_more(mine):
    results = {r.metric: r for r in run([task()], [mine("Able")])}
    assert set(results) == set(METRICS_ASKED)
    # λ₁ = ln 2 a step of 0.1 in place of 0.5, in units of 1 / (Lyapunov time 2).
    found = results["model_lyapunov_exponent_error"]
    assert found.value == pytest.approx((np.log(2) / 0.1 - 0.5) * 2)
    windows = load(task())
    model = mine("Able").create().fit(windows.train, dt=0.1)
    samples = model.sample(windows.contexts, 60, PROTOCOL.samples, seed=0)
    truth, samples = windows.in_units(windows.truth), windows.in_units(samples)
    expected = METRICS["crps"](truth, samples, windows.facts)
    assert results["crps"].value == pytest.approx(np.median(expected))


def test_under_a_protocol_that_fits_to_contexts_each_window_has_a_model_of_its_own(mine):
    protocol = replace(PROTOCOL, fit_on="context", train_points=20, free_runs=0)
    each = replace(task(), protocol=protocol, metrics=("mse", "crps"))
    windows = load(each)
    found = {r.metric: r for r in run([each], [mine("Remembers")])}
    assert set(found) == {"mse", "crps"}
    # Remembers forecasts the mean of its training data, and here that is the context's
    means = windows.contexts.mean(axis=1, keepdims=True)
    forecast = windows.in_units(np.repeat(means, windows.truth.shape[1], axis=1))
    truth = windows.in_units(windows.truth)
    expected = METRICS["mse"](truth, forecast, windows.facts)
    assert found["mse"].value == pytest.approx(np.median(expected))
    chosen = json.loads(found["mse"].hyperparameters)["chosen"]
    assert [each["first"] for each in chosen] == windows.contexts[:, 0, 0].tolist()


def test_a_model_that_asks_for_raw_units_sees_them_and_answers_in_them(mine):
    windows = load(task())
    model = mine("Remembers").create()
    model.raw_units = True
    evaluation = evaluate(windows, model, seed=0, metrics=["mse"])
    assert model.chosen_["first"] == windows.in_units(windows.train)[0, 0, 0]
    assert model.validation_ == pytest.approx(windows.in_units(windows.validation))
    mean = windows.in_units(windows.train).mean(axis=(0, 1))
    truth = windows.in_units(windows.truth)
    expected = METRICS["mse"](truth, np.broadcast_to(mean, truth.shape), windows.facts)
    assert evaluation.measurements[0].value == pytest.approx(np.median(expected))


@pytest.mark.parametrize(("value", "status"), [(np.inf, "unsupported"), (np.nan, "crash")])
def test_a_sound_forecast_without_a_finite_score_has_a_row_that_says_so(value, status):
    score = Score(METRICS["mape"], (value,), ("ok",), (False,))
    (row,) = cells_module._rows_of(score, np.array([False]))
    assert (row.value, row.status) == (None, status)
    assert row.message == f"mape of this forecast is {value}"


def statuses(results, data=None):
    return {r.status for r in results if data in (None, find(r.metric).data)}


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("RaisesInFit", "crash", "ArithmeticError: no fit today"),
        ("AllNaN", "nan", "no forecast: NaN or infinity from its first step on"),
        ("Unable", "unsupported", "NotImplementedError: two dimensions are beyond me"),
    ],
)
def test_a_failure_is_a_row_for_every_metric_and_has_no_value(mine, name, status, message):
    results = list(run([task()], [mine(name), mine("Good")]))
    failed = [r for r in results if r.model == name]
    assert sorted(r.metric for r in failed) == sorted(OF_EVERY_MODEL)
    assert {(r.status, r.message, r.value, r.window) for r in failed} == {
        (status, message, None, None)
    }
    good = [r for r in results if r.model == "Good" and r.metric == "valid_prediction_time"]
    assert statuses(good) == {"ok"}


def test_a_failed_free_run_leaves_the_windows_their_scores(mine):
    results = list(run([task()], [mine("RaisesInFreeRuns")]))
    assert statuses(results, "windows") == {"ok"}
    assert statuses(results, "free_runs") == {"crash"}


def test_an_exploding_forecast_is_said_to_and_keeps_the_time_it_was_good_for(mine):
    primary = [r for r in run([task()], [mine("Explodes")]) if r.metric == "valid_prediction_time"]
    assert statuses(primary) <= {"nan", "diverged"}
    assert all(0 <= r.value < 1 for r in primary)


def test_a_system_without_data_fails_for_every_model_and_no_model_is_blamed(fake_systems, mine):
    fake_systems["One"] = Clockwork("One", broken=True)
    results = list(run(TASKS, [mine("Good")]))
    lost = [r for r in results if r.system == "One"]
    assert {(r.status, r.message) for r in lost} == {
        ("unsupported", "no data: One: it never moves")
    }
    assert {r.status for r in results if r.system == "Second"} == {"ok"}


def test_a_model_whose_library_is_missing_is_unsupported(monkeypatch, mine):
    def without_torch(self):
        raise ModuleNotFoundError("No module named 'torch'")

    monkeypatch.setattr(ModelSpec, "create", without_torch)
    results = list(run([task()], [mine("Good")]))
    assert statuses(results) == {"unsupported"} and "torch" in results[0].message


def test_only_stochastic_models_get_several_seeds(mine):
    cells = runner.cells([task()], [mine("Good"), mine("Chancy")], seeds=3)
    assert [(c.model.name, c.seed) for c in cells] == [
        ("Good", 0),
        ("Chancy", 0),
        ("Chancy", 1),
        ("Chancy", 2),
    ]


def test_names_presets_and_files_are_told_apart():
    assert ModelSpec.parse("nvar") == ModelSpec("nvar")
    assert ModelSpec.parse("nvar:gilpin2023") == ModelSpec("nvar", preset="gilpin2023")
    spec = ModelSpec.parse("some/where.py:Mine")
    assert (spec.name, spec.file, spec.label) == ("Mine", "some/where.py:Mine", "Mine")
    assert ModelSpec("esn", "tuned", (("units", 3),)).label == "esn:tuned,units=3"


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("esn(units=300)", ModelSpec("esn", "", (("units", 300),))),
        (
            "esn:tuned( units=300, name = 'a, b(' )",
            ModelSpec("esn", "tuned", (("units", 300), ("name", "a, b("))),
        ),
        (
            "smap(delays=[[1, 1], (2, 1)], ridges=[1e-2], block=None)",
            ModelSpec(
                "smap", "", (("delays", ((1, 1), (2, 1))), ("ridges", (0.01,)), ("block", None))
            ),
        ),
        ("panda(weights=/a/b-c.d)", ModelSpec("panda", "", (("weights", "/a/b-c.d"),))),
        ("a.py:B(c=d.py:E)", ModelSpec("B", "", (("c", "d.py:E"),), "a.py:B")),
        ("some (1)/a.py:B", ModelSpec("B", file="some (1)/a.py:B")),
    ],
)
def test_hyperparameters_stand_in_brackets_behind_a_model(text, spec):
    assert ModelSpec.parse(text) == spec
    assert hash(spec) == hash(ModelSpec.parse(text))


def test_what_cannot_be_read_as_hyperparameters_is_refused():
    for text in ("esn(300)", "esn(units 300)", "esn(1=2)"):
        with pytest.raises(ValueError, match="written as name=value"):
            ModelSpec.parse(text)
    for text in ("esn(units=(300)", "esn(units='300)"):
        with pytest.raises(ValueError, match="has no partner"):
            ModelSpec.parse(text)


def test_commas_within_a_models_brackets_do_not_end_it():
    assert split_list("nvar, esn(units=3, leaks=[1, 2]),") == ["nvar", "esn(units=3, leaks=[1, 2])"]


# ---- resuming --------------------------------------------------------------------------------


def test_a_killed_run_resumes_to_the_same_leaderboard(tmp_path, mine):
    cells = runner.cells(TASKS, [mine("Good"), mine("Chancy"), mine("AllNaN")], seeds=2)
    cells.sort(key=lambda cell: cell.model.name)  # so that a model is finished before the kill
    whole, killed = Store(tmp_path / "whole"), Store(tmp_path / "killed")
    assert complete(cells, whole) == len(cells) == 8
    for stop_after in (1, 3):  # what a kill leaves: the cells so far, no CSV, a torn temporary file
        running = execute(plan(cells, killed), Serial(), FACTS, store=killed)
        for _ in range(stop_after):
            next(running)
        running.close()
        for path in killed.folder.glob("*.csv"):
            path.unlink()
        (killed.folder / "cells" / "AllNaN" / ".torn.jsonl.part").write_text('{"body": {')
    assert complete(cells, killed) == len(cells) - 4
    assert without_seconds(table_of(killed)) == without_seconds(table_of(whole))
    assert complete(cells, killed) == 0


def test_rows_of_finished_cells_come_from_the_store(tmp_path, mine):
    store = Store(tmp_path)
    first = list(run(TASKS, [mine("Good")], store=store))
    again = list(run(TASKS, [mine("Good")], store=store))
    assert again == first  # timings included: nothing was run


def test_csv_and_manifest_hold_every_kept_cell_in_fixed_order(tmp_path, mine):
    store = Store(tmp_path)
    cells = runner.cells(TASKS, [mine("Chancy")], seeds=2)
    complete(list(reversed(cells)), store)
    rows = read_csv(tmp_path / "Chancy.csv")
    places = list(dict.fromkeys((r.system, r.seed) for r in rows))
    assert places == [("One", 0), ("One", 1), ("Second", 0), ("Second", 1)]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["runs"] == {rows[0].run_id: FACTS}
    complete(runner.cells([task("One")], [mine("Good")], seeds=1), store)
    assert read_csv(tmp_path / "Chancy.csv") == rows  # a narrower run takes nothing away


def test_a_table_is_made_anew_when_its_cells_have_changed_and_only_then(tmp_path, mine):
    store, cells = Store(tmp_path), runner.cells(TASKS, [mine("Good"), mine("AllNaN")], seeds=1)
    complete(cells, store)
    whole = {path.name: path.read_bytes() for path in tmp_path.glob("*.csv")}
    assert sorted(whole) == ["AllNaN.csv", "Good.csv"]
    marked = tmp_path / "Good.csv"
    changed = marked.stat().st_mtime_ns
    marked.write_bytes(b"left alone")
    os.utime(marked, ns=(changed, changed))
    assert complete(cells, store) == 0
    assert marked.read_bytes() == b"left alone"
    path = next((tmp_path / "cells" / "Good").glob("One.*.jsonl"))
    time.sleep(0.05)  # file systems count time in ticks
    write_cell(path, store.key(cells[0]), store.read(cells[0]))  # a run that was killed since
    assert complete(cells, store) == 0
    assert marked.read_bytes() == whole["Good.csv"]
    assert (tmp_path / "AllNaN.csv").read_bytes() == whole["AllNaN.csv"]


def test_the_manifest_knows_a_run_before_its_first_cell_is_kept(tmp_path, mine):
    pending = plan(runner.cells(TASKS, [mine("Good")], seeds=1), Store(tmp_path))
    going_on = execute(pending, Serial(), FACTS, store=Store(tmp_path))
    _, rows = next(going_on)  # and nothing after it, as when it is killed
    assert not (tmp_path / "Good.csv").exists()
    assert Store(tmp_path).runs() == {rows[0].run_id: FACTS}


DAMAGE = {
    "torn": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "altered": lambda text: text.replace('"ok"', '"nan"', 1),
    "altered number": lambda text: text.replace("0.", "1.", 1),
    "not ours": lambda text: '{"hello": [1, 2]}\n{}\n',
    "of the future": lambda text: text.replace('"format":1', '"format":2'),
    "another's": lambda text: text.replace('"key":"', '"key":"0'),
    "no object": lambda text: "[]",
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_cell_file_is_noticed_and_the_cell_runs_again(tmp_path, mine, caplog, kind):
    store = Store(tmp_path / "results")
    cells = runner.cells(TASKS, [mine("Good")], seeds=1)
    complete(cells, store)
    before = without_seconds(table_of(store))
    path = next((store.folder / "cells").rglob("One.*.jsonl"))
    text = path.read_text()
    path.write_text(DAMAGE[kind](text))
    assert path.read_text() != text
    with caplog.at_level(logging.WARNING):
        assert complete(cells, store) == 1
    assert "is damaged" in caplog.text and path.name in caplog.text
    assert without_seconds(table_of(store)) == before


def test_what_decides_a_result_decides_whether_it_is_kept(tmp_path, fake_systems, mine, caplog):
    store = Store(tmp_path / "results")

    def cells(**changes):
        return [Cell(replace(task(), **changes), mine("Good"), seed=0)]

    assert complete(cells(), store) == 1
    assert complete(cells(), store) == 0
    assert complete(cells(protocol=replace(PROTOCOL, horizon=2.0)), store) == 1
    fake_systems["One"] = Clockwork("One", period=1.5)
    runner._of_task.cache_clear()
    assert complete(cells(), store) == 1
    (tmp_path / "mine.py").write_text(MISBEHAVING.read_text() + "\n# changed")
    runner._of_model.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert complete(cells(), store) == 1
    assert "have changed" in caplog.text
    assert len(list((store.folder / "cells").rglob("*.jsonl"))) == 1  # the new one in its place


def test_overwrite_decides_about_finished_cells(tmp_path, mine):
    store = Store(tmp_path)
    cells = runner.cells(TASKS, [mine("Good"), mine("RaisesInFreeRuns"), mine("AllNaN")], seeds=1)
    assert complete(cells, store) == 6
    assert complete(cells, store, overwrite="never") == 0
    assert complete(cells, store, overwrite="only-failed") == 4
    assert complete(cells, store, overwrite="always") == 6


# ---- kept forecasts --------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path, mine):
    """Two cells whose forecasts are kept, in a store."""
    store = Store(tmp_path / "results" / "local" / "tiny")
    todo = plan([Cell(task(), mine(name), 0) for name in ("Able", "Remembers")], store)
    list(execute(todo, Serial(), FACTS, store=store, keep_forecasts=True))
    return store, todo.pending


def forbid_fits(monkeypatch):
    def fit(*arguments):
        raise AssertionError("it was fitted again")

    monkeypatch.setattr(cells_module, "_fit", fit)


def test_changed_metrics_are_scored_from_kept_forecasts_without_a_fit(kept, monkeypatch):
    store, cells = kept
    before = [store.read(cell) for cell in cells]
    forbid_fits(monkeypatch)
    monkeypatch.setattr(runner, "_metrics_code", lambda: "of tomorrow")
    todo = plan(cells, store)
    assert (todo.finished, todo.pending, todo.to_rescore) == ([], [], cells)
    after = [rows for _, rows in execute(todo, Serial(), {"command": ["again"]}, store=store)]
    assert [[replace(row, run_id="") for row in rows] for rows in after] == [
        [replace(row, run_id="") for row in rows] for rows in before
    ]
    assert plan(cells, store).finished == cells


def test_a_metric_that_a_suite_gains_needs_no_fit(kept, monkeypatch):
    store, cells = kept
    forbid_fits(monkeypatch)
    richer = [replace(c, task=replace(c.task, metrics=(*METRICS_ASKED, "mae"))) for c in cells]
    todo = plan(richer, store)
    assert todo.to_rescore == richer
    for _, rows in execute(todo, Serial(), FACTS, store=store):
        assert next(row.value for row in rows if row.metric == "mae") > 0


def test_a_metric_of_data_that_were_not_forecast_needs_a_fit(tmp_path, mine):
    store = Store(tmp_path / "results")
    less = replace(task(), metrics=("valid_prediction_time", "rmse"))
    todo = plan([Cell(less, mine("Able"), 0)], store)
    list(execute(todo, Serial(), FACTS, store=store, keep_forecasts=True))
    [more] = [replace(cell, task=task()) for cell in todo.pending]
    again = plan([more], store)
    assert (again.pending, again.to_rescore) == ([more], [])


def test_forecasts_that_would_be_others_now_are_not_scored(kept, mine, tmp_path):
    store, cells = kept
    other_seed = [replace(cell, seed=1) for cell in cells]
    assert plan(other_seed, store).pending == other_seed
    path = tmp_path / "mine.py"
    path.write_text(path.read_text() + "\n# the author changed something")
    runner._of_model.cache_clear()
    assert plan(cells, store).pending == cells


def test_damaged_forecasts_are_noticed_and_the_cell_runs_again(kept, monkeypatch):
    store, cells = kept
    monkeypatch.setattr(runner, "_metrics_code", lambda: "of tomorrow")
    path = store.forecasts(cells[0])
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    todo = plan(cells, store)
    assert (todo.pending, todo.to_rescore) == ([cells[0]], [cells[1]])
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    todo = plan(cells, store)
    assert todo.to_rescore == cells  # a flipped bit is seen when it is read
    fits = []
    monkeypatch.setattr(cells_module, "_fit", lambda *all: fits.append(1) or _fit(*all))
    rows = dict(execute(todo, Serial(), FACTS, store=store))
    assert len(fits) == 1 and {row.status for row in rows[cells[0]]} == {"ok"}


def test_forecasts_of_a_cell_that_failed_in_part_are_not_kept(tmp_path, mine):
    store = Store(tmp_path / "results")
    cell = Cell(task(), mine("RaisesInFreeRuns"), 0)
    list(execute(plan([cell], store), Serial(), FACTS, store=store, keep_forecasts=True))
    assert not store.forecasts(cell).exists()


# ---- worker processes ------------------------------------------------------------------------


FUNCTIONS = textwrap.dedent(
    """
    import os, signal, time
    import numpy as np

    def misbehave(how):
        match how:
            case "exit":
                os._exit(3)
            case "exit 0":
                os._exit(0)
            case "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "hang":
                time.sleep(600)
            case "hoard":
                np.ones((40_000, 40_000))
            case "raise":
                raise ArithmeticError("no")
            case "interrupt":
                raise KeyboardInterrupt
            case "leave":
                raise SystemExit(0)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
        return os.environ["OMP_NUM_THREADS"], os.getpid()
    """
)


def test_every_way_to_go_wrong_is_an_outcome_and_harms_nobody_else(tmp_path, monkeypatch):
    (tmp_path / "misbehaviour.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)
    from misbehaviour import misbehave

    jobs = ["exit", "good 1", "segfault", "hang", "good 2", "hoard", "raise", "kill", "leave"]
    jobs += ["interrupt", "good 3", "exit 0", "good 4"]
    executor = Local(workers=2, timeout=3.0, memory_mb=3000)
    outcomes = dict(executor.map(misbehave, jobs))
    assert len(outcomes) == len(jobs)
    failed = {
        job: (out.status, out.message) for job, out in outcomes.items() if isinstance(out, Failed)
    }
    status, message = failed.pop("hoard")
    assert status == "oom" and "Unable to allocate" in message
    assert failed == {
        "exit": ("crash", "the process ended with exit code 3"),
        "segfault": ("crash", "the process ended with signal SIGSEGV"),
        "hang": ("timeout", "stopped after the limit of 3 s"),
        "raise": ("crash", "ArithmeticError: no"),
        "kill": ("oom", "killed by signal 9, as the kernel does when memory runs out"),
        "leave": ("crash", "SystemExit: 0"),
        "exit 0": ("timeout", "stopped after the limit of 3 s"),  # all that can be seen of it
        "interrupt": ("crash", "KeyboardInterrupt: "),
    }
    assert {outcomes[f"good {i}"].value[0] for i in (1, 2, 3, 4)} == {"1"}  # one thread each


def test_jobs_for_gpus_run_one_on_each_slot_beside_the_others(tmp_path, monkeypatch):
    code = """
    import os, time

    def where(job):
        begun = time.monotonic()
        time.sleep(0.3)
        return os.environ.get("CUDA_VISIBLE_DEVICES"), os.getpid(), begun, time.monotonic()
    """
    (tmp_path / "whereabouts.py").write_text(textwrap.dedent(code))
    monkeypatch.syspath_prepend(tmp_path)
    from whereabouts import where

    jobs = [f"{kind} {i}" for i in range(6) for kind in ("gpu", "cpu")]
    executor = Local(2, gpus=("3", "7"), wants_gpu=lambda job: job.startswith("gpu"))
    found = {job: out.value for job, out in executor.map(where, jobs)}
    assert len(found) == 12 and not executor.running()
    assert {device for job, (device, *_) in found.items() if job.startswith("cpu")} == {""}
    slots = {"3": [], "7": []}
    for job, (device, *rest) in found.items():
        if job.startswith("gpu"):
            slots[device].append(rest)
    for on_slot in slots.values():
        assert len(on_slot) >= 2 and len({pid for pid, *_ in on_slot}) == 1
        times = sorted((begun, ended) for _, begun, ended in on_slot)
        assert all(ended <= begun for (_, ended), (begun, _) in itertools.pairwise(times))


def test_cells_that_want_a_gpu_are_those_of_models_with_a_device(monkeypatch):
    def wants(model):
        return runner.wants_gpu(Cell(task(), ModelSpec.parse(model), 0))

    assert wants("lstm") and wants("transformer(device=cuda)")
    assert not wants("lstm(device=cpu)") and not wants("nvar") and not runner.wants_gpu(task())


class BreakingPool:
    """A pool that runs a few jobs, then breaks as a whole, as pebble's does if idle workers die."""

    def __init__(self, jobs_before_it_breaks):
        self.left = jobs_before_it_breaks

    def schedule(self, function, args, timeout):
        if self.left < -1:
            raise RuntimeError("Unexpected error within the Pool")
        future = Future()
        if self.left > 0:
            future.set_result(function(*args))
        elif self.left == 0:
            future.set_exception(BrokenProcessPool("All workers expired"))
        self.left -= 1
        return future

    def stop(self): ...
    def join(self): ...


def test_a_process_stays_with_jobs_that_are_near_each_other():
    jobs = [(group, number) for number in range(8) for group in range(6)]
    executor = Local(2, near=lambda job: job[0])
    where = [(outcome.value, job[0]) for job, outcome in executor.map(process_of, jobs)]
    assert len(where) == 48
    # Each group has one process; the last one may be shared, when there is nothing else to do.
    assert len(set(where)) <= 7


def test_all_processes_work_where_all_jobs_are_near_each_other():
    outcomes = Local(2, near=lambda job: 0).map(process_of, range(12))
    assert len({outcome.value for _, outcome in outcomes}) == 2


def process_of(job: object) -> int:
    time.sleep(0.05)
    return os.getpid()


def test_a_pool_that_breaks_is_replaced_and_no_job_is_lost(monkeypatch):
    pools = iter([BreakingPool(2), BreakingPool(0), BreakingPool(-2), BreakingPool(99)])
    monkeypatch.setattr(Local, "pool", lambda self, gpu: next(pools))
    outcomes = dict(Local(workers=1).map(str, range(8)))
    assert {job: outcome.value for job, outcome in outcomes.items()} == {
        job: str(job) for job in range(8)
    }
    assert next(pools, None) is None


def test_a_pool_beside_a_gpu_that_breaks_is_replaced_with_the_rest(monkeypatch):
    pools = map(BreakingPool, (2, 99, 1, 99, 99, 99))
    monkeypatch.setattr(Local, "pool", lambda self, gpu: next(pools))
    executor = Local(2, gpus=("0",), wants_gpu=lambda job: job % 3 == 0)
    assert dict(executor.map(str, range(12))) == {i: Done(str(i)) for i in range(12)}


def test_pools_that_keep_breaking_end_in_an_error(monkeypatch):
    monkeypatch.setattr(Local, "pool", lambda self, gpu: BreakingPool(0))
    with pytest.raises(RuntimeError, match="broke down 20 times"):
        list(Local(workers=1).map(str, range(3)))


def test_workers_end_with_the_run_that_is_killed(tmp_path):
    (tmp_path / "sleeper.py").write_text(
        "import os, time\n"
        "def sleep(path):\n"
        "    open(path, 'w').write(str(os.getpid()))\n"
        "    time.sleep(600)\n"
    )
    pid_file = tmp_path / "pid"
    code = (
        "from sleeper import sleep; from dysts_bench.executors import Local\n"
        f"list(Local(1, timeout=600).map(sleep, [{str(pid_file)!r}]))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    killed = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL
    )
    worker = _eventually(lambda: pid_file.exists() and int(pid_file.read_text() or 0))
    killed.kill()
    killed.wait()
    assert _eventually(lambda: not _is_running(worker))


def _eventually(condition, seconds=30.0):
    """What `condition` returns once it is true; an assertion fails if it does not come true."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.05)
    return found


def _is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
