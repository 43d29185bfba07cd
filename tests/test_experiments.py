"""The examples run on a small scale, and find what must be found."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import solve_ivp

import systems
from models.baselines import dominant_period

FOLDER = Path(__file__).parents[1] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


# ---- symbolic regression ---------------------------------------------------------------------


def test_the_equations_of_lorenz_are_found_to_the_last_term() -> None:
    regression = example("symbolic_regression")
    methods = {"sindy": regression.by_sindy}
    [row] = regression.study(["Lorenz"], points=1500, methods=methods).to_dict("records")
    assert (row["right"], row["missing"], row["spurious"]) == (7, 0, 0)
    assert row["error"] < 1e-9
    [total] = regression.summary(pd.DataFrame([row])).to_dict("records")
    assert (total["systems"], total["exact"], total["error"]) == (1, 1, row["error"])


def test_pysindy_finds_most_of_lorenz() -> None:
    pytest.importorskip("pysindy")
    regression = example("symbolic_regression")
    methods = {"pysindy": regression.by_pysindy}
    [row] = regression.study(["Lorenz"], methods=methods).to_dict("records")
    assert row["right"] >= 6 and row["spurious"] <= 2 and row["error"] < 0.1


def test_terms_are_counted_equation_by_equation() -> None:
    regression = example("symbolic_regression")
    truth = ({(1, 0): 2.0, (0, 1): 1.0}, {(1, 1): -4.0})
    found = ({(1, 0): 2.2}, {(1, 1): -4.0, (0, 0): 1e-9, (1, 0): 3.0})
    compared = regression.compare(truth, found)
    assert (compared.right, compared.missing, compared.spurious) == (2, 1, 2)
    assert compared.error == pytest.approx(0.1)
    assert np.isnan(regression.compare(({(0,): 1.0},), ({},)).error)


def test_scaled_equations_are_those_of_the_states_themselves() -> None:
    """x' = 3 x y with u = x / 2, v = y / 5: u' = 15 u v."""
    found = example("symbolic_regression").in_raw_units(
        np.array([[0, 0], [1, 1]]), np.array([[0.0, 7.0], [15.0, 0.0]]), np.array([2.0, 5.0])
    )
    assert found == ({(1, 1): 3.0}, {(0, 0): 35.0})


# ---- clusters --------------------------------------------------------------------------------


def test_other_trajectories_of_the_same_system_are_recognised() -> None:
    clusters = example("attractor_clusters")
    names = ["Lorenz", "Rossler", "Duffing", "SprottI"]
    one, other = (clusters.features(names, seed, points=2000) for seed in (1, 2))
    assert np.isfinite(one).all(axis=None)
    assert clusters.recognised(one, other) >= 3 / 4  # 1 / 4 by chance
    assert clusters.recognised(one, one) == 1
    every = pd.concat([one, other])
    labels = clusters.cluster(every, len(names))
    together = labels[: len(names)] == labels[len(names) :]
    assert together.mean() >= 3 / 4
    assert list(clusters.facts(["Lorenz"]).loc["Lorenz"])[::2] == [3, 1]


def test_two_kinds_of_rows_are_two_clusters_and_a_tree_can_be_drawn(tmp_path) -> None:
    clusters = example("attractor_clusters")
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(np.repeat([0, 9], 5)[:, None], 0.1, (10, 3)))
    labels = clusters.cluster(table, 2)
    assert len(set(labels[:5])) == len(set(labels[5:])) == 1 and labels[0] != labels[5]
    clusters.draw(table, tmp_path / "tree.svg")
    assert (tmp_path / "tree.svg").read_text().count("<path") > 10


def test_a_sine_has_its_power_at_one_frequency_and_noise_at_most_of_them() -> None:
    clusters = example("attractor_clusters")
    flat = np.full((100, 1), 0.01)
    peak = np.eye(100)[:, [7]]
    assert clusters.spread(flat) == pytest.approx(0.9, abs=0.011)
    assert clusters.spread(peak) == pytest.approx(0.01)


# ---- importance sampling ---------------------------------------------------------------------


def test_the_local_exponent_is_the_growth_rate_of_the_worst_difference() -> None:
    """At Lorenz' origin: of [[-10, 19], [19, -1]], the symmetric part without z."""
    sampling = example("importance_sampling")
    [rate] = sampling.local_exponents(systems.load("Lorenz"), np.zeros((1, 3)))
    assert rate == pytest.approx(-5.5 + np.hypot(4.5, 19))


def test_half_of_the_draws_are_uniform() -> None:
    chances = example("importance_sampling").chances(np.array([0.0, 1.0, 3.0, 0.0]))
    np.testing.assert_allclose(chances, [0.125, 0.25, 0.5, 0.125])


