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
group too, as soon as some entry needs it; and so are, for local rows beside reference ones, the
systems that the local entries share which are ranked nowhere else. Systems that a suite does not
have are a last group. `leaderboard_by` makes groups of another kind.

Skill against a baseline is 1 − the geometric mean over systems of error / baseline's error, each
ratio within 1/100 and 100 (as in fev: Shchur et al., arXiv:2509.26468). Where higher is better, as
of times until a forecast is wrong, the error is the inverse: the ratio is baseline's value / value,
so that a skill of 0.5 is a time twice as long. A failure is the worst error, two equal ones are 1.
There is no skill for metrics that have negative values.

Intervals are of systems drawn with replacement, each with all its seeds and windows: these are
nested in systems, and drawing them too would count their spread twice (Davison & Hinkley,
Bootstrap Methods, 1997, section 3.8).

Seconds are of cells on one kind of hardware, that of most cells: those of others do not compare.

The same rows in any order give the same table, bit for bit.
"""

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from dysts_bench import tables
from dysts_bench.standings import (
    BASELINES,
    PUBLISHED,
    baseline_of,
    reference_columns,
    skill,
    statistics,
)

if TYPE_CHECKING:
    import pandas as pd

PRIMARY = "valid_prediction_time"
YOURS = "yours"  # group of the chaotic systems on which your own rows can be ranked
OUTSIDE = "outside"  # group of systems that the suite does not have
COLUMNS = (
    "group",  # "chaotic", "other", a subset of the chaotic systems, "yours" or "outside"
    "model",
    "source",  # "reference" (committed), "local" or "published"
    "median",  # over systems, as are the quartiles; a lower bound where more are censored
    "q25",
    "q75",
    "ci_low",  # 95 % bootstrap interval of the median over systems
    "ci_high",
    "win_rate",  # share of (system, other model) pairs won; ties count half
    "mean_rank",  # over systems; 1 is best, ties share their mean
    "skill",  # against the baseline, on the systems of both: 1 is perfect, 0 is as good
    "baseline",  # its model; empty where the group has none
    "systems",  # of the group on which it was asked for a forecast, failures included
    "failures",  # systems on which it has no value
    "failed_by",  # how, as "timeout 2, crash 1"
    "censored",  # systems on which its value is a lower bound: the truth ended first
    "noise_floor",  # of an invariant: median over systems of the value between true runs
    "fit_seconds",  # median over cells
    "predict_seconds",
    "parameters",  # fitted numbers, median over cells
    "front",  # no other entry has a better median in as few seconds, or as good a one in fewer
)

# Of records.Result, what this module looks at: other columns of rows may be missing.
INPUT = (
    *("suite_version", "task", "system", "model", "preset", "hyperparameters", "seed"),
    *("metric", "value", "unit", "higher_is_better", "status", "message", "n_points", "censored"),
    *("noise_floor", "fit_seconds", "predict_seconds", "hardware_id"),
)


def leaderboard(
    results: "pd.DataFrame",
    metric: str = PRIMARY,
    subsets: Mapping[str, Sequence[str]] = MappingProxyType({}),
    systems: Sequence[str] | None = None,
    *,
    baseline: str | None = None,
) -> "pd.DataFrame":
    """One row an entry and group, best first; the columns are COLUMNS.

    `results` holds every row of a suite, other metrics included: a system counts as not chaotic
    when its rows are in periods. `subsets` are names of systems, `systems` those that the suite has
    (None: all there are); `baseline` is a model, of BASELINES unless named. Rows of older versions
    of the suite are left out, and of a sweep those of fewer training points. Raises ValueError for
    a metric or a baseline that the results lack.
    """
    rows, calm = _current(results, metric)
    inside = rows["system"].isin(list(systems)) if systems is not None else calm | ~calm
    groups = {"chaotic": rows[~calm & inside], "other": rows[calm & inside]}
    complete = ranked = _complete(groups["chaotic"])
    for name, subset in subsets.items():
        part = groups["chaotic"][groups["chaotic"]["system"].isin(list(subset))]
        if not _complete(part) <= complete:
            groups[name] = _comparable(part)
            ranked = ranked | _complete(part)
    groups[YOURS] = _of_yours(groups["chaotic"], ranked)
    return _tables(groups | {OUTSIDE: rows[~inside]}, baseline)


def _of_yours(rows: "pd.DataFrame", ranked: set[tuple[str, str]]) -> "pd.DataFrame":
    """The systems on which all local entries were run that no other table ranks, with whoever was
    asked on all of these; nothing where there is no reference to compare with."""
    local = rows[rows["source"] == "local"].astype({"model": str})
    asked = [
        set(part["task"])
        for model, part in local.groupby("model")
        if (model, "local") not in ranked
    ]
    if not asked or not (rows["source"] == "reference").any():
        return rows[:0]
    return _comparable(rows[rows["task"].isin(set.intersection(*asked))])


def leaderboard_by(
    results: "pd.DataFrame",
    groups: Mapping[str, Sequence[str]],
    metric: str = PRIMARY,
    *,
    baseline: str | None = None,
) -> "pd.DataFrame":
    """The same table for each group of systems, of the chaotic ones in it; groups may overlap.

    Only entries that were asked on all of a group are in it. Raises as `leaderboard` does.
    """
    rows, calm = _current(results, metric)
    rows = rows[~calm]
    parts = {name: rows[rows["system"].isin(list(systems))] for name, systems in groups.items()}
    return _tables({name: _comparable(part) for name, part in parts.items()}, baseline)


def leaderboard_by_track(
    results: "pd.DataFrame", metric: str = PRIMARY, *, baseline: str | None = None
) -> "pd.DataFrame":
    """The same table for each track, the part of a task's name before "/", of chaotic systems."""
    rows, calm = _current(results, metric)
    rows = rows[~calm]
    tracks = rows["task"].astype(str).str.partition("/")[0]
    parts = {name: _comparable(rows[tracks == name]) for name in sorted(set(tracks))}
    return _tables(parts, baseline)


