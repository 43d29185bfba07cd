"""Spectra, exponents and return times of signals for which they are known."""

from __future__ import annotations

import sys
import types
from functools import cache
from unittest.mock import MagicMock

import numpy as np
import pytest
from scipy.signal import lfilter, welch
from scipy.stats import wasserstein_distance

import systems
from dysts_bench.metrics import Facts, TooShort, dynamics
from dysts_bench.metrics.dynamics import (
    BLOCKS,
    divergence_curves,
    largest_lyapunov_exponent,
    lyapunov_exponent_error,
    maxima,
    power_spectrum,
    power_spectrum_distance,
    return_map_distance,
    return_time_distance,
    return_times,
)

RNG = np.random.default_rng(0)
_FRESH = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def _the_same_draws_in_any_order() -> None:
    RNG.bit_generator.state = _FRESH


@cache
def true_runs(name: str) -> tuple[np.ndarray, Facts]:
    """(4, 5000, dim) on the attractor, 30 points a period, and the facts to score against."""
    system = systems.load(name)
    made = system.trajectory(5000, points_per_period=30, trajectories=4)
    scale = made.states.std(axis=(0, 1))
    dt = float(made.times[1] - made.times[0])
    return made.states, Facts(dt=dt, lyapunov_time=system.lyapunov_time, scale=scale)


