"""EntroPE: its entropies and patches against numpy, and what a forecast may not depend on."""

import dataclasses
import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models._entrope_networks import Cuts, above, pooled  # noqa: E402
from models._torch_training import Plan, Problem, Stage, trained  # noqa: E402
from models._tuning import free_runs  # noqa: E402
from models.base import FitError  # noqa: E402
from models.checks import torus  # noqa: E402
from models.entrope import EntroPE  # noqa: E402

every_rule = pytest.mark.parametrize("rule", ["quantile", "dual", "fixed"])


def problem(seed: int = 1) -> Problem:
    train, validation = (torus(2, trajectories=2, times=300, seed=seed + i) for i in (0, 1))
    return Problem(train, free_runs(validation, context=12), seed)


def network(**changes: Any) -> Any:
    """Not trained, in float64; its head, which begins at 0, made random."""
    model = dataclasses.replace(EntroPE.small(), **{"horizon": 8} | changes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = model._network(problem()).double()
        torch.nn.init.normal_(network.forecaster.head.weight)
    return network.requires_grad_(False)


def plan(model: EntroPE) -> Plan:
    stages = tuple(Stage(**stage) for stage in model._stages())
    return Plan(stages=stages, checks=model.checks, device="cpu")


def fitted(model: EntroPE, problem: Problem) -> Any:
    (outcome,) = trained(model._network, [problem], plan(model))
    assert not isinstance(outcome, FitError)
    return outcome[1].network


def windows(count: int = 5, times: int = 12) -> Any:
    return torch.as_tensor(torus(2, trajectories=count, times=times, seed=9))


def entropies(seed: int = 0) -> Any:
    return torch.as_tensor(np.random.default_rng(seed).normal(size=(7, 40)))


def lengths(starts: Any) -> list[list[int]]:
    ends = [[*np.flatnonzero(row), len(row)] for row in starts.numpy()]
    return [np.diff(row).tolist() for row in ends]


def starts_by_hand(entropies: np.ndarray, rule: str, level: float, longest: int) -> list[int]:
    """Where patches of one sequence start, from the rules as they are stated."""
    known = entropies[:-1]
    rises = np.diff(known)

    def quantile(values: np.ndarray) -> float:
        return np.quantile(values, level, method="lower")

    starts = [0]
    for t in range(1, len(entropies)):
        uncertain = known[t - 1] > quantile(known)
        rising = t > 1 and rises[t - 2] > quantile(rises)
        cut = {"quantile": uncertain, "dual": uncertain and rising, "fixed": False}[rule]
        if cut or t - starts[-1] == longest:
            starts.append(t)
    return starts


@every_rule
def test_patches_start_where_the_rule_says(rule: str) -> None:
    starts = Cuts(rule, 0.7, 5).starts(entropies())
    for row, sequence in zip(starts.numpy(), entropies().numpy(), strict=True):
        assert np.flatnonzero(row).tolist() == starts_by_hand(sequence, rule, 0.7, 5)


@every_rule
@pytest.mark.parametrize("level, longest, times", [(0.0, 3, 40), (0.9, 7, 40), (0.5, 16, 7)])
def test_lengths_sum_to_the_window_and_none_is_too_long(
    rule: str, level: float, longest: int, times: int
) -> None:
    cuts = Cuts(rule, level, longest)
    starts = cuts.starts(entropies()[:, :times])
    assert starts[:, 0].all()
    for found in lengths(starts):
        assert sum(found) == times and max(found) <= longest and len(found) <= cuts.most(times)


def test_fixed_patches_have_one_length() -> None:
    assert lengths(Cuts("fixed", 0.9, 16).starts(entropies())) == [[16, 16, 8]] * 7


@every_rule
def test_where_entropy_is_constant_up_to_rounding_only_length_cuts(rule: str) -> None:
    flat = 2.5 + 1e-9 * entropies()
    assert lengths(Cuts(rule, 0.5, 16).starts(flat)) == [[16, 16, 8]] * 7


def test_no_more_than_its_share_is_above_a_quantile() -> None:
    assert above(entropies(), 0.9).sum(1).tolist() == [4] * 7  # of 40
    assert above(entropies()[:, :1], 0.9).sum() == 0


@pytest.mark.parametrize("independent", [False, True])
def test_entropies_are_those_of_the_predicted_probabilities(independent: bool) -> None:
    net = network(independent=independent)
    x = net.channels.sequences(windows())
    p = net.entropy.log_probabilities(net.entropy.bins.tokens(x)).exp().numpy()
    np.testing.assert_allclose(p.sum(-1), 1)
    assert p.shape == ((10, 12, 1, 8) if independent else (5, 12, 2, 8))
    np.testing.assert_allclose(net.entropy(x), -(p * np.log(p)).sum((-1, -2)), rtol=1e-10)


def test_the_entropy_model_knows_no_future() -> None:
    net, x = network(), windows()
    before = net.entropy(x)
    x[:, 7:] = -x[:, 7:]
    after = net.entropy(x)
    torch.testing.assert_close(after[:, :7], before[:, :7], rtol=0, atol=1e-12)
    assert (after[:, 7:] != before[:, 7:]).any()


def test_the_entropy_model_learns_which_bin_comes_next() -> None:
    """From a staircase that always climbs: the only uncertainty is in bins that share a value."""
    stairs = np.tile(np.arange(8.0), 40).reshape(1, -1, 1)
    model = dataclasses.replace(
        EntroPE.small(), horizon=100, updates=(60, 1, 1), rates=(2e-2, 1e-3, 1e-3)
    )
    net = fitted(model, Problem(stairs, free_runs(stairs, context=12), 0))
    x = torch.as_tensor(stairs[:, :12])
    assert net.cross_entropy(x) < 0.1 < np.log(8)
    assert net.entropy(x).max() < 0.5


def test_bins_are_equal_between_the_outer_quantiles() -> None:
    net = network()
    flat = problem().train[:, :, 0].ravel()
    low, high = (float(net.entropy.bins.lowest[0]), float(net.entropy.bins.spacing[0]) * 8)
    assert np.isclose(low, np.quantile(flat, 0.005), atol=0.02)
    x = torch.tensor([[[low + high * (k + 0.5) / 8, 0.0] for k in (0, 3, 7)]])
    assert net.entropy.bins.tokens(x)[0, :, 0].tolist() == [0, 3, 7]
    beyond = torch.tensor([[[-9.0, 0.0], [9.0, 0.0], [float("nan"), 0.0]]])
    assert net.entropy.bins.tokens(beyond)[0, :2, 0].tolist() == [0, 7]


def test_a_patch_begins_as_the_maximum_of_its_tokens() -> None:
    tokens = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(0)) - 9
    owner = torch.tensor([0, 0, 1, 1, 1])
    owns = (owner == torch.arange(4)[:, None])[None]
    found = pooled(tokens, owns)[0].numpy()
    np.testing.assert_array_equal(found[0], tokens[0, :2].numpy().max(0))
    np.testing.assert_array_equal(found[1], tokens[0, 2:].numpy().max(0))
    np.testing.assert_array_equal(found[2:], 0)


