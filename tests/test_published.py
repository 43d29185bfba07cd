"""Published figures say what their studies do, and stand beside ours without mixing with them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_cli import cli
from test_leaderboard import row

import models
from dysts_bench import published
from dysts_bench.leaderboard import leaderboard
from dysts_bench.metrics import find
from dysts_bench.published import COUNTERPARTS, agreement, beside
from dysts_bench.records import COLUMNS, load_results, to_frame
from dysts_bench.study_page import RESULTS
from dysts_bench.task import suite_names

ERROR = "smape"


# ---- the files -------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", published.suites(RESULTS))
def test_every_file_holds_one_value_a_model_system_and_metric_of_a_suite(suite: str) -> None:
    table = published.load(RESULTS, suite)
    assert suite in suite_names()
    assert tuple(table.columns) == published.COLUMNS
    assert not table.duplicated(["model", "system", "metric"]).any()
    assert all(find(metric) for metric in table["metric"].unique())
    errors = table.loc[table["metric"] == ERROR, "value"]
    assert errors.between(0, 200).all()


def test_medians_are_those_that_the_2021_study_gives_for_its_four_conditions() -> None:
    known = {
        "gilpin2021_fine": {"nbeats": 67.7, "transformer": 101.43, "naive_mean": 148.94},
        "gilpin2021_fine_noisy": {"nbeats": 89.038, "fft": 115.6, "four_theta": 117.07},
        "gilpin2021_coarse": {"nbeats": 50.617, "lstm": 67.802, "prophet": 131.61},
        "gilpin2021_coarse_noisy": {"lstm": 84.916, "nbeats": 85.44, "arima": 120.7},
    }
    for suite, medians in known.items():
        table = published.load(RESULTS, suite)
        found = table[table["metric"] == ERROR].groupby("model")["value"].median()
        assert len(found) == 16
        assert found[list(medians)].to_dict() == pytest.approx(medians, rel=1e-3)


def test_what_was_read_off_figures_agrees_with_what_is_known_system_by_system() -> None:
    [nbeats] = published.load(RESULTS, "gilpin2023_long").groupby("model")["value"].median()
    summaries = published.summaries(RESULTS, "gilpin2023_long")
    medians = summaries[summaries["statistic"] == "median"].set_index("model")["value"]
    assert len(medians) == 23
    assert medians["nbeats"] == pytest.approx(nbeats, abs=2.5)
    # two runs of the same fits, of which neural models' medians differ by up to 10
    run = published.load(RESULTS, "gilpin2023").groupby("model")["value"].median()
    main = published.summaries(RESULTS, "gilpin2023")
    main = main[main["statistic"] == "median"].set_index("model")["value"]
    assert main.to_dict() == pytest.approx(run[main.index].to_dict(), abs=10.5)


def test_every_published_method_of_the_studies_has_a_counterpart() -> None:
    for suite in published.suites(RESULTS):
        if suite.startswith("gilpin"):
            named = {*published.load(RESULTS, suite)["model"]}
            named |= {*published.summaries(RESULTS, suite)["model"]}
            assert named <= set(COUNTERPARTS)


def test_counterparts_are_models_of_the_zoo() -> None:
    zoo = models.names()
    has_darts = any(name.startswith("darts_") for name in zoo)
    for ours in COUNTERPARTS.values():
        name, _, preset = ours.partition(":")
        if not name.startswith("darts_"):
            assert preset in models.presets(name)
        elif has_darts:
            assert name in zoo, "correct the table of published.py"


def test_a_suite_without_published_values_is_answered_with_those_that_have_some(
    tmp_path: Path,
) -> None:
    with pytest.raises(ValueError, match=r"suite 'standard'\. There is for gilpin2021_coarse, "):
        published.load(RESULTS, "standard")
    with pytest.raises(ValueError, match="nothing at all"):
        published.load(tmp_path, "gilpin2023")


# ---- beside ours -----------------------------------------------------------------------------


def figures(values: dict[str, dict[str, float]], metric: str = ERROR) -> pd.DataFrame:
    rows = [
        {"model": model, "system": system, "metric": metric, "value": value}
        for model, by_system in values.items()
        for system, value in by_system.items()
    ]
    return pd.DataFrame(rows).reindex(columns=list(published.COLUMNS))


def our_rows(values: dict[str, dict[str, float | None]], source: str = "local") -> pd.DataFrame:
    rows = [
        row(model, system, value, metric=ERROR)
        for model, by_system in values.items()
        for system, value in by_system.items()
    ]
    return to_frame(rows, source)


THEIRS = {
    "nvar": {"S1": 30.0, "S2": 40.0, "S3": 50.0},
    "tcn": {"S1": 90.0, "S2": 80.0, "S4": 1.0},
}
OURS = {"nvar": {"S1": 10.0, "S2": None, "S3": 20.0, "S5": 0.0}}


def test_both_are_compared_on_the_systems_that_both_have() -> None:
    found = beside(our_rows(OURS), figures(THEIRS), ERROR)
    systems = found.astype(str).groupby(["model", "source"])["system"].unique()
    assert sorted(systems["nvar", "local"]) == ["S1", "S2", "S3"]
    assert sorted(systems["nvar", "published"]) == ["S1", "S2", "S3"]
    assert sorted(systems["tcn", "published"]) == ["S1", "S2"]
    assert [c for c in found.columns if c != "source"] == list(COLUMNS)
    assert set(found["task"]) == {"main/S1", "main/S2", "main/S3"}


def test_a_failure_of_ours_is_worst_and_what_a_study_lacks_is_left_out() -> None:
    table = leaderboard(beside(our_rows(OURS), figures(THEIRS), ERROR), ERROR)
    entries = {(e["model"], e["source"]): e for e in table.to_dict("records")}
    ours, nvar = entries["nvar", "local"], entries["nvar", "published"]
    tcn = entries["tcn", "published"]
    assert list(entries) == [("nvar", "local"), ("nvar", "published"), ("tcn", "published")]
    assert (ours["median"], ours["systems"], ours["failures"]) == (20.0, 3, 1)
    assert (nvar["median"], nvar["systems"]) == (40.0, 3)
    assert (tcn["median"], tcn["systems"], tcn["failures"]) == (85.0, 2, 0)
    # ours beats both on S1, loses to both on S2, beats one on S3
    assert ours["win_rate"] == pytest.approx(3 / 5)
    assert nvar["win_rate"] == pytest.approx((1 + 2 + 0) / 5)
    assert tcn["win_rate"] == pytest.approx(1 / 4)


def test_a_model_run_again_counts_once_against_what_is_published() -> None:
    again = pd.concat([our_rows(OURS), our_rows(OURS, "reference")], ignore_index=True)
    entries = {
        (e["model"], e["source"]): e
        for e in leaderboard(beside(again, figures(THEIRS), ERROR), ERROR).to_dict("records")
    }
    assert entries["tcn", "published"]["win_rate"] == pytest.approx(1 / 4)
    for source in ("local", "reference"):
        assert entries["nvar", source]["win_rate"] == pytest.approx(3 / 5)


def test_nothing_in_common_is_said() -> None:
    with pytest.raises(ValueError, match="not published of this suite system by system; smape is"):
        beside(our_rows(OURS), figures(THEIRS).assign(value=np.nan), ERROR)
    with pytest.raises(ValueError, match="no system of our results"):
        beside(our_rows({"nvar": {"S9": 1.0}}), figures(THEIRS), ERROR)
    with pytest.raises(ValueError, match="no metric 'mse'"):
        beside(our_rows(OURS), figures(THEIRS, "mse"), "mse")


def test_the_leaderboard_has_both_side_by_side() -> None:
    ask = ("leaderboard", "--results", str(RESULTS), "--with-published", "--suite")
    found = json.loads(cli(*ask, "gilpin2023", "--format", "json"))
    entries = {(e["model"], e["source"]): e for e in found if e["group"] == "chaotic"}
    ours = load_results(RESULTS, "gilpin2023")["system"].unique()
    theirs = published.load(RESULTS, "gilpin2023").query("model == 'nbeats'")
    calm = theirs["system"].isin(["InteriorSquirmer", "GlycolyticOscillation"])
    nbeats = entries["nbeats", "published"]
    chaotic = theirs[~calm & theirs["system"].isin(ours)]
    assert nbeats["median"] == pytest.approx(chaotic["value"].median(), abs=1.5)
    assert entries["nvar", "published"]["median"] > 1e3 * entries["nvar", "reference"]["median"]
    order = [e["median"] for e in found if e["group"] == "chaotic" and e["systems"] > 100]
    assert order == sorted(order)
    shown = cli(*ask, "gilpin2023")
    assert "as published over the study's own systems" in shown and "under their own names" in shown
    plain = cli("leaderboard", "--results", str(RESULTS), "--suite", "gilpin2023")
    assert "nbeats" not in plain


def test_bad_requests_for_published_figures_are_answered() -> None:
    ask = ("leaderboard", "--results", str(RESULTS), "--with-published", "--suite")
    assert "holds nothing published of the suite 'standard'" in cli(*ask, "standard", code=2)
    said = cli(*ask, "gilpin2023", "--metric", "mse", code=2)
    assert "mse is not published of this suite system by system; smape is." in said


# ---- two orderings ---------------------------------------------------------------------------


def scores(values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(values, columns=[f"m{i}" for i in range(values.shape[1])])


def test_rank_correlations_are_those_of_scipy_ties_and_all() -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(0, 6, (31, 9)).astype(float)  # medians of these tie
    other = one + 2 * rng.standard_normal(one.shape)
    found = agreement(scores(one), scores(other))
    a, b = np.median(one, axis=0), np.median(other, axis=0)
    assert len(set(a)) < 9
    assert found.kendall == pytest.approx(stats.kendalltau(a, b).statistic)
    assert found.spearman == pytest.approx(stats.spearmanr(a, b).statistic)


def test_medians_are_over_the_systems_on_which_both_have_the_method() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.uniform(size=(2, 20, 5))
    one[:7, 0], other[5:12, 1] = np.nan, np.nan
    both = np.isnan(one) | np.isnan(other)
    a, b = (np.nanmedian(np.where(both, np.nan, x), axis=0) for x in (one, other))
    found = agreement(scores(one), scores(other).iloc[::-1, ::-1])  # labels say what is what
    assert found.kendall == pytest.approx(stats.kendalltau(a, b).statistic)
    assert a[0] != np.nanmedian(one[:, 0]) or a[1] != np.median(one[:, 1])


def test_the_interval_is_that_of_a_bootstrap_over_systems() -> None:
    rng = np.random.default_rng(2)
    one = rng.standard_normal((40, 8)) + np.linspace(0, 1, 8)
    other = one + 0.5 * rng.standard_normal(one.shape)

    def tau(systems: np.ndarray) -> float:
        return stats.kendalltau(
            np.median(one[systems], axis=0), np.median(other[systems], axis=0)
        ).statistic

    drawn = stats.bootstrap(
        (np.arange(40),), tau, n_resamples=2000, method="percentile", vectorized=False, rng=3
    ).confidence_interval
    found = agreement(scores(one), scores(other)).kendall_interval
    assert found == pytest.approx((drawn.low, drawn.high), abs=0.08)
    assert found[0] < found[1]


def test_equal_orderings_agree_wholly_and_reversed_ones_not_at_all() -> None:
    apart = scores(np.arange(6) + np.random.default_rng(0).uniform(size=(30, 6)) / 10)
    same, opposite = agreement(apart, 3 * apart + 5), agreement(apart, -apart)
    assert (same.kendall, same.spearman) == pytest.approx((1, 1))
    assert same.kendall_interval == same.spearman_interval == pytest.approx((1, 1))
    assert opposite.kendall_interval == pytest.approx((-1, -1))
    assert same.methods == 6


def test_one_method_is_no_ordering() -> None:
    with pytest.raises(ValueError, match="two methods at least"):
        agreement(scores(np.ones((4, 1))), scores(np.ones((4, 1))))
    lost = scores(np.array([[1.0, np.nan], [2.0, np.nan]]))
    with pytest.raises(ValueError, match="two methods at least"):
        agreement(lost, lost)
