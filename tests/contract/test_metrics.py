"""What every metric must do, whoever wrote it; metrics are discovered, not listed."""

from __future__ import annotations

import inspect
import math
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import dysts_bench.metrics
from dysts_bench import metrics_page
from dysts_bench.metrics import METRICS, Facts, Metric, TooShort, base, find, score
from dysts_bench.metrics.base import SHAPES

KINDS = pytest.mark.parametrize("data", SHAPES)
ALL = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
WINDOWED = [metric for metric in METRICS.values() if metric.data == "windows"]
OVER_STATES = [metric for metric in METRICS.values() if metric.data != "exponents"]
STATES = pytest.mark.parametrize("metric", OVER_STATES, ids=lambda metric: metric.name)


def henon(windows: int, times: int, seed: int) -> np.ndarray:
    """(windows, times, 2) on the attractor of the Hénon map, Lyapunov time 1/0.419 steps."""
    x, y = np.random.default_rng(seed).uniform(-0.1, 0.1, (2, windows))
    states = []
    for _ in range(100 + times):
        x, y = 1 - 1.4 * x**2 + y, 0.3 * x
        states.append((x, y))
    return np.moveaxis(np.array(states[100:]), 2, 0)


TRUTH = {
    "windows": henon(5, 60, seed=1),
    "free_runs": henon(3, 1200, seed=2),
    "samples": henon(5, 60, seed=1),
    "exponents": np.array([[0.9, 0.0, -14.5], [0.4, 0.1, -0.6], [0.1, 0.0, -5.0]]),
}
TRAIN = henon(1, 2000, seed=3)
FACTS = Facts(dt=1.0, lyapunov_time=1 / 0.419, scale=TRAIN.std(axis=(0, 1)), train=TRAIN)


def perfect(metric: Metric) -> np.ndarray:
    truth = TRUTH[metric.data]
    return np.stack([truth] * 8) if metric.data == "samples" else truth.copy()


def worse_forecasts(data: str) -> dict[str, np.ndarray]:
    truth, rng = TRUTH[data], np.random.default_rng(4)
    if data == "exponents":
        return {
            "wilder": truth + 0.3,
            "calm": truth - 2,
            "equal": np.broadcast_to(0.2, truth.shape),
        }
    noise = rng.normal(size=truth.shape) * FACTS.scale
    cycle = np.cos(np.arange(truth.shape[1]) * np.array([[0.5], [0.5]])).T * FACTS.scale
    worse = {
        "late": np.roll(truth, 3, axis=1),
        "shuffled": rng.permuted(truth, axis=1),  # each coordinate in an order of its own
        "noisy": truth + noise,
        "noise": noise,
        "cycle": np.broadcast_to(cycle, truth.shape),
        "constant": np.broadcast_to(truth.mean(axis=1, keepdims=True), truth.shape),
    }
    if data == "free_runs":
        del worse["late"]  # an invariant has no phase to be late in
    if data == "samples":  # too sure of themselves
        spread = 0.01 * rng.normal(size=(8, *truth.shape)) * FACTS.scale
        worse = {kind: forecast + spread for kind, forecast in worse.items()}
    return worse


