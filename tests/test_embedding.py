"""Delays and dimensions of embeddings against processes where they are known."""

import numpy as np
import pytest

from dysts_bench.metrics.pointwise import shared_information
from models._embedding import (
    delay_of_least_information,
    dimension_without_false_neighbours,
    embedding,
    false_neighbours,
    mutual_information,
)


def henon(times: int) -> np.ndarray:
    x = [0.1, 0.1]
    for _ in range(times + 98):
        x.append(1 - 1.4 * x[-1] ** 2 + 0.3 * x[-2])
    return np.array(x[100:])[None]


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.9])
def test_the_information_of_correlated_gaussians_is_known(correlation: float) -> None:
    x, noise = np.random.default_rng(1).standard_normal((2, 4000))
    y = correlation * x + np.sqrt(1 - correlation**2) * noise
    expected = -np.log(1 - correlation**2) / 2
    assert mutual_information(x, 7 * y - 3) == pytest.approx(expected, abs=0.04)


def test_information_is_what_the_metric_says_it_is() -> None:
    x, y = henon(600)[0, :-1], henon(600)[0, 1:]
    assert mutual_information(x, y) == pytest.approx(shared_information(x, y), rel=1e-9)


def test_the_delay_of_an_oscillation_is_a_quarter_of_its_period() -> None:
    # noise: without it the plane holds a curve, and all delays are equally good
    times = np.arange(4000)
    series = np.sin(2 * np.pi * times / 40.3)[None]
    series = series + 0.05 * np.random.default_rng(0).standard_normal(series.shape)
    assert abs(delay_of_least_information(series, 18) - 10) <= 2


def test_a_map_is_embedded_with_delay_one_in_its_own_dimension() -> None:
    series = henon(4000)
    assert dimension_without_false_neighbours(series, 1, 5) == 2
    assert false_neighbours(series, 1, 1) > 0.3
    assert false_neighbours(series, 1, 2) == 0.0


def test_the_embedding_fits_into_its_span() -> None:
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((2, 600, 3)).cumsum(axis=1)
    for span in (1, 4, 12):
        delay, dimension = embedding(noise, span)
        assert delay >= 1 and dimension >= 1 and (dimension - 1) * delay <= span


def test_what_is_given_stays_and_the_rest_is_chosen_for_it() -> None:
    train = henon(2000)[:, :, None]
    assert embedding(train, 8, delay=3, dimension=4) == (3, 4)
    assert embedding(train, 8, dimension=5)[1] == 5 and embedding(train, 8, dimension=5)[0] <= 2
    assert embedding(train, 8, delay=1) == (1, 2)


def test_a_series_that_never_moves_has_no_delay_to_choose() -> None:
    assert embedding(np.ones((1, 100, 2)), 10) == (1, 1)
    moving = np.stack([henon(2000)[0], np.full(2000, 3.0)], axis=1)[None]
    assert embedding(moving, 4) == embedding(moving[:, :, :1], 4)
