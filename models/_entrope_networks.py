"""Networks for models.entrope. Imports torch: to be imported when a model is fitted.

Sequences are windows of all channels together or, where channels are independent, one a channel.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from models._attention import Attention, Block, earlier
from models.base import Trajectories

TAILS = 0.005  # of the training values, on each side, that are clipped to the outermost bins
LAYERS = 2  # of the entropy model
RATIO = 4  # of the units between dense layers to the width
ROUNDING = 1e-5  # entropies that differ by less are equal: where nothing happens, nothing is cut

Sequences = Float[Tensor, "sequences times channels"]
Tokens = Int[Tensor, "sequences times channels"]
Starts = Bool[Tensor, "sequences times"]  # whether a patch starts there


@dataclass(frozen=True)
class Channels:
    """How windows (batch, times, dim) become sequences, and forecasts of these states again."""

    independent: bool  # each channel is a sequence
    normalised: bool  # each window by its own mean and standard deviation

    def sequences(self, windows: Tensor) -> Sequences:
        mean, deviation = self._frame(windows)
        return self.folded((windows - mean) / deviation)

    def examples(self, train: Trajectories, times: int) -> Sequences:
        """From training windows of so many times, half of one after the other."""
        windows = torch.as_tensor(train).unfold(1, min(times, train.shape[1]), -(-times // 2))
        return self.sequences(windows.flatten(0, 1).mT)

    def folded(self, windows: Tensor) -> Sequences:
        return windows.mT.flatten(0, 1)[..., None] if self.independent else windows

    def states(self, changes: Sequences, windows: Tensor) -> Tensor:
        """After the last of each window."""
        if self.independent:
            changes = changes[..., 0].unflatten(0, (len(windows), -1)).mT
        _, deviation = self._frame(windows)
        return windows[:, -1:] + deviation * changes

    def _frame(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        if not self.normalised:
            return torch.zeros_like(windows[:, :1]), torch.ones_like(windows[:, :1])
        deviation = windows.var(1, correction=0, keepdim=True).add(1e-5).sqrt()
        return windows.mean(1, keepdim=True), deviation


class Bins(nn.Module):
    """Of each value the number of its bin, of which each has a vector; these, summed over channels.

    Bins are equal, between the outer quantiles of `values`.
    """

    def __init__(self, values: Sequences, bins: int, width: int) -> None:
        super().__init__()
        flat = values.flatten(0, 1).numpy()
        lowest, highest = np.quantile(flat, [TAILS, 1 - TAILS], axis=0)
        highest = np.where(highest > lowest, highest, lowest + 1.0)
        self.channels, self.width, self.bins = flat.shape[1], width, bins
        self.register_buffer("lowest", torch.as_tensor(lowest))
        self.register_buffer("spacing", torch.as_tensor((highest - lowest) / bins))
        self.vectors = nn.Parameter(0.1 * torch.randn(self.channels, bins, width))

    def tokens(self, x: Sequences) -> Tokens:
        # a forecast that has diverged is in some bin, too
        number = torch.nan_to_num((x - self.lowest) / self.spacing)
        return number.clamp(0, self.bins - 1).long()

    def embedded(self, tokens: Tokens) -> Tensor:
        return torch.stack([of[tokens[..., i]] for i, of in enumerate(self.vectors)]).sum(0)

    def forward(self, x: Sequences) -> Tensor:
        return self.embedded(self.tokens(x))


class EntropyModel(nn.Module):
    """p(bin of x(t+1) | bins of x(t), x(t-1), …) by a causal transformer, for each channel."""

    def __init__(self, values: Sequences, bins: int, width: int, heads: int) -> None:
        super().__init__()
        self.bins = Bins(values, bins, width)
        self.blocks = nn.ModuleList(Block(width, heads, RATIO) for _ in range(LAYERS))
        self.norm = nn.RMSNorm(width)

    def log_probabilities(self, tokens: Tokens) -> Float[Tensor, "sequences times channels bins"]:
        """Of the bins one step later; the vectors that embed a bin also read it out."""
        times = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.bins.embedded(tokens)
        turns = self.blocks[0].attention.turns(times, x.dtype)
        for block in self.blocks:
            x, _ = block(x, turns, earlier(times, len(times)))
        return torch.einsum("stw,cbw->stcb", self.norm(x), self.bins.vectors).log_softmax(-1)

    def cross_entropy(self, x: Sequences) -> Tensor:
        tokens = self.bins.tokens(x)
        log_p = self.log_probabilities(tokens[:, :-1])
        return -log_p.gather(-1, tokens[:, 1:, :, None]).mean()

    def forward(self, x: Sequences) -> Float[Tensor, "sequences times"]:
        """H(t) = -Σ p log p of what follows t, summed over channels."""
        log_p = self.log_probabilities(self.bins.tokens(x))
        return -(log_p.exp() * log_p).sum((-1, -2))


@dataclass(frozen=True)
class Cuts:
    """Where patches start: `rule` decides from entropies, and none is longer than `longest`."""

    rule: str  # quantile, dual or fixed
    level: float  # of the quantiles
    longest: int

    def starts(self, entropies: Float[Tensor, "sequences times"]) -> Starts:
        """What is uncertain at t, before x(t+1) is seen, starts a patch at t+1."""
        if self.rule == "fixed":
            new = torch.zeros_like(entropies[:, 1:], dtype=torch.bool)
        else:
            new = above(entropies[:, :-1], self.level)
        if self.rule == "dual":
            rises = above(entropies[:, :-1].diff(dim=1), self.level)
            new = new & torch.cat([torch.zeros_like(new[:, :1]), rises], 1)
        new = torch.cat([torch.ones_like(entropies[:, :1], dtype=torch.bool), new], 1)
        times = torch.arange(new.shape[1], device=new.device)
        since = times - torch.where(new, times, 0).cummax(1).values
        return since % self.longest == 0

    def most(self, times: int) -> int:
        """Patches that so many times can have."""
        cuts = 0 if self.rule == "fixed" else times - 2 - rank(times - 1, self.level)
        patches = max(1, cuts + 1)
        return min(times, patches + (times - patches) // self.longest)


def rank(count: int, level: float) -> int:
    """The place, from 0, of the quantile among so many values in order."""
    return int(level * (count - 1))


def above(values: Float[Tensor, "sequences _times"], level: float) -> Bool[Tensor, "..."]:
    """Whether each is greater than this quantile of its sequence."""
    if values.shape[1] == 0:
        return torch.zeros_like(values, dtype=torch.bool)
    quantile = values.sort(1).values[:, rank(values.shape[1], level)]
    return values > quantile[:, None] + ROUNDING


class PatchForecaster(nn.Module):
    """From a sequence and its patches to `horizon` changes since its last value.

    Tokens, one a time, hear the past. A patch begins as the maximum of its tokens, channel by
    channel, and hears its own tokens (or also earlier ones); then patches hear each other, tokens
    hear their patch and those before it, and the last token forecasts. A patch's time is that of
    its last token. Numbers beyond the last patch belong to none, and nobody hears them.
    """

    def __init__(
        self,
        embed: "Bins | WithDifferences",
        horizon: int,
        *,
        most: int,
        heads: int,
        layers: int,
        own_tokens: bool,
    ) -> None:
        super().__init__()
        width, self.shape = embed.width, (horizon, embed.channels)
        self.most, self.own_tokens = most, own_tokens
        self.embed = embed
        self.encoder, self.decoder = (Block(width, heads, RATIO) for _ in range(2))
        self.into_patches, self.out_of_patches = (Attention(width, heads) for _ in range(2))
        self.between = nn.ModuleList(Block(width, heads, RATIO) for _ in range(layers))
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, horizon * embed.channels)
        nn.init.zeros_(self.head.weight)  # persistence, at first
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Sequences, starts: Starts) -> Float[Tensor, "sequences horizon channels"]:
        times = torch.arange(starts.shape[1], device=starts.device)
        owner = starts.cumsum(1) - 1
        numbers = torch.arange(self.most, device=starts.device)
        owns = owner[:, None] == numbers[:, None]  # (sequences, patches, times)
        heard = owns if self.own_tokens else owner[:, None] <= numbers[:, None]
        filled = owns.any(2)
        ends = torch.where(owns, times, 0).amax(2)
        tokens = self.embed(x)
        of_tokens, of_patches = (
            self.into_patches.turns(when, tokens.dtype) for when in (times, ends)
        )
        past = earlier(times, len(times))
        tokens, _ = self.encoder(tokens, of_tokens, past)
        said = self.into_patches.hears(tokens, of_tokens)
        patches = self.into_patches(pooled(tokens, owns), said, of_patches, heard)
        for block in self.between:
            patches, _ = block(patches, of_patches, filled[:, None])
        said = self.out_of_patches.hears(patches, of_patches)
        known = owner[:, :, None] >= numbers  # (sequences, times, patches)
        tokens = self.out_of_patches(tokens, said, of_tokens, known)
        tokens, _ = self.decoder(tokens, of_tokens, past)
        tokens = self.norm(tokens)
        return self.head(tokens[:, -1]).unflatten(-1, self.shape)


def pooled(
    tokens: Float[Tensor, "sequences times width"], owns: Bool[Tensor, "sequences patches times"]
) -> Float[Tensor, "sequences patches width"]:
    """The maximum over the tokens of each patch; 0 for a patch without any."""
    own = tokens[:, None].masked_fill(~owns[..., None], -torch.inf).amax(2)
    return own.masked_fill(~owns.any(2)[..., None], 0.0)


class WithDifferences(nn.Module):
    """Linear([x(t), dx(t)]), dx in units of its root mean square, 0 at the first time."""

    def __init__(self, values: Sequences, width: int) -> None:
        super().__init__()
        self.channels, self.width = values.shape[-1], width
        self.linear = nn.Linear(2 * self.channels, width)
        scale = values.diff(dim=1).square().mean((0, 1)).sqrt()
        self.register_buffer("scale", torch.where(scale > 0, scale, 1.0))

    def forward(self, x: Sequences) -> Tensor:
        change = torch.cat([torch.zeros_like(x[:, :1]), x.diff(dim=1)], 1) / self.scale
        return self.linear(torch.cat([x, change], -1))


class EntroPENetwork(nn.Module):
    """States block by block: entropies, patches, and `horizon` states after the last one.

    scale (horizon, dim): the unit of the change since the last state.
    """

    def __init__(
        self,
        entropy: EntropyModel,
        forecaster: PatchForecaster,
        cuts: Cuts,
        channels: Channels,
        memory: int,
        scale: Float[np.ndarray, "horizon dim"],
    ) -> None:
        super().__init__()
        self.entropy, self.forecaster = entropy, forecaster
        self.cuts, self.channels, self.memory = cuts, channels, memory
        self.register_buffer("scale", torch.as_tensor(scale))

    def cross_entropy(self, windows: Tensor) -> Tensor:
        """Of the entropy model."""
        return self.entropy.cross_entropy(self.channels.sequences(windows))

    def free_running(self, windows: Tensor) -> Tensor:
        """The mean squared error of its own run after `memory` states, in units of `scale`."""
        context, truth = windows[:, : self.memory], windows[:, self.memory :]
        error = self.run(context, truth.shape[1]) - truth
        return (error.unflatten(1, (-1, len(self.scale))) / self.scale).square().mean()

    def run(self, contexts: Tensor, steps: int) -> Tensor:
        states, blocks = contexts, []
        for _ in range(0, steps, len(self.scale)):
            states = states[:, -self.memory :]
            blocks.append(self.following(states))
            states = torch.cat([states, blocks[-1]], 1)
        return torch.cat(blocks, 1)[:, :steps]

    def following(self, windows: Tensor) -> Tensor:
        sequences = self.channels.sequences(windows)
        changes = self.forecaster(sequences, self.starts(sequences))
        scale = self.scale
        if self.channels.independent:
            scale = scale.T.repeat(len(windows), 1)[..., None]
        return self.channels.states(scale * changes, windows)

    def starts(self, sequences: Sequences) -> Starts:
        if self.cuts.rule == "fixed":
            return self.cuts.starts(sequences[..., 0])
        with torch.no_grad():
            return self.cuts.starts(self.entropy(sequences))
