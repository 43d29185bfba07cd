"""Noise in the equations: exact moments of a linear system, and the order of convergence."""

import math

import numpy as np
import pytest

import systems
from systems.llvm import compile_field
from systems.process_noise import Diffusion, follow, noise_facts

A, B = 1.5, 0.7  # dx = -A (x - 2) dt + B dW


@pytest.fixture(scope="module")
def relaxing(tmp_path_factory):
    """The Ornstein–Uhlenbeck process without its noise, from a user's JSON."""
    path = tmp_path_factory.mktemp("mine") / "mine.json"
    path.write_text(
        '{"systems": {"Relaxing": {"states": ["x"], "equations": {"x": "-a*(x - 2)"},'
        ' "parameters": {"a": 1.5}, "initial": [2.0], "period": 1.0, "description": "decay",'
        ' "reference": "Uhlenbeck and Ornstein 1930", "tags": []}}}'
    )
    return systems.load_file(path)["Relaxing"]


def diffusion(system, initial=2.0, *, dt=0.1, steps=8, seed=0, b=B):
    rng = np.random.default_rng(seed)
    return Diffusion(system, np.array([initial]), np.array([b]), dt=dt, steps=steps, rng=rng)


def test_mean_and_variance_of_an_ornstein_uhlenbeck_process_relax_as_they_should(relaxing):
    """E x(t) = 2 + 3 e^{-At}, var x(t) = B²/2A (1 - e^{-2At}), for x(0) = 5; 4 standard errors."""
    count = 2000
    paths = np.array([diffusion(relaxing, 5.0, seed=s).advance(10)[:, 0] for s in range(count)])
    t = 0.1 * np.arange(1, 11)
    mean, variance = 2 + 3 * np.exp(-A * t), B**2 / (2 * A) * (1 - np.exp(-2 * A * t))
    assert (np.abs(paths.mean(axis=0) - mean) < 4 * np.sqrt(variance / count)).all()
    relative = paths.var(axis=0, ddof=1) / variance - 1
    assert (np.abs(relative) < 4 * math.sqrt(2 / count)).all()


def test_the_autocovariance_decays_as_it_should(relaxing):
    """C(τ) = B²/2A e^{-A τ}; the error of a mean over time T is about C(0) √(2/(A T))."""
    path = diffusion(relaxing, steps=4).advance(200_000)[1000:, 0] - 2
    size = B**2 / (2 * A)
    error = size * math.sqrt(2 / (A * 0.1 * len(path)))
    for lag in (0, 1, 3, 10, 20):
        found = np.mean(path[: len(path) - lag] * path[lag:])
        assert abs(found - size * math.exp(-A * 0.1 * lag)) < 4 * error, lag


def wiener(rng, steps, dim, h):
    """Increments of W and of its area over each step."""
    drawn = rng.standard_normal((steps, 2, dim))
    return np.stack(
        [
            math.sqrt(h) * drawn[:, 0],
            h**1.5 / 2 * (drawn[:, 0] + drawn[:, 1] / math.sqrt(3)),
        ],
        axis=1,
    )


def of_double_steps(increments, h):
    """The same path in steps of 2h: ΔW adds up; the area gains the rectangle h ΔW₁."""
    first, second = increments[::2], increments[1::2]
    area = first[:, 1] + second[:, 1] + h * first[:, 0]
    return np.stack([first[:, 0] + second[:, 0], area], axis=1)


def test_it_converges_strongly_with_order_one_and_a_half():
    """The root mean square distance, path by path, to the solution in steps 32 times shorter."""
    lorenz = systems.load("Lorenz")
    compiled, b = compile_field(lorenz), np.full(3, 30.0)
    length, finest, paths = 0.2, 2**12, 300
    squares = {64: 0.0, 128: 0.0, 256: 0.0}
    rng = np.random.default_rng(3)
    for _ in range(paths):
        ends, h = {}, length / finest
        increments = wiener(rng, finest, 3, h)
        while len(increments) >= 64:
            state = np.array([1.0, 2.0, 20.0])
            follow(compiled, state, b, 0.0, h, increments, np.empty((1, 3)))
            ends[len(increments)] = state
            increments, h = of_double_steps(increments, h), 2 * h
        for steps in squares:
            squares[steps] += ((ends[steps] - ends[finest]) ** 2).sum()
    errors = np.sqrt(np.array(list(squares.values())) / paths)
    slopes = np.log2(errors[:-1] / errors[1:])
    # a little more than 1.5 while the error's part of order 2 has not died away
    assert (slopes > 1.4).all() and (slopes < 2.1).all(), (errors, slopes)


