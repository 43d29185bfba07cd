"""What the invariants share: long runs as clouds of points, and how to look at them.

A flow of fewer than three coordinates is not chaotic, so there are others unseen: such runs are
embedded with delays, forecast and truth with the lag of the truth.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from dysts_bench.metrics.base import OK, Facts, TooShort, Windows, conditions

Points = Float[np.ndarray, "times dim"]
# States of a flow of fewer coordinates than this are completed by delays, to at least so many.
FLOW, EMBEDDING = 3, 5
# Fewer states are no picture of an attractor.
FEWEST = 100


def on_attractor(truth: Windows, forecast: Windows, facts: Facts) -> list[int]:
    """The runs whose forecast neither diverged nor stopped being a number."""
    return [i for i, status in enumerate(conditions(truth, forecast, facts)) if status == OK]


def clouds(
    truth: Windows, forecast: Windows, facts: Facts
) -> Iterator[tuple[int, Float[np.ndarray, "states dim"], Float[np.ndarray, "states dim"]]]:
    """Number, true and forecast states of each run `on_attractor`, in training deviations.

    Embedded with the lag of the truth where coordinates are too few, see `embed`.
    Raises TooShort below 100 steps.
    """
    for i in on_attractor(truth, forecast, facts):
        x, y = truth[i] / facts.scale, forecast[i] / facts.scale
        if len(x) < FEWEST:
            raise TooShort(f"a run of {len(x)} states shows no attractor; give at least {FEWEST}")
        lag = decorrelation_time(x) if x.shape[1] < FLOW else 1
        yield i, embed(x, lag), embed(y, lag)


def embed(run: Points, lag: int) -> Float[np.ndarray, "vectors coordinates"]:
    """Delay vectors, `lag` steps apart, of a run of one or two coordinates; others unchanged.

    Raises TooShort for a run without a single delay vector.
    """
    dim = run.shape[1]
    if dim >= FLOW:
        return run
    span = (-(-EMBEDDING // dim) - 1) * lag
    if span >= len(run):
        raise TooShort(f"delay embedding: a run of {len(run)} steps; a vector takes {span + 1}")
    return np.concatenate(
        [run[start : len(run) - span + start] for start in range(0, span + 1, lag)], axis=1
    )


def decorrelation_time(run: Points) -> int:
    """Steps until the autocorrelation, summed over coordinates, first falls below 1/e.

    At least 1 and at most a fiftieth of the run.
    """
    power = np.abs(np.fft.rfft(run - run.mean(axis=0), n=2 * len(run), axis=0)) ** 2
    correlation = np.fft.irfft(power.sum(axis=1))[: max(1, len(run) // 50)]
    low = correlation < correlation[0] / np.e
    return max(1, int(np.argmax(low)) if low.any() else len(low))
