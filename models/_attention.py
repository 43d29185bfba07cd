"""Layers of transformers: attention with rotary positions, and the block that is made of it.

Imports torch: to be imported when a model is fitted.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

SLOWEST = 1e4  # steps in a radian of the slowest rotary angle

Sequence = Float[Tensor, "batch times width"]
Allowed = Bool[Tensor, "..."]  # (queries, keys), or one for each of the batch


class Attention(nn.Module):
    """Of queries to keys and values of another sequence, or of the same one, in several heads.

    Queries and keys are turned by angles proportional to their times (Su et al., arXiv 2104.09864),
    so that what counts is the time between two.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width {width} must be a multiple of twice the {heads} heads")
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self, x: Tensor, other: Tensor, allowed: Allowed, times: Tensor, other_times: Tensor
    ) -> Tensor:
        """(batch, queries, width); times are (queries) or (batch, queries), and so on.

        A query that is allowed no key hears all of them alike.
        """
        query = rotated(self._split(self.query(x)), times)
        key, value = (self._split(y) for y in self.key_value(other).chunk(2, -1))
        key = rotated(key, other_times)
        mask = allowed[:, None] if allowed.dim() == 3 else allowed  # for all heads
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """x + attention(norm x), and then x + W3 (SiLU(W1 norm x) · W2 norm x)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        hidden = -(-8 * width // 24) * 8  # 8/3 width, as is usual with three matrices
        self.norm, self.norm2 = norm(width), norm(width)
        self.attention = Attention(width, heads)
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, allowed: Allowed, times: Tensor) -> Tensor:
        heard = self.norm(x)
        x = x + self.attention(heard, heard, allowed, times, times)
        gate, up = self.gate_up(self.norm2(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


def norm(width: int) -> nn.Module:
    """x / root mean square of x, times a weight for each channel."""
    return nn.RMSNorm(width, eps=1e-6)


def rotated(x: Float[Tensor, "batch heads times size"], times: Tensor) -> Tensor:
    """Pairs of channels turned by the time over 1, … SLOWEST steps."""
    half = x.shape[-1] // 2
    rates = SLOWEST ** (-torch.arange(half, device=x.device, dtype=x.dtype) / half)
    angle = times.to(x.dtype)[..., None] * rates
    if angle.dim() == 3:
        angle = angle[:, None]  # one for each of the batch, for all heads
    (a, b), cos, sin = x.chunk(2, -1), angle.cos(), angle.sin()
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def causal(times: Tensor) -> Allowed:
    """Each time hears itself and what was before it."""
    return times[:, None] >= times
