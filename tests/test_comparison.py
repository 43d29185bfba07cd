"""Friedman, Wilcoxon and Holm against scipy, statsmodels and scikit-posthocs, and by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_leaderboard import rows_of

from dysts_bench.comparison import compare, compared, holm, signed_rank_p
from dysts_bench.records import to_frame


def table_of(values: np.ndarray) -> pd.DataFrame:
    columns = pd.MultiIndex.from_tuples([(f"m{i}", "local") for i in range(values.shape[1])])
    return pd.DataFrame(values, columns=columns, index=[f"S{i}" for i in range(len(values))])


def test_the_tests_are_those_of_scipy_and_scikit_posthocs() -> None:
    posthocs = pytest.importorskip("scikit_posthocs")
    values = np.random.default_rng(0).normal(size=(30, 5)) + np.array([0.0, 0.3, 0.6, 0.9, 2.0])
    found = compared(table_of(values), "any")
    assert (found.friedman, found.friedman_p) == pytest.approx(
        tuple(stats.friedmanchisquare(*values.T))
    )
    order = [int(name[1:]) for name in found.entries]
    ranks = stats.rankdata(-values, axis=1).mean(axis=0)
    assert order == np.argsort(ranks).tolist()
    np.testing.assert_allclose(found.mean_ranks, ranks[order])
    theirs = posthocs.posthoc_wilcoxon(list(values[:, order].T), p_adjust="holm").to_numpy()
    np.testing.assert_allclose(found.p_values, theirs, rtol=1e-12)


def test_the_signed_rank_p_value_is_scipys() -> None:
    rng = np.random.default_rng(4)
    for pairs, digits in [(8, 3), (12, 1), (20, 9), (50, 9), (80, 1), (200, 1), (200, 9)]:
        one, other = (rng.normal(size=pairs).round(digits) for _ in range(2))
        one += 0.3
        expected = stats.wilcoxon(one, other, zero_method="wilcox").pvalue
        # digits: some differences are equal, where scipy goes through all signs or is normal
        assert signed_rank_p(one, other) == pytest.approx(expected, rel=1e-9), (pairs, digits)
    same = np.full(20, 0.5)  # exact where scipy is normal: all twenty up, or all down
    assert signed_rank_p(same + 1, same) == 2.0**-19


def test_holms_p_values_are_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p_values = np.random.default_rng(1).uniform(size=20) ** 3
    np.testing.assert_allclose(holm(p_values), multitest.multipletests(p_values, method="holm")[1])
    assert holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])  # by hand


def test_a_failure_is_below_every_value_and_two_are_a_tie() -> None:
    values = np.random.default_rng(2).uniform(1, 2, size=(12, 2))
    values[:, 1] += 1e-3
    failed = values.copy()
    failed[:4] = -np.inf  # both: out of the test
    failed[4:6, 0] = -np.inf  # one: as the largest differences
    differences = failed[4:, 1] - failed[4:, 0]
    largest = np.minimum(differences, 1e6)
    found = compared(table_of(failed), "any")
    assert found.p_values[0, 1] == pytest.approx(stats.wilcoxon(largest).pvalue)
    same = compared(table_of(np.ones((5, 3))), "any")
    assert same.p_values.min() == 1.0 and np.isnan(same.friedman)
    assert same.alike == ((0, 2),)


def test_entries_that_are_alike_are_the_longest_runs_by_hand() -> None:
    rng = np.random.default_rng(0)
    # Of three near ones only the ends differ; a fourth is far from all.
    base = rng.normal(size=200)
    noise = 0.5 * rng.normal(size=(200, 4))
    values = base[:, None] + noise - np.array([0.0, 0.08, 0.16, 9.0])
    found = compared(table_of(values), "any")
    assert found.entries == ("m0", "m1", "m2", "m3")
    differ = found.p_values < found.level
    assert differ.astype(int).tolist() == [[0, 0, 1, 1], [0, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 0]]
    assert found.alike == ((0, 1), (1, 2))


def test_it_is_over_the_systems_that_all_entries_were_asked_on() -> None:
    table = {
        "A": {f"S{i}": float(i) for i in range(8)},
        "B": {f"S{i}": i + 1.0 for i in range(8)},
        "few": {"S1": 9.0},
    }
    found = compare(to_frame(rows_of(table)))
    assert found.entries == ("B", "A") and len(found.systems) == 8
    assert found.p_values[0, 1] == pytest.approx(2 / 2**8)  # one of 2⁸ signs, and its mirror image
    with pytest.raises(ValueError, match="there are 1 on 8"):
        compare(to_frame(rows_of({"A": table["A"]})))
