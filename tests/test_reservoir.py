"""NVAR and ESN against slow transcriptions of their formulas, and their skill on known systems."""

import tracemalloc
from dataclasses import replace
from math import comb

import numpy as np
import pytest

from models import _monomials, _network
from models import _reservoir_loops as loops
from models._monomials import Library, PolynomialMap
from models._network import Network, ResumedRun
from models._regression import Regression
from models.base import Differentiable
from models.reservoir import ESN, NVAR

LYAPUNOV_TIME = 1 / 0.9056  # of Lorenz63


def henon(trajectories: int, times: int, seed: int) -> np.ndarray:
    """x' = 1 - 1.4 x² + 0.3 x(t-1), the Hénon map as one delayed coordinate."""
    x = np.empty((trajectories, times + 50, 1))
    x[:, :2] = np.random.default_rng(seed).uniform(-0.1, 0.1, (trajectories, 2, 1))
    for t in range(1, times + 49):
        x[:, t + 1] = 1 - 1.4 * x[:, t] ** 2 + 0.3 * x[:, t - 1]
    return x[:, 50:]


def lorenz(trajectories: int, times: int, dt: float, seed: int) -> np.ndarray:
    """Lorenz63 on its attractor, by Runge-Kutta of order 4 with five steps a sample."""

    def rhs(s: np.ndarray) -> np.ndarray:
        x, y, z = s
        return np.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])

    s = np.array([1.0, 1.0, 20.0])[:, None]
    s = s + np.random.default_rng(seed).standard_normal((3, trajectories))
    burn_in, h = 400, dt / 5
    states = np.empty((trajectories, times, 3))
    for t in range(-burn_in, times):
        if t >= 0:
            states[:, t] = s.T
        for _ in range(5):
            one = rhs(s)
            two = rhs(s + h / 2 * one)
            three = rhs(s + h / 2 * two)
            s = s + h / 6 * (one + 2 * two + 2 * three + rhs(s + h * three))
    return states


def valid_prediction_times(
    forecast: np.ndarray, truth: np.ndarray, dt: float, lyapunov_time: float
) -> np.ndarray:
    """Lyapunov times until the normalised error first exceeds 0.4, one a window."""
    error = np.sqrt(((forecast - truth) ** 2).mean(axis=2))
    wrong = ~(error <= 0.4)
    steps = np.where(wrong.any(axis=1), wrong.argmax(axis=1), wrong.shape[1])
    return steps * dt / lyapunov_time


class Problem:
    """6000 training, 2000 validation points and 20 windows of a system, standardised."""

    def __init__(self, train: np.ndarray, validation: np.ndarray, tests: np.ndarray, dt: float):
        mean, std = train.mean(axis=(0, 1)), train.std(axis=(0, 1))
        self.train, self.validation = (train - mean) / std, (validation - mean) / std
        tests = (tests - mean) / std
        self.context, self.truth, self.dt = tests[:, :512], tests[:, 512:], dt


@pytest.fixture(scope="module")
def lorenz_problem() -> Problem:
    dt = 0.025
    everything = lorenz(22, 6000, dt, seed=1)
    end = 512 + int(20 * LYAPUNOV_TIME / dt)
    return Problem(everything[:1], everything[1:2, :2000], everything[2:, :end], dt)


# ------------------------------------------------------------------------------ blocks of rows


def test_blocks_give_the_regression_of_all_rows() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((900, 12)) * np.geomspace(1, 1e-6, 12)
    features[:, 5] = features[:, 4] * (1 + 1e-9 * rng.standard_normal(900))  # nearly collinear
    targets = features @ rng.standard_normal((12, 2)) * 1e3 + rng.standard_normal((900, 2))
    whole = Regression.of(features, targets)
    rows = np.split(np.arange(900), [7, 300])  # the first block has fewer rows than features
    blocks = Regression.of_blocks((features[some], targets[some]) for some in rows)
    thirds = np.split(np.arange(900), 3)
    joined = Regression.joined([Regression.of(features[some], targets[some]) for some in thirds])
    for other in (blocks, joined):
        np.testing.assert_allclose(other.scale, whole.scale, rtol=1e-12)
        for (_, mine), (_, same) in zip(
            other.solutions((1e-9, 1.0)), whole.solutions((1e-9, 1.0)), strict=True
        ):
            # rounding, 1e-16 of the targets' 1e3 and times the condition number of the fit: the
            # two columns share one weight in any way the ridge leaves open
            np.testing.assert_allclose(features @ mine, features @ same, atol=1e-7)
    one = Regression.of_blocks([(features, targets)])
    np.testing.assert_array_equal(one.triangle, whole.triangle)


