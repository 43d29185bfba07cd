"""Methods of darts through the adapter against darts called by hand, and the study's grids."""

import copy
import inspect
import logging
import random
import subprocess
import sys
from importlib.util import find_spec
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import solve_discrete_are

import models
from dysts_bench.cells import ModelSpec
from dysts_bench.executors import failure
from models._darts_methods import METHODS
from models.base import FitError
from models.checks import torus
from models.darts_adapter import class_name

darts = pytest.importorskip("darts")
darts_models = pytest.importorskip("darts.models")

TRAIN = torus(2, trajectories=2, times=240, seed=1)
VALIDATION = torus(2, trajectories=1, times=300, seed=2)
CONTEXT = torus(2, trajectories=3, times=120, seed=3)
NETWORKS = [name for name, method in METHODS.items() if method.family == "network"]


def series(x: np.ndarray) -> "darts.TimeSeries":
    return darts.TimeSeries.from_values(x)


def fitted(name: str, seed: int = 0, **hyperparameters: object) -> models.Forecaster:
    model = models.create(f"darts_{name}", **hyperparameters)
    return model.fit(TRAIN, dt=0.1, validation=VALIDATION, seed=seed)


def test_the_zoo_has_every_method_of_the_table() -> None:
    listed = {name: value for name, value in models.ZOO.items() if name.startswith("darts_")}
    assert listed == {
        f"darts_{name}": f"models.darts_adapter:{class_name(method)}"
        for name, method in METHODS.items()
    }
    assert len(set(listed.values())) == len(METHODS) >= 27


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        ("theta", {"season_mode": darts.utils.utils.SeasonalityMode.NONE}),
        ("fft", {"nr_freqs_to_keep": 10}),
    ],
)
def test_univariate_methods_are_fitted_to_each_coordinate_of_each_context(
    name: str, by_hand: dict[str, object]
) -> None:
    cls = getattr(darts_models, METHODS[name].darts_class)
    expected = [
        [
            cls(**by_hand).fit(series(window[:, [i]])).predict(30).values()[:, 0]
            for i in range(CONTEXT.shape[2])
        ]
        for window in CONTEXT
    ]
    forecast = fitted(name, **dict(METHODS[name].small)).predict(CONTEXT, 30)
    np.testing.assert_array_equal(forecast, np.swapaxes(expected, 1, 2))


def test_multivariate_methods_are_fitted_to_each_context_as_a_whole() -> None:
    forecast = fitted("naive_seasonal", K=7).predict(CONTEXT, 30)
    model = darts_models.NaiveSeasonal(K=7)
    expected = [model.fit(series(window)).predict(30).values() for window in CONTEXT]
    np.testing.assert_array_equal(forecast, expected)


def test_what_is_fitted_to_contexts_learns_nothing_from_training_data() -> None:
    model = models.create("darts_four_theta")
    assert model.zero_shot and not models.create("darts_fft").zero_shot  # which chooses
    one = model.fit(TRAIN, dt=0.1).predict(CONTEXT, 10)
    other = model.fit(3 * TRAIN[:, :100] + 1, dt=0.3, seed=1).predict(CONTEXT, 10)
    np.testing.assert_array_equal(one, other)


def test_an_arima_of_each_coordinate_is_fitted_once_and_filters_contexts() -> None:
    forecast = fitted("arima", p=3).predict(CONTEXT, 20)
    for i in range(2):
        by_hand = darts_models.ARIMA(p=3, d=0, q=0).fit(series(TRAIN[0][:, [i]]))
        for window, own in zip(CONTEXT, forecast, strict=True):
            expected = by_hand.predict(20, series=series(window[:, [i]])).values()[:, 0]
            np.testing.assert_allclose(own[:, i], expected, rtol=1e-9)