def better(metric: Metric, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a > b if metric.better == "higher" else a < b


def ideal(metric: Metric, truth: np.ndarray) -> float:
    return min(metric.ideal, metric.limit(truth, FACTS)) if metric.limit else metric.ideal


@ALL
def test_a_metric_says_what_it_is(metric: Metric) -> None:
    assert metric.description.endswith(".")
    assert metric.better in ("higher", "lower")
    assert metric.ideal > metric.worst if metric.better == "higher" else metric.ideal < metric.worst
    assert METRICS[metric.name] is metric
    modules = [part for part in vars(dysts_bench.metrics).values() if inspect.ismodule(part)]
    assert any(getattr(m, metric.function.__name__, None) is metric.function for m in modules)


def test_the_page_of_the_metrics_is_what_they_say_of_themselves() -> None:
    assert metrics_page.PAGE.read_text(encoding="utf-8") == metrics_page.page(), "`make docs`"


@ALL
def test_a_perfect_forecast_has_the_ideal_value(metric: Metric) -> None:
    truth = TRUTH[metric.data]
    np.testing.assert_allclose(
        metric(truth, perfect(metric), FACTS), ideal(metric, truth), rtol=0, atol=1e-12
    )


@ALL
def test_worse_forecasts_score_worse_than_perfect(metric: Metric) -> None:
    truth = TRUTH[metric.data]
    best = metric(truth, perfect(metric), FACTS)
    for kind, forecast in worse_forecasts(metric.data).items():
        values = metric(truth, forecast, FACTS)
        assert better(metric, best, values).all(), kind
        assert (np.abs(best - values) > 1e-6).all(), kind


@pytest.mark.parametrize("metric", WINDOWED, ids=lambda metric: metric.name)
def test_more_noise_scores_worse(metric: Metric) -> None:
    truth = TRUTH["windows"]
    noise = np.random.default_rng(5).normal(size=truth.shape) * FACTS.scale
    values = [np.median(metric(truth, truth + a * noise, FACTS)) for a in (0.01, 1.0, 10.0)]
    if metric.better == "higher":
        values = [-value for value in values]
    assert values == sorted(values) and values[0] < values[-1]


@ALL
def test_windows_are_scored_each_by_itself(metric: Metric) -> None:
    truth, forecast = TRUTH[metric.data], perfect(metric)
    forecast += 0.1 * np.random.default_rng(6).normal(size=forecast.shape)
    values = metric(truth, forecast, FACTS)
    assert values.shape == (len(truth),)
    for order in (np.random.default_rng(7).permutation(len(truth)), [0]):
        those = forecast[:, order] if metric.data == "samples" else forecast[order]
        np.testing.assert_array_equal(metric(truth[order], those, FACTS), values[order])


def in_other_units(factor: np.ndarray, offset: np.ndarray, data: str) -> tuple:
    """Truth, forecast and facts after x → factor · x + offset."""
    truth = TRUTH[data]
    shape = (8, *truth.shape) if data == "samples" else truth.shape
    forecast = truth + 0.1 * np.random.default_rng(8).normal(size=shape)
    facts = replace(FACTS, scale=FACTS.scale * factor, train=TRAIN * factor + offset)
    return truth * factor + offset, forecast * factor + offset, facts


@STATES
@pytest.mark.parametrize(
    ("invariance", "factor", "offset"),
    [("units", [8.0, 0.3], [0.0, 0.0]), ("origin", [1.0, 1.0], [3.0, -0.7])],
)
def test_declared_invariances_hold_and_no_others(
    metric: Metric, invariance: str, factor: list[float], offset: list[float]
) -> None:
    plain = metric(*in_other_units(np.ones(2), np.zeros(2), metric.data))
    changed = metric(*in_other_units(np.array(factor), np.array(offset), metric.data))
    same = np.allclose(plain, changed, rtol=1e-7, atol=1e-9)
    assert same == (invariance in metric.invariant)


def bad_forecasts(truth: np.ndarray) -> dict[str, tuple[np.ndarray, str]]:
    half_nan, leaving = truth.copy(), truth.copy()
    half_nan[:, truth.shape[1] // 2 :] = np.nan
    leaving += 10.0 ** np.minimum(np.arange(truth.shape[1]), 300)[:, None]
    return {
        "nan": (np.full_like(truth, np.nan), "nan"),
        "half nan": (half_nan, "nan"),
        "infinity": (np.full_like(truth, np.inf), "diverged"),
        "both infinities": (np.where(truth > 0, np.inf, -np.inf), "diverged"),
        "overflow": (np.full_like(truth, 1e300), "diverged"),
        "leaving": (leaving, "diverged"),
        "constant": (np.full_like(truth, 0.1), "ok"),
        "zero": (np.zeros_like(truth), "ok"),
    }


@pytest.mark.parametrize("data", ["windows", "free_runs", "samples"])
@pytest.mark.parametrize("kind", bad_forecasts(TRUTH["windows"]))
def test_bad_forecasts_have_declared_values_and_cost_no_row(data: str, kind: str) -> None:
    truth = TRUTH[data]
    forecast, status = bad_forecasts(truth)[kind]
    if data == "samples":
        forecast = np.stack([forecast] * 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = score(truth, forecast, FACTS, data=data)
    assert {s.metric.name for s in scores} == {m.name for m in METRICS.values() if m.data == data}
    for s in scores:
        expected = len(truth) if s.metric.per_window else 1
        assert len(s.values) == len(s.statuses) == len(s.censored) == expected
        assert not np.isnan(s.values).any(), s.metric.name
        assert s.status == status, s.metric.name
        assert bool(s.message) == (status != "ok")
        if kind in ("nan", "infinity", "both infinities"):
            assert set(s.values) == {s.metric.worst}, s.metric.name
        else:
            best = np.full(expected, ideal(s.metric, truth))
            assert better(s.metric, best, np.array(s.values)).all(), s.metric.name


@pytest.mark.parametrize(("bad", "status"), [(np.nan, "nan"), (np.inf, "diverged")])
def test_exponents_that_are_none_are_the_worst(bad: float, status: str) -> None:
    truth = TRUTH["exponents"]
    for s in score(truth, np.full_like(truth, bad), FACTS, data="exponents"):
        assert (s.value, s.status) == (s.metric.worst, status)


def test_one_bad_window_leaves_the_others_alone() -> None:
    truth = TRUTH["windows"]
    forecast = truth + 0.01
    forecast[2, 5] = np.nan
    for metric in WINDOWED:
        values = metric(truth, forecast, FACTS)
        others = np.delete(values, 2)
        kept = np.delete(truth, 2, axis=0), np.delete(forecast, 2, axis=0)
        np.testing.assert_allclose(others, metric(*kept, FACTS), rtol=1e-12)
    scores = {s.metric.name: s for s in score(truth, forecast, FACTS)}
    assert scores["valid_prediction_time"].statuses == ("ok", "ok", "nan", "ok", "ok")
    assert scores["mse"].message.startswith("1 of 5 forecasts")
    assert scores["mse"].value == pytest.approx(1e-4)


@pytest.mark.parametrize("data", ["windows", "free_runs", "samples"])
def test_too_short_data_is_a_row_with_its_reason(data: str) -> None:
    truth = TRUTH[data][:, :1]
    forecast = (truth + 0.1)[None] if data == "samples" else truth + 0.1
    for s in score(truth, forecast, replace(FACTS, train=None), data=data):
        assert s.status in ("ok", "unsupported"), s.message
        assert np.isnan(s.values).all() == bool(s.message) == (s.status == "unsupported")
        assert s.status == "unsupported" or data != "free_runs"


def test_floors_of_a_truth_are_found_once_for_all_models() -> None:
    truth = TRUTH["free_runs"]
    score(truth, np.roll(truth, 1, axis=0), FACTS, data="free_runs")
    before = base._floor.cache_info()
    again = score(truth, truth + 0.01, FACTS, data="free_runs")
    after = base._floor.cache_info()
    with_floor = sum(s.floor is not None for s in again)
    assert with_floor > 8
    assert (after.misses, after.hits) == (before.misses, before.hits + with_floor)


def test_a_horizon_in_the_name_scores_so_many_lyapunov_times() -> None:
    truth = TRUTH["windows"]
    forecast = truth + np.linspace(0, 1, truth.shape[1])[:, None]
    steps = round(4 / 0.419)
    for metric in (metric for metric in WINDOWED if metric.limit is None):
        expected = metric(truth[:, :steps], forecast[:, :steps], FACTS)
        np.testing.assert_array_equal(find(f"{metric.name}_at_4")(truth, forecast, FACTS), expected)
    with pytest.raises(TooShort, match="first 100 Lyapunov times are 239 steps"):
        find("mse_at_100")(truth, forecast, FACTS)
    names = ["mse_at_0.5", "mse_at_100", "kl_divergence"]
    half, far = score(truth, forecast, FACTS, metrics=names)
    assert (half.metric.name, half.value) == ("mse_at_0.5", 0.0)
    assert (far.metric.name, far.status) == ("mse_at_100", "unsupported")


@pytest.mark.parametrize("name", ["smap", "smape_at_0", "smape_at_x", "kl_divergence_at_1"])
def test_a_name_that_is_no_metric_is_refused(name: str) -> None:
    with pytest.raises((KeyError, ValueError), match=r"metric|horizon"):
        find(name)


def test_invariants_come_with_the_distance_between_true_runs() -> None:
    truth = TRUTH["free_runs"]
    for s in score(truth, np.roll(truth, -1, axis=0), FACTS, data="free_runs"):
        assert s.floor == s.value > 0, s.metric.name
        assert s.normalised == 1.0
    for s in score(truth, np.full_like(truth, np.nan), FACTS, data="free_runs"):
        assert s.normalised == 0.0
    for s in score(truth, np.full_like(truth, 0.1), FACTS, data="free_runs"):
        assert 0 <= s.normalised < 1, s.metric.name
    alone = score(truth[:1], truth[:1], FACTS, data="free_runs")
    assert [s.floor for s in alone] == [None] * len(alone)
    assert all(s.floor is None for s in score(TRUTH["windows"], TRUTH["windows"], FACTS))


def test_a_metric_that_breaks_is_its_own_row_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> np.ndarray:
        raise ZeroDivisionError("one over nothing")

    monkeypatch.setitem(METRICS, "mse", replace(METRICS["mse"], function=breaks))
    scores = {s.metric.name: s for s in score(TRUTH["windows"], TRUTH["windows"], FACTS)}
    assert (scores["mse"].status, scores["mse"].message) == (
        "crash",
        "ZeroDivisionError: one over nothing",
    )
    assert scores["mae"].value == 0.0


@ALL
def test_arrays_that_cannot_be_compared_are_refused(metric: Metric) -> None:
    truth, forecast = TRUTH[metric.data], perfect(metric)
    with pytest.raises(ValueError, match="one shape"):
        metric.function(truth, forecast[..., :-1], FACTS)
    with pytest.raises(ValueError, match="at least one of each"):
        metric.function(truth[..., :0], forecast[..., :0], FACTS)
    broken = truth.copy()
    broken[1, ..., 0] = np.inf
    with pytest.raises(ValueError, match="must be finite; got"):
        metric.function(broken, forecast, FACTS)
    if metric.data != "exponents":
        with pytest.raises(ValueError, match="each of the 1 coordinates"):
            metric.function(truth[..., :1], forecast[..., :1], FACTS)
        with pytest.raises(ValueError, match="inf at window 1, step 0, coordinate 0"):
            metric.function(broken, forecast, FACTS)


@pytest.mark.parametrize(
    "wrong", [{"dt": 0.0}, {"lyapunov_time": math.inf}, {"scale": np.array([1.0, 0.0])}]
)
def test_facts_refuse_units_that_are_none(wrong: dict) -> None:
    with pytest.raises(ValueError, match="positive, finite"):
        replace(FACTS, **wrong)


def test_facts_refuse_training_data_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"with the 2 coordinates .* got shape \(1, 2000, 1\)"):
        replace(FACTS, train=TRAIN[..., :1])


@ALL
def test_inputs_are_left_as_they_are(metric: Metric) -> None:
    truth, forecast = TRUTH[metric.data].copy(), perfect(metric)
    truth.flags.writeable = forecast.flags.writeable = False
    metric(truth, forecast, FACTS)


WIDE = st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1e150, -1e300, np.nan, np.inf, -np.inf])
TAME = st.floats(-3, 3) | st.just(0.0)


