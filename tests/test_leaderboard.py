"""The table against sums done by hand, against scipy's bootstrap, and in any order of rows."""

import json
import math
import random

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dysts_bench import leaderboard as board
from dysts_bench.leaderboard import (
    PRIMARY,
    as_text,
    failures,
    leaderboard,
    leaderboard_by,
    leaderboard_by_horizon,
    leaderboard_by_track,
    matrix,
)
from dysts_bench.quantiles import RESAMPLES, ascending_pair, quantile
from dysts_bench.records import Result, joined, to_frame


def row(model, system, value, *, seed=0, window=0, metric=PRIMARY, **changes):
    """A result; a value of None is a timeout."""
    facts = dict(
        run_id="0" * 12,
        suite="standard",
        suite_version=1,
        task=f"main/{system}",
        system=system,
        edition="corrected",
        model=model,
        preset="",
        hyperparameters="{}",
        seed=seed,
        window=window,
        metric=metric,
        value=value,
        unit="Lyapunov times" if metric == PRIMARY else "",
        higher_is_better=metric == PRIMARY,
        status="ok" if value is not None else "timeout",
        message="" if value is not None else "stopped",
        n_points=6000,
        horizon_lyapunov_times=25.0,
        censored=False,
        noise_floor=None,
        fit_seconds=2.0,
        predict_seconds=1.0,
        peak_memory_mb=None,
        hardware_id="0" * 12,
        catalog_hash="0" * 12,
        data_hash="",
        version="0.1.0",
    )
    return Result(**facts | changes)


# By hand: A beats B on S1, ties on S2, fails on S3, where C fails too.
TABLE = {
    "A": {"S1": 4.0, "S2": 2.0, "S3": None},
    "B": {"S1": 3.0, "S2": 2.0, "S3": 1.0},
    "C": {"S1": None, "S2": 0.0, "S3": None},
}


def rows_of(table, **changes):
    return [
        row(model, system, value, **changes)
        for model, values in table.items()
        for system, value in values.items()
    ]


def entries(results, metric=PRIMARY, source="local"):
    table = leaderboard(to_frame(results, source), metric)
    return {entry["model"]: entry for entry in table.to_dict("records")}


def test_three_models_on_three_systems_by_hand():
    found = entries(rows_of(TABLE))
    assert list(found) == ["B", "A", "C"]  # equal medians: the win rate decides
    a, b, c = found["A"], found["B"], found["C"]
    assert (a["median"], b["median"]) == (2.0, 2.0) and math.isnan(c["median"])
    assert math.isnan(a["q25"]) and a["q75"] == 3.0  # between a failure and 2; between 2 and 4
    assert (b["q25"], b["q75"]) == (1.5, 2.5)
    assert math.isnan(c["q75"])  # between a failure and 0
    assert a["win_rate"] == pytest.approx((1 + 1 + 0.5 + 1 + 0 + 0.5) / 6)
    assert b["win_rate"] == pytest.approx((0 + 1 + 0.5 + 1 + 1 + 1) / 6)
    assert c["win_rate"] == pytest.approx(0.5 / 6)
    assert a["mean_rank"] == pytest.approx((1 + 1.5 + 2.5) / 3)
    assert b["mean_rank"] == pytest.approx((2 + 1.5 + 1) / 3)
    assert c["mean_rank"] == pytest.approx((3 + 3 + 2.5) / 3)
    assert [found[m]["systems"] for m in "ABC"] == [3, 3, 3]
    assert [found[m]["failures"] for m in "ABC"] == [1, 0, 2]
    assert (a["fit_seconds"], a["predict_seconds"]) == (2.0, 1.0)


def test_lower_is_better_mirrors_everything():
    mirrored = {
        m: {s: None if v is None else -v for s, v in values.items()} for m, values in TABLE.items()
    }
    up = entries(rows_of(TABLE))
    down = entries(rows_of(mirrored, metric="nrmse"), "nrmse")
    assert list(up) == list(down)
    for model in up:
        for name in ("win_rate", "mean_rank", "failures", "systems"):
            assert up[model][name] == down[model][name]
        for name, other in {"median": "median", "q25": "q75", "ci_low": "ci_high"}.items():
            assert up[model][name] == pytest.approx(-down[model][other], nan_ok=True)


