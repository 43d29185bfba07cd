"""Indexed systems: what they are written out to, what is refused, and what large ones do."""

import copy
import json
import math

import numpy as np
import pytest

import systems
from systems import CatalogError, EquationError
from systems.catalog import check_system, from_entry, validate
from systems.lyapunov import kaplan_yorke_dimension, lyapunov_spectrum


def ring(**changes):
    """Diffusively coupled oscillators with a frequency of their own each."""
    entry = {
        "states": ["x[i]", "v[i]"],
        "parameters": {"c": 0.1},
        "equations": {"x[i]": "v[i]", "v[i]": "-w[i]**2*x[i] + c*(x[i-1] - 2*x[i] + x[i+1])"},
        "period": 6.28,
        "family": {
            "index": "i",
            "size": 5,
            "boundary": "cyclic",
            "parameters": {"w[i]": "1 + i/N"},
            "initial": {"x[i]": "c*i", "v[i]": "0"},
        },
    }
    entry["family"] |= changes.pop("family", {})
    return entry | changes


def made(entry, size=None):
    validate({"systems": {"Ring": entry}})
    system = from_entry("Ring", entry, size=size)
    check_system(system)
    return system


# ---- written out ---------------------------------------------------------------------------------


def test_the_catalogs_lorenz96_has_the_bits_and_hashes_that_it_had_when_written_out():
    system = systems.load("Lorenz96")
    assert system.states == ("x1", "x2", "x3", "x4")
    assert dict(system.equations) == {
        "x1": "(x2 - x3)*x4 - x1 + f",
        "x2": "(x3 - x4)*x1 - x2 + f",
        "x3": "(x4 - x1)*x2 - x3 + f",
        "x4": "(x1 - x2)*x3 - x4 + f",
    }
    assert system.equations_hash == "8c75407c9b345f2d"
    assert system.initial[0] == -2.46820633 and system.lyapunov_spectrum


def test_its_own_size_is_the_same_system_and_another_has_nothing_measured():
    assert systems.load("Lorenz96", size=4) == systems.load("Lorenz96")
    larger = systems.load("Lorenz96", size=6)
    assert larger.name == "Lorenz96_6" and larger.dimension == 6
    assert larger.lyapunov_spectrum == () and not larger.certified_horizon
    assert not larger.measured and not larger.calibration
    assert math.isnan(larger.lyapunov_time)


@pytest.mark.parametrize("size", [4, 5, 36])
def test_lorenz96_is_the_equation_of_its_paper_at_any_size(size):
    system = systems.load("Lorenz96", size=size)
    x = np.random.default_rng(size).normal(size=(3, size))
    shifted = [np.roll(x, shift, axis=-1) for shift in (-1, 2, 1)]
    expected = (shifted[0] - shifted[1]) * shifted[2] - x + 20.0
    for backend in ("numpy", "compiled"):
        assert np.allclose(system.rhs(backend)(x), expected, rtol=1e-14, atol=1e-13)


def test_a_rule_gives_parameters_and_initial_states():
    system = made(ring(), 4)
    assert system.states == ("x1", "x2", "x3", "x4", "v1", "v2", "v3", "v4")
    assert [system.parameters[f"w{i}"] for i in range(1, 5)] == [1.25, 1.5, 1.75, 2.0]
    assert system.initial == pytest.approx((0.1, 0.2, 0.3, 0.4, 0, 0, 0, 0))
    assert system.equations["v1"] == "-w1**2*x1 + c*(x4 - 2*x1 + x2)"


@pytest.mark.parametrize(
    ("boundary", "left", "right"),
    [("cyclic", "x5", "x1"), ("nearest", "x1", "x5"), (0, "0", "0"), (-1.5, "(-1.5)", "(-1.5)")],
)
def test_boundaries(boundary, left, right):
    system = made(ring(family={"boundary": boundary}))
    assert system.equations["v1"] == f"-w1**2*x1 + c*({left} - 2*x1 + x2)"
    assert system.equations["v3"] == "-w3**2*x3 + c*(x2 - 2*x3 + x4)"
    assert system.equations["v5"] == f"-w5**2*x5 + c*(x4 - 2*x5 + {right})"


def test_lets_observables_single_elements_and_whole_number_arithmetic():
    entry = ring(
        equations={
            "x[i]": "v[i] + 0*s[i]",
            "v[1]": "-x[1]",
            "v[i]": "-w[i]*x[i] + c*x[(2*i) % N + 1]*i/N - c*mean",
            "v[N]": "-x[N//2]",
        },
        let={"s[i]": "sin(x[i])", "mean": "sum(k, 1, N, s[k])/N"},
        observe={"y[i]": "cos(x[i])", "both": "x[1] + x[N]"},
        family={"parameters": {"w[i]": "2"}},
    )
    system = made(entry, 4)
    assert system.lets["s3"] == "sin(x3)"
    assert system.lets["mean"] == "(s1 + s2 + s3 + s4)/4"
    assert [system.equations[f"v{i}"] for i in (1, 2, 4)] == [
        "-x1",
        "-w2*x2 + c*x1*2/4 - c*mean",
        "-x2",
    ]
    assert dict(system.observe) == {f"y{i}": f"cos(x{i})" for i in range(1, 5)} | {
        "both": "x1 + x4"
    }


