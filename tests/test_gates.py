"""Gates refuse contradicting numbers; and the catalog passes them, or says why not."""

import dataclasses

import pytest

import systems
from systems.catalog import from_entry
from systems.gates import behaviour, failures, gates, idle_exceptions, tag_mismatches

EDITIONS = [(n, e) for n in systems.names() for e in ("corrected", "dysts")]


def sound(**changes):
    """A measured Lorenz system that passes every gate."""
    lorenz = systems.load("Lorenz")
    measured = {
        "behaviour": "chaotic",
        "exponent_sum": {"value": -13.6667, "error": 1e-9},
        "divergence": {"value": -13.6667, "error": 1e-9},
        "separation_exponent": {"value": 0.91, "error": 0.01},
        "separation_length": 1000.0,
        "kaplan_yorke": {"value": 2.062, "error": 0.0003},
        "correlation_dimension": {"value": 2.05, "error": 0.03},
        "stiffness": 13.0,
    }
    measured |= {k: v for k, v in changes.items() if k in measured}
    calibration = {"method": "tangent", "length": 1000.0, "hash": lorenz.calibration_hash}
    defaults = {
        "lyapunov_spectrum": (0.906, 0.0001, -14.572),
        "lyapunov_spectrum_error": (0.003, 0.0002, 0.003),
        "calibration": calibration | changes.pop("calibration", {}),
    }
    fields = {k: v for k, v in changes.items() if k not in measured}
    return dataclasses.replace(lorenz, measured=measured, exceptions={}, **(defaults | fields))


def test_a_sound_entry_passes():
    assert [gate.name for gate in gates(sound()) if gate.holds is not True] == []


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"divergence": {"value": -13.5, "error": 0.01}}, "sum of exponents is the divergence"),
        ({"lyapunov_spectrum": (0.906, 0.02, -14.59)}, "an exponent is zero"),
        ({"kaplan_yorke": {"value": 60.7, "error": 0.1}}, "Kaplan-Yorke dimension in range"),
        ({"kaplan_yorke": {"value": 3.0, "error": 0.0}}, "Kaplan-Yorke dimension in range"),
        (
            {"correlation_dimension": {"value": 2.9, "error": 0.03}},
            "correlation dimension below Kaplan-Yorke",
        ),
        ({"separation_exponent": {"value": 1.09, "error": 0.01}}, "two estimators agree"),
        ({"lyapunov_spectrum_error": (0.02, 0.0002, 0.02)}, "largest exponent to one percent"),
        ({"calibration": {"hash": "of other equations"}}, "calibration current"),
        ({"behaviour": "periodic"}, "tags as measured"),
        ({"stiffness": 1e4}, "tags as measured"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_a_gate_refuses_what_contradicts(changes, broken):
    system = sound(**changes)
    assert [gate.name for gate in failures(system)] == [broken]
    explained = dataclasses.replace(system, exceptions={broken: "a test"})
    assert failures(explained) == [] == idle_exceptions(explained)


def test_an_exception_without_a_failure_is_idle():
    system = dataclasses.replace(sound(), exceptions={"two estimators agree": "", "no gate": ""})
    assert idle_exceptions(system) == ["two estimators agree", "no gate"]


def test_an_entry_that_is_not_measured_fails():
    assert [gate.name for gate in failures(dataclasses.replace(sound(), measured={}))] == [
        "measured"
    ]


@pytest.mark.parametrize(
    ("exponents", "expected"),
    [
        ((0.9, 0.0, -14.0), "chaotic"),
        ((0.9, 0.2, 0.0, -14.0), "hyperchaotic"),
        ((0.9, 0.002, -14.0), "chaotic"),  # 2 over the run: a regular motion grows as much
        ((0.0, 0.0, -1.0), "quasiperiodic"),
        ((0.001, -1.0, -2.0), "periodic"),
        ((-0.1, -1.0, -2.0), "fixed point"),
    ],
)
def test_behaviour_by_signs(exponents, expected):
    errors = tuple(1e-4 for _ in exponents)
    system = sound(lyapunov_spectrum=exponents, lyapunov_spectrum_error=errors)
    assert behaviour(system) == expected


def test_signs_say_less_where_the_equations_read_the_time():
    torus = systems.load("Torus")
    spectrum = {"lyapunov_spectrum": (0.0,) * 3, "lyapunov_spectrum_error": (0.0,) * 3}
    calibration = {"method": "tangent", "length": 1000.0}
    found = dataclasses.replace(torus, calibration=calibration, **spectrum)
    assert behaviour(found) == "regular"


def test_the_measurements_of_one_edition_do_not_fill_the_gaps_of_the_other():
    entry = {
        "states": ["x"], "parameters": {"a": 1}, "equations": {"x": "-a*x"}, "initial": [1.0],
        "period": 1.0, "lyapunov_spectrum": [-1.0], "lyapunov_spectrum_error": [0.1],
        "measured": {"stiffness": 1.0}, "exceptions": {"measured": "no"},
        "dysts": {"why": "another rate", "parameters": {"a": 2}},
    }  # fmt: skip
    theirs = from_entry("Mine", entry, "dysts")
    assert theirs.lyapunov_spectrum == () and theirs.measured == {} == theirs.exceptions


# ---- the catalog ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "edition"), EDITIONS)
def test_an_entry_passes_every_gate_or_says_why_not(name, edition):
    system = systems.load(name, edition)
    told = [f"{gate.name}: {gate.detail}" for gate in failures(system)]
    assert not told, f"{told}: mend it, or name the gate and the reason in `exceptions`"
    assert not idle_exceptions(system)


@pytest.mark.parametrize(("name", "edition"), EDITIONS)
def test_tags_are_what_is_measured(name, edition):
    system = systems.load(name, edition)
    if "tags as measured" not in system.exceptions:
        assert system.measured and not tag_mismatches(system)
