"""The page in a few lines, each chosen by numbers that the sections below it show."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from dysts_bench.findings.differences import told_by_windows
from dysts_bench.findings.difficulty import correlations_of
from dysts_bench.findings.leaders import FAMILIES, NETWORKS
from dysts_bench.findings.reliability import lasting
from dysts_bench.findings.tables import (
    chaotic_rows,
    complete,
    ended_of,
    lead,
    ranked,
    score_median,
    scores_of,
    windows_of,
)
from dysts_bench.groups import systems_by
from dysts_bench.leaderboard import leaderboard

if TYPE_CHECKING:
    import pandas as pd

UNIT = "Lyapunov times"
TWO_DOZEN = 24.0


def in_short(standard: "pd.DataFrame", tracks: "Mapping[str, pd.DataFrame]") -> Iterator[str]:
    """A list: who leads, the networks, kinds of equations, the longest, conditions, cost."""
    every = scores_of(standard)
    table = complete(every)
    yield "## In short\n"
    if min(table.shape) < 2:
        return
    yield f"- All chaotic systems, suite `standard`. {lead(table, ranked(table), UNIT)}"
    yield from _networks(every, standard)
    yield from _equations(table, ended_of(standard, table))
    reached = lasting(standard, TWO_DOZEN)
    told = ", ".join(f"{model} on {count} of {known}" for model, (count, known) in reached.items())
    yield (
        f"- Half of the forecasts, or more, are right for {TWO_DOZEN:g} Lyapunov times "
        + (f"with {told} systems; with no other model on any." if told else "with no model.")
    )
    for suite, rows in tracks.items():
        other = complete(scores_of(rows))
        if min(other.shape) >= 2:
            yield f"- Suite `{suite}`. {lead(other, ranked(other), UNIT)}"
    yield from _hard(standard)
    board = leaderboard(standard)
    front = board[(board["group"] == "chaotic") & board["front"]]
    seconds = front["fit_seconds"] + front["predict_seconds"]
    told = ", ".join(
        f"{model} ({median:.3g} in {own:.2g} s)"
        for own, model, median in sorted(zip(seconds, front["model"], front["median"], strict=True))
    )
    yield f"- None is both better and cheaper than these, by the median: {told}.\n"


def _networks(every: "pd.DataFrame", rows: "pd.DataFrame") -> Iterator[str]:
    """The first of the networks against the first of all, where both were asked."""
    networks = [name for name in FAMILIES[NETWORKS] if name in every]
    part = complete(every[every[networks].notna().all(axis=1)])
    if not networks or min(part.shape) < 2:
        return
    found = ranked(part)
    best = next(name for name in found.entries if name in networks)
    first = found.entries[0]
    if best == first:
        yield f"- Networks, on {len(part)} systems. {lead(part, found, UNIT)}"
        return
    ended = ended_of(rows, part)
    windows = windows_of(chaotic_rows(rows))
    own = windows[windows.index.get_level_values("system").isin(part.index)]
    ahead, behind = told_by_windows(own, first, best)
    yield (
        f"- Networks, on the {len(part)} systems that they were run on: the first of them by mean "
        f"rank is {best}, {score_median(part[best], ended[best])}, and of all models {first}, "
        f"{score_median(part[first], ended[first])}; by their own windows {first} is ahead on "
        f"{ahead} systems and {best} on {behind}."
    )


def _equations(table: "pd.DataFrame", ended: "pd.DataFrame") -> Iterator[str]:
    told = []
    for name, own in systems_by("equations", table.index).items():
        part = table.loc[own]
        if len(part) > 1:
            first = ranked(part).entries[0]
            median = score_median(part[first], ended[first])
            told.append(f"{name} ({len(part)} systems): {first}, {median}")
    yield f"- First by mean rank, by the kind of equations: {'; '.join(told)}."


def _hard(rows: "pd.DataFrame") -> Iterator[str]:
    found = correlations_of(rows)
    told = {fact: each for (fact, column), each in found.items() if column == "median"}
    seen = [f"{fact} ({each.numbers()})" for fact, each in told.items() if each.seen]
    unseen = [fact for fact, each in told.items() if not each.seen]
    if found:
        yield (
            "- What is seen to go with a system's prediction time, by rank, in Lyapunov times: "
            f"{'; '.join(seen) or 'nothing'}. Not seen: {'; '.join(unseen) or 'nothing'}."
        )
