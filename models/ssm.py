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


class State(NamedTuple):
    """What a Mamba layer remembers: the newest inputs of its convolution, and its hidden state."""

    inputs: Float[Tensor, "batch recent inner"]
    hidden: Tensor


class Mamba2(nn.Module):
    """Mamba-2 (Dao & Gu, arXiv 2405.21060): one decay a head, so that a scan is made of matmuls.

    [z, x, B, C, dt] = W_in u; x, B, C pass a causal convolution and a SiLU; h and y are those of
    `ssd` with dt = softplus(dt + bias), A = -exp(A_log); the output is W_out norm(y · SiLU(z)).
    expand · d_model / headdim heads; B and C are shared by the heads of a group. Of chunks of 16,
    32 and 64 the last train fastest on a CPU. The Mamba layer to take unless weights say otherwise:
    it trains in less than half of Mamba-1's time.
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
        chunk: int = 64,
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
        y = (y + self.D[:, None] * x).flatten(-2)
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
        return self.out_proj((y + self.D * x) * F.silu(z)), State(inputs, hidden)

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
    chunk: int = 64,
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
    padding = -times % chunk  # at the end, with dt = 0: nothing decays and nothing enters
    x, log_decay = x * dt[..., None], dt * A
    x, B, C = (F.pad(v, (0, 0, 0, 0, 0, padding)) for v in (x, B, C))
    log_decay = F.pad(log_decay, (0, 0, 0, padding))
    # (batch, chunks, groups, heads of a group, times of a chunk, …)
    x = x.unflatten(2, (groups, -1)).unflatten(1, (-1, chunk)).permute(0, 1, 3, 4, 2, 5)
    log_decay = log_decay.unflatten(2, (groups, -1)).unflatten(1, (-1, chunk))
    total = log_decay.permute(0, 1, 3, 4, 2).cumsum(-1)
    B, C = (v.unflatten(1, (-1, chunk)).transpose(2, 3)[:, :, :, None] for v in (B, C))
    later = torch.ones(chunk, chunk, dtype=torch.bool, device=x.device).triu(1)
    # masked before exp, which would overflow there
    between = (total[..., :, None] - total[..., None, :]).masked_fill(later, -torch.inf).exp()
    y = (C @ B.mT * between) @ x
    entered = (x * (total[..., -1:] - total).exp()[..., None]).mT @ B
    if start is not None:
        start = start.unflatten(1, (groups, -1))
    before = []
    hidden = torch.zeros_like(entered[:, 0]) if start is None else start
    for number, decay in enumerate(total[..., -1].exp().unbind(1)):
        before.append(hidden)
        hidden = decay[..., None, None] * hidden + entered[:, number]
    if start is not None or len(before) > 1:
        y = y + (C @ torch.stack(before, 1).mT) * total.exp()[..., None]
    y = y.permute(0, 1, 4, 2, 3, 5).reshape(batch, times + padding, heads, -1)[:, :times]
    return y, hidden.flatten(1, 2)


def selective_scan(
    x: Float[Tensor, "batch times channels"],
    dt: Float[Tensor, "batch times channels"],
    A: Float[Tensor, "channels states"],
    B: Float[Tensor, "batch times states"],
    C: Float[Tensor, "batch times states"],
    start: Float[Tensor, "batch channels states"] | None = None,
) -> tuple[Float[Tensor, "batch times channels"], Float[Tensor, "batch channels states"]]:
    """h(t) = exp(dt A) h(t-1) + (dt x) B', y(t) = h(t) C, and the last h, for dt > 0 > A.

    One time after the other: states stay in the processor's cache, and a parallel scan has log
    (times) as much to do. The gradient is written out, for autograd would keep every exp(dt A).
    """
    kernels = _kernels(x)
    if kernels is not None and start is None:
        first = (v.transpose(1, 2).contiguous() for v in (x, dt))
        last = (v.transpose(1, 2).contiguous() for v in (B, C))
        y, hidden = kernels.selective_scan(*first, A, *last, return_last_state=True)
        return y.transpose(1, 2), hidden
    if start is None:
        start = x.new_zeros(x.shape[0], *A.shape)
    time_first = (v.transpose(0, 1).contiguous() for v in (x, dt, B, C))
    y, hidden = _SelectiveScan.apply(*time_first, A, start)
    return y.transpose(0, 1), hidden


class _SelectiveScan(torch.autograd.Function):
    """Times first; all hidden states are kept, and the decays computed again on the way back."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dt: Tensor, B: Tensor, C: Tensor, A: Tensor, start: Tensor
    ) -> tuple[Tensor, Tensor]:
        hidden = x.new_empty(len(x), *start.shape)
        y, entering = torch.empty_like(x), dt * x
        decay, before = torch.empty_like(hidden[0]), start
        for t in range(len(x)):
            torch.mul(dt[t][:, :, None], A, out=decay).exp_().mul_(before)
            before = torch.addcmul(decay, entering[t][:, :, None], B[t][:, None], out=hidden[t])
            torch.bmm(before, C[t][:, :, None], out=y[t][:, :, None])
        ctx.save_for_backward(x, dt, B, C, A, start, hidden)
        return y, before.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, to_y: Tensor, to_last: Tensor) -> tuple[Tensor, ...]:
        x, dt, B, C, A, start, hidden = ctx.saved_tensors
        to_y, entering = to_y.contiguous(), dt * x
        to_C = (to_y[:, :, None] @ hidden)[:, :, 0]
        to_A, to_B = torch.zeros_like(A), torch.empty_like(B)
        to_dt, to_entering = torch.empty_like(dt), torch.empty_like(x)
        gradient, decay = to_last, torch.empty_like(start)
        for t in range(len(x) - 1, -1, -1):
            gradient = torch.addcmul(gradient, to_y[t][:, :, None], C[t][:, None])
            torch.bmm(gradient, B[t][:, :, None], out=to_entering[t][:, :, None])
            torch.bmm(entering[t][:, None], gradient, out=to_B[t][:, None])
            gradient.mul_(torch.mul(dt[t][:, :, None], A, out=decay).exp_())
            to_exponent = gradient * (hidden[t - 1] if t else start)
            torch.sum(torch.mul(to_exponent, A, out=decay), -1, out=to_dt[t])
            to_A += torch.einsum("bcn,bc->cn", to_exponent, dt[t])
        to_dt += to_entering * x
        return to_entering * dt, to_dt, to_B, to_C, to_A, gradient


def _convolved(x: Tensor, conv: nn.Conv1d, before: Tensor | None) -> tuple[Tensor, Tensor]:
    """SiLU of the causal convolution of each channel, and the inputs that it will need next."""
    width, times = conv.kernel_size[0], x.shape[1]
    x = F.pad(x, (0, 0, width - 1, 0)) if before is None else torch.cat([before, x], 1)
    # Written out: F.conv1d wants times last, and copies to have it so.
    taps = (conv.weight[:, 0, k] * x[:, k : k + times] for k in range(width))
    return F.silu(sum(taps, conv.bias)), x[:, times:]


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
        grouped = grouped * torch.rsqrt(grouped.square().mean(-1, keepdim=True) + 1e-5)
        return grouped.flatten(-2) * self.weight


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
