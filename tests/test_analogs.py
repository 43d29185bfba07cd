"""The analog family against searches and regressions written out, and published findings."""

from functools import partial

import numpy as np
import pytest

import models
import systems
from dysts_bench.metrics import METRICS, Facts
from models._neighbours import Follower, Library, by_local_regression
from models._tuning import THRESHOLD, normalised_error
from models.analogs import Analog, Parrot, Simplex, SMap


def sine(period: float, times: int, phases: tuple[float, ...]) -> np.ndarray:
    """A sine and a cosine of the given period (steps), one trajectory a phase."""
    angle = 2 * np.pi * (np.arange(times) / period + np.array(phases)[:, None])
    return np.stack([np.sin(angle), np.cos(angle)], axis=2)


def delay_vectors(x: np.ndarray, taps: int, stride: int, block: int) -> tuple[np.ndarray, ...]:
    """(vectors, presents, futures) of a trajectory (times, dim), row by row."""
    rows = range((taps - 1) * stride, len(x) - block)
    vectors = [np.concatenate([x[t - tap * stride] for tap in range(taps)]) for t in rows]
    return np.array(vectors), x[rows], np.array([x[t + 1 : t + 1 + block] for t in rows])


@pytest.fixture(scope="module")
def lorenz() -> tuple[np.ndarray, float, float]:
    """Three standardised trajectories, dt, and the Lyapunov time in steps."""
    system = systems.load("Lorenz")
    x = system.trajectory(6000, trajectories=3, points_per_period=30, seed=1, cache=False).states
    dt = system.period / 30
    return (x - x[0].mean(axis=0)) / x[0].std(axis=0), dt, system.lyapunov_time / dt


# --------------------------------------------------------------------------------------- analogues


def test_analog_adds_what_its_nearest_neighbour_did_next() -> None:
    rng = np.random.default_rng(0)
    train, context = rng.standard_normal((2, 60, 3)), rng.standard_normal((4, 10, 3))
    model = Analog(neighbours=(1,), delays=((2, 3),), block=2).fit(train, dt=1.0, validation=train)
    forecast = model.predict(context, 2)
    for window in range(4):
        candidates = [
            (
                np.sum((train[j, t] - context[window, -1]) ** 2)
                + np.sum((train[j, t - 3] - context[window, -4]) ** 2),
                train[j, t + 1 : t + 3] - train[j, t],
            )
            for j in range(2)
            for t in range(3, 58)
        ]
        _, increments = min(candidates, key=lambda pair: pair[0])
        np.testing.assert_allclose(forecast[window], context[window, -1] + increments, rtol=1e-12)


def test_analog_weights_several_neighbours_by_inverse_distance() -> None:
    train = np.array([0.0, 1.0, 3.0, 3.5]).reshape(1, 4, 1)
    model = Analog(neighbours=(2,), delays=((1, 1),), block=1)
    model.fit(train, dt=1.0, validation=np.tile(train, (1, 5, 1)))
    # from 0.25: distances 0.25 to x = 0 (then +1) and 0.75 to x = 1 (then +2)
    forecast = model.predict(np.array([[[0.25]]]), 1)
    assert forecast.item() == pytest.approx(0.25 + (1 / 0.25 + 2 / 0.75) / (1 / 0.25 + 1 / 0.75))


def test_analog_follows_a_periodic_orbit_for_ever() -> None:
    x = sine(24, 1200, (0.0,))
    model = Analog().fit(x[:, :600], dt=1.0, validation=x[:, :400])
    np.testing.assert_allclose(model.predict(x[:, 600:660], 540), x[:, 660:], atol=1e-9)


def test_analog_draws_a_neighbour_by_inverse_distance() -> None:
    train = np.array([0.0, 1.0, 3.0, 3.5]).reshape(1, 4, 1)
    model = Analog(neighbours=(1,), delays=((1, 1),), block=1)
    model.fit(train, dt=1.0, validation=np.tile(train, (1, 5, 1)))
    # from 0.25, among at least three: 0.25 to x = 0 (then +1), 0.75 to 1 (+2), 2.75 to 3 (+0.5)
    samples = model.sample(np.array([[[0.25]]]), 1, 20_000, seed=3)[:, 0, 0, 0]
    weights = np.array([1 / 0.25, 1 / 0.75, 1 / 2.75])
    for change, share in zip((1.0, 2.0, 0.5), weights / weights.sum(), strict=True):
        # four standard errors of 20 000 draws: 0.014 at most
        assert np.mean(samples == 0.25 + change) == pytest.approx(share, abs=0.014)


