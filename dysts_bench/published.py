"""Published results: read, put beside ours, and how far two orderings of methods agree.

results/published/<suite>.csv (or .csv.gz) has one value a model, system and metric, and the seconds
of the study's own machine where they are known; summaries.csv has what is known over all systems
only, gilpin2023_learning_curves.csv likewise by the number of training points.
results/published/README.md says where each is from.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from dysts_bench import records
from dysts_bench.leaderboard import PUBLISHED, rows_of
from dysts_bench.records import Result

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("model", "system", "metric", "value", "fit_seconds", "predict_seconds")
SUMMARIES = "summaries.csv"
LEARNING_CURVES = "gilpin2023_learning_curves.csv"
# Under its published name, the model of ours that is the same method with the same settings.
COUNTERPARTS = {name: f"{name}:gilpin2023" for name in ("esn", "nvar", "neural_ode")} | {
    name: f"darts_{name}:gilpin2023"
    for name in (
        *("naive_mean", "naive_drift", "naive_seasonal", "exponential_smoothing", "theta"),
        *("four_theta", "fft", "arima", "auto_arima", "prophet", "kalman"),
        *("linear_regression", "random_forest", "xgboost", "nbeats", "nhits", "lstm", "block_rnn"),
        *("tcn", "transformer", "dlinear", "nlinear"),
    )
}
RESAMPLES = 2000
_SEED = 0  # of the bootstrap, so that a page can be made again

Scores = Float[np.ndarray, "systems methods"]


# ---- reading ---------------------------------------------------------------------------------


def suites(results: Path) -> list[str]:
    """The suites with values of single systems under `results`/published."""
    return sorted(_tables(results))


def load(results: Path, suite: str) -> "pd.DataFrame":
    """The published values of a suite, COLUMNS; ValueError if there are none."""
    import pandas as pd

    known = _tables(results)
    if suite not in known:
        there = f"There is for {', '.join(sorted(known))}." if known else "There is nothing at all."
        raise ValueError(
            f"{results / PUBLISHED} holds nothing published of the suite {suite!r}. {there}"
        )
    table = pd.read_csv(known[suite], float_precision="round_trip")
    return table.reindex(columns=list(COLUMNS))


def summaries(results: Path, suite: str) -> "pd.DataFrame":
    """What is published of a suite over all systems only: model, metric, statistic, value, source.

    Sources: "results" (files of the study), "notebook" (its text), "figure" (read off one).
    """
    import pandas as pd

    path = records.place_of(results, PUBLISHED) / SUMMARIES
    columns = ["suite", "model", "metric", "statistic", "value", "source"]
    every = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=columns)
    return every[every["suite"] == suite].drop(columns="suite").reset_index(drop=True)


def learning_curves(results: Path) -> "pd.DataFrame":
    """Of the 2023 study, over systems: model, train_points, metric, statistic, value."""
    import pandas as pd

    return pd.read_csv(results / PUBLISHED / LEARNING_CURVES)


def _tables(results: Path) -> dict[str, Path]:
    """The files of a suite's values, by its name; others have other columns."""
    import pandas as pd

    return {
        path.name.partition(".csv")[0]: path
        for path in records.tables(records.place_of(results, PUBLISHED))
        if tuple(pd.read_csv(path, nrows=0).columns[:4]) == COLUMNS[:4]
    }


# ---- beside ours -----------------------------------------------------------------------------


def beside(ours: "pd.DataFrame", theirs: "pd.DataFrame", metric: str) -> "pd.DataFrame":
    """Our rows on the systems that both have, and the published ones as rows of that source.

    `ours` as of records.load_results, `theirs` as of `load`. Raises ValueError for a metric that
    either side lacks, and if no system is common.
    """
    ours = ours[ours["suite_version"] == ours["suite_version"].max()]
    mine = rows_of(ours, metric)
    values = theirs[(theirs["metric"] == metric) & theirs["value"].notna()]
    if values.empty:
        known = ", ".join(sorted(theirs["metric"].unique()))
        raise ValueError(f"{metric} is not published of this suite system by system; {known} is.")
    alike = mine.astype({"system": str}).drop_duplicates("system").set_index("system")
    values = values[values["system"].isin(alike.index)]
    if values.empty:
        raise ValueError("no system of our results is among those published: run more systems.")
    rows = [_as_result(value, alike.loc[value["system"]]) for value in values.to_dict("records")]
    common = ours[ours["system"].isin(values["system"].unique())]
    return records.joined([common, records.to_frame(rows, PUBLISHED)])


