"""What is measured of attractors, against shapes of known dimension, divergence and rates; and how
it is kept."""

import dataclasses
import json
import math

import numpy as np
import pytest

import systems
from systems import attractor
from systems import calibrate as module
from systems.attractor import (
    correlation_dimension,
    distance_from,
    mean_divergence,
    measure_attractor,
    stiffness,
)
from systems.calibrate import Measured, calibrate_catalog, kaplan_yorke
from systems.catalog import from_entry, validate, write
from systems.lyapunov import Spectrum

CYCLE = {
    "states": ["x", "y"],
    "parameters": {"mu": 1.0},
    "equations": {"x": "x - y - x*(x**2 + y**2)", "y": "mu*x + y - y*(x**2 + y**2)"},
    "initial": [1.0, 0.0],
    "period": 2 * math.pi,
    "tags": ["periodic", "dissipative"],
}  # the unit circle, of period 2π, which attracts at the rate 2


# ---- attractors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_the_correlation_dimension_of_a_cube_is_its_own(dimension):
    """At the faces of a cube a ball is cut: up to 0.1 is lost at these radii."""
    points = np.random.default_rng(0).uniform(size=(8000, dimension))
    found = correlation_dimension(points)
    assert abs(found.value - dimension) < max(0.03, 3 * found.error)
    assert found.error < 0.1 * dimension


def test_the_correlation_dimension_is_no_matter_of_units_or_idle_coordinates():
    points = np.random.default_rng(0).uniform(size=(4000, 2))
    found = correlation_dimension(points)
    other = np.column_stack([1e6 * points[:, 0], np.full(4000, 7.0), 1e-3 * points[:, 1]])
    assert correlation_dimension(other).value == pytest.approx(found.value, rel=1e-9)


def test_the_correlation_dimension_of_lorenz():
    """2.05 ± 0.01 (Grassberger and Procaccia 1983, Physica D 9, 189)."""
    states = systems.load("Lorenz").trajectory(1000, trajectories=8, points_per_period=1.618).states
    found = correlation_dimension(states.reshape(-1, 3))
    assert abs(found.value - 2.05) < 3 * found.error < 0.25


def test_a_still_point_has_no_dimension():
    found = correlation_dimension(np.ones((1000, 3)))
    assert (found.value, found.error) == (0.0, 0.0)


def test_distances_are_in_units_of_the_distance_of_neighbours():
    points = np.random.default_rng(0).uniform(size=(4000, 2))
    assert distance_from(points, np.array([0.5, 0.5])) < 1.5
    assert distance_from(points, np.array([2.0, 0.5])) > 10.0
    assert distance_from(np.ones((10, 2)), np.array([1.0, 1.0])) == 0.0
    assert distance_from(np.ones((10, 2)), np.array([1.0, 2.0])) == math.inf


def test_divergence_and_stiffness_of_a_linear_field(make_system):
    """Trace -101.2 and eigenvalues -0.1 ± 2i, -101: fastest rate 101."""
    system = make_system(
        {"x": "-0.1*x + 2*y", "y": "-2*x - 0.1*y", "z": "3*x - 101*z"}, [1.0, 0.0, 1.0], period=3.0
    )
    states = np.random.default_rng(0).normal(size=(4, 10, 3))
    divergence = mean_divergence(system, states)
    assert divergence.value == pytest.approx(-101.2, rel=1e-12) and divergence.error < 1e-12
    assert stiffness(system, states.reshape(-1, 3)) == pytest.approx(303.0, rel=1e-12)


def test_moments_of_a_circle():
    found = measure_attractor(from_entry("Cycle", CYCLE))
    assert np.allclose(found.mean, 0.0, atol=1e-2)
    assert np.allclose(found.std, math.sqrt(0.5), rtol=1e-2)
    assert np.allclose(found.max, 1.0, rtol=1e-2)
    assert found.divergence.value == pytest.approx(-2.0, rel=1e-6)
    assert found.dimension.value == pytest.approx(1.0, abs=0.1)
    assert found.initial_distance < 1.5


# ---- facts ---------------------------------------------------------------------------------------


def test_the_error_of_the_kaplan_yorke_dimension_is_that_of_its_runs():
    """D = 2 + λ1/|λ3| of each run: 2.05, 2.05, 2.1, 2.1, with the deviation 0.05/√3."""
    runs = 2 * ((1.0, 0.0, -20.0), (1.0, 0.0, -10.0))
    spectrum = Spectrum((1.0, 0.0, -15.0), (1e-9, 1e-9, 1.0), "tangent", 1e6, 4, runs)
    system = dataclasses.replace(
        systems.load("Lorenz"),
        lyapunov_spectrum=spectrum.exponents,
        lyapunov_spectrum_error=spectrum.errors,
        calibration={"length": spectrum.length, "method": "tangent"},
    )
    found = kaplan_yorke(spectrum, system)
    assert found.value == pytest.approx(2 + 1 / 15)
    assert found.error == pytest.approx(0.05 / math.sqrt(3) / 2)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(attractor, "DENSE", 500)
    monkeypatch.setattr(attractor, "SPARSE", 300)
    monkeypatch.setattr(module, "FIRST_LENGTH", 20.0)
    monkeypatch.setattr(module, "LONGEST", 20.0)
    monkeypatch.setattr(module, "SEPARATION_PERIODS", 20.0)


