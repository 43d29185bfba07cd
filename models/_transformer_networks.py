"""Transformers for models.transformer. Imports torch: to be imported when a model is fitted.

All layers take the norm of their input first and add their output to it; no biases, no dropout.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

WAVELENGTH = 500.0  # tokens, as in Panda
TURNING = 0.75  # of the channels of a head; the rest know what, not where


Turns = tuple[Tensor, Tensor]


class Heard(NamedTuple):
    """Keys and values of earlier tokens, (…, heads, tokens, channels of a head)."""

    keys: Tensor
    values: Tensor

    def last(self, tokens: int) -> "Heard":
        # -0 would be all of them
        first = max(0, self.keys.shape[-2] - tokens)
        return Heard(self.keys[..., first:, :], self.values[..., first:, :])


class Attention(nn.Module):
    """softmax(q k' / sqrt(channels)) v over tokens, with rotary positions if there are any."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width {width} must be a multiple of 2 · heads = {2 * heads}")
        self.norm = nn.RMSNorm(width)
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.heads = heads

    def forward(
        self,
        x: Tensor,
        turns: Turns | None = None,
        mask: Tensor | None = None,
        before: Heard | None = None,
    ) -> tuple[Tensor, Heard]:
        """x (…, tokens, width) with what it hears added, and all keys and values."""
        parts = self.project(self.norm(x)).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(-3, -2) for part in parts)
        if turns is not None:
            q, k = rotated(q, turns), rotated(k, turns)
        if before is not None:
            k, v = torch.cat([before.keys, k], -2), torch.cat([before.values, v], -2)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return x + self.out(mixed.transpose(-3, -2).flatten(-2)), Heard(k, v)

    def turns(self, positions: Tensor, dtype: torch.dtype) -> Turns:
        return turned(positions, self.out.in_features // self.heads, dtype)


class FeedForward(nn.Module):
    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.into = nn.Linear(width, ratio * width)
        self.out = nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(F.gelu(self.into(self.norm(x))))


def turned(positions: Tensor, channels: int, dtype: torch.dtype) -> Turns:
    """Cosine and sine of the angles at each position, for the pairs of channels of a head."""
    half = channels // 2
    number = torch.arange(half, dtype=dtype, device=positions.device)
    rates = torch.where(number < TURNING * half, WAVELENGTH ** (-number / half), 0.0)
    angle = (positions[:, None].to(dtype) * rates).repeat(1, 2)
    return angle.cos(), angle.sin()


def rotated(x: Tensor, turns: Turns) -> Tensor:
    """Pairs of channels turned by angles proportional to the position (RoPE, arXiv 2104.09864).

    Products of a query and a key then depend on how far apart they are.
    """
    one, other = x.chunk(2, -1)
    cos, sin = turns
    return x * cos + torch.cat([-other, one], -1) * sin


def earlier(tokens: int, window: int, device: torch.device) -> Tensor:
    """Which token hears which: itself, and the `window` - 1 before it."""
    ago = torch.arange(tokens, device=device)[:, None] - torch.arange(tokens, device=device)
    return (ago >= 0) & (ago < window)


class StepTransformer(nn.Module):
    """x(t+1) = x(t) + scale · readout(tokens up to t), a token for each state.

    Layer by layer a token hears the last `window` tokens, itself among them, so a forecast depends
    on the last layers · (window - 1) + 1 states.
    """

    def __init__(
        self, width: int, layers: int, heads: int, ratio: int, window: int, scale: np.ndarray
    ) -> None:
        super().__init__()
        dim = len(scale)
        self.embed = nn.Linear(dim, width)
        self.attentions = nn.ModuleList(Attention(width, heads) for _ in range(layers))
        self.feeds = nn.ModuleList(FeedForward(width, ratio) for _ in range(layers))
        self.norm = nn.RMSNorm(width)
        self.readout = nn.Linear(width, dim)
        nn.init.zeros_(self.readout.weight)  # persistence, at first
        nn.init.zeros_(self.readout.bias)
        self.window, self.context = window, layers * (window - 1) + 1
        self.register_buffer("scale", torch.as_tensor(scale))

    def teacher_forced(self, windows: Tensor) -> Tensor:
        """The mean squared error of increments after true states."""
        increments, _ = self.increments(windows[:, :-1])
        return (increments - windows.diff(dim=1) / self.scale).square().mean()

    def free_running(self, windows: Tensor) -> Tensor:
        """The mean squared error of states after its own, in units of increments."""
        truth = windows[:, self.context :]
        error = (self.run(windows[:, : self.context], truth.shape[1]) - truth) / self.scale
        return error.square().mean()

    def run(self, contexts: Tensor, steps: int) -> Tensor:
        contexts = contexts[:, -self.context :]
        state, states, first = contexts[:, -1], [], contexts.shape[1]
        cos, sin = self.turns(first + steps, contexts)
        increments, heard = self.increments(contexts)
        for now in range(first, first + steps):
            state = state + self.scale * increments[:, -1]
            states.append(state)
            here = cos[now : now + 1], sin[now : now + 1]
            increments, heard = self.increments(state[:, None], heard, here)
        return torch.stack(states, 1)

    def increments(
        self, states: Tensor, heard: list[Heard] | None = None, turns: Turns | None = None
    ) -> tuple[Tensor, list[Heard]]:
        """In units of `scale`, after each state of a sequence, or of one state after what was
        heard; and what the next state will hear, for each layer."""
        tokens, following = self.embed(states), []
        turns = self.turns(states.shape[1], states) if turns is None else turns
        # one state hears all that was kept
        mask = earlier(states.shape[1], self.window, states.device) if heard is None else None
        for layer, (attention, feed) in enumerate(zip(self.attentions, self.feeds, strict=True)):
            before = None if heard is None else heard[layer]
            tokens, both = attention(tokens, turns, mask, before)
            following.append(both.last(self.window - 1))
            tokens = feed(tokens)
        return self.readout(self.norm(tokens)), following

    def turns(self, times: int, like: Tensor) -> Turns:
        return self.attentions[0].turns(torch.arange(times, device=like.device), like.dtype)


class PatchTransformer(nn.Module):
    """The `horizon` states after each patch, from the patches up to it.

    A token is a patch of one coordinate. In each layer it hears the earlier patches of its
    coordinate, then this patch of all coordinates, then itself through two dense layers.
    scale (horizon, dim): the unit of the change since the last state of a patch.
    """

    def __init__(
        self,
        context: int,
        patch: int,
        width: int,
        layers: int,
        heads: int,
        ratio: int,
        scale: np.ndarray,
    ) -> None:
        super().__init__()
        horizon, dim = scale.shape
        self.embed = nn.Linear(patch, width)
        # which coordinate a token is of: attention alone could not tell
        self.coordinate = nn.Parameter(torch.randn(dim, 1, width))
        self.in_time = nn.ModuleList(Attention(width, heads) for _ in range(layers))
        self.across = nn.ModuleList(Attention(width, heads) for _ in range(layers))
        self.feeds = nn.ModuleList(FeedForward(width, ratio) for _ in range(layers))
        self.norm = nn.RMSNorm(width)
        self.readout = nn.Linear(width, horizon)
        nn.init.zeros_(self.readout.weight)  # persistence, at first
        nn.init.zeros_(self.readout.bias)
        self.context, self.patch, self.horizon = context, patch, horizon
        self.register_buffer("scale", torch.as_tensor(scale))

    def after_each_patch(self, windows: Tensor) -> Tensor:
        """The mean squared error of the states after each patch, in units of their changes."""
        known = windows[:, : -self.horizon]
        newest = known[:, self.patch - 1 :: self.patch]
        futures = windows.unfold(1, self.horizon, 1).mT  # (batch, starts, horizon, dim)
        truth = futures[:, self.patch :: self.patch] - newest[:, :, None]
        return (self.changes(known) - truth / self.scale).square().mean()

    def run(self, contexts: Tensor, steps: int) -> Tensor:
        states, blocks = contexts, []
        for _ in range(0, steps, self.horizon):
            usable = min(self.context, states.shape[1] // self.patch * self.patch)
            states = states[:, -usable:]
            blocks.append(states[:, -1:] + self.scale * self.changes(states)[:, -1])
            states = torch.cat([states, blocks[-1]], 1)
        return torch.cat(blocks, 1)[:, :steps]

    def changes(self, states: Tensor) -> Tensor:
        """In units of `scale`, after each patch: (batch, patches, horizon, dim)."""
        tokens = self.embed(states.mT.unflatten(-1, (-1, self.patch))) + self.coordinate
        patches = tokens.shape[2]
        positions = torch.arange(patches, device=states.device)
        turns = self.in_time[0].turns(positions, tokens.dtype)
        mask = earlier(patches, patches, states.device)
        for in_time, across, feed in zip(self.in_time, self.across, self.feeds, strict=True):
            tokens, _ = in_time(tokens, turns, mask)
            mixed, _ = across(tokens.transpose(1, 2))
            tokens = feed(mixed.transpose(1, 2))
        return self.readout(self.norm(tokens)).permute(0, 2, 3, 1)
