"""Stacks of state-space layers for models.hiss. Imports torch: to be imported at the first fit."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.ssm import S4D, Mamba1, Mamba2

LOWS = {"s4d": S4D, "mamba": Mamba1}
HEADDIM = 16


class Stack(nn.Module):
    """State-space layers, each after a norm and added to its input."""

    def __init__(self, layers: list[nn.Module], width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = x + layer(norm(x))
        return x

    def scan(self, x: Tensor, memory: list[Any]) -> tuple[Tensor, list[Any]]:
        following = []
        for layer, norm, state in zip(self.layers, self.norms, memory, strict=True):
            y, state = layer.scan(norm(x), state)
            x = x + y
            following.append(state)
        return x, following

    def at_rest(self, batch: int) -> list[Any]:
        return [layer.at_rest(batch) for layer in self.layers]


class HierarchicalNetwork(nn.Module):
    """The states of a chunk, from all chunks before it.

    The low stack hears each chunk by itself, and what it says at the chunk's end is one token of
    the high stack. If it is not `hierarchical`, both hear every state, and the high stack's word at
    a chunk's end counts: the same parameters. scale (steps, dim): the unit of a change in 1, 2, …
    steps.
    """

    def __init__(
        self,
        chunk: int,
        chunks: int,
        low: str,
        low_sizes: tuple[int, int],
        high_sizes: tuple[int, int],
        states: int,
        hierarchical: bool,
        scale: np.ndarray,
    ) -> None:
        super().__init__()
        dim = scale.shape[1]
        (low_width, low_layers), (width, layers) = low_sizes, high_sizes
        self.embed = nn.Linear(2 * dim, low_width)
        self.low = Stack(
            [LOWS[low](low_width, d_state=states) for _ in range(low_layers)], low_width
        )
        self.between = nn.Linear(low_width, width)
        self.high = Stack(
            [Mamba2(width, d_state=states, headdim=HEADDIM) for _ in range(layers)], width
        )
        self.norm = nn.RMSNorm(width)
        self.readout = nn.Linear(width, chunk * dim)
        nn.init.zeros_(self.readout.weight)  # persistence, at first
        nn.init.zeros_(self.readout.bias)
        self.chunk, self.context, self.hierarchical = chunk, 1 + chunk * chunks, hierarchical
        self.register_buffer("scale", torch.as_tensor(scale))

    def teacher_forced(self, windows: Tensor) -> Tensor:
        """The mean squared error of the chunk after each chunk, in units of changes."""
        changes = self.changes(windows[:, : -self.chunk])
        newest = windows[:, self.chunk : -self.chunk : self.chunk]
        truth = windows[:, 1 + self.chunk :].unflatten(1, (-1, self.chunk)) - newest[:, :, None]
        return (changes - truth / self.scale[: self.chunk]).square().mean()

    def free_running(self, windows: Tensor) -> Tensor:
        """The mean squared error of chunks after its own, in units of changes."""
        truth = windows[:, self.context :]
        error = self.run(windows[:, : self.context], truth.shape[1]) - truth
        return (error / self.scale[: truth.shape[1]]).square().mean()

    def run(self, contexts: Tensor, steps: int) -> Tensor:
        usable = min(self.context, 1 + (contexts.shape[1] - 1) // self.chunk * self.chunk)
        newest, blocks = contexts[:, -usable:], []
        memory = self.at_rest(len(contexts))
        for _ in range(0, steps, self.chunk):
            said, memory = self.after(newest, memory)
            changes = self.read(said[:, -1])
            blocks.append(newest[:, -1:] + self.scale[: self.chunk] * changes)
            newest = torch.cat([newest[:, -1:], blocks[-1]], 1)
        return torch.cat(blocks, 1)[:, :steps]

    def changes(self, states: Tensor) -> Tensor:
        """In units of `scale`, after each chunk: (batch, chunks, chunk, dim)."""
        said = self.embedded(states)
        if self.hierarchical:
            return self.read(self.high(self.between(self.heard_alone(said))))
        said = self.high(self.between(self.low(said)))
        return self.read(said[:, self.chunk - 1 :: self.chunk])

    def after(self, states: Tensor, memory: list[Any]) -> tuple[Tensor, list[Any]]:
        """The high stack's word on each chunk, and all that is remembered then."""
        said = self.embedded(states)
        if self.hierarchical:
            return self.high.scan(self.between(self.heard_alone(said)), memory)
        layers = len(self.low.layers)
        said, low = self.low.scan(said, memory[:layers])
        said, high = self.high.scan(self.between(said), memory[layers:])
        return said[:, self.chunk - 1 :: self.chunk], low + high

    def at_rest(self, batch: int) -> list[Any]:
        low = [] if self.hierarchical else self.low.at_rest(batch)
        return low + self.high.at_rest(batch)

    def embedded(self, states: Tensor) -> Tensor:
        """States and their differences; the first state has none, and is left out."""
        inputs = torch.cat([states[:, 1:], states.diff(dim=1) / self.scale[0]], -1)
        return self.embed(inputs)

    def heard_alone(self, said: Tensor) -> Tensor:
        """The low stack's word at the end of each chunk: (batch, chunks, width)."""
        chunks = said.unflatten(1, (-1, self.chunk))
        return self.low(chunks.flatten(0, 1))[:, -1].unflatten(0, chunks.shape[:2])

    def read(self, said: Tensor) -> Tensor:
        return self.readout(self.norm(said)).unflatten(-1, (self.chunk, -1))
