"""docs/scaling.md: errors as training data and models grow, and the power laws they follow.

python -m dysts_bench.scaling_page
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from dysts_bench import figures, records
from dysts_bench.leaderboard import PRIMARY, as_text, rows_of
from dysts_bench.metrics import find

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "scaling.md"
FIGURE = ROOT / "docs" / "scaling.svg"
SIZES_FIGURE = ROOT / "docs" / "scaling_sizes.svg"
SUITE = "scaling"
ERROR = "nrmse_at_1"
RESAMPLES = 1000
_SEED = 0  # of the bootstrap, so that the page can be made again
OPENING = """# More data, larger models

Generated from `results/reference/scaling/` by `python -m dysts_bench.scaling_page`; made by
`dysts-bench run --suite scaling`.

The forecasts of suite `standard`, from more and more points to learn from. The error is the root
mean square over the first Lyapunov time, in standard deviations; a system's is the median over
windows, then over seeds, and the table has medians over systems. A failure counts as worst. The
exponent p is that of a power law, error ∝ 1/nᵖ, fitted to these medians by least squares of the
logarithms, with its 95 % bootstrap interval over systems. r² says how far it is one: an error that
has come to its floor, such as rounding, or what a linear model cannot do, follows none.

![Errors by training points](scaling.svg)
"""

Scores = Float[np.ndarray, "systems sizes"]


@dataclass(frozen=True)
class PowerLaw:
    """error = c · size^(−exponent), with the exponent's 95 % interval over systems."""

    exponent: float
    low: float
    high: float
    r2: float  # of the logarithms


def page(rows: "pd.DataFrame") -> str:
    """The page in Markdown: errors and prediction times by training points, errors by size."""
    import pandas as pd

    errors, times = _by_length(rows, ERROR), _by_length(rows, PRIMARY)
    lines = [OPENING, "## Errors\n"]
    lines.append(_markdown({name: _with_law(table) for name, table in errors.items()}))
    lines += ["## Valid prediction times, in Lyapunov times\n"]
    lines.append(
        _markdown({name: _heads(table.median(), table.columns) for name, table in times.items()})
    )
    sizes = _by_size(rows)
    if sizes:
        most = rows["n_points"].max()
        told = pd.DataFrame([_sizes_told(model, table) for model, table in sizes.items()])
        lines += [
            "## Errors by the size of the model\n",
            f"After {most:,} points. Sizes are fitted numbers, the median over systems.\n",
            f"![Errors by size]({SIZES_FIGURE.name})\n",
            as_text(told, "markdown"),
        ]
    return "\n".join(lines)


def figure(rows: "pd.DataFrame") -> "Figure":
    """The medians of `page`, error by training points."""
    return figures.loglog(
        {model: _curve(table) for model, table in _by_length(rows, ERROR).items()},
        "training points",
        "error over the first Lyapunov time",
    )


def sizes_figure(rows: "pd.DataFrame") -> "Figure":
    """The medians of the page's last table, error by fitted numbers."""
    return figures.loglog(
        {model: _curve(table) for model, table in _by_size(rows).items()},
        "fitted numbers",
        "error over the first Lyapunov time",
    )


def _curve(
    table: "pd.DataFrame",
) -> tuple[Float[np.ndarray, " sizes"], Float[np.ndarray, " sizes"]]:
    return table.columns.to_numpy(dtype=float), table.median().to_numpy()


def power_law(sizes: Float[np.ndarray, " sizes"], scores: Scores) -> PowerLaw | None:
    """Least squares of the logarithm of the median over systems on that of the size.

    Sizes at which the median is 0 or infinite take no part; None where fewer than three are left,
    for two points lie on every power law. Interval: percentiles over systems drawn
    with replacement.
    """

    def slope(medians: Float[np.ndarray, " sizes"]) -> tuple[float, float]:
        used = np.isfinite(medians) & (medians > 0)
        if used.sum() < 3:
            return np.nan, np.nan
        x, y = np.log(sizes[used]), np.log(medians[used])
        x, y = x - x.mean(), y - y.mean()
        explained = (x @ y) ** 2 / (x @ x)
        return -(x @ y) / (x @ x), explained / (y @ y) if y @ y else 1.0

    exponent, r2 = slope(np.median(scores, axis=0))
    if np.isnan(exponent):
        return None
    drawn = np.random.default_rng(_SEED).integers(0, len(scores), (RESAMPLES, len(scores)))
    exponents = [slope(medians)[0] for medians in np.median(scores[drawn], axis=1)]
    low, high = np.nanquantile(exponents, [0.025, 0.975])
    return PowerLaw(float(exponent), float(low), float(high), float(r2))


