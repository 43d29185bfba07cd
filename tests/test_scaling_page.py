"""Exponents are those of the laws that rows are made by; a sweep runs from the command line."""

import json

import numpy as np
import pytest
from scipy import stats
from test_leaderboard import row
from tiny_suite import TINY, cli, elsewhere  # noqa: F401

from dysts_bench import records, scaling_page
from dysts_bench.leaderboard import PRIMARY, leaderboard
from dysts_bench.scaling_page import ERROR, power_law
from dysts_bench.store import Store

LENGTHS = [100, 1000, 10000]
SWEEP = TINY.replace("[protocol]", "[sweep]\ntrain_points = [50, 100, 400]\n\n[protocol]")
SWEEP = SWEEP.replace('"smape", "power_spectrum_distance"', '"nrmse_at_1"')


# ---- power laws ------------------------------------------------------------------------------


def test_an_exact_power_law_is_found_whatever_the_systems_own_factors() -> None:
    sizes = np.array(LENGTHS, dtype=float)
    factors = np.random.default_rng(0).uniform(0.1, 10, (9, 1))
    law = power_law(sizes, factors * sizes**-0.7)
    assert law is not None
    assert (law.exponent, law.low, law.high, law.r2) == pytest.approx((0.7, 0.7, 0.7, 1.0))


def test_the_exponent_is_that_of_scipys_regression_and_its_interval_a_bootstrap_over_systems():
    rng = np.random.default_rng(1)
    sizes = np.array([30.0, 100.0, 300.0, 1000.0, 5000.0])
    scores = 5 * sizes**-0.4 * rng.lognormal(0, 0.5, (25, 5))
    law = power_law(sizes, scores)
    line = stats.linregress(np.log(sizes), np.log(np.median(scores, axis=0)))
    assert law is not None
    assert (law.exponent, law.r2) == pytest.approx((-line.slope, line.rvalue**2))

    def exponent(systems: np.ndarray) -> float:
        return -stats.linregress(np.log(sizes), np.log(np.median(scores[systems], axis=0))).slope

    drawn = stats.bootstrap(
        (np.arange(25),), exponent, n_resamples=200, method="percentile", vectorized=False, rng=2
    ).confidence_interval
    assert (law.low, law.high) == pytest.approx((drawn.low, drawn.high), abs=0.04)
    assert law.low < 0.4 < law.high


def test_sizes_where_most_systems_fail_take_no_part_and_two_points_are_no_law() -> None:
    sizes = np.array(LENGTHS, dtype=float)
    scores = np.tile(sizes**-0.5, (5, 1))
    scores[:3, 0] = np.inf
    assert power_law(sizes, scores) is None
    scores[2, 0] = sizes[0] ** -0.5  # now the median is finite
    law = power_law(sizes, scores)
    assert law is not None and law.exponent == pytest.approx(0.5)


# ---- the page --------------------------------------------------------------------------------


def rows_of(model: str, errors: dict[int, list[float | None]], **changes: object) -> list:
    return [
        row(model, f"S{i}", value, metric=metric, n_points=n, task=f"main-{n}/S{i}", **changes)
        for n, values in errors.items()
        for i, value in enumerate(values)
        for metric in (ERROR, PRIMARY)
    ]


def lines_of(rows: list) -> dict[str, list[str]]:
    """By section, the first line of which is the heading."""
    sections: dict[str, list[str]] = {}
    for line in scaling_page.page(records.to_frame(rows, "reference")).splitlines():
        if line.startswith("## "):
            sections[line] = []
        elif sections:
            sections[list(sections)[-1]].append(line)
    return sections


def test_a_row_a_model_with_medians_and_the_law() -> None:
    falling = {n: [n**-0.5, 2 * n**-0.5, 4 * n**-0.5] for n in LENGTHS}
    failing = {100: [None, None, 1.0], 1000: [0.5, 0.5, 0.5], 10000: [0.25, 0.25, None]}
    found = lines_of(rows_of("good", falling) + rows_of("bad", failing))
    assert found["## Errors"][1:5] == [
        "| model | 100 | 1,000 | 10,000 | p | r² | systems |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| bad | inf | 0.5 | 0.25 |  |  | 3 |",
        "| good | 0.2 | 0.0632 | 0.02 | 0.50 [0.50, 0.50] | 1.00 | 3 |",
    ]
    assert "| bad | 0 | 0.5 | 0.25 |" in found["## Valid prediction times, in Lyapunov times"]
    assert "## Errors by the size of the model" not in found


