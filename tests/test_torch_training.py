"""The training loop in PyTorch, on networks whose best weights are known."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models import _torch_training as training  # noqa: E402
from models._progress import counted_trials, heard_by  # noqa: E402
from models._torch_training import KEPT, Plan, Problem, Stage, resumable, trained  # noqa: E402
from models._tuning import FreeRuns  # noqa: E402
from models.base import FitError  # noqa: E402


class LinearMap(torch.nn.Module):
    """x(t+1) = W x(t), and dropout of the inputs if asked for."""

    def __init__(self, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.map = torch.nn.Linear(dim, dim, bias=False)
        self.untouched = torch.nn.Parameter(torch.ones(2))
        self.drop = torch.nn.Dropout(dropout)
        self.dtypes: set[Any] = set()

    def one_step(self, windows: torch.Tensor) -> torch.Tensor:
        forecast = self.map(self.drop(windows[:, :-1]))
        self.dtypes.add(forecast.dtype)
        return (forecast - windows[:, 1:]).square().mean()

    def run(self, contexts: torch.Tensor, steps: int) -> torch.Tensor:
        states = [contexts[:, -1]]
        for _ in range(steps):
            states.append(self.map(states[-1]))
        return torch.stack(states[1:], 1)


class Sinking(torch.nn.Module):
    """x(t+1) = x(t) + level - 1: right at level 1, while its loss goes on falling to `goal`."""

    def __init__(self, level: float, goal: float) -> None:
        super().__init__()
        self.level = torch.nn.Parameter(torch.tensor(level))
        self.goal = goal

    def loss(self, windows: torch.Tensor) -> torch.Tensor:
        return (self.level - self.goal) ** 2

    def run(self, contexts: torch.Tensor, steps: int) -> torch.Tensor:
        drift = (self.level - 1) * torch.arange(1, steps + 1)
        return contexts[:, -1:] + drift[:, None].to(contexts.dtype)


ROTATION = np.array([[np.cos(0.3), np.sin(0.3)], [-np.sin(0.3), np.cos(0.3)]])


def rotation(seed: int = 0, times: int = 60) -> Problem:
    rng = np.random.default_rng(seed)
    states = [rng.standard_normal((4, 2))]
    for _ in range(times - 1):
        states.append(states[-1] @ ROTATION.T)
    x = np.stack(states, 1)
    return Problem(x[:3], FreeRuns(x[3:, :5], x[3:, 5:45]), seed)


def still(dim: int = 1) -> Problem:
    x = np.ones((1, 60, dim))
    return Problem(x, FreeRuns(x[:, :1], x[:, 1:41]), 0)


def linear(problem: Problem) -> torch.nn.Module:
    return LinearMap(problem.train.shape[2])


PLAN = Plan((Stage("one_step", window=4, updates=200, batch=16, rate=3e-2),), checks=4)


def one(build: Any, problem: Problem, plan: Plan) -> Any:
    (outcome,) = trained(build, [problem], plan)
    if isinstance(outcome, FitError):
        raise outcome
    return outcome


def weights(outcome: Any) -> np.ndarray:
    return outcome[1].network.map.weight.numpy()


def test_a_linear_map_is_found() -> None:
    plan = replace(PLAN, stages=(replace(PLAN.stages[0], updates=500),))
    chosen, found = one(linear, rotation(), plan)
    np.testing.assert_allclose(found.network.map.weight, ROTATION, atol=1e-2)
    assert chosen["updates"] in (125, 250, 375, 500)
    context = rotation(5).train[:, :3]
    forecast = found.run(context, 1)
    assert forecast.dtype == np.float64
    np.testing.assert_allclose(
        forecast[:, 0], context[:, -1] @ found.network.map.weight.numpy().T, rtol=1e-12
    )


def test_the_seed_decides_and_the_global_random_states_stay() -> None:
    def dropping(problem: Problem) -> torch.nn.Module:
        return LinearMap(2, dropout=0.3)

    before, numpy_before = torch.random.get_rng_state(), repr(np.random.get_state(legacy=False))
    first = one(dropping, rotation(), PLAN)
    assert torch.equal(before, torch.random.get_rng_state())
    assert numpy_before == repr(np.random.get_state(legacy=False))
    torch.rand(7)
    assert np.array_equal(weights(first), weights(one(dropping, rotation(), PLAN)))
    other = one(dropping, replace(rotation(), seed=1), PLAN)
    assert not np.array_equal(weights(first), weights(other))


def test_windows_are_drawn_evenly_and_never_across_trajectories() -> None:
    train = np.arange(36.0).reshape(3, 12, 1)
    problem = Problem(train, FreeRuns(train[:, :1], train[:, 1:]), 4)
    stage = Stage("loss", window=5, updates=40, batch=100)
    batches, _ = training._drawn([problem], stage, 0, 0, 40, "cpu")
    drawn = np.concatenate([batch.numpy()[0, :, :, 0] for batch in batches])
    assert drawn.shape == (4000, 5)
    np.testing.assert_array_equal(drawn - drawn[:, :1], np.tile(np.arange(5.0), (4000, 1)))
    counts = np.bincount(drawn[:, 0].astype(int), minlength=36)
    possible = np.add.outer(np.arange(3) * 12, np.arange(8)).ravel()
    assert counts.sum() == counts[possible].sum()
    expected = 4000 / 24
    # chi-squared with 23 degrees of freedom: below 53 in 99.96 %
    assert ((counts[possible] - expected) ** 2 / expected).sum() < 53


def test_many_networks_become_what_each_becomes_alone() -> None:
    problems = [rotation(seed) for seed in range(3)]
    problems[1] = replace(problems[1], train=3 * problems[1].train[:2, :50])
    for problem, together in zip(problems, trained(linear, problems, PLAN), strict=True):
        alone = one(linear, problem, PLAN)
        assert together[0] == alone[0]
        # float32 rounds at 1e-7, in another order
        np.testing.assert_allclose(weights(together), weights(alone), atol=1e-5)


def test_one_that_diverges_has_its_error_and_the_others_do_not() -> None:
    broken = replace(rotation(1), train=rotation(1).train * 1e30)
    fine, failed, last = trained(linear, [rotation(0), broken, rotation(2)], PLAN)
    assert isinstance(failed, FitError) and "diverged" in str(failed)
    np.testing.assert_allclose(weights(fine), weights(one(linear, rotation(0), PLAN)), atol=1e-5)
    assert not isinstance(last, FitError)
    with pytest.raises(FitError, match="diverged"):
        one(linear, broken, PLAN)


def test_the_best_free_run_is_kept_though_the_loss_falls_on() -> None:
    plan = Plan((Stage("loss", window=2, updates=400, rate=1e-2),), checks=40, patience=40)
    chosen, found = one(lambda problem: Sinking(2.0, -1.0), still(), plan)
    assert found.network.level.item() == pytest.approx(1.0, abs=0.06)
    assert 90 < chosen["updates"] < 300


def test_a_stage_ends_when_free_runs_stop_getting_better_and_the_next_goes_on_from_the_best() -> (
    None
):
    told = []
    stages = (
        Stage("loss", window=2, updates=1000, rate=1e-2),
        Stage("loss", window=2, updates=10, rate=1e-9),
    )
    plan = Plan(stages, checks=100, patience=3)
    with heard_by(lambda done, total, what: told.append((done, total))):
        chosen, found = one(lambda problem: Sinking(2.0, -1.0), still(), plan)
    reached = max(done for done, _ in told if done < 1000)
    assert reached < 400 and told[0][1] == 1010
    assert found.network.level.item() == pytest.approx(1.0, abs=0.06)
    assert abs(chosen["updates"] - reached) <= 50 or chosen["stage"] == 1


def test_every_check_is_a_trial_and_so_is_every_finalist() -> None:
    with counted_trials() as trials:
        one(linear, rotation(), replace(PLAN, checks=4, patience=4))
    assert trials.count == len(PLAN.stages) * 4 + KEPT


def test_a_stage_may_train_a_part() -> None:
    plan = replace(PLAN, stages=(replace(PLAN.stages[0], trains="untouched"),))
    untrained = one(linear, rotation(), plan)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        np.testing.assert_array_equal(weights(untrained), LinearMap(2).map.weight.detach())


def test_a_stage_without_checks_hands_on_its_last_weights() -> None:
    """At level 1 free runs are best; the first stage goes on to 0, and the second stays there."""
    first = Stage("loss", window=2, updates=400, rate=3e-2, checked=False)
    plan = Plan((first, replace(first, updates=2, rate=1e-9, checked=True)), checks=2)
    chosen, found = one(lambda problem: Sinking(2.0, 0.0), still(), plan)
    assert chosen["stage"] == 1 and chosen["updates"] > 400
    assert found.network.level.item() == pytest.approx(0.0, abs=0.02)


def test_out_of_time_in_a_stage_without_checks_the_next_is_checked_once() -> None:
    long = replace(PLAN.stages[0], updates=10**6)
    plan = replace(PLAN, stages=(replace(long, checked=False), long, long), seconds=0.2)
    chosen, _ = one(linear, rotation(), plan)
    assert chosen == {"stage": 1, "updates": 10**6 + 1}


class _Killed(Exception):
    pass


def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    def dropping(problem: Problem) -> torch.nn.Module:
        return LinearMap(2, dropout=0.2)

    stages = (PLAN.stages[0], replace(PLAN.stages[0], updates=100, rate=1e-2))
    plan = replace(PLAN, stages=stages)
    expected = one(dropping, rotation(), plan)
    told: list[int] = []

    def kill_at(moment: int) -> Callable[[int, int | None, str], None]:
        def listener(done: int, total: int | None, what: str) -> None:
            told.append(done)
            if done == moment:
                raise _Killed

        return listener

    for moment in (120, 240):  # the second one goes on from the first, and into the second stage
        with resumable(tmp_path), heard_by(kill_at(moment)), pytest.raises(_Killed):
            one(dropping, rotation(), plan)
    assert told[told.index(120) + 1] == 100  # the last check before it
    (file,) = tmp_path.iterdir()
    with resumable(tmp_path):
        one(dropping, replace(rotation(), seed=1), plan)  # another training leaves it alone
        assert file.exists()
        resumed = one(dropping, rotation(), plan)
    assert resumed[0] == expected[0]
    np.testing.assert_array_equal(weights(resumed), weights(expected))
    assert not list(tmp_path.iterdir())


def test_out_of_time_the_best_so_far_is_taken() -> None:
    plan = replace(PLAN, stages=(replace(PLAN.stages[0], updates=10**6),), seconds=0.2)
    chosen, found = one(linear, rotation(), plan)
    assert 1 <= chosen["updates"] < 10**6
    assert np.isfinite(found.run(rotation().train[:, :3], 5)).all()


def test_updates_are_those_of_adam() -> None:
    ours, theirs = ({"w": torch.ones(1, 3, requires_grad=True)} for _ in range(2))
    adam, reference = training._Adam.at_rest(ours), torch.optim.Adam(theirs.values())
    for update in range(5):
        gradient = torch.tensor([[1.0, -0.01, update]])
        adam.step(ours, [gradient], 0.1 / (1 + update))
        theirs["w"].grad = gradient
        reference.param_groups[0]["lr"] = 0.1 / (1 + update)
        reference.step()
    np.testing.assert_allclose(ours["w"].detach(), theirs["w"].detach(), rtol=1e-5)


def test_adam_takes_gradients_as_they_lie_in_memory() -> None:
    """The gradient of a matrix is often the transpose of one."""
    first, second = ({"w": torch.zeros(1, 2, 3, requires_grad=True)} for _ in range(2))
    gradient = torch.arange(6.0).reshape(1, 3, 2).mT
    for weights_, g in ((first, gradient), (second, gradient.contiguous())):
        training._Adam.at_rest(weights_).step(weights_, [1e-8 * g], 1.0)
    assert torch.equal(first["w"], second["w"]) and len(first["w"].unique()) == 6


def test_gradients_are_clipped_for_each_problem_by_itself() -> None:
    gradients = [torch.tensor([[3.0, 0.0], [0.3, 0.0]]), torch.tensor([[[4.0]], [[0.4]]])]
    training._clip(gradients, 1.0)
    np.testing.assert_allclose(gradients[0], [[0.6, 0], [0.3, 0]], rtol=1e-5)
    np.testing.assert_allclose(gradients[1].flatten(), [0.8, 0.4], rtol=1e-5)


def test_the_rate_warms_up_and_falls_to_a_hundredth() -> None:
    stage = Stage("loss", window=2, updates=1000, rate=0.5)
    rates = [training._rate(stage, update) for update in range(1000)]
    assert rates[0] == pytest.approx(0.01) and np.argmax(rates) == 49
    assert max(rates) == pytest.approx(0.5, rel=0.01)
    assert (np.diff(rates[50:]) < 0).all() and rates[-1] == pytest.approx(0.005, rel=0.01)


def test_in_bfloat16_the_loss_is_and_the_weights_are_not() -> None:
    seen = []

    def build(problem: Problem) -> torch.nn.Module:
        seen.append(linear(problem))
        return seen[0]

    one(build, rotation(), replace(PLAN, bfloat16=True))
    assert seen[0].dtypes == {torch.bfloat16}
    assert seen[0].map.weight.dtype == torch.float32


def test_trajectories_shorter_than_a_window_are_refused_with_both_lengths() -> None:
    with pytest.raises(FitError, match=r"of 60 times .* window of 61"):
        one(linear, rotation(), replace(PLAN, stages=(Stage("one_step", window=61, updates=1),)))
