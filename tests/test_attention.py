"""Attention with rotary positions: against numpy, what tokens may hear, and what is remembered."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models._attention import (  # noqa: E402
    TURNING,
    WAVELENGTH,
    Attention,
    Block,
    earlier,
    rotated,
    turned,
)


@pytest.fixture(autouse=True)
def same_weights_every_time():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        yield


def attention() -> Attention:
    return Attention(16, 2).double().requires_grad_(False)


def tokens(count: int, batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, count, 16, dtype=torch.float64)


def by_hand(layer: Attention, x: np.ndarray, other: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Of one sequence (tokens, 16) in two heads of 8 channels, at positions 0, 1, 2, …"""
    p = {name: value.numpy() for name, value in layer.state_dict().items()}

    def normed(v: np.ndarray) -> np.ndarray:
        return v / np.sqrt((v**2).mean(-1, keepdims=True)) * p["norm.weight"]

    def turned_by_hand(v: np.ndarray) -> np.ndarray:
        """Channels k and k + 4 of a head as one complex number."""
        rates = [WAVELENGTH ** (-k / 4) if k < TURNING * 4 else 0.0 for k in range(4)]
        z = (v[:, :4] + 1j * v[:, 4:]) * np.exp(1j * np.outer(np.arange(len(v)), rates))
        return np.hstack([z.real, z.imag])

    q, k, v = (
        normed(x) @ p["query.weight"].T,
        *np.split(normed(other) @ p["key_value.weight"].T, 2, axis=1),
    )
    heads = []
    for head in (slice(0, 8), slice(8, 16)):
        scores = turned_by_hand(q[:, head]) @ turned_by_hand(k[:, head]).T / np.sqrt(8)
        weights = np.where(allowed, np.exp(scores), 0.0)
        heads.append(weights / weights.sum(1, keepdims=True) @ v[:, head])
    return x + np.hstack(heads) @ p["out.weight"].T


def test_attention_is_what_the_formula_says() -> None:
    layer, x, other = attention(), tokens(5), tokens(7)
    allowed = torch.rand(3, 5, 7) < 0.6
    allowed[:, :, 0] = True
    here, there = (layer.turns(torch.arange(n), torch.float64) for n in (5, 7))
    found = layer(x, layer.hears(other, there), here, allowed)
    expected = [
        by_hand(layer, *(v.numpy() for v in each)) for each in zip(x, other, allowed, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-6)  # norms have an epsilon


def test_a_rotated_product_depends_on_how_far_apart_the_two_are() -> None:
    q, k = torch.randn(2, 1, 8, dtype=torch.float64)

    def product(at: int, other: int) -> float:
        turns = (turned(torch.tensor([p]), 8, torch.float64) for p in (at, other))
        return float((rotated(q, next(turns)) * rotated(k, next(turns))).sum())

    assert product(3, 1) == pytest.approx(product(9, 7)) != pytest.approx(product(9, 6))
    assert product(5, 5) == pytest.approx(float((q * k).sum()))


def test_positions_may_differ_from_sequence_to_sequence() -> None:
    layer, x = attention(), tokens(4)
    positions = torch.tensor([[0, 1, 2, 3], [0, 2, 3, 9], [5, 6, 7, 8]])
    turns = layer.turns(positions, torch.float64)
    together = layer(x, layer.hears(x, turns), turns)
    for one, when, expected in zip(x, positions, together, strict=True):
        turns = layer.turns(when, torch.float64)
        torch.testing.assert_close(
            layer(one[None], layer.hears(one[None], turns), turns)[0], expected
        )


def test_a_token_that_is_allowed_nothing_hears_all_alike() -> None:
    layer, x = attention(), tokens(4)
    heard, nothing = layer.hears(x), torch.zeros(4, 4, dtype=torch.bool)
    alike = heard.values.mean(-2).flatten(1) @ layer.out.weight.T
    torch.testing.assert_close(layer(x, heard, None, nothing), x + alike[:, None])


def test_earlier_tokens_reach_back_as_far_as_the_window() -> None:
    found = earlier(torch.arange(5), 2).numpy()
    np.testing.assert_array_equal(found, np.tri(5, k=0, dtype=bool) & ~np.tri(5, k=-2, dtype=bool))


def test_what_was_heard_before_need_not_be_computed_again() -> None:
    block, x = Block(16, 2, 2).double().requires_grad_(False), tokens(7)
    cos, sin = block.attention.turns(torch.arange(7), torch.float64)
    whole, _ = block(x, (cos, sin), earlier(torch.arange(7), 7))
    _, heard = block(x[:, :6], (cos[..., :6, :], sin[..., :6, :]), earlier(torch.arange(6), 6))
    last, both = block(x[:, 6:], (cos[..., 6:, :], sin[..., 6:, :]), before=heard)
    torch.testing.assert_close(last, whole[:, 6:])
    assert both.keys.shape[-2] == 7 and both.last(3).keys.shape[-2] == 3


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match=r"width 12 must be a multiple of 2 · heads = 8"):
        Attention(12, 4)
