"""The same forecasts under other conditions: noise, one coordinate, fewer data or more."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from dysts_bench import figures, published
from dysts_bench.findings.contest import (
    Contest,
    chaotic_rows,
    contest,
    median_of,
    p_value,
    windows_of,
)
from dysts_bench.findings.differences import told_by_windows
from dysts_bench.findings.leaders import first_by_equations
from dysts_bench.leaderboard import as_text
from dysts_bench.task import read_suite

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

STANDARD = "standard"
DRAWN = 8  # models in a figure
TRACKS = {
    "limited": "600 points to train",
    "noisy_5": "observation noise of 5 %, judged by the clean truth",
    "noisy_20": "observation noise of 20 %, judged by the clean truth",
    "partial": "the first coordinate alone, seen and judged",
}


def tracks(
    standard: "pd.DataFrame", others: "Mapping[str, pd.DataFrame]", figure: str
) -> Iterator[str]:
    """Suites with the test windows of `standard`, beside it; `others` are rows by suite."""
    if not others:
        return
    yield (
        f"## Noise, few data, one coordinate\n\n![Medians by suite]({figure})\n\n"
        "The same test windows in suites of their own, on the chaotic systems that both have. The "
        "change is that of the same windows and seeds: its median over windows, then over seeds, "
        "then over systems. Kept is the median over systems of the value's share of that in "
        "`standard`.\n"
    )
    for suite, rows in others.items():
        yield from _track(suite, standard, rows)


def _track(suite: str, standard: "pd.DataFrame", rows: "pd.DataFrame") -> Iterator[str]:
    before, after = (contest(chaotic_rows(part)) for part in (standard, rows))
    change = paired_change(standard, rows)
    yield f"### `{suite}`: {TRACKS.get(suite, suite)}\n"
    yield from _beside(before, after.whole(), change)
    for name, part in after.widening(read_suite(STANDARD).subsets):
        yield f"The slow models, too, on subset `{name}`:\n"
        yield from _beside(before, part, change)


def _beside(before: Contest, after: Contest, change: "pd.DataFrame") -> Iterator[str]:
    """Sentences and a table of the systems and models of `after` that `before` has as well."""
    import pandas as pd

    before = before.on(after.scores.index)
    systems = after.scores.index.intersection(before.scores.index)
    models = [model for model in after.scores if model in before.scores]
    if min(len(systems), len(models)) < 2:
        return
    before, after = (
        Contest(each.scores.loc[systems, models], each.ended.loc[systems, models])
        for each in (before, after)
    )
    lines = []
    for i, model in enumerate(after.models):
        gap = after.gaps[i] if i < len(after.gaps) else None
        lines.append(
            {
                "model": model,
                "mean rank": f"{after.ranking.mean_ranks[i]:.2f}",
                "place": f"{i + 1} (was {before.models.index(model) + 1})",
                "in standard": before.median(model),
                "here": after.median(model),
                "change": median_of(change[model].reindex(systems)),
                "kept": median_of(kept(before.scores[model], after.scores[model])),
                "ahead of the next by": gap.numbers() if gap else "",
                "p": p_value(gap.p_value) if gap else "",
            }
        )
    # Where only an order is asked for, a failure is a time of 0.
    order = published.agreement(before.scores.clip(lower=0.0), after.scores.clip(lower=0.0))
    low, high = order.kendall_interval
    yield (
        f"{len(models)} models on {len(systems)} systems. {after.lead()} The order of the medians "
        f"has a Kendall rank correlation of {order.kendall:.2f} [{low:.2f}, {high:.2f}] with that "
        f"of `standard`. {first_by_equations(after)}\n"
    )
    yield as_text(pd.DataFrame(lines), "markdown")


def tracks_figure(standard: "pd.DataFrame", others: "Mapping[str, pd.DataFrame]") -> "Figure":
    """Medians over all chaotic systems, and their intervals, by suite: a line a model.

    Of the first DRAWN models of `standard` that are in every suite.
    """
    suites = {
        name: contest(chaotic_rows(rows)).whole()
        for name, rows in {STANDARD: standard, **others}.items()
    }
    common = set.intersection(*(set(found.scores.columns) for found in suites.values()))
    shown = figures.figure(8.0, 5.0)
    axes = shown.add_subplot(yscale="log", ylabel="valid prediction time (Lyapunov times)")
    for model in [name for name in suites[STANDARD].models if name in common][:DRAWN]:
        middles = np.array([found.middle(model)[:3] for found in suites.values()])
        if (middles > 0).all():
            median, low, high = middles.T
            axes.errorbar(
                list(suites),
                median,
                [median - low, high - median],
                marker="o",
                capsize=3,
                label=model,
            )
    figures.style(axes)
    axes.legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return shown


def paired_change(before: "pd.DataFrame", after: "pd.DataFrame") -> "pd.DataFrame":
    """Chaotic systems × models: the change in the same windows and seeds, from `before` to `after`.

    Both are rows of the primary metric; medians are over windows, then over seeds. A failure is
    below every value; two are no change.
    """
    keys = ["system", "model", "seed", "window"]
    one, other = (chaotic_rows(rows)[[*keys, "score"]] for rows in (before, after))
    both = one.merge(other, on=keys, suffixes=("_before", "_after"))
    was, now = both["score_before"].to_numpy(), both["score_after"].to_numpy()
    with np.errstate(invalid="ignore"):
        both = both.assign(change=np.where(was == now, 0.0, now - was))
    by_seed = both.groupby(["system", "model", "seed"])["change"].median()
    return by_seed.groupby(["system", "model"]).median().unstack()


def kept(before: "pd.Series", after: "pd.Series") -> "pd.Series":
    """The share of a time that is left, 0 for a failure; of systems where there was any time."""
    was = before[np.isfinite(before) & (before > 0)]
    return after[was.index].clip(lower=0.0) / was


def lengths(rows: "pd.DataFrame") -> Iterator[str]:
    """Who is first after how many points to learn from; `rows` of suite scaling."""
    import pandas as pd

    lines = []
    for points in sorted(rows["n_points"].unique()):
        own = chaotic_rows(rows[rows["n_points"] == points])
        found = contest(own).whole()
        if not found.empty:
            told = "{} : {}".format(*told_by_windows(windows_of(own), *found.models[:2]))
            line = {"points to train": f"{points:,}"} | found.first()
            lines.append(line | {"first : next, by windows": told})
    yield (
        "## By data length\n\n"
        "Suite `scaling` ([more of it](scaling.md)): forecasts of the same systems, of up to ten "
        "Lyapunov times, from more and more points; models in several sizes. On so few systems the "
        "tests can tell little; by windows, on how many systems their own windows tell the first "
        "and the next apart, and which is ahead.\n"
    )
    yield as_text(pd.DataFrame(lines), "markdown")
