"""Parallel reservoirs against their formula, and against one reservoir on a ring of coordinates."""

import numpy as np
import pytest

from models._network import Network
from models.parallel_reservoir import Groups, LocalNetworks, ParallelESN
from models.reservoir import ESN


def lorenz96(dim: int, trajectories: int, times: int, dt: float, seed: int) -> np.ndarray:
    """x_i' = (x_{i+1} - x_{i-2}) x_{i-1} - x_i + 8, by Runge-Kutta of order 4, two steps each."""

    def rhs(x: np.ndarray) -> np.ndarray:
        return (np.roll(x, -1, 1) - np.roll(x, 2, 1)) * np.roll(x, 1, 1) - x + 8

    x = 8 + np.random.default_rng(seed).standard_normal((trajectories, dim))
    states, h = [], dt / 2
    for _ in range(600 + times):
        for _ in range(2):
            one = rhs(x)
            two = rhs(x + h / 2 * one)
            three = rhs(x + h / 2 * two)
            x = x + h / 6 * (one + 2 * two + 2 * three + rhs(x + h * three))
        states.append(x)
    return np.stack(states[600:], axis=1)


def local_networks(dim: int, size: int, overlap: int, readouts: int) -> LocalNetworks:
    rng = np.random.default_rng(0)
    groups = Groups.of(dim, size, overlap)
    network = Network.random(12, groups.heard, 4, 1.0, True, rng).scaled(0.8, 0.7, 0.5, 0.3)
    shape = (readouts, 12 + groups.heard + 1, groups.size)
    return LocalNetworks(network, groups, 0.02 * rng.standard_normal(shape))


def test_groups_hear_their_neighbours_round_the_ring() -> None:
    groups = Groups.of(6, 2, 1)
    np.testing.assert_array_equal(groups.neighbours, [[5, 0, 1, 2], [1, 2, 3, 4], [3, 4, 5, 0]])
    assert groups.count == 3
    np.testing.assert_array_equal(groups.neighbours[:, groups.own], [[0, 1], [2, 3], [4, 5]])


@pytest.mark.parametrize(
    ("dim", "asked", "expected"),
    [
        (20, (2, 2), (2, 2)),
        (9, (2, 2), (1, 2)),  # 9 has no pairs
        (9, (4, 2), (3, 2)),
        (7, (2, 2), (1, 2)),
        (5, (1, 2), (5, 0)),  # each would hear everything
        (3, (2, 2), (3, 0)),
        (1, (2, 2), (1, 0)),
    ],
)
def test_groups_are_what_the_dimension_allows(dim, asked, expected) -> None:  # type: ignore
    groups = Groups.of(dim, *asked)
    assert (groups.size, groups.overlap) == expected
    assert groups.count * groups.size == dim


@pytest.mark.parametrize("readouts", [1, 3])
def test_free_run_equals_its_formula(readouts: int) -> None:
    local = local_networks(6, 2, 1, readouts)
    network = local.network
    matrix = np.zeros((12, 12))
    np.put_along_axis(matrix, network.sources, network.links, axis=1)
    context = np.random.default_rng(1).standard_normal((2, 9, 6))
    forecast = local.run(context, 8)
    for window in range(2):
        h = np.zeros((3, 12))
        for t in range(16):
            x = context[window, t].copy() if t < 9 else x
            change = np.zeros(6)
            for g in range(3):
                heard = x[[(2 * g - 1) % 6, 2 * g, 2 * g + 1, (2 * g + 2) % 6]]
                pull = matrix @ h[g] + network.input_weights @ heard + network.bias
                h[g] = 0.3 * h[g] + 0.7 * np.tanh(pull)
                features = np.concatenate([np.where(network.squared, h[g] ** 2, h[g]), heard, [1]])
                change[2 * g : 2 * g + 2] = features @ local.readouts[g % readouts]
            if t >= 8:
                x = x + change
                np.testing.assert_allclose(forecast[window, t - 8], x, rtol=1e-11)


def test_one_group_is_one_reservoir() -> None:
    local = local_networks(3, 2, 2, 1)
    context = np.random.default_rng(1).standard_normal((2, 30, 3))
    one = local.network.reading(np.arange(16), local.readouts[0], increment=True)
    np.testing.assert_array_equal(local.run(context, 10), one.run(context, 10))


def test_a_shared_readout_knows_no_place() -> None:
    local = local_networks(6, 2, 1, 1)
    context = np.random.default_rng(1).standard_normal((2, 30, 6))
    turned = local.run(np.roll(context, 2, axis=2), 10)
    np.testing.assert_array_equal(turned, np.roll(local.run(context, 10), 2, axis=2))


def test_state_goes_on_where_the_context_ends() -> None:
    local = local_networks(6, 2, 1, 3)
    context = np.random.default_rng(1).standard_normal((2, 30, 6))
    state, none = local.state(context), np.zeros((2, 42, 1))
    for expected in local.run(context, 5).transpose(1, 0, 2):
        state, _ = local.advance(state, none)
        np.testing.assert_allclose(state[:, -6:], expected, rtol=1e-12)


def test_jacobian_is_that_of_the_step() -> None:
    local = local_networks(6, 2, 1, 3)
    state = local.state(np.random.default_rng(1).standard_normal((2, 30, 6)))
    none, h = np.zeros((2, 42, 1)), 3e-6
    _, jacobian = local.advance(state, np.tile(np.eye(42), (2, 1, 1)))
    for k, direction in enumerate(h * np.eye(42)):
        after, before = (local.advance(state + d, none)[0] for d in (direction, -direction))
        np.testing.assert_allclose(jacobian[:, :, k], (after - before) / (2 * h), atol=1e-9)


def test_local_reservoirs_outlast_one_of_equal_cost() -> None:
    states = lorenz96(20, 12, 700, 0.05, seed=0)
    # One mean and one deviation: translation invariance survives.
    states = (states - states[0, :400].mean()) / states[0, :400].std()
    train, validation, tests = states[:1, :400], states[1:2], states[2:]
    context, truth = tests[:, :100], tests[:, 100:300]
    ridges, dynamics = (1e-6, 1e-3), ((0.1, 1.0, 0.03, 0.3),)
    medians = {}
    for name, model in {
        # 20 groups · 60² = 268²
        "one": ESN(units=268, ridges=ridges, dynamics=dynamics),
        "shared": ParallelESN(
            units=60, neighbourhoods=((1, 2),), shared=(True,), ridges=ridges, dynamics=dynamics
        ),
        "own": ParallelESN(
            units=60, neighbourhoods=((1, 2),), shared=(False,), ridges=ridges, dynamics=dynamics
        ),
    }.items():
        model.fit(train, dt=0.05, validation=validation)
        forecast = model.predict(context, 200)
        wrong = ~(np.sqrt(((forecast - truth) ** 2).mean(axis=2)) <= 0.4)
        steps = np.where(wrong.any(axis=1), wrong.argmax(axis=1), 200)
        medians[name] = float(np.median(steps)) * 0.05 * 1.5  # Lyapunov times of some 1 / 1.5
    assert medians["own"] > 2 * medians["one"]
    assert medians["shared"] > 1.2 * medians["own"]
