"""PhyxMamba: who sees what, its losses against loops in numpy, and an orbit that it can learn."""

import dataclasses
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models._embedding import embedding  # noqa: E402
from models._phyxmamba_networks import PhyxMambaNetwork, discrepancy  # noqa: E402
from models._torch_training import Problem  # noqa: E402
from models._tuning import free_runs  # noqa: E402
from models.base import FitError, Training  # noqa: E402
from models.checks import torus  # noqa: E402
from models.phyxmamba import PhyxMamba  # noqa: E402

DIM, PATCH, DELAY, DIMENSION, LOOKBACK = 2, 3, 4, 3, 15
SPAN = (DIMENSION - 1) * DELAY
TOKENS = LOOKBACK // PATCH


def network(**changed: Any) -> PhyxMambaNetwork:
    torch.manual_seed(1)
    sizes: dict[str, Any] = {
        "lookback": LOOKBACK,
        "patch": PATCH,
        "delay": DELAY,
        "dimension": DIMENSION,
        "span": SPAN,
        "width": 8,
        "states": 4,
        "headdim": 4,
        "layers": 3,
        "ahead": 2,
        "dropout": 0.0,
        "mmd": True,
        "scale": 0.5 + np.arange(PATCH * DIM).reshape(PATCH, DIM) / 7,
    }
    made = PhyxMambaNetwork(DIM, **sizes | changed).double()
    torch.nn.init.normal_(made.head.weight, std=0.3)
    return made.requires_grad_(False)


def series(times: int, batch: int = 2, seed: int = 3) -> Any:
    return torch.as_tensor(torus(DIM, trajectories=batch, times=times, seed=seed))


def fitted(**changed: Any) -> PhyxMamba:
    model = dataclasses.replace(PhyxMamba.small(), **changed)
    train, validation = (torus(2, trajectories=2, times=300, seed=seed) for seed in (1, 2))
    return model.fit(train, dt=0.1, validation=validation, seed=3)


def test_features_go_by_coordinate_then_delay_oldest_first_then_time() -> None:
    x = series(SPAN + LOOKBACK)
    features = network().delay_patches(x)
    assert features.shape == (2, TOKENS, DIM * DIMENSION * PATCH)
    expected = [
        [
            x[1, SPAN + token * PATCH + step - (DIMENSION - 1 - column) * DELAY, coordinate]
            for coordinate in range(DIM)
            for column in range(DIMENSION)
            for step in range(PATCH)
        ]
        for token in range(TOKENS)
    ]
    np.testing.assert_array_equal(features[1], np.array(expected))


def test_no_token_hears_of_patches_after_its_own() -> None:
    model, x = network(), series(SPAN + LOOKBACK)
    heard = model.backbone(model.tokens(x))
    for token in range(1, TOKENS):
        other = x.clone()
        other[:, SPAN + token * PATCH :] += 1.0
        moved = (model.backbone(model.tokens(other)) - heard).abs().amax((0, 2))
        assert moved[:token].max() == 0.0 and moved[token] > 1e-6


def test_a_layer_hears_what_the_layers_before_it_left_over() -> None:
    model = network()
    left = tokens = model.tokens(series(SPAN + LOOKBACK))
    total = torch.zeros_like(tokens)
    for layer in model.layers:
        part = layer(left)
        left = left - (part @ model.remainder.weight.T + model.remainder.bias)
        total = total + part
    torch.testing.assert_close(model.backbone(tokens), total)


def test_every_head_is_held_against_the_patch_that_it_reads() -> None:
    """A backbone, and modules after it, that say only which patches they have heard."""
    seen: list[tuple[int, Any]] = []

    class Told(PhyxMambaNetwork):
        def error(self, heard: Any, newest: Any, following: Any) -> Any:
            seen.append((len(seen), (newest, following)))
            return super().error(heard, newest, following)

    model = network()
    model.__class__ = Told
    x = series(SPAN + LOOKBACK + PATCH)
    loss = model.teacher_forced(x)
    assert len(seen) == 3
    for depth, (newest, following) in seen:
        for token in range(TOKENS - depth):
            start = SPAN + (token + depth + 1) * PATCH  # of the patch after token + depth
            torch.testing.assert_close(newest[:, token], x[:, start - 1], rtol=0, atol=0)
            right = x[:, start : start + PATCH]
            torch.testing.assert_close(following[:, token], right, rtol=0, atol=0)
    assert loss > 0