def test_calibration_of_a_limit_cycle_is_kept_and_resumed(tmp_path, quick):
    path = tmp_path / "catalog.json"
    patch = {"why": "another speed", "parameters": {"mu": 1.44}, "measured": {"stiffness": 7.0}}
    tags = [*CYCLE["tags"], "multistable"]  # initial states are left where they are
    write({"Cycle": CYCLE | {"tags": tags, "dysts": patch}}, path)
    found = list(calibrate_catalog(["Cycle"], seconds=0.0, path=path))
    assert [(m.system.edition, m.problem) for m in found] == [("corrected", ""), ("dysts", "")]
    document = json.loads(path.read_text())
    validate(document)
    entry = document["systems"]["Cycle"]
    assert entry["lyapunov_spectrum"] == pytest.approx([0.0, -2.0], abs=2e-2)
    assert entry["measured"]["behaviour"] == "periodic"
    assert entry["measured"]["kaplan_yorke"]["value"] == 1.0
    assert "mismatches" not in entry["measured"] and entry["initial"] == [1.0, 0.0]
    assert entry["dysts"]["period"] < entry["period"]
    assert not list(calibrate_catalog(["Cycle"], seconds=0.0, path=path))  # all is current
    entry["initial"] = [0.0, 1.0]
    write({"Cycle": entry}, path)  # which both editions share
    assert len(list(calibrate_catalog(["Cycle"], seconds=0.0, path=path))) == 2


def test_an_initial_state_off_the_attractor_is_moved_onto_it(tmp_path, quick):
    path = tmp_path / "catalog.json"
    write({"Cycle": CYCLE | {"initial": [3.0, 0.0]}}, path)
    [found] = calibrate_catalog(["Cycle"], seconds=0.0, path=path)
    x, y = json.loads(path.read_text())["systems"]["Cycle"]["initial"]
    assert math.hypot(x, y) == pytest.approx(1.0, abs=1e-6)
    assert found.facts["measured"]["initial_distance"] < 1.5


def test_a_wrong_tag_is_said_and_not_changed(tmp_path, quick):
    path = tmp_path / "catalog.json"
    write({"Cycle": CYCLE | {"tags": ["chaotic", "conservative"]}}, path)
    [found] = calibrate_catalog(["Cycle"], seconds=0.0, path=path)
    entry = json.loads(path.read_text())["systems"]["Cycle"]
    assert entry["tags"] == ["chaotic", "conservative"]
    assert "measured not chaotic, tagged otherwise" in entry["measured"]["mismatches"]
    assert found.facts["measured"]["mismatches"] == entry["measured"]["mismatches"]
    assert any("tags as measured: measured not chaotic" in gate for gate in found.failing)


def test_what_cannot_be_measured_is_said_and_the_rest_goes_on(tmp_path, quick):
    path = tmp_path / "catalog.json"
    escapes = {
        "states": ["x"], "parameters": {}, "equations": {"x": "x**2 + 1"}, "initial": [0.0],
        "period": 1.0,
    }  # fmt: skip
    write({"Escapes": escapes, "Cycle": CYCLE}, path)
    first, second = calibrate_catalog(["Escapes", "Cycle"], seconds=0.0, path=path, jobs=2)
    failed, done = (first, second) if first.problem else (second, first)
    assert isinstance(failed, Measured) and "escape" in failed.problem and not done.problem
    entries = json.loads(path.read_text())["systems"]
    assert "measured" not in entries["Escapes"] and "measured" in entries["Cycle"]


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        (((0.1, 0.0, -0.1), (0.3, 0.0, -0.3)), 3.0),  # volume is kept in every run
        (((0.2, 0.0, -0.21), (0.2, 0.0, -0.19)), 3.0),  # and here within the errors
        (((0.2, 0.0, -0.4), (0.2, 0.0, -0.4)), 2.5),
        (((-1e-7, -1.0, -2.0), (1e-7, -1.0, -2.0)), 1.0),  # a cycle
    ],
)
def test_what_is_zero_within_its_error_counts_as_zero(runs, expected):
    mean = tuple(float(v) for v in np.mean(runs, axis=0))
    spectrum = Spectrum(mean, (1e-9, 1e-6, 1e-9), "tangent", 1e9, 2, runs)
    system = dataclasses.replace(
        systems.load("Lorenz"),
        lyapunov_spectrum=mean,
        lyapunov_spectrum_error=(1e-6, 1e-6, 1e-6),
        calibration={"length": 1e9, "method": "tangent"},
    )
    assert kaplan_yorke(spectrum, system).value == pytest.approx(expected)
