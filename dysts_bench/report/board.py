"""The leaderboard of a report: its groups, as rows of text and numbers."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dysts_bench.metrics import Metric
from dysts_bench.report.descriptions import number
from dysts_bench.report.survey import Entry

if TYPE_CHECKING:
    import pandas as pd

LABELS = {
    "win_rate": "win rate",
    "mean_rank": "mean rank",
    "failed_by": "failed by",
    "noise_floor": "noise floor",
    "fit_seconds": "fit, s",
    "predict_seconds": "predict, s",
    "ci_low": "interval, low end",
    "ci_high": "interval, high end",
}
SHOWN = (
    *("skill", "win_rate", "mean_rank", "systems", "failures", "censored", "noise_floor"),
    *("fit_seconds", "parameters"),
)
SAYS = {
    "median": "over systems; each system counts with the median over windows, then seeds",
    "q25": "lower quartile over systems",
    "q75": "upper quartile over systems",
    "ci_low": "of the 95 % bootstrap interval of the median, systems drawn with replacement",
    "ci_high": "of the same interval",
    "skill": "1 - geometric mean over systems of error / the baseline's error, each ratio within "
    "1/100 and 100: 0 is as good as the baseline, 1 perfect",
    "win_rate": "share of (system, other model) pairs won; ties count half",
    "mean_rank": "over systems; 1 is best, ties share their mean",
    "systems": "on which it was asked for a forecast, failures included",
    "failures": "systems on which it has no value; a failure ranks below every value",
    "censored": "systems on which the value is a lower bound: the truth ended first",
    "noise_floor": "of an invariant: its value between independent true runs",
    "fit_seconds": "median over cells",
    "predict_seconds": "median over cells; all windows and free runs",
    "parameters": "fitted numbers, median over cells",
}
TITLES = {
    "chaotic": ("Chaotic systems", "Scores in Lyapunov times."),
    "other": ("Other systems", "Not chaotic: scores are in periods."),
    "yours": (
        "Systems of your runs",
        "Scores in Lyapunov times, of models that ran on all of these.",
    ),
}


def groups(board: "pd.DataFrame", metric: Metric) -> list[dict[str, Any]]:
    """The tables of the leaderboard."""
    found: list[dict[str, Any]] = []
    for name, part in board.groupby("group", sort=False):
        title, says = TITLES.get(
            str(name),
            (f"Subset “{name}”", f"Models compared on the chaotic systems of the subset {name}."),
        )
        if metric.unit != "Lyapunov times" and str(name) in TITLES:
            says = ""
        if part["systems"].nunique() > 1:
            says += " Models that were not run on all of these systems come last."
        else:
            says += f" Over {int(part['systems'].iloc[0])} systems."
        # A column of one value says nothing in a table: nobody failed, all were asked everywhere.
        shown = [name for name in SHOWN if name in part and part[name].nunique(dropna=False) > 1]
        finite = part[["median", "q25", "q75", "ci_low", "ci_high"]].to_numpy(dtype=float)
        finite = finite[np.isfinite(finite)]
        low, high = (min(0.0, finite.min()), finite.max()) if finite.size else (0.0, 1.0)
        if metric.better == "lower" and finite.size:
            high = min(high, 3 * float(np.median(part["median"].dropna())))
        rows = [_row(values, low, high, shown) for values in part.to_dict("records")]
        found.append(
            {
                "id": f"group-{len(found)}",
                "title": title,
                "says": says,
                "rows": rows,
                "columns": [(column, LABELS.get(column, column)) for column in shown],
                "sources": sorted({row["entry"].source for row in rows}),
            }
        )
    return found


def _row(values: dict[str, Any], low: float, high: float, shown: list[str]) -> dict[str, Any]:
    def place(name: str) -> float:
        value = values[name]
        value = high if math.isnan(value) else value
        return round(100 * min(max((value - low) / ((high - low) or 1.0), 0.0), 1.0), 1)

    known = not math.isnan(values["median"])
    ends = (values["ci_low"], values["ci_high"])
    return {
        "entry": Entry(str(values["model"]), str(values["source"])),
        "median": values["median"],
        "ci": "" if any(map(math.isnan, ends)) else f"[{number(ends[0])}, {number(ends[1])}]",
        "range": {
            "q1": place("q25"),
            "q3": place("q75"),
            "lo": place("ci_low" if not math.isnan(ends[0]) else "median"),
            "hi": place("ci_high" if not math.isnan(ends[1]) else "median"),
            "mid": place("median"),
        }
        if known
        else None,
        **{column: float(values[column]) for column in shown},
    }
