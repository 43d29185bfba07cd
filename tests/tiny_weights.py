"""Random weights of the smallest pretrained networks, made by the libraries' own classes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

PATCH, CONTEXT, BLOCK = 8, 64, 24


def make(name: str, folder: Path) -> str:
    """Weights for the model of the zoo of this name; where they are."""
    makers = {"chronos2": chronos2, "timesfm": timesfm2_5, "panda": panda}
    return str(makers[name](folder))


def chronos2(folder: Path, seed: int = 0) -> Path:
    from chronos.chronos2 import Chronos2Model
    from chronos.chronos2.config import Chronos2CoreConfig

    forecasting = {
        "context_length": CONTEXT,
        "input_patch_size": PATCH,
        "input_patch_stride": PATCH,
        "output_patch_size": PATCH,
        "max_output_patches": BLOCK // PATCH,
        "quantiles": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
        "use_reg_token": True,
        "use_arcsinh": True,
    }
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    config = Chronos2CoreConfig(**sizes, initializer_factor=0.4, chronos_config=forecasting)
    return _saved(Chronos2Model, config, folder, seed)


def timesfm2_5(folder: Path, seed: int = 0) -> Path:
    from transformers import TimesFm2_5Config, TimesFm2_5ModelForPrediction

    more = {"num_key_value_heads": 2, "output_quantile_len": BLOCK}
    config = TimesFm2_5Config(**_TIMESFM, **more)
    return _saved(TimesFm2_5ModelForPrediction, config, folder, seed)


def timesfm2_0(folder: Path, seed: int = 0) -> Path:
    from transformers import TimesFmConfig, TimesFmModelForPrediction

    return _saved(TimesFmModelForPrediction, TimesFmConfig(**_TIMESFM), folder, seed)


def panda(folder: Path, seed: int = 0) -> Path:
    """Of a patch transformer that was not trained, for any number of coordinates."""
    from models import transformer
    from models._transformer_networks import PatchTransformer
    from models.pretrained import save_panda

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = PatchTransformer(16, 4, 8, 1, 2, 2, np.full((6, 1), 0.1))
        torch.nn.init.normal_(network.readout.weight)  # at first it says that nothing changes
    model = transformer.PatchTransformer.small()
    model.trained_ = SimpleNamespace(network=network)
    folder.mkdir(parents=True, exist_ok=True)
    save_panda(model, folder / "panda.safetensors", trained_on=["torus", "another torus"])
    return folder / "panda.safetensors"


_TIMESFM = {
    "patch_length": PATCH,
    "context_length": CONTEXT,
    "horizon_length": BLOCK,
    "num_hidden_layers": 2,
    "hidden_size": 16,
    "intermediate_size": 16,
    "head_dim": 8,
    "num_attention_heads": 2,
    "initializer_range": 0.3,  # the default's forecasts hardly depend on contexts
}


def _saved(kind: Any, config: Any, folder: Path, seed: int) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        kind(config).save_pretrained(folder)
    return folder
