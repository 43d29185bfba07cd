"""Differences, correlations and verdicts of docs/findings.md, by hand, by scipy, and in words."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_leaderboard import row

from dysts_bench import budget_page, findings_page
from dysts_bench.findings import (
    claims,
    conditions,
    difficulty,
    leaders,
    recurrences,
    reliability,
    summary,
)
from dysts_bench.findings.claims import Prediction
from dysts_bench.findings.contest import Contest, chaotic_rows, contest, windows_of
from dysts_bench.findings.differences import (
    adjusted,
    difference,
    interval,
    middle,
    told_by_windows,
)
from dysts_bench.leaderboard import PRIMARY, leaderboard, matrix
from dysts_bench.records import to_frame

CHOSEN = '{"chosen": {"ridge": 0.1, "taps": 2}, "ridges": [0.1, 1.0, 10.0]}'
NAMES = ("Lorenz", "Rossler", "Chua", "Duffing", "Halvorsen", "Chen", "Lorenz84", "Rucklidge")
NAMES += ("SprottA", "SprottB", "SprottC", "SprottD", "SprottE", "SprottF", "SprottG", "SprottH")


def frame(values: dict[str, list[float | None]], **facts: object) -> pd.DataFrame:
    """Reference rows of models on NAMES in their order; None is a timeout."""
    rows = [
        row(model, name, value, **facts)
        for model, column in values.items()
        for name, value in zip(NAMES, column, strict=False)
    ]
    return to_frame(rows, "reference")


def test_a_difference_is_the_median_of_pairs_with_wilcoxons_p() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(1.0, 1.0, 40), rng.normal(0.0, 1.0, 40)
    found = difference(one, other)
    assert found.median == np.median(one - other)
    assert found.p_value == pytest.approx(stats.wilcoxon(one, other).pvalue)
    drawn = stats.bootstrap(
        (one - other,), np.median, method="percentile", n_resamples=9999, rng=0
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((drawn.low, drawn.high), abs=0.15)
    assert found.wins + found.losses == found.systems == 40
    assert difference(other, one) == found.turned()


def test_a_failure_is_the_largest_loss_and_two_are_a_tie() -> None:
    one = np.array([1.0, -np.inf, -np.inf, 2.0, np.nan])
    other = np.array([0.5, 3.0, -np.inf, -np.inf, 1.0])
    found = difference(one, other)
    assert (found.systems, found.wins, found.losses) == (4, 2, 1)
    assert found.median == 0.25  # of -inf, 0, 0.5, inf
    lost = difference(np.full(5, -np.inf), np.ones(5))
    assert lost.median == lost.low == lost.high == -np.inf
    assert middle(np.array([-np.inf, np.inf])) == 0.0
    assert np.isnan(interval(np.array([1.0]))).all()


def test_what_is_said_follows_from_the_numbers() -> None:
    step = 1.0 + np.arange(12) / 8
    ahead = difference(step + 1.0, step)
    assert ahead.told("a", "b", "periods") == "a is ahead of b by 1 [1, 1] periods"
    assert ahead.turned().told("b", "a") == "a is ahead of b by 1 [1, 1]"
    # as far apart, on too few systems for the test
    few = difference(step[:4] + 1.0, step[:4])
    assert few.low == 1.0 and not few.seen
    assert few.told("a", "b") == "no difference can be seen between a and b (a less b: 1 [1, 1])"
    # often, but not in the median: in most systems both came to the end
    ties = difference(np.r_[np.zeros(20), step], np.zeros(32))
    assert ties.p_value < 0.001 and not ties.seen
    assert "no system in common" in difference(np.full(3, np.nan), np.ones(3)).told("a", "b")


def test_holms_p_values_leave_out_what_has_no_rows() -> None:
    step = 1.0 + np.arange(12) / 8
    none = difference(np.empty(0), np.empty(0))
    first, absent, second = adjusted([difference(step + 1, step), none, difference(step, step + 1)])
    assert first.p_value == second.p_value == pytest.approx(2 * stats.wilcoxon(step + 1).pvalue)
    assert absent.systems == 0 and np.isnan(absent.p_value)


def test_the_change_is_that_of_the_same_windows_and_seeds() -> None:
    def windows(times: dict[tuple[int, int], float | None]) -> pd.DataFrame:
        rows = [row("esn", "Lorenz", value, seed=s, window=w) for (s, w), value in times.items()]
        return to_frame(rows, "reference")

    before = windows({(0, 0): 1.0, (0, 1): 5.0, (0, 2): 2.0, (1, 0): 9.0})
    after = windows({(0, 0): 0.5, (0, 1): 4.0, (0, 2): None})
    # seed 1 has no partner; -0.5, -1 and a failure
    change = conditions.paired_change(before, after)
    assert change.loc["Lorenz", "esn"] == -1.0
    assert conditions.paired_change(after, after).loc["Lorenz", "esn"] == 0.0
    kept = conditions.kept(pd.Series([2.0, 0.0, 4.0]), pd.Series([1.0, 1.0, -np.inf]))
    assert kept.to_list() == [0.5, 0.0]


def test_the_figure_of_tracks_has_models_that_are_in_every_suite() -> None:
    pytest.importorskip("matplotlib")
    standard = frame({"esn": [4.0, 5.0, 6.0], "nvar": [7.0] * 3, "drift": [0.0] * 3})
    noisy = frame({"esn": [1.0, 2.0, 3.0], "drift": [0.0] * 3})
    [axes] = conditions.tracks_figure(standard, {"noisy_5": noisy}).axes
    [(line, _, bars)] = axes.containers
    assert axes.containers[0].get_label() == "esn" and line.get_ydata().tolist() == [5.0, 2.0]
    assert [bar[:, 1].tolist() for bar in bars[0].get_segments()] == [[4.0, 6.0], [1.0, 3.0]]


def test_the_first_is_told_with_whom_the_test_cannot_tell_from_it() -> None:
    steps = [1.0 + i / 10 for i in range(16)]
    near = [x + (0.1 if i % 2 else -0.1) for i, x in enumerate(steps)]
    rows = frame({"a": steps, "b": near, "c": [x - 1.0 for x in steps]})
    found = contest(chaotic_rows(rows)).whole()
    first = found.first()
    assert first["systems"] == 16 and first["its median"] == found.median(found.models[0])
    assert {first["first by mean rank"], first["not told from the first"]} == {"a", "b"}
    assert found.models[-1] == "c"


def test_subsets_are_shown_that_bring_models() -> None:
    rows = frame({"esn": [1.0] * 6, "lstm": [2.0] * 4, "gru": [3.0] * 2, "nvar": [4.0] * 2})
    found = contest(chaotic_rows(rows))
    subsets = {"two": NAMES[:2], "three": NAMES[:3], "four": NAMES[:4], "more": NAMES}
    brought = {name: set(part.scores.columns) for name, part in found.widening(subsets)}
    assert brought == {"four": {"esn", "lstm"}, "two": {"esn", "lstm", "gru", "nvar"}}
    assert set(found.whole().scores.columns) == {"esn"}


def test_windows_of_a_system_tell_two_models_apart_on_it() -> None:
    def on(name: str, ahead: float) -> list:
        steps = [1.0 + w / 8 for w in range(12)]
        rows = [row("a", name, x + ahead, window=w) for w, x in enumerate(steps)]
        return rows + [row("b", name, x, window=w) for w, x in enumerate(steps)]

    rows = [*on("Lorenz", 1.0), *on("Chua", 1.0), *on("Chen", -1.0), *on("Rossler", 0.0)]
    windows = windows_of(chaotic_rows(to_frame(rows, "reference")))
    assert windows.shape == (48, 2)
    assert told_by_windows(windows, "a", "b") == (2, 1)
    assert told_by_windows(windows, "b", "a") == (1, 2)
    few = windows[windows.index.get_level_values("window") < 6]  # 4 · 2/2⁶ is more than 0.05
    assert told_by_windows(few, "a", "b") == (0, 0)


def test_a_family_stands_for_its_best_member() -> None:
    slow = {"lstm": [3.0, 1.0, 2.0], "gru": [1.0, 4.0, 2.0], "esn": [2.0, 2.0, 5.0]}
    text = "\n".join(leaders.by_family(contest(chaotic_rows(frame(slow))), "three"))
    # best of lstm and gru: 3, 4, 2; halfway between them 2, 2.5, 2
    assert "| networks, trained by gradients | lstm, gru | 1.33 | 3 [2, 4] | 2 [2, 2.5] |" in text
    assert "| reservoirs and autoregressions | esn | 1.67 | 2 [2, 5] | 2 [2, 5] |" in text


def test_the_summary_names_the_first_network_and_who_lasts() -> None:
    steps = [20.0 + i / 2 for i in range(16)]
    rows = frame({"esn": steps, "nvar": [x - 1 for x in steps], "lstm": [2.0] * 16})
    text = "\n".join(summary.in_short(rows, {}, {}))
    assert "First by mean rank is esn: esn is ahead of nvar by 1 [1, 1] Lyapunov times" in text
    assert "the first of them by mean rank is lstm, 2 [2, 2], and of all models esn" in text
    assert "right for 24 Lyapunov times with esn on 8 of 16, nvar on 6 of 16 systems" in text
    some = pd.concat([rows, frame({"gru": [3.0] * 5})])  # on fewer systems than the lstm
    text = "\n".join(summary.in_short(rows, {"partial": some}, {}))
    assert "Networks in `partial`, on the 16 systems that lstm ran on" in text


def test_scores_and_their_median_are_the_leaderboards() -> None:
    free = frame({"esn": [1.0, 3.0, 4.0], "nvar": [1.0, 1.0, 1.0, 1.0]})
    late = frame({"esn": [0.0, 0.0, 0.0, 2.0]}, censored=True).tail(1)
    again = frame({"esn": [2.0, None, 5.0]}, seed=1)
    rows = pd.concat([free, late, again])
    found = contest(chaotic_rows(rows))
    table = matrix(rows)["esn", "reference"].fillna(-np.inf)
    assert found.scores["esn"].to_list() == table.to_list() == [4.5, 2.0, 1.5, -np.inf]
    assert found.ended["esn"].to_list() == [False, True, False, False]
    entry = leaderboard(rows).set_index("model").loc["esn"]
    assert found.median("esn").startswith(f"{entry['median']:.3g} [")
    last = Contest(pd.DataFrame({"a": [1.0, 9.0, 9.0]}), pd.DataFrame({"a": [False, True, True]}))
    assert last.median("a").startswith("≥ 9 [")
    lower = contest(chaotic_rows(free.assign(higher_is_better=False)))
    assert lower.scores["esn"].min() == -4.0 and lower.median("esn") == "3 [1, 4]"


def test_correlations_are_scipys_with_failures_last() -> None:
    rng = np.random.default_rng(3)
    fact, score = rng.normal(size=50), rng.normal(size=50)
    found = difficulty.correlation(score - fact, fact)
    assert found.rho == pytest.approx(stats.spearmanr(score - fact, fact).statistic)
    drawn = stats.bootstrap(
        (score - fact, fact),
        lambda x, y: stats.spearmanr(x, y).statistic,
        paired=True,
        vectorized=False,
        n_resamples=1999,
        method="percentile",
        rng=0,
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((drawn.low, drawn.high), abs=0.04)
    failed = difficulty.correlation(np.array([3.0, 2.0, 1.0, -np.inf]), np.arange(4.0))
    assert failed.rho == pytest.approx(-1.0)
    assert np.isnan(difficulty.correlation(np.ones(5), np.arange(5.0)).rho)  # all alike


def test_facts_are_the_catalogs() -> None:
    facts = difficulty.properties(pd.Index(["Lorenz", "MackeyGlass"]))
    assert facts.loc["Lorenz", "Kaplan-Yorke dimension"] == pytest.approx(2.0625, abs=1e-3)
    assert facts.loc["Lorenz", "sum of positive exponents / largest"] == 1.0
    contraction = facts.loc["Lorenz", "contraction (-sum of exponents) / largest"]
    assert contraction == pytest.approx((10 + 1 + 8 / 3) / 0.9113, rel=1e-3)
    assert np.isnan(facts.loc["MackeyGlass", "coordinates of the state"])


def test_predictions_are_judged_by_the_rows() -> None:
    step = 1.0 + np.arange(12) / 8
    table = pd.DataFrame({"esn": step, "nvar": step + 1.0, "lstm": step - 1.0})
    found = {
        pair: difference(table[pair[0]].to_numpy(), table[pair[1]].to_numpy())
        for pair in [("nvar", "esn"), ("lstm", "esn"), ("esn", "esn")]
    }
    assert [claims.verdict(each) for each in found.values()] == [
        "as predicted",
        "the opposite",
        "no difference can be seen",
    ]
    told = claims.tested({("standard", PRIMARY): table})
    every = {prediction: each for _, lines in told for prediction, each in lines}
    assert claims.verdict(every[Prediction("standard", PRIMARY, "nvar", "esn")]) == "as predicted"
    assert claims.verdict(every[Prediction("limited", PRIMARY, "nvar", "esn")]) == "no rows"


def test_the_slope_of_prediction_times_is_that_of_least_squares() -> None:
    points = np.array([100.0, 1000.0, 10000.0])
    times = np.random.default_rng(5).normal(1.0, 0.1, (20, 3)) + 0.484 * np.log(points)
    found, low, high = recurrences.slope(points, times)
    expected = stats.linregress(np.log(points), times.mean(axis=0)).slope
    assert found == pytest.approx(expected) and low < found < high
    rows = [
        row("analog", "Lorenz", 0.484 * np.log(n) + w, window=w, n_points=n)
        for n in (100, 1000, 10000)
        for w in range(6)
    ]
    text = "\n".join(recurrences.section(to_frame(rows, "reference")))
    # D of Lorenz is 2.06; every window has the same slope
    assert "| Lorenz | 2.06 | 0.485 | 0.484 [0.484, 0.484] | above |" in text
    assert not list(recurrences.section(to_frame(rows[:12], "reference")))
    assert not list(recurrences.section(frame({"esn": [1.0, 2.0]})))


def test_seeds_and_failures_are_counted_by_hand() -> None:
    seeds = [frame({"esn": [1.0, 2.0, 4.0]}), frame({"esn": [2.0, 2.0, 1.0]}, seed=1)]
    text = "\n".join(reliability.seeds(pd.concat(seeds)))
    assert "| esn | 2 | 3 | 2, 2 | 1 [0, 3] | 0.667 [0, 1.2] |" in text
    assert list(reliability.seeds(frame({"nvar": [1.0, 2.0]}))) == []
    rows = frame({"nvar": [1.0, None, None]})
    text = "\n".join(reliability.failures({"standard": rows, "limited": frame({"nvar": [1.0]})}))
    assert "| standard | nvar | timeout | 2 of 3 | 2 of 3 | 2 | stopped |" in text
    assert "Without any failure: limited." in text


def test_a_search_is_judged_on_the_systems_of_both() -> None:
    plain = frame({"lstm": [1.0, 2.0, 3.0, 9.0], "esn": [8.0, 8.0, 8.0, 8.0]}, fit_seconds=10.0)
    searched = frame({"lstm": [2.0, 4.0, 2.0]}, preset="searched", fit_seconds=70.0)
    rows = {"standard": pd.concat([plain, searched]), "partial": plain}
    text = "\n".join(reliability.searches(rows))
    cells = [cell.strip() for cell in text.splitlines()[-1].split("|")[1:-1]]
    assert cells[:3] == ["standard", "lstm", "3"]
    assert [cell.partition(" [")[0] for cell in cells[3:5]] == ["2", "2"]
    assert cells[5:7] == ["10, 70", "2.67, 2.33"] and cells[7].startswith("esn, 8 [")
    assert cells[8].startswith("1 [") and cells[9] == "2 : 1"
    assert list(reliability.searches({"standard": plain})) == []


def test_a_system_whose_truth_ended_too_early_says_nothing_of_longer_times() -> None:
    right = frame({"esn": [25.0, 3.0]})
    ended = frame({"esn": [0.0, 0.0, 7.0]}, censored=True)
    rows = pd.concat([right, ended[ended["system"] == "Chua"]])
    [line] = [line for line in "\n".join(reliability.reaches(rows)).splitlines() if "| esn" in line]
    cells = [cell.strip().partition(" [")[0] for cell in line.split("|")[2:-1]]
    assert cells == ["3", "2 of 3", "1 of 2", "1 of 2", "1 of 2", "25"]


def test_the_page_leaves_out_suites_without_rows() -> None:
    steps = [1.0 + i / 10 for i in range(16)]
    models = {"nvar": steps, "esn": [x - 0.5 for x in steps], "analog": [0.5] * 16}
    figures = pd.DataFrame({"model": [], "system": [], "metric": [], "value": []})
    standard = frame(models)
    limited = frame(
        {"nvar": [x / 2 for x in steps], "esn": [None, *steps[1:]], "analog": [0.5] * 16}
    )
    text = findings_page.page({"standard": standard, "limited": limited[:0]}, figures)
    assert "nvar is ahead of esn by 0.5 [0.5, 0.5] Lyapunov times" in text
    assert "600 points" not in text and "By data length" not in text
    more = findings_page.page({"standard": standard, "limited": limited}, figures)
    assert "### `limited`: 600 points to train" in more
    track = more.partition("### `limited`")[2]
    # first with analog where esn failed, second elsewhere
    assert "| nvar | 1.97 | 2 (was 1) | 1.75 [1.4, 2.1] | 0.875 [0.7, 1.05] |" in track
    assert "the medians has a Kendall rank correlation of 0.33" in track


def test_costs_are_sums_over_cells_and_the_full_run_is_their_mean_times_its_cells() -> None:
    facts = {"fit_seconds": 36.0, "predict_seconds": 0.0, "peak_memory_mb": 100.0}
    rows = pd.concat(
        [
            frame({"esn": [1.0, 2.0]}, **facts),
            frame({"esn": [1.0, 2.0]}, window=1, **facts),  # the same cells
            frame({"nvar": [1.0, 2.0]}, hyperparameters=CHOSEN, **facts),
        ]
    )
    cells = budget_page.cells_of(rows)
    assert len(cells) == 4 and set(cells["family"]) == {"reservoir"}
    text = budget_page.page({"standard": cells, "limited": cells[:0]}, {})
    assert "4 cells took 0.04 core hours" in text
    # 135 systems with three seeds of 36 seconds, and one of nvar, which draws nothing
    assert "| esn | 2 | 2 | 405 | 4.05 | [4.05, 4.05] | 36 |" in text
    assert "| nvar | 2 | 2 | 135 | 1.35 | [1.35, 1.35] | 36 |" in text
    # one of three ridges, the least; taps has no list of its own
    assert "| nvar | ridge, taps | ridges 3 | 2 | ridge 100% | 1 | 100% | 36 |" in text
    assert "Trials times seconds" not in text  # no row says how many there were
    counted = frame({"nvar": [1.0, 2.0, 3.0]}, hyperparameters='{"trials": 9}', **facts)
    text = budget_page.page({"standard": cells, "limited": budget_page.cells_of(counted)}, {})
    assert "| nvar | limited | 3 | 9 | 9 | 9 | 4 | 36 | 36 |" in text
    assert budget_page.family("darts_theta:gilpin2023") == "darts adapter"
    assert budget_page.family("my_model") == "other"