@pytest.mark.parametrize("size", [1, 8, 9, 65, 90])
def test_a_sum_is_the_sum_and_its_tree_is_shallow(size):
    entry = {
        "states": ["x[i]"],
        "parameters": {},
        "equations": {"x[i]": "sum(k, 1, N, k*x[k] - 1) - i*x[i]"},
        "period": 1.0,
        "family": {"index": "i", "size": size, "initial": {"x[i]": "i"}},
    }
    system = made(entry)
    x = np.random.default_rng(0).normal(size=size)
    i = np.arange(1, size + 1)
    expected = (i * x - 1).sum() - i * x
    assert np.allclose(system.rhs()(x), expected, rtol=1e-12, atol=1e-10)


def test_sums_nest_and_an_empty_sum_is_zero():
    entry = ring(
        equations={
            "x[i]": "v[i]*w[i]",
            "v[i]": "sum(j, 1, 2, sum(k, j, 2, c*x[j]*x[k])) - sum(j, 2, 1, x[j])",
        }
    )
    assert made(entry, 3).equations["v1"] == "(((c*x1*x1) + (c*x1*x2)) + ((c*x2*x2))) - 0"


def test_delayed_neighbours():
    entry = ring(equations={"x[i]": "v[i]*w[i]", "v[i]": "-delay(x[i-1], c)"})
    system = made(entry, 3)
    assert [(d.state, d.tau) for d in system.delays] == [(2, 0.1), (0, 0.1), (1, 0.1)]


def test_a_list_of_initial_states_holds_for_the_size_in_the_entry_only():
    entry = ring(initial=[1.0] * 10)
    assert made(entry).initial == (1.0,) * 10
    assert made(entry, 5).initial == (1.0,) * 10
    assert made(entry, 2).initial == (0.1, 0.2, 0.0, 0.0)


# ---- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"equations": {"x[i]": "u[i]", "v[i]": "0"}}, r"Ring.x\[i\]: `u\[…\]` is not an indexed"),
        ({"equations": {"x[i]": "v[i/2]", "v[i]": "0"}}, "`i / 2` is no index"),
        ({"equations": {"x[i]": "v[c]", "v[i]": "0"}}, "`c` is no index"),
        ({"equations": {"x[i]": "v[i % 0]", "v[i]": "0"}}, "is no index"),
        ({"equations": {"x[i]": "v[10**9]", "v[i]": "0"}}, "is no index"),
        ({"equations": {"x[i]": "v[i][0]", "v[i]": "0"}}, "refused|no index"),
        ({"equations": {"x[i]": "v[i:]", "v[i]": "0"}}, "is no index"),
        ({"equations": {"x[i]": "sum(i, 1, N, v[i])", "v[i]": "0"}}, "index `i` is taken"),
        ({"equations": {"x[i]": "sum(c, 1, N, v[c])", "v[i]": "0"}}, "index `c` is taken"),
        ({"equations": {"x[i]": "sum(v)", "v[i]": "0"}}, "a sum is written"),
        ({"equations": {"x[i]": "sum(j, 1, 10**6, 1)", "v[i]": "0"}}, "no index"),
        ({"equations": {"x[i]": "sum(j, 1, 999999, 1)", "v[i]": "0"}}, "at most 4000 characters"),
        ({"equations": {"x[i]": "().__class__", "v[i]": "0"}}, "refused"),
        ({"equations": {"x[i]": "__import__('os')", "v[i]": "0"}}, "refused"),
        ({"equations": {"x[9]": "1", "x[i]": "v[i]", "v[i]": "0"}}, "elements are 1 to 5; 9"),
        ({"equations": {"x[i]": "v[i]"}}, "one equation for each state"),
        ({"parameters": {"c": 1.0, "N": 3}}, "`N` is a word of the family"),
        ({"parameters": {"c": 1.0, "i": 3}}, "`i` is a word of the family"),
        ({"parameters": {"c": 1.0, "w2": 3}}, "`w2` shadows"),
        ({"states": ["x[2]", "v[i]"]}, "is declared with the family's index"),
        ({"states": ["x", "v"]}, "no state of the family is indexed"),
        ({"states": ["x[i]", "v[i]", "x1"]}, "the same name"),
        ({"family": {"boundary": None}}, "boundary"),
        ({"family": {"size": 0}}, "size"),
        ({"family": {"size": 1025}}, "size"),
        ({"family": {"size": 1000}}, "at most 1024 states; 2000"),
        ({"family": {"index": "sin"}}, "reserved name"),
        ({"family": {"initial": {"x[i]": "0"}}}, "no rule for the state `v1`"),
        ({"family": {"initial": {"x[i]": "1/0", "v[i]": "0"}}}, "values are finite"),
        ({"family": {"initial": {"x[i]": "v[i]", "v[i]": "0"}}}, "v1"),
        ({"family": {"parameters": {"w": "1"}}}, "has no index"),
        (
            {"family": {"boundary": 2.0}, "equations": {"x[i]": "w[i+1]", "v[i]": "0"}},
            "value of st",
        ),
    ],
)
def test_a_broken_pattern_is_named(changes, message):
    with pytest.raises((EquationError, CatalogError), match=message):
        made(ring(**copy.deepcopy(changes)))