def test_analog_samples_follow_a_periodic_orbit_for_ever() -> None:
    x = sine(24, 1200, (0.0,))
    model = Analog().fit(x[:, :600], dt=1.0, validation=x[:, :400])
    # An exact repetition takes all the weight, and the training data hold 25 of them.
    samples = model.sample(x[:, 600:660], 540, 3)
    np.testing.assert_allclose(samples, np.repeat(x[None, :, 660:], 3, axis=0), atol=1e-9)


def test_analog_samples_are_better_forecasts_of_lorenz_than_its_single_one(
    lorenz: tuple[np.ndarray, float, float],
) -> None:
    x, dt, lyapunov_time = lorenz
    model = Analog().fit(x[:1], dt=dt, validation=x[1:2, :2000])
    starts = np.arange(200, 5000, 240)
    context = np.stack([x[2, start - 100 : start] for start in starts])
    truth = np.stack([x[2, start : start + 150] for start in starts])  # 3.4 Lyapunov times
    facts = Facts(dt=dt, lyapunov_time=lyapunov_time * dt, scale=np.ones(3))
    samples = model.sample(context, 150, 40)
    values = {
        name: float(np.mean(METRICS[name](truth, samples, facts)))
        for name in ("crps", "coverage_error", "spread_skill_error")
    }
    single = METRICS["crps"](truth, model.predict(context, 150)[None], facts).mean()
    assert values["crps"] < 0.75 * single  # measured: 0.6
    assert values["coverage_error"] < 0.15
    assert values["spread_skill_error"] < 0.4


# ----------------------------------------------------------------------------------------- simplex


@pytest.mark.parametrize("increment", [False, True])
def test_simplex_weighs_its_corners_as_in_the_paper(increment: bool) -> None:
    rng = np.random.default_rng(0)
    x, context = rng.standard_normal((80, 2)), rng.standard_normal((1, 9, 2))
    model = Simplex(delays=((2, 3),), increments=(increment,), block=2)
    model.fit(x[None], dt=1.0, validation=x[None])
    vectors, presents, futures = delay_vectors(x, taps=2, stride=3, block=2)
    if increment:
        futures = futures - presents[:, None]
    distance = np.linalg.norm(vectors - np.concatenate([context[0, -1], context[0, -4]]), axis=1)
    corners = np.argsort(distance)[:5]  # four coordinates
    weight = np.exp(-distance[corners] / distance[corners[0]])
    expected = np.einsum("n,nbd->bd", weight / weight.sum(), futures[corners])
    expected = expected + context[0, -1] if increment else expected
    np.testing.assert_allclose(model.predict(context, 2)[0], expected, rtol=1e-12)


@pytest.mark.parametrize("preset", ["tuned", "sugihara1990"])
def test_simplex_follows_a_periodic_orbit_for_ever(preset: str) -> None:
    x = sine(24, 1200, (0.0,))
    model = models.create(f"simplex:{preset}").fit(x[:, :600], dt=1.0, validation=x[:, :400])
    np.testing.assert_allclose(model.predict(x[:, 600:660], 540), x[:, 660:], atol=1e-9)


def test_simplex_of_states_never_leaves_the_range_of_its_training_data() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (1, 300, 2))
    model = Simplex(increments=(False,)).fit(x, dt=1.0, validation=x)
    far = model.predict(rng.uniform(-50, 50, (5, 40, 2)), 200)
    assert np.abs(far).max() <= 1
    assert np.abs(model.sample(rng.uniform(-50, 50, (5, 40, 2)), 50, 3)).max() <= 1


def test_simplex_samples_have_the_simplex_forecast_as_their_mean() -> None:
    rng = np.random.default_rng(0)
    x, context = rng.standard_normal((1, 90, 2)), rng.standard_normal((3, 9, 2))
    model = Simplex(delays=((1, 1),)).fit(x, dt=1.0, validation=x)
    samples = model.sample(context, 4, 20_000, seed=1)
    # one draw a block: up to four steps the mean is linear. Five standard errors: 5 / sqrt(20 000)
    np.testing.assert_allclose(samples.mean(axis=0), model.predict(context, 4), atol=0.05)