def leaderboard_by_horizon(
    results: "pd.DataFrame", family: str = "nrmse", *, baseline: str | None = None
) -> "pd.DataFrame":
    """The same table for each metric `<family>_at_<h>`, h in Lyapunov times, of chaotic systems."""
    start = f"{family}_at_"
    found = [name for name in results["metric"].unique() if name.startswith(start)]
    if not found:
        known = {name.partition("_at_")[0] for name in results["metric"] if "_at_" in name}
        raise ValueError(
            f"the results hold no metric {start}…, of several horizons; "
            f"they have: {', '.join(sorted(known)) or 'none'}"
        )
    parts = {}
    for metric in sorted(found, key=lambda name: float(name.removeprefix(start))):
        rows, calm = _current(results, metric)
        parts[f"{metric.removeprefix(start)} Lyapunov times"] = _comparable(rows[~calm])
    return _tables(parts, baseline)


def matrix(results: "pd.DataFrame", metric: str = PRIMARY) -> "pd.DataFrame":
    """Values by task × (model, source); NaN for a failure, and for what was not asked for."""
    rows, _ = _current(results, metric)
    sign = _sign(rows)
    scores = _scores(rows, sign)
    return sign * scores.where(np.isfinite(scores))


def scores(results: "pd.DataFrame", metric: str = PRIMARY) -> "pd.DataFrame":
    """Scores of chaotic systems, task × (model, source): higher is better, -inf is a failure.

    Of the entries that were asked on all of them; NaN is for published ones alone.
    """
    rows, calm = _current(results, metric)
    return _scores(_comparable(rows[~calm]), _sign(rows))


def _current(results: "pd.DataFrame", metric: str) -> "tuple[pd.DataFrame, pd.Series]":
    """The rows of a metric that count, and which of them are of systems that are not chaotic."""
    results = latest(results)
    rows = rows_of(results, metric)
    if rows["higher_is_better"].nunique() > 1:
        raise ValueError(f"{metric}: rows disagree on whether higher is better; mixed versions?")
    calm = results.loc[results["unit"] == "periods", "task"].unique()
    return rows, rows["task"].isin(calm)