@pytest.mark.parametrize("preset", [{}, EntroPE.presets["tokens"]])
def test_places_for_patches_that_are_not_there_change_nothing(preset: dict[str, Any]) -> None:
    net = network(**preset)
    expected = net.run(windows(), 25)
    net.forecaster.most += 6
    torch.testing.assert_close(net.run(windows(), 25), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("preset", [{}, EntroPE.presets["tokens"]])
def test_windows_in_another_order_have_their_forecasts_in_that_order(
    preset: dict[str, Any],
) -> None:
    net, order = network(**preset), [3, 0, 4, 1, 2]
    together, other = net.run(windows(), 25), net.run(windows()[order], 25)
    torch.testing.assert_close(other, together[order], rtol=1e-10, atol=1e-10)
    assert (together[1:] - together[:-1]).abs().min() > 0


def test_independent_channels_hear_nothing_of_each_other() -> None:
    x, joint, alone = windows(), network(), network(independent=True)
    other = x.clone()
    other[:, :, 1] = -other[:, :, 1]
    torch.testing.assert_close(alone.run(other, 15)[..., 0], alone.run(x, 15)[..., 0])
    assert (joint.run(other, 15)[..., 0] - joint.run(x, 15)[..., 0]).abs().max() > 1e-3


def test_a_normalised_window_may_be_moved_and_stretched() -> None:
    net, x = network(normalised=True), windows()
    moved = net.run(3 * x + 5, 15)
    torch.testing.assert_close(moved, 3 * net.run(x, 15) + 5, rtol=1e-3, atol=1e-3)


def test_patches_depend_on_entropies() -> None:
    by_entropy, fixed = network(), network(boundaries="fixed")
    assert lengths(fixed.starts(windows())) == [[4, 4, 4]] * 5
    assert lengths(by_entropy.starts(windows())) != [[4, 4, 4]] * 5


def test_the_entropy_model_stays_as_it_is_while_the_forecaster_is_trained() -> None:
    """Trained for as long, but with another forecaster."""
    short = dataclasses.replace(EntroPE.small(), horizon=100)  # few blocks are quick
    long = dataclasses.replace(short, updates=(5, 12, 2))
    nets = [fitted(model, problem()) for model in (short, long)]
    for (name, one), other in zip(
        nets[0].entropy.state_dict().items(), nets[1].entropy.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=0, msg=name)
    assert (nets[0].forecaster.head.weight != nets[1].forecaster.head.weight).any()


def test_fixed_patches_need_no_entropy_model() -> None:
    model = dataclasses.replace(EntroPE.small(), boundaries="fixed")
    assert [stage["trains"] for stage in model._stages()] == ["forecaster.", "forecaster."]


def test_two_problems_at_once_are_trained_as_each_alone() -> None:
    model = dataclasses.replace(EntroPE.small(), horizon=100, updates=(4, 4, 1))
    problems = [problem(1), problem(5)]
    together = trained(model._network, problems, plan(model))
    for task, outcome in zip(problems, together, strict=True):
        assert not isinstance(outcome, FitError)
        context = torch.as_tensor(torus(2, trajectories=3, times=12, seed=9))
        forecasts = (net.run(context, 125) for net in (fitted(model, task), outcome[1].network))
        np.testing.assert_allclose(*forecasts, atol=1e-4)


def test_an_orbit_is_learned() -> None:
    angle = np.random.default_rng(1).uniform(0, 6.3, (12, 1)) + 0.2 * np.arange(120)
    orbits = np.stack([np.sin(angle), np.cos(angle) + 0.3 * np.sin(2 * angle)], axis=2)
    model = EntroPE(
        memory=8,
        horizon=32,
        width=16,
        heads=2,
        layers=1,
        max_patch=4,
        updates=(10, 150, 5),
        batch=16,
        rates=(3e-3, 1e-2, 1e-3),
        checks=1,
    )
    model.fit(orbits[:8], dt=0.1, validation=orbits[8:10])
    error = model.predict(orbits[10:, :8], 32) - orbits[10:, 8:40]  # a turn
    assert np.sqrt((error**2).mean()) < 0.15


def test_a_context_shorter_than_the_memory_is_enough() -> None:
    model = EntroPE.small()
    model.fit(problem().train, dt=0.1)
    assert model.context_used_ == model.memory > 1
    for times in (1, 2, 3):
        assert np.isfinite(model.predict(windows(2, times).numpy(), 10)).all()


@pytest.mark.parametrize("wrong", [{"boundaries": "cuts"}, {"level": 1.0}, {"max_patch": 0}])
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EntroPE(**wrong)


def test_the_zoo_knows_it_without_loading_torch() -> None:
    code = "import models, sys; print(models.create('entrope:tokens').bins, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["251", "False"]


def test_every_rule_fits_and_they_differ() -> None:
    train, forecasts = problem().train, []
    for rule in ("quantile", "dual", "fixed"):
        model = dataclasses.replace(EntroPE.small(), boundaries=rule, horizon=80).fit(train, dt=0.1)
        forecasts.append(model.predict(windows().numpy(), 20))
    for one, other in itertools.combinations(forecasts, 2):
        assert np.abs(one - other).max() > 1e-6
