"""State-space layers against recurrences in numpy, themselves in pieces, and transformers."""

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional

from models import ssm  # noqa: E402


@pytest.fixture(autouse=True)
def _own_luck_and_precision():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.set_default_dtype(torch.float64)
        yield
        torch.set_default_dtype(torch.float32)


LAYERS = {
    "mamba2": lambda: ssm.Mamba2(8, d_state=6, headdim=4, chunk=4),
    "mamba2 in groups": lambda: ssm.Mamba2(6, d_state=3, headdim=3, ngroups=2, d_conv=3, chunk=5),
    "mamba1": lambda: ssm.Mamba1(8, d_state=5),
    "s4d": lambda: ssm.S4D(6, d_state=8),
}
every_layer = pytest.mark.parametrize("kind", LAYERS)


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def convolved(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """One sequence (times, channels): each channel with its own taps, the last one for now."""
    out = np.empty_like(x)
    for t in range(len(x)):
        for c in range(x.shape[1]):
            taps = weight[c, 0]
            past = [x[t - lag, c] if t >= lag else 0.0 for lag in range(len(taps))]
            out[t, c] = silu(np.dot(taps[::-1], past) + bias[c])
    return out


def mamba2_by_hand(layer: Any, u: np.ndarray) -> np.ndarray:
    p = {name: value.detach().numpy() for name, value in layer.state_dict().items()}
    heads = len(p["D"])
    inner = p["out_proj.weight"].shape[1]
    headdim = inner // heads
    states = (len(p["conv1d.bias"]) - inner) // (2 * layer.groups)
    wide = u @ p["in_proj.weight"].T
    z, mixed, dt = np.split(wide, [inner, wide.shape[1] - heads], axis=1)
    mixed = convolved(mixed, p["conv1d.weight"], p["conv1d.bias"])
    dt = softplus(dt + p["dt_bias"])
    out = []
    h = np.zeros((heads, headdim, states))
    for t in range(len(u)):
        x, B, C = np.split(mixed[t], [inner, inner + layer.groups * states])
        y = np.empty((heads, headdim))
        for head in range(heads):
            group = head * layer.groups // heads
            b, c = (v.reshape(layer.groups, states)[group] for v in (B, C))
            now = x.reshape(heads, headdim)[head]
            h[head] *= np.exp(-dt[t, head] * np.exp(p["A_log"][head]))
            h[head] += dt[t, head] * np.outer(now, b)
            y[head] = h[head] @ c + p["D"][head] * now
        y = (y.ravel() * silu(z[t])).reshape(layer.groups, -1)
        y = y / np.sqrt((y**2).mean(axis=1, keepdims=True) + 1e-5)
        out.append(p["out_proj.weight"] @ (y.ravel() * p["norm.weight"]))
    return np.array(out)


def mamba1_by_hand(layer: Any, u: np.ndarray) -> np.ndarray:
    p = {name: value.detach().numpy() for name, value in layer.state_dict().items()}
    inner, states = p["A_log"].shape
    x, z = np.split(u @ p["in_proj.weight"].T, 2, axis=1)
    x = convolved(x, p["conv1d.weight"], p["conv1d.bias"])
    h, out = np.zeros((inner, states)), []
    for t in range(len(u)):
        small, B, C = np.split(p["x_proj.weight"] @ x[t], [-2 * states, -states])
        dt = softplus(p["dt_proj.weight"] @ small + p["dt_proj.bias"])
        h = np.exp(-dt[:, None] * np.exp(p["A_log"])) * h + np.outer(dt * x[t], B)
        out.append(p["out_proj.weight"] @ ((h @ C + p["D"] * x[t]) * silu(z[t])))
    return np.array(out)


def s4d_by_hand(layer: Any, u: np.ndarray) -> np.ndarray:
    p = {name: value.detach().numpy() for name, value in layer.state_dict().items()}
    A = -np.exp(p["kernel.log_A_real"]) + 1j * p["kernel.A_imag"]
    dt = np.exp(p["kernel.log_dt"])[:, None]
    C = p["kernel.C"] @ [1, 1j]
    h, out = np.zeros_like(A), []
    for now in u:
        # the equation h' = A h + u, exact for an input that is constant between samples
        h = np.exp(dt * A) * h + (np.exp(dt * A) - 1) / A * now[:, None]
        y = 2 * (C * h).sum(axis=1).real + p["D"] * now
        gelu = F.gelu(torch.tensor(y)).numpy()
        value, gate = np.split(
            p["output_linear.0.weight"][:, :, 0] @ gelu + p["output_linear.0.bias"], 2
        )
        out.append(value / (1 + np.exp(-gate)))
    return np.array(out)


BY_HAND = {"mamba1": mamba1_by_hand, "s4d": s4d_by_hand}


def made(kind: str) -> tuple[Any, torch.Tensor]:
    layer = LAYERS[kind]()
    for parameter in layer.parameters():  # none left at an initial value that hides a mistake
        parameter.data += 0.1 * torch.randn_like(parameter)
    width = layer(torch.zeros(1, 1, 8)).shape[2] if kind in ("mamba2", "mamba1") else 6
    return layer, torch.randn(2, 13, width)


@every_layer
@pytest.mark.parametrize("times", [1, 2, 12, 13])  # chunks of 4 and 5 divide some of them
def test_a_layer_is_its_recurrence(kind: str, times: int) -> None:
    layer, u = made(kind)
    by_hand = BY_HAND.get(kind, mamba2_by_hand)
    expected = [by_hand(layer, row.numpy()) for row in u[:, :times]]
    np.testing.assert_allclose(layer(u[:, :times]).detach(), expected, rtol=1e-10, atol=1e-12)


@every_layer
def test_steps_repeat_what_the_whole_sequence_gives(kind: str) -> None:
    layer, u = made(kind)
    state, ys = layer.at_rest(2), []
    for now in u.unbind(1):
        y, state = layer.step(now, state)
        ys.append(y)
    torch.testing.assert_close(torch.stack(ys, 1), layer(u), rtol=1e-10, atol=1e-12)
    _, after = layer.scan(u, layer.at_rest(2))
    torch.testing.assert_close(after, state, rtol=1e-10, atol=1e-12)


@every_layer
def test_pieces_that_hand_on_their_state_are_one_sequence(kind: str) -> None:
    layer, u = made(kind)
    state, ys = layer.at_rest(2), []
    for piece in u.split([1, 7, 2, 3], dim=1):  # some shorter than the convolution
        y, state = layer.scan(piece, state)
        ys.append(y)
    torch.testing.assert_close(torch.cat(ys, 1), layer(u), rtol=1e-10, atol=1e-12)


@every_layer
def test_the_future_does_not_change_the_past(kind: str) -> None:
    layer, u = made(kind)
    other = u.clone()
    other[:, 8:] += 1.0
    gap = (layer(other) - layer(u)).abs().amax((0, 2))
    assert gap[:8].max() < 1e-12 < gap[8:].min()


@every_layer
def test_gradients_through_pieces_are_those_of_difference_quotients(kind: str) -> None:
    layer, u = made(kind)
    u = u[:1, :5].requires_grad_()

    def run(u: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        y, state = layer.scan(u[:, :3], layer.at_rest(1))
        rest, state = layer.scan(u[:, 3:], state)
        hidden = state if isinstance(state, torch.Tensor) else state.hidden
        return torch.cat([y, rest], 1), torch.view_as_real(hidden) if kind == "s4d" else hidden

    assert torch.autograd.gradcheck(run, (u, *layer.parameters()), fast_mode=True)


@every_layer
def test_single_precision_stays_single_and_agrees(kind: str) -> None:
    layer, u = made(kind)
    expected = layer(u)
    single = layer.float()(u.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=1e-4, atol=1e-5)


@every_layer
def test_layers_of_several_models_run_as_one_and_so_do_their_gradients(kind: str) -> None:
    layers = [made(kind)[0] for _ in range(3)]
    u = torch.stack([made(kind)[1] for _ in range(3)])
    stacked, _ = torch.func.stack_module_state(layers)

    def loss(parameters: dict[str, torch.Tensor], u: torch.Tensor) -> tuple[Any, Any]:
        y = torch.func.functional_call(layers[0], parameters, (u,))
        return y.sin().sum(), y

    each = torch.func.vmap(torch.func.grad(loss, has_aux=True))
    gradients, together = each({name: p.detach() for name, p in stacked.items()}, u)
    for index, (layer, one) in enumerate(zip(layers, u, strict=True)):
        y = layer(one)
        torch.testing.assert_close(y, together[index], rtol=1e-10, atol=1e-12)
        y.sin().sum().backward()
        for name, parameter in layer.named_parameters():
            torch.testing.assert_close(
                gradients[name][index], parameter.grad, rtol=1e-8, atol=1e-10
            )


@pytest.mark.parametrize("piece", [1, 200, 2**18])  # four times, five, and all in one
def test_pieces_that_fit_the_cache_do_not_change_a_scan(
    piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, dt = torch.randn(2, 13, 4), torch.rand(2, 13, 4)
    A, B, C = -torch.rand(4, 5), torch.randn(2, 13, 5), torch.randn(2, 13, 5)
    inputs = [v.requires_grad_() for v in (x, dt, A, B, C, torch.randn(2, 4, 5))]

    def run() -> tuple[torch.Tensor, ...]:
        y, last = ssm.selective_scan(*inputs)
        return y, last, *torch.autograd.grad(y.sin().sum() + last.sin().sum(), inputs)

    def by_autograd() -> tuple[torch.Tensor, ...]:
        x, dt, A, B, C, hidden = inputs
        ys = []
        for t in range(13):
            decay = (dt[:, t, :, None] * A).exp()
            hidden = decay * hidden + (dt * x)[:, t, :, None] * B[:, t, None]
            ys.append((hidden * C[:, t, None]).sum(-1))
        y = torch.stack(ys, 1)
        return y, hidden, *torch.autograd.grad(y.sin().sum() + hidden.sin().sum(), inputs)

    monkeypatch.setattr(ssm, "PIECE", piece)
    for found, expected in zip(run(), by_autograd(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 3, 16, 64])
def test_the_chunk_does_not_change_a_scan(chunk: int) -> None:
    x, dt = torch.randn(2, 29, 4, 3), torch.rand(2, 29, 4)
    A, B, C = -torch.rand(4), torch.randn(2, 29, 2, 5), torch.randn(2, 29, 2, 5)
    start = torch.randn(2, 4, 3, 5)
    y, last = ssm.ssd(x, dt, A, B, C, start, chunk=chunk)
    expected, expected_last = ssm.ssd(x, dt, A, B, C, start, chunk=29)
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(last, expected_last, rtol=1e-10, atol=1e-12)


def test_decays_of_e_to_the_minus_300_and_of_none_are_finite() -> None:
    """A decay written as a quotient of cumulated decays would overflow here."""
    times = 40
    dt = torch.full((1, times, 2), 30.0)
    x = torch.randn(1, times, 2, 1, requires_grad=True)
    B, C = torch.randn(1, times, 1, 1), torch.randn(1, times, 1, 1)
    y, _ = ssm.ssd(x, dt, torch.tensor([-10.0, -1e-12]), B, C, chunk=16)
    now = 30 * x * B * C
    torch.testing.assert_close(y[:, :, 0], now[:, :, 0], rtol=1e-12, atol=1e-12)
    summed = 30 * (x * B).cumsum(1) * C
    torch.testing.assert_close(y[:, :, 1], summed[:, :, 1], rtol=1e-6, atol=1e-6)
    y.sum().backward()
    assert x.grad.isfinite().all()
    y, _ = ssm.selective_scan(
        x[..., 0], dt, torch.tensor([[-10.0], [-1e-12]]), B[:, :, 0], C[:, :, 0]
    )
    torch.testing.assert_close(y[:, :, 0], now[:, :, 0, 0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(y[:, :, 1], summed[:, :, 1, 0], rtol=1e-6, atol=1e-6)


def test_names_and_shapes_of_parameters_are_those_of_mamba_ssm() -> None:
    """As in mamba-ssm 2.3.2 for d_model 256, and in s4d.py."""
    sizes = {name: tuple(p.shape) for name, p in ssm.Mamba2(256).state_dict().items()}
    assert sizes == {
        "dt_bias": (8,),
        "A_log": (8,),
        "D": (8,),
        "in_proj.weight": (1288, 256),
        "conv1d.weight": (768, 1, 4),
        "conv1d.bias": (768,),
        "norm.weight": (512,),
        "out_proj.weight": (256, 512),
    }
    sizes = {name: tuple(p.shape) for name, p in ssm.Mamba1(256).state_dict().items()}
    assert sizes == {
        "A_log": (512, 16),
        "D": (512,),
        "in_proj.weight": (1024, 256),
        "conv1d.weight": (512, 1, 4),
        "conv1d.bias": (512,),
        "x_proj.weight": (48, 512),
        "dt_proj.weight": (512, 16),
        "dt_proj.bias": (512,),
        "out_proj.weight": (256, 512),
    }
    sizes = {name: tuple(p.shape) for name, p in ssm.S4D(10).state_dict().items()}
    assert sizes == {
        "D": (10,),
        "kernel.C": (10, 32, 2),
        "kernel.log_dt": (10,),
        "kernel.log_A_real": (10, 32),
        "kernel.A_imag": (10, 32),
        "output_linear.0.weight": (20, 10, 1),
        "output_linear.0.bias": (20,),
    }


def test_steps_begin_between_a_thousandth_and_a_tenth() -> None:
    for bias in (ssm.Mamba2(512).dt_bias, ssm.Mamba1(512).dt_proj.bias):
        dt = F.softplus(bias)
        assert dt.min() > 9e-4 and dt.max() < 0.11


def counted(layer: Any) -> None:
    """Parameters that are no random numbers: a fixed, uneven pattern."""
    with torch.no_grad():
        for number, (name, parameter) in enumerate(sorted(layer.named_parameters())):
            count = torch.arange(1.0, parameter.numel() + 1).reshape(parameter.shape)
            spread = 1.0 if name.endswith(("A_log", "D", "dt_bias")) else 0.3
            parameter.copy_(spread * torch.sin(count * (1.7 + 0.1 * number)))


def pattern(times: int, width: int) -> torch.Tensor:
    return torch.cos(torch.arange(1.0, times * width + 1) * 0.9).reshape(1, times, width)


def test_outputs_are_those_that_transformers_gave() -> None:
    """Recorded from MambaMixer and Mamba2Mixer (one group) of transformers 5.23, in float64."""
    mamba2 = ssm.Mamba2(8, d_state=6, headdim=4, chunk=4)
    counted(mamba2)
    mamba1 = ssm.Mamba1(8, d_state=5)
    counted(mamba1)
    for layer, expected in ((mamba2, RECORDED_MAMBA2), (mamba1, RECORDED_MAMBA1)):
        y = layer(pattern(11, 8))[0].detach().numpy()
        # nine decimals; their decays pass through float32 whatever the weights are
        np.testing.assert_allclose(y[[0, 4, 10], :3], expected, rtol=1e-6, atol=1e-8)


# times 0, 4 and 10 of channels 0 to 2
RECORDED_MAMBA2 = [
    [-0.242351061, -0.118250618, 0.061600327],
    [0.077343566, -0.023236161, -0.112860955],
    [0.296835879, 0.156938954, -0.056948499],
]
RECORDED_MAMBA1 = [
    [0.0001448, -0.001929674, -0.003094384],
    [0.000602321, 0.001832948, 0.002199413],
    [0.000460314, 0.002828211, 0.003862718],
]


@pytest.mark.parametrize("times", [1, 11])
def test_weights_from_transformers_give_the_same_outputs(times: int) -> None:
    pytest.importorskip("transformers")
    from transformers import Mamba2Config, MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    config = Mamba2Config(
        hidden_size=8, state_size=6, head_dim=4, num_heads=4, n_groups=1, chunk_size=4
    )
    theirs2, ours2 = Mamba2Mixer(config, layer_idx=0), ssm.Mamba2(8, d_state=6, headdim=4, chunk=3)
    theirs1 = MambaMixer(MambaConfig(hidden_size=8, state_size=5, use_mambapy=False), layer_idx=0)
    ours1 = ssm.Mamba1(8, d_state=5)
    for theirs, ours in ((theirs2, ours2), (theirs1, ours1)):
        counted(theirs)
        assert str(ours.load_state_dict(theirs.state_dict())) == "<All keys matched successfully>"
        u = pattern(times, 8)
        torch.testing.assert_close(ours(u), theirs(u), rtol=1e-6, atol=1e-8)


def test_on_a_gpu_the_kernels_of_mamba_ssm_give_the_same() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    if ssm._mamba_ssm() is None:
        pytest.skip("mamba-ssm is not installed")
    for layer in (ssm.Mamba2(64, d_state=16, headdim=32), ssm.Mamba1(64)):
        u = torch.randn(2, 100, 64)
        expected = layer(u)
        # their exponentials are the fast ones
        gpu = layer.float().cuda()(u.float().cuda())
        torch.testing.assert_close(gpu.cpu().double(), expected, rtol=2e-3, atol=2e-3)


def test_kernels_that_do_not_load_are_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise OSError("undefined symbol")

    monkeypatch.setitem(sys.modules, "mamba_ssm", Broken("mamba_ssm"))
    monkeypatch.setitem(sys.modules, "mamba_ssm.ops", Broken("mamba_ssm.ops"))
    name = "mamba_ssm.ops.selective_scan_interface"
    monkeypatch.setitem(sys.modules, name, Broken(name))
    ssm._mamba_ssm.cache_clear()
    assert ssm._mamba_ssm() is None
    ssm._mamba_ssm.cache_clear()


def test_heads_that_do_not_fit_are_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match=r"headdim 64 must divide expand · d_model = 48"):
        ssm.Mamba2(24)
