"""docs/phyxmamba.md: PhyxMamba's task, its published scores beside ours.

python -m dysts_bench.phyxmamba_page
"""

from functools import partial
from typing import TYPE_CHECKING

import systems
from dysts_bench import published, records
from dysts_bench.leaderboard import as_text
from dysts_bench.study_page import RESULTS, ROOT
from dysts_bench.task import read_suite

if TYPE_CHECKING:
    import pandas as pd

PAGE = ROOT / "docs" / "phyxmamba.md"
SUITE = "phyxmamba"
SYSTEMS = ("Lorenz", "Rossler", "Lorenz96")
PRIMARY = "smape_prediction_time"
HEADS = {
    PRIMARY: "VPT",
    "mse_at_0.03": "1-step error",
    "smape_at_1": "sMAPE@1",
    "smape_at_4": "sMAPE@4",
    "smape_at_10": "sMAPE@10",
    "distance_exponent_error": "D_frac",
    "raw_kl_divergence": "D_stsp",
}
OPENING = """# The task of PhyxMamba

Generated from `results/published/phyxmamba.csv` and `results/reference/phyxmamba/` by `python -m
dysts_bench.phyxmamba_page`.

Ten Lyapunov times are forecast from thirty points, after 29,000 points to learn from. Liu et al.
(arXiv 2505.23863) published 13 models. Ours see the same equations, sampling and task, from initial
states of our own, a hundred of them. Lyapunov times here are those of the exponents in dysts, which
the study used; the column "true" has the prediction time in Lyapunov times as we measure them. VPT
is the time until the sMAPE over all steps so far exceeds 30, and 10 at most; D_frac and D_stsp are
as coded there, and say little (`docs/metrics.md`). VPT and D_stsp are means over initial states,
D_frac is a root mean square, theirs and ours; of the errors ours are medians over initial states,
theirs means. A model that failed has no numbers.

Our `phyxmamba` is of the same kind and smaller: 1640 updates by default, a minute of one core,
where the study's 1600 epochs are some 90,000, each with sixteen times as many windows, of forty
times as many weights. A lookback of 20 fills the thirty points with its delay vectors; with 30, as
by default, the oldest state stands for those before it. On Rossler, whose third coordinate is
nearly zero most of the time, the sMAPE punishes errors that are small in every other unit.
"""


def page(rows: "pd.DataFrame", figures: "pd.DataFrame") -> str:
    """The page in Markdown: a table a system, the longest prediction time first."""
    import pandas as pd

    parts = [OPENING]
    for name in SYSTEMS:
        theirs = _table(figures[figures["system"] == name], "published")
        ours = _table(rows[rows["system"] == name], "ours")
        tables = [table for table in (theirs, ours) if len(table)]
        if not tables:
            continue
        table = pd.concat(tables, ignore_index=True)
        table.insert(2, "true", table["VPT"] * _true_per_published(name))
        table = table.sort_values("VPT", ascending=False, kind="stable")
        parts += [f"## {name}\n", as_text(table, "markdown")]
    return "\n".join(parts)


def _table(rows: "pd.DataFrame", source: str) -> "pd.DataFrame":
    """A row a model: its name, its figures, where they come from and how long its fit took."""
    import pandas as pd

    if source == "ours":
        preset = rows["preset"].astype(str)
        model = rows["model"].astype(str)
        rows = rows.assign(model=model.where(preset == "", model + ":" + preset))
    figures: dict[str, dict[str, float]] = {}
    for model, its in rows.groupby("model", observed=True):
        of = partial(_figure, its, source)
        figures[str(model)] = {head: of(metric) for metric, head in HEADS.items()}
        figures[str(model)]["fit s"] = (
            its["fit_seconds"].median() if source == "ours" else float("nan")
        )
    columns = [*HEADS.values(), "fit s"]
    table = pd.DataFrame(figures, index=columns, dtype=float).T.rename_axis("model").reset_index()
    return table.assign(source=source)


def _figure(rows: "pd.DataFrame", source: str, metric: str) -> float:
    values = rows.loc[rows["metric"] == metric, "value"]
    if source == "ours" and metric == "distance_exponent_error":
        return float((values**2).mean() ** 0.5)
    return float(values.mean())


def _true_per_published(name: str) -> float:
    """How many true Lyapunov times one of dysts is."""
    suite = read_suite(SUITE)
    assert suite.lyapunov_times is not None
    return suite.lyapunov_times[name] / systems.load(name, edition=suite.edition).lyapunov_time


def main() -> None:
    """Write the page of the reference rows."""
    rows = records.load_results(RESULTS, SUITE)
    rows = rows[rows["source"] == "reference"]
    PAGE.write_text(page(rows, published.load(RESULTS, SUITE)), encoding="utf-8")


if __name__ == "__main__":
    main()
