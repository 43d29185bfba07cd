"""Spectra, exponents and return times of signals for which they are known."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.signal import welch

import systems
from dysts_bench.metrics import Facts
from dysts_bench.metrics.dynamics import power_spectrum, power_spectrum_distance

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
