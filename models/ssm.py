"""State-space layers, Mamba-1, Mamba-2 and S4D, in plain PyTorch, on any device.

Parameters have the names and shapes of mamba-ssm (and of s4d.py from the authors of S4), so weights
are interchangeable. Every layer maps (batch, times, channels) to the same shape, causally:

    layer(x)              a whole sequence, in parallel over time or nearly so
    layer.scan(x, state)  a piece of one, from the state that the piece before it left
    layer.step(x, state)  one time, x (batch, channels): the recurrence itself, for roll-outs
    layer.at_rest(batch)  the state before the first time

`scan` and `step` return (y, state). States are tuples of tensors, never changed in place. The two
scans, `selective_scan` and `ssd`, are functions of their own. On a GPU where mamba-ssm is installed
(extra `mamba`) its kernels do their work, unless the environment says DYSTS_BENCH_SSM=torch.
Imports torch: to be imported when a model is fitted.
"""

import math
import os
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from torch import Tensor, nn

Sequence = Float[Tensor, "batch times channels"]
Now = Float[Tensor, "batch channels"]
PIECE = 2**18  # numbers of hidden states that a processor's cache holds, with their decays


class State(NamedTuple):
    """What a Mamba layer remembers: the newest inputs of its convolution, and its hidden state."""

    inputs: Float[Tensor, "batch recent inner"]
    hidden: Tensor


