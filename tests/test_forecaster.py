"""The interface: what fit and predict refuse, how a divergence ends, how models are found."""

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

import models
from models._tangent import growth_rates
from models.base import (
    DIVERGED,
    Differentiable,
    FitError,
    Forecast,
    Forecaster,
    Sampler,
    Samples,
    States,
    Tangents,
    Trajectories,
    Windows,
    end_at_divergence,
)

TRAIN = np.random.default_rng(0).standard_normal((2, 50, 3))


@dataclass(kw_only=True)
class Doubling(Forecaster):
    """Doubles the last state at every step; needs two steps of context."""

    factor: float = 2.0

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        if self.factor < 0:
            raise models.FitError("as told")
        self.context_needed_ = 2
        self.chosen_ = {"rows": np.int64(len(train)), "shape": train.shape[:2]}

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return context[:, -1:] * self.factor ** np.arange(1, horizon + 1)[:, None]

    @classmethod
    def small(cls) -> "Doubling":
        return cls()


def test_a_forecast_is_nan_from_its_divergence_on() -> None:
    model = Doubling().fit(TRAIN, dt=0.1)
    context = np.ones((2, 5, 3))
    context[1] = 0.0
    context[0, -1] = [1.0, 0.5, 0.0]
    forecast = model.predict(context, 20)
    np.testing.assert_array_equal(forecast[0, :9, 0], 2.0 ** np.arange(1, 10))  # 2^9 < 1e3 < 2^10
    assert np.isnan(forecast[0, 9:]).all()  # every coordinate: a state is lost as a whole
    np.testing.assert_array_equal(forecast[1], 0.0)


def test_nothing_comes_back_from_a_divergence() -> None:
    forecast = np.ones((1, 4, 2))
    forecast[0, 1, 0] = -DIVERGED
    np.testing.assert_array_equal(end_at_divergence(forecast)[0, :, 1], [1, np.nan, np.nan, np.nan])


class Growing(Doubling, Sampler, Differentiable):
    """Sample i is i + 1 times the forecast; tangents grow by `factor`, as states do."""

    def _sample(self, context: Windows, horizon: int, samples: int, seed: int) -> Samples:
        factors = np.arange(1, samples + 1).reshape(-1, 1, 1, 1)
        return factors * self._predict(context, horizon)

    def _state(self, context: Windows) -> States:
        return context[:, -1].copy()

    def _advance(self, state: States, tangents: Tangents) -> tuple[States, Tangents]:
        return self.factor * state, self.factor * tangents


def test_a_sample_is_nan_from_its_own_divergence_on() -> None:
    model = Growing().fit(TRAIN, dt=0.1)
    samples = model.sample(np.ones((2, 5, 3)), 12, 3)
    assert samples.shape == (3, 2, 12, 3)
    for i in range(3):  # (i + 1) · 2^t < 1000
        inside = (i + 1) * 2.0 ** np.arange(1, 13) < DIVERGED
        np.testing.assert_array_equal(np.isfinite(samples[i]).all(axis=(0, 2)), inside)
        np.testing.assert_array_equal(samples[i, 0, 0], 2.0 * (i + 1))


def test_sample_refuses_what_predict_refuses() -> None:
    with pytest.raises(RuntimeError, match="not fitted"):
        Growing().sample(TRAIN, 3, 2)
    model = Growing().fit(TRAIN, dt=0.1)
    with pytest.raises(ValueError, match="fitted to dim 3"):
        model.sample(TRAIN[:, :, :2], 3, 2)
    with pytest.raises(ValueError, match="horizon is a number of steps and at least 1, got 0"):
        model.sample(TRAIN, 0, 2)
    with pytest.raises(ValueError, match="samples is a number of forecasts and at least 1, got 0"):
        model.sample(TRAIN, 3, 0)


def test_samples_of_another_shape_are_the_models_mistake() -> None:
    class Flat(Growing):
        def _sample(self, context: Windows, horizon: int, samples: int, seed: int) -> Samples:
            return self._predict(context, horizon)

    with pytest.raises(RuntimeError, match=r"Flat\._sample returned \(2, 3, 3\), expected \(4, 2"):
        Flat().fit(TRAIN, dt=0.1).sample(TRAIN, 3, 4)


def test_exponents_are_per_unit_of_system_time() -> None:
    model = Growing(factor=0.8).fit(TRAIN, dt=0.1)
    exponents = model.lyapunov_exponents(TRAIN, 50, 3)
    np.testing.assert_allclose(exponents, np.full((2, 3), np.log(0.8) / 0.1), rtol=1e-12)


def test_directions_that_a_model_does_not_have_are_minus_infinity() -> None:
    model = Growing(factor=0.8).fit(TRAIN, dt=0.1)
    exponents = model.lyapunov_exponents(TRAIN, 50, 5)
    assert np.isneginf(exponents[:, 3:]).all() and np.isfinite(exponents[:, :3]).all()


