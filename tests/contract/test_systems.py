"""What every system of the catalog must do, in both editions; systems are discovered, not listed.

Numbers are compared relative to the size of the terms that make them up (|∂f_i/∂x_j x_j| and
|f_i|), so that cancellation of large terms counts neither for nor against.
"""

import json
import math
from functools import cache

import numpy as np
import pytest
from dysts_oracle import largest_relative_difference, systems_of_dysts

import systems
from systems import simulate
from systems.catalog import CATALOG, System, check_system, validate
from systems.generate import _default_transient

DOCUMENT = json.loads(CATALOG.read_text(encoding="utf-8"))
ENTRIES = DOCUMENT["systems"]
FACTS = {"lyapunov_spectrum", "lyapunov_spectrum_error", "period", "calibration", "why", "tags"}


def _editions(name: str) -> list[str]:
    """Both editions where they are not the same equations from the same initial state."""
    changed = set(ENTRIES[name].get("dysts", {})) - FACTS
    return ["corrected", "dysts"] if changed else ["corrected"]


ALL = [(name, edition) for name in systems.names() for edition in _editions(name)]
EVERY_SYSTEM = pytest.mark.parametrize(("name", "edition"), ALL, ids=lambda part: part)
CALIBRATED = pytest.mark.parametrize(
    ("name", "edition"),
    [(name, edition) for name, edition in ALL if "calibration" in ENTRIES[name]],
    ids=lambda part: part,
)


@cache
def loaded(name: str, edition: str) -> System:
    return systems.load(name, edition)


@cache
def sample(name: str, edition: str) -> tuple[np.ndarray, np.ndarray]:
    """Raw states on the attractor (4, 1000, dim), about five points a period, and their times.

    Not a whole number: in step with a forcing or a limit cycle, means would be of five phases."""
    made = loaded(name, edition).trajectory(
        1000,
        points_per_period=3 + 5**0.5,
        trajectories=4,
        observe="states",
        rtol=1e-9,
        atol=1e-9,
        cache=False,
    )
    return made.states, made.times


@cache
def jacobian(name: str, edition: str) -> object:
    return loaded(name, edition).jacobian()