def _as_result(value: dict[str, Any], alike: "pd.Series") -> Result:
    """A published value as a row; what belongs to the task is that of a row of ours."""
    seconds: dict[str, Any] = {
        name: _known(value[name]) for name in ("fit_seconds", "predict_seconds")
    }
    task = {name: alike[name] for name in ("suite", "task", "edition", "unit", "catalog_hash")}
    return Result(
        **task,
        **seconds,
        run_id="",
        suite_version=int(alike["suite_version"]),
        system=value["system"],
        model=value["model"],
        preset="",
        hyperparameters="{}",
        seed=0,
        window=None,
        metric=value["metric"],
        value=value["value"],
        higher_is_better=bool(alike["higher_is_better"]),
        status="ok",
        message="",
        n_points=int(alike["n_points"]),
        horizon_lyapunov_times=_known(alike["horizon_lyapunov_times"]),
        censored=None,
        noise_floor=None,
        peak_memory_mb=None,
        hardware_id="",
        data_hash="",
        version="",
    )


def _known(number: float) -> float | None:
    return None if np.isnan(number) else float(number)


# ---- two orderings ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Agreement:
    """Rank correlations of two orderings of methods, each with its 95 % interval over systems."""

    methods: int
    kendall: float
    kendall_interval: tuple[float, float]
    spearman: float
    spearman_interval: tuple[float, float]


def agreement(theirs: "pd.DataFrame", ours: "pd.DataFrame") -> Agreement:
    """Kendall's τ_b and Spearman's ρ between the medians over systems of the same methods.

    Both are systems × methods, with the same labels in any order; NaN where there is no value. The
    medians of a method are over the systems on which both have it. Intervals: percentiles of both
    correlations when systems are drawn with replacement; draws that leave a method without any
    system are left out. Raises ValueError for fewer than two methods.
    Kendall, Biometrika 33, 239 (1945), for ties; Spearman, Am. J. Psychol. 15, 72 (1904).
    """
    ours = ours.reindex(index=theirs.index, columns=theirs.columns)
    published, found = theirs.to_numpy(dtype=float), ours.to_numpy(dtype=float)
    absent = np.isnan(published) | np.isnan(found)
    known = ~absent.all(axis=0)
    if known.sum() < 2:
        raise ValueError("an ordering is of two methods at least that both have run.")
    pair = np.stack([published, found])[:, :, known]
    pair[:, absent[:, known]] = np.nan
    kendall, spearman = _correlations(*_medians(pair))
    rng = np.random.default_rng(_SEED)
    drawn = rng.integers(0, len(published), (RESAMPLES, len(published)))
    one, other = _medians(pair[0][drawn]), _medians(pair[1][drawn])
    whole = ~np.isnan(one).any(axis=-1)
    taus, rhos = _correlations(one[whole], other[whole])
    return Agreement(
        int(known.sum()), float(kendall), _interval(taus), float(spearman), _interval(rhos)
    )


def _medians(
    scores: Float[np.ndarray, "*batch systems methods"],
) -> Float[np.ndarray, "*batch methods"]:
    """Medians over systems without NaN: numpy's nanmedian takes ten times as long."""
    ascending = np.sort(scores, axis=-2)  # NaN at the end
    count = np.sum(~np.isnan(scores), axis=-2, keepdims=True)
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    ends = [np.take_along_axis(ascending, i, -2) for i in (low, np.minimum(high, count - 1))]
    return (0.5 * (ends[0] + ends[1]))[..., 0, :]


def _correlations(
    one: Float[np.ndarray, "*batch methods"], other: Float[np.ndarray, "*batch methods"]
) -> tuple[Float[np.ndarray, "*batch"], Float[np.ndarray, "*batch"]]:
    """τ_b and ρ along the last axis; NaN where all of one side is tied."""
    from scipy.stats import rankdata

    before, after = (np.sign(x[..., :, None] - x[..., None, :]) for x in (one, other))
    ranks = [rankdata(x, axis=-1) for x in (one, other)]
    first, second = (rank - rank.mean(axis=-1, keepdims=True) for rank in ranks)
    return _cosine(before, after, (-2, -1)), _cosine(first, second, (-1,))


def _cosine(one: np.ndarray, other: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    lengths = np.sqrt(np.sum(one**2, axis=axes) * np.sum(other**2, axis=axes))
    with np.errstate(invalid="ignore"):  # 0/0
        return np.sum(one * other, axis=axes) / lengths


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)
