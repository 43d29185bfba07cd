"""docs/metrics.md: every metric, from what it says of itself.

python -m dysts_bench.metrics_page
"""

import inspect
import math
from pathlib import Path

from dysts_bench.metrics import METRICS, Metric
from dysts_bench.metrics.base import Data

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
OPENING = """# Metrics

Generated from the metrics' own docstrings by `python -m dysts_bench.metrics_page`.

A metric is a plain function of truth, forecast and facts (the sampling interval, the Lyapunov time,
the training data and their standard deviation) with one value a window. `score` computes all of
them, or those that a suite names; `name_at_4` is a metric over the first 4 Lyapunov times only,
`Metric.at_each_step` and `Metric.cumulative` give curves. What a forecast that is NaN, infinite or
off by 1000 standard deviations scores is declared and never dropped: *worst*, or whatever the part
before allows. *Invariant* tells what a score does not depend on: a factor (units) and an offset
(origin) of each coordinate.
"""
KINDS: dict[Data, str] = {
    "windows": """## Of test windows

Arrays are (windows, horizon, dim).
""",
    "free_runs": """## Of long free runs: invariants

Arrays are (runs, steps, dim). Each comes with its noise floor, the value between independent true
runs of the same length and number, and with floor / value as a normalised score: 1 is as good as
the truth itself, 0 is not on the attractor at all.
""",
    "samples": """## Of sampled forecasts

For models that return samples: truth (windows, horizon, dim), forecast (samples, windows, horizon,
dim).
""",
    "exponents": """## Of a model's own Lyapunov exponents

For models that know their Jacobian: arrays are (runs, exponents), per system time.
""",
}


def page() -> str:
    """The page in Markdown: a section for each kind of data, an entry for each metric."""
    parts = [OPENING]
    for kind, opening in KINDS.items():
        parts.append(opening)
        parts += [_entry(metric) for metric in METRICS.values() if metric.data == kind]
    return "\n".join(parts)


def _entry(metric: Metric) -> str:
    facts = [
        f"{metric.better} is better",
        f"ideal {_number(metric.ideal)}",
        f"worst {_number(metric.worst)}",
    ]
    if metric.unit:
        facts.insert(0, f"in {metric.unit}")
    if metric.invariant:
        facts.append(f"invariant to {' and '.join(sorted(metric.invariant, reverse=True))}")
    if metric.limit:
        facts.append("censored where the truth ends")
    # Indented prose would be code in Markdown.
    text = "\n".join(line.strip() for line in inspect.getdoc(metric.function).split("\n"))  # type: ignore[union-attr]
    return f"### `{metric.name}`\n\n*{'; '.join(facts)}.*\n\n{text}\n"


def _number(value: float) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:g}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
