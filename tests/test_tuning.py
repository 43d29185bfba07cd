"""The validation search: what it scores, what it prefers, and that its shortcuts change nothing."""

import numpy as np
import pytest

from models._regression import Regression
from models._rollout import autoregress
from models._tuning import (
    ENDURANCE,
    FreeRuns,
    best_on_continuation,
    best_on_free_runs,
    free_runs,
    ranked_on_free_runs,
    score,
    split,
)
from models.base import FitError, Forecast, Windows

RUNS = FreeRuns(np.zeros((3, 5, 2)), np.zeros((3, 400, 2)))


def test_score_counts_steps_until_the_root_mean_square_exceeds_the_threshold() -> None:
    truth = np.zeros((2, 10, 2))
    forecast = np.full((2, 10, 2), 0.1)
    forecast[0, 6] = [0.6, 0.0]  # sqrt((0.36 + 0) / 2) = 0.42
    forecast[1, 3] = [0.5, 0.0]  # 0.35: still good
    steps, accuracy = score(forecast, truth)
    assert steps == (6 + 10) / 2
    logs = 18 * np.log(0.1) + np.log(0.6 / 2**0.5) + np.log(0.5 / 2**0.5)
    assert accuracy == pytest.approx(-logs / 20)


def test_divergence_counts_as_an_error_of_a_thousand() -> None:
    forecast = np.full((1, 10, 1), 0.1)
    forecast[0, 8:] = np.nan
    steps, accuracy = score(forecast, np.zeros((1, 10, 1)))
    assert steps == 8
    assert accuracy == pytest.approx(-(8 * np.log(0.1) + 2 * np.log(1e3)) / 10)


def test_in_raw_units_errors_count_in_deviations_of_the_validation_data() -> None:
    rng = np.random.default_rng(0)
    validation = rng.normal(size=(1, 900, 2))
    plain = free_runs(validation / validation.std(axis=(0, 1)), context=100)
    raw = free_runs(validation * [100.0, 0.01], context=100, raw_units=True)
    wrong = plain.truths + 0.3 * rng.normal(size=plain.truths.shape)
    expected = score(wrong, plain.truths, plain.scale)
    assert score(wrong * raw.scale, raw.truths, raw.scale) == pytest.approx(expected)
    assert plain.scale == 1.0


def test_free_runs_are_cut_from_validation_data() -> None:
    validation = np.arange(2 * 900 * 1.0).reshape(2, 900, 1)
    runs = free_runs(validation, context=100)
    assert runs.contexts.shape == (12, 100, 1)
    assert runs.truths.shape == (12, 400, 1)  # half of what 900 - 100 leaves
    np.testing.assert_array_equal(runs.truths[:, 0], runs.contexts[:, -1] + 1)
    assert runs.contexts.min() == 0
    assert runs.truths.max() == 1799
    with pytest.raises(FitError, match="too short for free runs"):
        free_runs(validation[:, :50], context=49)


def test_without_validation_the_tail_of_train_is_held_back() -> None:
    train = np.arange(100.0).reshape(1, 100, 1)
    fit_on, held_out = split(train, None)
    np.testing.assert_array_equal(np.concatenate([fit_on, held_out], axis=1), train)
    assert held_out.shape[1] == 20
    assert split(train, held_out)[0] is train


def constant_error(error: float, lost_after: int | None = None):  # type: ignore[no-untyped-def]
    """A candidate whose forecast is wrong by `error`, and that diverges after `lost_after`."""
    return {"error": error, "lost_after": lost_after}, (error, lost_after)


def run(fitted: tuple[float, int | None], contexts: Windows, steps: int) -> Forecast:
    error, lost_after = fitted
    forecast = np.full((len(contexts), steps, 2), error)
    if lost_after is not None:
        forecast[:, lost_after:] = np.inf
    return forecast


def test_ties_are_broken_by_the_log_error() -> None:
    trials = [constant_error(0.1), constant_error(1e-6), constant_error(1e-3)]
    assert [chosen["error"] for chosen, _ in ranked_on_free_runs(trials, run, RUNS)] == [
        1e-6,
        1e-3,
        0.1,
    ]


def test_endurance_decides_between_equals_but_not_against_skill() -> None:
    short_lived = constant_error(1e-6, lost_after=ENDURANCE - 1)
    assert best_on_free_runs([short_lived, constant_error(2e-6)], run, RUNS)[0]["error"] == 2e-6
    assert best_on_free_runs([short_lived, constant_error(1e-3)], run, RUNS)[0]["error"] == 1e-6


