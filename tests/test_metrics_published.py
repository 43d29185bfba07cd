"""Invariants as published, against the code that the published numbers come from."""

import numpy as np
import pytest
from dysts.analysis import gp_dim

from dysts_bench.metrics import Facts, TooShort, find
from dysts_bench.metrics.published import distance_exponent

FACTS = Facts(dt=0.1, lyapunov_time=3.0, scale=np.ones(3))


def cloud(dim: int, points: int = 300) -> np.ndarray:
    return np.random.default_rng(dim).uniform(size=(points, dim))


@pytest.mark.parametrize("dim", [1, 2, 3, 8])
def test_the_exponent_of_distances_is_that_of_dysts(dim: int) -> None:
    assert distance_exponent(cloud(dim)) == pytest.approx(gp_dim(cloud(dim)), rel=1e-12)


def test_points_that_coincide_have_no_exponent_and_a_standing_forecast_the_worst_error() -> None:
    with pytest.raises(TooShort, match="9 points"):
        distance_exponent(np.zeros((9, 3)))
    truth = cloud(3)[None]
    error = find("distance_exponent_error").function
    assert error(truth, np.zeros_like(truth), FACTS) == [np.inf]


def test_raw_divergence_is_that_of_two_gaussians_where_each_run_is_a_point() -> None:
    # N(0, 1) and N(a, 1) in three dimensions: KL = |a|² / 2
    truth, apart = np.zeros((1, 100, 3)), np.full((1, 100, 3), 0.6)
    found = find("raw_kl_divergence").function(truth, apart, FACTS)
    assert found == pytest.approx([3 * 0.6**2 / 2], rel=0.1)
