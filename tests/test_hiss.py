"""HiSS: what each chunk may hear, how it runs, and an orbit that it can follow."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import models  # noqa: E402
from models._hiss_networks import HierarchicalNetwork  # noqa: E402
from models._torch_model import changes  # noqa: E402
from models.base import Training  # noqa: E402
from models.checks import torus  # noqa: E402
from models.hiss import HiSS  # noqa: E402

KINDS = {"s4d": ("s4d", True), "mamba": ("mamba", True), "flat": ("s4d", False)}
kinds = pytest.mark.parametrize("kind", KINDS)


def network(kind: str, scale: np.ndarray) -> HierarchicalNetwork:
    low, hierarchical = KINDS[kind]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = HierarchicalNetwork(4, 5, low, (8, 2), (16, 2), 4, hierarchical, scale).double()
        torch.nn.init.normal_(made.readout.weight)  # at first it says that nothing changes
    return made.requires_grad_(False)


def states(times: int) -> torch.Tensor:
    return torch.as_tensor(torus(3, trajectories=2, times=times, seed=4))


@kinds
def test_a_state_is_heard_from_its_chunk_on(kind: str) -> None:
    made, x = network(kind, np.ones((8, 3))), states(21)
    other = x.clone()
    other[:, 10, 1] += 1  # in the third chunk, whose last state it is not
    moved = (made.changes(x) - made.changes(other)).abs().amax((0, 2, 3))
    assert moved.shape == (5,)
    assert moved[:2].max() < 1e-12 and (moved[2:] > 1e-9).all()


def test_the_low_level_begins_anew_at_each_chunk_unless_all_is_flat() -> None:
    x = states(9)
    for kind in ("s4d", "mamba"):
        made = network(kind, np.ones((8, 3)))
        said = made.embedded(x)
        alone = made.heard_alone(said[:, 4:])
        np.testing.assert_allclose(made.heard_alone(said)[:, 1:], alone, atol=1e-12)
    flat = network("flat", np.ones((8, 3))).low
    assert (flat(said)[:, 4:] - flat(said[:, 4:])).abs().max() > 1e-6


@kinds
def test_a_run_from_what_is_remembered_is_the_whole_sequence_heard_again(kind: str) -> None:
    made, x = network(kind, np.full((8, 3), 0.01)), states(23)
    run = made.run(x, 10)
    assert run.shape == (2, 10, 3)
    whole = x[:, -made.context :]
    for _ in range(3):
        block = whole[:, -1:] + 0.01 * made.changes(whole)[:, -1]
        whole = torch.cat([whole, block], 1)
    np.testing.assert_allclose(run, whole[:, made.context :][:, :10], atol=1e-10)


@kinds
def test_to_say_that_all_goes_on_as_it_does_is_right_on_a_ramp(kind: str) -> None:
    ramp = np.arange(60.0)[None, :, None] * np.array([1.0, 2.0, 0.5])
    made, x = network(kind, changes(ramp, 8)), torch.as_tensor(ramp)
    made.readout.weight.zero_()
    made.readout.bias.fill_(1.0)
    assert float(made.teacher_forced(x[:, :41])) < 1e-20
    assert float(made.free_running(x[:, : made.context + 8])) < 1e-20
    np.testing.assert_allclose(made.run(x[:, :30], 30), x[:, 30:], atol=1e-10)


def test_without_hierarchy_there_are_as_many_parameters() -> None:
    sizes = [
        sum(p.numel() for p in network(kind, np.ones((8, 3))).parameters())
        for kind in ("s4d", "flat")
    ]
    assert sizes[0] == sizes[1] > 0
    flat = models.create("hiss:flat")
    assert flat == HiSS(hierarchical=False) != HiSS()


def test_an_orbit_is_learned() -> None:
    def circle(seed: int) -> np.ndarray:
        angle = np.random.default_rng(seed).uniform(0, 6.3, (8, 1)) + 0.2 * np.arange(100)
        return np.stack([np.sin(angle), np.cos(angle) + 0.3 * np.sin(2 * angle)], axis=2)

    model = HiSS(chunk=4, low_width=16, width=16, updates=(200, 20), batch=16, checks=1)
    model.fit(circle(1), dt=0.1, validation=circle(2), seed=3)
    truth = circle(3)
    error = model.predict(truth[:, :33], 32) - truth[:, 33:65]  # a turn
    assert np.sqrt((error**2).mean()) < 0.2  # persistence: above 1


@pytest.mark.parametrize("low", ["s4d", "mamba"])
def test_models_that_are_fitted_together_are_those_fitted_alone(low: str) -> None:
    model = replace(HiSS.small(), low=low)
    trainings = [
        Training(torus(2, trajectories=3, times=200, seed=s), 0.1, None, s) for s in (1, 2)
    ]
    together = model.fit_many(trainings)
    context = torus(2, trajectories=2, times=30, seed=9)
    for training, one in zip(trainings, together, strict=True):
        alone = replace(model).fit(training.train, dt=0.1, seed=training.seed)
        np.testing.assert_allclose(one.predict(context, 9), alone.predict(context, 9), atol=1e-4)


def test_a_low_level_that_does_not_exist_is_refused() -> None:
    train = torus(2, trajectories=1, times=300, seed=1)
    with pytest.raises(ValueError, match="one of s4d, mamba; got 's4'"):
        HiSS(low="s4").fit(train, dt=0.1)