def test_a_run_that_diverges_has_no_exponents_and_the_others_keep_theirs() -> None:
    model = Growing(factor=1.05).fit(TRAIN, dt=1.0)
    context = np.full((2, 4, 3), 1.0)
    context[1] = 1e-3
    exponents = model.lyapunov_exponents(context, 150, 2)  # 1.05^180 = 6500
    assert np.isnan(exponents[0]).all()
    np.testing.assert_allclose(exponents[1], np.log(1.05), rtol=1e-12)


def test_exponents_refuse_what_predict_refuses() -> None:
    with pytest.raises(RuntimeError, match="not fitted"):
        Growing().lyapunov_exponents(TRAIN, 10, 1)
    with pytest.raises(ValueError, match="count is a number of exponents and at least 1, got 0"):
        Growing().fit(TRAIN, dt=0.1).lyapunov_exponents(TRAIN, 10, 0)


def test_growth_rates_of_a_constant_matrix_are_its_eigenvalues() -> None:
    mix = np.random.default_rng(0).normal(size=(4, 4))
    matrix = mix @ np.diag([1.5, -0.7, 0.1, 0.0]) @ np.linalg.inv(mix)
    rates = growth_rates(lambda s, t: (s, matrix @ t), np.zeros((2, 4)), 1, 300, 4, 1e3)
    # vectors align by a factor of 2 a step or more, for 60 steps before any counts
    np.testing.assert_allclose(rates[:, :3], np.tile(np.log([1.5, 0.7, 0.1]), (2, 1)), atol=1e-10)
    assert (rates[:, 3] < -20).all()  # −inf but for rounding


@pytest.mark.parametrize(
    ("train", "rule"),
    [
        (TRAIN[0], r"train must be a non-empty array \(trajectories, times, dim\).*\(50, 3\)"),
        (TRAIN[:, :1], "at least 2 times"),
        (TRAIN[:0], "non-empty"),
        (np.where(np.isclose(TRAIN, TRAIN[1, 7, 2]), np.nan, TRAIN), r"train\[1, 7, 2\] is nan"),
    ],
)
def test_fit_refuses_bad_training_data(train: np.ndarray, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Doubling().fit(train, dt=0.1)


def test_fit_refuses_bad_validation_and_dt() -> None:
    with pytest.raises(ValueError, match="validation has 2 dimensions, train 3"):
        Doubling().fit(TRAIN, dt=0.1, validation=TRAIN[:, :, :2])
    with pytest.raises(ValueError, match="dt is the sampling interval"):
        Doubling().fit(TRAIN, dt=0.0)


def test_predict_refuses_what_does_not_fit() -> None:
    with pytest.raises(RuntimeError, match="not fitted"):
        Doubling().predict(TRAIN, 3)
    model = Doubling().fit(TRAIN, dt=0.1)
    with pytest.raises(ValueError, match="fitted to dim 3"):
        model.predict(TRAIN[:, :, :2], 3)
    with pytest.raises(ValueError, match="needs 2 steps of context, got 1"):
        model.predict(TRAIN[:, :1], 3)
    with pytest.raises(ValueError, match="horizon"):
        model.predict(TRAIN, 0)


def test_a_failed_fit_leaves_no_earlier_one_behind() -> None:
    model = Doubling().fit(TRAIN, dt=0.1)
    model.factor = -1.0
    with pytest.raises(models.FitError):
        model.fit(TRAIN, dt=0.1)
    with pytest.raises(RuntimeError, match="not fitted"):
        model.predict(TRAIN, 3)


def test_hyperparameters_are_fields_and_what_was_chosen_as_json() -> None:
    model = Doubling(factor=3.0)
    assert models.hyperparameters(model) == {"factor": 3.0}
    model.fit(TRAIN, dt=0.1)
    assert models.hyperparameters(model) == {
        "factor": 3.0,
        "chosen": {"rows": 2, "shape": [2, 50]},
    }


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (models.create("persistence"), None),
        (models.create("analog", neighbours=(2,)), None),  # it keeps the data
        (models.create("linear", lags=(2,)), 2 * 3 * 3 + 3),
        (models.create("esn", units=20), (20 + 3 + 1) * 3),
    ],
)
def test_fitted_numbers_are_counted_and_recorded(model: Forecaster, count: int | None) -> None:
    assert "parameters" not in models.hyperparameters(model)
    model.fit(TRAIN, dt=0.1)
    assert model.parameters_ == count
    assert models.hyperparameters(model).get("parameters") == count


def test_numbers_that_json_lacks_are_recorded_as_words() -> None:
    model = Doubling(factor=float("inf"))
    assert json.loads(json.dumps(models.hyperparameters(model), allow_nan=False)) == {
        "factor": "inf"
    }


@pytest.mark.parametrize("name", models.self_contained())
def test_recorded_hyperparameters_make_the_same_model(name: str) -> None:
    recorded = models.hyperparameters(models.create(name))
    assert models.hyperparameters(models.create(name, **recorded)) == recorded


def test_create_knows_presets_and_lets_hyperparameters_win() -> None:
    assert models.create("esn:gilpin2023").degree == 50
    assert models.create("esn:gilpin2023", degree=7).degree == 7
    assert models.create("nvar:tuned") == models.create("nvar")
    assert "gauthier2021" in models.presets("nvar")


