"""The system itself, started a little off: its errors grow by e in a Lyapunov time."""

import numpy as np
import pytest

from dysts_bench.perfect_model import valid_prediction_times
from dysts_bench.task import Protocol, clock, read_suite, tasks

SUITE = read_suite("standard")


@pytest.mark.parametrize("name", ["Lorenz", "MackeyGlass"])
def test_a_thousandth_of_the_offset_is_worth_seven_lyapunov_times(name: str) -> None:
    [task] = tasks(SUITE, [name])
    near, far = (valid_prediction_times(task, offset) for offset in (1e-6, 1e-3))
    assert near.shape == far.shape == (20,)
    assert near.mean() - far.mean() == pytest.approx(np.log(1000), abs=1.5)
    # from 1e-3 to the metric's threshold it takes six
    assert far.mean() == pytest.approx(np.log(0.4 / 1e-3), abs=1.5)


def test_phases_of_a_forcing_are_known() -> None:
    [task] = tasks(SUITE, ["Duffing"])
    times = valid_prediction_times(task, 1e-3)
    assert 4 < np.median(times) < 9


def test_without_an_offset_it_is_right_to_the_end() -> None:
    [task] = tasks(SUITE, ["Lorenz"])
    assert isinstance(task.protocol, Protocol)
    assert valid_prediction_times(task, 0.0) == pytest.approx(clock(task).horizon)
