"""Dimensions of sets whose dimension is known, distances of distributions that are known."""

from __future__ import annotations

from collections import Counter
from functools import cache

import dysts.metrics
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.spatial.distance import cdist, pdist, squareform
from scipy.special import gamma, logsumexp
from scipy.stats import energy_distance as scipy_energy_distance
from scipy.stats import entropy, norm, wasserstein_distance
from sklearn.metrics.pairwise import rbf_kernel

from dysts_bench.metrics import METRICS, Facts, TooShort, geometry
from dysts_bench.metrics._pairs import bin_edges, count_pairs, exponentials, log_density
from dysts_bench.metrics._runs import decorrelation_time, embed
from dysts_bench.metrics.base import noise_floor
from dysts_bench.metrics.dynamics import power_spectrum_distance
from dysts_bench.metrics.geometry import (
    binned_divergence,
    binned_kl_divergence,
    correlation_dimension,
    correlation_dimension_error,
    energy_between,
    energy_distance,
    kl_divergence,
    maximum_mean_discrepancy,
    mean_discrepancy,
    mixture_divergence,
    sliced_wasserstein,
    sliced_wasserstein_distance,
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


def carpet(times: int, seed: int) -> np.ndarray:
    cells = np.array([(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)])
    digits = cells[np.random.default_rng(seed).integers(8, size=(times, 33))]
    return (digits / 3.0 ** np.arange(1, 34)[:, None]).sum(axis=1)


def cube(dim: int) -> np.ndarray:
    return np.random.default_rng(dim).random((10_000, dim))


def gaussian(dim: int) -> np.ndarray:
    return np.random.default_rng(dim).normal(size=(10_000, dim))


# ---- correlation dimension


KNOWN = {
    "cube1": (cube(1), 1),
    "cube3": (cube(3), 3),
    "cube5": (cube(5), 5),
    "gaussian1": (gaussian(1), 1),
    "gaussian3": (gaussian(3), 3),
    "gaussian5": (gaussian(5), 5),
    "cantor": (cantor(10_000, 0), np.log(2) / np.log(3)),
    "dust": (np.hstack([cantor(10_000, 1), cantor(10_000, 2)]), 2 * np.log(2) / np.log(3)),
    "sierpinski": (sierpinski(10_000, 0), np.log(3) / np.log(2)),
    "carpet": (carpet(10_000, 0), np.log(8) / np.log(3)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_dimension_of_known_sets_is_within_3_percent(name: str) -> None:
    points, dimension = KNOWN[name]
    estimate, error = correlation_dimension(points, theiler=0)
    assert estimate == pytest.approx(dimension, rel=0.03)
    assert abs(estimate - dimension) < 3 * error < 0.2 * dimension


def test_dimension_of_the_henon_attractor() -> None:
    # Grassberger & Procaccia 1983: 1.21 ± 0.01 from 15000 points.
    estimates = [correlation_dimension(henon(10_000, seed))[0] for seed in range(3)]
    assert np.mean(estimates) == pytest.approx(1.21, abs=0.03)


def test_dimension_of_the_lorenz_attractor() -> None:
    # Grassberger & Procaccia 1983: 2.05 ± 0.01. Ours is 2.09 from as many as 10⁵ points: the line
    # to r = 0 starts where the attractor's size is felt, and overshoots by 0.02.
    estimates, errors = np.transpose([correlation_dimension(run) for run in lorenz(12, 10_000)])
    assert np.mean(estimates) == pytest.approx(2.05, abs=0.05)
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


def test_what_reads_wrong_reads_as_wrong_as_documented() -> None:
    poles = np.cos(np.pi * RNG.random((10_000, 1)))
    assert correlation_dimension(poles, theiler=0)[0] == pytest.approx(0.90, abs=0.02)
    phase = 0.37 * np.arange(5000)
    even = np.stack([np.cos(phase), np.sin(phase), np.sin(2 * phase)], axis=1)
    assert correlation_dimension(even)[0] == pytest.approx(1.1, abs=0.05)


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
    with pytest.raises(TooShort, match="a run of 20 steps; a vector takes 21"):
        embed(run, 5)


def test_decorrelation_time_of_an_autoregression() -> None:
    noise = RNG.normal(size=100_000)
    run = lfilter([1], [1, -0.9], noise)[:, None]  # autocorrelation 0.9^k, below 1/e from k = 10
    assert decorrelation_time(run) == 10
    assert decorrelation_time(noise[:, None]) == 1
    assert decorrelation_time(np.ones((1000, 1))) == 20  # a fiftieth of the run


def test_counts_are_those_of_the_full_distance_matrix() -> None:
    points, theiler, blocks = RNG.random((300, 3)), 7, 4
    counts = count_pairs(np.ascontiguousarray(points.T), theiler, blocks)
    i, j = np.triu_indices(300, k=theiler + 1)
    squared = squareform(pdist(points, "sqeuclidean"))[i, j]
    edges = bin_edges(counts.shape[1])
    assert edges[-1] > 3

    def histogram(keep: np.ndarray) -> np.ndarray:
        return np.histogram(squared[keep], edges)[0]

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


def facts(dim: int = 1) -> Facts:
    return Facts(dt=1.0, lyapunov_time=10.0, scale=np.ones(dim))


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


def test_kl_divergence_is_small_to_another_sample() -> None:
    x, y = RNG.normal(size=(2, 2, 5000, 3)) * [1.0, 0.1, 0.1]
    values = kl_divergence(x, y, facts(3))
    assert ((values > 0) & (values < 0.05)).all()


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


def test_kl_divergence_is_that_of_the_mixtures_of_dysts() -> None:
    x, y = RNG.normal(size=(60, 3)), RNG.normal(1.0, 1.0, size=(60, 3))
    p, q = (dysts.metrics.GaussianMixture(points, 0.7**2) for points in (x, y))
    here, there = (geometry._draws(points, 0.7)[0].T for points in (x, y))
    draws = np.concatenate([here, there])
    found = [log_density(*(np.ascontiguousarray(a.T) for a in (draws, c)), 0.49) for c in (x, y)]
    ratio = p(draws) / q(draws)
    np.testing.assert_allclose(found[0] - found[1], np.log(ratio), rtol=0, atol=1e-12)
    terms = 2 * (ratio * np.log(ratio) + 1 - ratio) / (1 + ratio)
    assert mixture_divergence(x, y, 0.7) == pytest.approx(np.mean(terms), rel=1e-12)
    many = x[RNG.integers(60, size=20_000)] + 0.7 * RNG.normal(size=(20_000, 3))
    exact = np.mean(np.log(p(many) / q(many)))
    assert mixture_divergence(x, y, 0.7) == pytest.approx(exact, abs=3 * np.std(terms) / 1000**0.5)


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


# ---- occupation of bins


def occupation(x: np.ndarray, y: np.ndarray) -> float:
    """The divergence by the book: dictionaries of bins."""
    low = x.min(axis=0) - 0.15
    here, there = (
        Counter(tuple(np.floor((u - low) / 0.3).astype(int)) for u in points) for points in (x, y)
    )
    p = np.array([here[k] + 1 for k in here] + [1])
    q = np.array([there[k] + 1 for k in here] + [1 + sum(there[k] for k in there if k not in here)])
    return float(entropy(p / p.sum(), q / q.sum()))


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_binned_divergence_is_that_of_dictionaries_of_bins(dim: int) -> None:
    x, y = RNG.normal(size=(500, dim)), RNG.normal(0.5, 2, size=(700, dim))
    assert binned_divergence(x, y) == pytest.approx(occupation(x, y), rel=1e-12)


def test_binned_divergence_of_gaussians_is_the_analytic_one() -> None:
    x, y = RNG.normal(size=(2, 200_000, 1))
    # ½ shift²; bins of 0.3 deviations widen the Gaussians by 0.3²/12 of their variance.
    assert binned_divergence(x, y + 0.5) == pytest.approx(0.125, rel=0.03)


def test_more_than_three_coordinates_are_binned_by_neighbouring_triples() -> None:
    x, y = RNG.normal(size=(2, 500, 5))
    y[:, 1] *= 2
    triples = [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 0], [4, 0, 1]]
    expected = np.mean([binned_divergence(x[:, t], y[:, t]) for t in triples])
    assert binned_divergence(x, y) == pytest.approx(expected, rel=1e-12)


def test_states_outside_of_all_bins_are_counted_however_far_they_are() -> None:
    x = RNG.normal(size=(1000, 2))
    near, far = x.copy(), x.copy()
    near[:500], far[:500] = 10.0, -1e30
    assert binned_divergence(x, near) == binned_divergence(x, far) > 0.3
    # One bin holds all of one, and none of the other: ln of 1001 visits for 1.
    still, elsewhere = np.zeros((1000, 2)), np.ones((1000, 2))
    exact = (1001 * np.log(1001) - np.log(1001)) / 1002
    assert binned_divergence(still, elsewhere) == pytest.approx(exact, rel=1e-12)


# ---- distances between samples


def test_sliced_wasserstein_of_one_coordinate_is_scipys() -> None:
    x, y = RNG.normal(size=(400, 1)), RNG.gamma(2, size=(400, 1))
    expected = wasserstein_distance(x[:, 0], y[:, 0])
    assert sliced_wasserstein(x, y) == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ValueError, match=r"one shape, not \(400, 1\) and \(399, 1\)"):
        sliced_wasserstein(x, y[1:])


@pytest.mark.parametrize("dim", [2, 3, 8])
def test_sliced_wasserstein_of_a_shift_is_its_mean_projection(dim: int) -> None:
    shift = np.zeros(dim)
    shift[0] = 0.7
    x = RNG.normal(size=(500, dim))
    mean_cosine = gamma(dim / 2) / (np.sqrt(np.pi) * gamma((dim + 1) / 2))
    # 64 directions: the mean of |cos| is certain to 0.3/8.
    assert sliced_wasserstein(x, x + shift) == pytest.approx(0.7 * mean_cosine, rel=0.2)


def test_energy_distance_of_one_coordinate_is_scipys() -> None:
    x, y = RNG.normal(size=(400, 1)), RNG.gamma(2, size=(300, 1))
    expected = scipy_energy_distance(x[:, 0], y[:, 0])
    assert energy_between(x, y) == pytest.approx(expected, rel=1e-9)


def test_energy_distance_is_that_of_the_full_distance_matrices() -> None:
    x, y = RNG.normal(size=(200, 4)), RNG.normal(0.5, 1, size=(150, 4))
    squared = 2 * cdist(x, y).mean() - cdist(x, x).mean() - cdist(y, y).mean()
    assert energy_between(x, y) == pytest.approx(np.sqrt(squared), rel=1e-12)


def test_discrepancy_is_that_of_the_full_kernel_matrices() -> None:
    x, y, width = RNG.normal(size=(200, 4)), RNG.normal(0.5, 1, size=(150, 4)), 0.8

    def mean(a: np.ndarray, b: np.ndarray) -> float:
        return rbf_kernel(a, b, gamma=1 / (2 * width**2)).mean()

    squared = mean(x, x) + mean(y, y) - 2 * mean(x, y)
    assert mean_discrepancy(x, y, width) == pytest.approx(np.sqrt(squared), rel=1e-12)
    far = mean_discrepancy(np.zeros((9, 2)), np.full((9, 2), 99.0), width)
    assert far == pytest.approx(np.sqrt(2), rel=1e-12)


def test_distances_between_shifted_gaussians_are_the_analytic_ones() -> None:
    # Differences of normal variables are normal: their mean size and mean kernel are known.
    shift, width = 1.5, 0.5
    x, y = RNG.normal(size=(2, 10_000, 1))
    y = y + shift
    folded = 2 / np.sqrt(np.pi) * np.exp(-(shift**2) / 4) + shift * (
        1 - 2 * norm.sf(shift / 2**0.5)
    )
    exact = np.sqrt(2 * folded - 4 / np.sqrt(np.pi))
    # 3 %: four standard errors of 10 000 draws.
    assert energy_between(x, y) == pytest.approx(exact, rel=0.03)
    wide = width**2 + 2
    exact = np.sqrt(2 * width / np.sqrt(wide) * (1 - np.exp(-(shift**2) / (2 * wide))))
    assert mean_discrepancy(x, y, width) == pytest.approx(exact, rel=0.03)


def test_exponentials_are_those_of_numpy() -> None:
    exponents = np.concatenate([-np.logspace(-300, 2.8, 1000), [0.0]])
    found = exponents.copy()
    exponentials(found, np.empty_like(found))
    np.testing.assert_allclose(found, np.exp(exponents), rtol=1e-13)
    assert found[-1] == 1.0
    beyond = np.array([-1e3, -1e300, -np.inf])
    exponentials(beyond, np.empty(3))
    assert (beyond < 1e-300).all()


ROTATION_INVARIANT = {
    "mixtures": lambda x, y: mixture_divergence(x, y, 0.5),
    "energy": energy_between,
    "discrepancy": lambda x, y: mean_discrepancy(x, y, 0.5),
    "dimension": lambda x, _: correlation_dimension(x)[0],
}


@pytest.mark.parametrize("name", ROTATION_INVARIANT)
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), dim=st.integers(2, 6))
def test_directions_of_space_are_alike(name: str, seed: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 600, dim)) * rng.uniform(0.5, 2, size=(2, 1, dim))
    turn, _ = np.linalg.qr(rng.normal(size=(dim, dim)))
    plain, turned = (ROTATION_INVARIANT[name](*pair) for pair in ((x, y), (x @ turn, y @ turn)))
    # Draws from the mixture turn with no point, and the dimension's unit is a side of a box.
    tolerance = {"mixtures": 0.15, "dimension": 0.01}.get(name, 1e-9)
    assert turned == pytest.approx(plain, rel=tolerance)