def test_networks_of_all_schemes_learn() -> None:
    pytest.importorskip("torch")
    sampling = example("importance_sampling")
    table = sampling.study(["Lorenz"], updates=100, seeds=1, points=800)
    assert list(table["scheme"]) == ["uniform", "error", "exponent"]
    assert (table["rmse"] < 0.5).all()  # 1: no change predicted
    assert (table["worst"] > table["rmse"]).all() and (table["valid"] > 0).all()
    again = sampling.study(["Lorenz"], updates=100, seeds=1, points=800)
    pd.testing.assert_frame_equal(table, again)


# ---- surrogate transfer ----------------------------------------------------------------------


def test_oscillators_go_from_a_sine_to_a_square_wave_and_have_one_period() -> None:
    pytest.importorskip("torch")
    transfer = example("surrogate_transfer")
    soft, hard = transfer.wave(0.05), transfer.wave(4.0)
    sine = np.sin(2 * np.pi * np.arange(200) / 200)
    assert np.corrcoef(soft, sine)[0, 1] > 0.999
    # the fourth moment: 1.5 of a sine, 1 of a square wave
    assert np.mean(soft**4) == pytest.approx(1.5, abs=0.02) and np.mean(hard**4) < 1.45
    series, kinds = transfer.oscillators(60, noise=0.1, seed=0)
    assert set(kinds) == {0, 1, 2}
    period = dominant_period(series[:, :, None], longest=64)
    assert period == pytest.approx(transfer.PERIOD, rel=0.05)


def test_features_of_an_encoder_tell_more_than_chance() -> None:
    pytest.importorskip("torch")
    transfer = example("surrogate_transfer")
    table = transfer.study(labelled=30, updates=20, seeds=1, noise=0.3, others=60)
    accuracy = table.set_index("features")["accuracy"]
    assert list(accuracy.index) == ["raw", "spectrum", "untrained", "mismatched", "matched", "own"]
    assert accuracy["matched"] > 0.42  # 1 / 3 by chance
    known, kinds = np.array([[0.0], [5.0]]), np.array([2, 1])
    assert list(transfer.nearest(known, kinds, np.array([[1.0], [4.0], [9.0]]))) == [2, 1, 1]


# ---- extended systems ------------------------------------------------------------------------


def test_kuramoto_sivashinsky_is_solved_as_a_general_integrator_solves_it() -> None:
    extended = example("extended_systems")
    length, points = 22.0, 32
    k = 2 * np.pi / length * np.arange(points // 2 + 1)
    derivative = 1j * k
    derivative[2 * len(k) // 3 :] = 0

    def rhs(t: float, u: np.ndarray) -> np.ndarray:
        v = np.fft.rfft(u)
        return np.fft.irfft((k**2 - k**4) * v - 0.5 * derivative * np.fft.rfft(u**2), points)

    start = np.cos(2 * np.pi * np.arange(points) / points) + 0.3 * np.sin(
        4 * np.pi * np.arange(points) / points
    )
    truth = solve_ivp(rhs, (0, 5), start, method="Radau", rtol=1e-9, atol=1e-9).y[:, -1]
    step = extended.kuramoto_sivashinsky(length, points, dt=0.05)
    run = extended.trajectories(step, start[None], burn_in=0, times=100)
    np.testing.assert_allclose(run[0, -1], truth, atol=1e-5)
    np.testing.assert_allclose(run[0].mean(axis=1), 0, atol=1e-12)  # the mean is conserved


def test_lorenz96_is_solved_as_a_general_integrator_solves_it() -> None:
    extended = example("extended_systems")

    def rhs(t: float, x: np.ndarray) -> list[float]:
        return [(x[(i + 1) % 6] - x[i - 2]) * x[i - 1] - x[i] + 8.0 for i in range(6)]

    start = np.array([8.0, 8.5, 7.0, 9.0, 8.0, 6.0])
    truth = solve_ivp(rhs, (0, 0.5), start, rtol=1e-10, atol=1e-10).y[:, -1]
    step = extended.lorenz96(substeps=32)
    run = extended.trajectories(step, start[None], burn_in=4, times=6)
    np.testing.assert_allclose(run[0, -1], truth, atol=1e-5)


def test_the_exponent_of_a_doubling_is_its_logarithm_and_times_are_counted_to_the_first_error():
    extended = example("extended_systems")
    exponent = extended.largest_exponent(lambda x: 2 * x, np.ones((2, 3)), dt=0.5, steps=20)
    assert exponent == pytest.approx(np.log(2) / 0.5, rel=1e-4)
    error = np.zeros((3, 5, 2))
    error[0, 2:] = 0.5
    error[1, 3] = np.nan
    assert list(extended.valid_times(error, np.zeros((3, 5, 2)))) == [2, 3, 5]