def test_a_kalman_filter_is_fitted_once_to_all_coordinates() -> None:
    model = fitted("kalman", dim_x=5)
    by_hand = darts_models.KalmanForecaster(dim_x=5).fit(series(TRAIN[0]))
    # Of longer ones darts' own filter makes 1e-6 of a last bit of the data, now and then 1e-4.
    short = CONTEXT[:, :4]
    expected = [by_hand.predict(20, series=series(window)).values() for window in short]
    np.testing.assert_allclose(model.predict(short, 20), expected, atol=1e-6)


def test_a_kalman_filter_survives_long_contexts() -> None:
    """As darts has it, the covariance is 1e285 here. The oracle: that of the Riccati equation."""
    long = torus(2, trajectories=1, times=1000, seed=6)
    long = long + 0.01 * np.random.default_rng(0).standard_normal(long.shape)
    model = models.create("darts_kalman", dim_x=8).fit(long, dt=0.1)
    [forecaster] = model.fitted_.models
    kalman = copy.deepcopy(forecaster.darts_kf.kf)
    for state in long[0]:
        kalman.step(state[:, None], np.zeros((0, 1)))
    a, c = kalman.state_space.a, kalman.state_space.c
    settled = solve_discrete_are(a.T, c.T, kalman.q, kalman.r, s=kalman.s)
    np.testing.assert_allclose(kalman.p_predicteds[-1], settled, atol=1e-6 * abs(settled).max())
    assert np.abs(model.predict(long[:, :800], 20)[0] - long[0, 800:820]).max() < 0.1


def test_filters_see_the_newest_points_of_long_data() -> None:
    long = torus(1, trajectories=1, times=2300, seed=5)
    model = models.create("darts_arima", p=1).fit(long, dt=0.1)
    by_hand = darts_models.ARIMA(p=1, d=0, q=0).fit(series(long[0, -2000:]))
    expected = by_hand.predict(5, series=series(long[0, :100])).values()
    np.testing.assert_allclose(model.predict(long[:, :100], 5)[0], expected, rtol=1e-9)


def test_regressions_learn_from_all_trajectories_and_run_on_in_blocks() -> None:
    model = fitted("linear_regression", lags=6)
    by_hand = darts_models.LinearRegressionModel(lags=6).fit([series(x) for x in TRAIN])
    expected = by_hand.predict(250, series=[series(window) for window in CONTEXT])
    forecast = model.predict(CONTEXT, 250)
    np.testing.assert_allclose(forecast, [each.values() for each in expected], atol=1e-7)
    assert model.parameters_ == 6 * 2 * 2 + 2
    assert model.context_needed_ == 6


def test_a_random_forest_is_that_of_its_seed() -> None:
    settings = {"lags": 4, "n_estimators": 3, "output_chunk_length": 5}
    by_hand = darts_models.RandomForestModel(random_state=7, **settings)
    by_hand.fit([series(x) for x in TRAIN])
    expected = by_hand.predict(20, series=[series(window) for window in CONTEXT])
    forecast = fitted("random_forest", seed=7, **settings).predict(CONTEXT, 20)
    np.testing.assert_array_equal(forecast, [each.values() for each in expected])


def test_a_network_is_what_darts_trains_with_these_arguments() -> None:
    pytest.importorskip("pytorch_lightning")
    settings = {"num_stacks": 2, "layer_widths": 8, "input_chunk_length": 8, "batch_size": 64}
    ours = fitted(
        "nbeats",
        seed=3,
        **settings,
        output_chunk_length=4,
        n_epochs=2,
        updates=None,
        learning_rate=None,
        device="cpu",
    )
    trainer = {"accelerator": "cpu", "enable_progress_bar": False, "logger": False}
    trainer |= {"enable_checkpointing": False, "enable_model_summary": False}
    by_hand = darts_models.NBEATSModel(
        **settings, output_chunk_length=4, n_epochs=2, random_state=3, pl_trainer_kwargs=trainer
    )
    by_hand.fit([series(x.astype(np.float32)) for x in TRAIN])
    contexts = [series(window.astype(np.float32)) for window in CONTEXT]
    expected = by_hand.predict(20, series=contexts)
    forecast = ours.predict(CONTEXT, 20)
    np.testing.assert_allclose(forecast, [each.values() for each in expected], rtol=1e-5)
    assert ours.parameters_ == sum(p.numel() for p in by_hand.model.parameters())
    # a horizon that is not made of whole chunks, which darts would forecast otherwise
    np.testing.assert_allclose(ours.predict(CONTEXT, 18), forecast[:, :18], rtol=1e-5)


