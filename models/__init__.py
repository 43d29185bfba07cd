"""Who forecasts: the zoo of models by name, outside models by file or entry point.

Importing this package loads no model; `create("nvar")` loads the one it is asked for.
"""

import difflib
import importlib
import importlib.util
import inspect
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from models.base import (
    Differentiable,
    FitError,
    Forecaster,
    Sampler,
    Training,
    background,
    hyperparameters,
)

__all__ = [
    "ZOO",
    "Differentiable",
    "FitError",
    "Forecaster",
    "Sampler",
    "Training",
    "background",
    "class_of",
    "create",
    "hyperparameters",
    "load_class",
    "names",
    "presets",
    "self_contained",
]

ZOO: dict[str, str] = {
    "naive_mean": "models.baselines:NaiveMean",
    "persistence": "models.baselines:Persistence",
    "drift": "models.baselines:Drift",
    "seasonal": "models.baselines:Seasonal",
    "analog": "models.analogs:Analog",
    "simplex": "models.analogs:Simplex",
    "smap": "models.analogs:SMap",
    "parrot": "models.analogs:Parrot",
    "linear": "models.baselines:Linear",
    "nvar": "models.reservoir:NVAR",
    "esn": "models.reservoir:ESN",
    "parallel_esn": "models.parallel_reservoir:ParallelESN",
    "neural_ode": "models.neural_ode:NeuralODE",
    "lstm": "models.recurrent:LSTM",
    "gru": "models.recurrent:GRU",
    "phyxmamba": "models.phyxmamba:PhyxMamba",
    "transformer": "models.transformer:Transformer",
    "patch_transformer": "models.transformer:PatchTransformer",
    "hiss": "models.hiss:HiSS",
    "entrope": "models.entrope:EntroPE",
    "chronos2": "models.pretrained:Chronos2",
    "timesfm": "models.pretrained:TimesFM",
    "panda": "models.pretrained:Panda",
    "sindy": "models.sparse_ode:SINDy",
    "kernel": "models.kernel:Kernel",
    "darts_naive_mean": "models.darts_adapter:DartsNaiveMean",
    "darts_naive_drift": "models.darts_adapter:DartsNaiveDrift",
    "darts_naive_seasonal": "models.darts_adapter:DartsNaiveSeasonal",
    "darts_arima": "models.darts_adapter:DartsARIMA",
    "darts_auto_arima": "models.darts_adapter:DartsAutoARIMA",
    "darts_exponential_smoothing": "models.darts_adapter:DartsExponentialSmoothing",
    "darts_theta": "models.darts_adapter:DartsTheta",
    "darts_four_theta": "models.darts_adapter:DartsFourTheta",
    "darts_fft": "models.darts_adapter:DartsFFT",
    "darts_prophet": "models.darts_adapter:DartsProphet",
    "darts_tbats": "models.darts_adapter:DartsTBATS",
    "darts_kalman": "models.darts_adapter:DartsKalman",
    "darts_linear_regression": "models.darts_adapter:DartsLinearRegression",
    "darts_random_forest": "models.darts_adapter:DartsRandomForest",
    "darts_xgboost": "models.darts_adapter:DartsXGB",
    "darts_lightgbm": "models.darts_adapter:DartsLightGBM",
    "darts_nbeats": "models.darts_adapter:DartsNBEATS",
    "darts_nhits": "models.darts_adapter:DartsNHiTS",
    "darts_lstm": "models.darts_adapter:DartsRNN",
    "darts_block_rnn": "models.darts_adapter:DartsBlockRNN",
    "darts_tcn": "models.darts_adapter:DartsTCN",
    "darts_transformer": "models.darts_adapter:DartsTransformer",
    "darts_tft": "models.darts_adapter:DartsTFT",
    "darts_tide": "models.darts_adapter:DartsTiDE",
    "darts_tsmixer": "models.darts_adapter:DartsTSMixer",
    "darts_dlinear": "models.darts_adapter:DartsDLinear",
    "darts_nlinear": "models.darts_adapter:DartsNLinear",
    "best_of": "models.composed:BestOf",
    "ensemble": "models.composed:Ensemble",
}

ENTRY_POINTS = "dysts_bench.models"


def names() -> list[str]:
    """Every model that `create` knows: the zoo, then installed entry points."""
    return list(_known())


def self_contained() -> list[str]:
    """Those of `names` that need data and nothing else: all but models that need weights."""
    return [name for name in names() if not _needs_weights(name)]


def presets(name: str) -> list[str]:
    """The presets of a model, as in `create("nvar:gilpin2023")`."""
    return list(class_of(name).presets)


def class_of(name: str) -> type[Forecaster]:
    """The class of a model that `names` lists; ValueError if it does not."""
    known = _known()
    if name not in known:
        raise ValueError(_unknown("model", name, list(known)))
    return load_class(known[name])


def create(name: str, **hyperparameters: Any) -> Forecaster:
    """A new model: `nvar`, `nvar:gilpin2023` (a preset) or `path/to/file.py:Class`.

    `hyperparameters` win over the preset's. Raises ValueError for a name, a preset or a
    hyperparameter that does not exist, with the closest ones that do.
    """
    if ".py:" in name:
        cls, settings = load_class(name), {}
    else:
        plain, _, preset = name.partition(":")
        cls = class_of(plain)
        if preset and preset not in cls.presets:
            raise ValueError(_unknown(f"preset of {plain}", preset, list(cls.presets)))
        settings = dict(cls.presets[preset]) if preset else {}
    accepted = list(inspect.signature(cls).parameters)
    for key in hyperparameters:
        if key not in accepted:
            raise ValueError(_unknown(f"hyperparameter of {name}", key, accepted))
    return cls(**settings | hyperparameters)


def load_class(reference: str) -> type[Forecaster]:
    """The class behind `path/to/file.py:Class` or `package.module:Class`.

    The file is run as any imported module is: name only files that you trust.
    """
    source, _, class_name = reference.rpartition(":")
    if not source or not class_name.isidentifier():
        raise ValueError(f"a model is named as file.py:Class or module:Class, got {reference!r}")
    module = _load_file(Path(source)) if source.endswith(".py") else importlib.import_module(source)
    cls = vars(module).get(class_name)
    if not (isinstance(cls, type) and issubclass(cls, Forecaster)):
        here = [key for key, value in vars(module).items() if isinstance(value, type)]
        raise ValueError(_unknown(f"Forecaster in {source}", class_name, here))
    return cls


def _known() -> dict[str, str]:
    outside = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    return ZOO | {name: value for name, value in outside.items() if name not in ZOO}


def _needs_weights(name: str) -> bool:
    try:
        return class_of(name).needs_weights
    except ImportError:  # of a package whose libraries are not installed
        return False


def _load_file(path: Path) -> Any:
    path = path.resolve()
    if not path.is_file():
        raise ValueError(f"no file {path}: a model of your own is named as path/to/file.py:Class")
    name = f"models_outside_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # true of every .py file
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their own module up while they are made
    spec.loader.exec_module(module)
    return module


def _unknown(kind: str, name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = (
        f"Did you mean {' or '.join(close)}?" if close else f"Known: {', '.join(known) or 'none'}"
    )
    return f"no {kind} is called {name!r}. {hint}"
