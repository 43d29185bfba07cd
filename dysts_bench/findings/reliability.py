"""How long forecasts last, what a search and chance change, what failed, what it costs."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from dysts_bench.findings.contest import Contest, chaotic_rows, contest, median_of, p_value
from dysts_bench.findings.differences import adjusted, difference
from dysts_bench.leaderboard import as_text, labelled, leaderboard
from dysts_bench.task import read_suite

if TYPE_CHECKING:
    import pandas as pd

SEARCHED = ":searched"  # the preset with a search that a model is by default without
REACHES = (5.0, 10.0, 20.0, 24.0)  # Lyapunov times; the last is "two dozen"


def reaches(rows: "pd.DataFrame") -> Iterator[str]:
    """On how many systems a model is right for so long, among those where that can be known."""
    import pandas as pd
    from scipy.stats import binomtest

    found = contest(chaotic_rows(rows))
    lines = []
    for model in _longest_first(found):
        score = found.scores[model].dropna()
        line: dict[str, object] = {"model": model, "systems": len(score)}
        for reach in REACHES:
            count, known = _reached(found, model, reach)
            told = ""
            if known:
                ends = binomtest(count, known).proportion_ci(method="exact")
                told = f"{count} of {known} [{ends.low:.0%}, {ends.high:.0%}]"
            line[f"{reach:g} Lyapunov times"] = told
        lines.append(line | {"longest": score.max()})
    yield (
        "## How long forecasts last\n\n"
        "On how many chaotic systems half of the forecasts are right for so many Lyapunov times, "
        "with the exact 95 % interval of the share. Systems whose truth ends earlier, with the "
        "forecast still right, are left out.\n"
    )
    yield as_text(pd.DataFrame(lines), "markdown")


def lasting(rows: "pd.DataFrame", reach: float) -> dict[str, tuple[int, int]]:
    """By model, on how many systems it is right for so many Lyapunov times, and out of how many
    that can be known of; models that are on none are left out."""
    found = contest(chaotic_rows(rows))
    reached = {model: _reached(found, model, reach) for model in _longest_first(found)}
    return {model: counts for model, counts in reached.items() if counts[0]}


def _longest_first(found: Contest) -> list[str]:
    return list(found.scores.median().sort_values(ascending=False, kind="stable").index)


def _reached(found: Contest, model: str, reach: float) -> tuple[int, int]:
    """How many scores are `reach` or more, of those that did not end before with their truth."""
    score = found.scores[model].dropna()
    known = score[(score >= reach) | ~found.ended.loc[score.index, model]]
    return int((known >= reach).sum()), len(known)


def cost(rows: "pd.DataFrame", figure: str) -> Iterator[str]:
    """Seconds and accuracy of the models that were asked on all chaotic systems."""
    board = leaderboard(rows)
    board = board[(board["group"] == "chaotic") & (board["systems"] == board["systems"].max())]
    ends = zip(board["ci_low"], board["ci_high"], strict=True)
    table = board.assign(
        seconds=board["fit_seconds"] + board["predict_seconds"],
        interval=[f"[{low:.3g}, {high:.3g}]" for low, high in ends],
    ).sort_values("seconds", kind="stable")
    table = table[["model", "median", "interval", "seconds", "fit_seconds", "parameters", "front"]]
    yield (
        f"## What it costs\n\n![Cost and accuracy]({figure})\n\n"
        "Seconds of fit and forecast a system, medians over cells, on one core of one kind of "
        "hardware. On the front: no other model has a better median in as little time. Core hours "
        "and memory: [budget](budget.md).\n"
    )
    yield as_text(table.rename(columns={"fit_seconds": "of which fit"}), "markdown")


def searches(rows: "Mapping[str, pd.DataFrame]") -> Iterator[str]:
    """Networks that searched for hyperparameters, by suite, beside themselves and the first."""
    import pandas as pd

    lines, gaps = [], []
    for suite, part in rows.items():
        own = chaotic_rows(part)
        every = contest(own)
        fit = own.groupby(["model", "system"])["fit_seconds"].median()
        for name in [model for model in every.scores if model + SEARCHED in every.scores]:
            pair = [name + SEARCHED, name]
            found = every.on(every.scores.index[every.scores[pair].notna().all(axis=1)])
            if found.empty:
                continue
            gaps.append(difference(*(found.scores[each].to_numpy() for each in pair)))
            more, less = (fit[each][found.scores.index].median() for each in pair)
            ranks = dict(zip(found.models, found.ranking.mean_ranks, strict=True))
            first = next(model for model in found.models if model not in pair)
            lines.append(
                {
                    "suite": suite,
                    "model": name,
                    "systems": len(found.scores),
                    "as it is": found.median(name),
                    "with the search": found.median(name + SEARCHED),
                    "fit s": f"{less:.3g}, {more:.3g}",
                    "mean rank": f"{ranks[name]:.3g}, {ranks[name + SEARCHED]:.3g}",
                    "first of the others": f"{first}, {found.median(first)}",
                }
            )
    if not lines:
        return
    told = [
        {
            "ahead by": gap.numbers(),
            "wins : losses": f"{gap.wins} : {gap.losses}",
            "p": p_value(gap.p_value),
        }
        for gap in adjusted(gaps)
    ]
    yield (
        "## With more search\n\n"
        "By default a network has one set of hyperparameters, and its validation data choose among "
        "checkpoints of one training. The presets `searched` train it with each set of a list, "
        "which stands in its file of `models/`, and choose among these, too. How far back lstm "
        "looks came into its list after rows of its default in `partial` had been seen; what is "
        "chosen from the list, validation data choose. On the systems that both were run on: the "
        "median without and with the search, seconds of a fit and mean rank likewise, who of the "
        "other models is first there, and how far the search is ahead; p after Holm over the "
        "table.\n"
    )
    yield as_text(pd.DataFrame([a | b for a, b in zip(lines, told, strict=True)]), "markdown")


def seeds(rows: "pd.DataFrame") -> Iterator[str]:
    """How far the seeds of a model are apart, of models that were run with several."""
    import pandas as pd

    own = chaotic_rows(rows)
    by_seed = own.groupby(["model", "system", "seed"])["score"].median().unstack()
    lines = []
    for model, table in by_seed.groupby(level="model"):
        several = table.dropna(axis=1, how="all").dropna()
        if several.shape[1] < 2 or several.empty:
            continue
        middle = several.median(axis=1)
        spread = several.max(axis=1) - several.min(axis=1)
        lines.append(
            {
                "model": model,
                "seeds": several.shape[1],
                "systems": len(several),
                "median, seed by seed": ", ".join(f"{each:.3g}" for each in several.median()),
                "range": median_of(spread),
                "share of the median": median_of((spread / middle)[middle > 0]),
            }
        )
    if lines:
        yield (
            "## Chance\n\n"
            "What another seed of the model changes in the same windows: a system's largest value "
            "less its smallest, and that as a share of its median.\n"
        )
        yield as_text(pd.DataFrame(lines), "markdown")


def failures(rows: "Mapping[str, pd.DataFrame]") -> Iterator[str]:
    """By suite, model and reason."""
    import pandas as pd

    lines = []
    for suite, part in rows.items():
        own = labelled(part[part["metric"] == read_suite(suite).metrics[0]])
        own = own.astype({"model": str, "status": str, "system": str, "message": str})
        lost = own[own["status"] != "ok"]
        for (model, status), some in lost.groupby(["model", "status"], sort=True):
            asked = own[own["model"] == model]
            lines.append(
                {
                    "suite": suite,
                    "model": model,
                    "status": status,
                    "systems": f"{some['system'].nunique()} of {asked['system'].nunique()}",
                    "windows": f"{len(some)} of {len(asked)}",
                    "without a value": int(some["value"].isna().sum()),
                    "most often": some["message"].mode().iloc[0],
                }
            )
    without = [suite for suite in rows if suite not in {line["suite"] for line in lines}]
    yield (
        "## Failures\n\n"
        "By model and reason, of the primary metric of each suite. A diverged forecast keeps the "
        "prediction time up to where it went wrong; what has no value ranks below all that have "
        f"one. Without any failure: {', '.join(without) or 'none'}.\n"
    )
    if lines:
        yield as_text(pd.DataFrame(lines), "markdown")