def test_updates_are_counted_and_their_rate_falls_to_zero() -> None:
    pytest.importorskip("pytorch_lightning")
    model = fitted("nlinear", **dict(METHODS["nlinear"].small) | {"updates": 7})
    trainer = model.fitted_.model.trainer
    assert trainer.global_step == 7
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-12)


# What find_hyperparameters_multivariate.py and, for the univariate ones, classical_benchmarks.py of
# the study search, at 100 points in a period.
# (LightGBM is commented out there.)
LAGS, INPUTS, SEASONS = [3, 5, 10, 25], [5, 10, 25, 50, 100], ["ADDITIVE", "NONE"]
NETWORK = {"input_chunk_length": INPUTS, "output_chunk_length": [1]}
STUDY = {
    "RNNModel": {**NETWORK, "model": ["LSTM"], "n_rnn_layers": [2], "n_epochs": [200]},
    "RandomForestModel": {"lags": LAGS},
    "NLinearModel": NETWORK,
    "KalmanForecaster": {},
    "DLinearModel": NETWORK,
    "BlockRNNModel": NETWORK,
    "XGBModel": {"lags": LAGS},
    "LinearRegressionModel": {"lags": LAGS},
    "NHiTSModel": NETWORK,
    "NBEATSModel": NETWORK,
    "TCNModel": NETWORK,
    "TransformerModel": NETWORK,
    "LightGBMModel": {"lags": LAGS},
    "ARIMA": {"p": LAGS},
    "ExponentialSmoothing": {"seasonal": SEASONS},
    "FourTheta": {"season_mode": SEASONS},
    "Theta": {"season_mode": SEASONS},
    "AutoARIMA": {},
    "FFT": {},
    "NaiveDrift": {},
    "NaiveMean": {},
    "NaiveSeasonal": {},
    "Prophet": {},
}
OF_STUDY = {name: method for name, method in METHODS.items() if method.study is not None}


def test_the_preset_has_the_methods_of_the_study() -> None:
    assert {method.darts_class for method in OF_STUDY.values()} == set(STUDY)
    for name, method in METHODS.items():
        assert ("gilpin2023" in models.presets(f"darts_{name}")) == (name in OF_STUDY), method


# a seed; threads and silence; a trainer without files; Adam in one kernel, as it is otherwise;
# sequences as long as darts asks for
OURS = {"random_state", "n_jobs", "verbose", "pl_trainer_kwargs", "optimizer_kwargs"}
OURS |= {"training_length"}


