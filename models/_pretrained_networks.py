"""Networks of others for models.pretrained, as transformers and chronos-forecasting have them.

Imports both, and torch: to be imported when a model is fitted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import transformers
from chronos.chronos2 import Chronos2Model
from torch import Tensor, nn
from transformers.utils import logging

from models.base import Forecast, Windows

AT_ONCE = 256  # series in a batch; attention across a batch takes its square


@lru_cache(maxsize=1)  # of all cells of a process, and of all windows that are fitted one by one
def load(architecture: str, folder: str, digest: str, device: str | None) -> nn.Module:
    """The network in a folder, in float32; ValueError if some of its weights are missing.

    `digest` is a hash of the files: others under the same name are read anew.
    """
    kind = Chronos2Model if architecture == "Chronos2Model" else getattr(transformers, architecture)
    with _quietly(), torch.random.fork_rng(devices=[]):
        network, found = kind.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation="sdpa",  # a config could name code to be fetched
            output_loading_info=True,
        )
    missing = sorted([*found["missing_keys"], *found["mismatched_keys"]])
    if missing:  # they would be random
        raise ValueError(
            f"the weights in {folder} lack {len(missing)} of {architecture}'s, such as "
            f"{missing[0]}: they are of another model, or not whole"
        )
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return network.to(device).eval().requires_grad_(False)


def least_context(network: Any) -> int:
    """Steps; what is longer is cut to a multiple of it."""
    return 1 if isinstance(network, Chronos2Model) else network.config.patch_length


def longest_context(network: Any) -> int:
    """Steps."""
    settings = network.chronos_config if isinstance(network, Chronos2Model) else network.config
    return settings.context_length


@torch.no_grad()
def chronos2(network: Any, context: Windows, independent: bool) -> Forecast:
    """The medians of the longest forecast that the network makes in one go.

    Not by its pipeline, whose data loader draws from torch's global random numbers.
    """
    settings = network.chronos_config
    windows, _, dim = context.shape
    median = settings.quantiles.index(0.5)
    blocks = []
    for batch in _batches(network, context):
        series = torch.arange(len(batch), device=batch.device)
        said = network(
            context=batch,
            group_ids=series if independent else series // dim,
            num_output_patches=settings.max_output_patches,
        )
        blocks.append(said.quantile_preds[:, median])
    return _as_windows(blocks, windows, dim)


@torch.no_grad()
def timesfm(network: Any, context: Windows) -> Forecast:
    """The point forecast of each coordinate, from its newest whole patches."""
    windows, times, dim = context.shape
    patch = network.config.patch_length
    heard = times // patch * patch
    # The smallest value of a whole batch would say whether its forecasts may be negative.
    how: dict[str, Any] = {"forecast_context_len": heard, "truncate_negative": False}
    blocks = []
    for batch in _batches(network, context[:, times - heard :]):
        if isinstance(network, transformers.TimesFmModelForPrediction):
            how["freq"] = [0] * len(batch)
        blocks.append(network(past_values=list(batch), **how).mean_predictions)
    return _as_windows(blocks, windows, dim)


def _batches(network: Any, context: Windows) -> Iterator[Tensor]:
    """The series (windows · dim, times) of whole windows; those of a window are neighbours."""
    windows, _, dim = context.shape
    many = max(1, AT_ONCE // dim)
    for first in range(0, windows, many):
        some = np.ascontiguousarray(context[first : first + many].swapaxes(1, 2), dtype=np.float32)
        yield torch.as_tensor(some, device=network.device).flatten(0, 1)


def _as_windows(blocks: list[Tensor], windows: int, dim: int) -> Forecast:
    series = torch.cat(blocks).double().cpu().numpy()
    return series.reshape(windows, dim, -1).swapaxes(1, 2)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without transformers' bar and report of what it loads."""
    before, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bar:
            logging.enable_progress_bar()
