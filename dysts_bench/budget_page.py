"""docs/budget.md: what the reference results cost, measured, and what the full run would.

python -m dysts_bench.budget_page
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import models as zoo
import systems as catalog
from dysts_bench import records, reference
from dysts_bench.leaderboard import as_text, labelled
from dysts_bench.study_page import RESULTS, ROOT
from dysts_bench.task import Suite, read_suite

if TYPE_CHECKING:
    import pandas as pd

PAGE = ROOT / "docs" / "budget.md"
STANDARD = "standard"
PROFILE = "full"
HOUR = 3600.0
RESAMPLES = 2000
_SEED = 0  # of the bootstrap, so that the page can be made again
OPENING = """# What the results cost

Generated from `results/reference/` by `python -m dysts_bench.budget_page`.

A cell is one model on one system with one seed. It runs in one process on one thread, so that its
seconds are core seconds. Rows hold seconds of fit, in which the search for hyperparameters is
included, and of all forecasts, and the most memory that the process held, Python and its libraries
included. They do not hold what it takes to make trajectories, to score forecasts and to start
processes. Seconds of different hardware do not compare: medians are of the hardware of most cells,
hours are of all cells, wherever they ran.
"""


def page(cells: "Mapping[str, pd.DataFrame]", hardware: Mapping[str, Mapping[str, Any]]) -> str:
    """The page in Markdown, from `cells_of` each suite, and what is known of each hardware id."""
    there = {suite: part for suite, part in cells.items() if len(part)}
    return "\n".join(
        [
            OPENING,
            *_by_model(there[STANDARD]),
            *_by_suite(there, hardware),
            *_full(there[STANDARD], read_suite(STANDARD)),
            *_searches(there[STANDARD], read_suite(STANDARD).profiles[STANDARD].timeout),
            *_trials(there),
        ]
    )


def cells_of(rows: "pd.DataFrame") -> "pd.DataFrame":
    """One row a cell, with the family that its model is of; `rows` of any metrics."""
    own = labelled(rows).astype({"model": str, "system": str, "hardware_id": str})
    own = own.drop_duplicates(["model", "task", "seed"])
    return own.assign(
        family=[family(model) for model in own["model"]],
        seconds=own["fit_seconds"].fillna(0.0) + own["predict_seconds"].fillna(0.0),
    )


def family(model: str) -> str:
    """The file of models/ that a model of the zoo, with or without a preset, is in."""
    place = zoo.ZOO.get(model.partition(":")[0], "")
    return place.partition(":")[0].removeprefix("models.").replace("_", " ") or "other"


# ---- what was measured -----------------------------------------------------------------------


def _by_model(cells: "pd.DataFrame") -> Iterator[str]:
    import pandas as pd

    lines = [
        {"model": model, "family": own["family"].iloc[0]} | _cost(own, cells)
        for model, own in cells.groupby("model", sort=True)
    ]
    table = pd.DataFrame(lines).sort_values("core hours", ascending=False, kind="stable")
    families = [
        {"family": name, "models": own["model"].nunique()} | _cost(own, cells)
        for name, own in cells.groupby("family", sort=True)
    ]
    yield (
        f"## Suite `{STANDARD}`, by model\n\n"
        f"{len(cells):,} cells took {_hours(cells):.3g} core hours. Totals are of all cells.\n"
    )
    yield as_text(table, "markdown")
    yield "## By family\n\nA family is a file of `models/`.\n"
    ordered = pd.DataFrame(families).sort_values("core hours", ascending=False, kind="stable")
    yield as_text(ordered, "markdown")


def _cost(cells: "pd.DataFrame", every: "pd.DataFrame") -> dict[str, object]:
    """Of some of `every` cell."""
    usual = cells[cells["hardware_id"] == every["hardware_id"].mode()[0]]
    return {
        "systems": cells["system"].nunique(),
        "seeds": cells["seed"].nunique(),
        "cells": len(cells),
        "fit s, median": usual["fit_seconds"].median(),
        "fit s, total": cells["fit_seconds"].sum(),
        "forecasts s, median": usual["predict_seconds"].median(),
        "forecasts s, total": cells["predict_seconds"].sum(),
        "core hours": _hours(cells),
        "longest cell s": cells["seconds"].max(),
        "memory MB, median": cells["peak_memory_mb"].median(),
        "most memory MB": cells["peak_memory_mb"].max(),
    }


def _hours(cells: "pd.DataFrame") -> float:
    return float(cells["seconds"].sum() / HOUR)


def _by_suite(
    cells: "Mapping[str, pd.DataFrame]", hardware: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    import pandas as pd

    lines = []
    for suite, every in cells.items():
        for machine, own in every.groupby("hardware_id", sort=True):
            known = hardware.get(str(machine), {})
            lines.append(
                {
                    "suite": suite,
                    "hardware_id": machine,
                    "processor": known.get("processor", ""),
                    "cores": known.get("cores", ""),
                    "memory GiB": known.get("memory_gib", ""),
                    "GPUs": ", ".join(known.get("gpus", [])),
                    "models": own["model"].nunique(),
                    "cells": len(own),
                    "core hours": _hours(own),
                    "most memory MB": own["peak_memory_mb"].max(),
                }
            )
    total = sum(_hours(every) for every in cells.values())
    count = sum(len(every) for every in cells.values())
    on_gpus = sum(line["core hours"] for line in lines if line["GPUs"])
    yield (
        "## All suites, by hardware\n\n"
        f"Together {count:,} cells and {total:.3g} core hours, of which {on_gpus:.3g} hours on "
        "machines with a GPU. A hardware_id stands for what the operating system says of a "
        "machine. On virtual ones that is little: ids whose processor has no family and model may "
        "stand for several generations of it, whose seconds differ.\n"
    )
    yield as_text(pd.DataFrame(lines), "markdown")


# ---- what was not ----------------------------------------------------------------------------


def _full(cells: "pd.DataFrame", suite: Suite) -> Iterator[str]:
    """An extrapolation to the profile `full`: the mean of a model's cells, times its cells."""
    import pandas as pd

    profile = suite.profiles[PROFILE]
    systems = len(suite.systems or catalog.names())
    usual = cells[cells["hardware_id"] == cells["hardware_id"].mode()[0]]
    lines, without = [], []
    for model in zoo.self_contained() if profile.models is None else profile.models:
        own = usual[usual["model"] == model]
        if own.empty:
            without.append(model)
            continue
        stochastic = zoo.class_of(model).stochastic
        count = systems * (profile.seeds if stochastic else 1)
        mean, low, high = (each * count / HOUR for each in _mean(own))
        lines.append(
            {
                "model": model,
                "measured cells": len(own),
                "on systems": own["system"].nunique(),
                "cells of the full run": count,
                "core hours": mean,
                "interval": f"[{low:.3g}, {high:.3g}]",
                "longest measured cell s": own["seconds"].max(),
            }
        )
    table = pd.DataFrame(lines).sort_values("core hours", ascending=False, kind="stable")
    yield (
        "## The full run, extrapolated\n\n"
        f"Profile `{PROFILE}`: {systems} systems, {profile.seeds} seeds of models that draw random "
        "numbers, one of the others. **This has not been run.** A model's core hours are the mean "
        "of its measured cells times the cells of the full run, with the 95 % bootstrap interval "
        "of that mean over cells: where only a few systems were measured, the rest is taken to be "
        f"like them. Together {table['core hours'].sum():.3g} core hours, of fits and forecasts "
        "alone. Cells know nothing of each other: on n cores it takes that over n, or the longest "
        "cell if that is more; how to spread them is in [clusters](clusters.md).\n"
    )
    yield as_text(table, "markdown")
    yield f"Not measured in this suite, and not in the sum: {', '.join(without) or 'none'}.\n"