@pytest.mark.parametrize(
    ("name", "given", "hint"),
    [
        ("nvra", {}, "no model is called 'nvra'. Did you mean nvar"),
        ("esn:gilpin", {}, "no preset of esn is called 'gilpin'. Did you mean gilpin2023"),
        ("esn", {"unit": 3}, "no hyperparameter of esn is called 'unit'. Did you mean units"),
        (
            "persistence",
            {"zzz": 3},
            "no hyperparameter of persistence is called 'zzz'. Known: none",
        ),
    ],
)
def test_create_names_what_comes_closest(name: str, given: dict[str, int], hint: str) -> None:
    with pytest.raises(ValueError) as error:
        models.create(name, **given)
    assert hint in str(error.value)


OWN_MODEL = """
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models import Forecaster


@dataclass(kw_only=True)
class Constant(Forecaster):
    value: float = 1.0

    def _fit(self, train, *, dt, validation, seed) -> None:
        pass

    def _predict(self, context, horizon):
        return np.full((len(context), horizon, context.shape[2]), self.value)

    @classmethod
    def small(cls):
        return cls()
"""


def test_a_model_is_loaded_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(OWN_MODEL)
    model = models.create(f"{path}:Constant", value=4.0).fit(TRAIN, dt=0.1)
    np.testing.assert_array_equal(model.predict(TRAIN, 2), 4.0)
    with pytest.raises(ValueError, match="Did you mean Constant"):
        models.load_class(f"{path}:Constan")
    with pytest.raises(ValueError, match="no file"):
        models.load_class(f"{tmp_path / 'other.py'}:Constant")
    with pytest.raises(ValueError, match=r"file\.py:Class"):
        models.load_class("nvar")


def test_entry_points_join_the_zoo_but_cannot_replace_it(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("theirs", "models.baselines:Drift", models.ENTRY_POINTS),
        EntryPoint("nvar", "models.baselines:Drift", models.ENTRY_POINTS),
    ]
    monkeypatch.setattr(models, "entry_points", lambda group: points)
    assert models.names() == [*models.ZOO, "theirs"]
    without = set(models.names()) - set(models.self_contained())
    assert without == {"chronos2", "timesfm", "panda"}
    assert type(models.create("theirs")).__name__ == "Drift"
    assert type(models.create("nvar")).__name__ == "NVAR"


def test_importing_the_zoo_and_its_models_loads_no_heavy_library() -> None:
    code = (
        "import sys, models, models.checks, models.analogs, models.baselines, models.reservoir, "
        "models.pretrained; "
        "heavy = ('numba', 'scipy', 'pandas', 'sympy', 'torch', 'jax', 'darts', 'transformers'); "
        "print(*[name for name in heavy if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_progress_is_heard_by_whoever_asks_and_only_then() -> None:
    train, told = TRAIN, []
    model = models.create("nvar", limit=40, delays=((1, 1),))
    model.fit(train, dt=0.1, progress=lambda *now: told.append(now))
    candidates = [now for now in told if now[2] == "candidates"]
    assert [done for done, _, _ in candidates[:3]] == [1, 2, 3]
    model.predict(train[:, -5:], 7, progress=lambda *now: told.append(now))
    assert told[-1] == (7, 7, "steps")
    count = len(told)
    model.fit(train, dt=0.1)
    assert len(told) == count


def test_a_fit_says_how_many_candidates_it_compared() -> None:
    searching = models.create("linear", lags=(1, 2, 3), ridges=(1e-6, 1e-3))
    assert searching.trials_ is None  # not fitted
    assert searching.fit(TRAIN, dt=0.1).trials_ == 6
    assert models.hyperparameters(searching)["trials"] == 6
    assert models.create("persistence").fit(TRAIN, dt=0.1).trials_ == 0
    assert searching.fit(TRAIN, dt=0.1).trials_ == 6  # of this fit, not of both
    assert all(model.trials_ is None for model in searching.fit_many([models.Training(TRAIN, 0.1)]))


def test_a_model_made_of_models_counts_their_candidates_too() -> None:
    members = {"linear": {"lags": (1, 2), "ridges": (1e-6, 1e-3)}, "persistence": {}}
    model = models.create("best_of", members=members).fit(TRAIN, dt=0.1)
    assert model.trials_ == 4 + 2


def test_many_fits_leave_the_model_as_it_was_and_keep_the_errors_of_those_that_fail() -> None:
    model = Doubling(factor=3.0)
    one, other = model.fit_many([models.Training(TRAIN, 0.1), models.Training(TRAIN[..., :2], 0.2)])
    assert (model.dim_, one.dim_, other.dim_) == (0, 3, 2)
    assert (one.dt_, other.dt_, one.factor) == (0.1, 0.2, 3.0)
    assert all(
        isinstance(e, FitError) for e in Doubling(factor=-1).fit_many([models.Training(TRAIN, 1.0)])
    )
    with pytest.raises(ValueError, match="dt is the sampling interval"):
        model.fit_many([models.Training(TRAIN, 0.1), models.Training(TRAIN, -1.0)])
