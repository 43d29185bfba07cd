"""Forecasts that a run kept (`--keep-forecasts`), beside the truth, as pictures.

Only forecasts that score what the rows say are shown: a file that another run left behind is not.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dysts_bench.cells import Cell, ModelSpec
from dysts_bench.forecasts import read_forecasts
from dysts_bench.metrics import score
from dysts_bench.records import RecordError
from dysts_bench.report.pictures import Course, course
from dysts_bench.report.survey import Entry
from dysts_bench.store import Store
from dysts_bench.task import DataError, Suite, Windows, load, tasks
from systems import IntegrationError

if TYPE_CHECKING:
    import pandas as pd


def courses(rows: "pd.DataFrame", suite: Suite, store: Store, system: str) -> dict[Entry, Course]:
    """The first coordinate of the first test window, by entry: of the lowest seed of each model of
    `rows` (`labelled` ones of this system) whose forecasts are in the store."""
    if not (store.folder / "forecasts").is_dir():
        return {}
    task = max(tasks(suite, [system]), key=lambda task: task.protocol.train_points)
    local = rows[(rows["source"] == "local") & (rows["metric"] == suite.metrics[0])]
    found: dict[Entry, Course] = {}
    windows: Windows | None = None
    for (label, seed), cell_rows in local.groupby(["model", "seed"], observed=True):
        entry = Entry(str(label), "local")
        name, _, variant = entry.model.partition(":")
        path = store.forecasts(Cell(task, ModelSpec(name, variant), int(seed)))
        if entry in found or not path.exists():
            continue
        try:
            windows = windows or load(task)
            drawn = _course(path, windows, cell_rows, suite.metrics[0])
        except (RecordError, DataError, IntegrationError):
            continue
        if drawn is not None:
            found[entry] = drawn
    return found


def _course(path: Path, windows: Windows, rows: "pd.DataFrame", primary: str) -> Course | None:
    forecast = read_forecasts(path)[1].get("windows")
    truth = windows.in_units(windows.truth)
    if forecast is None or forecast.shape != truth.shape:
        return None
    with np.errstate(all="ignore"):
        [result] = score(truth, forecast, windows.facts, metrics=[primary])
    told = rows.sort_values("window")["value"].to_numpy(dtype=float)
    again = np.array(result.values if result.metric.per_window else [result.value], dtype=float)
    if told.shape != again.shape or not np.array_equal(told, again, equal_nan=True):
        return None
    share = None
    if primary == "valid_prediction_time":
        steps = again[0] * windows.facts.lyapunov_time / windows.facts.dt
        share = float(min(steps / truth.shape[1], 1.0))
    return course(truth[0, :, 0], forecast[0, :, 0], share)
