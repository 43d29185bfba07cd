"""Pretrained forecasters against the libraries' own, with random weights of small networks."""

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

import tiny_weights  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from tiny_weights import BLOCK, CONTEXT, PATCH, make, panda  # noqa: E402

import models  # noqa: E402
from models.base import Forecaster  # noqa: E402
from models.checks import torus  # noqa: E402
from models.pretrained import Chronos2, Panda, TimesFM, save_panda  # noqa: E402
from models.transformer import PatchTransformer  # noqa: E402

TRAIN = torus(3, trajectories=1, times=80, seed=1)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}  # float32
PRETRAINED = ("chronos2", "timesfm", "panda")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights that no test changes."""
    pytest.importorskip("chronos")
    folder = tmp_path_factory.mktemp("weights")
    made = {name: Path(make(name, folder / name)) for name in PRETRAINED}
    return made | {"timesfm2_0": tiny_weights.timesfm2_0(folder / "timesfm2_0")}


def windows(times: int, dim: int = 3) -> np.ndarray:
    return torus(dim, trajectories=2, times=times, seed=5)


def fitted(name: str, weights: Path, **settings: Any) -> Forecaster:
    return models.create(name, weights=str(weights), **settings).fit(TRAIN, dt=0.1)


# ---- against the libraries -------------------------------------------------------------------


def by_pipeline(weights: Path, context: np.ndarray, steps: int) -> np.ndarray:
    """Medians of Chronos2Pipeline; (tasks, dim, times) are forecast task by task."""
    from chronos import Chronos2Pipeline

    pipeline = Chronos2Pipeline.from_pretrained(weights)
    said = pipeline.predict(torch.as_tensor(context, dtype=torch.float32), steps)
    return torch.stack(said)[:, :, pipeline.quantiles.index(0.5)].numpy()


# a patch and a half, the longest, and longer than is heard
@pytest.mark.parametrize("times", [1, PATCH * 3 // 2, CONTEXT, CONTEXT + 9])
def test_chronos2_is_its_pipeline_with_all_coordinates_of_a_window_together(
    shared: dict[str, Path], times: int
) -> None:
    context = windows(times)
    model = fitted("chronos2", shared["chronos2"])
    expected = by_pipeline(shared["chronos2"], context.swapaxes(1, 2), BLOCK)
    np.testing.assert_allclose(model.predict(context, BLOCK), expected.swapaxes(1, 2), **CLOSE)
    np.testing.assert_allclose(model.predict(context, 5), expected.swapaxes(1, 2)[:, :5], **CLOSE)


def test_independent_coordinates_are_forecast_as_if_there_were_no_others(
    shared: dict[str, Path],
) -> None:
    context = windows(40)
    apart = fitted("chronos2", shared["chronos2"], independent=True).predict(context, BLOCK)
    series = context.swapaxes(1, 2).reshape(-1, 1, 40)
    expected = by_pipeline(shared["chronos2"], series, BLOCK).reshape(2, 3, BLOCK).swapaxes(1, 2)
    np.testing.assert_allclose(apart, expected, **CLOSE)
    together = fitted("chronos2", shared["chronos2"]).predict(context, BLOCK)
    assert np.abs(together - apart).max() > 1e-2


def timesfm_says(weights: Path, context: np.ndarray, heard: int) -> np.ndarray:
    """(series, steps) of a network that is made for `heard` steps of context, as it is called."""
    import transformers

    kind = json.loads((weights / "config.json").read_text())["architectures"][0]
    network = getattr(transformers, kind).from_pretrained(weights, context_length=heard)
    series = [torch.as_tensor(each, dtype=torch.float32) for each in context]
    with torch.no_grad():
        return network(past_values=series, truncate_negative=False).mean_predictions.numpy()


@pytest.mark.parametrize("version", ["timesfm", "timesfm2_0"])
@pytest.mark.parametrize("times", [PATCH, 3 * PATCH + 5, CONTEXT, CONTEXT + 9])
def test_timesfm_is_that_of_transformers_coordinate_by_coordinate(
    shared: dict[str, Path], version: str, times: int
) -> None:
    context = windows(times)
    heard = min(CONTEXT, times // PATCH * PATCH)
    forecast = fitted("timesfm", shared[version]).predict(context, BLOCK)
    for i in range(3):
        expected = timesfm_says(shared[version], context[:, times - heard :, i], heard)
        np.testing.assert_allclose(forecast[:, :, i], expected, **CLOSE)


@pytest.mark.parametrize("version", ["timesfm", "timesfm2_0"])
def test_whether_other_windows_are_positive_does_not_matter_and_neither_does_zero(
    shared: dict[str, Path], version: str
) -> None:
    model = fitted("timesfm", shared[version])
    positive = windows(CONTEXT) + 3.0
    both = np.concatenate([positive, -positive])
    alone, beside = model.predict(positive, BLOCK), model.predict(both, BLOCK)[:2]
    np.testing.assert_allclose(beside, alone, **CLOSE)
    # 2.5 clamps forecasts of positive series unless it is told not to
    assert alone.min() < 0


@pytest.mark.parametrize("name", ["chronos2", "timesfm"])
def test_a_long_forecast_goes_on_from_context_and_forecast_together(
    shared: dict[str, Path], name: str
) -> None:
    model, context = fitted(name, shared[name]), windows(32)
    long = model.predict(context, 2 * BLOCK + 3)
    for first in (BLOCK, 2 * BLOCK):
        known = np.concatenate([context, long[:, :first]], axis=1)[:, -CONTEXT:]
        steps = min(BLOCK, long.shape[1] - first)
        following = model.predict(known, steps)
        np.testing.assert_allclose(long[:, first : first + steps], following, **CLOSE)


@pytest.mark.parametrize("name", ["chronos2", "timesfm"])
def test_a_shorter_context_is_all_that_is_heard_if_asked_for(
    shared: dict[str, Path], name: str
) -> None:
    model, context = fitted(name, shared[name], context=3 * PATCH), windows(50)
    np.testing.assert_array_equal(
        model.predict(context, 60)[:, :BLOCK], model.predict(context[:, -3 * PATCH :], BLOCK)
    )
    assert model.context_used_ == 3 * PATCH
    with pytest.raises(ValueError, match="context must be at least"):
        fitted(name, shared[name], context=0)


# ---- ours ------------------------------------------------------------------------------------


def trained(named: bool) -> PatchTransformer:
    model = PatchTransformer(
        context=16,
        patch=4,
        horizon=6,
        width=8,
        layers=2,
        heads=2,
        updates=20,
        checks=1,
        named=named,
    )
    return model.fit(torus(2, trajectories=2, times=150, seed=3), dt=0.1, seed=1)


@pytest.mark.parametrize("named", [True, False])
def test_saved_weights_forecast_as_the_model_that_was_fitted_does(
    tmp_path: Path, named: bool
) -> None:
    model = trained(named)
    save_panda(model, tmp_path / "w.safetensors", trained_on=["torus"])
    again = Panda(weights=str(tmp_path / "w.safetensors"))
    again.fit(3 + torus(2, trajectories=1, times=60, seed=8), dt=0.7)
    context = windows(30, dim=2)
    np.testing.assert_array_equal(again.predict(context, 20), model.predict(context, 20))
    assert (again.context_needed_, again.context_used_) == (4, 16)
    assert again.parameters_ == model.parameters_ is not None


def test_weights_without_names_serve_any_number_of_coordinates_in_any_order(
    shared: dict[str, Path],
) -> None:
    model, context = fitted("panda", shared["panda"]), windows(30)
    forecast = model.predict(context, 9)
    order = [2, 0, 1]
    np.testing.assert_allclose(model.predict(context[:, :, order], 9), forecast[:, :, order])
    # what the others do is heard
    other = context.copy()
    other[:, :, 0] *= -1
    assert np.abs(model.predict(other, 9) - forecast)[:, :, 1:].max() > 1e-6


def test_weights_with_names_are_refused_for_other_dimensions(tmp_path: Path) -> None:
    save_panda(trained(named=True), tmp_path / "w.safetensors", trained_on=["torus"])
    with pytest.raises(models.FitError, match="of 2 named coordinates, and these data have 3"):
        fitted("panda", tmp_path / "w.safetensors")


def test_only_a_fitted_patch_transformer_is_saved_and_only_with_what_it_was_trained_on(
    tmp_path: Path,
) -> None:
    for model in (models.create("persistence"), PatchTransformer()):
        with pytest.raises(ValueError, match="only the network of a fitted patch_transformer"):
            save_panda(model, tmp_path / "w.safetensors", trained_on=["torus"])
    with pytest.raises(ValueError, match="trained_on names the data"):
        save_panda(trained(named=False), tmp_path / "w.safetensors", trained_on=[])
    assert not list(tmp_path.iterdir())


# ---- zero-shot -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRETRAINED)
def test_whatever_it_is_fitted_to_the_forecast_is_the_same(
    shared: dict[str, Path], name: str
) -> None:
    context, forecasts = windows(50), []
    for scale, seed in ((1.0, 0), (40.0, 3)):
        model = models.create(name, weights=str(shared[name]))
        data = scale * torus(3, trajectories=2, times=70, seed=seed)
        forecasts.append(model.fit(data, dt=scale, seed=seed).predict(context, 30))
    np.testing.assert_array_equal(*forecasts)


@pytest.mark.parametrize("name", PRETRAINED)
def test_random_states_and_settings_of_libraries_stay_as_they_are(
    tmp_path: Path, name: str
) -> None:
    pytest.importorskip("transformers")
    from transformers.utils import logging

    weights = make(name, tmp_path)  # new ones, which are not loaded yet

    def settings() -> tuple[Any, ...]:
        numpys = repr(np.random.get_state(legacy=False))
        transformers = logging.get_verbosity(), logging.is_progress_bar_enabled()
        return (
            torch.random.get_rng_state().tolist(),
            numpys,
            torch.get_default_dtype(),
            transformers,
        )

    before = settings()
    models.create(name, weights=weights).fit(TRAIN, dt=0.1).predict(windows(40), 30)
    assert settings() == before


def test_the_rows_of_a_run_say_what_was_learned_from_what(shared: dict[str, Path]) -> None:
    model = fitted("panda", shared["panda"])
    assert model.zero_shot and model.trained_on == ("torus", "another torus")
    recorded = json.loads(json.dumps(models.hyperparameters(model)))
    assert recorded["zero_shot"] is True
    assert recorded["trained_on"] == ["torus", "another torus"]
    assert recorded["weights_hash"] == model.weights_hash != ""
    given = fitted("timesfm", shared["timesfm"], trained_on=("tides",))
    assert models.hyperparameters(given)["trained_on"] == ["tides"]
    with pytest.raises(ValueError, match="trained_on is a list of names, got 'tides'"):
        fitted("timesfm", shared["timesfm"], trained_on="tides")


def test_zero_shot_is_what_learns_nothing_with_or_without_weights() -> None:
    for name in ("persistence", "drift", "parrot:zero_shot"):
        assert models.create(name).zero_shot, name
    for name in ("naive_mean", "parrot", "seasonal", "nvar", "patch_transformer"):
        assert not models.create(name).zero_shot, name
    assert models.create("seasonal", period=12.0).zero_shot
    assert models.background(models.create("nvar")) == {}
    assert models.hyperparameters(models.create("drift").fit(TRAIN, dt=0.1)) == {"zero_shot": True}


@pytest.mark.parametrize("name", PRETRAINED)
def test_the_hash_is_of_the_content_of_the_weights(tmp_path: Path, name: str) -> None:
    pytest.importorskip("chronos")
    one = make(name, tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    copied = str(tmp_path / "copy" / Path(one).relative_to(tmp_path / "one"))
    (tmp_path / "copy" / "README.md").write_text("not read")

    def hashed(weights: str) -> str:
        return models.create(name, weights=weights).weights_hash

    before = hashed(one)
    assert hashed(copied) == before
    file = Path(one) if Path(one).is_file() else Path(one) / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert hashed(one) != before


def test_the_best_of_several_models_knows_the_weights_of_its_members(
    shared: dict[str, Path],
) -> None:
    members = {"persistence": {}, "panda": {"weights": str(shared["panda"])}}
    best = models.create("best_of", members=members)
    assert best.trained_on == ("torus", "another torus")
    assert best.weights_hash == models.create("panda", **members["panda"]).weights_hash
    assert models.background(models.create("best_of")) == {}


def test_other_weights_in_the_same_place_are_loaded_and_are_another_cell(tmp_path: Path) -> None:
    pytest.importorskip("chronos")
    from dysts_bench.cells import Cell, ModelSpec
    from dysts_bench.runner import key
    from dysts_bench.task import read_suite, tasks

    [task] = tasks(read_suite("standard"), ["Lorenz"])
    for make_weights, name in ((tiny_weights.chronos2, "chronos2"), (panda, "panda")):
        where = make_weights(tmp_path / name, seed=1)
        cell = Cell(task, ModelSpec.parse(f"{name}(weights={where})"), 0)
        first, before = key(cell), fitted(name, where).predict(windows(50), 5)
        make_weights(tmp_path / name, seed=2)
        assert key(cell) != first
        assert np.abs(fitted(name, where).predict(windows(50), 5) - before).max() > 1e-6
        make_weights(tmp_path / name, seed=1)
        assert key(cell) == first


# ---- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [Chronos2, TimesFM, Panda])
def test_without_weights_there_is_no_model_and_the_error_says_where_to_get_some(cls: Any) -> None:
    for attempt in (cls, cls.small):
        with pytest.raises(
            ValueError, match=rf"{cls.__name__} needs weights, .*pass weights='path'"
        ):
            attempt()
    for nowhere in ("amazon/chronos-2", "/no/such/place"):
        with pytest.raises(ValueError, match=f"{nowhere} is none: nothing is downloaded"):
            cls(weights=nowhere)


def test_what_is_no_such_weights_is_refused_by_what_it_holds(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="holds nothing"):
        Chronos2(weights=str(tmp_path))
    shutil.copy(shared["chronos2"] / "config.json", tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(ValueError, match=r"holds config.json, pytorch_model.bin\..*any code"):
        Chronos2(weights=str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match="not an adapter"):
        Chronos2(weights=str(tmp_path))
    with pytest.raises(ValueError, match="are of Chronos2Model"):
        TimesFM(weights=str(shared["chronos2"]))
    for other in (shared["chronos2"], shared["chronos2"] / "model.safetensors"):
        with pytest.raises(ValueError, match="weights are a file of the format 'dysts-bench patch"):
            Panda(weights=str(other))


def test_weights_that_are_not_whole_are_refused_instead_of_filled_with_random_ones(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(shared["timesfm"], tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    del weights[max(weights)]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lack 1 of TimesFm2_5ModelForPrediction's"):
        fitted("timesfm", tmp_path)
    with safe_open(shared["panda"], framework="pt") as file:
        header = file.metadata()
    weights = load_file(shared["panda"])
    weights["another"] = weights.pop("norm.weight")
    save_file(weights, tmp_path / "panda.safetensors", metadata=header)
    with pytest.raises(ValueError, match="not those of this version's network"):
        fitted("panda", tmp_path / "panda.safetensors")


@pytest.mark.parametrize("name", ["chronos2", "timesfm"])
def test_nothing_is_downloaded_and_no_code_beside_the_weights_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pytest.importorskip("chronos")
    weights = Path(make(name, tmp_path))
    config = json.loads((weights / "config.json").read_text())
    architecture = config["architectures"][0]
    config["auto_map"] = {"AutoConfig": f"own.{architecture}", "AutoModel": f"own.{architecture}"}
    config["_attn_implementation"] = "somebody/kernels"
    (weights / "config.json").write_text(json.dumps(config))
    (weights / "own.py").write_text(f"raise SystemExit('it was run')\nclass {architecture}: ...")

    def refused(*arguments: Any) -> None:
        raise AssertionError(f"a connection to {arguments[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    assert np.isfinite(fitted(name, weights).predict(windows(40), 3)).all()


def test_without_the_libraries_the_error_names_the_extra(
    shared: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "models._pretrained_networks", raising=False)
    monkeypatch.setitem(sys.modules, "chronos.chronos2", None)
    with pytest.raises(ImportError, match=r"pip install 'dysts-bench\[pretrained\]'"):
        fitted("chronos2", shared["chronos2"])


def test_to_make_a_model_loads_no_library(shared: dict[str, Path]) -> None:
    given = {name: str(shared[name]) for name in PRETRAINED}
    code = f"""
import sys, models
for name, weights in {given!r}.items():
    models.background(models.create(name, weights=weights))
heavy = ("torch", "transformers", "chronos", "safetensors")
print(*[name for name in heavy if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