def tent_map(times: int, seed: int) -> np.ndarray:
    """First differences of the tent map, as in figure 1 of Sugihara & May (1990)."""
    x = np.empty(times + 101)
    x[0] = np.random.default_rng(seed).uniform(0.1, 0.9)
    for t in range(times + 100):
        x[t + 1] = 2 * x[t] if x[t] < 0.5 else 2 - 2 * x[t]
        x[t + 1] = min(max(x[t + 1], 1e-9), 1 - 1e-9) + 1e-7 * np.sin(t)  # else it ends at zero
    return np.diff(x[100:])[None, :, None]


def test_chaos_shows_as_forecast_skill_that_falls_with_the_horizon() -> None:
    # Sugihara & May (1990), figure 1: E = 3, 500 points each; nearly perfect one step ahead,
    # nothing left after ten.
    x = tent_map(1000, seed=0)
    model = Simplex(delays=((3, 1),), increments=(False,), block=1)
    model.fit(x[:, :500], dt=1.0, validation=x[:, :500])
    starts = np.arange(500, 980)
    forecast = model.predict(np.stack([x[0, t - 3 : t] for t in starts]), 12)[:, :, 0]
    truth = np.stack([x[0, t : t + 12, 0] for t in starts])
    skill = [np.corrcoef(forecast[:, h], truth[:, h])[0, 1] for h in range(12)]
    assert skill[0] > 0.98
    assert skill[0] > skill[2] > skill[4] > skill[6]
    assert abs(skill[10]) < 0.2


# ------------------------------------------------------------------------------------------- S-map


def test_smap_with_theta_zero_and_all_neighbours_is_the_global_linear_regression() -> None:
    rng = np.random.default_rng(0)
    x, context = rng.standard_normal((120, 2)), rng.standard_normal((4, 9, 2))
    model = SMap(delays=((2, 3),), thetas=(0.0,), ridges=(1e-14,), per_coordinate=1000, block=3)
    model.fit(x[None], dt=1.0, validation=x[None])
    vectors, _, futures = delay_vectors(x, taps=2, stride=3, block=3)
    ones = np.ones((len(vectors), 1))
    solution = np.linalg.lstsq(np.hstack([ones, vectors]), futures.reshape(-1, 6), rcond=None)[0]
    now = np.hstack([np.ones((4, 1)), context[:, -1], context[:, -4]])
    # increments or states: the same, as the present state is among the regressors
    expected = (now @ solution).reshape(4, 3, 2)
    np.testing.assert_allclose(model.predict(context, 3), expected, atol=1e-10)


def test_smap_is_a_weighted_regression_on_the_nearest_neighbours() -> None:
    rng = np.random.default_rng(1)
    x, context = rng.standard_normal((150, 2)), rng.standard_normal((1, 9, 2))
    theta, ridge = 1.5, 0.03
    model = SMap(delays=((2, 1),), thetas=(theta,), ridges=(ridge,), per_coordinate=4, block=1)
    model.fit(x[None], dt=1.0, validation=x[None])
    vectors, presents, futures = delay_vectors(x, taps=2, stride=1, block=1)
    offsets = vectors - np.concatenate([context[0, -1], context[0, -2]])
    near = np.argsort(np.linalg.norm(offsets, axis=1))[:20]
    z, change = offsets[near], futures[near, 0] - presents[near]
    distance = np.linalg.norm(z, axis=1)
    weight = np.exp(-theta * distance / distance.mean())
    weight /= weight.sum()
    variance = weight @ ((z - weight @ z) ** 2).mean(axis=1)
    # |sqrt(w) (change - c - z B)|² + ridge variance |B|², as one least-squares problem
    root = np.sqrt(weight)[:, None]
    design = np.vstack(
        [root * np.hstack([np.ones((20, 1)), z]), np.sqrt(ridge * variance) * np.eye(5)[1:]]
    )
    target = np.vstack([root * change, np.zeros((4, 2))])
    constant = np.linalg.lstsq(design, target, rcond=None)[0][0]
    expected = context[0, -1] + constant
    np.testing.assert_allclose(model.predict(context, 1)[0, 0], expected, rtol=1e-10)


def test_smap_is_exact_on_a_linear_system_however_local() -> None:
    turn = 0.999 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    x = np.random.default_rng(0).standard_normal((3, 600, 2))
    for t in range(599):
        x[:, t + 1] = x[:, t] @ turn.T
    for theta in (0.0, 8.0):
        model = SMap(delays=((1, 1),), thetas=(theta,), ridges=(1e-13,))
        model.fit(x[:2], dt=1.0, validation=x[:2])
        np.testing.assert_allclose(model.predict(x[2:, :50], 550), x[2:, 50:], atol=1e-8)