class Mamba2(nn.Module):
    """Mamba-2 (Dao & Gu, arXiv 2405.21060): one decay a head, so that a scan is made of matmuls.

    [z, x, B, C, dt] = W_in u; x, B, C pass a causal convolution and a SiLU; h and y are those of
    `ssd` with dt = softplus(dt + bias), A = -exp(A_log); the output is W_out norm(y · SiLU(z)).
    expand · d_model / headdim heads; B and C are shared by the heads of a group. Of chunks of 16,
    32 and 64 those of 32 train fastest on a CPU. The Mamba layer to take unless weights say
    otherwise: it trains in half to two thirds of Mamba-1's time (benchmarks.scans).
    """

    def __init__(
        self,
        d_model: int,
        *,
        d_state: int = 128,
        d_conv: int = 4,
        expand: int = 2,
        headdim: int = 64,
        ngroups: int = 1,
        chunk: int = 32,
    ) -> None:
        super().__init__()
        inner = expand * d_model
        if inner % headdim or (inner // headdim) % ngroups:
            raise ValueError(
                f"headdim {headdim} must divide expand · d_model = {inner}, and ngroups {ngroups} "
                "the number of heads"
            )
        self.heads, self.headdim, self.groups = inner // headdim, headdim, ngroups
        self.states, self.chunk = d_state, chunk
        self.sizes = (inner, inner + 2 * ngroups * d_state, self.heads)
        self.in_proj = nn.Linear(d_model, sum(self.sizes), bias=False)
        self.conv1d = nn.Conv1d(self.sizes[1], self.sizes[1], d_conv, groups=self.sizes[1])
        self.dt_bias = nn.Parameter(_initial_dt_bias(self.heads))
        self.A_log = nn.Parameter(torch.empty(self.heads).uniform_(1, 16).log())
        self.D = nn.Parameter(torch.ones(self.heads))
        self.norm = _GroupNorm(inner, ngroups)
        self.out_proj = nn.Linear(inner, d_model, bias=False)

    def forward(self, u: Sequence) -> Sequence:
        return self._scan(u, None)[0]

    def scan(self, u: Sequence, state: State) -> tuple[Sequence, State]:
        return self._scan(u, state)

    def _scan(self, u: Tensor, state: State | None) -> tuple[Tensor, State]:
        z, mixed, dt = self.in_proj(u).split(self.sizes, -1)
        mixed, inputs = _convolved(mixed, self.conv1d, None if state is None else state.inputs)
        x, B, C = self._parts(mixed)
        y, hidden = ssd(
            x,
            F.softplus(dt + self.dt_bias),
            -self.A_log.exp(),
            B,
            C,
            None if state is None else state.hidden,
            chunk=self.chunk,
        )
        y = torch.addcmul(y, self.D[:, None], x).flatten(-2)
        return self.out_proj(self.norm(y * F.silu(z))), State(inputs, hidden)

    def step(self, u: Now, state: State) -> tuple[Now, State]:
        z, mixed, dt = self.in_proj(u).split(self.sizes, -1)
        mixed, inputs = _convolved_now(mixed, self.conv1d, state.inputs)
        x, B, C = self._parts(mixed)
        per_group = self.heads // self.groups
        B, C = (v.repeat_interleave(per_group, -2) for v in (B, C))  # (batch, heads, states)
        dt = F.softplus(dt + self.dt_bias)
        decay = (-dt * self.A_log.exp()).exp()
        hidden = (
            decay[..., None, None] * state.hidden + (dt[..., None] * x)[..., None] * B[..., None, :]
        )
        y = ((hidden @ C[..., None])[..., 0] + self.D[:, None] * x).flatten(-2)
        return self.out_proj(self.norm(y * F.silu(z))), State(inputs, hidden)

    def at_rest(self, batch: int) -> State:
        new = self.A_log.new_zeros
        recent = self.conv1d.kernel_size[0] - 1
        return State(
            new(batch, recent, self.sizes[1]), new(batch, self.heads, self.headdim, self.states)
        )

    def _parts(self, mixed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (…, heads, headdim), B and C (…, groups, states)."""
        shared = self.groups * self.states
        x, B, C = mixed.split([self.sizes[0], shared, shared], -1)
        return (
            x.unflatten(-1, (self.heads, self.headdim)),
            B.unflatten(-1, (self.groups, self.states)),
            C.unflatten(-1, (self.groups, self.states)),
        )


class Mamba1(nn.Module):
    """Mamba (Gu & Dao, arXiv 2312.00752): a decay of its own for each channel and hidden state.

    [x, z] = W_in u; x passes a causal convolution and a SiLU; [dt, B, C] = W_x x; h and y are those
    of `selective_scan` with dt = softplus(W_dt dt + bias), A = -exp(A_log); the output is
    W_out (y · SiLU(z)).
    """

    def __init__(
        self,
        d_model: int,
        *,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        dt_rank: int | None = None,
    ) -> None:
        super().__init__()
        inner, self.rank, self.states = expand * d_model, dt_rank or -(-d_model // 16), d_state
        self.in_proj = nn.Linear(d_model, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, d_conv, groups=inner)
        self.x_proj = nn.Linear(inner, self.rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(self.rank, inner)
        nn.init.uniform_(self.dt_proj.weight, -(self.rank**-0.5), self.rank**-0.5)
        with torch.no_grad():
            self.dt_proj.bias.copy_(_initial_dt_bias(inner))
        self.A_log = nn.Parameter(torch.arange(1.0, d_state + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, d_model, bias=False)

    def forward(self, u: Sequence) -> Sequence:
        return self._scan(u, None)[0]

    def scan(self, u: Sequence, state: State) -> tuple[Sequence, State]:
        return self._scan(u, state)

    def _scan(self, u: Tensor, state: State | None) -> tuple[Tensor, State]:
        x, z = self.in_proj(u).chunk(2, -1)
        x, inputs = _convolved(x, self.conv1d, None if state is None else state.inputs)
        dt, B, C = self._dt_B_C(x)
        start = None if state is None else state.hidden
        y, hidden = selective_scan(x, dt, -self.A_log.exp(), B, C, start)
        y = torch.addcmul(y, self.D, x)
        return self.out_proj(y * F.silu(z)), State(inputs, hidden)

    def step(self, u: Now, state: State) -> tuple[Now, State]:
        x, z = self.in_proj(u).chunk(2, -1)
        x, inputs = _convolved_now(x, self.conv1d, state.inputs)
        dt, B, C = self._dt_B_C(x)
        decay = (-dt[..., None] * self.A_log.exp()).exp()
        hidden = decay * state.hidden + (dt * x)[..., None] * B[..., None, :]
        y = (hidden @ C[..., None])[..., 0] + self.D * x
        return self.out_proj(y * F.silu(z)), State(inputs, hidden)

    def at_rest(self, batch: int) -> State:
        new, inner = self.A_log.new_zeros, len(self.D)
        return State(
            new(batch, self.conv1d.kernel_size[0] - 1, inner), new(batch, inner, self.states)
        )

    def _dt_B_C(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        dt, B, C = self.x_proj(x).split([self.rank, self.states, self.states], -1)
        return F.softplus(self.dt_proj(dt)), B, C


class S4D(nn.Module):
    """Diagonal state-space layer (Gu, Gupta, Goel & Ré, arXiv 2206.11893), S4D-Lin.

    h(t) = exp(dt A) h(t-1) + u(t), y(t) = 2 Re(C (exp(dt A) - 1) / A · h(t)) + D u(t), for each
    channel with its own dt, A, C of `d_state` / 2 complex numbers; a linear system, so a sequence
    is a convolution (by FFT). The output is GLU(W GELU(y)). HiSS has it for its low level.
    """

    def __init__(
        self, d_model: int, *, d_state: int = 64, dt_min: float = 1e-3, dt_max: float = 0.1
    ) -> None:
        super().__init__()
        self.D = nn.Parameter(torch.randn(d_model))
        self.kernel = nn.Module()
        low, high = math.log(dt_min), math.log(dt_max)
        pairs = d_state // 2
        self.kernel.log_dt = nn.Parameter(torch.rand(d_model) * (high - low) + low)
        self.kernel.C = nn.Parameter(torch.randn(d_model, pairs, 2) / math.sqrt(2))
        self.kernel.log_A_real = nn.Parameter(torch.full((d_model, pairs), math.log(0.5)))
        self.kernel.A_imag = nn.Parameter(math.pi * torch.arange(1.0 * pairs).repeat(d_model, 1))
        self.output_linear = nn.Sequential(nn.Conv1d(d_model, 2 * d_model, 1), nn.GLU(dim=-2))

    def forward(self, u: Sequence) -> Sequence:
        rates, C = self._rates_and_C()
        return self._mixed(u, self._convolved(u, rates, C))

    def scan(
        self, u: Sequence, state: Complex[Tensor, "batch channels pairs"]
    ) -> tuple[Sequence, Complex[Tensor, "batch channels pairs"]]:
        rates, C = self._rates_and_C()
        times = u.shape[1]
        powers = torch.arange(times + 1, device=u.device)[:, None, None]
        decays = (rates * powers).exp()  # (times + 1, channels, pairs)
        remembered = 2 * torch.einsum("tcp,bcp->btc", decays[1:] * C, state).real
        arrived = torch.einsum("tcp,btc->bcp", decays[:-1].flip(0), u.to(decays.dtype))
        y = self._convolved(u, rates, C) + remembered
        return self._mixed(u, y), decays[-1] * state + arrived

    def step(
        self, u: Now, state: Complex[Tensor, "batch channels pairs"]
    ) -> tuple[Now, Complex[Tensor, "batch channels pairs"]]:
        rates, C = self._rates_and_C()
        state = rates.exp() * state + u[..., None]
        return self._mixed(u, 2 * (C * state).real.sum(-1)), state

    def at_rest(self, batch: int) -> Complex[Tensor, "batch channels pairs"]:
        like = torch.view_as_complex(self.kernel.C.detach())
        return like.new_zeros(batch, *like.shape)

    def _rates_and_C(self) -> tuple[Tensor, Tensor]:
        """dt A, and C (exp(dt A) - 1) / A, both (channels, pairs)."""
        kernel = self.kernel
        A = torch.complex(-kernel.log_A_real.exp(), kernel.A_imag)
        rates = kernel.log_dt.exp()[:, None] * A
        return rates, torch.view_as_complex(kernel.C) * (rates.exp() - 1) / A

    def _convolved(self, u: Tensor, rates: Tensor, C: Tensor) -> Tensor:
        times = u.shape[1]
        powers = torch.arange(times, device=u.device)[:, None, None]
        response = 2 * ((rates * powers).exp() * C).sum(-1).real  # (times, channels)
        size = 2 * times  # room for the tail, which would wrap around
        spectrum = torch.fft.rfft(u, size, dim=1) * torch.fft.rfft(response, size, dim=0)
        return torch.fft.irfft(spectrum, size, dim=1)[:, :times]

    def _mixed(self, u: Tensor, y: Tensor) -> Tensor:
        linear = self.output_linear[0]
        y = F.gelu(y + self.D * u)
        return F.glu(F.linear(y, linear.weight[..., 0], linear.bias), dim=-1)


def ssd(
    x: Float[Tensor, "batch times heads headdim"],
    dt: Float[Tensor, "batch times heads"],
    A: Float[Tensor, "heads"],
    B: Float[Tensor, "batch times groups states"],
    C: Float[Tensor, "batch times groups states"],
    start: Float[Tensor, "batch heads headdim states"] | None = None,
    *,
    chunk: int = 32,
) -> tuple[Float[Tensor, "batch times heads headdim"], Float[Tensor, "batch heads headdim states"]]:
    """h(t) = exp(dt A) h(t-1) + dt x B', y(t) = h(t) C, and the last h, for dt > 0 > A.

    Within a chunk of times, y = (L ∘ C B') (dt x) with L[t, s] = exp(Σ_{s<r≤t} dt(r) A); from
    chunk to chunk h is carried. Costs times · chunk and not times²; any length will do.
    """
    kernels = _kernels(x)
    if kernels is not None:
        return kernels.ssd(x, dt, A, B, C, chunk, initial_states=start, return_final_states=True)
    batch, times, heads, _ = x.shape
    groups = B.shape[2]
    chunk = min(chunk, times)
    x, log_decay = x * dt[..., None], dt * A
    padding = -times % chunk
    if padding:  # at the end, with dt = 0: nothing decays and nothing enters
        x, B, C = (F.pad(v, (0, 0, 0, 0, 0, padding)) for v in (x, B, C))
        log_decay = F.pad(log_decay, (0, 0, 0, padding))
    # (batch, chunks, groups, times of a chunk, heads of a group or states, …)
    x, log_decay = (
        v.unflatten(2, (groups, -1)).unflatten(1, (-1, chunk)).transpose(2, 3)
        for v in (x, log_decay)
    )
    B, C = (v.unflatten(1, (-1, chunk)).transpose(2, 3) for v in (B, C))
    total = log_decay.cumsum(3)
    y = ((C @ B.mT)[:, :, :, None] * _decays(total.mT)) @ x.transpose(3, 4)
    y = y.transpose(3, 4)
    # heads side by side: one product for all
    entered = (x * (total[:, :, :, -1:] - total).exp()[..., None]).flatten(4).mT @ B
    entered = entered.unflatten(3, (heads // groups, -1))
    hidden = torch.zeros_like(entered[:, 0]) if start is None else start.unflatten(1, (groups, -1))
    before = []
    for number, decay in enumerate(total[:, :, :, -1].exp().unbind(1)):
        before.append(hidden)
        hidden = decay[..., None, None] * hidden + entered[:, number]
    if start is not None or len(before) > 1:
        remembered = C @ torch.stack(before, 1).flatten(3, 4).mT
        y = y + remembered.unflatten(4, (heads // groups, -1)) * total.exp()[..., None]
    y = y.transpose(2, 3).reshape(batch, times + padding, heads, -1)[:, :times]
    return y, hidden.flatten(1, 2)


def _decays(total: Tensor) -> Tensor:
    """exp(total(t) - total(s)) for s <= t, and 0."""
    times = total.shape[-1]
    # Before exp, which would overflow there; by addition, in place, whose gradients cost nothing.
    later = total.new_full((times, times), -torch.inf).triu(1)
    return (total[..., :, None] + (-total)[..., None, :]).add_(later).exp_()


def selective_scan(
    x: Float[Tensor, "batch times channels"],
    dt: Float[Tensor, "batch times channels"],
    A: Float[Tensor, "channels states"],
    B: Float[Tensor, "batch times states"],
    C: Float[Tensor, "batch times states"],
    start: Float[Tensor, "batch channels states"] | None = None,
) -> tuple[Float[Tensor, "batch times channels"], Float[Tensor, "batch channels states"]]:
    """h(t) = exp(dt A) h(t-1) + (dt x) B', y(t) = h(t) C, and the last h, for dt > 0 > A.

    One time after the other, for a parallel scan has log(times) as much to do; in pieces of time
    that stay in the processor's cache. Only the states between them are kept for the gradient.
    """
    kernels = _kernels(x)
    if kernels is not None and start is None:
        first = (v.transpose(1, 2).contiguous() for v in (x, dt))
        last = (v.transpose(1, 2).contiguous() for v in (B, C))
        y, hidden = kernels.selective_scan(*first, A, *last, return_last_state=True)
        return y.transpose(1, 2), hidden
    if start is None:
        start = A.new_zeros(x.shape[0], *A.shape)
    # all in A's precision: in bfloat16 a sum over many times would not move any more
    time_first = (v.to(A.dtype).transpose(0, 1).contiguous() for v in (dt * x, dt, B, C))
    y, hidden, _ = _Scan.apply(*time_first, A.T.contiguous()[None], start.mT.contiguous())
    return y.transpose(0, 1), hidden.mT


class _Scan(torch.autograd.Function):
    """h(t) = exp(dt A) h(t-1) + B u', y = C h: y, the last h, and the h before each piece.

    Times first, channels last: u, dt (times, batch, channels), B, C (times, batch, states),
    A (1 or batch, states, channels), h (batch, states, channels). What is written into buffers
    takes a third of the time of what makes a new tensor.
    """

    @staticmethod
    def forward(
        u: Tensor, dt: Tensor, B: Tensor, C: Tensor, A: Tensor, start: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        y, before = torch.empty_like(u), start
        pieces, (decay, hidden) = _pieces(len(u), start, buffers=2)
        starts = start.new_empty(len(pieces), *start.shape)
        for now, first in zip(pieces, starts, strict=True):
            first.copy_(before)
            _, h = _decays_and_states(u[now], dt[now], B[now], A, first, decay, hidden)
            torch.bmm(_rows(C[now]), h.flatten(0, 1), out=_rows(y[now]))
            before = h[-1]
        return y, before.clone(), starts

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        u, dt, B, C, A, _ = inputs
        ctx.mark_non_differentiable(output[2])
        ctx.save_for_backward(u, dt, B, C, A, output[2])

    @staticmethod
    def backward(ctx: Any, to_y: Tensor, to_last: Tensor, _: Tensor) -> tuple[Tensor, ...]:
        return _ScanGradient.apply(to_y.contiguous(), to_last.contiguous(), *ctx.saved_tensors)

    @staticmethod
    def vmap(info: Any, axes: tuple[Any, ...], *inputs: Tensor) -> tuple[Any, tuple[int, ...]]:
        """Models are more of a batch."""
        models = info.batch_size
        found = _Scan.apply(*_folded(models, axes, inputs, (1, 1, 1, 1, 0, 0)))
        return _unfolded(models, found, (1, 0, 1)), (1, 0, 1)


class _ScanGradient(torch.autograd.Function):
    """From the gradients of what `_Scan` gives to those of what it was given."""

    @staticmethod
    def forward(
        to_y: Tensor,
        to_last: Tensor,
        u: Tensor,
        dt: Tensor,
        B: Tensor,
        C: Tensor,
        A: Tensor,
        starts: Tensor,
    ) -> tuple[Tensor, ...]:
        to_u, to_dt, to_B, to_C = (torch.empty_like(v) for v in (u, dt, B, C))
        to_A, gradient, factor = torch.zeros_like(to_last), to_last, torch.ones_like(to_last)
        pieces, (decay, hidden, to_hidden) = _pieces(len(u), to_last, buffers=3)
        for now, first in reversed(list(zip(pieces, starts, strict=True))):
            d, h = _decays_and_states(u[now], dt[now], B[now], A, first, decay, hidden)
            g = torch.mul(C[now][..., None], to_y[now][:, :, None], out=to_hidden[: len(h)])
            for each, its_decay in zip(g.unbind(0)[::-1], d.unbind(0)[::-1], strict=True):
                each.addcmul_(factor, gradient)
                gradient, factor = each, its_decay
            gradient, factor = gradient.clone(), factor.clone()
            # of rows, for columns take seven times as long
            torch.bmm(_rows(to_y[now]), h.flatten(0, 1).mT, out=_rows(to_C[now]))
            torch.bmm(_rows(u[now]), g.flatten(0, 1).mT, out=_rows(to_B[now]))
            torch.bmm(_rows(B[now]), g.flatten(0, 1), out=_rows(to_u[now]))
            to_exponent = g.mul_(d)
            to_exponent[1:].mul_(h[:-1])
            to_exponent[0].mul_(first)
            torch.sum(torch.mul(to_exponent, A, out=d), 2, out=to_dt[now])
            to_A += to_exponent.mul_(dt[now][:, :, None]).sum(0)
        if len(A) == 1:
            to_A = to_A.sum(0, keepdim=True)
        return to_u, to_dt, to_B, to_C, to_A, gradient.mul_(factor)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def vmap(info: Any, axes: tuple[Any, ...], *inputs: Tensor) -> tuple[Any, tuple[int, ...]]:
        models = info.batch_size
        folded = _folded(models, axes, inputs, (1, 0, 1, 1, 1, 1, 0, 1))
        found = list(_unfolded(models, _ScanGradient.apply(*folded), (1, 1, 1, 1, 0, 0)))
        found[4] = found[4].sum(1, keepdim=True)  # A was one for the batch
        return tuple(found), (1, 1, 1, 1, 0, 0)


def _pieces(times: int, hidden: Tensor, *, buffers: int) -> tuple[list[slice], list[Tensor]]:
    """Of so many times, and room for what is computed of each piece and hidden state."""
    size = min(times, max(4, PIECE // hidden.numel()))
    pieces = [slice(first, first + size) for first in range(0, times, size)]
    return pieces, [hidden.new_empty(size, *hidden.shape) for _ in range(buffers)]


def _decays_and_states(
    u: Tensor, dt: Tensor, B: Tensor, A: Tensor, before: Tensor, decay: Tensor, hidden: Tensor
) -> tuple[Tensor, Tensor]:
    """Of a piece, written into the last two."""
    decay, hidden = decay[: len(u)], hidden[: len(u)]
    torch.mul(dt[:, :, None], A, out=decay).exp_()
    torch.mul(B[..., None], u[:, :, None], out=hidden)
    for d, h in zip(decay.unbind(0), hidden.unbind(0), strict=True):
        before = h.addcmul_(d, before)
    return decay, hidden


def _rows(x: Tensor) -> Tensor:
    return x.flatten(0, 1)[:, None]


def _folded(
    models: int, axes: tuple[Any, ...], inputs: tuple[Tensor, ...], batches: tuple[int, ...]
) -> list[Tensor]:
    """Models, an axis or none of each tensor, moved into its batch, the axis `batches` of it."""
    found = []
    for axis, value, batch in zip(axes, inputs, batches, strict=True):
        moved = value.expand(models, *value.shape) if axis is None else value.movedim(axis, 0)
        found.append(moved.movedim(0, batch))
    size = max(value.shape[batch + 1] for value, batch in zip(found, batches, strict=True))
    for number, (value, batch) in enumerate(zip(found, batches, strict=True)):
        if value.shape[batch + 1] < size:  # A, one for the batch
            value = value.expand(*value.shape[: batch + 1], size, *value.shape[batch + 2 :])
        found[number] = value.flatten(batch, batch + 1).contiguous()
    return found


def _unfolded(
    models: int, values: tuple[Tensor, ...], batches: tuple[int, ...]
) -> tuple[Tensor, ...]:
    return tuple(
        value.unflatten(batch, (models, -1)) for value, batch in zip(values, batches, strict=True)
    )


def _convolved(x: Tensor, conv: nn.Conv1d, before: Tensor | None) -> tuple[Tensor, Tensor]:
    """SiLU of the causal convolution of each channel, and the inputs that it will need next."""
    width, times = conv.kernel_size[0], x.shape[1]
    x = F.pad(x, (0, 0, width - 1, 0)) if before is None else torch.cat([before, x], 1)
    # Written out: F.conv1d wants times last, and copies to have it so.
    y = conv.bias
    for k in range(width):  # not addcmul_, which has no rule for vmap
        y = torch.addcmul(y, conv.weight[:, 0, k], x[:, k : k + times])
    return F.silu(y), x[:, times:]


def _convolved_now(x: Tensor, conv: nn.Conv1d, before: Tensor) -> tuple[Tensor, Tensor]:
    inputs = torch.cat([before, x[:, None]], 1)
    return F.silu((inputs * conv.weight[:, 0].T).sum(1) + conv.bias), inputs[:, 1:]


class _GroupNorm(nn.Module):
    """x divided by the root mean square of its group, times a weight for each channel."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        grouped = x.unflatten(-1, (self.groups, -1))
        return F.rms_norm(grouped, grouped.shape[-1:], eps=1e-5).flatten(-2) * self.weight


def _initial_dt_bias(count: int) -> Tensor:
    """softplus of it is uniform in the logarithm between 0.001 and 0.1."""
    low, high = math.log(0.001), math.log(0.1)
    dt = (torch.rand(count) * (high - low) + low).exp()
    return dt + (-torch.expm1(-dt)).log()


class _Kernels(NamedTuple):
    ssd: Any
    selective_scan: Any


def _kernels(x: Tensor) -> _Kernels | None:
    """mamba-ssm's kernels, if x is on a GPU and they load."""
    if not x.is_cuda or os.environ.get("DYSTS_BENCH_SSM") == "torch":
        return None
    return _mamba_ssm()


@cache
def _mamba_ssm() -> _Kernels | None:
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
        from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined
    except (ImportError, OSError, RuntimeError):  # not there, or built for another PyTorch
        return None
    return _Kernels(mamba_chunk_scan_combined, selective_scan_fn)
