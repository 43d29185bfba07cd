"""Results → a table with its uncertainty: pure functions of long-form rows (records.load_results).

An entry is a model (with preset) from one source: `reference`, `local`, or `published` for figures
of others (see `published.beside`). Its value on a system is the median over windows, then over
seeds. A failure has no value and ranks below every value: a quantile that falls on one is empty. A
value that reached the end of the truth is a lower bound: where truths of other systems go further,
quantiles are Kaplan and Meier's.

The chaotic systems form one group, the others another, for their scores are in periods. An entry
that was not asked on every system of a group comes after those that were, for its median is that of
other systems; it competes on its own, and they compete without it. (What is published was asked
where it has values.) Where all can be compared, on a subset of the systems that a suite names, is a
group too, as soon as some entry needs it.

The same rows in any order give the same table, bit for bit.
"""

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

if TYPE_CHECKING:
    import pandas as pd

PRIMARY = "valid_prediction_time"
PUBLISHED = "published"  # source of rows that are figures of others
COLUMNS = (
    "group",  # "chaotic", "other", or a subset of the chaotic systems
    "model",
    "source",  # "reference" (committed), "local" or "published"
    "median",  # over systems, as are the quartiles; a lower bound where more are censored
    "q25",
    "q75",
    "ci_low",  # 95 % bootstrap interval of the median over systems
    "ci_high",
    "win_rate",  # share of (system, other model) pairs won; ties count half
    "mean_rank",  # over systems; 1 is best, ties share their mean
    "systems",  # of the group on which it was asked for a forecast, failures included
    "failures",  # systems on which it has no value
    "censored",  # systems on which its value is a lower bound: the truth ended first
    "noise_floor",  # of an invariant: median over systems of the value between true runs
    "fit_seconds",  # median over cells
    "predict_seconds",
)
RESAMPLES = 5000
_SEED = 0  # of the bootstrap: part of the definition, so that a table can be made again

# Scores: higher is better, -inf is a failure, NaN was not asked for.
Matrix = Float[np.ndarray, "systems entries"]
Sample = Float[np.ndarray, "*batch systems"]
Flags = Bool[np.ndarray, "*batch systems"]


