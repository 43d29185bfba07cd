"""Entries become systems: editions, files of strangers, rules, hashes, and what names refer to."""

import json
import math

import numpy as np
import pytest

import systems
from systems import CatalogError, EquationError, UnknownSystemError
from systems.catalog import check_system, from_entry, merge_patch, validate, write


def entry(**changes):
    """A valid entry: a damped and driven oscillator with a phase that is observed as a cosine."""
    valid = {
        "states": ["x", "v", "p"],
        "parameters": {"damping": 0.1, "force": 1},
        "let": {"drive": "force*cos(p)"},
        "equations": {"x": "v", "v": "drive - x - damping*v", "p": "2"},
        "observe": {"x": "x", "v": "v", "cos_p": "cos(p)"},
        "initial": [1, 0, 0],
        "period": 3.14,
    }
    return {key: value for key, value in (valid | changes).items() if value is not None}


def write_catalog(path, text_or_entry, name="Mine"):
    text = text_or_entry
    if not isinstance(text, str):
        text = json.dumps({"systems": {name: text}})
    path.write_text(text, encoding="utf-8")
    return path


# ---- the catalog ---------------------------------------------------------------------------------


def test_names_are_alphabetical_and_tags_choose_among_them():
    names = systems.names()
    assert names == sorted(names)
    chosen = systems.names("delay")
    assert chosen and set(chosen) < set(names)
    assert all(systems.load(name).delays for name in chosen)
    assert [name for name in names if systems.load(name).delays] == chosen


def test_an_unknown_tag_is_met_with_the_closest():
    with pytest.raises(CatalogError, match="Did you mean `chaotic`"):
        systems.names("chaotik")


@pytest.mark.parametrize(
    ("asked", "meant"), [("lorenz", "Lorenz"), ("Rössler", "Rossler"), ("Chuah", "Chua")]
)
def test_an_unknown_name_is_met_with_the_closest(asked, meant):
    with pytest.raises(UnknownSystemError, match=f"^`{asked}` is not in .*Did you mean.*`{meant}`"):
        systems.load(asked)


def test_editions_differ_where_the_entry_says_so():
    assert systems.load("Lorenz").parameters["beta"] == 8 / 3
    assert systems.load("Lorenz", "dysts").parameters["beta"] == 2.667
    assert systems.load("Chen").hash == systems.load("Chen", "dysts").hash
    with pytest.raises(CatalogError, match="editions are corrected and dysts; 'new' arrived"):
        systems.load("Lorenz", "new")


def test_reading_is_pure():
    """What one caller does to a system's mappings does not reach the next one's."""
    first = systems.load("Lorenz")
    first.parameters["rho"] = 1.0
    assert systems.load("Lorenz").parameters["rho"] == 28.0


# ---- systems -------------------------------------------------------------------------------------


def test_an_entry_becomes_the_right_hand_side_that_it_says():
    system = from_entry("Mine", entry())
    x, v, p = 0.3, -0.7, 1.1
    expected = [v, math.cos(p) - x - 0.1 * v, 2.0]
    assert np.allclose(system.rhs()(np.array([x, v, p])), expected, rtol=1e-15)
    assert np.allclose(system.observed(np.array([[x, v, p]])), [[x, v, math.cos(p)]], rtol=1e-15)
    assert system.observables == ("x", "v", "cos_p") and system.dimension == 3


def test_a_system_without_observe_is_observed_by_its_states():
    lorenz, states = systems.load("Lorenz"), np.random.default_rng(0).normal(size=(4, 3))
    assert lorenz.observables == ("x", "y", "z")
    assert (lorenz.observed(states) == states).all()


def test_right_hand_sides_take_any_batch():
    field = systems.load("Lorenz").rhs()
    states = np.random.default_rng(0).normal(size=(2, 5, 3))
    assert field(states).shape == (2, 5, 3)
    assert (field(states)[1, 2] == field(states[1, 2])).all()


def test_other_parameters_change_the_field_and_drop_what_was_measured():
    lorenz = systems.load("Lorenz")
    assert lorenz.lyapunov_spectrum and math.isfinite(lorenz.lyapunov_time)
    changed = lorenz.with_parameters(rho=35)
    state = np.array([1.0, 2.0, 3.0])
    assert np.allclose(changed.rhs()(state) - lorenz.rhs()(state), [0.0, 7.0, 0.0], rtol=1e-14)
    assert changed.lyapunov_spectrum == () == changed.lyapunov_spectrum_error
    assert math.isnan(changed.lyapunov_time) and not changed.certified_horizon
    assert changed.hash != lorenz.hash and changed.equations_hash != lorenz.equations_hash
    assert changed.period == lorenz.period and lorenz.parameters["rho"] == 28.0


def test_an_unknown_parameter_is_met_with_the_closest():
    with pytest.raises(CatalogError, match=r"Lorenz: `rhoo`.*Did you mean `rho`"):
        systems.load("Lorenz").with_parameters(rhoo=3.0)
    with pytest.raises(CatalogError, match="`rho` is a finite number; nan arrived"):
        systems.load("Lorenz").with_parameters(rho=math.nan)


