"""How long cells took earlier on hardware like this, and so which of those to come go first.

A run ends with its last cell: a long one that starts last keeps one worker busy, the others idle.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from dysts_bench import records
from dysts_bench.cells import Cell
from dysts_bench.task import Suite

Seconds = dict[tuple[str, str], float]  # by model (its label) and system

# Shorter cells stay together system by system, so that a worker loads their data once.
_SHORT = 1.0


def longest_first(cells: Sequence[Cell], seconds: Mapping[tuple[str, str], float]) -> list[Cell]:
    """Cells in the order in which a run should take them.

    First those of models that were never timed, which may take long; then those that took long, the
    longest first; then the short ones. All else stays in order. A model that was timed on other
    systems is taken to need what it needed there.
    """
    of_model: dict[str, list[float]] = {}
    for (model, _), took in seconds.items():
        of_model.setdefault(model, []).append(took)

    def expected(cell: Cell) -> float:
        model = cell.model.label
        if model not in of_model:
            return float("inf")
        took = seconds.get((model, cell.task.system), max(of_model[model]))
        return took if took >= _SHORT else 0.0

    return sorted(cells, key=expected, reverse=True)  # stable


def earlier(results: Path, suite: Suite, models: Collection[str]) -> Seconds:
    """Seconds to fit and predict in reference and local rows made on hardware like this.

    `models` are names without presets. Of several seeds it is the longest.
    """
    rows = records.load_results(results, suite.name, metrics=suite.metrics[:1], models=models)
    here = rows[rows["hardware_id"] == records.hardware_id()]
    preset = here["preset"].astype(str)
    model = here["model"].astype(str).where(preset == "", here["model"].astype(str) + ":" + preset)
    took = (here["fit_seconds"] + here["predict_seconds"]).groupby(
        [model, here["system"].astype(str)]
    )
    return {(model, system): float(most) for (model, system), most in took.max().dropna().items()}
