"""Metrics: plain functions of (truth, forecast, facts), and one `score` over all of them.

The functions live in `pointwise` (errors and correlations, step by step), `horizon` (how long a
forecast is good for), `geometry`, `dynamics` and `complexity` (whether long free runs live on the
right attractor), `exponents` (what a model's own Jacobian says of that), `probabilistic`;
`published` are a study's own, for its suite.
"""

from dysts_bench.metrics import (
    complexity,
    dynamics,
    exponents,
    geometry,
    horizon,
    pointwise,
    probabilistic,
    published,
)
from dysts_bench.metrics.base import (
    HORIZONS,
    METRICS,
    Facts,
    Metric,
    Score,
    TooShort,
    find,
    metric,
    score,
)

__all__ = [
    "HORIZONS",
    "METRICS",
    "Facts",
    "Metric",
    "Score",
    "TooShort",
    "complexity",
    "dynamics",
    "exponents",
    "find",
    "geometry",
    "horizon",
    "metric",
    "pointwise",
    "probabilistic",
    "published",
    "score",
]