def test_a_systems_value_is_the_median_over_windows_then_over_seeds():
    results = [
        row("A", "S1", value, seed=seed, window=window)
        for seed, windows in enumerate([[1.0, 9.0, 2.0], [5.0, 5.0, 100.0], [0.0, 3.0, 30.0]])
        for window, value in enumerate(windows)
    ]
    assert entries(results)["A"]["median"] == 3.0  # of 2, 5, 3; the mean of all would be 17


def test_a_failed_seed_ranks_below_every_seed():
    three = [row("A", "S1", value, seed=i) for i, value in enumerate([7.0, None, 5.0])]
    assert entries(three)["A"]["median"] == 5.0
    found = entries([*three[:2]])["A"]  # half of the seeds failed: so has the median
    assert math.isnan(found["median"]) and found["failures"] == 1


def test_the_order_of_rows_does_not_matter():
    rng = np.random.default_rng(1)
    results = [
        row(m, f"S{s}", float(v) if (v := rng.gamma(2)) > 0.3 else None, seed=seed, window=w)
        for m in "ABCD"
        for s in range(9)
        for seed in range(2)
        for w in range(5)
    ]
    once = as_text(leaderboard(to_frame(results)), "csv")
    for seed in range(5):
        random.Random(seed).shuffle(results)
        assert as_text(leaderboard(to_frame(results)), "csv") == once


