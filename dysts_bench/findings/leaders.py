"""Who leads in suite `standard`: on all systems, by kind of system, by metric."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from dysts_bench.comparison import LEVEL, Comparison
from dysts_bench.findings.contest import (
    Contest,
    calm_rows,
    chaotic_rows,
    contest,
    median_of,
    p_value,
    windows_of,
)
from dysts_bench.findings.differences import told_by_windows
from dysts_bench.groups import systems_by
from dysts_bench.leaderboard import as_text
from dysts_bench.metrics import find
from dysts_bench.task import Suite

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 6  # models in a table of medians by kind of system
NETWORKS = "networks, trained by gradients"
FAMILIES = {
    NETWORKS: (
        *("lstm", "lstm:searched", "gru", "transformer", "patch_transformer"),
        *("phyxmamba", "hiss", "entrope", "darts_nbeats", "darts_nhits"),
    ),
    "reservoirs and autoregressions": ("esn", "parallel_esn", "nvar"),
    "vector fields": ("sindy", "neural_ode"),
    "kernel regression": ("kernel",),
    "analogs and local maps": ("analog", "simplex", "smap", "parrot"),
    "naive and linear": ("naive_mean", "persistence", "drift", "seasonal", "linear"),
}


def overall(rows: "pd.DataFrame", suite: Suite, figure: str) -> Iterator[str]:
    """All chaotic systems; subsets that more models ran on; systems without chaos."""
    chaotic, calm = chaotic_rows(rows), calm_rows(rows)
    every, windows = contest(chaotic), windows_of(chaotic)
    whole = every.whole()
    yield f"## Who leads\n\n### All chaotic systems\n\n![Mean ranks]({figure})\n"
    yield from _ranking(whole, windows)
    for name, part in every.widening(suite.subsets):
        yield f"### The slow models, too: subset `{name}`\n"
        yield from _ranking(part, windows)
        yield from by_family(part, name)
    if len(calm):
        yield "### Systems that are not chaotic\n\nScores are in periods.\n"
        yield from _ranking(contest(calm, "periods").whole(), windows_of(calm))


def _ranking(found: Contest, windows: "pd.DataFrame") -> Iterator[str]:
    """A line a model by mean rank, how far it is ahead of the next, and beside the first."""
    import pandas as pd

    if found.empty:
        return
    windows = windows[windows.index.get_level_values("system").isin(found.scores.index)]
    best = found.models[0]
    lines = []
    for model, rank, gap in _in_order(found):
        lines.append(
            {
                "model": model,
                "mean rank": rank,
                "median": found.median(model),
                "to the end": int(found.ended[model].sum()),
                "failed": int(np.isneginf(found.scores[model]).sum()),
                **gap,
                "first : this, by windows": ""
                if model == best
                else "{} : {}".format(*told_by_windows(windows, best, model)),
            }
        )
    yield (
        f"{_apart(found.ranking)} {found.lead()} {_neighbours(found.ranking)}"
        '"To the end" counts systems on which the value is a lower bound; "by windows", on how '
        "many systems their own windows tell the first and this one apart, and which is ahead.\n"
    )
    yield as_text(pd.DataFrame(lines), "markdown")


def _in_order(found: Contest) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Models by mean rank, that rank, and fields that say how far each is ahead of the next."""
    for i, (model, rank) in enumerate(zip(found.models, found.ranking.mean_ranks, strict=True)):
        gap = found.gaps[i] if i < len(found.gaps) else None
        fields = {
            "ahead of the next by": gap.numbers() if gap else "",
            "wins : losses": f"{gap.wins} : {gap.losses}" if gap else "",
            "p": p_value(gap.p_value) if gap else "",
        }
        yield model, f"{rank:.2f}", fields


def _apart(found: Comparison) -> str:
    """How many pairs the test tells apart, and whether it could have."""
    models, systems = len(found.entries), len(found.systems)
    pairs = models * (models - 1) // 2
    apart = int(np.triu(found.p_values < found.level, 1).sum())
    told = f"{models} models on {systems} systems; {apart} of {pairs} pairs are told apart."
    least = min(1.0, pairs * 2.0 ** (1 - systems))
    if least >= found.level:
        told += f" (No pair could have been: on so few systems p is at least {least:.2g}.)"
    return f"{told} Friedman's test, that all are alike: p {p_value(found.friedman_p)}."


