"""Forecasters that were trained before, on other data: a fit loads their weights, and no more.

The weights are files on this machine. Nothing is downloaded, no code from beside them is run, and
none are read that are pickled. What they were trained on is recorded with every result, and so is
a hash of their content. Forecasts are float64 at the interface; a long one is made block by block,
each after the context and all blocks before it, cut to the newest `context` steps. Blocks are
always whole, so that a forecast does not depend on how much of it is asked for.

Shapes and units are those of models.base. The extra is `pretrained`.
"""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np

from models._extras import needing_pretrained
from models.base import FitError, Forecast, Forecaster, Trajectories, Windows


@dataclass(kw_only=True)
class Pretrained(Forecaster):
    """What a model with weights from elsewhere has in common with the others.

    `weights` is the file or folder that they are in: ValueError if there is none, or if it holds
    something else. `device` is where it runs: None is a GPU if there is one.
    """

    weights: str = ""
    device: str | None = None

    needs_weights: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.weights:
            raise ValueError(
                f"{type(self).__name__} needs weights, which do not come with this package: "
                f"pass weights='path'. {self._where_from()}"
            )
        if not self.path.exists():
            raise ValueError(
                f"weights are a file or folder on this machine, and {self.weights} is none: "
                f"nothing is downloaded. {self._where_from()}"
            )
        self._refuse_others()

    @property
    def path(self) -> Path:
        """Where the weights are."""
        return Path(self.weights).expanduser()

    @property
    def zero_shot(self) -> bool:
        return True

    @property
    def weights_hash(self) -> str:
        """Twelve hexadecimal digits of SHA-256 over the files that are read."""
        files = [(file, file.stat()) for file in self._files()]
        return _hash(tuple((str(f), s.st_size, s.st_mtime_ns) for f, s in files))

    @classmethod
    def small(cls) -> "Pretrained":
        """Raises ValueError: there are no weights so small that they come with the package."""
        return cls()

    @final
    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        self.network_ = self._load(train.shape[2])
        self.parameters_ = sum(weights.numel() for weights in self.network_.parameters())

    @abstractmethod
    def _load(self, dim: int) -> Any:
        """The network for data of this dimension; also says how much context it takes."""

    @abstractmethod
    def _where_from(self) -> str:
        """A sentence on how to come by weights."""

    @abstractmethod
    def _refuse_others(self) -> None:
        """Raise ValueError unless the files are weights of this model, as far as can be told."""

    @abstractmethod
    def _files(self) -> list[Path]:
        """The files that decide a forecast."""


@dataclass(kw_only=True)
class _FromHub(Pretrained):
    """Weights in a folder as transformers saves them: config.json and *.safetensors."""

    context: int | None = None

    tolerance: ClassVar[float] = 1e-3  # float32
    repository: ClassVar[str]  # on the Hugging Face hub
    architectures: ClassVar[tuple[str, ...]]

    @final
    def _load(self, dim: int) -> Any:
        networks = needing_pretrained("_pretrained_networks")
        kind, digest = _config(self.path)["architectures"][0], self.weights_hash
        network = networks.load(kind, str(self.path), digest, self.device)
        self.context_needed_ = networks.least_context(network)
        longest = networks.longest_context(network)
        if self.context is not None:
            if self.context < self.context_needed_:
                raise ValueError(
                    f"context must be at least {self.context_needed_} steps, got {self.context}"
                )
            longest = min(longest, self.context)
        # patches are whole
        self.context_used_ = longest // self.context_needed_ * self.context_needed_
        return network

    @final
    def _predict(self, context: Windows, horizon: int) -> Forecast:
        assert self.context_used_ is not None
        return _block_by_block(self._block, context, horizon, self.context_used_)

    @abstractmethod
    def _block(self, context: Windows) -> Forecast:
        """The next steps, as many as the network is made for."""

    def _where_from(self) -> str:
        return f"For instance `hf download {self.repository} --local-dir path`."

    def _refuse_others(self) -> None:
        if isinstance(self.trained_on, str):
            raise ValueError(f"trained_on is a list of names, got {self.trained_on!r}")
        found = sorted(p.name for p in self.path.glob("*")) if self.path.is_dir() else []
        held = f"{self.weights} holds {', '.join(found) or 'nothing'}"
        if "adapter_config.json" in found:
            raise ValueError(f"weights are whole, not an adapter to others: {held}")
        if "config.json" not in found or not any(f.endswith(".safetensors") for f in found):
            raise ValueError(
                f"weights are a folder with config.json and *.safetensors, but {held}. "
                "(Pickled weights, *.bin, could run any code: save them as safetensors.)"
            )
        kinds = _config(self.path).get("architectures") or ["nothing"]
        if kinds[0] not in self.architectures:
            raise ValueError(
                f"{type(self).__name__} takes weights of {' or '.join(self.architectures)}, but "
                f"those in {self.weights} are of {kinds[0]}"
            )

    def _files(self) -> list[Path]:
        return sorted([*self.path.glob("*.json"), *self.path.glob("*.safetensors")])