SYMMETRIC = {
    "wasserstein": sliced_wasserstein,
    "energy": energy_between,
    "discrepancy": lambda x, y: mean_discrepancy(x, y, 0.5),
}


@pytest.mark.parametrize("name", SYMMETRIC)
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), dim=st.integers(1, 5))
def test_distances_are_symmetric_and_no_detour_is_shorter(name: str, seed: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    x, y, z = rng.normal(size=(3, 200, dim)) + rng.normal(size=(3, 1, dim))
    distance = SYMMETRIC[name]
    assert distance(x, y) == pytest.approx(distance(y, x), rel=1e-9)
    assert distance(x, z) <= distance(x, y) + distance(y, z) + 1e-12
    assert distance(x, x.copy()) == 0.0


# ---- all of them, on runs of a chaotic system


OF_MEASURES = {
    metric.__name__: metric
    for metric in (
        kl_divergence,
        binned_kl_divergence,
        sliced_wasserstein_distance,
        energy_distance,
        maximum_mean_discrepancy,
    )
}
ALL = {"correlation_dimension_error": correlation_dimension_error} | OF_MEASURES


def task(runs: np.ndarray) -> Facts:
    return Facts(dt=0.025, lyapunov_time=1.104, scale=runs.std(axis=(0, 1)))


def phase_randomised(truth: np.ndarray) -> np.ndarray:
    spectrum = np.fft.rfft(truth, axis=1)
    phases = np.exp(2j * np.pi * RNG.random((len(truth), spectrum.shape[1], 1)))
    phases[:, [0, -1]] = 1.0
    return np.fft.irfft(spectrum * phases, n=truth.shape[1], axis=1)


def linear(truth: np.ndarray) -> np.ndarray:
    """The best linear autoregression, with its own noise."""
    runs = []
    for x in truth:
        past, now = x[:-1] - x.mean(axis=0), x[1:] - x.mean(axis=0)
        step = np.linalg.lstsq(past, now, rcond=None)[0]
        state, states = past[0], []
        noise = RNG.multivariate_normal(np.zeros(3), np.cov((now - past @ step).T), size=len(x))
        for kick in noise:
            states.append(state)
            state = state @ step + kick
        runs.append(np.array(states) + x.mean(axis=0))
    return np.array(runs)


@pytest.mark.parametrize("name", ALL)
def test_another_true_run_is_closer_than_any_imitation(name: str) -> None:
    runs = lorenz(12, 10_000)[:, :5000]
    truth, again = runs[:4], runs[4:8]
    imitations = {
        "phase-randomised": phase_randomised(truth),
        "linear": linear(truth),
        "constant": np.broadcast_to(truth.mean(axis=1, keepdims=True), truth.shape),
        "cycle": np.sin(np.arange(5000)[:, None] / 4 + np.arange(3)) * truth.std(axis=(0, 1))
        + truth.mean(axis=(0, 1))
        + np.zeros((4, 1, 1)),
        "noise": truth.mean(axis=(0, 1)) + RNG.normal(size=truth.shape) * truth.std(axis=(0, 1)),
    }
    metric, floor = METRICS[name], noise_floor(METRICS[name], truth, task(truth))
    assert np.median(metric(truth, again, task(truth))) < 2 * floor
    # Runs of 5000 steps differ in how often they visit either wing, which these two see first: the
    # phase-randomised runs are 1.2 to 1.4 floors away.
    factor = 1.1 if name in ("sliced_wasserstein_distance", "energy_distance") else 2.0
    values = {k: np.median(metric(truth, v, task(truth))) / floor for k, v in imitations.items()}
    assert min(values.values()) > factor, values


@pytest.mark.parametrize("name", ALL)
def test_three_coordinates_are_seen_without_their_order_and_one_with_it(name: str) -> None:
    truth = lorenz(12, 10_000)[:4, :5000]
    order = RNG.permutation(5000)
    floor = noise_floor(METRICS[name], truth, task(truth))
    assert np.median(METRICS[name](truth, truth[:, order], task(truth))) < floor
    truth = truth[:, :, :1]
    floor = noise_floor(METRICS[name], truth, task(truth))
    assert np.median(METRICS[name](truth, truth[:, order], task(truth))) > 1.2 * floor


@pytest.mark.parametrize("name", ALL)
def test_equal_runs_are_exactly_0_apart(name: str) -> None:
    truth = lorenz(12, 10_000)[:2, :3000]
    for runs in (truth, truth[..., :1], np.concatenate([truth, truth[::-1]], axis=2)):
        assert (METRICS[name](runs, runs.copy(), task(runs)) == 0.0).all()


def test_truth_is_measured_once_for_all_models(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = RNG.random((2, 1000, 2))
    calls: list[int] = []
    measure = geometry._columns
    monkeypatch.setattr(geometry, "_columns", lambda x: (calls.append(1), measure(x))[1])
    first = correlation_dimension_error(truth, RNG.random(truth.shape), facts(2))
    assert len(calls) == 4
    again = correlation_dimension_error(truth.copy(), RNG.random(truth.shape), facts(2))
    assert len(calls) == 6
    assert not np.array_equal(first, again)


@pytest.mark.parametrize("name", ALL)
def test_runs_that_diverged_have_the_worst_value_and_the_others_their_own(name: str) -> None:
    truth = RNG.random((2, 1000, 2))
    forecast = RNG.random(truth.shape)
    forecast[1, 900:] = 1e5
    values = METRICS[name](truth, forecast, facts(2))
    assert values[1] == METRICS[name].worst
    assert 0 < values[0] < METRICS[name].worst


@pytest.mark.parametrize("name", ALL)
def test_short_runs_are_refused_with_how_many_steps_it_takes(name: str) -> None:
    truth = RNG.random((2, 99, 3))
    with pytest.raises(TooShort, match="at least 100"):
        METRICS[name](truth, truth, facts(3))