def test_the_lyapunov_time_is_infinite_without_chaos_and_unknown_without_measurement():
    measured = {"lyapunov_spectrum": [0.5, 0.0, -1.0], "lyapunov_spectrum_error": [0.1, 0.1, 0.1]}
    assert from_entry("Mine", entry(tags=["chaotic"], **measured)).lyapunov_time == 2.0
    assert from_entry("Mine", entry(tags=["periodic"], **measured)).lyapunov_time == math.inf
    assert math.isnan(from_entry("Mine", entry(tags=["chaotic"])).lyapunov_time)


@pytest.mark.parametrize(
    ("changes", "field_changes"),
    [
        ({"parameters": {"damping": 0.2, "force": 1}}, True),
        ({"let": {"drive": "force*sin(p)"}}, True),
        ({"equations": {"x": "v", "v": "drive - x - damping*v", "p": "3"}}, True),
        ({"initial": [1, 0, 1]}, False),
        ({"period": 3.0}, False),
        ({"observe": {"x": "x"}}, False),
    ],
    ids=lambda part: next(iter(part)) if isinstance(part, dict) else "",
)
def test_hashes_tell_what_determines_what(changes, field_changes):
    """All of these change trajectories, some of them the field that exponents belong to."""
    mine, changed = from_entry("Mine", entry()), from_entry("Mine", entry(**changes))
    assert mine.hash != changed.hash
    assert (mine.equations_hash != changed.equations_hash) == field_changes


def test_hashes_do_not_depend_on_words_or_on_the_order_of_parameters():
    words = entry(description="words", reference="words", tags=["chaotic"])
    turned = entry(parameters={"force": 1.0, "damping": 0.1})
    for other in (words, turned):
        assert from_entry("Mine", other).hash == from_entry("Other", entry()).hash


def test_a_delay_is_a_parameter_of_its_own(make_system):
    system = make_system({"x": "delay(x, 2*tau) + delay(x, tau)"}, [1.0], parameters={"tau": 1.5})
    assert [delay.tau for delay in system.delays] == [3.0, 1.5]
    assert [delay.tau for delay in system.with_parameters(tau=2.0).delays] == [4.0, 2.0]
    with pytest.raises(EquationError, match="has the delay -3; delays are positive"):
        assert system.with_parameters(tau=-1.5).delays


# ---- rules ---------------------------------------------------------------------------------------

BROKEN = {
    "unknown name": (entry(let={"drive": "force*cos(q)"}), r"Mine\.drive: `q`"),
    "later let": (
        entry(let={"drive": "force*late", "late": "cos(p)"}),
        r"Mine\.drive: `late`",
    ),
    "unused parameter": (
        entry(parameters={"damping": 0.1, "force": 1, "idle": 2}),
        "`idle` is never used",
    ),
    "unused let": (entry(let={"drive": "force*cos(p)", "idle": "x"}), "`idle` is never used"),
    "shadowing": (
        entry(let={"drive": "force*cos(p)", "damping": "x"}),
        "`damping` shadows another name",
    ),
    "reserved": (entry(parameters={"damping": 0.1, "force": 1, "sin": 2}), "`sin` has a reserved"),
    "time as a state": (
        entry(states=["x", "v", "t"], equations={"x": "v", "v": "x", "t": "1"}),
        "`t` has a reserved",
    ),
    "missing equation": (
        entry(equations={"x": "v", "v": "drive*damping"}),
        "one equation for each",
    ),
    "too many equations": (
        entry(equations={"x": "v", "v": "drive - x - damping*v", "p": "2", "q": "1"}),
        "one equation for each",
    ),
    "initial state": (entry(initial=[1, 0]), "one initial value for each of 3"),
    "delay of a parameter": (
        entry(equations={"x": "v", "v": "drive - x - delay(damping, 1)", "p": "2"}),
        "which is not a state",
    ),
    "delay by a state": (
        entry(equations={"x": "v", "v": "drive - delay(x, v) - damping", "p": "2"}),
        "`v` is not a",
    ),
    "delay observed": (entry(observe={"x": "delay(x, 1)"}), "function of the present state"),
    "delay observed through a let": (
        entry(
            let={"drive": "force*cos(p)", "past": "delay(x, 1)"},
            equations={"x": "v", "v": "drive - past - damping*v", "p": "2"},
            observe={"x": "past"},
        ),
        "function of the present state",
    ),
    "observed unknown": (entry(observe={"x": "q"}), r"Mine\.observe\.x: `q`"),
    "hostile": (
        entry(let={"drive": "force*().__class__"}),
        r"Mine\.drive: .*refused",
    ),
    "nan": (entry(period=math.nan), "finite"),
    "infinite parameter": (entry(parameters={"damping": math.inf, "force": 1}), "finite"),
    "giant whole number": (entry(parameters={"damping": 10**400, "force": 1}), "finite"),
    "giant initial value": (entry(initial=[10**400, 0, 0]), "finite"),
}


