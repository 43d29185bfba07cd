"""Patch transformers in files, for models.pretrained.

Imports torch and safetensors: to be imported when a model is fitted or saved.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from models._transformer_networks import PatchTransformer
from models.base import Forecast, Windows


def save(network: Any, file: Path, key: str, facts: Mapping[str, Any]) -> None:
    """The weights, in float32 as they were trained; under `key` the facts, and the sizes that make
    the network again."""
    if not isinstance(network, PatchTransformer):
        raise ValueError("only the network of a fitted patch_transformer can be saved as weights")
    horizon, coordinates = network.scale.shape
    sizes = {**network.sizes, "horizon": horizon, "coordinates": coordinates}
    weights = {name: w.float().contiguous() for name, w in network.state_dict().items()}
    # one text: safetensors writes several in any order, and the same weights are the same file
    save_file(weights, file, metadata={key: json.dumps({**facts, "sizes": sizes})})


@lru_cache(maxsize=1)
def load(
    file: str, digest: str, device: str | None, *, horizon: int, coordinates: int, **sizes: int
) -> PatchTransformer:
    """The network in a file, in float64; `digest` is a hash of it. ValueError for others."""
    with torch.random.fork_rng(devices=[]):
        network = PatchTransformer(**sizes, scale=np.ones((horizon, coordinates)))
    try:
        network.load_state_dict(load_file(file))
    except RuntimeError as error:
        raise ValueError(
            f"the weights in {file} are not those of this version's network, or not whole: fit a "
            "patch_transformer again and save it"
        ) from error
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return network.double().to(device).eval().requires_grad_(False)


def run(network: PatchTransformer, contexts: Windows, steps: int) -> Forecast:
    device = network.scale.device
    with torch.no_grad():
        states = torch.as_tensor(contexts.copy(), device=device)
        return network.run(states, steps).cpu().numpy()
