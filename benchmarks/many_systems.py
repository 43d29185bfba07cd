"""`fit_many` on many systems beside as many single fits: every model that trains them together.

    python -m benchmarks.many_systems [--count 16] [--share 0.1] [--device cuda]

Chaotic systems of three dimensions, sampled and cut as in suite `standard`. Each network makes a
share of the updates of its defaults, for what is compared is time per update. Wall seconds on one
thread, or on a GPU; the largest difference of the two ways' forecasts over 20 steps shows that they
trained the same networks.
"""

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

import models
import systems
from benchmarks._turns import in_turns
from dysts_bench.task import load, read_suite, tasks

OUT = Path(__file__).with_name("out") / "many_systems.json"
HORIZON = 20


def main(
    count: int = 16, share: float = 0.1, device: str | None = None, only: str | None = None
) -> None:
    """Print the table and keep the figures in benchmarks/out/many_systems.json."""
    torch.set_num_threads(1)
    trainings, contexts = _problems(count)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    rows: list[dict[str, Any]] = []
    table = Table("model", "one by one, s", "together, s", "ratio", "difference")
    for name in only.split(",") if only else _networks():
        model = _shortened(name, share, device)
        fitted: dict[str, Any] = {}

        def one_by_one(model: Any = model, fitted: dict[str, Any] = fitted) -> None:
            fitted["one by one"] = [model.fit_many([each])[0] for each in trainings]

        def together(model: Any = model, fitted: dict[str, Any] = fitted) -> None:
            fitted["together"] = model.fit_many(trainings)

        model.fit_many(trainings[:1])  # whatever is compiled or imported once
        seconds = in_turns(
            {"one by one": one_by_one, "together": together}, 1, clock=time.perf_counter
        )
        gap = _gap(fitted["one by one"], fitted["together"], contexts)
        ratio = seconds["one by one"] / seconds["together"]
        rows.append({"model": name, **seconds, "ratio": ratio, "difference": gap})
        table.add_row(name, *(f"{s:.1f}" for s in seconds.values()), f"{ratio:.2f}", f"{gap:.1e}")
    Console().print(table)
    OUT.parent.mkdir(exist_ok=True)
    figures = {
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else "one CPU thread",
        "load": os.getloadavg()[0],
        "systems": count,
        "share_of_updates": share,
        "rows": rows,
    }
    OUT.write_text(json.dumps(figures, indent=1) + "\n")


def _problems(count: int) -> tuple[list[models.Training], list[np.ndarray]]:
    """The training of each system, and the contexts that it is asked to continue."""
    chosen = [
        name
        for name in systems.names(tag="chaotic")
        if systems.load(name).dimension == len(systems.load(name).observables) == 3
    ]
    windows = [load(task) for task in tasks(read_suite("standard"), chosen[:count])]
    trainings = [models.Training(w.train, w.facts.dt, w.validation, seed=0) for w in windows]
    return trainings, [w.contexts for w in windows]


def _networks() -> list[str]:
    """Those of the zoo that PyTorch trains."""
    from models._torch_model import TorchForecaster

    return [
        name
        for name in models.ZOO
        if issubclass(models.load_class(models.ZOO[name]), TorchForecaster)
    ]


def _shortened(name: str, share: float, device: str) -> models.Forecaster:
    model: Any = models.create(name)
    updates = model.updates
    fewer = (
        tuple(max(1, round(share * number)) for number in updates)
        if isinstance(updates, tuple)
        else max(1, round(share * updates))
    )
    return dataclasses.replace(model, updates=fewer, checks=1, device=device)


def _gap(one: list[Any], many: list[Any], contexts: list[np.ndarray]) -> float:
    """The largest difference of forecasts, where both are finite."""
    for fitted in (*one, *many):
        if isinstance(fitted, models.FitError):
            raise fitted
    gaps = [
        np.nanmax(np.abs(a.predict(seen, HORIZON) - b.predict(seen, HORIZON)), initial=0.0)
        for a, b, seen in zip(one, many, contexts, strict=True)
    ]
    return float(max(gaps))


if __name__ == "__main__":
    typer.run(main)