def _sign(rows: "pd.DataFrame") -> float:
    return 1.0 if rows["higher_is_better"].iloc[0] else -1.0


def _comparable(rows: "pd.DataFrame") -> "pd.DataFrame":
    """The rows of entries that were asked on all systems of these rows."""
    import pandas as pd

    entry = pd.MultiIndex.from_frame(rows[["model", "source"]].astype(str))
    return rows[entry.isin(_complete(rows))]


def _tables(groups: "Mapping[str, pd.DataFrame]", baseline: str | None) -> "pd.DataFrame":
    import pandas as pd

    groups = {name: part for name, part in groups.items() if not part.empty}
    models = {model for part in groups.values() for model in part["model"].unique()}
    if baseline is not None and baseline not in models:
        known = get_close_matches(baseline, sorted(models), n=3) or sorted(models)
        raise ValueError(f"no results of baseline {baseline!r}. There are {', '.join(known)}.")
    wanted = BASELINES if baseline is None else (baseline,)
    found = [_table(name, part, wanted) for name, part in groups.items()]
    return pd.concat(found)[list(COLUMNS)].reset_index(drop=True)


def _complete(rows: "pd.DataFrame") -> set[tuple[str, str]]:
    """The entries (model, source) that were asked on all systems of these rows, or published."""
    asked = rows.astype({"model": str, "source": str}).groupby(["model", "source"])["task"]
    count = asked.nunique()
    published = count.index.get_level_values("source") == PUBLISHED
    return set(count.index[(count == rows["task"].nunique()) | published])


def _table(group: str, rows: "pd.DataFrame", baselines: Sequence[str]) -> "pd.DataFrame":
    """The entries of one group, best first."""
    sign = _sign(rows)
    scores = _scores(rows, sign)
    entries = list(scores.columns)
    bounds = _bounds(rows).reindex_like(scores).to_numpy() == 1.0
    model = baseline_of(entries, baselines)
    table = scores.columns.to_frame(index=False).assign(
        group=group,
        **statistics(scores.to_numpy(), bounds, entries, sign),
        skill=skill(scores.to_numpy(), reference_columns(entries, model), sign),
        baseline=model,
        failed_by=_failed_by(rows, scores),
        **_over_rows(rows, scores.columns),
    )
    table = table.assign(
        _partial=(table["systems"] < len(scores)) & (table["source"] != PUBLISHED),
        _worst_first=table["median"] * sign,
    )
    return table.assign(front=_front(table)).sort_values(
        ["_partial", "_worst_first", "win_rate", "mean_rank", "model", "source"],
        ascending=[True, False, False, True, True, False],
        na_position="last",
        kind="stable",
    )


def as_text(table: "pd.DataFrame", format: str) -> str:
    """The table as `csv`, `json` (a list of objects) or `markdown`; floats have twelve digits.

    Logarithms and sums differ in the last bit between processors; the text does not.
    """
    whole = table.astype(object).where(table.notna(), None)
    rows = [
        [float(f"{value:.12g}") if isinstance(value, float) else value for value in row]
        for row in whole.to_numpy().tolist()
    ]
    return tables.as_text(list(table.columns), rows, format)


def failures(results: "pd.DataFrame", metric: str = PRIMARY) -> "pd.DataFrame":
    """Every failed cell: model, source, system, seed, status and message, sorted."""
    rows = rows_of(results, metric)
    columns = ["model", "source", "system", "seed", "status", "message"]
    texts = dict.fromkeys(("model", "source", "system", "status", "message"), str)
    lost = rows.loc[rows["value"].isna(), columns].astype(texts)
    return lost.drop_duplicates().sort_values(columns[:4]).reset_index(drop=True)


