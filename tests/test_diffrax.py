"""The diffrax backend against the built-in integrator, and JAX against numpy.

A solve takes seconds to compile: by default one system is followed; `make test-diffrax` follows
every smooth one.
"""

import math
from functools import cache
from typing import Any

import numpy as np
import pytest

import systems
from systems import IntegrationError, System, integrate_diffrax, simulate
from systems.integrate_diffrax import integrate, solve

jax = pytest.importorskip("jax")
pytest.importorskip("diffrax")

SMOOTH = [
    name
    for name in systems.names()
    if not systems.load(name).delays and not systems.load(name).discontinuous
]
TIMES = np.linspace(0.0, 2.0, 9)


@cache
def lorenz() -> System:
    return systems.load("Lorenz")


def some_initial(system: System, count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    start = np.array(system.initial)
    return start + 0.05 * np.abs(start) * rng.standard_normal((count, len(start)))


# ---- equations -----------------------------------------------------------------------------------


def random_arguments(system: System, points: int = 20) -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    start = np.array(system.initial)
    moves = 0.3 * (np.abs(start) + 0.1)
    states = start + moves * rng.standard_normal((points, len(start)))
    if not system.delays:
        return states, 1.5
    return states, 1.5, np.stack([rng.permutation(states[:, d.state]) for d in system.delays], -1)


@pytest.mark.parametrize("name", systems.names())
def test_right_hand_side_and_jacobian_in_jax_equal_numpy(name):
    assert_jax_equals_numpy(systems.load(name))


@pytest.mark.diffrax
@pytest.mark.parametrize("name", [n for n in systems.names() if systems.load(n).erratum])
def test_so_do_those_of_dysts(name):
    assert_jax_equals_numpy(systems.load(name, "dysts"))


def assert_jax_equals_numpy(system: System) -> None:
    arguments = random_arguments(system)
    with np.errstate(all="ignore"), jax.enable_x64(True):
        field, in_jax = (np.asarray(system.rhs(b)(*arguments)) for b in ("numpy", "jax"))
        partial, partial_in_jax = (
            np.asarray(system.jacobian(b)(*arguments)) for b in ("numpy", "jax")
        )
    assert in_jax.dtype == partial_in_jax.dtype == np.float64
    finite = np.isfinite(field).all(axis=-1) & np.isfinite(partial).all(axis=(-2, -1))
    assert finite.sum() >= 4  # a root or a logarithm of a negative number is nan on both sides
    assert (np.isfinite(in_jax) == np.isfinite(field)).all()
    # relative to the terms that make up a component, so that their cancellation does not count
    reach = np.abs(arguments[0]) + 0.1
    terms = np.abs(field) + np.einsum("pij,pj->pi", np.abs(partial), reach)
    assert (np.abs(in_jax - field) <= 1e-12 * terms)[finite].all()
    entries = terms[:, :, None] / reach[:, None, :]
    assert (np.abs(partial_in_jax - partial) <= 1e-12 * entries)[finite].all()


# ---- agreement -----------------------------------------------------------------------------------


@pytest.mark.diffrax
@pytest.mark.parametrize("name", SMOOTH)
def test_trajectories_of_every_smooth_system_agree(name):
    assert_agreement(systems.load(name))


def assert_agreement(system: System) -> None:
    """Over three Lyapunov times, at most ten periods: what differs is 1e-9 of the size, growing as
    perturbations do. (1e-9: sharp turns multiply an error by hundreds within a step.)"""
    horizon = min(10 * system.period, 3 * system.lyapunov_time or math.inf)
    if math.isnan(horizon):
        horizon = 10 * system.period
    times = np.linspace(0.0, horizon, 30)
    initial = np.array([system.initial])
    states = simulate(system, times, initial=initial, backend="diffrax").states
    expected = simulate(system, times, initial=initial).states
    assert states.dtype == np.float64 and states.shape == expected.shape
    size = np.abs(expected).max(axis=(0, 1)).max()
    grown = np.exp(np.maximum(times / system.lyapunov_time, 0.0)) if _chaotic(system) else 1.0
    difference = np.abs(states - expected).max(axis=(0, 2)) / size
    assert (difference <= 1e-9 * grown).all(), (difference / grown).max()


def _chaotic(system: System) -> bool:
    return math.isfinite(system.lyapunov_time)


def test_an_ensemble_over_states_and_parameters_equals_its_members():
    initial = some_initial(lorenz(), 3)
    rho = np.array([20.0, 28.0, 35.0])
    ensemble = integrate(lorenz(), TIMES, initial, parameters={"rho": rho})
    for states, start, value in zip(ensemble, initial, rho, strict=True):
        other = lorenz().with_parameters(rho=value)
        # 1e-11 of the size, after 2 time units at most e^2 of what rounding does
        expected = simulate(other, TIMES, initial=start[None]).states[0]
        assert np.allclose(states, expected, rtol=0, atol=1e-10 * np.abs(expected).max())
    plain = integrate(lorenz(), TIMES, initial)
    assert np.allclose(plain[1], ensemble[1], rtol=0, atol=1e-11)
    assert np.abs(plain[0] - ensemble[0]).max() > 1.0
    through_simulate = simulate(lorenz(), TIMES, initial=initial, backend="diffrax")
    assert (through_simulate.states == plain).all()
    assert through_simulate.provenance["method"] == integrate_diffrax.METHOD


@pytest.mark.diffrax
def test_one_trajectory_is_that_of_the_ensemble():
    initial = some_initial(lorenz(), 3)
    singles = np.concatenate([integrate(lorenz(), TIMES, start[None]) for start in initial])
    assert np.allclose(integrate(lorenz(), TIMES, initial), singles, rtol=0, atol=1e-10)


def test_other_parameters_are_not_compiled_again():
    integrate(lorenz(), TIMES, some_initial(lorenz(), 3))
    compiled = integrate_diffrax._ensemble(integrate_diffrax._Equations.of(lorenz()), 10_000_000)
    before = compiled._cache_size()
    other = lorenz().with_parameters(rho=20.0, sigma=9.0)
    integrate(other, TIMES, some_initial(lorenz(), 3, seed=1), rtol=1e-9)
    assert compiled._cache_size() == before >= 1


def test_double_precision_is_on_for_the_call_only():
    integrate(lorenz(), TIMES, some_initial(lorenz(), 3))
    assert jax.numpy.zeros(()).dtype == np.float32


# ---- derivatives ---------------------------------------------------------------------------------


def test_the_gradient_by_a_parameter_equals_a_finite_difference():
    initial, times = np.array(lorenz().initial), np.array([0.0, 0.25, 0.5])
    with jax.enable_x64(True):
        flow = solve(lorenz(), max_steps=256)
        end = jax.jit(jax.value_and_grad(lambda rho: flow(initial, times, {"rho": rho})[-1, 0]))
        value, gradient = end(28.0)
        low, high = (float(end(28.0 + h)[0]) for h in (-1e-4, 1e-4))
    expected = simulate(lorenz(), times, initial=initial[None]).states[0, -1, 0]
    assert float(value) == pytest.approx(expected, rel=1e-11)
    assert float(gradient) == pytest.approx((high - low) / 2e-4, rel=1e-7)


def test_a_solution_in_single_precision_is_refused():
    with pytest.raises(ValueError, match=r"Lorenz: .*double precision.*jax_enable_x64"):
        solve(lorenz())(np.ones(3), TIMES)


# ---- failures ------------------------------------------------------------------------------------


def test_trajectories_that_diverge_are_named(make_system):
    system = make_system({"x": "x**2"}, [1.0])  # 1/(1/x(0) - t): infinite at t = 1
    with pytest.raises(IntegrationError, match=r"Made: 1 of 3 .*number 1.*diverges.*0.75 of 2"):
        integrate(system, TIMES, np.array([[0.1], [1.0], [-1.0]]))
    exact = 1 / (1 / 0.1 - TIMES)
    kept = integrate(system, TIMES, np.array([[0.1], [0.1], [-1.0]]))[0, :, 0]
    assert kept == pytest.approx(exact, rel=1e-13)


@pytest.mark.diffrax
def test_the_limit_of_steps_is_kept():
    with pytest.raises(IntegrationError, match="limit of 20 steps"):
        integrate(lorenz(), TIMES, some_initial(lorenz(), 3), max_steps=20)


def test_delays_and_jumps_are_refused(make_system):
    jumping = make_system({"x": "-sign(x)"}, [1.0])
    for system, reason in ((systems.load("MackeyGlass"), "delays"), (jumping, "jumps")):
        with pytest.raises(ValueError, match=f"{reason}.*backend=.compiled"):
            simulate(system, TIMES, backend="diffrax")
        assert not integrate_diffrax.is_faster(system, 10**6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"initial": np.ones((2, 4))}, r"\(trajectories, 3\); an array of shape \(2, 4\)"),
        ({"initial": np.full((2, 3), np.nan)}, "finite"),
        ({"times": TIMES[::-1]}, "increasing"),
        ({"times": TIMES - 1}, "not before 0"),
        ({"rtol": 0.0}, "rtol and atol are positive"),
        ({"max_steps": 0}, "max_steps is at least 1"),
        ({"parameters": {"rh": np.ones(2)}}, "`rh` is not a parameter. There are"),
        ({"parameters": {"rho": np.ones(3)}}, r"`rho` is one finite number for each of 2"),
        ({"parameters": {"rho": np.array([1, np.inf])}}, "`rho` is one finite number"),
    ],
)
def test_arguments_out_of_range_are_refused(change, message):
    arguments = {"times": TIMES, "initial": np.ones((2, 3))} | change
    with pytest.raises(ValueError, match=message):
        integrate(lorenz(), **arguments)


