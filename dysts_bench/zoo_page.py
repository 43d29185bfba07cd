"""docs/zoo.md: every model on a few systems that differ in kind, beside a perfect model.

python -m dysts_bench.zoo_page
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dysts_bench import records
from dysts_bench.leaderboard import PRIMARY, rows_of
from dysts_bench.perfect_model import valid_prediction_times
from dysts_bench.task import read_suite, tasks

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "zoo.md"
SYSTEMS = {
    "Lorenz": "polynomial",
    "Rossler": "polynomial, nearly periodic",
    "Lorenz96": "extended",
    "Chua": "piecewise linear",
    "Duffing": "driven",
    "MackeyGlass": "a delay",
    "CellCycle": "stiff",
    "HyperRossler": "hyperchaotic",
    "DoublePendulum": "conservative",
    "Lorenz84": "several attractors",
}
OFFSETS = (1e-6, 1e-3)
OPENING = """# The zoo on ten systems

Generated from `results/reference/standard/` by `python -m dysts_bench.zoo_page`.

Valid prediction times in Lyapunov times, suite `standard`: the median over 20 test windows (and
seeds), and its 95 % bootstrap interval over them. "≥": at least half of the forecasts were right to
the end of their truth. A perfect model is the system itself, its first state wrong by so many
standard deviations: what a forecast without any error of its own would reach. An entry that is
missing has not been run, one without a number failed. Seconds are those of a fit, and parameters
the numbers that it found, both medians over these systems; a model without keeps the data instead.
"""


def page(rows: "pd.DataFrame") -> str:
    """The page in Markdown: a row a model, a column a system."""
    rows = rows_of(rows, PRIMARY)
    rows = rows[rows["system"].isin(list(SYSTEMS))]
    heads = [f"{name} ({kind})" for name, kind in SYSTEMS.items()]
    heads = ["model", *heads, "fit s", "parameters"]
    lines = [_line(heads), "|---" * len(heads) + "|"]
    for offset in OFFSETS:
        cells = [_median(_perfect(name, offset)) for name in SYSTEMS]
        lines.append(_line([f"*perfect, {offset:g} off*", *cells, "", ""]))
    by_entry = {entry: part for entry, part in rows.groupby(["model", "system"], observed=True)}
    for model in _best_first(rows):
        cells = [
            _cell(by_entry[model, name]) if (model, name) in by_entry else "" for name in SYSTEMS
        ]
        lines.append(_line([model, *cells, *_cost(rows[rows["model"] == model])]))
    return "\n".join([OPENING, *lines, ""])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cost(rows: "pd.DataFrame") -> list[str]:
    """Seconds of a fit, and fitted numbers: medians over cells, empty where there are none."""
    cells = rows.drop_duplicates(["system", "seed"])
    fitted = [json.loads(text).get("parameters") for text in cells["hyperparameters"]]
    counts = [number for number in fitted if number is not None]
    seconds = cells["fit_seconds"].dropna()
    return [
        f"{seconds.median():.2g}" if len(seconds) else "",
        f"{int(np.median(counts)):,}" if counts else "",
    ]


def _best_first(rows: "pd.DataFrame") -> list[str]:
    """Models by the mean over systems of their medians; a failure counts as zero."""
    medians = rows.groupby(["model", "system"], observed=True)["value"].median().fillna(0.0)
    return (
        medians.groupby("model").mean().sort_values(ascending=False, kind="stable").index.tolist()
    )


def _perfect(name: str, offset: float) -> np.ndarray:
    [task] = tasks(read_suite("standard"), [name])
    return valid_prediction_times(task, offset)


def _cell(rows: "pd.DataFrame") -> str:
    values = rows["value"].dropna().to_numpy()
    if len(values) == 0:
        return str(rows["status"].iloc[0])
    to_the_end = rows["censored"].eq(True).mean() >= 0.5
    return ("≥ " if to_the_end else "") + _median(values)


def _median(values: np.ndarray) -> str:
    from scipy.stats import bootstrap

    low, high = np.median(values), np.median(values)
    if np.ptp(values) > 0:
        drawn = bootstrap((values,), np.median, method="percentile", rng=0).confidence_interval
        low, high = drawn.low, drawn.high
    return f"{np.median(values):.3g} [{low:.3g}, {high:.3g}]"


def main() -> None:
    """Write the page of the reference rows."""
    rows = records.load_results(ROOT / "results", "standard")
    PAGE.write_text(page(rows[rows["source"] == "reference"]), encoding="utf-8")


if __name__ == "__main__":
    main()
