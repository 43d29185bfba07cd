"""The numbers behind the plots against scipy, textbooks and the catalog."""

import numpy as np
import pytest
from scipy import signal
from test_cli import TINY

import systems
from dysts_bench import portraits
from dysts_bench.cells import Cell, ModelSpec, evaluate
from dysts_bench.forecasts import write_forecasts
from dysts_bench.store import Store
from dysts_bench.task import clock, load, read_suite, tasks


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DYSTS_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def test_the_plane_is_that_of_the_two_largest_variances():
    rng = np.random.default_rng(0)
    run = rng.normal(size=(500, 1)) @ rng.normal(size=(1, 4)) + rng.normal(size=(500, 4)) * 0.4
    seen = portraits.plane(run, lag=1)
    variances = np.linalg.eigvalsh(np.corrcoef(run.T))[::-1]
    np.testing.assert_allclose(seen.var(axis=0), variances[:2])
    np.testing.assert_allclose(portraits.plane(run * [1, 5, 2, 9] + 3, lag=1), seen, atol=1e-9)


def test_two_coordinates_are_themselves_and_one_is_seen_against_its_past():
    run = np.random.default_rng(1).normal(size=(20, 2))
    assert portraits.plane(run, lag=3) is run
    seen = portraits.plane(run[:, :1], lag=3)
    np.testing.assert_array_equal(seen[:, 0], run[:-3, 0])
    np.testing.assert_array_equal(seen[:, 1], run[3:, 0])


def test_lorenzs_maxima_are_his_cusp():
    name, tops = portraits.successive_maxima("Lorenz")
    assert name == "z" and len(tops) > 300 and tops.min() > 29 and tops.max() < 48.5
    before, after = tops[:-1], tops[1:]
    order = np.argsort(before)
    before, after = before[order], after[order]
    cusp = before[after.argmax()]
    assert 38 < cusp < 39  # Lorenz 1963, figure 4
    left = before < cusp - 0.5
    assert (np.diff(after[left]) > -0.1).all()  # one curve: rising, then falling
    assert (np.diff(after[before > cusp + 0.5]) < 0.1).all()
    with pytest.raises(ValueError, match="it has x, y, z"):
        portraits.successive_maxima("Lorenz", "w")


def test_power_is_scipys_welch_and_rosslers_is_where_he_turns():
    frequencies, power = portraits.power("Rossler", periods=400)
    np.testing.assert_allclose(power.sum(axis=0), 1.0)
    turn = systems.load("Rossler").period / frequencies[power[:, 0].argmax()]
    assert turn == pytest.approx(5.86, rel=0.02)  # time of one turn at a = b = 0.2, c = 5.7
    run = portraits.orbit("Rossler", periods=400)
    length = len(run) // 8
    window = np.sin(np.pi * np.arange(length) / length) ** 2
    theirs, welch = signal.welch(
        run[:, 0], 100.0, window, nperseg=length, noverlap=length // 2, detrend="constant"
    )
    np.testing.assert_allclose(frequencies, theirs)
    inside = power[:, 0] > 1e-10  # below, both round
    ratio = power[inside, 0] / welch[inside]
    np.testing.assert_allclose(ratio, np.median(ratio), rtol=1e-6)


def test_exponents_come_nearer_to_the_catalogs_with_length():
    found = portraits.exponents("Lorenz", lengths=[20, 400])
    lorenz = systems.load("Lorenz")
    assert [s.length / lorenz.period for s in found] == pytest.approx([20, 400])
    assert found[1].errors[0] < 0.5 * found[0].errors[0]
    assert abs(found[1].exponents[0] - lorenz.lyapunov_spectrum[0]) < 4 * found[1].errors[0]


@pytest.fixture
def suite(tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY)
    return read_suite(tmp_path / "tiny.toml")


def test_forecasts_of_models_fitted_now_lie_beside_the_truth(suite, tmp_path):
    found = portraits.forecasts(
        suite, "Lorenz", ["persistence", "drift"], window=1, results=tmp_path, past=0.5
    )
    [task] = tasks(suite, ["Lorenz"])
    windows, time = load(task), clock(task)
    future = windows.in_units(windows.truth[1])
    steps = len(found.truth) - len(future)
    np.testing.assert_array_equal(found.truth[steps:], future)
    last = windows.in_units(windows.contexts[1, -1])
    np.testing.assert_array_equal(found.truth[steps - 1], last)
    assert found.times[steps - 1] == 0.0
    assert np.diff(found.times) == pytest.approx(time.dt / time.unit)
    assert -0.5 <= found.times[0] < -0.4
    np.testing.assert_allclose(found.forecasts["persistence"], np.tile(last, (len(future), 1)))
    rows = evaluate(windows, ModelSpec.parse("drift").create(), 0, ["valid_prediction_time"])
    by_window = {m.window: m.value for m in rows.measurements}
    assert found.valid["drift"] == by_window[1]
    with pytest.raises(ValueError, match="windows go from 0 to 2; 3 arrived"):
        portraits.forecasts(suite, "Lorenz", ["drift"], window=3, results=tmp_path)


def test_kept_forecasts_are_shown_without_a_fit(suite, tmp_path):
    [task] = tasks(suite, ["Lorenz"])
    windows = load(task)
    store = Store(tmp_path / "local" / suite.name)
    kept = np.full(windows.truth.shape, 7.0)
    write_forecasts(store.forecasts(Cell(task, ModelSpec("drift"), 0)), "any", {"windows": kept})
    found = portraits.forecasts(suite, "Lorenz", ["drift"], results=tmp_path)
    assert (found.forecasts["drift"] == 7.0).all()
