"""docs/reproduction.md: what of the literature came out again here, and what did not, in numbers.

python -m dysts_bench.reproduction_page
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dysts_bench import phyxmamba_page, published, records
from dysts_bench.leaderboard import as_text, rows_of
from dysts_bench.published import COUNTERPARTS
from dysts_bench.study_page import (
    CLOSE,
    RESULTS,
    ROOT,
    WORST,
    by_system,
    ordering,
    same_methods,
    told,
)

if TYPE_CHECKING:
    import pandas as pd

PAGE = ROOT / "docs" / "reproduction.md"
IDENTIFIED = RESULTS / "examples" / "symbolic_regression.csv"
MANY = 60  # systems, from which on a median is worth a comparison
# What a suite is called on the page, and its scores that studies publish system by system.
STUDIES = {
    "gilpin2023": "2023, two periods",
    "gilpin2021_fine": "2021, fine",
    "gilpin2021_fine_noisy": "2021, fine, noisy",
    "gilpin2021_coarse": "2021, coarse",
    "gilpin2021_coarse_noisy": "2021, coarse, noisy",
}
LENGTHS = (101, 251, 514, 1000)
OPENING = """# What could be reproduced

Generated from `results/published/` and `results/reference/` by `python -m
dysts_bench.reproduction_page`: published figures of the literature, ours for the same method with
the same settings, and ours with settings of our own. Where `results/reference/` has no rows, there
is nothing of ours. sMAPE is from 0 to 200; a failure of ours counts as 200.

The studies: Gilpin, arXiv 2110.05266 (2021); Gilpin, Physical Review Research 5, 043252 (2023);
Zhang & Gilpin, arXiv 2409.15771 (2025); Liu et al., arXiv 2505.23863 (PhyxMamba). Ours see the same
equations (edition `dysts`), sampling and task, from initial states of our own: single systems
differ by chance, medians compare.
"""
TROUBLES = """## What is wrong in the originals

- **2021.** In the noisy conditions the scores kept are those of another draw of the noise than the
  one kept with them; forecasts are judged by noisy values, which nothing can know; hyperparameters
  were those chosen without noise. The deviation of the training part was computed and not used.
- **2021 and 2023.** One forecast a system; the sMAPE of a coordinate far from zero is small
  whatever the forecast. Hyperparameters were chosen by one forecast on one other trajectory.
- **2023.** What is called nVAR has order 1 and is a linear model. Neural models were run once a
  system, and from run to run their medians move by up to 10. In the sweep of training lengths the
  echo state network, NVAR and neural ODE choose hyperparameters on the points that they are then
  judged by. Lyapunov times of the long task rest on exponents that are unreliable (Rossler's are
  half of the true ones), and past some thirty true ones nothing says that its truth is right.
- **Zhang & Gilpin 2025.** Folds for hyperparameters were cut along the axis of initial conditions,
  which is no time. The prediction time is that of a cumulative sMAPE, longer than the pointwise
  one, and depends on the origin.
- **PhyxMamba.** Ten Lyapunov times of Rossler are 4.8 true ones. The prediction time is cumulative
  as well. D_frac and D_stsp, as coded, say little (`docs/metrics.md`). What is called nVAR there is
  0.2 Lyapunov times good on Lorenz; a polynomial NVAR lasts to the end of the task.
"""
UNTOUCHED = """## What is not compared

- Figures of Zhang & Gilpin (2025) are curves; nothing was read off them.
- Context parroting (Zhang & Gilpin 2025b): we know its tables second hand only, and none of its
  four data sets is of the catalog. The method is `parrot` in our zoo.
- ECG and EEG of PhyxMamba's table are measured data, which we have not.
- Zero-shot models run from weights on your disk (README); none are distributed here.
- PySR: it needs Julia, and was not tried.
- Surrogate transfer, importance sampling and clusters of attractors, of the 2021 study, are
  examples (`examples/surrogate_transfer.py`, `importance_sampling.py`, `attractor_clusters.py`)
  with data and networks of their own: no published number is theirs to meet.
