"""Dimensions of sets whose dimension is known, spectra of signals whose spectrum is known."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.signal import lfilter, welch
from scipy.spatial.distance import cdist, pdist, squareform
from scipy.special import logsumexp

from dysts_bench.metrics import Facts, TooShort, invariants
from dysts_bench.metrics._pairs import bin_edges, count_pairs, log_density
from dysts_bench.metrics.invariants import (
    correlation_dimension,
    correlation_dimension_error,
    decorrelation_time,
    embed,
    kl_divergence,
    power_spectrum,
    power_spectrum_distance,
)

RNG = np.random.default_rng(0)
_FRESH = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def _the_same_draws_in_any_order() -> None:
    RNG.bit_generator.state = _FRESH


@cache
def lorenz(runs: int, times: int) -> np.ndarray:
    """(runs, times, 3) on the Lorenz attractor, dt 0.025, fourth-order Runge–Kutta."""

    def flow(u: np.ndarray) -> np.ndarray:
        x, y, z = u
        return np.array([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])

    u, h = np.random.default_rng(1).normal(size=(3, runs)) * 5 + [[0], [0], [25]], 0.0125
    states = []
    for step in range(2 * (1000 + times)):
        a = flow(u)
        b = flow(u + h / 2 * a)
        c = flow(u + h / 2 * b)
        u = u + h / 6 * (a + 2 * b + 2 * c + flow(u + h * c))
        if step >= 2000 and step % 2:
            states.append(u)
    return np.ascontiguousarray(np.moveaxis(np.array(states), 2, 0))


def henon(times: int, seed: int) -> np.ndarray:
    x, y = np.random.default_rng(seed).uniform(-0.1, 0.1, 2)
    states = []
    for _ in range(100 + times):
        x, y = 1 - 1.4 * x**2 + y, 0.3 * x
        states.append((x, y))
    return np.array(states[100:])


def sierpinski(times: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corners, point, points = np.array([[0, 0], [1, 0], [0.5, 0.75**0.5]]), np.zeros(2), []
    for corner in corners[rng.integers(3, size=times + 50)]:
        point = (point + corner) / 2
        points.append(point)
    return np.array(points[50:])


def cantor(times: int, seed: int) -> np.ndarray:
    digits = np.random.default_rng(seed).integers(2, size=(times, 33))
    return (2 * digits / 3.0 ** np.arange(1, 34)).sum(axis=1)[:, None]


def cube(dim: int) -> np.ndarray:
    return np.random.default_rng(dim).random((8000, dim))


# ---- correlation dimension


@pytest.mark.parametrize(
    ("points", "dimension", "tolerance"),
    [
        (cube(1), 1, 0.015),
        (cube(2), 2, 0.04),
        (cube(3), 3, 0.12),  # 4 %: edges make a solid cube read low
        (cantor(8000, 0), np.log(2) / np.log(3), 0.015),
        (sierpinski(8000, 0), np.log(3) / np.log(2), 0.03),
    ],
    ids=["cube1", "cube2", "cube3", "cantor", "sierpinski"],
)
def test_dimension_of_known_sets(points: np.ndarray, dimension: float, tolerance: float) -> None:
    estimate, error = correlation_dimension(points, theiler=0)
    assert estimate == pytest.approx(dimension, abs=tolerance)
    assert 0 < error < 0.06


def test_dimension_of_the_henon_attractor() -> None:
    # Grassberger & Procaccia 1983: 1.21 ± 0.01 from 15000 points.
    estimates = [correlation_dimension(henon(10_000, seed))[0] for seed in range(3)]
    assert np.mean(estimates) == pytest.approx(1.21, abs=0.03)


def test_dimension_of_the_lorenz_attractor() -> None:
    # Grassberger & Procaccia 1983: 2.05 ± 0.01.
    runs = [correlation_dimension(run) for run in lorenz(12, 10_000)]
    assert np.mean([estimate for estimate, _ in runs]) == pytest.approx(2.05, abs=0.05)


def test_error_of_the_dimension_is_of_the_size_of_its_scatter() -> None:
    estimates, errors = np.transpose([correlation_dimension(run) for run in lorenz(12, 10_000)])
    assert 0.5 < np.mean(errors) / np.std(estimates, ddof=1) < 4


def test_dimension_knows_no_size_direction_or_padding() -> None:
    points = henon(3000, 0)
    estimate, _ = correlation_dimension(points)
    turn, _ = np.linalg.qr(RNG.normal(size=(5, 5)))
    moved = 1e-9 * np.pad(points, ((0, 0), (0, 3))) @ turn
    assert correlation_dimension(moved)[0] == pytest.approx(estimate, rel=1e-3)


def test_points_close_in_time_only_do_not_count() -> None:
    # A slow random walk is a curve to its neighbours in time; without the window it reads as 1.
    slow = np.repeat(np.random.default_rng(2).random((1000, 3)), 5, axis=0)
    slow += 1e-4 * np.random.default_rng(3).random(slow.shape)
    with_neighbours, _ = correlation_dimension(slow, theiler=0)
    without, _ = correlation_dimension(slow, theiler=5)
    assert with_neighbours < 1.5
    assert without == pytest.approx(3, abs=0.3)


def test_fixed_points_and_exact_cycles_have_dimension_0() -> None:
    assert correlation_dimension(np.full((1000, 3), 0.1)) == (0.0, 0.0)
    cycle = np.tile(RNG.random((30, 3)), (40, 1))
    assert correlation_dimension(cycle) == (0.0, 0.0)


def test_a_closed_curve_has_dimension_1() -> None:
    phase = 2 * np.pi * RNG.random(5000)
    curve = np.stack([np.cos(phase), np.sin(phase), np.sin(2 * phase)], axis=1)
    assert correlation_dimension(curve)[0] == pytest.approx(1, abs=0.02)


def test_runs_of_fewer_than_three_coordinates_are_embedded() -> None:
    for coordinates in ([0], [2], [0, 2]):
        runs = lorenz(12, 10_000)[:8, :, coordinates]
        lag = decorrelation_time(runs[0])
        assert embed(runs[0], lag).shape[1] >= 5
        estimates = [correlation_dimension(embed(run, lag))[0] for run in runs]
        assert np.mean(estimates) == pytest.approx(2.05, abs=0.12)


def test_delay_vectors_by_hand() -> None:
    run = np.arange(20.0)[:, None]
    np.testing.assert_array_equal(embed(run, 3)[0], [0, 3, 6, 9, 12])
    np.testing.assert_array_equal(embed(run, 3)[-1], [7, 10, 13, 16, 19])
    both = embed(np.concatenate([run, 100 + run], axis=1), 2)
    np.testing.assert_array_equal(both[0], [0, 100, 2, 102, 4, 104])
    complete = RNG.random((20, 3))
    assert embed(complete, 2) is complete


def test_decorrelation_time_of_an_autoregression() -> None:
    noise = RNG.normal(size=100_000)
    run = lfilter([1], [1, -0.9], noise)[:, None]  # autocorrelation 0.9^k, below 1/e from k = 10
    assert decorrelation_time(run) == 10
    assert decorrelation_time(noise[:, None]) == 1
    assert decorrelation_time(np.ones((1000, 1))) == 20  # a fiftieth of the run


def test_counts_are_those_of_the_full_distance_matrix() -> None:
    points, theiler, blocks = RNG.random((300, 3)), 7, 4
    counts = count_pairs(np.ascontiguousarray(points.T), theiler, blocks, 0.2)
    i, j = np.triu_indices(300, k=theiler + 1)
    squared = squareform(pdist(points, "sqeuclidean"))[i, j]
    edges = bin_edges(counts.shape[1])
    assert edges[-2] <= 0.2 < edges[-1]

    def histogram(keep: np.ndarray) -> np.ndarray:
        return np.histogram(squared[keep & (squared <= 0.2)], edges)[0]

    np.testing.assert_array_equal(counts[0], histogram(squared > -1))
    for block in range(blocks):
        touched = (i * blocks // 300 == block) | (j * blocks // 300 == block)
        np.testing.assert_array_equal(counts[1 + block], histogram(touched))


def test_too_few_points_are_refused_with_how_many_it_takes() -> None:
    with pytest.raises(TooShort, match="460 points"):
        correlation_dimension(RNG.random((400, 2)))
    assert correlation_dimension(RNG.random((460, 2)))[0] == pytest.approx(2, abs=0.3)
    with pytest.raises(ValueError, match="finite"):
        correlation_dimension(np.full((1000, 2), np.nan))


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


def facts(dim: int = 1) -> Facts:
    return Facts(dt=1.0, lyapunov_time=10.0, scale=np.ones(dim))


def sine(period: float, phase: float = 0.0) -> np.ndarray:
    return np.sin(2 * np.pi * np.arange(4000) / period + phase)[None, :, None]


def test_a_step_between_the_segments_leaves_the_spectrum_defined() -> None:
    run = np.zeros((1010, 1))  # segments of 126, 63 apart: the last 2 steps are in none
    run[1008:] = 1.0
    np.testing.assert_array_equal(power_spectrum(run)[:, 0], np.eye(64)[0])


def test_spectral_distance_is_exactly_0_to_itself_and_1_without_a_common_frequency() -> None:
    for run in (lorenz(12, 10_000), sine(25)):
        assert (power_spectrum_distance(run, run.copy(), facts(run.shape[2])) == 0.0).all()
    assert power_spectrum_distance(sine(25), sine(5), facts()) == pytest.approx(1, abs=1e-4)
    assert power_spectrum_distance(sine(25), sine(25, 1.0), facts()) < 1e-3  # no phase


def test_spectral_distance_is_symmetric_and_hellingers() -> None:
    x, y = lorenz(12, 10_000)[:2, :5000], RNG.normal(size=(2, 5000, 3))
    there, back = (power_spectrum_distance(a, b, facts(3)) for a, b in ((x, y), (y, x)))
    np.testing.assert_allclose(there, back, rtol=1e-12)
    p, q = power_spectrum(x[0]), power_spectrum(y[0])
    by_overlap = np.mean(np.sqrt(1 - np.sum(np.sqrt(p * q), axis=0)))
    assert there[0] == pytest.approx(by_overlap, rel=1e-9)


def test_a_coordinate_that_stops_shares_no_frequency_with_one_that_moves() -> None:
    still = np.full((1, 4000, 1), 0.1)
    assert power_spectrum_distance(sine(25), still, facts()) == pytest.approx(1)
    assert power_spectrum_distance(still, still + 1, facts()) == 0.0


# ---- distribution over the states


def test_log_density_is_that_of_scipy() -> None:
    samples, centres = RNG.normal(size=(40, 3)), RNG.normal(50, 1, size=(700, 3))
    expected = logsumexp(-cdist(samples, centres, "sqeuclidean") / 0.08, axis=1) - np.log(700)
    found = log_density(*(np.ascontiguousarray(x.T) for x in (samples, centres)), 0.04)
    np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize(("shift", "size"), [(0.5, 1.0), (1.0, 1.0), (0.0, 2.0)])
def test_kl_divergence_of_gaussians(shift: float, size: float) -> None:
    # On a line, and wide enough: beyond its last point a mixture is no Gaussian.
    line = np.array([1.0, 0.0, 0.0])
    x = RNG.normal(size=(4, 5000, 1)) * line
    y = (shift + size * RNG.normal(size=(4, 5000, 1))) * line
    p, q = 1.04, size**2 + 0.04  # variances, the mixture's own width included
    exact = ((p + shift**2) / q - 1 + np.log(q / p)) / 2
    assert np.mean(kl_divergence(x, y, facts(3))) == pytest.approx(exact, rel=0.15)


def test_kl_divergence_is_exactly_0_to_itself_and_small_to_another_sample() -> None:
    x, y = RNG.normal(size=(2, 2, 5000, 3)) * [1.0, 0.1, 0.1]
    assert (kl_divergence(x, x.copy(), facts(3)) == 0.0).all()
    assert (np.abs(kl_divergence(x, y, facts(3))) < 0.05).all()
    # One coordinate is embedded, so that its divergence sees the order of the states in time.
    slow = lorenz(12, 10_000)[:3, :5000, :1] / 8
    assert (kl_divergence(slow, slow.copy(), facts()) == 0.0).all()
    shuffled = RNG.permuted(slow, axis=1)
    floor = np.median(kl_divergence(slow, np.roll(slow, 1, axis=0), facts()))
    assert np.median(kl_divergence(slow, shuffled, facts())) > 3 * floor


def test_kl_divergence_is_that_of_the_mixtures() -> None:
    x, y = lorenz(12, 10_000)[:2, :1000]
    scale = x.std(axis=0)
    (value,) = kl_divergence(x[None], 0.9 * y[None], Facts(0.025, 1.104, scale))
    draws = x[RNG.integers(1000, size=10_000)] / scale + 0.2 * RNG.normal(size=(10_000, 3))
    log_p, log_q = (
        logsumexp(-cdist(draws, run / scale, "sqeuclidean") / 0.08, axis=1) for run in (x, 0.9 * y)
    )
    error = np.std(log_p - log_q) / np.sqrt(1000)
    assert value == pytest.approx(np.mean(log_p - log_q), abs=3 * error)
    assert value > 10 * error


def test_kl_divergence_sees_place_and_size_which_the_other_invariants_do_not() -> None:
    runs = lorenz(12, 10_000)[:, :5000]
    truth, again = runs[:4], runs[4:8]
    scale, mean = truth.std(axis=(0, 1)), truth.mean(axis=(0, 1))
    task = Facts(dt=0.025, lyapunov_time=1.104, scale=scale)
    floor = np.median(kl_divergence(truth, again, task))
    smaller, moved = mean + 0.8 * (again - mean), again + 0.3 * scale
    for imitation in (smaller, moved):
        assert np.median(kl_divergence(truth, imitation, task)) > 3 * floor
        for blind in (power_spectrum_distance, correlation_dimension_error):
            np.testing.assert_allclose(
                blind(truth, imitation, task), blind(truth, again, task), atol=1e-6
            )


# ---- all three, on runs of a chaotic system


def test_another_true_run_is_closer_than_any_imitation() -> None:
    runs = lorenz(12, 10_000)[:, :5000]
    truth, again = runs[:2], runs[2:4]
    scale = truth.std(axis=(0, 1))
    rng = np.random.default_rng(5)
    spectrum = np.fft.rfft(truth, axis=1)
    phases = np.exp(2j * np.pi * rng.random((2, spectrum.shape[1], 1)))
    phases[:, [0, -1]] = 1.0
    imitations = {
        "phase-randomised": np.fft.irfft(spectrum * phases, n=5000, axis=1),
        "shuffled": rng.permuted(truth, axis=1),
        "constant": np.broadcast_to(truth.mean(axis=1, keepdims=True), truth.shape),
        "cycle": np.sin(np.arange(5000)[:, None] / 4 + np.arange(3)) * scale + np.zeros((2, 1, 1)),
        "noise": rng.normal(size=truth.shape) * scale,
    }
    task = Facts(dt=0.025, lyapunov_time=1.104, scale=scale)
    dimension = {k: correlation_dimension_error(truth, v, task) for k, v in imitations.items()}
    spectra = {k: power_spectrum_distance(truth, v, task) for k, v in imitations.items()}
    places = {k: kl_divergence(truth, v, task) for k, v in imitations.items()}
    floor = np.median(correlation_dimension_error(truth, again, task))
    assert floor < 0.15
    assert all(np.median(values) > 3 * floor for values in dimension.values()), dimension
    floor = np.median(kl_divergence(truth, again, task))
    assert floor < 0.15
    assert all(np.median(values) > 3 * floor for values in places.values()), places
    floor = np.median(power_spectrum_distance(truth, again, task))
    assert floor < 0.15
    # The randomised phases keep the spectrum: that is what they are for.
    assert np.median(spectra.pop("phase-randomised")) < 2 * floor
    assert all(np.median(values) > 3 * floor for values in spectra.values()), spectra


def test_truth_is_measured_once_for_all_models() -> None:
    truth = RNG.random((2, 1000, 2))
    invariants._remembered_dimension.cache_clear()
    first = correlation_dimension_error(truth, RNG.random(truth.shape), facts(2))
    again = correlation_dimension_error(truth.copy(), RNG.random(truth.shape), facts(2))
    assert invariants._remembered_dimension.cache_info().misses == 2
    assert invariants._remembered_dimension.cache_info().hits == 2
    assert not np.array_equal(first, again)


def test_runs_that_diverged_have_the_worst_value_and_the_others_their_own() -> None:
    truth = RNG.random((2, 1000, 2))
    forecast = RNG.random(truth.shape)
    forecast[1, 900:] = 1e5
    for metric, worst in (
        (correlation_dimension_error, np.inf),
        (power_spectrum_distance, 1.0),
        (kl_divergence, np.inf),
    ):
        values = metric(truth, forecast, facts(2))
        assert values[1] == worst
        assert 0 < values[0] < worst