@dataclass(kw_only=True)
class Chronos2(_FromHub):
    """Chronos-2, which continues series from what it has seen of very many others.

    A transformer over patches of 16 steps, with attention in time and, between the coordinates of a
    window, across them; `independent` leaves the latter out, and forecasts each coordinate from
    itself alone. Each coordinate is scaled by the mean and deviation of its context. The network
    gives quantiles; the forecast is their median. (No samples: quantiles of single steps do not say
    which of them belong together.) At most `context` steps are heard; None is all that the network
    is made for. A block has as many steps as it is made for, and is followed by another after the
    medians; chronos-forecasting itself goes on from several quantiles at once.

    The published weights, amazon/chronos-2: 120 million parameters, 8192 steps of context, 1024
    steps a block. Cost of a block: 240 MFLOP · (context / 16 + 64) · dim a window. `trained_on`
    is what is published of them; of other weights, give it. It should win where there is little but
    context, and lose to any model that has learned from thousands of points of the system.
    Source: Ansari et al., Chronos-2 (arXiv 2510.15821).
    """

    independent: bool = False
    trained_on: tuple[str, ...] = (
        "autogluon/chronos_datasets",
        "Salesforce/GiftEvalPretrain",
        "synthetic series",
    )

    repository: ClassVar[str] = "amazon/chronos-2"
    architectures: ClassVar[tuple[str, ...]] = ("Chronos2Model",)

    def _block(self, context: Windows) -> Forecast:
        networks = needing_pretrained("_pretrained_networks")
        return networks.chronos2(self.network_, context, self.independent)


@dataclass(kw_only=True)
class TimesFM(_FromHub):
    """TimesFM 2.0 or 2.5, a decoder over patches of 32 steps, each coordinate by itself.

    The forecast is the network's point forecast (2.0: its mean; 2.5: its median), in blocks of 128
    steps. At most `context` steps are heard, in whole patches, the newest; None is all that the
    network is made for. Contexts are not padded, and forecasts of positive series may be negative:
    here 0 is a mean, not a bound.

    The published weights: google/timesfm-2.5-200m-transformers (200 million parameters, 16384 steps
    of context) and google/timesfm-2.0-500m-pytorch (500 million, 2048 steps). Cost of a block: two
    FLOP a parameter and patch, for each coordinate of a window, and twice that for 2.5, which also
    forecasts the series upside down; 5000 steps are 40 blocks. `trained_on` is what is published of
    2.5; of other weights, give it. It should win and lose where Chronos2 does, and it sees
    coordinates apart: what one tells about another is lost on it.
    Source: Das, Kong, Sen & Zhou, TimesFM (ICML 2024, arXiv 2310.10688).
    """

    trained_on: tuple[str, ...] = (
        "Salesforce/GiftEvalPretrain",
        "Wikimedia page views",
        "Google Trends",
        "synthetic series",
    )

    repository: ClassVar[str] = "google/timesfm-2.5-200m-transformers"
    architectures: ClassVar[tuple[str, ...]] = (
        "TimesFm2_5ModelForPrediction",
        "TimesFmModelForPrediction",
    )

    def _block(self, context: Windows) -> Forecast:
        return needing_pretrained("_pretrained_networks").timesfm(self.network_, context)


