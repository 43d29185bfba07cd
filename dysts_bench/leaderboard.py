"""Results → a table with its uncertainty: pure functions of long-form rows (records.load_results).

An entry is a model (with preset) from one source, `reference` or `local`. Its value on a system is
the median over windows, then over seeds. A failure has no value and ranks below every value: a
quantile that falls on one is empty. Systems that are not chaotic form a group of their own, for
their scores are in periods.

The same rows in any order give the same table, bit for bit.
"""

import json
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

if TYPE_CHECKING:
    import pandas as pd

PRIMARY = "valid_prediction_time"
COLUMNS = (
    "group",  # "chaotic" or "other"
    "model",
    "source",  # "reference" (committed) or "local"
    "median",  # over systems, as are the quartiles
    "q25",
    "q75",
    "ci_low",  # 95 % bootstrap interval of the median over systems
    "ci_high",
    "win_rate",  # share of (system, other model) pairs won; ties count half
    "mean_rank",  # over systems; 1 is best, ties share their mean
    "systems",  # on which it was asked for a forecast, failures included
    "failures",  # systems on which it has no value
    "fit_seconds",  # median over cells
    "predict_seconds",
)
RESAMPLES = 5000
_SEED = 0  # of the bootstrap: part of the definition, so that a table can be made again

# Scores: higher is better, -inf is a failure, NaN was not asked for.
Matrix = Float[np.ndarray, "systems entries"]


def leaderboard(results: "pd.DataFrame", metric: str = PRIMARY) -> "pd.DataFrame":
    """One row an entry and group, best first; the columns are COLUMNS.

    `results` holds every row of a suite, other metrics included: a system counts as not chaotic
    when its rows are in periods. Rows of older versions of the suite are left out. Raises
    ValueError for a metric that the results do not hold.
    """
    import pandas as pd

    results = results[results["suite_version"] == results["suite_version"].max()]
    rows = _rows_of(results, metric)
    better = rows["higher_is_better"].unique()
    if len(better) > 1:
        raise ValueError(f"{metric}: rows disagree on whether higher is better; mixed versions?")
    sign = 1.0 if better[0] else -1.0
    calm = set(results.loc[results["unit"] == "periods", "task"].unique())
    tables = []
    is_calm = rows["task"].isin(calm)
    for group, part in (("chaotic", rows[~is_calm]), ("other", rows[is_calm])):
        if not part.empty:
            scores = _scores(part, sign)
            table = scores.columns.to_frame(index=False).assign(
                group=group,
                **_statistics(scores.to_numpy(), _rivals(list(scores.columns)), sign),
                **_seconds(part, scores.columns),
            )
            tables.append(table)
    whole = pd.concat(tables)[list(COLUMNS)]
    whole["_worst_first"] = whole["median"] * sign
    order = ["group", "_worst_first", "win_rate", "mean_rank", "model", "source"]
    whole = whole.sort_values(
        order, ascending=[True, False, False, True, True, False], na_position="last", kind="stable"
    )
    return whole[list(COLUMNS)].reset_index(drop=True)


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
    rows = _rows_of(results, metric)
    columns = ["model", "source", "system", "seed", "status", "message"]
    texts = dict.fromkeys(("model", "source", "system", "status", "message"), str)
    lost = rows.loc[rows["value"].isna(), columns].astype(texts)
    return lost.drop_duplicates().sort_values(columns[:4]).reset_index(drop=True)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _rows_of(results: "pd.DataFrame", metric: str) -> "pd.DataFrame":
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


def _statistics(
    scores: Matrix, rivals: Bool[np.ndarray, "entries entries"], sign: float
) -> dict[str, list[float]]:
    """The columns from `median` to `failures`, one value an entry."""
    asked = ~np.isnan(scores)
    table: dict[str, list[float]] = {name: [] for name in COLUMNS[3:8]}
    for column in scores.T:
        values = np.sort(column[~np.isnan(column)])
        low, high = _bootstrap(values)
        found: dict[str, Any] = {
            "median": _quantile(values, 0.5),
            # A lower quartile of values is an upper one of scores where lower is better.
            "q25": _quantile(values, 0.25 if sign > 0 else 0.75),
            "q75": _quantile(values, 0.75 if sign > 0 else 0.25),
            "ci_low": low if sign > 0 else high,
            "ci_high": high if sign > 0 else low,
        }
        for name, value in found.items():
            table[name].append(sign * float(value) if np.isfinite(value) else np.nan)
    mine, theirs = scores[:, :, None], scores[:, None, :]
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
    }


def _rivals(entries: list[tuple[str, str]]) -> Bool[np.ndarray, "entries entries"]:
    """Whom each entry competes with: every other model once, from its own source where that has it.

    Otherwise a model that was run again locally would count twice against everybody.
    """
    held = set(entries)
    rivals = [
        [
            model != other and (source == other_source or (other, source) not in held)
            for other, other_source in entries
        ]
        for model, source in entries
    ]
    return np.array(rivals, dtype=bool)


def _quantile(
    ascending: Float[np.ndarray, "*batch systems"], q: float
) -> Float[np.ndarray, "*batch"]:
    """The linear quantile; -inf as soon as a failure takes part in it."""
    position = (ascending.shape[-1] - 1) * q
    low, part = int(position), position % 1.0
    below = ascending[..., low]
    if part == 0.0:
        return below
    above = ascending[..., low + 1]
    with np.errstate(invalid="ignore"):  # inf - inf, discarded in the next line
        between = below + part * (above - below)
    return np.where(np.isneginf(below), -np.inf, between)


def _bootstrap(ascending: Float[np.ndarray, " systems"]) -> tuple[float, float]:
    """The 2.5 % and 97.5 % quantiles of the median over systems drawn with replacement."""
    if len(ascending) < 2:
        return np.nan, np.nan  # one system says nothing about others
    rng = np.random.default_rng(_SEED)
    drawn = ascending[rng.integers(0, len(ascending), (RESAMPLES, len(ascending)))]
    medians = np.sort(_quantile(np.sort(drawn, axis=1), 0.5))
    return float(_quantile(medians, 0.025)), float(_quantile(medians, 0.975))


def _seconds(rows: "pd.DataFrame", entries: "pd.Index") -> dict[str, np.ndarray]:
    cells = rows.drop_duplicates(["model", "source", "task", "seed"])
    times = cells.groupby(["model", "source"], observed=True)[["fit_seconds", "predict_seconds"]]
    found = times.median().reindex(entries)
    return {name: found[name].to_numpy() for name in ("fit_seconds", "predict_seconds")}