@pytest.mark.parametrize(("broken", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_rule_is_named(tmp_path, broken, message):
    with pytest.raises((CatalogError, EquationError), match=message):
        systems.load_file(write_catalog(tmp_path / "mine.json", broken))


MISSHAPEN = {
    "no period": entry(period=None),
    "negative period": entry(period=-1.0),
    "unknown key": entry(code="import os"),
    "unknown tag": entry(tags=["beautiful"]),
    "expression that is a number": entry(let={"drive": 3}),
    "parameter that is a text": entry(parameters={"damping": "0.1", "force": 1}),
    "parameter that is true": entry(parameters={"damping": True, "force": 1}),
    "states twice": entry(states=["x", "x", "p"]),
    "name with a dot": entry(parameters={"a.b": 1}),
    "name that ends a line": entry(parameters={"damping\n": 0.1, "force": 1}),
    "empty expression": entry(let={"drive": ""}),
    "endless expression": entry(let={"drive": "x+" * 3000 + "x"}),
    "other edition misshapen": entry(dysts={"why": "so", "period": -1}),
    "other edition unexplained": entry(dysts={"period": 1}),
    "other edition without states": entry(dysts={"why": "so", "states": None}),
}


@pytest.mark.parametrize("misshapen", MISSHAPEN.values(), ids=MISSHAPEN)
def test_a_misshapen_entry_is_refused_with_its_place(tmp_path, misshapen):
    path = write_catalog(tmp_path / "mine.json", misshapen)
    with pytest.raises(CatalogError, match=r"mine\.json: systems\.Mine"):
        systems.load_file(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"systems": []}',
        '{"systems": {}}',
        '{"systems": {"../../up": {}}}',
        "[" * 100_000,
        '{"systems": ' + "9" * 5000 + "}",
    ],
    ids=lambda text: text[:24] or "empty",
)
def test_a_file_that_is_no_catalog_is_refused(tmp_path, text):
    with pytest.raises(CatalogError, match=r"mine\.json"):
        systems.load_file(write_catalog(tmp_path / "mine.json", text))


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "mine.json"
    path.write_bytes(b"\xff\xfe\x00{}")
    with pytest.raises(CatalogError, match="not JSON"):
        systems.load_file(path)


def test_a_file_of_ones_own_is_simulated_like_the_catalog(tmp_path):
    [(name, mine)] = systems.load_file(write_catalog(tmp_path / "mine.json", entry())).items()
    assert name == mine.name == "Mine"
    made = mine.trajectory(50, trajectories=2)
    assert made.states.shape == (2, 50, 3) and made.coordinates == ("x", "v", "cos_p")


def test_observing_the_time_reads_the_time_of_the_integration(make_system):
    """x = sin(t) and sin(t) observed directly are the same coordinate, burn-in included."""
    system = make_system(
        {"x": "cos(t)"}, [0.0], period=2 * math.pi, observe={"x": "x", "direct": "sin(t)"}
    )
    made = system.trajectory(200, transient=3, cache=False).states[0]
    assert np.abs(made[:, 0] - made[:, 1]).max() < 1e-11


# ---- patches and files ---------------------------------------------------------------------------


def test_merge_patch_follows_rfc_7396():
    """Appendix A of the RFC."""
    assert merge_patch({"a": "b"}, {"a": "c"}) == {"a": "c"}
    assert merge_patch({"a": "b"}, {"b": "c"}) == {"a": "b", "b": "c"}
    assert merge_patch({"a": "b", "b": "c"}, {"a": None}) == {"b": "c"}
    assert merge_patch({"a": ["b"]}, {"a": "c"}) == {"a": "c"}
    assert merge_patch({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}) == {"a": {"b": "d"}}
    assert merge_patch({"a": "foo"}, "bar") == "bar"
    assert merge_patch({}, {"a": {"bb": {"ccc": None}}}) == {"a": {"bb": {}}}


def test_a_patch_reaches_one_edition_only():
    patched = entry(dysts={"why": "a typing error", "equations": {"v": "drive + x - damping*v"}})
    ours, theirs = (from_entry("Mine", patched, edition) for edition in ("corrected", "dysts"))
    assert ours.equations["v"] == "drive - x - damping*v"
    assert theirs.equations == ours.equations | {"v": "drive + x - damping*v"}
    assert ours.erratum == theirs.erratum == "a typing error"
    assert (ours.edition, theirs.edition) == ("corrected", "dysts")


def test_a_written_catalog_reads_back_equal(tmp_path):
    entries = {"Mine": entry(description="größer", tags=["driven"]), "Other": entry(let={})}
    entries["Other"]["equations"]["v"] = "force - x - damping*v"
    path = tmp_path / "catalog.json"
    write(entries, path)
    document = json.loads(path.read_text(encoding="utf-8"))
    validate(document)
    assert document["systems"] == entries
    assert [path.name for path in tmp_path.iterdir()] == ["catalog.json"]
    for name, system in systems.load_file(path).items():
        assert system.hash == from_entry(name, entries[name]).hash
        check_system(system)
