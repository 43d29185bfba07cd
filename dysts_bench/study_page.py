"""docs/gilpin2023.md: the study's two-period task, its published scores beside ours.

python -m dysts_bench.study_page
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dysts_bench import published, records
from dysts_bench.leaderboard import as_text, rows_of
from dysts_bench.published import COUNTERPARTS

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
PAGE = ROOT / "docs" / "gilpin2023.md"
SUITE = "gilpin2023"
# Of the per-system table: published ones, then ours.
BESIDE = ("nbeats", "neural_ode", "nvar", "esn")
OURS = ("nvar:gilpin2023", "esn:gilpin2023", "neural_ode:gilpin2023", "nvar", "esn", "best_of")
WORST = 200.0
CLOSE = 15.0  # of sMAPE: run to run, medians of the study's neural models move by up to 10
ORDERED = 4  # methods: of fewer, a rank correlation says nothing
OPENING = """# The two-period task of the 2023 study

Generated from `results/published/gilpin2023.csv` and `results/reference/gilpin2023/` by `python -m
dysts_bench.study_page`.

1000 points at 100 a period are learned from, and the next 200 are forecast; the score is the sMAPE
over them, from 0 to 200. Gilpin (Physical Review Research 5, 043252, 2023) published 15 methods on
131 systems. Ours see the same equations (edition `dysts`), sampling and task, from initial states
of our own: single systems differ by chance as much as by method, medians compare.

The presets named `gilpin2023` have the study's hyperparameters and its raw units, and those of nvar
and esn choose as it did: by the sMAPE of a single forecast. Our own models choose by free runs.
"""


def page(rows: "pd.DataFrame", figures: "pd.DataFrame") -> str:
    """The page in Markdown: medians and means of every model, the same methods twice, systems."""
    import pandas as pd

    ours = by_system(rows_of(rows, "smape").fillna({"value": WORST}))
    theirs = by_system(figures[figures["metric"] == "smape"])
    common = ours.index.intersection(theirs.index)
    summary = pd.concat(
        [_summary(theirs.loc[common], "published"), _summary(ours.loc[common], "ours")]
    ).sort_values("median", kind="stable")
    beside = theirs[[name for name in BESIDE if name in theirs]].add_suffix(" (published)")
    every = pd.concat([beside, ours[[name for name in OURS if name in ours]]], axis=1).sort_index()
    return "\n".join(
        [
            OPENING,
            f"On the {len(common)} systems that both have, or those of them that a model has been "
            "run on. A failure of ours counts as 200; what the study has no value for is left out "
            "of its own figures:\n",
            as_text(summary.rename_axis("model").reset_index(), "markdown"),
            *_same_methods(theirs.loc[common], ours.loc[common]),
            "## By system\n",
            as_text(every.rename_axis("system").reset_index(), "markdown"),
        ]
    )


def same_methods(theirs: "pd.DataFrame", ours: "pd.DataFrame") -> "pd.DataFrame":
    """A row a method that both have run with the same settings, by its published name.

    `theirs` and `ours` are systems × models (`by_system`). Medians are over the systems that both
    have; the last column is that of the same model with settings of our own, on those of them that
    it has been run on.
    """
    import pandas as pd

    pairs = {name: COUNTERPARTS[name] for name in theirs if COUNTERPARTS.get(name) in ours}
    theirs, again = _both(theirs, ours, pairs)
    own = []
    for name in pairs:
        model, on = _tuned(pairs[name], ours), theirs.index[theirs[name].notna()]
        own.append(ours[model].reindex(on).median() if model else np.nan)
    table = pd.DataFrame(
        {
            "ours": pd.Series(pairs, dtype=object),
            "published median": theirs.median(),
            "our median": again.median(),
            "difference": again.median() - theirs.median(),
            "systems": theirs.notna().sum(),
            "our own settings": pd.Series(own, index=list(pairs), dtype=float),
        }
    )
    return table[table["systems"] > 0].sort_values("published median", kind="stable")


def ordering(theirs: "pd.DataFrame", ours: "pd.DataFrame") -> published.Agreement | None:
    """How far the two orders of the methods of `same_methods` agree; None for fewer than four."""
    pairs = same_methods(theirs, ours)["ours"].to_dict()
    if len(pairs) < ORDERED:
        return None
    return published.agreement(*_both(theirs, ours, pairs))


def _both(
    theirs: "pd.DataFrame", ours: "pd.DataFrame", pairs: dict[str, str]
) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Both scores of these methods, under the published names, where both have one."""
    theirs = theirs[list(pairs)]
    again = ours[list(pairs.values())].set_axis(list(pairs), axis=1).reindex(theirs.index)
    both = theirs.notna() & again.notna()
    return theirs.where(both), again.where(both)


def _same_methods(theirs: "pd.DataFrame", ours: "pd.DataFrame") -> list[str]:
    """The section on the methods that both have run, empty if there are none."""
    table = same_methods(theirs, ours)
    if table.empty:
        return []
    close = int((table["difference"].abs() <= CLOSE).sum())
    lines = [
        "## The same methods\n",
        "Methods that the study and we have run with the same settings, each on the systems on "
        f"which both have it. {close} of {len(table)} medians are within {CLOSE:g} of the "
        "published one. Last, the median of the same model with settings of our own (preset "
        "`tuned`, or none), on those of these systems that it has been run on.\n",
        as_text(table.rename_axis("published as").reset_index(), "markdown"),
    ]
    found = ordering(theirs, ours)
    if found is not None:
        lines.append(
            f"Ordered by their medians, these {found.methods} methods have a rank correlation with "
            f"the published order of {found.kendall:.2f} ({told(found.kendall_interval)}) after "
            f"Kendall and {found.spearman:.2f} ({told(found.spearman_interval)}) after Spearman; "
            "in brackets 95 % bootstrap intervals over systems.\n"
        )
    return lines


def _tuned(name: str, ours: "pd.DataFrame") -> str | None:
    """The model of the same kind with settings of our own, if it has been run."""
    plain = name.partition(":")[0]
    return next((other for other in (f"{plain}:tuned", plain) if other in ours), None)


def told(ends: tuple[float, float]) -> str:
    """Its ends, in words."""
    return f"{ends[0]:.2f} to {ends[1]:.2f}"


def by_system(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Systems × models: the median over seeds, NaN where there is no value."""
    plain = rows.assign(model=rows["model"].astype(str), system=rows["system"].astype(str))
    return plain.groupby(["system", "model"])["value"].median().unstack()


def _summary(scores: "pd.DataFrame", source: str) -> "pd.DataFrame":
    return scores.agg(["median", "mean"]).T.assign(
        q25=scores.quantile(0.25),
        q75=scores.quantile(0.75),
        systems=scores.notna().sum(),
        source=source,
    )


def main() -> None:
    """Write the page of the reference rows."""
    rows = records.load_results(RESULTS, SUITE)
    rows = rows[rows["source"] == "reference"]
    PAGE.write_text(page(rows, published.load(RESULTS, SUITE)), encoding="utf-8")


if __name__ == "__main__":
    main()