def _by_length(rows: "pd.DataFrame", metric: str) -> "dict[str, pd.DataFrame]":
    """Systems × training points of each model: systems on which it was asked with all of them.

    The worst value stands for a failure.
    """
    scores = rows_of(rows, metric).fillna({"value": find(metric).worst})
    return {
        model: _median(part, "n_points").dropna(how="any")
        for model, part in scores.groupby("model", sort=True)
    }


def _median(rows: "pd.DataFrame", column: str) -> "pd.DataFrame":
    """Systems × values of `column`: the median over windows, then over seeds."""
    by_seed = rows.groupby(["system", column, "seed"], observed=True)["value"].median()
    return by_seed.groupby(["system", column], observed=True).median().unstack(column)


def _with_law(table: "pd.DataFrame") -> dict[str, object]:
    sizes = table.columns.to_numpy(dtype=float)
    law = power_law(sizes, table.to_numpy()) if len(table) else None
    return _heads(table.median(), table.columns) | _told(law) | {"systems": len(table)}


def _heads(medians: "pd.Series", lengths: "pd.Index") -> dict[str, object]:
    return {f"{length:,}": medians[length] for length in lengths}


def _told(law: PowerLaw | None) -> dict[str, object]:
    if law is None:
        return {"p": "", "r²": ""}
    return {"p": f"{law.exponent:.2f} [{law.low:.2f}, {law.high:.2f}]", "r²": f"{law.r2:.2f}"}


def _by_size(rows: "pd.DataFrame") -> "dict[str, pd.DataFrame]":
    """Systems × fitted numbers of each model that was run in three sizes at least, after the most
    training points."""
    rows = rows[rows["n_points"] == rows["n_points"].max()]
    scores = rows_of(rows, ERROR).fillna({"value": find(ERROR).worst})
    counts = [json.loads(text).get("parameters") for text in scores["hyperparameters"]]
    scores = scores.assign(parameters=np.array(counts, dtype=float))
    scores = scores.assign(base=scores["model"].str.partition(":")[0])
    # A failure has no fitted numbers: it counts at the size that the model has elsewhere.
    size = scores.groupby("model")["parameters"].median()
    scores = scores.assign(size=scores["model"].map(size)).dropna(subset="size")
    found = {}
    for base, part in scores.groupby("base", sort=True):
        table = _median(part, "size").dropna(how="any")
        if table.shape[1] >= 3 and len(table):
            found[str(base)] = table
    return found


def _sizes_told(model: str, table: "pd.DataFrame") -> dict[str, object]:
    medians = table.median()
    law = power_law(table.columns.to_numpy(dtype=float), table.to_numpy())
    span = ", ".join(f"{size:,.0f}: {medians[size]:.3g}" for size in table.columns)
    return {"model": model, "sizes and errors": span, **_told(law)}


def _markdown(table: dict[str, dict[str, object]]) -> str:
    import pandas as pd

    frame = pd.DataFrame.from_dict(table, orient="index").rename_axis("model").reset_index()
    return as_text(frame, "markdown")


def main() -> None:
    """Write the page of the reference rows."""
    rows = records.load_results(ROOT / "results", SUITE)
    rows = rows[rows["source"] == "reference"]
    PAGE.write_text(page(rows), encoding="utf-8")
    figures.save(figure(rows), FIGURE)
    figures.save(sizes_figure(rows), SIZES_FIGURE)


if __name__ == "__main__":
    main()