def test_simulate_refuses_what_diffrax_does_not_know():
    with pytest.raises(ValueError, match="backends are compiled, diffrax and auto; 'cuda' arrived"):
        simulate(lorenz(), TIMES, backend="cuda")
    for options in ({"precision": "double-double"}, {"max_seconds": 1.0}):
        with pytest.raises(ValueError, match="diffrax computes in double precision"):
            simulate(lorenz(), TIMES, backend="diffrax", **options)


# ---- the choice ----------------------------------------------------------------------------------


def test_auto_follows_what_was_measured(monkeypatch):
    initial = some_initial(lorenz(), 3)
    assert (
        simulate(lorenz(), TIMES, initial=initial, backend="auto").provenance["method"]
        == (simulate(lorenz(), TIMES, initial=initial).provenance["method"])
    )
    device = jax.default_backend()
    monkeypatch.setattr(integrate_diffrax, "FASTER_FROM", {device: 3, "another": 1})
    chosen = simulate(lorenz(), TIMES, initial=initial, backend="auto")
    assert chosen.provenance["method"] == integrate_diffrax.METHOD
    assert not integrate_diffrax.is_faster(lorenz(), 2)
    assert not integrate_diffrax.is_faster(systems.load("MackeyGlass"), 3)
    exact = simulate(lorenz(), TIMES, initial=initial, backend="auto", precision="double-double")
    assert exact.provenance["precision"] == "double-double"