def _mean(cells: "pd.DataFrame") -> tuple[float, float, float]:
    """Seconds of a cell, and the 95 % interval of the mean over cells drawn with replacement."""
    import numpy as np

    seconds = cells["seconds"].to_numpy()
    rng = np.random.default_rng(_SEED)
    drawn = seconds[rng.integers(0, len(seconds), (RESAMPLES, len(seconds)))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(seconds.mean()), float(low), float(high)


def _searches(cells: "pd.DataFrame", limit: float) -> Iterator[str]:
    import pandas as pd

    lines, without = [], []
    for model, own in cells.groupby("model", sort=True):
        settings = [json.loads(text) for text in own["hyperparameters"].astype(str)]
        found = [each["chosen"] for each in settings if each.get("chosen")]
        if not found:
            without.append(model)
            continue
        listed = settings[0] | settings[0].get("search", {})  # the latter of networks that search
        offered = {
            name: len(value)
            for name, value in listed.items()
            if isinstance(value, list) and len(value) > 1
        }
        choices = pd.Series([json.dumps(each, sort_keys=True) for each in found])
        lines.append(
            {
                "model": model,
                "chooses": ", ".join(sorted({name for each in found for name in each})),
                "lists": ", ".join(f"{name} {count}" for name, count in offered.items()),
                "cells": len(found),
                "at an end of its list": _at_ends(settings),
                "different choices": choices.nunique(),
                "share of the commonest": f"{choices.value_counts(normalize=True).iloc[0]:.0%}",
                "fit s, median": own["fit_seconds"].median(),
            }
        )
    yield (
        "## What was spent on choosing\n\n"
        "Every model that leaves hyperparameters open chooses them by free runs on the same "
        "validation data ([protocol](protocol.md)), within the time that the profile gives to any "
        "cell: "
        f"{limit:,.0f} seconds of one core. How it spends them is its own affair, on many cheap "
        "candidates or on one long training of which checkpoints are compared; what it lists "
        "stands in its file of `models/`. A row records what was on offer (lists among the "
        "hyperparameters: alternatives, or the stages of a training), what was chosen, and the "
        "seconds of the whole fit. Whether a search mattered is told by how different its choices "
        "are from system to system; whether it was wide enough, by how often a number was chosen "
        "that is the least or the largest on its list. Nothing was chosen by "
        f"{', '.join(without) or 'none'}.\n"
    )
    yield as_text(pd.DataFrame(lines), "markdown")


def _trials(cells: "Mapping[str, pd.DataFrame]") -> Iterator[str]:
    """How often candidates were compared, where rows say so, and for how many seconds."""
    import pandas as pd

    lines = []
    for suite, every in cells.items():
        counts = [json.loads(text).get("trials") for text in every["hyperparameters"].astype(str)]
        told = every.assign(trials=pd.array(counts, dtype="Float64")).dropna(subset=["trials"])
        for model, own in told[told["trials"] > 0].groupby("model", sort=True):
            trials, seconds = own["trials"].astype(float), own["fit_seconds"]
            lines.append(
                {
                    "model": model,
                    "suite": suite,
                    "cells": len(own),
                    "trials, median": trials.median(),
                    "least": trials.min(),
                    "most": trials.max(),
                    "s a trial": (seconds / trials).median(),
                    "fit s, median": seconds.median(),
                    "fit s, most": seconds.max(),
                }
            )
    if not lines:
        return
    table = pd.DataFrame(lines).sort_values(["model", "suite"], kind="stable")
    usual = table.groupby("model")[["trials, median", "fit s, median"]].median()
    fewest, most = (usual["trials, median"].agg(pick) for pick in ("idxmin", "idxmax"))
    shortest, longest = (usual["fit s, median"].agg(pick) for pick in ("idxmin", "idxmax"))
    yield (
        "### Trials times seconds\n\n"
        "A trial is a free run on validation data by which a candidate was compared: a set of "
        "hyperparameters, or a checkpoint of a training; finalists that were compared again count "
        "again. Rows hold the number since it is counted; those made before do not. Trials are "
        f"between {usual.loc[fewest, 'trials, median']:.3g} ({fewest}) and "
        f"{usual.loc[most, 'trials, median']:.3g} ({most}), seconds between "
        f"{usual.loc[shortest, 'fit s, median']:.2g} ({shortest}) and "
        f"{usual.loc[longest, 'fit s, median']:.3g} ({longest}). What more trials bring to "
        "networks: [findings](findings.md).\n"
    )
    yield as_text(table, "markdown")


def _at_ends(settings: list[dict[str, Any]]) -> str:
    """How often a number was chosen from an end of its list, of lists of three numbers or more.

    The list of `ridge` is `ridges`, that of `lags` has its own name. A list that some choice is
    not on is none of alternatives, but, say, of the lengths of stages.
    """
    choices: dict[str, list[tuple[Any, list[Any]]]] = {}
    for each in settings:
        for name, value in (each.get("chosen") or {}).items():
            choices.setdefault(name, []).append((value, _grid(each, name)))
    told = []
    for name, own in choices.items():
        if all(value in offered for value, offered in own):
            ends = [value in (min(offered), max(offered)) for value, offered in own]
            told.append(f"{name} {sum(ends) / len(ends):.0%}")
    return ", ".join(told)


def _grid(settings: dict[str, Any], name: str) -> list[Any]:
    """Three numbers or more from which a hyperparameter was chosen; empty for anything else."""
    offered = settings.get(f"{name}s", settings.get(name))
    if not isinstance(offered, list) or len(offered) < 3:
        return []
    return offered if all(isinstance(one, int | float) for one in offered) else []


# ---- reading and writing ---------------------------------------------------------------------


def reference_cells(results: Path = RESULTS) -> "dict[str, pd.DataFrame]":
    """`cells_of` every suite with reference rows, `standard` first."""
    folders = sorted(path.name for path in (results / "reference").iterdir() if path.is_dir())
    found = {}
    for suite in sorted(folders, key=lambda name: name != STANDARD):
        rows = records.load_results(results, suite, metrics=read_suite(suite).metrics[:1])
        found[suite] = cells_of(rows[rows["source"] == "reference"])
    return found


def known_hardware(results: Path = RESULTS) -> dict[str, Mapping[str, Any]]:
    """What the manifests say of the hardware of their runs, by its id."""
    folders = (path for path in (results / "reference").iterdir() if path.is_dir())
    runs = [run for folder in folders for run in reference.runs_of(folder).values()]
    return {
        records.short_hash(records.canonical_json(run["hardware"])): run["hardware"] for run in runs
    }


def main() -> None:
    """Write the page of the reference rows."""
    records.write_atomically(PAGE, page(reference_cells(), known_hardware()))


if __name__ == "__main__":
    main()
