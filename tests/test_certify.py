"""References against closed forms, and horizons that end where a trajectory is wrong."""

import json
import math

import numpy as np
import pytest

import systems
from systems import certify as module
from systems import delay_reference
from systems.catalog import from_entry
from systems.certify import certify, certify_catalog, provenance_hash


def made(equations, initial, **parts):
    entry = {"states": list(equations), "equations": equations, "parameters": {}, "period": 1.0}
    return from_entry("Mine", entry | {"initial": initial} | parts)


# ---- references ------------------------------------------------------------------------------


def test_gauss_points_integrate_polynomials_in_extended_precision():
    points, weights = delay_reference.gauss(5)
    for degree in range(10):
        assert abs(weights @ points**degree - 1 / np.longdouble(degree + 1)) < 1e-18
    halves = np.array([0.5], dtype=np.longdouble)
    [inner] = delay_reference.integral_weights(points, weights, halves)
    assert abs(inner @ points**4 - np.longdouble(0.5) ** 5 / 5) < 1e-18


def test_the_delay_reference_is_the_solution_by_steps():
    system = made({"x": "-delay(x, 1)"}, [1.0])
    reference = delay_reference.CollocationReference(system, np.array([[1.0], [2.0]]))
    times = np.linspace(0.0, 3.0, 31)
    late = np.maximum(times - 1, 0) ** 2 / 2 - np.maximum(times - 2, 0) ** 3 / 6
    for start, size in enumerate((1.0, 2.0)):
        states = reference.advance(start, times)[:, 0]
        assert np.allclose(states, size * (1 - times + late), rtol=0, atol=1e-15)


def test_kinks_and_jumps_are_switches_turned_at_the_crossing():
    reference_module = pytest.importorskip("systems.taylor_reference")
    pytest.importorskip("heyoka")
    equations = {"c": "-s", "s": "c", "a": "abs(c)", "b": "sign(c)", "m": "max(c, 0, s)"}
    system = made(equations, [1.0, 0.0, 0.0, 0.0, 0.0])
    reference = reference_module.TaylorReference(system, np.array([system.initial]))
    [end] = reference.advance(0, np.array([2 * math.pi]))
    # ∫|cos| = 4, ∫sign(cos) = 0, ∫max(cos, 0, sin) = 2 sin(π/4) + 1 + 1 over a turn
    assert np.allclose(end, [1, 0, 4, 0, 2 + math.sqrt(2)], rtol=0, atol=1e-14)


def test_exprel_has_no_singularity_in_the_reference():
    hy = pytest.importorskip("heyoka")
    import mpmath

    from systems.taylor_reference import expressions

    system = made({"x": "exprel(x)"}, [1.0])
    [(variable, slope)] = expressions(system, hy.real128).equations
    value = hy.cfunc([slope], vars=[variable], fp_type=hy.real128)
    with mpmath.workdps(40):
        for x in (-8.0, -1e-3, 0.0, 0.3, 8.0):
            exact = mpmath.expm1(x) / x if x else mpmath.mpf(1)
            [found] = value(np.array([x], dtype=hy.real128))
            assert abs(mpmath.mpf(str(found)) - exact) < 1e-31 * exact


# ---- horizons --------------------------------------------------------------------------------


def test_the_horizon_of_lorenz_is_that_of_its_precision():
    pytest.importorskip("heyoka")
    found = certify(systems.load("Lorenz"), "double", starts=2, limit=45)
    assert found.ends == ("ours parts",) * 2
    # a rounding of 1e-16 reaches 1e-2 after ln(1e14) = 32 Lyapunov times
    assert min(found.horizons) > 24 and max(found.horizons) < 40


def test_an_error_in_our_trajectory_ends_the_horizon(monkeypatch):
    pytest.importorskip("heyoka")
    from systems import solve

    right = solve.solve

    def wrong(system, times, initial, **options):
        return right(system, times, initial * (1 + 1e-6), **options)

    monkeypatch.setattr(solve, "solve", wrong)
    found = certify(systems.load("Lorenz"), "double", starts=2, limit=30)
    assert max(found.horizons) < 14 and found.ends == ("ours parts",) * 2


def test_a_doubtful_reference_certifies_no_further_than_it_agrees_with_the_other(monkeypatch):
    pytest.importorskip("heyoka")
    right = module.reference_for

    def doubtful(system, initial, *, beside=False):
        return right(system, initial * (1 + 1e-6 * beside), beside=beside)

    monkeypatch.setattr(module, "reference_for", doubtful)
    found = certify(systems.load("Lorenz"), "double", starts=2, limit=30)
    assert max(found.horizons) < 12 and found.ends == ("reference",) * 2


# ---- the catalog -----------------------------------------------------------------------------


def test_certificates_are_written_once_and_again_when_asked(tmp_path, monkeypatch):
    pytest.importorskip("heyoka")
    monkeypatch.setattr(module, "LIMIT", 3.0)
    monkeypatch.setattr(certify, "__kwdefaults__", certify.__kwdefaults__ | {"limit": 3.0})
    path = tmp_path / "catalog.json"
    path.write_bytes(module.CATALOG.read_bytes())
    first = list(certify_catalog(["Chua"], path=path, again=True))
    assert [outcome.job.precision for outcome in first] == ["double"]  # Chua has kinks
    entry = json.loads(path.read_text(encoding="utf-8"))["systems"]["Chua"]
    assert entry["certified_horizon"] == {"double": 2.9}  # the last sample before 3, rounded down
    assert entry["certificates"]["double"]["capped"] == module.STARTS
    assert list(certify_catalog(["Chua"], path=path)) == []


def test_stored_certificates_belong_to_the_present_equations_and_integrator():
    for name in systems.names():
        system = systems.load(name)
        assert set(system.certificates) == set(system.certified_horizon)
        for precision, facts in system.certificates.items():
            assert facts["hash"] == provenance_hash(system, precision), (
                f"{name}: run `dysts-bench certify --systems {name}`"
            )


def test_the_page_tells_the_worst_start_and_what_is_only_a_bound():
    from dataclasses import replace

    from dysts_bench.certificates_page import page

    facts = {"median": 31.5, "starts": 10, "capped": 0, "reference": "Taylor", "hash": "0" * 16}
    lorenz = replace(
        systems.load("Lorenz"),
        certified_horizon={"double": 29.8, "double-double": 70.0},
        certificates={"double": facts, "double-double": facts | {"median": 70.0, "capped": 10}},
    )
    text = page([lorenz])
    assert "| Lorenz | 29.8 (31.5) | ≥ 70 (70) | Taylor |  |" in text
    assert "In double: 1 systems, shortest 29.8, median 29.8." in text