def some_states(name: str, edition: str) -> np.ndarray:
    """Thirty states (30, dim) on the attractor."""
    states, _ = sample(name, edition)
    return states.reshape(-1, states.shape[-1])[:: states.shape[0] * states.shape[1] // 30][:30]


def past_of(system: System, states: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """Delayed states for a delay system, drawn from the same attractor; nothing for an ODE."""
    if not system.delays:
        return {}
    rng = np.random.default_rng(seed)
    return {"delayed": np.stack([rng.permutation(states[:, d.state]) for d in system.delays], -1)}


def size_of_terms(field: np.ndarray, partial: np.ndarray, states: np.ndarray) -> np.ndarray:
    """|f_i| + Σ_j |J_ij x_j|, (points, dim)."""
    return np.abs(field) + np.einsum("pij,pj->pi", np.abs(partial), np.abs(states))


def size_of_entries(partial: np.ndarray, field: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """What counts as one for the entries of a row i of the Jacobian, (points, dim, dim): the
    largest contribution of a move of a coordinate to f_i, or f_i itself, divided by the move."""
    row = (np.abs(partial) * moves).max(axis=-1, keepdims=True) + np.abs(field)[..., None]
    return row / moves


@cache
def moves_of(name: str, edition: str) -> np.ndarray:
    """What each coordinate moves in a fifth of a period on average; 1 where it never moves."""
    moves = np.abs(np.diff(sample(name, edition)[0], axis=1)).mean(axis=(0, 1))
    return np.where(moves > 0, moves, 1.0)


# ---- the file ------------------------------------------------------------------------------------


def test_the_catalog_keeps_its_schema():
    validate(DOCUMENT)


def test_the_catalog_holds_the_135_systems_of_dysts():
    theirs = systems_of_dysts()
    assert theirs.keys() <= set(systems.names())
    assert len(theirs) == 135


@pytest.mark.parametrize("edition", ["corrected", "dysts"])
@pytest.mark.parametrize("name", systems.names())
def test_the_entry_keeps_every_rule(name, edition):
    check_system(loaded(name, edition))


@pytest.mark.parametrize("name", systems.names())
def test_the_entry_says_what_it_is_in_our_own_words(name):
    def plain(text: str) -> str:
        return "".join(c for c in text.lower() if c.isalnum())

    system = loaded(name, "corrected")
    assert len(system.description) > 30
    assert len(system.reference) > 20
    if name in systems_of_dysts():
        theirs = plain(systems_of_dysts()[name]().description or "")
        assert not theirs or theirs not in plain(system.description)


@pytest.mark.parametrize("name", [name for name in systems.names() if "dysts" in ENTRIES[name]])
def test_a_difference_from_dysts_is_one_and_is_explained(name):
    ours, theirs = loaded(name, "corrected"), loaded(name, "dysts")
    assert ours.hash != theirs.hash or ours.tags != theirs.tags
    assert len(ours.erratum) > 20


# ---- functions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", systems.names())
def test_the_right_hand_side_equals_that_of_dysts(name):
    if name not in systems_of_dysts():
        pytest.skip("a system that dysts does not have")
    assert largest_relative_difference(loaded(name, "dysts")) < 1e-12


@EVERY_SYSTEM
def test_compiled_and_numpy_right_hand_sides_agree(name, edition):
    system, states = loaded(name, edition), some_states(name, edition)
    past = past_of(system, states)
    expected = system.rhs()(states, 1.5, **past)
    scale = size_of_terms(expected, jacobian(name, edition)(states, 1.5, **past), states)
    difference = np.abs(system.rhs("compiled")(states, 1.5, **past) - expected)
    # two libraries of functions differ in the last bit, near a step function by a few more
    assert (difference <= 5e-13 * scale).all()


@EVERY_SYSTEM
def test_the_jacobian_equals_central_differences(name, edition):
    """Fourth-order central differences, with steps of 1e-1 … 1e-6 of what each coordinate moves in
    a fifth of a period: at one of them, at least, every entry agrees to 1e-7 of its row. (What is
    smooth at 1e-1 in one system is a step function in another; a kink within a step excuses no
    system, as smaller steps miss it.)"""
    system, states = loaded(name, edition), some_states(name, edition)
    past = past_of(system, states)
    actual = jacobian(name, edition)(states, 1.5, **past)
    points, n = states.shape
    moves = moves_of(name, edition)
    scale = size_of_entries(actual, system.rhs()(states, 1.5, **past), moves)
    errors = []
    for relative_step in 10.0 ** np.arange(-1, -7, -1):
        h = relative_step * moves
        offsets = np.array([-2, -1, 1, 2])[:, None, None] * np.diag(h)  # (4, dim, dim)
        moved = states[:, None, None, :] + offsets  # (points, 4, dim, dim)
        repeated = {
            key: np.broadcast_to(value[:, None, None, :], (points, 4, n, value.shape[-1]))
            for key, value in past.items()
        }
        values = system.rhs()(moved, 1.5, **repeated)
        weights = np.array([1.0, -8.0, 8.0, -1.0]) / 12
        differences = np.einsum("s,psji->pij", weights, values) / h
        with np.errstate(invalid="ignore"):
            errors.append((np.abs(actual - differences) / scale).max(axis=(1, 2)))
    assert np.nanmin(errors, axis=0).max() < 1e-7


@EVERY_SYSTEM
def test_compiled_and_numpy_jacobians_agree(name, edition):
    system, states = loaded(name, edition), some_states(name, edition)
    past = past_of(system, states)
    expected = jacobian(name, edition)(states, 1.5, **past)
    compiled = system.jacobian("compiled")(states, 1.5, **past)
    scale = size_of_entries(expected, system.rhs()(states, 1.5, **past), moves_of(name, edition))
    # 1 - tanh² magnifies the last bit of tanh where it is nearly 1 (WindmiReduced: 1.6e-12)
    assert (np.abs(compiled - expected) <= 5e-12 * scale).all()


@EVERY_SYSTEM
def test_latex_has_a_line_for_every_equation(name, edition):
    system = loaded(name, edition)
    text = system.latex()
    assert text.startswith("\\begin{aligned}") and text.endswith("\\end{aligned}")
    assert text.count("&=") == system.dimension + len(system.lets)
    assert text.count("\\dot{") == system.dimension
    assert "nan" not in text and "None" not in text


# ---- trajectories and measured facts -------------------------------------------------------------


@EVERY_SYSTEM
def test_a_trajectory_is_finite_and_moves(name, edition):
    made = loaded(name, edition).trajectory(200, cache=False)
    assert made.states.shape == (1, 200, len(made.coordinates))
    assert np.isfinite(made.states).all()
    assert np.ptp(made.states, axis=1).max() > 1e-6


@EVERY_SYSTEM
def test_the_observed_coordinates_stay_bounded(name, edition):
    """The second half of a long run is no wider than three times the first."""
    system = loaded(name, edition)
    states, times = sample(name, edition)
    observed = system.observed(states, times)
    halves = np.ptp(observed[:, :500], axis=(0, 1)), np.ptp(observed[:, 500:], axis=(0, 1))
    assert (halves[1] <= 3 * halves[0] + 1e-9).all()


@EVERY_SYSTEM
def test_trajectories_stay_on_the_attractor_of_the_initial_state(name, edition):
    """The random change of the initial state leads to no other attractor: coordinates vary as much
    as on the unperturbed orbit."""
    system = loaded(name, edition)
    if "chaotic" not in system.tags or {"conservative", "transient"} & set(system.tags):
        pytest.skip("no strange attractor")
    states, times = sample(name, edition)
    started = _default_transient(system) * system.period + times
    own = system.observed(simulate(system, started, rtol=1e-9, atol=1e-9).states[0], times)
    observed = system.observed(states, times)
    moving = own.std(axis=0) > 1e-6 * np.abs(own).max(axis=0)
    ratio = (observed.std(axis=1).mean(axis=0) / own.std(axis=0))[moving]
    assert (ratio < 1.6).all() and (ratio > 1 / 1.6).all()


def test_every_entry_is_calibrated():
    assert [name for name in systems.names() if "calibration" not in ENTRIES[name]] == []


@CALIBRATED
def test_the_spectrum_is_complete_and_descending(name, edition):
    system = loaded(name, edition)
    spectrum, errors = system.lyapunov_spectrum, system.lyapunov_spectrum_error
    assert len(spectrum) == len(errors) >= 1
    assert list(spectrum) == sorted(spectrum, reverse=True)
    assert all(math.isfinite(error) and error >= 0 for error in errors)
    if not system.delays and not system.discontinuous:
        assert len(spectrum) == system.dimension