def test_without_noise_it_is_of_third_order():
    lorenz = systems.load("Lorenz")
    compiled, still = compile_field(lorenz), np.zeros(3)
    exact = systems.simulate(lorenz, np.array([0.5])).states[0, 0]
    errors = []
    for steps in (200, 400, 800):
        state = np.array(lorenz.initial)
        nothing = np.zeros((steps, 2, 3))
        follow(compiled, state, still, 0.0, 0.5 / steps, nothing, np.empty((1, 3)))
        errors.append(np.abs(state - exact).max())
    assert np.allclose(np.log2(np.array(errors[:-1]) / errors[1:]), 3, atol=0.2), errors


def test_equations_that_read_the_time_get_it(make_system):
    """dx = cos(t) dt from time 0.3: the noise adds to sin(t) - sin(0.3)."""
    driven = make_system({"x": "cos(t)"}, [0.0])
    for b in (0.0, 0.5):
        run, noise = (
            Diffusion(
                system,
                np.array([0.0]),
                np.array([b]),
                dt=0.25,
                steps=64,
                rng=np.random.default_rng(1),
                start=0.3,
            ).advance(20)[:, 0]
            for system in (driven, make_system({"x": "0*x"}, [0.0]))
        )
        expected = np.sin(0.3 + 0.25 * np.arange(1, 21)) - math.sin(0.3)
        assert np.abs(run - noise - expected).max() < 1e-8


def test_pieces_are_the_whole(relaxing):
    whole = diffusion(relaxing).advance(50)
    run = diffusion(relaxing)
    pieces = np.concatenate([run.advance(points) for points in (1, 30, 19)])
    assert (pieces == whole).all()
    assert (diffusion(relaxing, seed=1).advance(50) != whole).all()


# ---- as an option of a trajectory ----------------------------------------------------------------


def test_the_intensity_is_a_fraction_of_the_deviation():
    lorenz = systems.load("Lorenz")
    facts = noise_facts(lorenz, 0.1, 0.01)
    deviation = lorenz.trajectory(20_000, observe="states", cache=False).states.std(axis=(0, 1))
    expected = 0.1 * deviation / math.sqrt(lorenz.period)
    assert np.allclose(facts["intensity"], expected, rtol=0.1)
    assert np.allclose(
        noise_facts(lorenz, 0.2, 0.01)["intensity"], 2 * np.array(facts["intensity"])
    )


def test_a_noisy_trajectory_spreads_by_its_noise_and_repeats():
    """From one sample to the next, what the flow does not explain has the variance b² dt."""
    lorenz = systems.load("Lorenz")
    options = {"dt": 0.002, "process_noise": 0.3, "observe": "states", "cache": False}
    made = lorenz.trajectory(1500, seed=4, **options)
    flow = systems.simulate(
        lorenz, np.array([0.002]), initial=made.states[0, :-1], rtol=1e-9
    ).states[:, 0]
    scatter = (made.states[0, 1:] - flow).std(axis=0)
    expected = np.array(made.provenance["intensity"]) * math.sqrt(0.002)
    assert np.allclose(scatter, expected, rtol=4 / math.sqrt(2 * 1500) + 0.02)
    assert made.hash == lorenz.trajectory(1500, seed=4, **options).hash
    two = lorenz.trajectory(1500, seed=4, trajectories=2, **options)
    assert (two.states[0] == made.states[0]).all() and (two.states[1] != made.states[0]).all()


def test_clocks_and_angles_get_no_noise():
    duffing = systems.load("Duffing")
    facts = noise_facts(duffing, 0.1, 0.01)
    assert facts["intensity"][0] > 0 and facts["intensity"][1] > 0 and facts["intensity"][2] == 0
    with pytest.raises(ValueError, match="no state is both observed as it is and moving"):
        systems.load("ArnoldBeltramiChildress").trajectory(10, process_noise=0.1)


def test_what_cannot_be_done_is_said():
    with pytest.raises(ValueError, match="no process noise for delay equations"):
        systems.load("MackeyGlass").trajectory(10, process_noise=0.1)
    with pytest.raises(ValueError, match="process_noise is a number ≥ 0"):
        systems.load("Lorenz").trajectory(10, process_noise=-0.1)


def test_a_noisy_system_that_escapes_is_an_error(make_system):
    well = make_system({"x": "v", "v": "-x + x**3 - 0.01*v + 0.05*sin(t)"}, [0.05, 0.0])
    with pytest.raises(systems.IntegrationError, match="with noise, 20 initial states"):
        well.trajectory(2000, process_noise=30.0, dt=0.1, cache=False)