def _neighbours(found: Comparison) -> str:
    """A sentence on models next to each other that cannot be told apart, or nothing."""
    if not (found.p_values < LEVEL).any() or not found.alike:
        return ""
    runs = ["{" + ", ".join(found.entries[a : b + 1]) + "}" for a, b in found.alike]
    return f"Neighbours not told apart: {'; '.join(runs)}. "


def by_family(found: Contest, name: str) -> Iterator[str]:
    """Families by their best member on each system, and by their middle one."""
    import pandas as pd

    table = found.scores
    members = {
        family: [model for model in models if model in table] for family, models in FAMILIES.items()
    }
    members = {family: models for family, models in members.items() if models}
    if len(members) < 2:
        return
    best = pd.DataFrame({family: table[own].max(axis=1) for family, own in members.items()})
    ended = pd.DataFrame(
        {
            family: [
                found.ended.loc[system, table.loc[system, own].idxmax()] for system in table.index
            ]
            for family, own in members.items()
        },
        index=table.index,
    )
    families = Contest(best, ended)
    lines = [
        {
            "family": family,
            "members": ", ".join(members[family]),
            "mean rank": rank,
            "median of the best": families.median(family),
            "of the middle one": median_of(table[members[family]].median(axis=1)),
            **gap,
        }
        for family, rank, gap in _in_order(families)
    ]
    yield f"### Families, on subset `{name}`\n"
    yield (
        "Each family stands for its best member on each system, chosen after the fact: kind to "
        f"families with many. {families.lead()} {_neighbours(families.ranking)}\n"
    )
    yield as_text(pd.DataFrame(lines), "markdown")


def by_kind(rows: "pd.DataFrame") -> Iterator[str]:
    """Who is first by tag, exponent, dimension and equations; medians of those first on all."""
    import pandas as pd

    every = contest(chaotic_rows(rows)).whole()
    best = every.models[:SHOWN]
    yield (
        "## By kind of system\n\n"
        "Chaotic systems, and the models that were asked on all of them. First who leads by mean "
        "rank, by how much, and whom the test does not tell from it: in a small group it tells "
        f"little, for Holm's correction is over all pairs. Then medians of the {len(best)} models "
        "that are first on all systems. Exponents are the largest, times the period. Tags overlap; "
        "those of fewer than two systems, and of all, are left out.\n"
    )
    for kind in ("tag", "exponent", "dimension", "equations"):
        first, medians = [], []
        for name, systems in systems_by(kind, every.scores.index).items():
            if not 1 < len(systems) < len(every.scores):
                continue
            group = Contest(every.scores.loc[systems], every.ended.loc[systems])
            first.append({kind: name} | group.first())
            told = {model: group.median(model) for model in best}
            medians.append({kind: name, "systems": len(systems)} | told)
        if first:
            yield f"### By {kind}\n"
            yield as_text(pd.DataFrame(first), "markdown")
            yield as_text(pd.DataFrame(medians), "markdown")


def first_by_equations(found: Contest) -> str:
    """A sentence on who is first for each kind of equations."""
    told = []
    for name, systems in systems_by("equations", found.scores.index).items():
        group = found.on(systems)
        if not group.empty:
            first = group.models[0]
            told.append(f"{name} ({len(group.scores)} systems): {first}, {group.median(first)}")
    return f"First by mean rank, by the kind of equations: {'; '.join(told)}."


def by_metric(rows: "pd.DataFrame") -> Iterator[str]:
    """Who is first on all chaotic systems by each metric of `rows`."""
    import pandas as pd

    lines = []
    for metric in dict.fromkeys(rows["metric"]):
        own = chaotic_rows(rows, metric)
        found = contest(own).whole()
        if found.empty:
            continue
        floors = own.loc[own["model"] == found.models[0], "noise_floor"].dropna()
        lines.append(
            {"metric": metric, "better": find(metric).better}
            | found.first()
            | {"noise floor": floors.median() if len(floors) else ""}
        )
    yield (
        "## By metric\n\n"
        "Who is first on all chaotic systems by other [metrics](metrics.md) of the same forecasts. "
        "Where there is a noise floor, the median value between true runs, it is one of free runs: "
        'whether the model\'s own attractor is the right one. "Ahead by" is in the unit of the '
        "metric, positive where the first is better.\n"
    )
    yield as_text(pd.DataFrame(lines), "markdown")