def test_an_element_outside_without_a_boundary_is_an_error():
    entry = ring()
    del entry["family"]["boundary"]
    with pytest.raises(EquationError, match="element 0 of `x` lies outside 1 to 5"):
        made(entry)


def test_indices_without_a_family_are_an_error():
    entry = ring()
    del entry["family"]
    with pytest.raises(EquationError, match="no `family`"):
        from_entry("Ring", entry | {"initial": [0.0] * 10})


@pytest.mark.parametrize("size", [0, -3, 1025, 2.5, True])
def test_sizes_are_whole_and_bounded(size):
    with pytest.raises(EquationError, match="a size is a whole number from 1 to 1024"):
        systems.load("Lorenz96", size=size)


def test_a_system_without_a_family_has_one_size():
    with pytest.raises(CatalogError, match=r"Lorenz has no `family`.*Lorenz96"):
        systems.load("Lorenz", size=5)


# ---- in use --------------------------------------------------------------------------------------


def kuramoto_sivashinsky(size: int, length: float) -> dict:
    """u_t = -u u_x - u_xx - u_xxxx on a circle, by central differences of fourth order."""
    d1 = "(8*(u[i+1]**2 - u[i-1]**2) - u[i+2]**2 + u[i-2]**2)/(12*h)"
    d2 = "(16*(u[i+1] + u[i-1]) - u[i+2] - u[i-2] - 30*u[i])/(12*h**2)"
    d4 = "(12*(u[i+2] + u[i-2]) - u[i+3] - u[i-3] - 39*(u[i+1] + u[i-1]) + 56*u[i])/(6*h**4)"
    return {
        "states": ["u[i]"],
        "parameters": {"length": length},
        "let": {"h": "length/N"},
        "equations": {"u[i]": f"-{d1}/2 - {d2} - {d4}"},
        "period": 10.0,
        "family": {
            "index": "i",
            "size": size,
            "boundary": "cyclic",
            "initial": {"u[i]": "cos(2*pi*i/N) + 0.1*sin(4*pi*i/N)"},
        },
    }


def test_a_grid_in_a_file_grows_its_waves_at_the_rate_of_the_equation(tmp_path):
    """Linear waves of wave number q grow at q² - q⁴; 64 points of fourth order give 0.2 %."""
    path = tmp_path / "KS.json"
    path.write_text(json.dumps({"systems": {"KS": kuramoto_sivashinsky(64, 22.0)}}))
    system = systems.load_file(path)["KS"]
    assert system.dimension == 64
    i = np.arange(1, 65)
    for waves in (1, 2, 3):
        q = 2 * np.pi * waves / 22.0
        rate = system.rhs("compiled")(1e-8 * np.sin(q * i * 22 / 64)) / (
            1e-8 * np.sin(q * i * 22 / 64) + 1e-30
        )
        assert np.median(rate) == pytest.approx(q**2 - q**4, rel=2e-3)


def test_a_grid_is_bounded_and_keeps_its_mean():
    system = made(kuramoto_sivashinsky(32, 22.0))
    states = systems.simulate(system, np.linspace(0, 200, 201), rtol=1e-8, atol=1e-8).states[0]
    assert 1.5 < np.abs(states[100:]).max() < 4.0
    assert np.abs(states.mean(axis=1) - states[0].mean()).max() < 1e-8


def test_lorenz96_with_40_sites_has_the_spectrum_of_the_literature():
    """F = 8: λ₁ = 1.69, 13 positive exponents, dimension 27.1 (Karimi and Paul 2010, Chaos 20,
    043105; Lorenz and Emanuel 1998 double errors in 0.42); the sum is -40 exactly."""
    system = systems.load("Lorenz96", size=40).with_parameters(f=8.0)
    spectrum = lyapunov_spectrum(system, periods=12, trajectories=3)
    exponents, errors = np.array(spectrum.exponents), np.array(spectrum.errors)
    assert abs(exponents[0] - 1.69) < 3 * errors[0] + 0.02 and errors[0] < 0.1
    assert (exponents > 3 * errors).sum() in (12, 13)
    assert kaplan_yorke_dimension(exponents) == pytest.approx(27.1, abs=0.4)
    assert exponents.sum() == pytest.approx(-40.0, abs=1e-6)
