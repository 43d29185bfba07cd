"""Metrics: plain functions of (truth, forecast, facts), and one `score` over all of them.

The functions live in `pointwise` (errors and correlations, step by step), `horizon` (how long a
forecast is good for) and `invariants` (whether long free runs live on the right attractor).
"""

from dysts_bench.metrics import horizon, invariants, pointwise
from dysts_bench.metrics.base import METRICS, Facts, Metric, Score, TooShort, metric, score

__all__ = [
    "METRICS",
    "Facts",
    "Metric",
    "Score",
    "TooShort",
    "horizon",
    "invariants",
    "metric",
    "pointwise",
    "score",
]
