"""The hybrid reservoir against its formula, and against the known model and the ESN alone."""

import sys

import numpy as np
import pytest

from models.checks import check_forecaster, torus
from models.hybrid_reservoir import Corrected, HybridESN
from models.reservoir import ESN

HERE = "hybrid_reservoir_oracle"
DT = 0.025
LYAPUNOV_TIME = 1 / 0.9056


def lorenz_map(rho: float, states: np.ndarray, dt: float) -> np.ndarray:
    """Runge-Kutta of order 4, two steps a sample: the truth is this map, not the flow."""

    def rhs(s: np.ndarray) -> np.ndarray:
        x, y, z = s
        return np.array([10 * (y - x), x * (rho - z) - y, x * y - 8 / 3 * z])

    h, s = dt / 2, states.T
    for _ in range(2):
        one = rhs(s)
        two = rhs(s + h / 2 * one)
        three = rhs(s + h / 2 * two)
        s = s + h / 6 * (one + 2 * two + 2 * three + rhs(s + h * three))
    return s.T


def wrong_lorenz(states: np.ndarray, dt: float) -> np.ndarray:
    return lorenz_map(28 * 1.05, states, dt)


def doubled(states: np.ndarray, dt: float) -> np.ndarray:
    return np.concatenate([states, states])


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    # under --import-mode=importlib a test has no name that can be imported
    monkeypatch.setitem(sys.modules, HERE, sys.modules[__name__])


@pytest.fixture(scope="module")
def orbit() -> np.ndarray:
    """(21, 2000, 3): Lorenz63 on its attractor."""
    state = np.array([1.0, 1.0, 20.0]) + np.random.default_rng(0).standard_normal((21, 3))
    states = []
    for _ in range(2400):
        state = lorenz_map(28, state, DT)
        states.append(state)
    return np.stack(states[400:], axis=1)


def lyapunov_times(forecast: np.ndarray, truth: np.ndarray) -> float:
    """Median over windows until the normalised error first exceeds 0.4."""
    wrong = ~(np.sqrt(((forecast - truth) ** 2).mean(axis=2)) <= 0.4)
    steps = np.where(wrong.any(axis=1), wrong.argmax(axis=1), wrong.shape[1])
    return float(np.median(steps)) * DT / LYAPUNOV_TIME


def test_hybrid_outlasts_the_wrong_model_and_the_reservoir_alone(orbit: np.ndarray) -> None:
    train = orbit[:1, :300]  # few: of 6000 points an ESN learns all there is
    mean, std = train.mean(axis=(0, 1)), train.std(axis=(0, 1))
    train, validation, tests = ((x - mean) / std for x in (train, orbit[:1, 300:], orbit[1:]))
    context, truth = tests[:, :150], tests[:, 150:1000]
    size = {"units": 30, "dynamics": ((0.1, 1.0, 0.1, 0.5),), "ridges": (1e-9, 1e-6, 1e-3)}
    esn = ESN(**size).fit(train, dt=DT, validation=validation)
    hybrid = HybridESN(
        knowledge=f"{HERE}:wrong_lorenz", mean=tuple(mean), std=tuple(std), **size
    ).fit(train, dt=DT, validation=validation)
    state, alone = context[:, -1] * std + mean, []
    for _ in range(truth.shape[1]):
        state = wrong_lorenz(state, DT)
        alone.append((state - mean) / std)
    scores = {
        "model": lyapunov_times(np.stack(alone, axis=1), truth),
        "esn": lyapunov_times(esn.predict(context, truth.shape[1]), truth),
        "hybrid": lyapunov_times(hybrid.predict(context, truth.shape[1]), truth),
    }
    assert scores["hybrid"] > 1.3 * max(scores["model"], scores["esn"])


def test_free_run_equals_its_formula(orbit: np.ndarray) -> None:
    train = orbit[:2, :400] / 20
    settings = {"knowledge": f"{HERE}:wrong_lorenz", "mean": (0.0,) * 3, "std": (20.0,) * 3}
    model = HybridESN(units=20, dynamics=((0.4, 0.7, 0.1, 1.0),), ridges=(1e-6,), **settings)
    model.fit(train, dt=DT, validation=train)
    network, readout = model.corrected_.network, model.corrected_.readout
    matrix = np.zeros((20, 20))
    np.put_along_axis(matrix, network.sources, network.links, axis=1)
    context = orbit[5:7, :50] / 20
    forecast = model.predict(context, 10)
    for window in range(2):
        h = np.zeros(20)
        for t in range(59):
            x = context[window, t] if t < 50 else x
            moved = wrong_lorenz(20 * x[None], DT)[0] / 20
            pull = matrix @ h + network.input_weights @ [*x, *moved] + network.bias
            h = 0.3 * h + 0.7 * np.tanh(pull)
            if t >= 49:
                x = moved + np.array([*np.where(network.squared, h**2, h), *x, *moved, 1]) @ readout
                np.testing.assert_allclose(forecast[window, t - 49], x, rtol=1e-10)


def test_an_overwhelming_ridge_leaves_the_known_model(orbit: np.ndarray) -> None:
    x = orbit[:2, :400] / 20
    model = HybridESN(
        knowledge=f"{HERE}:wrong_lorenz",
        std=(20.0,) * 3,
        units=20,
        dynamics=((0.4, 0.7, 0.1, 1.0),),
        ridges=(1e14,),
    )
    forecast = model.fit(x, dt=DT, validation=x).predict(x, 1)
    expected = wrong_lorenz(20 * x[:, -1], DT) / 20
    np.testing.assert_allclose(forecast[:, 0], expected, atol=1e-8)


def test_a_run_that_diverges_is_nan_and_leaves_the_others_alone(orbit: np.ndarray) -> None:
    x = orbit[:2, :400] / 20
    model = HybridESN(units=20, dynamics=((0.4, 0.7, 0.1, 1.0),), ridges=(1e-6,))
    model.fit(x, dt=DT, validation=x)
    fitted = model.corrected_
    unstable = Corrected(fitted.known, fitted.network, fitted.readout.copy())
    unstable.readout[20:23] = 3 * np.eye(3)  # x grows fourfold a step where it is not zero
    unstable.readout[:20] = 0
    unstable.readout[23:] = 0
    context = np.stack([x[0, :50], np.zeros((50, 3))])
    forecast = unstable.run(context, 12)
    assert np.isnan(forecast[0, -1]).all()
    np.testing.assert_array_equal(forecast[1], 0.0)


def test_knowledge_that_cannot_be_used_is_refused() -> None:
    x = torus(3, trajectories=1, times=300, seed=0)
    for wrong, message in (
        ({"knowledge": "nothing"}, "package.module:function"),
        ({"knowledge": f"{HERE}:DT"}, "no function"),
        ({"knowledge": f"{HERE}:doubled"}, "one shape"),
        ({"mean": (0.0,)}, "one a coordinate"),
    ):
        with pytest.raises(ValueError, match=message):
            HybridESN(**wrong).fit(x, dt=0.1)


def test_without_knowledge_it_keeps_the_contract_too() -> None:
    check_forecaster(HybridESN)