def rows_of(results: "pd.DataFrame", metric: str) -> "pd.DataFrame":
    """The rows of one metric, the model's column with its preset; ValueError if there are none."""
    known = sorted(results["metric"].unique())
    if metric not in known:
        close = get_close_matches(metric, known, n=3) or known
        raise ValueError(
            f"the results hold no metric {metric!r}. "
            + (f"Did you mean {', '.join(close)}?" if known else "They are empty: run first.")
        )
    return labelled(_where(results, results["metric"] == metric))


def latest(results: "pd.DataFrame") -> "pd.DataFrame":
    """The rows that are ranked: of the newest version of the suite and, of a sweep, of the most
    training points."""
    rows = _where(results, results["suite_version"] == results["suite_version"].max())
    return _where(rows, rows["n_points"] == rows["n_points"].max())


def _where(rows: "pd.DataFrame", chosen: "pd.Series") -> "pd.DataFrame":
    """The rows chosen, without a copy if these are all: there may be millions."""
    return rows if chosen.all() else rows[chosen]


def labelled(rows: "pd.DataFrame") -> "pd.DataFrame":
    """The same rows, the model's column with its preset."""
    entry = rows.groupby(["model", "preset"], observed=True, sort=False).ngroup().to_numpy()
    _, first = np.unique(entry, return_index=True)
    names = rows[["model", "preset"]].iloc[first].astype(str)
    labels = names["model"].where(names["preset"] == "", names["model"] + ":" + names["preset"])
    found = rows.copy(deep=False)  # what is given keeps its column
    found["model"] = labels.to_numpy(dtype=object)[entry]
    return found


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


def _failed_by(rows: "pd.DataFrame", scores: "pd.DataFrame") -> list[str]:
    """Systems that failed, by the status that most of their rows without a value have."""
    lost = rows[rows["value"].isna()].astype({"status": str})
    told = []
    by_entry = dict(list(lost.groupby(["model", "source"], observed=True)))
    for entry, column in scores.items():
        failed = column.index[np.isneginf(column)]
        if not len(failed):
            told.append("")
            continue
        statuses = by_entry[entry].groupby("task", observed=True)["status"]
        first = statuses.agg(lambda status: status.mode().iloc[0])  # ties: by name
        count = first[failed].value_counts()
        ordered = sorted(count.items(), key=lambda pair: (-pair[1], pair[0]))
        told.append(", ".join(f"{status} {number}" for status, number in ordered))
    return told


def _front(table: "pd.DataFrame") -> list[bool]:
    """Whether an entry is on the front of accuracy against seconds, among those asked on all."""
    seconds = (table["fit_seconds"] + table["predict_seconds"]).to_numpy()
    accuracy = table["_worst_first"].to_numpy()
    there = ~(table["_partial"] | (table["source"] == PUBLISHED)).to_numpy()
    there &= np.isfinite(seconds) & np.isfinite(accuracy)
    as_good = (accuracy[None] >= accuracy[:, None]) & (seconds[None] <= seconds[:, None])
    better = (accuracy[None] > accuracy[:, None]) | (seconds[None] < seconds[:, None])
    beaten = (as_good & better & there[None]).any(axis=1)
    return (there & ~beaten).tolist()


def _over_rows(rows: "pd.DataFrame", entries: "pd.Index") -> dict[str, np.ndarray]:
    """Medians over systems of the noise floor; over cells of seconds, on one kind of hardware, and
    of fitted numbers."""
    cells = rows.drop_duplicates(["model", "source", "task", "seed"])
    fitted = {
        text: json.loads(text).get("parameters") for text in cells["hyperparameters"].unique()
    }
    counts = cells["hyperparameters"].astype(str).map(fitted).astype(float)
    ours = cells["source"] != PUBLISHED
    elsewhere = ours & ~cells["hardware_id"].isin(cells.loc[ours, "hardware_id"].mode()[:1])
    seconds = ["fit_seconds", "predict_seconds"]
    cells = cells.assign(parameters=counts, **cells[seconds].mask(elsewhere))
    by_entry = cells.groupby(["model", "source"], observed=True)
    found = by_entry[["noise_floor", *seconds, "parameters"]].median().reindex(entries)
    return {str(name): found[name].to_numpy() for name in found}