def test_a_module_of_multi_token_prediction_hears_its_token_and_no_later_one() -> None:
    model, x = network(), series(SPAN + LOOKBACK)
    module = model.later[0]

    def said(series: Any) -> Any:
        tokens = model.tokens(series)
        return module(model.backbone(tokens)[:, :-1], tokens[:, 1:])

    other = x.clone()
    other[:, SPAN + 3 * PATCH :] += 1.0  # token 3, which place 2 hears and place 1 does not
    moved = (said(other) - said(x)).abs().amax((0, 2))
    assert moved[:2].max() == 0.0 and moved[2] > 1e-6


def test_multi_token_prediction_adds_a_tenth_of_its_mean_error() -> None:
    model, x = network(), series(SPAN + LOOKBACK + PATCH)
    whole = model.teacher_forced(x)
    later, model.later = model.later, torch.nn.ModuleList()
    next_patch = model.teacher_forced(x)
    inputs = x[:, :-PATCH]
    tokens = model.tokens(inputs)
    heard, errors = model.backbone(tokens), []
    for k, module in enumerate(later, 1):
        heard = module(heard[:, :-1], tokens[:, k:])
        for token in range(TOKENS - k):
            start = SPAN + (token + k + 1) * PATCH
            said = model.head(heard[:, token]).unflatten(1, (PATCH, DIM)) * model.scale
            wrong = x[:, start - 1 : start] + said - x[:, start : start + PATCH]
            errors.append(((wrong / model.scale).square().mean().item(), k))
    means = [np.mean([error for error, depth in errors if depth == k]) for k in (1, 2)]
    assert float(whole - next_patch) == pytest.approx(0.1 * np.mean(means), rel=1e-9)


def test_a_forecast_slides_its_window_patch_by_patch() -> None:
    model, context = network(), series(40)
    states = context.clone()
    for _ in range(4):
        window = states[:, -SPAN - LOOKBACK :]
        said = model.head(model.backbone(model.tokens(window))[:, -1]).unflatten(1, (PATCH, DIM))
        states = torch.cat([states, states[:, -1:] + model.scale * said], 1)
    torch.testing.assert_close(model.run(context, 11), states[:, 40:51])


def test_states_themselves_are_forecast_without_a_scale() -> None:
    model, context = network(scale=None), series(40)
    said = model.head(model.backbone(model.tokens(context[:, -SPAN - LOOKBACK :]))[:, -1])
    torch.testing.assert_close(model.run(context, PATCH), said.unflatten(1, (PATCH, DIM)))


def test_the_oldest_state_stands_for_those_before_it() -> None:
    model, context = network(), series(5)
    longer = torch.cat([context[:, :1].expand(-1, 60, -1), context], 1)
    torch.testing.assert_close(model.run(context, 7), model.run(longer, 7), rtol=0, atol=0)


def naive_discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return sum(s**2 / (s**2 + ((a - b) ** 2).sum()) for s in (0.2, 0.5, 0.9, 1.3))

    def mean(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.mean([kernel(a, b) for a in one for b in other]))

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


def test_the_discrepancy_is_that_of_a_loop_over_pairs() -> None:
    x, y = np.random.default_rng(4).standard_normal((2, 3, 7, DIM))
    y = 0.5 * y + 1
    found = discrepancy(torch.as_tensor(x), torch.as_tensor(y))
    np.testing.assert_allclose(found, [naive_discrepancy(a, b) for a, b in zip(x, y, strict=True)])
    assert float(discrepancy(torch.as_tensor(x), torch.as_tensor(x)).abs().max()) < 1e-14


def test_the_loss_of_free_runs_weighs_error_climate_and_forecasts() -> None:
    x = series(SPAN + LOOKBACK + 5, batch=6)
    forecast = network().run(x[:, :-5], 5).numpy()
    truth, first = x[:, -5:].numpy(), x[:, 0].numpy()
    square = ((forecast - truth) ** 2).mean()
    climate = np.mean([naive_discrepancy(first, forecast[:, t]) for t in range(5)])
    matched = np.mean([naive_discrepancy(truth[:, t], forecast[:, t]) for t in range(5)])
    assert float(network(mmd=False).student_forced(x)) == pytest.approx(square)
    expected = square + climate + 1000 * matched
    assert float(network().student_forced(x)) == pytest.approx(expected, rel=1e-9)


