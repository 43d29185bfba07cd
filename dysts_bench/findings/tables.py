"""What the sections share: scores as systems × models, who is first, and numbers as text."""

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from dysts_bench.comparison import LEVEL, Comparison, compared
from dysts_bench.findings.differences import Difference, difference, interval, middle
from dysts_bench.leaderboard import PRIMARY, all_scores, latest, rows_of
from dysts_bench.quantiles import ascending_pair, bootstrap, quantile

if TYPE_CHECKING:
    import pandas as pd

DECIMALS = 12


def scores_of(rows: "pd.DataFrame", metric: str = PRIMARY) -> "pd.DataFrame":
    """Chaotic systems × models: higher is better, -inf is a failure, NaN was not asked for."""
    # Medians of equal steps differ in the last bit: a tie should be one.
    return by_name(all_scores(rows, metric)).round(DECIMALS)


def by_name(table: "pd.DataFrame") -> "pd.DataFrame":
    """The same table, of tasks × (model, source), by system and model."""
    systems = table.index.astype(str).str.partition("/").get_level_values(2)
    return table.set_axis(systems, axis=0).droplevel("source", axis=1)


def complete(table: "pd.DataFrame") -> "pd.DataFrame":
    """The models that were asked on all of its systems."""
    return table.dropna(axis=1)


def chaotic_rows(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Rows of the primary metric that are not in periods; -inf in place of no value."""
    own = _primary_rows(rows)
    return own[own["unit"] != "periods"]


def calm_rows(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Those that are in periods, of systems that are not chaotic."""
    own = _primary_rows(rows)
    return own[own["unit"] == "periods"]


def _primary_rows(rows: "pd.DataFrame") -> "pd.DataFrame":
    own = rows_of(latest(rows), PRIMARY).astype({"system": str, "model": str, "status": str})
    return own.fillna({"value": -np.inf})


def windows_of(rows: "pd.DataFrame") -> "pd.DataFrame":
    """(system, window) × models: the median over seeds of `chaotic_rows` or `calm_rows`."""
    middle_seed = rows.groupby(["system", "window", "model"])["value"].median()
    return middle_seed.unstack().round(DECIMALS)


def ended_of(rows: "pd.DataFrame", table: "pd.DataFrame") -> "pd.DataFrame":
    """Like `table`, of `scores_of` the same rows: whether a score is a lower bound, for half of
    the windows and seeds in it are."""
    own = chaotic_rows(rows)
    flags = own.assign(bound=own["censored"].eq(True).fillna(False).astype(float))
    by_seed = flags.groupby(["system", "model", "seed"])["bound"].mean() >= 0.5
    share = by_seed.astype(float).groupby(["system", "model"]).mean().unstack()
    return share.reindex_like(table).fillna(0.0) >= 0.5


# ---- who is first ----------------------------------------------------------------------------


def ranked(table: "pd.DataFrame") -> Comparison:
    """The models of a complete table by mean rank, and which of them can be told apart."""
    import pandas as pd

    entries = pd.MultiIndex.from_product([table.columns, ["reference"]])
    return compared(table.set_axis(entries, axis=1), PRIMARY)


def ahead_of_next(table: "pd.DataFrame", found: Comparison) -> list[Difference]:
    """Of each model but the last, in the order of `found`, whose p-values they have."""
    return [
        replace(
            difference(table[one].to_numpy(), table[other].to_numpy()),
            p_value=float(found.p_values[i, i + 1]),
        )
        for i, (one, other) in enumerate(pairwise(found.entries))
    ]


def first_of(table: "pd.DataFrame", board: "pd.DataFrame") -> dict[str, object]:
    """Who is first in a complete table, and by how much; `board` is its leaderboard, by model."""
    found = ranked(table)
    first, second = found.entries[:2]
    [ahead, *_] = ahead_of_next(table, found)
    return {
        "systems": len(table),
        "first by mean rank": first,
        "its median": with_interval(*board.loc[first, ["median", "ci_low", "ci_high"]]),
        "next": second,
        "ahead by": ahead.numbers(),
        "p": p_value(ahead.p_value),
        "not told from the first": _not_beaten(found),
    }


def lead(table: "pd.DataFrame", found: Comparison, unit: str) -> str:
    """Sentences on the first of a complete table, `found` of it, and those it does not beat."""
    first, second = found.entries[:2]
    [ahead, *_] = ahead_of_next(table, found)
    told = f"First by mean rank is {first}: {ahead.told(first, second, unit)}."
    rest = _not_beaten(found)
    return f"{told} Not told from the first: {rest}." if rest else told


def alike(found: Comparison) -> str:
    """A sentence on the models that cannot be told apart."""
    if _none_differ(found):
        return ""
    runs = ["{" + ", ".join(found.entries[a : b + 1]) + "}" for a, b in found.alike]
    return f"Neighbours not told apart: {'; '.join(runs)}." if runs else ""


def _none_differ(found: Comparison) -> bool:
    return not (found.p_values < LEVEL).any()


def _not_beaten(found: Comparison) -> str:
    if _none_differ(found):
        return "any (no two are told apart)"
    rest = zip(found.entries[1:], found.p_values[0, 1:], strict=True)
    return ", ".join(name for name, p in rest if p >= LEVEL)


# ---- numbers as text -------------------------------------------------------------------------


def median_of(values: "pd.Series") -> str:
    """The median over systems and its interval, empty without any value."""
    known = values.dropna().to_numpy(dtype=float)
    return with_interval(float(middle(known)), *interval(known)) if len(known) else ""


def score_median(scores: "pd.Series", ended: "pd.Series") -> str:
    """The same of scores among which some are lower bounds, as the leaderboard has it."""
    values, censored = ascending_pair(scores.to_numpy(dtype=float), ended[scores.index].to_numpy())
    return with_interval(float(quantile(values, censored, 0.5)), *bootstrap(values, censored))


def with_interval(median: float, low: float, high: float) -> str:
    return "" if np.isnan(median) else f"{median:.3g} [{low:.3g}, {high:.3g}]"


def p_value(value: float) -> str:
    if np.isnan(value):
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.2g}"
