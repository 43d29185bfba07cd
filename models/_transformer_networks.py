"""Transformers for models.transformer. Imports torch: to be imported when a model is fitted."""

import numpy as np
import torch
from torch import Tensor, nn

from models._attention import Attention, Block, Heard, Turns, earlier


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
        self.blocks = nn.ModuleList(Block(width, heads, ratio) for _ in range(layers))
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

    def run(self, contexts: Tensor, steps: int) -> Tensor:
        contexts = contexts[:, -self.context :]
        state, states, first = contexts[:, -1], [], contexts.shape[1]
        cos, sin = self.turns(first + steps, contexts)
        increments, heard = self.increments(contexts)
        for now in range(first, first + steps):
            state = state + self.scale * increments[:, -1]
            states.append(state)
            here = cos[..., now : now + 1, :], sin[..., now : now + 1, :]
            increments, heard = self.increments(state[:, None], heard, here)
        return torch.stack(states, 1)

    def increments(
        self, states: Tensor, heard: list[Heard] | None = None, turns: Turns | None = None
    ) -> tuple[Tensor, list[Heard]]:
        """In units of `scale`, after each state of a sequence, or of one state after what was
        heard; and what the next state will hear, for each layer."""
        tokens, following = self.embed(states), []
        turns = self.turns(states.shape[1], states) if turns is None else turns
        allowed = None  # one state hears all that was kept
        if heard is None:
            allowed = earlier(torch.arange(states.shape[1], device=states.device), self.window)
        for layer, block in enumerate(self.blocks):
            before = None if heard is None else heard[layer]
            tokens, both = block(tokens, turns, allowed, before)
            following.append(both.last(self.window - 1))
        return self.readout(self.norm(tokens)), following

    def turns(self, times: int, like: Tensor) -> Turns:
        positions = torch.arange(times, device=like.device)
        return self.blocks[0].attention.turns(positions, like.dtype)


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
        self.across = nn.ModuleList(Block(width, heads, ratio) for _ in range(layers))
        self.norm = nn.RMSNorm(width)
        self.readout = nn.Linear(width, horizon)
        nn.init.zeros_(self.readout.weight)  # persistence, at first
        nn.init.zeros_(self.readout.bias)
        self.context, self.patch, self.horizon = context, patch, horizon
        # with the shape of scale, all that it takes to make the network again
        self.sizes = {"context": context, "patch": patch, "width": width}
        self.sizes |= {"layers": layers, "heads": heads, "ratio": ratio}
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
        allowed = earlier(positions, patches)
        for in_time, across in zip(self.in_time, self.across, strict=True):
            tokens = in_time(tokens, in_time.hears(tokens, turns), turns, allowed)
            mixed, _ = across(tokens.transpose(1, 2))
            tokens = mixed.transpose(1, 2)
        return self.readout(self.norm(tokens)).permute(0, 2, 3, 1)