@dataclass(kw_only=True)
class Panda(Pretrained):
    """A patch transformer trained on many systems, for systems that it has not seen.

    The network is that of `patch_transformer`, and its weights are a file that `save_panda` writes,
    which says what they were trained on. Those of a `patch_transformer(named=False)` serve any
    number of coordinates; with named coordinates, that of its training (FitError for others). To
    train on many systems is to fit to an array of their trajectories, each standardised, all of one
    dimension and sampled alike: the network knows steps, and no time. Cost: that of
    `patch_transformer`'s forecasts. What it reaches depends on the weights, and none are published.

    Panda's own checkpoint does not fit: its network hears random polynomials of each patch, attends
    to all patches at once and scales window by window.
    Source: Lai, Bao & Gilpin, Panda (arXiv 2505.13755).
    """

    @property
    def trained_on(self) -> tuple[str, ...]:
        return tuple(_header(self.path)["trained_on"])

    @final
    def _load(self, dim: int) -> Any:
        network = needing_pretrained("_pretrained_panda").load(
            str(self.path), self.weights_hash, self.device, **_header(self.path)["sizes"]
        )
        known = network.scale.shape[1]
        if known not in (1, dim):
            raise FitError(
                f"the weights are of {known} named coordinates, and these data have {dim}: take "
                "weights of a patch_transformer(named=False)"
            )
        self.context_needed_, self.context_used_ = network.patch, network.context
        return network

    @final
    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return needing_pretrained("_pretrained_panda").run(self.network_, context, horizon)

    def _where_from(self) -> str:
        return "models.pretrained.save_panda writes such a file from a fitted patch_transformer."

    def _refuse_others(self) -> None:
        kind = _header(self.path).get("format", "something else")
        if kind != FORMAT:
            raise ValueError(
                f"weights are a file of the format {FORMAT!r}, but {self.weights} is "
                f"{kind}. {self._where_from()}"
            )

    def _files(self) -> list[Path]:
        return [self.path]


FORMAT = "dysts-bench patch transformer 1"
KEY = "dysts-bench"  # under which a file says what it is


def save_panda(model: Forecaster, file: str | Path, *, trained_on: Sequence[str]) -> None:
    """Write the network of a fitted `patch_transformer` to `file`, as weights of Panda.

    The file is safetensors, with the network's sizes and `trained_on` in its header: the names of
    the systems or data sets that it was fitted to, at least one. Raises ValueError for another
    model, one that is not fitted, and for no names.
    """
    names = [trained_on] if isinstance(trained_on, str) else list(trained_on)
    if not names:
        raise ValueError("trained_on names the data that the model was fitted to, got none")
    network = getattr(getattr(model, "trained_", None), "network", None)
    facts = {"format": FORMAT, "trained_on": names}
    needing_pretrained("_pretrained_panda").save(network, Path(file), KEY, facts)


def _block_by_block(
    block: Callable[[Windows], Forecast], context: Windows, horizon: int, longest: int
) -> Forecast:
    """Append blocks to the context until they are `horizon` steps."""
    states, known = context, context.shape[1]
    while states.shape[1] < known + horizon:
        states = np.concatenate([states, block(states[:, -longest:])], axis=1)
    return states[:, known : known + horizon]


def _config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def _header(file: Path) -> dict[str, Any]:
    """What a safetensors file of ours says of itself; nothing if it is no such file."""
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(min(length, file.stat().st_size)))
        return dict(json.loads(header["__metadata__"][KEY]))
    except (OSError, ValueError, KeyError, TypeError):
        return {}


@lru_cache
def _hash(files: tuple[tuple[str, int, int], ...]) -> str:
    """Of their names and content; sizes and times of change say when to read them again."""
    digest = hashlib.sha256()
    for name, _, _ in files:
        digest.update(Path(name).name.encode())
        with Path(name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]