def test_the_interval_is_scipys_percentile_bootstrap():
    values = np.random.default_rng(7).gamma(2, size=41)
    results = [row("A", f"S{i:02}", float(v)) for i, v in enumerate(values)]
    found = entries(results)["A"]
    expected = stats.bootstrap(
        (np.sort(values),),
        np.median,
        n_resamples=RESAMPLES,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert found["ci_low"] == pytest.approx(expected.low, rel=1e-12)
    assert found["ci_high"] == pytest.approx(expected.high, rel=1e-12)
    assert found["q25"] == pytest.approx(np.quantile(values, 0.25), rel=1e-12)


def test_an_interval_that_reaches_into_failures_is_open():
    results = rows_of({"A": {f"S{i}": float(i) if i > 3 else None for i in range(10)}})
    found = entries(results)["A"]
    assert found["median"] == 4.5
    assert math.isnan(found["ci_low"]) and found["ci_high"] > 4.5


def test_one_system_has_no_interval_and_one_model_no_rival():
    found = entries([row("A", "S1", 1.0)])["A"]
    assert (found["median"], found["mean_rank"]) == (1.0, 1.0)
    assert all(math.isnan(found[name]) for name in ("ci_low", "ci_high", "win_rate"))


def test_systems_that_are_not_chaotic_are_a_group_of_their_own():
    results = [
        row("A", "Lorenz", 3.0),
        row("A", "Torus", 20.0, unit="periods"),
        row("A", "Lorenz", 0.5, metric="nrmse"),
        row("A", "Torus", 0.1, metric="nrmse"),
    ]
    frame = to_frame(results)
    for metric, values in {PRIMARY: [3.0, 20.0], "nrmse": [0.5, 0.1]}.items():
        table = leaderboard(frame, metric)
        assert list(table["group"]) == ["chaotic", "other"]
        assert list(table["median"]) == values


def test_every_model_competes_once_with_every_other_whatever_its_source():
    reference = rows_of({"A": {"S1": 1.0}, "B": {"S1": 2.0}})
    local = rows_of({"A": {"S1": 3.0}})

    frame = pd.concat([to_frame(reference, "reference"), to_frame(local, "local")])
    table = leaderboard(frame)
    found = {(e["model"], e["source"]): e for e in table.to_dict("records")}
    assert found["A", "local"]["win_rate"] == 1.0  # against B of the reference
    assert found["B", "reference"]["win_rate"] == 1.0  # against A of the reference alone
    assert found["A", "reference"]["win_rate"] == 0.0
    assert found["B", "reference"]["mean_rank"] == 1.0


FEW = {
    "A": {"S1": 1.0, "S2": 1.0, "S3": 8.0},
    "B": {"S1": 3.0, "S2": 0.5, "S3": 2.0},
    "few": {"S1": 9.0, "S2": 7.0},
    "fewer": {"S2": 10.0},
}


def test_what_was_asked_on_some_systems_comes_last_and_competes_there():
    found = entries(rows_of(FEW))
    assert list(found) == ["B", "A", "fewer", "few"]
    assert [found[m]["systems"] for m in found] == [3, 3, 1, 2]
    # against A and B; few and fewer met on S2
    assert (found["few"]["win_rate"], found["fewer"]["win_rate"]) == (4 / 5, 1.0)
    assert found["few"]["mean_rank"] == (1 + 2) / 2


def test_what_was_asked_on_all_systems_has_the_figures_it_has_without_the_others():
    alone = leaderboard(to_frame(rows_of({name: FEW[name] for name in "AB"})))
    beside = leaderboard(to_frame(rows_of(FEW)))
    pd.testing.assert_frame_equal(beside[:2], alone)


def test_a_subset_compares_those_that_were_asked_on_all_of_it():
    frame = to_frame(rows_of(FEW))
    table = leaderboard(frame, subsets={"two": ["S1", "S2"]})
    assert table["group"].unique().tolist() == ["chaotic", "two"]
    part = table[table["group"] == "two"].reset_index(drop=True)
    assert part["model"].tolist() == ["few", "B", "A"]
    assert part["median"].tolist() == [8.0, 1.75, 1.0]
    assert part["win_rate"].tolist() == [1.0, 0.25, 0.25]
    assert part["systems"].tolist() == [2, 2, 2]
    alone = leaderboard(frame[frame["system"] != "S3"].query("model != 'fewer'"))
    pd.testing.assert_frame_equal(part.assign(group="chaotic"), alone)


def test_a_subset_that_nobody_needs_is_no_group():
    whole = {name: FEW[name] for name in "AB"}
    for table in (whole, whole | {"fewer": FEW["fewer"]}):
        found = leaderboard(to_frame(rows_of(table)), subsets={"two": ["S1", "S2"]})
        assert found["group"].unique().tolist() == ["chaotic"]


def test_local_rows_on_some_systems_are_ranked_on_those_that_they_share():
    reference = rows_of({name: FEW[name] for name in "AB"} | {"slow": {"S1": 2.0}})
    ours = rows_of({"mine": {"S1": 2.5, "S2": 0.75}, "other": {"S1": 1.5, "S2": 1.5, "S3": 9.0}})
    frame = joined([to_frame(reference, "reference"), to_frame(ours)])
    table = leaderboard(frame)
    assert table["group"].unique().tolist() == ["chaotic", "yours"]
    part = table[table["group"] == "yours"].reset_index(drop=True)
    assert set(part["model"]) == {"A", "B", "mine", "other"}  # slow was not asked on S2
    assert set(part["systems"]) == {2}
    alone = leaderboard(frame[frame["system"].isin(["S1", "S2"]) & (frame["model"] != "slow")])
    pd.testing.assert_frame_equal(part.assign(group="chaotic"), alone)


def test_local_rows_that_are_ranked_elsewhere_or_have_no_reference_are_no_group_of_their_own():
    mine = to_frame(rows_of({"mine": {"S1": 2.5, "S2": 0.75}}))
    frame = joined([to_frame(rows_of({"A": FEW["A"]}), "reference"), mine])
    found = leaderboard(frame, subsets={"two": ["S1", "S2"]})
    assert found["group"].unique().tolist() == ["chaotic", "two"]
    everywhere = to_frame(rows_of({"mine": FEW["A"]}))
    frame = joined([to_frame(rows_of({"A": FEW["A"]}), "reference"), everywhere])
    assert leaderboard(frame)["group"].unique().tolist() == ["chaotic"]


def test_rows_of_an_older_version_of_the_suite_are_left_out():
    found = entries([row("A", "S1", 1.0), row("A", "S2", 5.0, suite_version=2)])
    assert (found["A"]["median"], found["A"]["systems"]) == (5.0, 1)


def test_presets_are_entries_of_their_own():
    found = entries([row("esn", "S1", 1.0), row("esn", "S1", 2.0, preset="gilpin2023")])
    assert list(found) == ["esn:gilpin2023", "esn"]


def test_an_unknown_metric_is_answered_with_the_closest():
    with pytest.raises(ValueError, match="Did you mean valid_prediction_time"):
        leaderboard(to_frame(rows_of(TABLE)), "valid_prediction")
    with pytest.raises(ValueError, match="empty"):
        leaderboard(to_frame([]))


def test_failed_cells_are_listed_with_their_reason():
    listed = failures(to_frame(rows_of(TABLE)))
    assert list(zip(listed["model"], listed["system"], strict=True)) == [
        ("A", "S3"),
        ("C", "S1"),
        ("C", "S3"),
    ]
    assert set(listed["message"]) == {"stopped"}


def test_formats_hold_the_same_table():
    table = leaderboard(to_frame(rows_of(TABLE)))
    lines = as_text(table, "csv").splitlines()
    assert lines[0].split(",") == list(board.COLUMNS)
    assert lines[1].startswith("chaotic,B,local,2.0,1.5,2.5,")
    found = json.loads(as_text(table, "json"))
    assert found[0]["model"] == "B" and found[2]["median"] is None
    markdown = as_text(table, "markdown").splitlines()
    assert markdown[1].count("---") == len(board.COLUMNS)
    assert markdown[2].startswith("| chaotic | B | local | 2 | 1.5 | 2.5 |")
    with pytest.raises(ValueError, match="formats are"):
        as_text(table, "xlsx")


# ---- skill, cost, failures, groups -----------------------------------------------------------


def test_skill_is_one_minus_the_geometric_mean_of_clipped_ratios_by_hand():
    times = {
        "analog": {"S1": 2.0, "S2": 1.0, "S3": 0.0, "S4": None},
        "twice": {"S1": 4.0, "S2": 2.0, "S3": 0.0, "S4": None},  # 1/2, 1/2, 0/0, two failures
        "mixed": {"S1": 1.0, "S2": None, "S3": 3.0, "S4": 1.0},  # 2, ∞ → 100, 0 → 1/100, the same
    }
    found = entries(rows_of(times))
    assert found["analog"]["skill"] == 0.0
    assert found["twice"]["skill"] == pytest.approx(1 - 0.25 ** (1 / 4))
    assert found["mixed"]["skill"] == pytest.approx(1 - (2 * 100 * 0.01 * 0.01) ** (1 / 4))
    assert {entry["baseline"] for entry in found.values()} == {"analog"}


def test_skill_is_of_errors_where_lower_is_better_and_absent_where_values_are_negative():
    errors = {
        "persistence": {"S1": 2.0, "S2": 4.0},
        "half": {"S1": 1.0, "S2": 2.0},
        "fails": {"S1": None, "S2": 0.0},
    }
    found = entries(rows_of(errors, metric="nrmse"), "nrmse")
    assert found["half"]["skill"] == pytest.approx(0.5)
    assert found["fails"]["skill"] == pytest.approx(0.0)  # 100 · 1/100
    signed = {"persistence": {"S1": -0.5}, "half": {"S1": 0.5}}
    found = entries(rows_of(signed, metric="nrmse"), "nrmse")
    assert math.isnan(found["half"]["skill"])


def test_the_baseline_is_named_or_the_first_of_a_list_and_its_own_sources_one():
    rows = {name: {"S1": 1.0, "S2": 1.0} for name in ("persistence", "B")}
    reference = to_frame(rows_of(rows), "reference")
    local = to_frame(rows_of({"persistence": {"S1": 4.0, "S2": 4.0}, "C": {"S1": 2.0, "S2": 2.0}}))
    frame = pd.concat([reference, local])
    table = leaderboard(frame)
    found = {(e["model"], e["source"]): e["skill"] for e in table.to_dict("records")}
    assert found["C", "local"] == pytest.approx(1 - 4 / 2)
    assert found["B", "reference"] == 0.0
    assert set(leaderboard(frame, baseline="C")["baseline"]) == {"C"}
    with pytest.raises(ValueError, match="no results of baseline 'D'"):
        leaderboard(frame, baseline="D")


def test_skill_win_rate_and_rank_are_those_of_another_evaluator():
    bencheval = pytest.importorskip("bencheval.evaluator")
    rng = np.random.default_rng(5)
    errors = {
        name: {f"S{s:02}": float(v) for s, v in enumerate(rng.gamma(3, size=25).round(1) + 0.1)}
        for name in ("analog", "A", "B", "C")
    }
    found = entries(rows_of(errors, metric="nrmse"), "nrmse")
    long = pd.DataFrame(
        [(m, s, v) for m, values in errors.items() for s, v in values.items()],
        columns=["method", "task", "metric_error"],
    )
    judge = bencheval.BenchmarkEvaluator(columns_to_agg_extra=None)
    per_task = judge.compute_results_per_task(long)
    theirs = {
        "skill": judge.compute_skill_score(per_task, "analog"),
        "win_rate": judge.compute_winrate(per_task),
        "mean_rank": judge.compute_rank(per_task),
    }
    for name, values in theirs.items():
        for model in errors:
            assert found[model][name] == pytest.approx(values[model], abs=1e-6), (name, model)


def test_the_front_has_what_nobody_beats_in_both_by_hand():
    figures = {"good": (5.0, 9.0), "cheap": (1.0, 1.0), "beaten": (4.0, 9.0), "tie": (1.0, 1.0)}
    rows = [row(m, "S1", v, fit_seconds=s) for m, (v, s) in figures.items()]
    rows += [row("failed", "S1", None, fit_seconds=0.1)]
    found = entries(rows)
    front = {m: e["front"] for m, e in found.items()}
    assert front == {"good": True, "cheap": True, "tie": True, "beaten": False, "failed": False}


def test_parameters_are_a_median_over_cells_and_empty_for_a_model_without():
    rows = [
        row("A", s, 1.0, hyperparameters=json.dumps({"parameters": n}))
        for s, n in (("S1", 10), ("S2", 30), ("S3", 20))
    ]
    rows += [row("B", s, 1.0) for s in ("S1", "S2", "S3")]
    found = entries(rows)
    assert found["A"]["parameters"] == 20 and math.isnan(found["B"]["parameters"])


def test_failures_are_counted_by_status():
    statuses = {"S1": "crash", "S2": "timeout", "S3": "timeout", "S4": "ok"}
    rows = [
        row("A", s, 1.0 if status == "ok" else None, status=status, window=w)
        for s, status in statuses.items()
        for w in range(3)
    ]
    rows += [row("A", "S4", None, status="crash", window=3)]  # one window of four: no failure
    found = entries(rows)["A"]
    assert (found["failures"], found["failed_by"]) == (3, "timeout 2, crash 1")


def test_a_table_by_groups_is_the_leaderboard_of_each_groups_rows():
    frame = to_frame([*rows_of(FEW), row("A", "Torus", 9.0, unit="periods")])
    table = leaderboard_by(frame, {"one": ["S3"], "two": ["S1", "S2", "Torus"], "none": []})
    assert table["group"].unique().tolist() == ["one", "two"]
    for name, systems in {"one": ["S3"], "two": ["S1", "S2"]}.items():
        part = frame[frame["system"].isin(systems) & (frame["model"] != "fewer")]
        alone = leaderboard(part).assign(group=name)
        mine = table[table["group"] == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, alone)


def test_tables_by_track_and_by_horizon():
    rows = [row(m, "S1", v, task=f"{t}/S1") for m, v in (("A", 1.0), ("B", 2.0)) for t in "xy"]
    found = leaderboard_by_track(to_frame(rows))
    assert found["group"].tolist() == ["x", "x", "y", "y"]
    assert found["model"].tolist() == ["B", "A"] * 2
    rows = [row("A", "S1", h / 10, metric=f"nrmse_at_{h:g}") for h in (10.0, 2.0, 0.5)]
    found = leaderboard_by_horizon(to_frame(rows))
    assert found["group"].tolist() == [f"{h} Lyapunov times" for h in ("0.5", "2", "10")]
    assert found["median"].tolist() == [0.05, 0.2, 1.0]
    with pytest.raises(ValueError, match="they have: nrmse"):
        leaderboard_by_horizon(to_frame(rows), "smape")


def test_a_matrix_has_values_by_system_and_entry():
    found = matrix(to_frame(rows_of({"A": {"S1": 1.0, "S2": None}}, metric="nrmse")), "nrmse")
    assert found.loc["main/S1", ("A", "local")] == 1.0
    assert math.isnan(found.loc["main/S2", ("A", "local")])


# ---- censored values -------------------------------------------------------------------------


def test_a_median_among_censored_values_is_kaplan_and_meiers_by_hand():
    # S1 ends at 1, S2 is followed until 2 only, S3 and S4 end at 3 and 4. What S2's quarter of the
    # mass does after 2 is shared by S3 and S4: 1/4, 0, 3/8, 3/8. The median moves from 2.5 to 3.
    values = {"S1": 1.0, "S2": 2.0, "S3": 3.0, "S4": 4.0}
    rows = [row("A", s, value, censored=s == "S2") for s, value in values.items()]
    (entry,) = leaderboard(to_frame(rows)).to_dict("records")
    assert entry["median"] == pytest.approx(
        3.0
    )  # knots (4 · 1/4 − 1) / 3 = 0, (4 · 5/8 − 1) / 3 = 1/2, and 1
    assert entry["censored"] == 1
    plain = [row("A", s, value) for s, value in values.items()]
    (entry,) = leaderboard(to_frame(plain)).to_dict("records")
    assert (entry["median"], entry["censored"]) == (2.5, 0)


def test_the_median_is_the_end_that_most_came_to():
    # Three of seven ended before: the others were right to the end at 25, and so is the median.
    values = {"S1": 1.0, "S2": 2.0, "S3": 20.0} | {f"S{i}": 25.0 for i in range(4, 8)}
    rows = [row("A", s, value, censored=value == 25.0) for s, value in values.items()]
    (entry,) = leaderboard(to_frame(rows)).to_dict("records")
    assert (entry["median"], entry["q75"], entry["ci_high"]) == (25.0, 25.0, 25.0)
    assert entry["q25"] == pytest.approx(np.quantile(list(values.values()), 0.25))


def test_quantiles_of_censored_values_are_those_of_scipys_distribution():
    rng = np.random.default_rng(3)
    for n in (2, 5, 40):
        times, ends = rng.exponential(size=n), rng.exponential(size=n)
        values, censored = ascending_pair(np.minimum(times, ends), ends < times)
        as_ends = censored & (np.arange(n) < n - 1)  # the largest counts as an end
        sample = stats.CensoredData(uncensored=values[~as_ends], right=values[as_ends])
        cdf = stats.ecdf(sample).cdf
        mass = cdf.evaluate(values[~as_ends])
        for q in (0.25, 0.5, 0.75):
            before = np.r_[0.0, mass[:-1]]  # an end is as many masses 1/n as its step is high
            knots = np.c_[before * n / (n - 1), (mass * n - 1) / (n - 1)].ravel()
            expected = np.interp(q, knots, np.repeat(values[~as_ends], 2))
            assert quantile(values, censored, q) == pytest.approx(expected)


def test_quantiles_without_censored_values_are_numpys():
    rng = np.random.default_rng(4)
    for n in range(1, 60):
        values = np.sort(rng.normal(size=n).round(1))
        for q in (0.025, 0.25, 0.5, 0.75, 0.975):
            found = quantile(values, np.zeros(n, bool), q)
            assert found == pytest.approx(np.quantile(values, q), abs=1e-12)


def test_a_system_counts_as_censored_when_half_of_its_windows_are():
    rows = [row("A", "S1", 5.0, window=w, censored=w < 2) for w in range(4)]
    rows += [row("A", "S2", 5.0, window=w, censored=w < 1) for w in range(4)]
    (entry,) = leaderboard(to_frame(rows)).to_dict("records")
    assert entry["censored"] == 1


def test_the_noise_floor_is_shown_beside_an_invariant():
    rows = [
        row("A", s, 0.5, metric="kl_divergence", noise_floor=floor)
        for s, floor in (("S1", 0.1), ("S2", 0.3), ("S3", 0.2))
    ]
    (entry,) = leaderboard(to_frame(rows), "kl_divergence").to_dict("records")
    assert entry["noise_floor"] == 0.2
