"""Layers of transformers: attention with rotary positions, dense layers, and blocks of both.

Each takes the norm of its input first and adds its output to it. Tokens are (…, tokens, width).
Imports torch: to be imported when a model is fitted.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor, nn

WAVELENGTH = 500.0  # tokens, as in Panda
TURNING = 0.75  # of the channels of a head; the rest know what, not where

Turns = tuple[Tensor, Tensor]
Allowed = Bool[Tensor, "*batch queries keys"]  # who hears whom


class Heard(NamedTuple):
    """Keys and values of tokens, (…, heads, tokens, channels of a head)."""

    keys: Tensor
    values: Tensor

    def then(self, later: "Heard") -> "Heard":
        return Heard(*(torch.cat(both, -2) for both in zip(self, later, strict=True)))

    def last(self, tokens: int) -> "Heard":
        # -0 would be all of them
        first = max(0, self.keys.shape[-2] - tokens)
        return Heard(self.keys[..., first:, :], self.values[..., first:, :])


class Attention(nn.Module):
    """x + W softmax(q k' / sqrt(channels)) v, in several heads, of what it `hears`.

    Keys and values may come from other tokens than queries, and be remembered. Rotary positions
    if there are any: see `rotated`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width {width} must be a multiple of 2 · heads = {2 * heads}")
        self.norm = nn.RMSNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.heads = heads

    def hears(self, tokens: Tensor, turns: Turns | None = None) -> Heard:
        keys, values = (self._split(y) for y in self.key_value(self.norm(tokens)).chunk(2, -1))
        return Heard(keys if turns is None else rotated(keys, turns), values)

    def forward(
        self, x: Tensor, heard: Heard, turns: Turns | None = None, allowed: Allowed | None = None
    ) -> Tensor:
        """A token that is allowed nothing hears everything alike."""
        query = self._split(self.query(self.norm(x)))
        query = query if turns is None else rotated(query, turns)
        # Written out: the fused function has no rule for vmap, and sizes are small.
        weights = query @ heard.keys.mT / math.sqrt(query.shape[-1])
        if allowed is not None:
            least = torch.finfo(weights.dtype).min
            weights = weights.masked_fill(~allowed.unsqueeze(-3), least)  # for all heads
        mixed = weights.softmax(-1) @ heard.values
        return x + self.out(mixed.transpose(-3, -2).flatten(-2))

    def turns(self, positions: Tensor, dtype: torch.dtype) -> Turns:
        return turned(positions, self.out.in_features // self.heads, dtype)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)


class FeedForward(nn.Module):
    """x + W GELU(V x), with `ratio` · width units between."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.into = nn.Linear(width, ratio * width)
        self.out = nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(F.gelu(self.into(self.norm(x))))


class Block(nn.Module):
    """Tokens hear each other, and then themselves through two dense layers."""

    def __init__(self, width: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.attention, self.feed = Attention(width, heads), FeedForward(width, ratio)

    def forward(
        self,
        x: Tensor,
        turns: Turns | None = None,
        allowed: Allowed | None = None,
        before: Heard | None = None,
    ) -> tuple[Tensor, Heard]:
        """The tokens after it, and all that they heard: themselves, and what was `before`."""
        heard = self.attention.hears(x, turns)
        if before is not None:
            heard = before.then(heard)
        return self.feed(self.attention(x, heard, turns, allowed)), heard


def turned(positions: Tensor, channels: int, dtype: torch.dtype) -> Turns:
    """Cosine and sine of the angles at positions (…, tokens), (…, 1, tokens, channels of a head).

    The 1 stands for all heads.
    """
    half = channels // 2
    number = torch.arange(half, dtype=dtype, device=positions.device)
    rates = torch.where(number < TURNING * half, WAVELENGTH ** (-number / half), 0.0)
    angle = (positions[..., None, :, None].to(dtype) * rates).tile(2)
    return angle.cos(), angle.sin()


def rotated(x: Tensor, turns: Turns) -> Tensor:
    """Pairs of channels turned by angles proportional to the position (RoPE, arXiv 2104.09864).

    Products of a query and a key then depend on how far apart they are.
    """
    one, other = x.chunk(2, -1)
    cos, sin = turns
    return x * cos + torch.cat([-other, one], -1) * sin


def earlier(times: Tensor, window: int) -> Allowed:
    """Each token hears itself, and what was less than `window` before it."""
    ago = times[:, None] - times
    return (ago >= 0) & (ago < window)