def test_an_orbit_is_learned() -> None:
    model = dataclasses.replace(PhyxMamba.small(), updates=(250, 5, 20), rates=(1e-2, 3e-3))
    orbit = [torus(2, trajectories=4, times=150, seed=seed) for seed in (1, 2, 3)]
    model.fit(orbit[0], dt=0.1, validation=orbit[1], seed=0)
    error = model.predict(orbit[2][:, :60], 20) - orbit[2][:, 60:80]
    assert np.sqrt((error**2).mean()) < 0.25


def test_delay_and_dimension_come_from_the_data_unless_they_are_given() -> None:
    train = torus(2, trajectories=2, times=300, seed=1)
    delay, dimension = embedding(train, 10)
    problem = Problem(train, free_runs(train, context=30), 0)
    times = PhyxMamba.small()._network(problem).times
    assert times[0, 0, 0] == 10 - (dimension - 1) * delay and times.shape[1] == dimension
    given = dataclasses.replace(PhyxMamba.small(), delay=2, dimension=4)._network(problem)
    assert given.times[0, :, 0].tolist() == [0, 2, 4, 6]


def test_models_with_delays_of_their_own_are_trained_together_as_alone() -> None:
    model = dataclasses.replace(PhyxMamba.small(), dimension=2, student_forcing=False)
    train = torus(2, trajectories=2, times=300, seed=1)
    data = [train[:, ::stride][:, :100] for stride in (1, 3)]
    context = train[:, :40]
    together = model.fit_many([Training(x, 0.1, x[:, :60]) for x in data])
    delays = []
    for x, found in zip(data, together, strict=True):
        assert isinstance(found, PhyxMamba)
        alone = dataclasses.replace(model).fit(x, dt=0.1, validation=x[:, :60])
        gap = np.abs(found.predict(context, 5) - alone.predict(context, 5)).max()
        assert gap < 1e-4  # rounding, grown in 20 updates
        delays.append(found.trained_.network.times.numpy())
    assert (delays[0] != delays[1]).any()


def test_each_part_of_the_training_can_be_left_out() -> None:
    train = torus(2, trajectories=1, times=300, seed=1)
    problem = Problem(train, free_runs(train, context=30), 0)

    def without(flag: str) -> PhyxMamba:
        return dataclasses.replace(PhyxMamba.small(), **{flag: False})

    whole = PhyxMamba.small()
    assert [stage["loss"] for stage in whole._stages()] == [
        "teacher_forced",
        *["student_forced"] * 2,
    ]
    assert [stage["loss"] for stage in without("student_forcing")._stages()] == ["teacher_forced"]
    assert (len(whole._network(problem).later), whole._network(problem).mmd) == (1, True)
    assert len(without("multi_token")._network(problem).later) == 0
    assert not without("mmd")._network(problem).mmd


def test_the_probe_trains_the_head_alone() -> None:
    model = PhyxMamba.small()
    train = torus(2, trajectories=1, times=300, seed=1)
    names = dict(model._network(Problem(train, free_runs(train, context=30), 0)).named_parameters())
    probed = model._stages()[1]["trains"]
    assert {name for name in names if probed in name} == {"head.weight", "head.bias"}


def test_the_published_sizes_are_a_preset() -> None:
    model = PhyxMamba(**PhyxMamba.presets["paper"])
    train = torus(3, trajectories=1, times=300, seed=1)
    made = model._network(Problem(train, free_runs(train, context=44), 0))
    used = sum(p.numel() for name, p in made.named_parameters() if not name.startswith("later"))
    assert used == pytest.approx(3.83e6, rel=0.01)
    assert sum(p.numel() for p in made.parameters()) == pytest.approx(7.0e6, rel=0.01)


def test_a_lookback_that_patches_do_not_fill_is_refused() -> None:
    with pytest.raises(ValueError, match="patches"):
        fitted(lookback=25)


def test_training_that_diverges_says_so() -> None:
    with pytest.raises(FitError, match="diverged"):
        fitted(rates=(1e30, 1e30))
