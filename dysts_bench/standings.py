"""Who stands where: statistics of a matrix of scores, systems × entries.

Scores: higher is better, -inf is a failure, NaN was not asked for. An entry is a pair (model,
source). What the figures mean stands in leaderboard.py, whose columns they are.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from dysts_bench.quantiles import ascending_pair, bootstrap, quantile

PUBLISHED = "published"  # source of rows that are figures of others
MEDIANS = ("median", "q25", "q75", "ci_low", "ci_high")
# The first that a group has is its baseline. Analogs before the naive ones: beside those, forecasts
# that are right for ten Lyapunov times are all alike, at the bound of their ratios.
BASELINES = ("analog", "persistence", "darts_naive_mean")
RATIOS = (0.01, 100.0)

Matrix = Float[np.ndarray, "systems entries"]


def statistics(
    scores: Matrix,
    bounds: Bool[np.ndarray, "systems entries"],
    entries: list[tuple[str, str]],
    sign: float,
) -> dict[str, list[float]]:
    """The columns from `median` to `censored`, one value an entry."""
    asked = ~np.isnan(scores)
    table: dict[str, list[float]] = {name: [] for name in MEDIANS}
    for column, bound in zip(scores.T, bounds.T, strict=True):
        values, censored = ascending_pair(column[~np.isnan(column)], bound[~np.isnan(column)])
        low, high = bootstrap(values, censored)
        found: dict[str, Any] = {
            "median": quantile(values, censored, 0.5),
            # A lower quartile of values is an upper one of scores where lower is better.
            "q25": quantile(values, censored, 0.25 if sign > 0 else 0.75),
            "q75": quantile(values, censored, 0.75 if sign > 0 else 0.25),
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


def baseline_of(entries: list[tuple[str, str]], baselines: Sequence[str]) -> str:
    """The first of these models that has an entry, whatever its preset; "" if none has."""
    models = sorted({model for model, _ in entries})
    for wanted in baselines:
        for model in models:
            if wanted in (model, model.partition(":")[0]):
                return model
    return ""


def reference_columns(entries: list[tuple[str, str]], baseline: str) -> list[int | None]:
    """The column of each entry's baseline: from its own source where there is one."""
    columns = {source: i for i, (model, source) in enumerate(entries) if model == baseline}
    any_source = columns.get("reference", next(iter(columns.values()), None))
    return [columns.get(source, any_source) for _, source in entries]


def skill(scores: Matrix, reference: Sequence[int | None], sign: float) -> list[float]:
    """1 − the geometric mean of clipped ratios of errors; NaN without a baseline."""
    finite = sign * scores[np.isfinite(scores)]
    if (finite < 0).any():
        return [np.nan] * scores.shape[1]
    failed = np.isneginf(scores)
    # Where higher is better, a failure is a time of 0; otherwise an error of infinity.
    values = np.where(failed, 0.0 if sign > 0 else np.inf, sign * scores)
    found = []
    for mine, column in zip(values.T, reference, strict=True):
        if column is None:
            found.append(np.nan)
            continue
        theirs = values[:, column]
        both = ~np.isnan(mine) & ~np.isnan(theirs)
        worse, better = (theirs, mine) if sign > 0 else (mine, theirs)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(worse == better, 1.0, worse / better)[both]
        logs = np.log(np.clip(ratio, *RATIOS))
        found.append(1 - float(np.exp(logs.mean())) if len(logs) else np.nan)
    return found


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
