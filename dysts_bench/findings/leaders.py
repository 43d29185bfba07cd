"""Who leads in suite `standard`: on all systems, by kind of system, by metric."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from dysts_bench.comparison import LEVEL
from dysts_bench.findings.differences import told_by_windows
from dysts_bench.findings.tables import (
    ahead_of_next,
    alike,
    by_name,
    calm_rows,
    chaotic_rows,
    complete,
    first_of,
    lead,
    median_of,
    p_value,
    ranked,
    scores_of,
    windows_of,
    with_interval,
)
from dysts_bench.groups import systems_by
from dysts_bench.leaderboard import as_text, leaderboard, leaderboard_by, matrix
from dysts_bench.metrics import find
from dysts_bench.task import Suite

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 6  # models in a table of medians by kind of system
NETWORKS = "networks, trained by gradients"
FAMILIES = {
    NETWORKS: (
        *("lstm", "gru", "transformer", "patch_transformer"),
        *("phyxmamba", "hiss", "entrope"),
    ),
    "reservoirs and autoregressions": ("esn", "nvar"),
    "vector fields": ("sindy", "neural_ode"),
    "kernel regression": ("kernel",),
    "analogs and local maps": ("analog", "simplex", "smap", "parrot"),
    "naive and linear": ("naive_mean", "persistence", "drift", "seasonal", "linear"),
}


def overall(rows: "pd.DataFrame", suite: Suite, figure: str) -> Iterator[str]:
    """All chaotic systems; the widest subset that more models ran on; systems without chaos."""
    board = leaderboard(rows, subsets=suite.subsets)
    every = scores_of(rows)
    yield f"## Who leads\n\n### All chaotic systems\n\n![Mean ranks]({figure})\n"
    windows = windows_of(chaotic_rows(rows))
    whole = board[board["group"] == "chaotic"]
    yield from _ranking(complete(every), whole, windows, "Lyapunov times")
    for name, names in sorted(suite.subsets.items(), key=lambda subset: -len(subset[1])):
        part = complete(every.loc[every.index.intersection(list(names))])
        if name in set(board["group"]):
            yield f"### The slow models, too: subset `{name}`\n"
            own = windows[windows.index.get_level_values("system").isin(part.index)]
            yield from _ranking(part, board[board["group"] == name], own, "Lyapunov times")
            yield from by_family(part, name)
            break
    calm = board[board["group"] == "other"]
    calm = calm[calm["systems"] == calm["systems"].max()]
    if len(calm) > 1:
        tasks = sorted(set(rows.loc[rows["unit"] == "periods", "task"].astype(str)))
        values = by_name(matrix(rows).loc[tasks])[list(calm["model"])]
        yield "### Systems that are not chaotic\n\nScores are in periods.\n"
        windows = windows_of(calm_rows(rows))
        yield from _ranking(values.fillna(-np.inf), calm, windows, "periods")


def _ranking(
    table: "pd.DataFrame", board: "pd.DataFrame", windows: "pd.DataFrame", unit: str
) -> Iterator[str]:
    """A line a model by mean rank, how far it is ahead of the next, and beside the first."""
    import pandas as pd

    if min(table.shape) < 2:
        return
    found = ranked(table)
    ahead = [*ahead_of_next(table, found), None]
    medians = board.set_index("model")
    best = found.entries[0]
    lines = []
    for name, rank, gap in zip(found.entries, found.mean_ranks, ahead, strict=True):
        own = medians.loc[name]
        lines.append(
            {
                "model": name,
                "mean rank": f"{rank:.2f}",
                "median": with_interval(own["median"], own["ci_low"], own["ci_high"]),
                "to the end": int(own["censored"]),
                "failed": int(own["failures"]),
                "ahead of the next by": gap.numbers() if gap else "",
                "wins : losses": f"{gap.wins} : {gap.losses}" if gap else "",
                "p": p_value(gap.p_value) if gap else "",
                "first : this, by windows": ""
                if name == best
                else "{} : {}".format(*told_by_windows(windows, best, name)),
            }
        )
    apart = int(np.triu(found.p_values < LEVEL, 1).sum())
    pairs = len(lines) * (len(lines) - 1) // 2
    yield (
        f"{len(lines)} models on {len(table)} systems; {apart} of {pairs} pairs are told apart. "
        f"{lead(table, found, unit)} {alike(found)} "
        '"To the end" counts systems on which the value is a lower bound; "by windows", on how '
        "many systems their own windows tell the first and this one apart, and which is ahead.\n"
    )
    yield as_text(pd.DataFrame(lines), "markdown")


def by_family(table: "pd.DataFrame", name: str) -> Iterator[str]:
    """Families by their best member on each system, and by their middle one."""
    import pandas as pd

    members = {
        family: [model for model in models if model in table] for family, models in FAMILIES.items()
    }
    members = {family: models for family, models in members.items() if models}
    if len(members) < 2:
        return
    best = pd.DataFrame({family: table[own].max(axis=1) for family, own in members.items()})
    found = ranked(best)
    ahead = [*ahead_of_next(best, found), None]
    lines = []
    for family, rank, gap in zip(found.entries, found.mean_ranks, ahead, strict=True):
        lines.append(
            {
                "family": family,
                "members": ", ".join(members[family]),
                "mean rank": f"{rank:.2f}",
                "median of the best": median_of(best[family]),
                "of the middle one": median_of(table[members[family]].median(axis=1)),
                "ahead of the next by": gap.numbers() if gap else "",
                "wins : losses": f"{gap.wins} : {gap.losses}" if gap else "",
                "p": p_value(gap.p_value) if gap else "",
            }
        )
    yield f"### Families, on subset `{name}`\n"
    yield (
        "Each family stands for its best member on each system, chosen after the fact: kind to "
        f"families with many. {lead(best, found, 'Lyapunov times')} {alike(found)}\n"
    )
    yield as_text(pd.DataFrame(lines), "markdown")


def by_kind(rows: "pd.DataFrame") -> Iterator[str]:
    """Who is first by tag, exponent, dimension and equations; medians of those first on all."""
    import pandas as pd

    every = complete(scores_of(rows))
    best = ranked(every).entries[:SHOWN]
    yield (
        "## By kind of system\n\n"
        "Chaotic systems, and the models that were asked on all of them. First who leads by mean "
        "rank, by how much, and whom the test does not tell from it: in a small group it tells "
        f"little, for Holm's correction is over all pairs. Then medians of the {len(best)} models "
        "that are first on all systems. Exponents are the largest, times the period. Tags overlap; "
        "those of fewer than two systems, and of all, are left out.\n"
    )
    for kind in ("tag", "exponent", "dimension", "equations"):
        groups = {
            name: own
            for name, own in systems_by(kind, every.index).items()
            if 1 < len(own) < len(every)
        }
        if not groups:
            continue
        boards = leaderboard_by(rows, groups).set_index(["group", "model"])
        first, medians = [], []
        for name, own in groups.items():
            board = boards.loc[name]
            first.append({kind: name} | first_of(every.loc[every.index.isin(own)], board))
            columns = board.loc[list(best), ["median", "ci_low", "ci_high"]]
            told = {model: with_interval(*columns.loc[model]) for model in best}
            medians.append({kind: name, "systems": len(own)} | told)
        yield f"### By {kind}\n"
        yield as_text(pd.DataFrame(first), "markdown")
        yield as_text(pd.DataFrame(medians), "markdown")


def by_metric(rows: "pd.DataFrame") -> Iterator[str]:
    """Who is first on all chaotic systems by each metric of `rows`."""
    import pandas as pd

    lines = []
    for metric in dict.fromkeys(rows["metric"]):
        table = complete(scores_of(rows, metric))
        if min(table.shape) < 2:
            continue
        board = leaderboard(rows, metric)
        board = board[board["group"] == "chaotic"].set_index("model")
        first = first_of(table, board)
        floor = board.loc[str(first["first by mean rank"]), "noise_floor"]
        lines.append(
            {"metric": metric, "better": find(metric).better} | first | {"noise floor": floor}
        )
    yield (
        "## By metric\n\n"
        "Who is first on all chaotic systems by other [metrics](metrics.md) of the same forecasts. "
        "Where there is a noise floor, the median value between true runs, it is one of free runs: "
        'whether the model\'s own attractor is the right one. "Ahead by" is in the unit of the '
        "metric, positive where the first is better.\n"
    )
    yield as_text(pd.DataFrame(lines), "markdown")
