"""The network of models.phyxmamba. Imports torch: to be imported when a model is fitted."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from models.ssm import Mamba2

BANDWIDTHS = (0.2, 0.5, 0.9, 1.3)  # of the kernel, in standard deviations of states
AHEAD_WEIGHT = 0.1  # of multi-token prediction
CLIMATE_WEIGHT, FORECAST_WEIGHT = 1.0, 1000.0  # of the two discrepancies

# A leading underscore: each argument has a length of its own.
Series = Float[Tensor, "batch _times dim"]
Tokens = Float[Tensor, "batch _tokens width"]


class PhyxMambaNetwork(nn.Module):
    """Delay vectors, cut into patches, pass a hierarchy of Mamba-2; a head reads the next patch.

    Token i holds delay vectors (x(t - (m-1) τ), …, x(t)) of the times t of patch i, and
    r(0) = tokens, h(l) = Mamba2(r(l-1)), r(l) = r(l-1) - W h(l), W shared; the head reads Σ h(l) at
    token i as patch i + 1: increments after the last state of patch i, in units of `scale`, or
    without a scale the states. Module k of multi-token prediction reads patch i + k + 1 from what
    module k - 1 said at token i and from token i + k.
    """

    def __init__(
        self,
        dim: int,
        *,
        lookback: int,
        patch: int,
        delay: int,
        dimension: int,
        span: int,
        width: int,
        states: int,
        headdim: int,
        layers: int,
        ahead: int,
        dropout: float,
        mmd: bool,
        scale: np.ndarray | None,
    ) -> None:
        super().__init__()
        self.lookback, self.patch, self.span, self.mmd = lookback, patch, span, mmd

        def mamba() -> nn.Module:
            return Mamba2(width, d_state=states, headdim=headdim)

        # a buffer: networks that are trained together may have delays of their own
        self.register_buffer("times", delay_times(lookback, patch, delay, dimension) + span)
        self.embed = nn.Linear(dim * dimension * patch, width)
        self.register_buffer("code", sinusoids(lookback // patch, width))
        self.drop = nn.Dropout(dropout)
        self.layers = nn.ModuleList(mamba() for _ in range(layers))
        self.remainder = nn.Linear(width, width)
        self.head = nn.Linear(width, patch * dim)
        # not `ahead`, which has the name of the head in it, and what a probe trains goes by name
        self.later = nn.ModuleList(Ahead(width, mamba()) for _ in range(ahead))
        self.register_buffer("scale", None if scale is None else torch.as_tensor(scale))
        if scale is not None:
            nn.init.zeros_(self.head.weight)  # persistence, at first
            nn.init.zeros_(self.head.bias)

    def teacher_forced(self, windows: Series) -> Tensor:
        """The error of the patches after every token of true states, and that of those beyond."""
        series = windows[:, : -self.patch]
        following = windows[:, self.span + self.patch :].unflatten(1, (-1, self.patch))
        newest = self.newest(series)
        tokens = self.tokens(series)
        heard = self.backbone(tokens)
        error = self.error(heard, newest, following)
        beyond = []
        for k, module in enumerate(self.later[: tokens.shape[1] - 1], 1):
            heard = module(heard[:, :-1], tokens[:, k:])
            beyond.append(self.error(heard, newest[:, k:], following[:, k:]))
        return error + AHEAD_WEIGHT * sum(beyond) / len(beyond) if beyond else error

    def student_forced(self, windows: Series) -> Tensor:
        """The error of free runs, and how far their states are from the attractor's, as a set."""
        contexts = windows[:, : self.span + self.lookback]
        truth = windows[:, contexts.shape[1] :].transpose(0, 1)  # (times, batch, dim)
        forecast = self.run(contexts, len(truth)).transpose(0, 1)
        loss = (forecast - truth).square().mean()
        if not self.mmd:
            return loss
        climate = contexts[:, 0].expand_as(forecast)
        return (
            loss
            + CLIMATE_WEIGHT * discrepancy(climate, forecast).mean()
            + FORECAST_WEIGHT * discrepancy(truth, forecast).mean()
        )

    def run(self, contexts: Series, steps: int) -> Series:
        length = self.span + self.lookback
        series = contexts[:, -length:]
        if series.shape[1] < length:  # the oldest state stands for those before it
            missing = length - series.shape[1]
            series = torch.cat([series[:, :1].expand(-1, missing, -1), series], 1)
        patches = []
        for _ in range(-(-steps // self.patch)):
            heard = self.backbone(self.tokens(series))[:, -1:]
            patch = self.read(heard, self.newest(series)[:, -1:])[:, 0]
            series = torch.cat([series[:, self.patch :], patch], 1)
            patches.append(patch)
        return torch.cat(patches, 1)[:, :steps]

    def tokens(self, series: Series) -> Tokens:
        return self.drop(self.embed(self.delay_patches(series)) + self.code)

    def delay_patches(self, series: Series) -> Float[Tensor, "batch _tokens _features"]:
        """Features by coordinate, then delay, the oldest first, then time within the patch."""
        return series[:, self.times].movedim(-1, 2).flatten(2)

    def backbone(self, tokens: Tokens) -> Tokens:
        left, parts = tokens, []
        for layer in self.layers:
            parts.append(layer(left))
            left = left - self.remainder(parts[-1])
        return torch.stack(parts).sum(0)

    def newest(self, series: Series) -> Series:
        """The last state of each patch."""
        return series[:, self.span + self.patch - 1 :: self.patch]

    def read(self, heard: Tokens, newest: Series) -> Float[Tensor, "batch _tokens _patch dim"]:
        said = self.head(heard).unflatten(-1, (self.patch, -1))
        return said if self.scale is None else newest[:, :, None] + self.scale * said

    def error(self, heard: Tokens, newest: Series, following: Tensor) -> Tensor:
        """Mean squared, in units of `scale`."""
        difference = self.read(heard, newest) - following
        return (difference if self.scale is None else difference / self.scale).square().mean()


class Ahead(nn.Module):
    """A module of multi-token prediction, which is not there in forecasts."""

    def __init__(self, width: int, mamba: nn.Module) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.both = nn.Linear(2 * width, width)
        self.mamba = mamba

    def forward(self, heard: Tokens, tokens: Tokens) -> Tokens:
        parts = [F.rms_norm(part, self.weight.shape, self.weight) for part in (heard, tokens)]
        return self.mamba(self.both(torch.cat(parts, -1)))


def discrepancy(
    x: Float[Tensor, "*times samples dim"], y: Float[Tensor, "*times samples dim"]
) -> Float[Tensor, "*times"]:
    """Maximum mean discrepancy, squared: mean k(x, x') + mean k(y, y') - 2 mean k(x, y).

    k(a, b) = Σ s² / (s² + |a - b|²) over BANDWIDTHS; pairs of a sample with itself count.
    """

    def mean_kernel(a: Tensor, b: Tensor) -> Tensor:
        squares = a.square().sum(-1)[..., :, None] + b.square().sum(-1)[..., None, :]
        squares = (squares - 2 * a @ b.mT).clamp(min=0)
        return sum((s * s / (squares + s * s)).mean((-2, -1)) for s in BANDWIDTHS)

    return (mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)).clamp(min=0)


def delay_times(
    lookback: int, patch: int, delay: int, dimension: int
) -> Int[Tensor, "tokens dimension patch"]:
    """The times of the delay vectors of each patch, the oldest first; the first patch begins at 0.

    Times before that are negative.
    """
    starts = torch.arange(0, lookback, patch)[:, None, None]
    earlier = delay * torch.arange(dimension - 1, -1, -1)[:, None]
    return starts - earlier + torch.arange(patch)


def sinusoids(tokens: int, width: int) -> Float[Tensor, "tokens width"]:
    """sin and cos of position · 10000^(-2 i / width), as in Vaswani et al. 2017."""
    rates = torch.exp(-math.log(10000) * torch.arange(0, width, 2) / width)
    angles = torch.arange(tokens)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
