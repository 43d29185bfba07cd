"""Do analogs gain by more data what the attractor's dimension has them gain?

The nearest of n points on an attractor of information dimension D is some n^(-1/D) away. An error
that grows from there by e in a Lyapunov time reaches any threshold ln(n)/D + constant of them
later: prediction times are a straight line of ln(n), and its slope is 1/D.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

import systems as catalog
from dysts_bench.findings.contest import with_interval
from dysts_bench.findings.differences import RESAMPLES, SEED
from dysts_bench.leaderboard import PRIMARY, as_text, rows_of

if TYPE_CHECKING:
    import pandas as pd

MODEL = "analog"


def section(rows: "pd.DataFrame") -> Iterator[str]:
    """A line a system; `rows` of suite scaling. Nothing without three lengths of MODEL."""
    import pandas as pd

    own = rows_of(rows[rows["model"] == MODEL], PRIMARY) if (rows["model"] == MODEL).any() else rows
    if own["n_points"].nunique() < 3:
        return
    lines, within = [], 0
    for system, part in own.groupby("system", observed=True):
        times = part.pivot_table(index="window", columns="n_points", values="value").dropna()
        found, low, high = slope(times.columns.to_numpy(dtype=float), times.to_numpy())
        dimension = catalog.load(str(system)).measured["kaplan_yorke"]["value"]
        agrees = low <= 1 / dimension <= high
        within += agrees
        lines.append(
            {
                "system": system,
                "D": f"{dimension:.2f}",
                "1/D": f"{1 / dimension:.3f}",
                "slope": with_interval(found, low, high),
                "1/D is": "within" if agrees else "below" if 1 / dimension < low else "above",
            }
        )
    yield (
        "## Analogs and the dimension of the attractor\n\n"
        "Zhang & Gilpin (arXiv 2505.11349, 2025) tie how the accuracy of copying grows with the "
        "length of what is copied from to the attractor's fractal dimension. The nearest of n "
        "points is some n^(-1/D) away, and an error that grows by e in a Lyapunov time is then "
        f"small for ln(n)/D of them longer. Of `{MODEL}` in suite `scaling`: the slope of the mean "
        "prediction time against ln(n), by least squares, with its 95 % bootstrap interval over "
        "windows (which leaves out the chance in the one training trajectory); D is Kaplan and "
        f"Yorke's, from the catalog. 1/D is within the interval on {within} of {len(lines)} "
        "systems.\n"
    )
    yield as_text(pd.DataFrame(lines), "markdown")


def slope(
    points: Float[np.ndarray, " lengths"], times: Float[np.ndarray, "windows lengths"]
) -> tuple[float, float, float]:
    """How much the mean over windows grows as `points` do by a factor e, by least squares, and the
    95 % interval of that over windows drawn with replacement."""
    x = np.log(points) - np.log(points).mean()
    of_windows = times @ x / (x @ x)  # least squares is linear: the mean's slope is their mean
    rng = np.random.default_rng(SEED)
    drawn = of_windows[rng.integers(0, len(times), (RESAMPLES, len(times)))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(of_windows.mean()), float(low), float(high)