@pytest.mark.parametrize("name", OF_STUDY)
def test_the_preset_tries_the_published_candidates_and_leaves_the_rest_to_darts(name: str) -> None:
    model = models.create(f"darts_{name}:gilpin2023")
    if not all(map(find_spec, model.libraries)):
        pytest.skip("a library is not installed")
    from models import _darts

    assert model.raw_units and model.by_continuation
    grid = dict(STUDY[model.method.darts_class])
    if name == "lstm":
        del grid["output_chunk_length"]  # always one step
    tried = []
    for chosen in model._candidates():
        made = _darts._model(model.method, model._with(chosen), seed=4)
        known = defaults(made)
        given = {key: getattr(v, "name", v) for key, v in made.model_params.items()}
        assert "max_steps" not in given.get("pl_trainer_kwargs", {})
        assert given.get("optimizer_kwargs", {"fused": True}) == {"fused": True}
        changed = {k for k, v in given.items() if k not in OURS and v != known.get(k)}
        tried.append({key: given[key] for key in changed | set(grid)})
    assert tried == [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def defaults(made: object) -> dict[str, object]:
    """What the arguments of a darts class are if they are not given."""
    functions = [cls.__init__ for cls in type(made).__mro__ if "__init__" in vars(cls)]
    if type(made).__name__ == "AutoARIMA":
        functions.append(type(made.model).__init__)  # statsforecast's, to which they are passed
    parameters = [p for f in reversed(functions) for p in inspect.signature(f).parameters.values()]
    theirs = {"n_estimators": 100}  # of XGBoost and LightGBM, which are passed all arguments
    return theirs | {p.name: getattr(p.default, "name", p.default) for p in parameters}


def test_the_studys_lstm_learns_from_24_points_or_as_many_as_its_input_has() -> None:
    pytest.importorskip("pytorch_lightning")
    from models import _darts

    model = models.create("darts_lstm:gilpin2023")
    lengths = {}
    for chosen in model._candidates():
        made = _darts._model(model.method, model._with(chosen), seed=0)
        lengths[chosen["input_chunk_length"]] = made.model_params["training_length"]
    assert lengths == {5: 24, 10: 24, 25: 25, 50: 50, 100: 100}


def test_the_preset_chooses_by_the_smape_of_one_forecast_of_the_last_sixth() -> None:
    rng = np.random.default_rng(0)
    whole = VALIDATION + 0.1 * rng.standard_normal(VALIDATION.shape)
    errors = {}
    for lags in LAGS:
        by_hand = darts_models.LinearRegressionModel(lags=lags).fit(series(whole[0, :250]))
        forecast = by_hand.predict(50)
        truth = darts.TimeSeries.from_times_and_values(forecast.time_index, whole[0, 250:])
        errors[lags] = darts.metrics.smape(truth, forecast)
    best, second = sorted(errors.values())[:2]
    assert second > 1.01 * best
    model = models.create("darts_linear_regression:gilpin2023")
    model.fit(TRAIN, dt=0.1, validation=whole)
    assert model.chosen_ == {"lags": min(errors, key=errors.__getitem__)}
    assert model.settled().lags == model.chosen_["lags"]
    by_hand = darts_models.LinearRegressionModel(**model.chosen_)
    by_hand.fit([series(x) for x in TRAIN])
    expected = by_hand.predict(20, series=series(CONTEXT[0])).values()
    np.testing.assert_allclose(model.predict(CONTEXT[:1], 20)[0], expected, atol=1e-9)


def test_the_default_chooses_by_free_runs() -> None:
    t = np.arange(600)
    wave = np.sin(2 * np.pi * (t + np.array([[0.0], [7.0]])) / 30)[:, :, None]
    model = models.create("darts_naive_seasonal").fit(wave[:1], dt=0.1, validation=wave[1:])
    assert model.chosen_["K"] % 30 == 0
    np.testing.assert_allclose(model.predict(wave[:1, :200], 100), wave[:1, 200:300], atol=1e-9)


def test_a_forecast_that_diverges_is_nan_and_raises_nothing() -> None:
    growing = 1.1 ** np.arange(60)[None, :, None] * np.array([1.0, 2.0])
    model = models.create("darts_linear_regression", lags=1).fit(growing, dt=0.1)
    forecast = model.predict(growing[:, :20], 9000)  # 1.1^9000 is no float64
    steps = int(np.isfinite(forecast[0, :, 0]).sum())
    assert steps == sum(2 * 1.1 ** (19 + step) < 1e3 for step in range(1, 100))
    assert np.isnan(forecast[0, steps:]).all()


def test_trajectories_too_short_for_every_candidate_are_refused() -> None:
    short = TRAIN[:, :12]
    with pytest.raises(FitError, match="needs trajectories of 27 times, got 12"):
        models.create("darts_linear_regression", lags=25).fit(short, dt=0.1)
    model = models.create("darts_linear_regression", lags=(3, 25))
    assert model.fit(short, dt=0.1, validation=VALIDATION).chosen_ == {"lags": 3}


def test_a_candidate_that_breaks_off_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(self: object, *args: object, **kwargs: object) -> object:
        if self.order[0] == 3:  # type: ignore[attr-defined]
            raise np.linalg.LinAlgError("LU decomposition error.")
        return works(self, *args, **kwargs)

    works = darts_models.ARIMA.fit
    monkeypatch.setattr(darts_models.ARIMA, "fit", fit)
    assert fitted("arima", p=(3, 1)).chosen_ == {"p": 1}
    whole = models.create("darts_arima", p=(3, 1), by_continuation=True)
    assert whole.fit(TRAIN, dt=0.1, validation=VALIDATION).chosen_ == {"p": 1}
    with pytest.raises(FitError, match=r"ARIMA cannot be fitted.*LU decomposition"):
        fitted("arima", p=3)


def test_a_window_that_breaks_off_is_nan_and_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fit(self: object, given: "darts.TimeSeries") -> object:
        if given.values()[0, 0] == CONTEXT[1, 0, 0]:
            raise np.linalg.LinAlgError("Singular matrix")
        return works(self, given)

    expected = fitted("theta").predict(CONTEXT, 5)
    works = darts_models.Theta.fit
    monkeypatch.setattr(darts_models.Theta, "fit", fit)
    forecast = fitted("theta").predict(CONTEXT, 5)
    assert np.isnan(forecast[1]).all()
    np.testing.assert_array_equal(forecast[[0, 2]], expected[[0, 2]])


@pytest.mark.parametrize(
    ("name", "library", "extra"),
    [
        ("theta", "darts", "darts"),
        ("auto_arima", "statsforecast", "darts"),
        ("xgboost", "xgboost", "darts"),
        ("nbeats", "pytorch_lightning", "darts"),
        ("prophet", "prophet", "prophet"),
    ],
)
def test_without_a_library_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, name: str, library: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    model = type(models.create(f"darts_{name}")).small()
    with pytest.raises(ImportError, match=rf"{library}.*pip install 'dysts-bench\[{extra}\]'") as e:
        model.fit(TRAIN, dt=0.1)
    assert failure(e.value).status == "unsupported"  # what the harness makes of it


def test_listing_the_methods_loads_neither_darts_nor_torch() -> None:
    code = (
        "import sys, models\n"
        "for name in models.names():\n"
        "    model = models.create(name) if name.startswith('darts_') else None\n"
        "sys.stdout.write(' '.join(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "models.darts_adapter" in loaded
    assert not loaded & {"darts", "torch", "sklearn", "statsmodels"}


def states() -> list[str]:
    torch = pytest.importorskip("torch")
    numbers, other = np.random.get_state(legacy=False), random.getstate()
    return [repr(numbers), repr(other), repr(torch.get_rng_state().tolist())]


@pytest.mark.parametrize("name", ["fft", "random_forest", "nlinear"])
def test_nothing_is_printed_or_written_and_global_random_states_stay(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if name == "nlinear":
        pytest.importorskip("pytorch_lightning")
    monkeypatch.chdir(tmp_path)
    before, level = states(), logging.root.manager.disable
    fitted(name, **dict(METHODS[name].small)).predict(CONTEXT, 10)
    assert states() == before and logging.root.manager.disable == level
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_hyperparameters_of_the_command_line_are_arguments_and_candidates() -> None:
    model = ModelSpec.parse("darts_linear_regression(lags=[2, 4, 8])").create()
    assert [chosen["lags"] for chosen in model._candidates()] == [2, 4, 8]
    assert model._with({"lags": 2}) == {"lags": 2, "output_chunk_length": 1}


def test_combinations_of_candidates_are_all_tried() -> None:
    model = models.create("darts_xgboost", lags=(1, 2), n_estimators=(10, 20, 30))
    pairs = [(chosen["lags"], chosen["n_estimators"]) for chosen in model._candidates()]
    assert pairs == [(lags, trees) for lags in (1, 2) for trees in (10, 20, 30)]
    assert all(one < other for one, other in pairwise(pairs))