"""


def page() -> str:
    """The page in Markdown."""
    return "\n".join(
        [
            OPENING,
            *_overview(),
            *_by_method(),
            *_long_task(),
            *_learning_curves(),
            *_zhang(),
            *_phyxmamba(),
            *_identified(),
            TROUBLES,
            UNTOUCHED,
        ]
    )


def _overview() -> list[str]:
    import pandas as pd

    rows, short = [], []
    for suite, (theirs, ours) in _studies():
        table, order = same_methods(theirs, ours), ordering(theirs, ours)
        many = table[table["systems"] >= MANY]
        close = many["difference"].abs() <= CLOSE
        rows.append(
            {
                "task": STUDIES[suite],
                "methods": len(many),
                f"within {CLOSE:g}": int(close.sum()),
                "largest difference": many["difference"].abs().max(),
                "Kendall": f"{order.kendall:.2f} ({told(order.kendall_interval)})" if order else "",
                "Spearman": f"{order.spearman:.2f} ({told(order.spearman_interval)})"
                if order
                else "",
            }
        )
        short += [
            f"{method} ({STUDIES[suite]}): {difference:+.0f}"
            for method, difference in many.loc[~close, "difference"].items()
        ]
    far = "; ".join(short) if short else "none"
    return [
        "## The same methods, in short\n",
        f"Methods run by the study and by us with the same settings, on at least {MANY} systems; "
        f"how many of our median sMAPEs are within {CLOSE:g} of the published one; and the rank "
        "correlation of the two orders (of all methods that both have), with 95 % bootstrap "
        "intervals over systems.\n",
        as_text(pd.DataFrame(rows), "markdown"),
        f"Further away than {CLOSE:g}, with our median less theirs: {far}.\n",
    ]


def _by_method() -> Iterator[str]:
    yield (
        "## Method by method\n\nMedian sMAPE on the systems that both have; last, our own settings "
        "of the same model (preset `tuned`, or none), and below each table the best of ours.\n"
    )
    for suite, (theirs, ours) in _studies():
        table = same_methods(theirs, ours)
        if table.empty:
            continue
        common = ours.loc[ours.index.intersection(theirs.index)]
        every = common.loc[:, common.notna().sum() >= min(MANY, len(common))].median()
        yield f"### {STUDIES[suite]}\n"
        yield as_text(table.rename_axis("published as").reset_index(), "markdown")
        best = theirs.loc[common.index].median()
        yield (
            f"The best published: {best.idxmin()}, {best.min():.3g}. "
            f"The best of ours: {every.idxmin()}, {every.min():.3g}.\n"
        )


def _studies() -> "Iterator[tuple[str, tuple[pd.DataFrame, pd.DataFrame]]]":
    """Of each study that we have rows of: published scores and ours, systems × models."""
    for suite in STUDIES:
        rows = _reference(suite)
        if len(rows):
            figures = published.load(RESULTS, suite)
            theirs = by_system(figures[figures["metric"] == "smape"])
            yield suite, (theirs, by_system(rows_of(rows, "smape").fillna({"value": WORST})))


def _reference(suite: str) -> "pd.DataFrame":
    rows = records.load_results(RESULTS, suite)
    return rows[rows["source"] == "reference"]


def _long_task() -> list[str]:
    """Published medians alone are known, of which systems is not: ours are over all we have."""
    import pandas as pd
    from scipy.stats import kendalltau

    found = published.summaries(RESULTS, "gilpin2023_long")
    medians = found[found["statistic"] == "median"].set_index("model")["value"].sort_values()
    rows = _reference("gilpin2023_long")
    if not len(rows):
        listed = ", ".join(f"{name} {value:.3g}" for name, value in medians.items())
        return [
            "## The long task of 2023\n",
            "Median sMAPE over the first Lyapunov time, read off a figure (±2.5): "
            f"{listed}. We have no rows of it.\n",
        ]
    scores = by_system(rows_of(rows, "smape_at_1").fillna({"value": WORST}))
    ours = pd.Series({name: COUNTERPARTS.get(name) for name in medians.index})
    again = ours.map(scores.median())
    table = pd.DataFrame(
        {
            "ours": ours.where(again.notna(), ""),
            "published median": medians,
            "our median": again,
            "difference": again - medians,
            "systems": ours.map(scores.notna().sum()).fillna(0).astype(int),
        }
    )
    both = table[again.notna()]
    close, order = both["difference"].abs() <= CLOSE, kendalltau(both.iloc[:, 1], both.iloc[:, 2])
    own = [name for name in scores if name not in set(both["ours"])]
    listed = ", ".join(f"{name} {scores[name].median():.3g}" for name in own)
    return [
        "## The long task of 2023\n",
        "Median sMAPE over the first Lyapunov time; published ones are read off a figure (±2.5), "
        f"and over which systems is not known. {int(close.sum())} of {len(both)} are within "
        f"{CLOSE:g}; Kendall's rank correlation of the two orders is {order.statistic:.2f}."
        + (f" With settings of our own: {listed}." if own else "")
        + "\n",
        as_text(table.rename_axis("published as").reset_index(), "markdown"),
    ]


def _learning_curves() -> list[str]:
    curves = published.learning_curves(RESULTS)
    medians = curves[curves["statistic"] == "median"].pivot(
        index="model", columns="train_points", values="value"
    )
    table = medians[list(LENGTHS)].sort_values(LENGTHS[-1], kind="stable")
    table.columns = [f"{length} points" for length in LENGTHS]
    table["gained"] = medians[LENGTHS[0]] - medians[LENGTHS[-1]]
    return [
        "## Learning curves of 2023\n",
        "Median sMAPE after so many training points, as published, and how much was gained. "
        "Ours, in another task and from 100 to 100,000 points: [scaling.md](scaling.md).\n",
        as_text(table.reset_index(), "markdown"),
    ]


def _zhang() -> list[str]:
    rows = _reference("zhang2025")
    if not len(rows):
        return []
    cumulative, pointwise = (
        by_system(rows_of(rows, metric).fillna({"value": 0.0}))
        for metric in ("smape_prediction_time", "valid_prediction_time")
    )
    table = cumulative.median().to_frame("cumulative sMAPE").assign(
        pointwise=pointwise.median(), systems=cumulative.notna().sum()
    )  # fmt: skip
    table = table.sort_values("cumulative sMAPE", ascending=False, kind="stable")
    table = table.rename(columns={"pointwise": "pointwise NRMSE"})
    return [
        "## The task of Zhang & Gilpin (2025)\n",
        f"On {', '.join(cumulative.index)}: the median over systems of the prediction time, in "
        "Lyapunov times as dysts counts, up to 10, by their measure and by that of `standard`. "
        "Models are trained on the 512 points before each forecast.\n",
        as_text(table.rename_axis("model").reset_index(), "markdown"),
    ]


def _phyxmamba() -> list[str]:
    import pandas as pd

    rows, figures = _reference(phyxmamba_page.SUITE), published.load(RESULTS, phyxmamba_page.SUITE)
    if not len(rows):
        return []
    mine = rows_of(rows, phyxmamba_page.PRIMARY).fillna({"value": 0.0})
    ours = mine.groupby(["model", "system"], observed=True)["value"].mean().unstack()
    theirs = figures[figures["metric"] == phyxmamba_page.PRIMARY].pivot(
        index="model", columns="system", values="value"
    )
    table = []
    for system in phyxmamba_page.SYSTEMS:
        networks = ours.loc[ours.index.str.startswith("phyxmamba"), system]
        others = ours.loc[~ours.index.str.startswith("phyxmamba"), system]
        table.append(
            {
                "system": system,
                "PhyxMamba, published": theirs.loc["PhyxMamba", system],
                "our phyxmamba, small": ours.loc["phyxmamba", system],
                "our phyxmamba, largest": networks.max(),
                "other models of ours beyond the published": int(
                    (others > theirs.loc["PhyxMamba", system]).sum()
                ),
                "of": len(others.dropna()),
            }
        )
    return [
        "## PhyxMamba\n",
        "Prediction times in Lyapunov times as dysts counts, means over initial states, 10 at "
        "most. Every model is in [phyxmamba.md](phyxmamba.md).\n",
        as_text(pd.DataFrame(table), "markdown"),
    ]


def _identified() -> list[str]:
    import pandas as pd

    if not IDENTIFIED.exists():
        return []
    rows = pd.read_csv(IDENTIFIED)
    exact = (rows["missing"] == 0) & (rows["spurious"] == 0)
    table = (
        rows.assign(exact=exact)
        .groupby(["noise", "method"])
        .agg(
            {"system": "count", "exact": "sum", "right": "sum", "missing": "sum"}
            | {"spurious": "sum", "error": "median", "seconds": "sum"}
        )
        .rename(columns={"system": "systems"})
    )
    clean = rows[(rows["noise"] == 0) & (rows["method"] == "sindy") & ~exact]
    failed = ", ".join(clean["system"]) or "none"
    return [
        "## Symbolic regression\n",
        "The 2021 study judged it by forecasts; here the equations found are compared with those "
        "of the catalog, term by term (`examples/symbolic_regression.py`), on all polynomial "
        "systems: on how many all terms are found and no others, terms in all, the median over "
        "systems of the largest relative error of a right term's coefficient, and CPU seconds. "
        "Noise is in standard deviations. sindy is ours, with thresholds from 10⁻⁵; pysindy has "
        "its defaults, with cubic monomials. Free runs, by which sindy chooses, cannot tell what "
        f"is superfluous under noise. Without noise, it misses: {failed}.\n",
        as_text(table.reset_index(), "markdown"),
    ]


def main() -> None:
    """Write the page of the reference rows."""
    records.write_atomically(PAGE, page())


if __name__ == "__main__":
    main()