def test_nothing_that_survives_a_step_is_a_fit_error() -> None:
    with pytest.raises(FitError, match="none of 2 candidates"):
        best_on_free_runs([constant_error(0.1, 0), constant_error(0.2, 0)], run, RUNS)
    with pytest.raises(FitError, match="for every candidate"):
        best_on_free_runs([], run, RUNS)


@pytest.mark.parametrize("seed", range(5))
def test_leaving_hopeless_candidates_out_does_not_change_the_winner(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # errors that grow from random sizes at random rates, as they do in chaos
    forecasts = [
        np.minimum(rng.uniform(1e-6, 1e-2) * np.exp(rng.uniform(0, 0.1) * np.arange(400)), 5.0)
        * rng.uniform(0.5, 1, (3, 1))
        for _ in range(40)
    ]

    def replay(which: int, contexts: Windows, steps: int) -> Forecast:
        padded = np.concatenate([forecasts[which], np.zeros((3, ENDURANCE))], axis=1)
        return np.repeat(padded[:, :steps, None], 2, axis=2)

    everything = [score(replay(i, RUNS.contexts, 400), RUNS.truths) for i in range(40)]
    best = best_on_free_runs((({"which": i}, i) for i in range(40)), replay, RUNS)
    assert best[1] == max(range(40), key=lambda i: everything[i])


def test_ridge_regression_is_the_textbook_solution() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((200, 6)) * [1, 5, 1, 0.1, 1, 1]
    targets = rng.standard_normal((200, 2))
    for columns in (np.arange(6), np.array([0, 1, 2]), np.array([1, 4])):
        chosen = features[:, columns]
        scale = np.sqrt((chosen**2).mean(axis=0))
        for ridge, weights in (
            Regression.of(features, targets).among(columns).solutions([1e-6, 3.0])
        ):
            unit = chosen / scale
            textbook = np.linalg.solve(
                unit.T @ unit + ridge * np.eye(len(columns)), unit.T @ targets
            )
            np.testing.assert_allclose(weights, textbook / scale[:, None], rtol=1e-8)


def test_regression_keeps_directions_that_normal_equations_lose() -> None:
    t = np.linspace(-1, 1, 2000)
    features = t[:, None] ** np.arange(24)  # condition number 1e9, squared 1e18
    weights = np.random.default_rng(0).standard_normal((24, 1))
    [(_, found)] = Regression.of(features, features @ weights).solutions([0.0])
    np.testing.assert_allclose(found, weights, atol=1e-5)
    normal = np.linalg.lstsq(features.T @ features, features.T @ (features @ weights), rcond=None)[
        0
    ]
    assert np.abs(normal - weights).max() > 1e-2


def test_a_feature_that_is_always_zero_gets_no_weight() -> None:
    features = np.stack([np.arange(1.0, 9.0), np.zeros(8)], axis=1)
    [(_, weights)] = Regression.of(features, 2 * features[:, :1]).solutions([1e-18])
    np.testing.assert_allclose(weights, [[2.0], [0.0]], atol=1e-12)


def test_a_diverging_window_is_nan_from_its_own_step_and_leaves_the_others_alone() -> None:
    def triple(recent: Windows) -> Windows:
        last = recent[:, -1:]
        return np.concatenate([3 * last, 9 * last], axis=1)  # blocks of two steps

    context = np.array([[[0.0], [1.0]], [[0.0], [1e-9]]])
    forecast = autoregress(triple, context, 9, memory=2)[:, :, 0]
    np.testing.assert_allclose(forecast[0, :6], 3.0 ** np.arange(1, 7))
    assert np.isnan(forecast[0, 6:]).all()  # 3^7 > 1e3, the first step of its block
    np.testing.assert_allclose(forecast[1], 1e-9 * 3.0 ** np.arange(1, 10))


def test_the_last_sixth_of_a_series_chooses_by_one_forecast() -> None:
    whole = np.sin(0.3 * np.arange(120.0))[None, :, None] + 2
    asked = []

    def fit(seen: np.ndarray) -> list[tuple[dict[str, float], float]]:
        asked.append(seen)
        return [({"offset": offset}, offset) for offset in (1.0, -0.1, np.nan)]

    def run(offset: float, context: np.ndarray, steps: int) -> np.ndarray:
        assert steps == 20
        return whole[:, 100:] + offset

    chosen, _ = best_on_continuation(fit, run, whole)
    assert chosen == {"offset": -0.1}
    np.testing.assert_array_equal(asked[0], whole[:, :100])
    with pytest.raises(FitError, match="for every candidate"):
        best_on_continuation(lambda seen: [], run, whole)
