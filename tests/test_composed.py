"""Models made of models: the best of several on validation data, and an ensemble of seeds."""

import numpy as np
import pytest

import models
from models.base import FitError
from models.checks import torus

TRAIN = torus(2, trajectories=1, times=600, seed=0)
VALIDATION = torus(2, trajectories=1, times=400, seed=1)
CONTEXT = torus(2, trajectories=3, times=200, seed=2)


def test_it_forecasts_as_the_better_member_does() -> None:
    best = models.create("best_of", members={"naive_mean": {}, "nvar": {"limit": 60}})
    best.fit(TRAIN, dt=0.1, validation=VALIDATION)
    alone = models.create("nvar", limit=60).fit(TRAIN, dt=0.1, validation=VALIDATION)
    assert best.chosen_ == {"member": "nvar", **alone.chosen_}
    np.testing.assert_array_equal(best.predict(CONTEXT, 50), alone.predict(CONTEXT, 50))
    assert best.context_needed_ == alone.context_needed_


def test_the_order_of_members_does_not_matter() -> None:
    names = ["naive_mean", "linear", "persistence"]
    chosen = {
        models.create("best_of", members={key: {} for key in order})
        .fit(TRAIN, dt=0.1, validation=VALIDATION)
        .chosen_["member"]
        for order in (names, names[::-1])
    }
    assert chosen == {"linear"}


def test_a_member_that_cannot_be_fitted_is_left_out() -> None:
    too_large = {"orders": ((12,),), "limit": 3}
    best = models.create("best_of", members={"nvar": too_large, "linear": {}})
    assert best.fit(TRAIN, dt=0.1, validation=VALIDATION).chosen_["member"] == "linear"
    with pytest.raises(FitError):
        models.create("best_of", members={"nvar": too_large}).fit(
            TRAIN, dt=0.1, validation=VALIDATION
        )


def test_a_member_in_raw_units_is_refused() -> None:
    with pytest.raises(ValueError, match="esn:gilpin2023 wants raw units"):
        models.create("best_of", members={"esn:gilpin2023": {}}).fit(
            TRAIN, dt=0.1, validation=VALIDATION
        )


SMALL = {"units": 40, "washout": 30, "dynamics": ((0.4, 1.0, 0.1, 1.0), (0.4, 1.0, 0.3, 1.0))}


def test_an_ensemble_is_the_mean_of_members_that_differ_in_their_seed() -> None:
    model = models.create("ensemble", hyperparameters=SMALL, size=3)
    model.fit(TRAIN, dt=0.1, validation=VALIDATION, seed=5)
    first, *others = model.members_
    seeds = np.random.SeedSequence(5).generate_state(3).tolist()
    alone = models.create("esn", **SMALL)
    alone.fit(TRAIN, dt=0.1, validation=VALIDATION, seed=seeds[0])
    np.testing.assert_array_equal(first.predict(CONTEXT, 20), alone.predict(CONTEXT, 20))
    # the others take over what the first one chose, and nothing else
    assert [other.chosen_ for other in others] == [first.chosen_] * 2
    assert others[0].dynamics == (first.chosen_["dynamics"],)
    forecasts = np.array([member.predict(CONTEXT, 20) for member in model.members_])
    assert np.ptp(forecasts, axis=0).max() > 0
    np.testing.assert_allclose(model.predict(CONTEXT, 20), forecasts.mean(axis=0), rtol=1e-12)


def test_samples_are_the_members_each_before_any_comes_again() -> None:
    model = models.create("ensemble", hyperparameters=SMALL, size=3)
    model.fit(TRAIN, dt=0.1, validation=VALIDATION)
    forecasts = [member.predict(CONTEXT, 5) for member in model.members_]
    drawn = model.sample(CONTEXT, 5, samples=7, seed=1)
    whose = [[np.array_equal(one, other) for other in forecasts].index(True) for one in drawn]
    assert sorted(whose[:3]) == sorted(whose[3:6]) == [0, 1, 2]


def test_a_member_that_diverges_is_left_out_of_the_mean() -> None:
    model = models.create("ensemble", hyperparameters=SMALL, size=3)
    model.fit(TRAIN, dt=0.1, validation=VALIDATION)
    model.members_[0].network_.readout[:] = 1e6
    forecasts = np.array([member.predict(CONTEXT, 5) for member in model.members_])
    assert np.isnan(forecasts[0]).any() and np.isfinite(forecasts[1:]).all()
    np.testing.assert_allclose(model.predict(CONTEXT, 5)[:, -1], forecasts[1:, :, -1].mean(axis=0))


def test_members_must_differ() -> None:
    with pytest.raises(ValueError, match="linear does not depend on its seed"):
        models.create("ensemble", member="linear").fit(TRAIN, dt=0.1)


@pytest.mark.parametrize(("name", "settings"), [("nvar", {"limit": 60}), ("esn", SMALL)])
def test_a_settled_model_has_nothing_left_to_choose(name: str, settings: dict) -> None:
    chosen = models.create(name, **settings).fit(TRAIN, dt=0.1, validation=VALIDATION)
    settled = chosen.settled()
    again = settled.fit(TRAIN, dt=0.1, validation=VALIDATION)
    assert again.chosen_ == chosen.chosen_
    assert again.settled() == settled