def leaderboard(
    results: "pd.DataFrame",
    metric: str = PRIMARY,
    subsets: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> "pd.DataFrame":
    """One row an entry and group, best first; the columns are COLUMNS.

    `results` holds every row of a suite, other metrics included: a system counts as not chaotic
    when its rows are in periods. `subsets` are names of systems. Rows of older versions of the
    suite are left out, and of a sweep those of fewer training points. Raises ValueError for a
    metric that the results do not hold.
    """
    import pandas as pd

    results = results[results["suite_version"] == results["suite_version"].max()]
    results = results[results["n_points"] == results["n_points"].max()]
    rows = rows_of(results, metric)
    better = rows["higher_is_better"].unique()
    if len(better) > 1:
        raise ValueError(f"{metric}: rows disagree on whether higher is better; mixed versions?")
    sign = 1.0 if better[0] else -1.0
    calm = rows["task"].isin(results.loc[results["unit"] == "periods", "task"].unique())
    groups = {"chaotic": rows[~calm], "other": rows[calm]}
    complete = _complete(groups["chaotic"])
    for name, systems in subsets.items():
        part = groups["chaotic"][groups["chaotic"]["system"].isin(list(systems))]
        comparable = _complete(part)
        if not comparable <= complete:
            entry = pd.MultiIndex.from_frame(part[["model", "source"]].astype(str))
            groups[name] = part[entry.isin(comparable)]
    tables = [_table(name, part, sign) for name, part in groups.items() if not part.empty]
    return pd.concat(tables)[list(COLUMNS)].reset_index(drop=True)


def _complete(rows: "pd.DataFrame") -> set[tuple[str, str]]:
    """The entries (model, source) that were asked on all systems of these rows, or published."""
    asked = rows.astype({"model": str, "source": str}).groupby(["model", "source"])["task"]
    count = asked.nunique()
    published = count.index.get_level_values("source") == PUBLISHED
    return set(count.index[(count == rows["task"].nunique()) | published])


def _table(group: str, rows: "pd.DataFrame", sign: float) -> "pd.DataFrame":
    """The entries of one group, best first."""
    scores = _scores(rows, sign)
    bounds = _bounds(rows).reindex_like(scores).to_numpy() == 1.0
    table = scores.columns.to_frame(index=False).assign(
        group=group,
        **_statistics(scores.to_numpy(), bounds, list(scores.columns), sign),
        **_over_rows(rows, scores.columns),
    )
    return table.assign(
        _partial=(table["systems"] < len(scores)) & (table["source"] != PUBLISHED),
        _worst_first=table["median"] * sign,
    ).sort_values(
        ["_partial", "_worst_first", "win_rate", "mean_rank", "model", "source"],
        ascending=[True, False, False, True, True, False],
        na_position="last",
        kind="stable",
    )


def as_text(table: "pd.DataFrame", format: str) -> str:
    """The table as `csv`, `json` (a list of objects) or `markdown`; floats keep every bit."""
    match format:
        case "csv":
            return table.to_csv(index=False, lineterminator="\n")
        case "json":
            whole = table.astype(object).where(table.notna(), None)  # JSON has no NaN
            return json.dumps(whole.to_dict("records"), indent=1) + "\n"
        case "markdown":
            rows = [list(table.columns), ["---"] * len(table.columns)]
            rows += [["" if v != v else _short(v) for v in row] for row in table.to_numpy()]
            return "".join(f"| {' | '.join(row)} |\n" for row in rows)
    raise ValueError(f"formats are csv, json and markdown; got {format!r}")


def failures(results: "pd.DataFrame", metric: str = PRIMARY) -> "pd.DataFrame":
    """Every failed cell: model, source, system, seed, status and message, sorted."""
    rows = rows_of(results, metric)
    columns = ["model", "source", "system", "seed", "status", "message"]
    texts = dict.fromkeys(("model", "source", "system", "status", "message"), str)
    lost = rows.loc[rows["value"].isna(), columns].astype(texts)
    return lost.drop_duplicates().sort_values(columns[:4]).reset_index(drop=True)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def rows_of(results: "pd.DataFrame", metric: str) -> "pd.DataFrame":
    """The rows of one metric, the model's column with its preset; ValueError if there are none."""
    known = sorted(results["metric"].unique())
    if metric not in known:
        close = get_close_matches(metric, known, n=3) or known
        raise ValueError(
            f"the results hold no metric {metric!r}. "
            + (f"Did you mean {', '.join(close)}?" if known else "They are empty: run first.")
        )
    rows = results[results["metric"] == metric]
    label = rows["model"].astype(str)
    variant = rows["preset"].astype(str)
    return rows.assign(model=label.where(variant == "", label + ":" + variant))


def _scores(rows: "pd.DataFrame", sign: float) -> "pd.DataFrame":
    """Systems × entries: the median over windows, then over seeds, of value·sign."""
    scored = rows.assign(score=(rows["value"] * sign).fillna(-np.inf))
    entry = ["model", "source", "task"]
    by_seed = scored.groupby([*entry, "seed"], observed=True)["score"].median()
    by_task = by_seed.groupby(entry, observed=True).median()
    return by_task.unstack(["model", "source"]).sort_index().sort_index(axis=1)


def _bounds(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Systems × entries: 1 where the value is a lower bound, for half of the rows in it are."""
    entry = ["model", "source", "task"]
    flags = rows.assign(bound=rows["censored"].eq(True).fillna(False).astype(float))
    by_seed = flags.groupby([*entry, "seed"], observed=True)["bound"].mean().ge(0.5)
    by_task = by_seed.astype(float).groupby(entry, observed=True).mean().ge(0.5)
    return by_task.astype(float).unstack(["model", "source"])


def _statistics(
    scores: Matrix,
    bounds: Bool[np.ndarray, "systems entries"],
    entries: list[tuple[str, str]],
    sign: float,
) -> dict[str, list[float]]:
    """The columns from `median` to `censored`, one value an entry."""
    asked = ~np.isnan(scores)
    table: dict[str, list[float]] = {name: [] for name in COLUMNS[3:8]}
    for column, bound in zip(scores.T, bounds.T, strict=True):
        values, censored = _ascending(column[~np.isnan(column)], bound[~np.isnan(column)])
        low, high = _bootstrap(values, censored)
        found: dict[str, Any] = {
            "median": _quantile(values, censored, 0.5),
            # A lower quartile of values is an upper one of scores where lower is better.
            "q25": _quantile(values, censored, 0.25 if sign > 0 else 0.75),
            "q75": _quantile(values, censored, 0.75 if sign > 0 else 0.25),
            "ci_low": low if sign > 0 else high,
            "ci_high": high if sign > 0 else low,
        }
        for name, value in found.items():
            table[name].append(sign * float(value) if np.isfinite(value) else np.nan)
    mine, theirs = scores[:, :, None], scores[:, None, :]
    published = np.array([source == PUBLISHED for _, source in entries])
    rivals = _rivals(entries, asked.all(axis=0) | published)
    pairs = asked[:, :, None] & asked[:, None, :] & rivals
    with np.errstate(invalid="ignore", divide="ignore"):  # NaN: nobody to compare with
        won = np.where(pairs, (mine > theirs) + 0.5 * (mine == theirs), 0.0)
        win_rate = won.sum(axis=(0, 2)) / pairs.sum(axis=(0, 2))
    rank = 1 + (pairs.sum(axis=2) - won.sum(axis=2))  # systems × entries
    return table | {
        "win_rate": win_rate.tolist(),
        "mean_rank": (np.where(asked, rank, 0).sum(axis=0) / asked.sum(axis=0)).tolist(),
        "systems": asked.sum(axis=0).tolist(),
        "failures": np.isneginf(scores).sum(axis=0).tolist(),
        "censored": (bounds & asked).sum(axis=0).tolist(),
    }


def _rivals(
    entries: list[tuple[str, str]], complete: Bool[np.ndarray, " entries"]
) -> Bool[np.ndarray, "entries entries"]:
    """Whom each entry competes with: every other model once, from its own source where that has it.

    Otherwise a model that was run again locally would count twice against everybody. An entry that
    was asked on all systems competes with its like only. A published model is never one of ours,
    whatever its name; it meets those of ours from the reference first.
    """
    entries = [(f"{m} ({s})" if s == PUBLISHED else m, s) for m, s in entries]
    everyone = set(entries)
    whole = {entry for entry, is_whole in zip(entries, complete, strict=True) if is_whole}
    rivals = []
    for model, source in entries:
        pool = whole if (model, source) in whole else everyone
        own = "reference" if source == PUBLISHED else source
        rivals.append(
            [
                (other, other_source) in pool
                and model != other
                and (own == other_source or (other, own) not in pool)
                for other, other_source in entries
            ]
        )
    return np.array(rivals, dtype=bool)


def _ascending(values: Sample, censored: Flags) -> tuple[Sample, Flags]:
    """Both sorted by value; what ended at a time comes before what was only followed so far."""
    order = np.lexsort((censored, values))
    return np.take_along_axis(values, order, -1), np.take_along_axis(censored, order, -1)


def _quantile(ascending: Sample, censored: Flags, q: float) -> Float[np.ndarray, "*batch"]:
    """The linear quantile; -inf as soon as a failure takes part in it.

    With censored values, that of the distribution of Kaplan & Meier (J. Am. Stat. Assoc. 53, 457,
    1958), interpolated likewise: without any, both are one. The largest value counts as an end
    (Efron 1967), so that a quantile beyond it is a lower bound.
    """
    n = ascending.shape[-1]
    if n == 1:
        return ascending[..., 0]
    ends = ~censored
    ends[..., -1] = True
    following = n - np.arange(n)  # how many are not yet over before each value
    mass = 1 - np.cumprod(np.where(ends, 1 - 1 / following, 1.0), axis=-1)
    # numpy's linear quantile puts the k-th of n equal masses at (k − 1) / (n − 1).
    knots = (mass * n - 1) / (n - 1)
    number = np.arange(n)
    last_end = np.maximum.accumulate(np.where(ends, number, -1), axis=-1)
    # Products of (1 − 1/k) round: a knot a few 1e-16 below q is at q.
    high = np.argmax(ends & (knots >= q - 1e-12), axis=-1)[..., None]
    before = np.take_along_axis(last_end, np.maximum(high - 1, 0), -1)
    low = np.where((high == 0) | (before < 0), high, before)
    below, above = (np.take_along_axis(ascending, i, -1)[..., 0] for i in (low, high))
    left, right = (np.take_along_axis(knots, i, -1)[..., 0] for i in (low, high))
    with np.errstate(invalid="ignore", divide="ignore"):  # discarded in the next lines
        part = np.clip((q - left) / (right - left), 0.0, 1.0)
        between = below + part * (above - below)
    at_knot = (low == high)[..., 0] | (np.abs(right - q) <= 1e-12)
    return np.where(at_knot, above, np.where(np.isneginf(below), -np.inf, between))


def _bootstrap(ascending: Float[np.ndarray, " systems"], censored: Flags) -> tuple[float, float]:
    """The 2.5 % and 97.5 % quantiles of the median over systems drawn with replacement."""
    if len(ascending) < 2:
        return np.nan, np.nan  # one system says nothing about others
    rng = np.random.default_rng(_SEED)
    # Sorted numbers are sorted values: the sample is in order, ties and all.
    drawn = np.sort(rng.integers(0, len(ascending), (RESAMPLES, len(ascending))), axis=1)
    medians = np.sort(_quantile(ascending[drawn], censored[drawn], 0.5))
    known = np.zeros(RESAMPLES, dtype=bool)
    return float(_quantile(medians, known, 0.025)), float(_quantile(medians, known, 0.975))


def _over_rows(rows: "pd.DataFrame", entries: "pd.Index") -> dict[str, np.ndarray]:
    """Medians over systems of the noise floor, and over cells of the seconds."""
    names = ["noise_floor", "fit_seconds", "predict_seconds"]
    cells = rows.drop_duplicates(["model", "source", "task", "seed"])
    found = cells.groupby(["model", "source"], observed=True)[names].median().reindex(entries)
    return {name: found[name].to_numpy() for name in names}
