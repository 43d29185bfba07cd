"""LSTM and GRU against their equations in numpy, and on an orbit that they can learn."""

import dataclasses
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models.base import FitError, Training  # noqa: E402
from models.checks import torus  # noqa: E402
from models.recurrent import GRU, LSTM, Recurrent  # noqa: E402

both = pytest.mark.parametrize("cls", [LSTM, GRU])


def circle(seed: int) -> np.ndarray:
    angle = np.random.default_rng(seed).uniform(0, 6.3, (8, 1)) + 0.2 * np.arange(100)
    return np.stack([np.sin(angle), np.cos(angle) + 0.3 * np.sin(2 * angle)], axis=2)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def by_hand(model: Recurrent, context: np.ndarray, horizon: int) -> np.ndarray:
    """One window, from the equations of the cells as they are in torch's documentation."""
    p = {name: value.numpy() for name, value in model.trained_.network.state_dict().items()}
    h = c = np.zeros(model.units)
    x, states = None, []
    for t in range(model.memory + horizon - 1):
        x = context[len(context) - model.memory + t] if t < model.memory else x
        given = p["cell.weight_ih_l0"] @ x + p["cell.bias_ih_l0"]
        heard = p["cell.weight_hh_l0"] @ h + p["cell.bias_hh_l0"]
        if isinstance(model, LSTM):
            i, f, g, o = np.split(given + heard, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            (r, z, n), (r2, z2, n2) = np.split(given, 3), np.split(heard, 3)
            new = np.tanh(n + sigmoid(r + r2) * n2)
            h = (1 - sigmoid(z + z2)) * new + sigmoid(z + z2) * h
        if t >= model.memory - 1:
            step = p["readout.weight"] @ np.concatenate([h, x]) + p["readout.bias"]
            x = x + p["scale"] * step
            states.append(x)
    return np.array(states)


def fitted(cls: type[Recurrent], **changes: Any) -> Recurrent:
    model = dataclasses.replace(cls.small(), **changes)
    train, validation = (torus(2, trajectories=2, times=400, seed=seed) for seed in (1, 2))
    return model.fit(train, dt=0.1, validation=validation, seed=3)


@both
def test_a_forecast_follows_the_equations(cls: type[Recurrent]) -> None:
    model = fitted(cls)
    context = torus(2, trajectories=3, times=30, seed=5)
    expected = [by_hand(model, window, 25) for window in context]
    np.testing.assert_allclose(model.predict(context, 25), expected, rtol=1e-9, atol=1e-9)


@both
def test_an_orbit_is_learned(cls: type[Recurrent]) -> None:
    model = cls(
        units=24,
        memory=8,
        horizon=10,
        updates=(600, 150),
        batch=32,
        rates=(1e-2, 3e-3),
        checks=5,
    )
    model.fit(circle(1), dt=0.1, validation=circle(2), seed=3)
    truth = circle(3)
    error = model.predict(truth[:, :10], 32) - truth[:, 10:42]  # a turn
    assert np.sqrt((error**2).mean()) < 0.1


def test_a_search_keeps_the_network_that_runs_best_by_itself() -> None:
    train, validation = circle(0), circle(1)
    lists = {"memory": (2, 4), "updates": ((1, 1), (60, 6))}
    searching = dataclasses.replace(LSTM.small(), search=lists)
    found = searching.fit(train, dt=1.0, validation=validation, seed=3)
    alone = found.settled().fit(train, dt=1.0, validation=validation, seed=3)
    contexts = circle(2)[:, :20]
    np.testing.assert_array_equal(found.predict(contexts, 30), alone.predict(contexts, 30))
    values = {name: getattr(alone, name) for name in lists}
    assert found.chosen_ == values | {"checkpoint": alone.chosen_}
    assert alone.updates == (60, 6) and not alone.search
    assert found.parameters_ == alone.parameters_
    each = [
        dataclasses.replace(LSTM.small(), memory=memory, updates=updates)
        .fit(train, dt=1.0, validation=validation, seed=3)
        .trials_
        for memory in lists["memory"]
        for updates in lists["updates"]
    ]
    assert found.trials_ == sum(each) + len(each)


@pytest.mark.parametrize("lists", [{"unit": (4, 8)}, {"units": ()}, {"search": ({},)}])
def test_a_search_for_what_there_is_not_says_so(lists: dict[str, Any]) -> None:
    model = dataclasses.replace(LSTM.small(), search=lists)
    with pytest.raises(ValueError, match="search lists values of hyperparameters"):
        model.fit(circle(0), dt=1.0)


def test_a_context_shorter_than_the_memory_is_enough() -> None:
    model = fitted(GRU)
    context = torus(2, trajectories=2, times=2, seed=5)
    assert model.context_used_ == model.memory > 2
    assert np.isfinite(model.predict(context, 10)).all()


def test_a_coordinate_that_never_moves_stays() -> None:
    train = torus(2, trajectories=2, times=200, seed=1)
    train[:, :, 1] = 0.5
    model = GRU.small().fit(train, dt=0.1, validation=train)
    assert np.abs(model.predict(train[:, :20], 20)[:, :, 1] - 0.5).max() < 0.5


def test_training_that_diverges_says_so() -> None:
    with pytest.raises(FitError, match="diverged"):
        fitted(LSTM, rates=(1e30, 1e30))


def test_the_zoo_knows_them_without_loading_torch() -> None:
    code = (
        "import models, sys; print(models.create('lstm').units, models.create('gru').units, "
        "'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["64", "64", "False"]


def test_without_torch_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "models._torch_training", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"dysts-bench\[torch\]"):
        fitted(LSTM)


@both
def test_many_fits_in_one_program_equal_fits_one_by_one(cls: type[Recurrent]) -> None:

    def data(dim: int, seed: int) -> np.ndarray:
        return torus(dim, trajectories=2, times=400, seed=seed)

    model = cls.small()
    trainings = [
        Training(data(dim, seed), 0.1, data(dim, seed + 9), seed)
        for dim, seed in ((2, 1), (3, 2), (2, 3), (2, 4))
    ]
    short = Training(trainings[0].train[:, : 2 * model.memory - 1], 0.1, trainings[0].validation)
    *fitted, failed = model.fit_many([*trainings, short])
    assert isinstance(failed, FitError) and model.dim_ == 0
    for one, training in zip(fitted, trainings, strict=True):
        assert isinstance(one, cls) and one.dim_ == training.train.shape[2]
        alone = dataclasses.replace(model).fit(
            training.train, dt=0.1, validation=training.validation, seed=training.seed
        )
        assert one.chosen_ == alone.chosen_
        context = training.train[:, :30]
        # thirty updates in float32
        np.testing.assert_allclose(one.predict(context, 5), alone.predict(context, 5), atol=1e-4)


@both
def test_tangents_are_the_derivatives_that_torch_finds(cls: type[Recurrent]) -> None:
    from models._recurrent_networks import RecurrentNetwork, advanced

    rng = np.random.default_rng(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = RecurrentNetwork(cls()._cell(), 16, 4, np.array([0.1, 0.2, 0.3])).double()
        torch.nn.init.normal_(network.readout.weight)
    network.requires_grad_(False)
    remembered = 2 * 16 if cls is LSTM else 16
    states = rng.normal(size=(4, remembered + 3))
    tangents = rng.normal(size=(4, remembered + 3, 2))

    def step(packed: Any) -> Any:
        hidden, state = packed[:-3][None].split(16, -1), packed[None, -3:]
        state, after = network.following(state, hidden)
        return torch.cat([*after, state], -1)[0]

    following, moved = advanced(network, states, tangents)
    for i, packed in enumerate(torch.as_tensor(states)):
        np.testing.assert_allclose(following[i], step(packed), atol=1e-15)
        jacobian = torch.func.jacfwd(step)(packed).numpy()
        np.testing.assert_allclose(moved[i], jacobian @ tangents[i], atol=1e-13)
