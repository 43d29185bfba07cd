"""A folder of results for the tests of the report: four systems, four models, known scores."""

from pathlib import Path

from dysts_bench import records
from dysts_bench.records import Result

SYSTEMS = ("DoublePendulum", "Lorenz", "MackeyGlass", "SprottA")
HOSTILE = "<script>alert('message')</script>"
HOSTILE_PRESET = "name=<img src=x onerror=alert(1)>"
# Valid prediction times; None is a crash. SprottA was not asked of the local model.
TIMES: dict[str, dict[str, float | None]] = {
    "esn": {"DoublePendulum": 2.0, "Lorenz": 9.0, "MackeyGlass": 4.0, "SprottA": 8.0},
    "nvar": {"DoublePendulum": 1.0, "Lorenz": 25.0, "MackeyGlass": 3.0, "SprottA": 12.0},
    "persistence": {"DoublePendulum": 0.25, "Lorenz": 0.5, "MackeyGlass": 0.125, "SprottA": 0.0},
}
LOCAL: dict[str, float | None] = {"DoublePendulum": 3.0, "Lorenz": None, "MackeyGlass": 1.5}


def row(model: str, system: str, value: float | None, **changes: object) -> Result:
    facts: dict[str, object] = dict(
        run_id="0" * 12,
        suite="standard",
        suite_version=2,
        task=f"main/{system}",
        system=system,
        edition="corrected",
        model=model,
        preset="",
        hyperparameters='{"units":300,"chosen":{"ridge":1e-06}}',
        seed=0,
        window=0,
        metric="valid_prediction_time",
        value=value,
        unit="Lyapunov times",
        higher_is_better=True,
        status="crash" if value is None else "ok",
        message=HOSTILE if value is None else "",
        n_points=6000,
        horizon_lyapunov_times=25.0,
        censored=value == 25.0,
        noise_floor=None,
        fit_seconds=0.5 * len(model),
        predict_seconds=0.1,
        peak_memory_mb=None,
        hardware_id="0" * 12,
        catalog_hash="0" * 12,
        data_hash="",
        version="0.1.0",
    )
    return Result(**facts | changes)  # type: ignore[arg-type]


def rows_of(model: str, times: dict[str, float | None], **changes: object) -> list[Result]:
    """Three windows of each system, of which the middle one has the median, and other metrics."""
    rows = []
    for system, time in times.items():
        for window, factor in enumerate((1.0, 0.5, 1.0)):
            value = None if time is None else time * factor
            rows.append(row(model, system, value, window=window, **changes))
        error = None if time is None else 1 / (1 + time)
        of_errors = {"unit": "", "higher_is_better": False, "censored": None, "window": None}
        for metric, factor in (("nrmse_at_1", 1.0), ("nrmse_at_4", 3.0)):
            value = None if error is None else error * factor
            rows.append(row(model, system, value, metric=metric, **of_errors | changes))
        of_runs = of_errors | {"noise_floor": 0.0625, "metric": "kl_divergence"}
        rows.append(row(model, system, error, **of_runs | changes))
    return rows


def write_results(folder: Path) -> Path:
    """The folder, with reference rows of three models, and local ones of a hostile one."""
    for model, times in TIMES.items():
        path = folder / "reference" / "standard" / f"{model}.csv.gz"
        records.write_csv(path, rows_of(model, times))
    local = rows_of("esn", LOCAL, preset=HOSTILE_PRESET)
    records.write_csv(folder / "local" / "standard" / "esn.csv", local)
    return folder