@pytest.mark.parametrize("most", [10**6, 700])
def test_blocks_are_the_rows_of_one_run_in_order(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    train = np.random.default_rng(0).standard_normal((2, 1500, 2))
    network = small_network(np.random.default_rng(1))
    library = Library.build(dim=2, taps=2, stride=3, degree=2)

    def everything() -> list[list[np.ndarray]]:
        sources = (network.blocks(train, 50, most), library.blocks(train, most))
        blocks = [list(zip(*source, strict=True)) for source in sources]
        count.append([len(parts[0]) for parts in blocks])
        return [[np.concatenate(part) for part in parts] for parts in blocks]

    count: list[list[int]] = []
    whole = everything()
    monkeypatch.setattr(_network, "BLOCK", 200)
    monkeypatch.setattr(_monomials, "BLOCK", 200)
    for one, other in zip(whole, everything(), strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    assert count[0] == [1, 1] and min(count[1]) >= 3


def test_memory_of_a_fit_does_not_grow_with_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_network, "BLOCK", 400)
    monkeypatch.setattr(_monomials, "BLOCK", 400)
    library = Library.build(dim=2, taps=4, stride=3, degree=3)
    network = small_network(np.random.default_rng(1))
    for rows in (
        lambda train: network.blocks(train, 50, 10**6),
        lambda train: library.blocks(train, 10**6),
    ):
        peaks = []
        for times in (3000, 3000, 24000):  # the first call compiles
            train = np.random.default_rng(0).standard_normal((1, times, 2))
            tracemalloc.start()
            Regression.of_blocks((features, following) for features, _, following in rows(train))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        # an index of 8 bytes a row is allowed; features of all rows would be 100 and more
        assert peaks[2] - peaks[1] < 12 * 24000


def test_one_ridge_alone_has_the_solution_it_has_among_others() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((300, 12)) * np.geomspace(1, 1e-6, 12)
    features[:, 5] = features[:, 4] * (1 + 1e-9 * rng.standard_normal(300))  # nearly collinear
    for rows in (300, 5):  # and with fewer rows than features
        regression = Regression.of(features[:rows], features[:rows, :2])
        for ridge, weights in regression.solutions((1e-12, 1e-3)):
            [(_, alone)] = regression.solutions((ridge,))
            np.testing.assert_allclose(features @ alone, features @ weights, atol=1e-9)


# ------------------------------------------------------------------------------------------ NVAR


def test_a_matrix_on_which_divide_and_conquer_gives_up_is_solved_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(4)
    regression = Regression.of(rng.normal(size=(50, 6)), rng.normal(size=(50, 2)))
    expected = list(regression.solutions((1e-9, 1.0)))

    def gives_up(*_: object, **__: object) -> None:
        raise np.linalg.LinAlgError("SVD did not converge")

    monkeypatch.setattr(np.linalg, "svd", gives_up)  # as on 210 features of a real system
    for (ridge, weights), (_, before) in zip(
        regression.solutions((1e-9, 1.0)), expected, strict=True
    ):
        assert weights == pytest.approx(before, rel=1e-10), ridge


def test_library_lists_every_monomial_once() -> None:
    library = Library.build(dim=2, taps=2, stride=3, degree=3)
    x = np.random.default_rng(0).standard_normal((1, 30, 2))
    [(monomials, now, following)] = library.blocks(x, 10**6)
    assert library.memory == 4
    assert monomials.shape == (26, comb(4 + 3, 3))
    np.testing.assert_array_equal(now, x[0, 3:29])
    np.testing.assert_array_equal(following, x[0, 4:])
    a, b, c, d = x[0, 3, 0], x[0, 3, 1], x[0, 0, 0], x[0, 0, 1]  # now, and three steps ago
    powers = [(i, j, k, m) for i in range(4) for j in range(4) for k in range(4) for m in range(4)]
    by_hand = [a**i * b**j * c**k * d**m for i, j, k, m in powers if i + j + k + m <= 3]
    np.testing.assert_allclose(np.sort(monomials[0]), np.sort(by_hand), rtol=1e-13)
    np.testing.assert_array_equal(monomials[0, :5], [1, a, b, c, d])


def test_double_scroll_library_has_linear_and_cubic_terms_only() -> None:
    # Gauthier et al. (2021): 3 states, 2 taps, no constant: 6 linear + 56 cubic
    used = Library.build(dim=3, taps=2, stride=1, degree=3).of_orders({1, 3})
    assert len(used) == 62


def test_polynomial_loop_equals_its_formula() -> None:
    rng = np.random.default_rng(0)
    library = Library.build(dim=2, taps=3, stride=2, degree=2)
    weights = 0.02 * rng.standard_normal((len(library.degrees), 2))
    context = rng.standard_normal((3, 9, 2))
    forecast = PolynomialMap(library, weights).run(context, 15)
    for window in range(3):
        past = list(context[window])
        for t in range(15):
            v = np.concatenate([past[-1], past[-3], past[-5]])
            quadratic = [v[i] * v[j] for i in range(6) for j in range(i, 6)]
            past.append(past[-1] + np.concatenate([[1.0], v, quadratic]) @ weights)
            np.testing.assert_allclose(forecast[window, t], past[-1], rtol=1e-11)


def test_nvar_recovers_a_polynomial_map() -> None:
    model = NVAR(delays=((2, 1),), orders=((2,),), ridges=(1e-18,))
    model.fit(henon(2, 1000, seed=0), dt=1.0, validation=henon(1, 500, seed=1))
    # monomials: 1, x, y, x², xy, y² with y = x(t-1); the target is x(t+1) - x(t)
    np.testing.assert_allclose(model.map_.weights[:, 0], [1, -1, 0.3, -1.4, 0, 0], atol=1e-11)
    test = henon(5, 300, seed=2)
    one_step = np.stack([model.predict(test[:, t - 2 : t], 1)[:, 0] for t in range(2, 300)], axis=1)
    np.testing.assert_allclose(one_step, test[:, 2:], atol=1e-8)


@pytest.mark.parametrize("increment", [True, False])
def test_target_and_constant_are_as_asked(increment: bool) -> None:
    # An overwhelming ridge forgets everything but what it shrinks towards.
    x = henon(2, 400, seed=0)
    model = NVAR(delays=((1, 1),), orders=((2,),), ridges=(1e12,), increment=increment)
    forecast = model.fit(x, dt=1.0, validation=x).predict(x, 1)
    np.testing.assert_allclose(forecast[:, 0], x[:, -1] if increment else 0.0, atol=1e-6)
    model = NVAR(delays=((1, 1),), orders=((2,),), ridges=(1e-9,), constant=False)
    assert model.fit(x, dt=1.0, validation=x).map_.weights[0, 0] == 0


def test_gilpin_preset_is_a_linear_model() -> None:
    x = henon(1, 600, seed=0)
    model = NVAR(**dict(NVAR.presets["gilpin2023"])).fit(x, dt=1.0, validation=x)
    taps = model.chosen_["taps"]
    assert model.map_.weights.shape == (taps + 1, 1)
    assert model.context_needed_ == taps in (2, 5, 15, 30, 60, 120)


def test_nvar_forecasts_lorenz_for_fifteen_lyapunov_times(lorenz_problem: Problem) -> None:
    problem = lorenz_problem
    model = NVAR().fit(problem.train, dt=problem.dt, validation=problem.validation)
    forecast = model.predict(problem.context, problem.truth.shape[1])
    times = valid_prediction_times(forecast, problem.truth, problem.dt, LYAPUNOV_TIME)
    assert np.median(times) > 15  # measured: 20, the whole horizon
    long = model.predict(problem.context[:4], 5000)
    assert np.isfinite(long).all()
    np.testing.assert_allclose(long.std(axis=(0, 1)), 1.0, atol=0.1)  # still on the attractor


def test_gauthier_preset_shows_what_it_was_made_for(lorenz_problem: Problem) -> None:
    problem = lorenz_problem
    model = NVAR(**dict(NVAR.presets["gauthier2021"]))
    model.fit(problem.train[:, :400], dt=problem.dt, validation=problem.validation)
    assert model.map_.weights.shape == (28, 3)
    forecast = model.predict(problem.context, 300)
    times = valid_prediction_times(forecast, problem.truth[:, :300], problem.dt, LYAPUNOV_TIME)
    assert 3 < np.median(times) < 7  # the paper: good for about five Lyapunov times


def difference_quotients(model: Differentiable, state: np.ndarray) -> np.ndarray:
    """(windows, states, states): the Jacobian of one step of the closed loop, by differences."""
    none = np.zeros((*state.shape, 1))
    columns = []
    for direction in np.eye(state.shape[1]):
        after, before = (model._advance(state + h * direction, none)[0] for h in (3e-6, -3e-6))
        columns.append((after - before) / 6e-6)
    return np.stack(columns, axis=2)


def test_nvar_knows_its_jacobian() -> None:
    rng = np.random.default_rng(0)
    library = Library.build(dim=2, taps=3, stride=2, degree=3)
    model = NVAR()
    model.map_ = PolynomialMap(library, 0.02 * rng.standard_normal((len(library.degrees), 2)))
    state = model._state(rng.standard_normal((3, 9, 2)))
    assert state.shape == (3, 10)  # five steps of memory, of which three are read
    everywhere = np.tile(np.eye(10), (3, 1, 1))
    following, jacobian = model._advance(state, everywhere)
    # 3e-6 to both sides: 1e-11 from the curvature, 1e-16 / 3e-6 from rounding
    np.testing.assert_allclose(jacobian, difference_quotients(model, state), atol=1e-9)
    forecast = model.map_.run(state.reshape(3, 5, 2), 1)
    np.testing.assert_allclose(following[:, -2:], forecast[:, 0], rtol=1e-12)
    np.testing.assert_array_equal(following[:, :-2], state[:, 2:])


def test_nvar_of_the_henon_map_has_its_exponents() -> None:
    model = NVAR(delays=((2, 1),), orders=((2,),), ridges=(1e-18,))
    model.fit(henon(2, 1000, seed=0), dt=0.5, validation=henon(1, 500, seed=1))
    exponents = model.lyapunov_exponents(henon(8, 20, seed=2), 8000, 3) * 0.5  # per step
    # 8 runs of 8000 steps scatter by 0.004 each
    assert exponents[:, 0].mean() == pytest.approx(0.419, abs=0.004)
    np.testing.assert_allclose(exponents[:, :2].sum(axis=1), np.log(0.3), atol=1e-9)
    assert np.isneginf(exponents[:, 2]).all()  # two states, two exponents


def test_nvar_of_lorenz_has_its_spectrum(lorenz_problem: Problem) -> None:
    problem = lorenz_problem
    model = NVAR(delays=((1, 1),), orders=(tuple(range(2, 9)),), ridges=(1e-15,))
    model.fit(problem.train, dt=problem.dt, validation=problem.validation)
    exponents = model.lyapunov_exponents(problem.context[:10, -50:], 4000, 3)
    check_lorenz_spectrum(exponents)


def check_lorenz_spectrum(exponents: np.ndarray) -> None:
    # Sprott 2003: 0.9056, 0, −14.5723. Ten runs of 100 time units scatter by some 0.03 each, the
    # trace of the Jacobian is −13.667 everywhere.
    largest, second, third = exponents.mean(axis=0)
    assert largest == pytest.approx(0.9056, abs=0.03)
    assert second == pytest.approx(0, abs=0.02)
    assert largest + second + third == pytest.approx(-41 / 3, abs=0.03)


# ------------------------------------------------------------------------------------------- ESN


def small_network(rng: np.random.Generator) -> Network:
    network = Network.random(12, 2, 4, 1.0, True, rng).scaled(0.8, 0.7, 0.5, 0.3)
    readout = 0.05 * rng.standard_normal((15, 2))
    return network.reading(np.arange(15), readout, increment=True)


def dense(network: Network) -> np.ndarray:
    matrix = np.zeros((len(network.sources), len(network.sources)))
    np.put_along_axis(matrix, network.sources, network.links, axis=1)
    return matrix


def advance(network: Network, h: np.ndarray, x: np.ndarray) -> np.ndarray:
    """h(t) = (1 - leak) h(t-1) + leak tanh(W h(t-1) + W_in x(t) + b)."""
    pull = dense(network) @ h + network.input_weights @ x + network.bias
    return (1 - network.leak) * h + network.leak * np.tanh(pull)


def features(network: Network, h: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.concatenate([np.where(network.squared, h**2, h), x, [1.0]])


def test_driven_states_are_those_of_the_formula_in_plain_numpy() -> None:
    # s' = (1 - lr) s + lr tanh(W s + Win x + b), as reservoirpy's Reservoir has it
    network = Network.random(40, 3, 6, 0.5, True, np.random.default_rng(3))
    network = network.scaled(0.9, 0.3, 0.5, 0.2)
    x = np.random.default_rng(4).standard_normal((500, 3))
    state = np.zeros((40, 1))
    states = loops.drive(*network.weights, x[None], 0, state)
    s, matrix = np.zeros(40), dense(network)
    for t in range(500):
        pull = matrix @ s + network.input_weights @ x[t] + network.bias
        s = 0.7 * s + 0.3 * np.tanh(pull)
        np.testing.assert_allclose(states[:, t, 0], s, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(state[:, 0], states[:, -1, 0])  # where a second call goes on


def test_free_run_of_the_network_equals_its_formula() -> None:
    rng = np.random.default_rng(0)
    network = small_network(rng)
    context = rng.standard_normal((3, 9, 2))
    forecast = network.run(context, 12)
    assert network.squared.sum() == 6
    for window in range(3):
        h = np.zeros(12)
        for x in context[window]:
            h = advance(network, h, x)
        for t in range(12):
            x = x + features(network, h, x) @ network.readout
            np.testing.assert_allclose(forecast[window, t], x, rtol=1e-12)
            h = advance(network, h, x)


@pytest.mark.parametrize("windows", [3, 12])
def test_lanes_and_interruptions_change_no_bit(windows: int) -> None:
    network, run = small_network(np.random.default_rng(0)), ResumedRun()
    readout = 0.02 * np.random.default_rng(1).standard_normal(network.readout.shape)
    other = replace(network, readout=readout)
    context = np.random.default_rng(2).standard_normal((windows, 20, 2))
    for fitted in (network, other, network):
        for horizon in (5, 40, 10, 60):
            expected = fitted.run(context, horizon)
            np.testing.assert_array_equal(run(fitted, context, horizon), expected)
            np.testing.assert_array_equal(fitted.run(context[:1], horizon), expected[:1])
    np.testing.assert_array_equal(run(other, context[:, 5:], 7), other.run(context[:, 5:], 7))


def test_esn_knows_its_jacobian() -> None:
    rng = np.random.default_rng(1)
    model = ESN()
    model.network_ = small_network(rng)  # with a leak, and squares in the readout
    state = model._state(rng.standard_normal((3, 30, 2)))
    assert state.shape == (3, 14)
    _, jacobian = model._advance(state, np.tile(np.eye(14), (3, 1, 1)))
    np.testing.assert_allclose(jacobian, difference_quotients(model, state), atol=1e-9)


@pytest.mark.parametrize("known", [1, 2, 30])
def test_esn_state_goes_on_where_the_context_ends(known: int) -> None:
    rng = np.random.default_rng(2)
    model = ESN()
    model.network_ = small_network(rng)
    context = rng.standard_normal((3, known, 2))
    forecast = model.network_.run(context, 5)
    state = model._state(context)
    for t in range(5):
        state, _ = model._advance(state, np.zeros((3, 14, 1)))
        np.testing.assert_allclose(state[:, -2:], forecast[:, t], rtol=1e-12)


def test_esn_of_lorenz_has_its_spectrum(lorenz_problem: Problem) -> None:
    problem = lorenz_problem
    model = ESN(units=200, dynamics=((0.1, 1.0, 0.1, 0.5),), ridges=(1e-15,))
    model.fit(problem.train, dt=problem.dt, validation=problem.validation)
    check_lorenz_spectrum(model.lyapunov_exponents(problem.context[:10, -50:], 4000, 3))


def test_training_rows_are_the_driven_states_and_what_follows() -> None:
    rng = np.random.default_rng(1)
    network = small_network(rng)
    train = rng.standard_normal((2, 2000, 2))
    [(rows, now, following)] = network.blocks(train, 80, 10**6)
    assert len(rows) > 2 * (2000 - 80) - 40
    for row in rng.integers(len(rows), size=20):
        trajectory, t = np.argwhere((train == now[row]).all(axis=2))[0]
        np.testing.assert_array_equal(following[row], train[trajectory, t + 1])
        h = np.zeros(12)
        for x in train[trajectory, : t + 1]:
            h = advance(network, h, x)
        # up to what is left after 80 steps of the segment's start at rest
        np.testing.assert_allclose(rows[row], features(network, h, now[row]), atol=1e-9)


def test_every_row_after_the_washout_is_used_once() -> None:
    train = np.arange(900.0).reshape(1, 900, 1)
    [(_, now, _)] = small_scalar_network().blocks(train, 30, 10**6)
    times = np.sort(now[:, 0])
    np.testing.assert_array_equal(times, np.arange(times[0], 899))
    assert 30 <= times[0] < 46
    [(thinned, _, _)] = small_scalar_network().blocks(train, 30, 100)
    assert len(thinned) == pytest.approx(100, abs=5)


def small_scalar_network() -> Network:
    return Network.random(8, 1, 3, 1.0, False, np.random.default_rng(0)).scaled(0.5, 1, 1e-3, 0.1)


@pytest.mark.parametrize("units", [30, 200])
def test_random_network_has_the_radius_scale_and_degree_asked_for(units: int) -> None:
    network = Network.random(units, 3, 6, 0.5, True, np.random.default_rng(0))
    scaled = network.scaled(0.9, 0.3, 0.2, 0.4)
    assert np.abs(np.linalg.eigvals(dense(scaled))).max() == pytest.approx(0.9)
    assert ((dense(scaled) != 0).sum(axis=1) == 6).all()
    assert 0.15 < np.abs(scaled.input_weights).max() <= 0.2
    assert 0.3 < np.abs(scaled.bias).max() <= 0.4
    assert 0.3 < (scaled.input_weights != 0).mean() < 0.7


def test_tanh_is_exact_to_rounding_at_every_size() -> None:
    x = np.concatenate([np.linspace(-25, 25, 5001), np.geomspace(1e-300, 1e3, 2001)])
    ours = np.array([loops.tanh.py_func(value) for value in x])
    # np.tanh itself is within one unit in the last place, 2.2e-16
    np.testing.assert_allclose(ours, np.tanh(x), rtol=1e-15)
    compiled = np.array([loops.tanh(value) for value in x])
    np.testing.assert_allclose(compiled, np.tanh(x), rtol=1e-15)
    assert np.isnan(loops.tanh(np.nan))
    assert loops.tanh(np.inf) == 1.0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_esn_forecasts_lorenz_for_twelve_lyapunov_times_whatever_the_seed(
    lorenz_problem: Problem, seed: int
) -> None:
    problem = lorenz_problem
    # The whole search on a smaller network; with 500 units the median is 20, the whole horizon.
    model = ESN(units=250, scouts=100)
    model.fit(problem.train, dt=problem.dt, validation=problem.validation, seed=seed)
    forecast = model.predict(problem.context, problem.truth.shape[1])
    times = valid_prediction_times(forecast, problem.truth, problem.dt, LYAPUNOV_TIME)
    assert np.median(times) > 12
    long = model.predict(problem.context[:4], 3000)
    assert np.isfinite(long).all()
    np.testing.assert_allclose(long.std(axis=(0, 1)), 1.0, atol=0.1)


def test_memory_makes_up_for_what_is_not_observed(lorenz_problem: Problem) -> None:
    problem = lorenz_problem
    train, validation = problem.train[:, :, :1], problem.validation[:, :, :1]
    context, truth = problem.context[:, :, :1], problem.truth[:, :600, :1]
    medians = {}
    for name, model in {
        "state alone": NVAR(delays=((1, 1),)),
        "nvar": NVAR(delays=((6, 4),)),
        "esn": ESN(units=300, dynamics=((0.4, 0.4, 2.5, 1.0),)),
    }.items():
        model.fit(train, dt=problem.dt, validation=validation)
        forecast = model.predict(context, 600)
        times = valid_prediction_times(forecast, truth, problem.dt, LYAPUNOV_TIME)
        medians[name] = float(np.median(times))
    assert medians["state alone"] < 0.5
    assert medians["nvar"] > 2
    assert medians["esn"] > 3
