"""`dysts-bench check` on systems: what it finds of sound ones, and that it finds what is wrong."""

import json

import numpy as np
from typer.testing import CliRunner

import systems
from dysts_bench.cli import app
from systems import check
from systems.check import findings


def found(system, name, **options):
    """The finding called `name`; the last of several."""
    matching = [f for f in findings(system, **options) if f.name == name]
    assert matching, f"{system.name} has no finding {name}"
    return matching[-1]


def write(path, **entry):
    defaults = {"parameters": {}, "period": 1.0}
    path.write_text(json.dumps({"systems": {path.stem: defaults | entry}}), encoding="utf-8")
    return path


def run(path, code):
    done = CliRunner().invoke(app, ["check", str(path)])
    assert done.exit_code == code, done.output
    return done.output


def test_the_lorenz_system_is_sound_and_its_numbers_are_the_known_ones():
    results = list(findings(systems.load("Lorenz")))
    assert all(finding.holds is not False for finding in results)
    words = {finding.name: finding.words for finding in results}
    assert set(words) == {
        "equations", "backends", "Jacobian", "divergence", "attractor", "period", "exponents",
    }  # fmt: skip
    assert "shrink at the rate -13.67" in words["divergence"]
    assert "largest 0.9" in words["exponents"] and "dimension 2.06" in words["exponents"]


def test_a_file_of_ones_own_is_checked_from_the_command_line(tmp_path):
    """Rossler's equations (1976) under another name,."""
    path = write(
        tmp_path / "Mine.json",
        states=["x", "y", "z"],
        parameters={"a": 0.2, "c": 5.7},
        equations={"x": "-y - z", "y": "x + a*y", "z": "a + z*(x - c)"},
        initial=[1.0, 1.0, 0.0],
        period=6.0,
        tags=["chaotic"],
    )
    printed = run(path, 0)
    assert printed.startswith("✓ Mine: 3 states") and "✗" not in printed
    assert "chaos with a Lyapunov time of 1" in printed


def test_a_family_of_ones_own_is_checked_from_the_command_line(tmp_path):
    """A ring of coupled Van der Pol oscillators: JSON only."""
    path = write(
        tmp_path / "MyRing.json",
        states=["x[i]", "v[i]"],
        parameters={"c": 0.1},
        equations={"x[i]": "v[i]", "v[i]": "(1 - x[i]**2)*v[i] - x[i] + c*(x[i+1] - x[i])"},
        family={
            "index": "i",
            "size": 3,
            "boundary": "cyclic",
            "initial": {"x[i]": "cos(i)", "v[i]": "0"},
        },
        period=6.6,
    )
    printed = run(path, 0)
    assert "MyRing: 6 states" in printed and "not told from zero" in printed


def test_an_escaping_system_fails(tmp_path):
    path = write(tmp_path / "Bad.json", states=["x"], equations={"x": "x**2 + 1"}, initial=[0.0])
    assert "✗ Bad, attractor: trajectories from the initial state escape" in run(path, 1)


def test_a_broken_equation_ends_with_its_message(tmp_path):
    path = write(tmp_path / "Bad.json", states=["x"], equations={"x": "sgn(x)"}, initial=[0.0])
    assert "`sgn(x)` is refused" in run(path, 2)


def test_what_stands_still_or_runs_away_is_no_attractor(make_system):
    still = make_system({"x": "-x", "y": "-y"}, [1.0, 1.0])
    assert found(still, "attractor").holds is False
    away = make_system({"x": "y", "y": "-x", "z": "1 + 0*x"}, [1.0, 0.0, 0.0], period=6.28)
    finding = found(away, "attractor")
    assert finding.holds is False and "z reaches" in finding.words


def test_growing_volumes_are_found(make_system):
    """An unstable spiral."""
    system = make_system({"x": "0.05*x + v", "v": "-x"}, [1e-6, 0.0], period=6.28)
    finding = found(system, "divergence")
    assert finding.holds is False and "grow at the rate 0.05" in finding.words


def test_a_claim_of_chaos_that_does_not_hold_fails(make_system):
    """Van der Pol's limit cycle."""
    cycle = {"x": "v", "v": "(1 - x**2)*v - x"}
    claimed = make_system(cycle, [2.0, 0.0], period=6.66, tags=["chaotic"])
    finding = found(claimed, "exponents")
    assert finding.holds is False and "tagged `chaotic`" in finding.words
    assert found(make_system(cycle, [2.0, 0.0], period=6.66), "exponents").holds


def test_a_period_that_is_far_off_fails(make_system):
    cycle = {"x": "v", "v": "(1 - x**2)*v - x"}
    finding = found(make_system(cycle, [2.0, 0.0], period=100.0), "period")
    assert finding.holds is False and "the entry says 100. Write 6." in finding.words


def test_a_wrong_jacobian_or_backend_is_found(monkeypatch):
    """One entry in nine off by a thousandth; one component in three off in the tenth digit."""
    lorenz = systems.load("Lorenz")
    jacobian, rhs = type(lorenz).jacobian, type(lorenz).rhs

    def wrong_jacobian(self, backend="numpy"):
        exact = jacobian(self, backend)
        factor = np.ones((3, 3))
        factor[1, 0] = 1.001
        return lambda *arguments: exact(*arguments) * factor

    def wrong_rhs(self, backend="numpy"):
        exact = rhs(self, backend)
        factor = np.array([1.0, 1.0 + 1e-10 * (backend == "compiled"), 1.0])
        return lambda *arguments: exact(*arguments) * factor

    states = np.random.default_rng(0).normal(size=(50, 3)) * [8, 9, 9] + [0, 0, 24]
    monkeypatch.setattr(type(lorenz), "jacobian", wrong_jacobian)
    assert check._jacobian(lorenz, states).holds is False
    monkeypatch.setattr(type(lorenz), "rhs", wrong_rhs)
    assert next(iter(check._backends(lorenz, states))).holds is False
