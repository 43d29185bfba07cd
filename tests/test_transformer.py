"""Transformers: what they may hear, how they run, and orbits that they can follow."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models._torch_model import changes  # noqa: E402
from models._transformer_networks import (  # noqa: E402
    PatchTransformer as PatchNetwork,
)
from models._transformer_networks import StepTransformer  # noqa: E402
from models.checks import torus  # noqa: E402
from models.transformer import PatchTransformer, Transformer  # noqa: E402

RAMP = np.arange(80.0)[None, :, None] * np.array([1.0, -2.0, 0.5])


@pytest.fixture(autouse=True)
def same_weights_every_time():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        yield


def by_steps(scale: np.ndarray | None = None) -> StepTransformer:
    return StepTransformer(16, 2, 2, 2, 4, np.ones(3) if scale is None else scale).double()


def by_patches(scale: np.ndarray | None = None) -> PatchNetwork:
    return PatchNetwork(20, 4, 16, 2, 2, 2, np.ones((6, 3)) if scale is None else scale).double()


def talkative(network: torch.nn.Module) -> torch.nn.Module:
    """At first a network says that nothing changes."""
    torch.nn.init.normal_(network.readout.weight)
    return network.requires_grad_(False)


def states(times: int) -> torch.Tensor:
    return torch.as_tensor(torus(3, trajectories=2, times=times, seed=4))


def test_changes_of_a_ramp_are_its_slopes_and_what_stays_has_unit_one() -> None:
    np.testing.assert_allclose(changes(RAMP, 3), np.outer([1, 2, 3], [1, 2, 0.5]))
    np.testing.assert_array_equal(changes(np.ones((2, 9, 1)), 2), np.ones((2, 1)))


def test_a_state_is_heard_from_its_time_on_and_while_the_windows_reach() -> None:
    network, x = talkative(by_steps()), states(30)
    other = x.clone()
    other[:, 10, 1] += 1
    moved = (network.increments(x)[0] - network.increments(other)[0]).abs().amax((0, 2))
    heard = slice(10, 10 + network.context)
    assert (moved[heard] > 1e-9).all()
    moved[heard] = 0
    assert moved.max() < 1e-12


def test_a_patch_is_heard_from_its_time_on_by_all_coordinates() -> None:
    network, x = talkative(by_patches()), states(20)
    other = x.clone()
    other[:, 9, 1] += 1
    moved = (network.changes(x) - network.changes(other)).abs().amax((0, 2))
    assert moved.shape == (5, 3)
    assert moved[:2].max() < 1e-12 and (moved[2:] > 1e-9).all()


def test_coordinates_are_told_apart() -> None:
    network = talkative(by_patches())
    same = states(20)[:, :, :1].expand(-1, -1, 3)
    said = network.changes(same)
    assert (said[..., 0] - said[..., 1]).abs().max() > 1e-3


def test_a_run_with_remembered_keys_is_the_whole_sequence_heard_again() -> None:
    network, x = talkative(by_steps(np.array([0.01, 0.02, 0.03]))), states(12)
    run = network.run(x, 15)
    whole = torch.cat([x[:, -network.context :], run], 1)
    increments = network.scale * network.increments(whole)[0]
    expected = (whole + increments)[:, network.context - 1 : -1]
    np.testing.assert_allclose(run, expected, atol=1e-12)


def test_a_run_of_patches_goes_on_block_by_block_from_the_newest_context() -> None:
    network, x = talkative(by_patches(np.full((6, 3), 0.01))), states(23)
    run = network.run(x, 15)
    first = x[:, -1:] + 0.01 * network.changes(x[:, -20:])[:, -1]
    np.testing.assert_allclose(run[:, :6], first, atol=1e-12)
    np.testing.assert_allclose(run[:, 6:], network.run(torch.cat([x, first], 1), 9), atol=1e-12)
    # of seven states the newest patch alone is heard
    np.testing.assert_array_equal(network.run(x[:, -7:], 6), network.run(x[:, -4:], 6))


def test_to_say_that_all_goes_on_as_it_does_is_right_on_a_ramp() -> None:
    x = torch.as_tensor(RAMP)
    network = by_steps(changes(RAMP, 1)[0])
    with torch.no_grad():
        network.readout.bias[:] = torch.tensor([1.0, -1.0, 1.0])
        assert float(network.teacher_forced(x)) < 1e-20
        np.testing.assert_allclose(network.run(x[:, :30], 50), x[:, 30:], atol=1e-10)
    rising = np.abs(RAMP)
    patches, x = by_patches(changes(rising, 6)), torch.as_tensor(rising)
    with torch.no_grad():
        patches.readout.bias.fill_(1.0)
        assert float(patches.after_each_patch(x[:, :26])) < 1e-20
        np.testing.assert_allclose(patches.run(x[:, :30], 50), x[:, 30:], atol=1e-10)


def circle(seed: int) -> np.ndarray:
    angle = np.random.default_rng(seed).uniform(0, 6.3, (8, 1)) + 0.2 * np.arange(100)
    return np.stack([np.sin(angle), np.cos(angle) + 0.3 * np.sin(2 * angle)], axis=2)


@pytest.mark.parametrize(
    "model",
    [
        Transformer(window=4, width=16, layers=2, updates=220, batch=16, checks=1),
        PatchTransformer(context=24, horizon=8, width=16, layers=1, updates=250, checks=1),
    ],
    ids=["steps", "patches"],
)
def test_an_orbit_is_learned(model: Transformer | PatchTransformer) -> None:
    model.fit(circle(1), dt=0.1, validation=circle(2), seed=3)
    truth = circle(3)
    error = model.predict(truth[:, :30], 32) - truth[:, 30:62]  # a turn
    assert np.sqrt((error**2).mean()) < 0.2  # persistence: above 1


def test_coordinates_without_names_share_one_scale_and_may_change_places() -> None:
    model = PatchTransformer(
        context=20, patch=4, horizon=6, width=8, layers=1, heads=2, updates=4, checks=1, named=False
    )
    train = np.concatenate([3 * np.abs(RAMP), 4 * np.abs(RAMP)], axis=2)
    model.fit(train, dt=0.1)
    root_mean_square = np.sqrt((np.square([3, 6, 1.5, 4, 8, 2])).mean())
    np.testing.assert_allclose(
        model.trained_.network.scale[:, 0], root_mean_square * np.arange(1, 7), rtol=1e-6
    )
    talkative(model.trained_.network)
    context = np.random.default_rng(0).normal(size=(2, 30, 6))
    forecast = model.predict(context, 9)
    np.testing.assert_allclose(model.predict(context[:, :, ::-1], 9), forecast[:, :, ::-1])


def test_sizes_that_do_not_fit_together_are_refused() -> None:
    train = torus(2, trajectories=1, times=300, seed=1)
    with pytest.raises(ValueError, match="patch 5 must divide context 16"):
        PatchTransformer(context=16, patch=5).fit(train, dt=0.1)
    with pytest.raises(ValueError, match=r"width 12 must be a multiple of 2 · heads = 8"):
        Transformer(width=12, heads=4).fit(train, dt=0.1)
