"""The page in a few lines, each chosen by numbers that the sections below it show."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from dysts_bench.findings.conditions import kept
from dysts_bench.findings.contest import Contest, chaotic_rows, contest, median_of, windows_of
from dysts_bench.findings.differences import told_by_windows
from dysts_bench.findings.difficulty import Correlation
from dysts_bench.findings.leaders import FAMILIES, NETWORKS, first_by_equations
from dysts_bench.findings.reliability import lasting
from dysts_bench.leaderboard import leaderboard

if TYPE_CHECKING:
    import pandas as pd

TWO_DOZEN = 24.0


def in_short(
    standard: "pd.DataFrame",
    tracks: "Mapping[str, pd.DataFrame]",
    correlations: Mapping[tuple[str, str], Correlation],
) -> Iterator[str]:
    """A list: who leads, the networks, kinds of equations, the longest, conditions, cost.

    `correlations` are difficulty.correlations_of the rows of suite `standard`.
    """
    chaotic = chaotic_rows(standard)
    every = contest(chaotic)
    whole = every.whole()
    yield "## In short\n"
    if whole.empty:
        return
    yield f"- All chaotic systems, suite `standard`. {whole.lead()}"
    yield from _networks(every, chaotic)
    yield f"- {first_by_equations(whole)}"
    reached = lasting(standard, TWO_DOZEN)
    told = ", ".join(f"{model} on {count} of {known}" for model, (count, known) in reached.items())
    yield (
        f"- Half of the forecasts, or more, are right for {TWO_DOZEN:g} Lyapunov times "
        + (f"with {told} systems; with no other model on any." if told else "with no model.")
    )
    for suite, rows in tracks.items():
        own = chaotic_rows(rows)
        all_asked = contest(own)
        found = all_asked.whole()
        if not found.empty:
            yield f"- Suite `{suite}`. {found.lead()} {_left(whole, found)}"
        yield from _networks(all_asked, own, f" in `{suite}`")
    yield from _hard(correlations)
    yield from _front(leaderboard(standard))


def _networks(every: Contest, rows: "pd.DataFrame", where: str = "") -> Iterator[str]:
    """The first of the networks against the first of all, on the most systems that any network was
    asked on."""
    asked = every.scores[[name for name in FAMILIES[NETWORKS] if name in every.scores]].notna()
    widest = asked.loc[:, asked.sum() == asked.sum().max()]
    networks = list(widest)
    found = every.on(every.scores.index[widest.all(axis=1)])
    if not networks or found.empty:
        return
    best = next(name for name in found.models if name in networks)
    first = found.models[0]
    if best == first:
        yield f"- Networks{where}, on {len(found.scores)} systems. {found.lead()}"
        return
    windows = windows_of(rows)
    own = windows[windows.index.get_level_values("system").isin(found.scores.index)]
    ahead, behind = told_by_windows(own, first, best)
    yield (
        f"- Networks{where}, on the {len(found.scores)} systems that {', '.join(networks)} ran "
        f"on: the first of them by mean rank is {best}, {found.median(best)}, and of all models "
        f"{first}, {found.median(first)}; by their own windows {first} is ahead on {ahead} systems "
        f"and {best} on {behind}."
    )


def _left(whole: Contest, found: Contest) -> str:
    """What the first of each keep of their times, on the systems of both."""
    systems = whole.scores.index.intersection(found.scores.index)
    firsts = dict.fromkeys([whole.models[0], found.models[0]])
    told = [
        f"{model} {median_of(kept(whole.scores[model][systems], found.scores[model][systems]))}"
        for model in firsts
        if model in whole.scores and model in found.scores
    ]
    return f"Of its time in `standard` a model keeps: {', '.join(told) or 'unknown'}."


def _front(board: "pd.DataFrame") -> Iterator[str]:
    front = board[(board["group"] == "chaotic") & board["front"]]
    seconds = front["fit_seconds"] + front["predict_seconds"]
    told = ", ".join(
        f"{model} ({median:.3g} in {own:.2g} s)"
        for own, model, median in sorted(zip(seconds, front["model"], front["median"], strict=True))
    )
    yield f"- None is both better and cheaper than these, by the median: {told}.\n"


def _hard(found: Mapping[tuple[str, str], Correlation]) -> Iterator[str]:
    told = {fact: each for (fact, column), each in found.items() if column == "median"}
    seen = [f"{fact} ({each.numbers()})" for fact, each in told.items() if each.seen]
    unseen = [fact for fact, each in told.items() if not each.seen]
    if found:
        yield (
            "- What is seen to go with a system's prediction time, by rank, in Lyapunov times: "
            f"{'; '.join(seen) or 'nothing'}. Not seen: {'; '.join(unseen) or 'nothing'}."
        )
