"""The best of several models: the one that is best on validation data, and nothing else."""

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