@settings(max_examples=60)
@given(arrays(float, (2, 9, 2), elements=TAME), arrays(float, (2, 9, 2), elements=WIDE))
def test_no_forecast_gives_nan_a_warning_or_more_than_ideal(
    truth: np.ndarray, forecast: np.ndarray
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for metric in WINDOWED:
            values = metric(truth, forecast, FACTS)
            low, high = sorted((metric.worst, ideal(metric, truth)))
            assert ((values >= low - 1e-9) & (values <= high + 1e-9)).all(), metric.name
            if (np.abs(forecast) <= 1e6).all():  # `worst` in place of NaN hides no 0/0 of our own
                with np.errstate(all="ignore"):
                    bare = metric.function.__wrapped__(*metric.cut(truth, forecast, FACTS), FACTS)
                assert not np.isnan(bare).any(), metric.name


def test_shapes_are_those_of_the_annotations() -> None:
    code = """
import numpy as np
from jaxtyping import install_import_hook

import dysts_bench, pkgutil

folder = [f"{path}/metrics" for path in dysts_bench.__path__]
files = [f"dysts_bench.metrics.{part.name}" for part in pkgutil.iter_modules(folder)]
with install_import_hook(files, "beartype.beartype"):
    from dysts_bench.metrics import Facts, score
truth = np.random.default_rng(0).normal(size=(3, 600, 2))
facts = Facts(dt=1.0, lyapunov_time=20.0, scale=np.ones(2), train=truth)
spectrum = np.array([[0.9, 0.0, -14.0]])
cases = {
    "windows": (truth, truth[::-1]),
    "free_runs": (truth, truth[::-1]),
    "samples": (truth, np.stack([truth, truth[::-1]])),
    "exponents": (spectrum, spectrum + 0.1),
}
for data, (x, y) in cases.items():
    for s in score(x, y, facts, data=data):
        print(s.metric.name, s.status, s.message)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {line.strip() for line in run.stdout.splitlines()} == {f"{name} ok" for name in METRICS}


def test_importing_the_metrics_loads_no_heavy_library() -> None:
    code = (
        "import sys, dysts_bench.metrics; "
        "print(*[m for m in ('numba', 'scipy', 'pandas', 'sympy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak from /proc")
def test_memory_is_linear_in_the_number_of_points() -> None:
    # 20 000 points: one matrix of their distances would take 3.2 GB, the runs take 1 MB.
    code = """
import re
import numpy as np
from dysts_bench.metrics import METRICS, Facts

def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1]) / 1024

rng = np.random.default_rng(0)
for times in (2000, 20_000):
    walk = np.sin(np.cumsum(rng.normal(size=(2, times, 3)), axis=1))
    facts = Facts(dt=1.0, lyapunov_time=30.0, scale=walk.std(axis=(0, 1)), train=walk)
    before = peak()
    for metric in METRICS.values():
        if metric.data in ("windows", "free_runs"):
            metric(walk[:1], walk[1:], facts)
print(peak() - before)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 200