def test_localisation_helps_where_the_map_is_nonlinear_and_costs_where_it_is_noise() -> None:
    # The test for nonlinearity of Sugihara (1994): skill against theta, with all neighbours.
    def error(x: np.ndarray, theta: float) -> float:
        library = Library.build(x[:, :300], taps=2, stride=1, block=1)
        weigh = partial(by_local_regression, neighbours=298, theta=theta, ridge=1e-9)
        contexts = np.stack([x[0, t - 2 : t] for t in range(300, 600)])
        forecast = Follower(library, weigh).run(contexts, 1)[:, 0]
        return float(((forecast - x[0, 300:600]) ** 2).mean() / x.var())

    rng = np.random.default_rng(0)
    logistic, noise = np.full((1, 600, 1), 0.3), rng.standard_normal((1, 600, 1))
    for t in range(599):
        logistic[:, t + 1] = 3.9 * logistic[:, t] * (1 - logistic[:, t])
    for t in range(2, 600):
        noise[:, t] += 1.2 * noise[:, t - 1] - 0.6 * noise[:, t - 2]
    assert error(logistic, 0.0) > 0.5  # a parabola has next to no linear part
    assert error(logistic, 8.0) < 0.01 * error(logistic, 0.0)
    assert error(noise, 0.0) < error(noise, 4.0) < error(noise, 8.0)


def test_smap_lasts_longer_than_analogues_and_analogues_longer_than_the_parrot_on_lorenz(
    lorenz: tuple[np.ndarray, float, float],
) -> None:
    x, dt, lyapunov_time = lorenz
    starts = np.arange(512, 5600, 300)
    context = np.stack([x[2, start - 512 : start] for start in starts])
    truth = np.stack([x[2, start : start + 400] for start in starts])

    def lasts(model: models.Forecaster) -> float:
        model.fit(x[:1], dt=dt, validation=x[1:2, :2000])
        wrong = normalised_error(model.predict(context, 400), truth) > THRESHOLD
        steps = np.where(wrong.any(axis=1), wrong.argmax(axis=1), 400)
        return float(np.median(steps)) / lyapunov_time

    state = ((1, 1),)
    parrot, analog, simplex = lasts(Parrot()), lasts(Analog()), lasts(Simplex())
    smap = lasts(SMap(delays=state, thetas=(6.0,), ridges=(1e-4,)))
    assert 0.3 < parrot < analog
    assert analog > 1.2 and simplex > 1.2
    assert smap > 2 * max(analog, simplex)


def test_smap_leaves_delays_with_too_many_coordinates_out_but_never_the_state() -> None:
    x = np.random.default_rng(0).standard_normal((1, 120, 6))
    model = SMap(limit=5, thetas=(2.0,), ridges=(0.1,)).fit(x, dt=1.0, validation=x)
    assert (model.chosen_["taps"], model.context_needed_) == (1, 1)
    model = SMap(limit=12, delays=((8, 1), (2, 1)), thetas=(2.0,), ridges=(0.1,))
    assert model.fit(x, dt=1.0, validation=x).chosen_["taps"] == 2


def test_neighbours_that_are_all_the_same_give_their_future() -> None:
    x = np.tile([[1.0, 2.0]], (1, 100, 1))
    context = np.zeros((1, 20, 2))
    few = ((1, 1), (2, 1))
    for model in (
        Simplex(delays=few, increments=(False,)),
        Simplex(delays=few, increments=(True,)),
        SMap(delays=few, thetas=(6.0,), ridges=(1e-4,)),
    ):
        still = model.fit(x, dt=1.0, validation=x).predict(context, 5)[0]
        expected = [0.0, 0.0] if isinstance(model, SMap) or model.increments[0] else [1.0, 2.0]
        np.testing.assert_allclose(still, np.tile(expected, (5, 1)), atol=1e-12)


# -------------------------------------------------------------------------------- context parroting


def test_parrot_repeats_a_periodic_context_exactly() -> None:
    x = np.random.default_rng(0).standard_normal((2, 24, 3))
    endless = np.tile(x, (1, 60, 1))
    for length in (1, 5, 23, 64):
        model = Parrot(lengths=(length,)).fit(endless, dt=1.0)
        forecast = model.predict(endless[:, 7:300], 700)
        np.testing.assert_array_equal(forecast, endless[:, 300:1000])
    sampled = model.sample(endless[:, 7:300], 700, 3)
    np.testing.assert_array_equal(sampled, np.tile(endless[None, :, 300:1000], (3, 1, 1, 1)))