def test_the_figure_has_a_curve_a_model() -> None:
    rows = rows_of("good", {n: [n**-0.5] * 2 for n in LENGTHS})
    rows += rows_of("bad", {n: [None] * 2 for n in LENGTHS})
    [axes] = scaling_page.figure(records.to_frame(rows)).axes
    [line] = axes.lines
    assert line.get_label() == "good"
    np.testing.assert_allclose(line.get_xydata(), [[n, n**-0.5] for n in LENGTHS])


def test_sizes_are_compared_after_the_most_training_points() -> None:
    rows = []
    for parameters in (10, 100, 1000):
        cost = {"preset": f"units={parameters}"}
        good = {"hyperparameters": json.dumps({"parameters": parameters})} | cost
        rows += rows_of("net", {100: [1.0, 1.0], 1000: [parameters**-1.0] * 2}, **good)
        rows += rows_of("net", {1000: [None]}, **cost, seed=1)  # as if it had failed there
    section = lines_of(rows)["## Errors by the size of the model"]
    # two seeds of S0, one of which failed: the median with infinity is infinite
    [line] = [text for text in section if text.startswith("| net |")]
    assert line.startswith("| net | 10: inf, 100: inf, 1,000: inf |")
    healthy = [r for r in rows if r.seed == 0]
    section = lines_of(healthy)["## Errors by the size of the model"]
    assert "After 1,000 points." in section[1]
    [axes] = scaling_page.sizes_figure(records.to_frame(healthy, "reference")).axes
    [curve] = axes.lines
    np.testing.assert_allclose(curve.get_xydata(), [[10, 0.1], [100, 0.01], [1000, 0.001]])
    [line] = [text for text in section if text.startswith("| net |")]
    assert line == "| net | 10: 0.1, 100: 0.01, 1,000: 0.001 | 1.00 [1.00, 1.00] | 1.00 |"


# ---- a sweep ---------------------------------------------------------------------------------


def test_a_sweep_runs_resumes_and_makes_the_page(tmp_path) -> None:
    (tmp_path / "tiny.toml").write_text(SWEEP)
    run = ("run", "--suite", "tiny.toml", "--systems", "Lorenz", "--jobs", "0")
    run += ("--models", "persistence,drift")
    assert "6 cells; 0 finished before" in cli(*run)
    assert "6 finished before, 0 to run" in cli(*run)
    rows = records.load_results(tmp_path / "results", "tiny")
    lengths = rows.astype({"task": str}).groupby("task")["n_points"].unique()
    assert {task: list(n) for task, n in lengths.items()} == {
        f"main-{n}/Lorenz": [n] for n in (50, 100, 400)
    }
    assert len(list(Store(tmp_path / "results" / "local" / "tiny").folder.rglob("*.jsonl"))) == 6
    text = scaling_page.page(rows)
    assert "| model | 50 | 100 | 400 | p | r² | systems |" in text
    assert text.count("| drift | ") == text.count("| persistence | ") == 2
    table = leaderboard(rows)
    assert set(table["systems"]) == {1}  # of the longest trajectories only


def test_a_leaderboard_of_a_sweep_is_of_the_most_training_points() -> None:
    rows = rows_of("a", {100: [5.0, 6.0], 1000: [1.0, 3.0]})
    [entry] = leaderboard(records.to_frame(rows)).to_dict("records")
    assert (entry["median"], entry["systems"]) == (2.0, 2)


def test_a_models_seeds_count_once() -> None:
    rows = rows_of("a", {n: [1.0, 1.0] for n in LENGTHS})
    rows += rows_of("a", {n: [3.0, 3.0] for n in LENGTHS}, seed=1)
    [line] = [text for text in lines_of(rows)["## Errors"] if text.startswith("| a |")]
    assert line.startswith("| a | 2 | 2 | 2 | ")