def logistic(times: int) -> np.ndarray:
    """x → 4x(1 − x) by angle doubling in whole numbers, which does not fall onto a short cycle."""
    start = int(RNG.integers(2**62)) << 8000 | int.from_bytes(RNG.bytes(1000), "big") | 1
    period = 3**5100  # odd: doubling modulo it never ends
    angles = []
    for _ in range(times):
        start = start * 2 % period
        angles.append((start << 60) // period / 2**60)
    return np.sin(np.pi * np.array(angles)) ** 2


def henon(times: int, seed: int) -> np.ndarray:
    x, y = np.random.default_rng(seed).uniform(-0.1, 0.1, 2)
    states = []
    for _ in range(100 + times):
        x, y = 1 - 1.4 * x**2 + y, 0.3 * x
        states.append((x, y))
    return np.array(states[100:])


def facts(dim: int = 1) -> Facts:
    return Facts(dt=1.0, lyapunov_time=10.0, scale=np.ones(dim))


def sine(period: float, phase: float = 0.0) -> np.ndarray:
    return np.sin(2 * np.pi * np.arange(4000) / period + phase)[None, :, None]


# ---- spectra


def test_power_spectrum_is_welchs() -> None:
    run = RNG.normal(size=(4000, 2)).cumsum(axis=0)
    _, expected = welch(run, nperseg=500, noverlap=250, axis=0)
    expected[0] = 0
    expected[-1] *= 2  # one-sided density: every entry but the one at Nyquist stands for two
    np.testing.assert_allclose(power_spectrum(run), expected / expected.sum(axis=0), rtol=1e-9)


def test_white_noise_has_a_flat_spectrum() -> None:
    spectrum = power_spectrum(RNG.normal(size=(200_000, 1)))[1:, 0]
    thirds = [part.sum() for part in np.array_split(spectrum, 3)]
    np.testing.assert_allclose(thirds, 1 / 3, atol=0.01)


def test_a_sine_has_its_power_at_its_frequency() -> None:
    run = np.sin(2 * np.pi * np.arange(4000) / 25)[:, None]  # 20 periods in a segment of 500
    spectrum = power_spectrum(run)[:, 0]
    assert spectrum[19:22].sum() == pytest.approx(1, abs=1e-6)
    assert spectrum.argmax() == 20


def test_two_sines_share_the_power_as_their_squared_amplitudes() -> None:
    spectrum = power_spectrum((sine(25) + 2 * sine(10))[0])[:, 0]
    assert spectrum[19:22].sum() == pytest.approx(0.2, abs=1e-6)
    assert spectrum[49:52].sum() == pytest.approx(0.8, abs=1e-6)


def test_a_step_between_the_segments_leaves_the_spectrum_defined() -> None:
    run = np.zeros((1010, 1))  # segments of 126, 63 apart: the last 2 steps are in none
    run[1008:] = 1.0
    np.testing.assert_array_equal(power_spectrum(run)[:, 0], np.eye(64)[0])


def test_spectral_distance_is_exactly_0_to_itself_and_1_without_a_common_frequency() -> None:
    for run in (true_runs("Lorenz")[0], sine(25)):
        assert (power_spectrum_distance(run, run.copy(), facts(run.shape[2])) == 0.0).all()
    assert power_spectrum_distance(sine(25), sine(5), facts()) == pytest.approx(1, abs=1e-4)
    assert power_spectrum_distance(sine(25), sine(25, 1.0), facts()) < 1e-3  # no phase


def test_spectral_distance_is_symmetric_and_hellingers() -> None:
    x, y = true_runs("Lorenz")[0][:2], RNG.normal(size=(2, 5000, 3))
    there, back = (power_spectrum_distance(a, b, facts(3)) for a, b in ((x, y), (y, x)))
    np.testing.assert_allclose(there, back, rtol=1e-12)
    p, q = power_spectrum(x[0]), power_spectrum(y[0])
    by_overlap = np.mean(np.sqrt(1 - np.sum(np.sqrt(p * q), axis=0)))
    assert there[0] == pytest.approx(by_overlap, rel=1e-9)


def test_a_coordinate_that_stops_shares_no_frequency_with_one_that_moves() -> None:
    still = np.full((1, 4000, 1), 0.1)
    assert power_spectrum_distance(sine(25), still, facts()) == pytest.approx(1)
    assert power_spectrum_distance(still, still + 1, facts()) == 0.0


# ---- exponents


@pytest.fixture
def nolds(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    # nolds 0.6.3 reads its example data at import, in a way that fails on Python 3.11.
    monkeypatch.setitem(sys.modules, "nolds.datasets", MagicMock())
    return pytest.importorskip("nolds")


def whole_distances(points: np.ndarray, steps: int, theiler: int) -> np.ndarray:
    sums, terms = divergence_curves(points, np.zeros_like(points), steps, theiler)
    assert sums.shape == terms.shape == (BLOCKS, steps + 1)
    return sums.sum(axis=0) / terms.sum(axis=0)


def test_divergence_of_whole_distances_is_that_of_nolds(nolds: types.ModuleType) -> None:
    x = true_runs("Lorenz")[0][0, :2000, 0]
    embedded = nolds.measures.delay_embedding(x, 5, 2)
    settings = {"emb_dim": 5, "lag": 2, "min_tsep": 60, "trajectory_len": 20, "fit": "poly"}
    exponent, (_, expected, _) = nolds.lyap_r(x, tau=0.1, debug_data=True, **settings)
    found = whole_distances(embedded, 19, 60)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert np.polyfit(np.arange(20), found, 1)[0] / 0.1 == pytest.approx(exponent, rel=1e-10)


def test_divergence_of_whole_distances_is_that_of_dysts() -> None:
    from dysts.analysis import max_lyapunov_exponent_rosenstein

    points = true_runs("Rossler")[0][0, :1500]
    expected = max_lyapunov_exponent_rosenstein(points, min_tsep=50, tau=0.2, trajectory_len=30)
    slope = np.polyfit(np.arange(30), whole_distances(points, 29, 50), 1)[0] / 0.2
    assert slope == pytest.approx(expected, rel=1e-3)  # theirs is in single precision


def test_neighbours_are_those_of_the_full_distance_matrix() -> None:
    from dysts_bench.metrics._neighbours import nearest_neighbours

    points, units = RNG.random((2, 1400, 3))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    offsets = points[None, :1300] - points[:1300, None]  # [i, j]: from i to j
    along = np.einsum("ijc,ic->ij", offsets, units[:1300])
    squared = np.sum(offsets**2, axis=2) - along**2
    i, j = np.indices(squared.shape)
    squared[(np.abs(along) > 0.1) | (np.abs(i - j) <= 7)] = np.inf
    columns = [np.ascontiguousarray(x.T) for x in (points, units)]
    found = nearest_neighbours(*columns, np.full(1400, 0.1), 7, 1300)
    np.testing.assert_array_equal(found, squared.argmin(axis=1))
    assert (nearest_neighbours(*columns, np.full(1400, 1e-12), 7, 1300) == -1).all()


def test_exponents_of_maps_are_the_known_ones() -> None:
    value, error = largest_lyapunov_exponent(logistic(4000)[:, None], 1.0, steps=20)
    assert value == pytest.approx(np.log(2), rel=0.05)
    assert 0 < error < 0.05
    found = [largest_lyapunov_exponent(henon(5000, seed), 1.0, steps=30)[0] for seed in range(3)]
    assert np.mean(found) == pytest.approx(0.419, rel=0.05)


def exponents(name: str) -> np.ndarray:
    runs, task = true_runs(name)
    steps = min(1000, round(6 * task.lyapunov_time / task.dt))
    return np.transpose(
        [largest_lyapunov_exponent(run / task.scale, task.dt, steps=steps) for run in runs]
    )


def test_exponents_of_flows_are_the_known_ones() -> None:
    lorenz, errors = exponents("Lorenz")
    assert lorenz.mean() == pytest.approx(0.9056, rel=0.08)  # the four scatter by 5 %
    assert 0.3 < errors.mean() / lorenz.std(ddof=1) < 3
    rossler, errors = exponents("Rossler")
    assert rossler.mean() == pytest.approx(0.0714, rel=0.15)  # the four scatter by 9 %
    assert 0.3 < errors.mean() / rossler.std(ddof=1) < 3


def test_exponents_are_per_unit_of_time_and_know_no_size_place_or_direction() -> None:
    points = true_runs("Lorenz")[0][0, :2000]
    value, error = largest_lyapunov_exponent(points, 0.025)
    np.testing.assert_allclose(
        largest_lyapunov_exponent(points, 0.0125), (2 * value, 2 * error), rtol=1e-12
    )
    turn, _ = np.linalg.qr(RNG.normal(size=(3, 3)))
    moved = largest_lyapunov_exponent(1e-6 * points @ turn + 1.0, 0.025)
    np.testing.assert_allclose(moved, (value, error), rtol=1e-6)


def test_an_orbit_that_closes_has_exponent_0() -> None:
    phase = np.arange(3000)[:, None] * 2 * np.pi / 29.7 + np.array([0, 1, 2])
    cycle = np.sin(phase) + np.cos(2 * phase) / 3
    torus = cycle + np.sin(np.sqrt(2) * phase[:, ::-1])
    for orbit in (cycle, torus):
        value, _ = largest_lyapunov_exponent(orbit, 1.0)
        assert abs(value) < 2e-3  # 1 / 17 of a chaotic flow that loses a digit a turn


def test_exact_cycles_straight_lines_and_fixed_points_have_exponent_0() -> None:
    for run in (np.tile(RNG.random((30, 3)), (40, 1)), np.ones((1000, 2)), np.eye(1000, 1)):
        assert largest_lyapunov_exponent(run, 1.0) == (0.0, 0.0)
    assert largest_lyapunov_exponent(np.arange(1000.0)[:, None] * [1, 2], 1.0) == (0.0, 0.0)


@pytest.mark.filterwarnings("error")
def test_in_one_dimension_distances_are_whole_though_the_run_is_smooth() -> None:
    phase = 0.05 * np.cumsum(lfilter([1.0], [1.0, -0.99], RNG.normal(size=3000)))
    value, error = largest_lyapunov_exponent(np.sin(phase)[:, None], 1.0)
    assert np.isfinite([value, error]).all() and value > 0


def test_noise_parts_within_a_step() -> None:
    noise = RNG.normal(size=(3000, 2))
    # In the plane the nearest of 3000 is about 1/√3000 as far as any.
    assert largest_lyapunov_exponent(noise, 0.1)[0] == pytest.approx(
        np.log(3000) / 2 / 0.1, rel=0.2
    )


def test_exponents_of_runs_of_one_coordinate_are_found_by_delays() -> None:
    runs, task = true_runs("Lorenz")
    only_x = Facts(dt=task.dt, lyapunov_time=task.lyapunov_time, scale=task.scale[:1])
    truth = runs[:2, :, :1]
    assert np.median(lyapunov_exponent_error(truth, truth[::-1], only_x)) < 0.2
    found, _ = dynamics._true_exponent(truth[0] / only_x.scale, task.dt, 264)
    assert found == pytest.approx(0.9056, rel=0.2)


def test_error_of_the_exponent_is_in_units_of_the_true_one() -> None:
    runs, task = true_runs("Lorenz")
    slower = np.repeat(runs[:1, :2500], 2, axis=1)
    slower[:, 1:-1:2] = (slower[:, 0:-2:2] + slower[:, 2::2]) / 2  # half as fast, half as unstable
    assert lyapunov_exponent_error(runs[:1], slower, task) == pytest.approx(0.5, abs=0.15)
    still = np.ones_like(runs[:1])
    steps = round(6 * task.lyapunov_time / task.dt)
    true, _ = largest_lyapunov_exponent(runs[0] / task.scale, task.dt, steps=steps)
    stopped = lyapunov_exponent_error(runs[:1], still, task)
    assert stopped == pytest.approx(true * task.lyapunov_time)
    almost = still + 1e-9 * RNG.normal(size=still.shape)
    assert lyapunov_exponent_error(runs[:1], almost, task) == stopped


def test_too_few_points_for_an_exponent_are_refused_with_how_many_it_takes() -> None:
    with pytest.raises(TooShort, match="at least 150 points"):
        largest_lyapunov_exponent(RNG.random((149, 2)), 1.0, steps=40, theiler=5)
    assert largest_lyapunov_exponent(RNG.random((150, 2)), 1.0, steps=40, theiler=5)[0] > 0
    with pytest.raises(ValueError, match="finite"):
        largest_lyapunov_exponent(np.full((1000, 2), np.nan), 1.0)


# ---- returns


def test_times_of_return_by_hand() -> None:
    zigzag = np.array([0, 1, 0, -1, 0, 3, -1, 1, -1.0])
    # Through 0.5 upwards at 0.5, 4 + 1/6 and 6.75.
    np.testing.assert_allclose(return_times(zigzag, 0.5), [11 / 3, 31 / 12])
    # Through 1/2 and down: from the last rise to the end is longer than any return.
    stops = np.concatenate([zigzag, np.full(6, -1.0)])
    np.testing.assert_allclose(return_times(stops, 0.5), [11 / 3, 31 / 12, 7.25])
    assert len(return_times(zigzag[:5], 0.5)) == len(return_times(zigzag, 9.0)) == 0


def test_a_sine_returns_once_a_period() -> None:
    np.testing.assert_allclose(return_times(sine(25.3)[0, :, 0], 0.2), 25.3, atol=0.02)
    assert return_time_distance(sine(25), sine(30), facts()) == pytest.approx(0.2, abs=1e-3)
    assert return_time_distance(sine(25), sine(25, 1.0), facts()) < 1e-3  # no phase


def test_distance_of_return_times_is_scipys() -> None:
    runs, task = true_runs("Lorenz")
    x, y = runs[:2] / task.scale
    expected = []
    for series, other in zip(x.T, y.T, strict=True):
        true, found = (return_times(s, series.mean()) for s in (series, other))
        expected.append(wasserstein_distance(true, found) / true.mean())
    found = return_time_distance(runs[:1], runs[1:2], task)
    assert found == pytest.approx(np.mean(expected), rel=1e-12)


def test_maxima_of_parabolas_are_exact() -> None:
    steps = np.arange(-5.0, 6.0)
    bumps = np.concatenate([h - c * (steps - at) ** 2 for h, c, at in ((1, 1, 0.3), (2, 3, -0.5))])
    np.testing.assert_allclose(maxima(bumps), [1, 2], rtol=1e-12)
    assert len(maxima(np.ones(9))) == len(maxima(steps)) == len(maxima(steps[:1])) == 0


def test_return_map_of_lorenz_is_a_cusp() -> None:
    # Lorenz, J. Atmos. Sci. 20, 130 (1963), figure 4: one maximum of z foretells the next.
    z = true_runs("Lorenz")[0][0, :, 2]
    tops = maxima(z)
    now, following = tops[:-1], tops[1:]
    low, high = now < 38.3, now > 38.9
    assert np.corrcoef(now[low], following[low])[0, 1] > 0.95
    assert np.corrcoef(now[high], following[high])[0, 1] < -0.95
    assert following[~low & ~high].min() > 41


def test_distance_of_two_oscillations_is_that_of_their_heights() -> None:
    # (1, 1) and (3, 3) are 2 |cos a + sin a| apart on the line at angle a, in the mean 4 √2 / π.
    found = return_map_distance(sine(25), 3 * sine(40), facts())
    assert found == pytest.approx(4 * np.sqrt(2) / np.pi, rel=5e-3)  # 16 lines for all


def test_distance_of_return_maps_is_that_of_scipy_on_each_line() -> None:
    runs, task = true_runs("Rossler")
    by_coordinate = []
    for series, other in zip((runs[0] / task.scale).T, (runs[1] / task.scale).T, strict=True):
        pairs = [np.stack([maxima(s)[:-1], maxima(s)[1:]]) for s in (series, other)]
        lines = [(np.cos(a), np.sin(a)) for a in np.arange(16) * np.pi / 16]
        by_line = [wasserstein_distance(*(line @ both for both in pairs)) for line in lines]
        by_coordinate.append(np.mean(by_line))
    found = return_map_distance(runs[:1], runs[1:2], task)
    assert found == pytest.approx(np.mean(by_coordinate), rel=1e-9)


def test_a_forecast_that_never_returns_has_a_declared_distance() -> None:
    # One return that takes the run's 4000 steps instead of 25; maxima as far as the sine is wide.
    for forecast in (np.ones((1, 4000, 1)), -np.arange(4000.0)[None, :, None] / 4000):
        assert return_time_distance(sine(25), forecast, facts()) == pytest.approx(4000 / 25 - 1)
        assert return_map_distance(sine(25), forecast, facts()) == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize("distance", [return_time_distance, return_map_distance])
def test_coordinates_that_do_not_return_are_left_out_of_the_truth(distance) -> None:
    ramp, still = np.arange(4000.0)[None, :, None] / 4000, np.ones((1, 4000, 1))
    truth = np.concatenate([sine(25), ramp, still], axis=2)
    forecast = np.concatenate([sine(30), sine(7), -ramp], axis=2)
    alone = distance(sine(25), sine(30), facts())
    np.testing.assert_allclose(distance(truth, forecast, facts(3)), alone, rtol=1e-9)
    with pytest.raises(TooShort, match=r"in 4000 steps no coordinate has 5 .* the most is 0"):
        distance(ramp, sine(25), facts())


# ---- all of them, on runs of chaotic systems


def imitations(runs: np.ndarray) -> dict[str, np.ndarray]:
    mean = runs.mean(axis=1, keepdims=True)
    spectrum = np.fft.rfft(runs - mean, axis=1)
    phases = np.exp(2j * np.pi * RNG.random((len(runs), spectrum.shape[1], 1)))
    phases[:, [0, -1]] = 1.0
    linear = []
    for run in runs - mean:
        before = np.concatenate([run[1:-1], run[:-2]], axis=1)
        weights = np.linalg.lstsq(before, run[2:], rcond=None)[0]
        kicks = RNG.multivariate_normal(
            np.zeros(3), np.cov((run[2:] - before @ weights).T), len(run)
        )
        states = [run[0], run[1]]
        for kick in kicks[2:]:
            states.append(np.concatenate([states[-1], states[-2]]) @ weights + kick)
        linear.append(states)
    return {
        "phase-randomised": np.fft.irfft(spectrum * phases, n=runs.shape[1], axis=1) + mean,
        "shuffled": RNG.permuted(runs, axis=1),
        "linear": np.array(linear) + mean,
        "noise": mean + lfilter([1], [1, -0.5], RNG.normal(size=runs.shape), axis=1) * runs.std(),
        "constant": np.broadcast_to(mean, runs.shape),
    }


@pytest.mark.parametrize("name", ["Lorenz", "Rossler"])
@pytest.mark.parametrize(
    "distance",
    [
        power_spectrum_distance,
        lyapunov_exponent_error,
        return_time_distance,
        return_map_distance,
    ],
)
def test_another_true_run_is_closer_than_any_imitation(name: str, distance) -> None:
    runs, task = true_runs(name)
    floor = np.median(distance(runs, np.roll(runs, 1, axis=0), task))
    fakes = imitations(runs[:2])
    if distance is power_spectrum_distance:  # randomised phases keep the spectrum: that is the aim
        assert (distance(runs[:2], fakes.pop("phase-randomised"), task) < floor).all()
    values = {kind: distance(runs[:2], fake, task) for kind, fake in fakes.items()}
    assert all((value > 3 * floor).all() for value in values.values()), (floor, values)
    diverged = runs[:2].copy()
    diverged[1, 4000:] = 1e9
    found = distance(runs[:2], diverged, task)
    assert found[0] == 0.0
    assert found[1] == (1.0 if distance is power_spectrum_distance else np.inf)


def test_truth_is_measured_once_for_all_models(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []
    real = dynamics.largest_lyapunov_exponent
    monkeypatch.setattr(
        dynamics,
        "largest_lyapunov_exponent",
        lambda points, *rest, **options: measured.append(points) or real(points, *rest, **options),
    )
    truth = RNG.random((2, 1000, 2))
    for _ in range(3):
        lyapunov_exponent_error(truth, RNG.random(truth.shape), facts(2))
    assert len(measured) == 2 + 3 * 2