def test_parrot_copies_what_followed_the_best_match() -> None:
    context = np.random.default_rng(0).standard_normal((4, 90, 2))
    forecast = Parrot(lengths=(5,)).fit(context, dt=1.0).predict(context, 200)
    for x, copied in zip(context, forecast, strict=True):
        distance = {
            end: np.sum((x[end - 5 : end] - x[-5:]) ** 2) for end in range(5, 86)
        }  # 85: the stretch that ends where the last five points begin
        del distance[85]  # next to them: not a minimum between two others
        end = min(distance, key=lambda end: distance[end])
        expected = list(x[end:])
        while len(expected) < 200:
            expected.append(expected[len(expected) - (90 - end)])
        np.testing.assert_array_equal(copied, expected)


def test_parrot_is_not_misled_by_the_moment_before() -> None:
    # One point of a slow sine: the nearest state in time is the one before, going the same way,
    # and following it would repeat the last value for ever.
    x = sine(100.3, 1500, (0.1,))
    forecast = Parrot(lengths=(1,)).fit(x, dt=1.0).predict(x[:, :512], 300)
    # a period of 100 or 101 steps for 100.3: 0.3 steps out of phase a period, and at first
    assert np.abs(forecast - x[:, 512:812]).max() < 4 * 0.7 * 2 * np.pi / 100.3


def test_parrot_without_a_choice_learns_nothing() -> None:
    rng = np.random.default_rng(0)
    context = rng.standard_normal((3, 100, 2))
    one, other = (
        models.create("parrot:zero_shot").fit(rng.standard_normal((1, times, 2)), dt=dt)
        for times, dt in ((2, 1.0), (500, 0.1))
    )
    np.testing.assert_array_equal(one.predict(context, 50), other.predict(context, 50))
    assert one.chosen_ == {}


def test_parrot_takes_contexts_of_any_length() -> None:
    x = np.arange(1.0, 9.0)[None, :, None]
    model = Parrot(lengths=(64,)).fit(x, dt=1.0)
    np.testing.assert_array_equal(model.predict(x[:, :1], 3), np.ones((1, 3, 1)))
    np.testing.assert_array_equal(model.predict(x[:, :2], 3), 2 * np.ones((1, 3, 1)))
    # of 1 2 3 the point nearest to the last is the one before it; a ramp has no other minimum
    np.testing.assert_array_equal(model.predict(x[:, :3], 3), 3 * np.ones((1, 3, 1)))
    bend = np.array([3.0, 1.0, 7.0, 2.9])[None, :, None]
    np.testing.assert_array_equal(model.predict(bend, 4)[0, :, 0], [1.0, 7.0, 2.9, 1.0])
    still = np.ones((1, 50, 1))
    np.testing.assert_array_equal(model.predict(still, 60), np.ones((1, 60, 1)))


def test_parrot_chooses_its_length_where_one_point_does_not_tell_the_state() -> None:
    angle = 2 * np.pi * np.arange(3000) / 50.0
    x = (np.sin(angle) + 0.5 * np.sin(2.6 * angle))[None, :, None]  # one coordinate of a torus
    model = Parrot().fit(x, dt=1.0, validation=x[:, 1000:])
    assert model.length_ > 1
    assert model.chosen_ == {"length": model.length_}


def test_parrot_samples_are_continuations_of_its_matches_by_inverse_distance() -> None:
    # 0.0 lies 0.1, 0.2 and 0.4 from earlier minima of the distance to it
    x = np.array([5.0, 0.1, 6.0, 5.0, 0.2, 7.0, 5.0, -0.4, 8.0, 5.0, 0.0])[None, :, None]
    model = Parrot(lengths=(1,), drawn=3).fit(x, dt=1.0)
    samples = model.sample(x, 1, 20_000, seed=1)[:, 0, 0, 0]
    weights = np.array([1 / 0.1, 1 / 0.2, 1 / 0.4])
    for value, share in zip((6.0, 7.0, 8.0), weights / weights.sum(), strict=True):
        # four standard errors of 20 000 draws: 0.014 at most
        assert np.mean(samples == value) == pytest.approx(share, abs=0.014)
