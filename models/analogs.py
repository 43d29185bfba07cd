"""Forecasters that look up what followed similar states, and fit no equation of motion.

Analogues, simplex projection and the S-map search the training data in delay coordinates
(models._neighbours) and differ in how they weigh the neighbours; context parroting searches its
context alone. Shapes and units are those of models.base: standardised states, times in steps.
Hyperparameters in the plural list candidates, from which validation free runs choose
(models._tuning); one candidate fixes them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from models._neighbours import (
    Follower,
    Library,
    by_inverse_distance,
    by_local_regression,
    by_simplex,
)
from models._tuning import FreeRuns, best_on_free_runs, free_runs, split
from models.base import Forecast, Forecaster, Sampler, Samples, Trajectories, Windows

# (taps, stride) that are tried: the state alone, two states, and memories of up to 29 steps.
DELAYS = ((1, 1), (2, 1), (4, 2), (4, 4), (8, 2), (8, 4))

# Samples are drawn among so many neighbours at least: of one, all of them would be the same. On
# Lorenz, Rössler, Mackey-Glass and Lorenz-96 their CRPS was lower with 3 than with 8, 16 or 32.
FEWEST_DRAWN = 3


@dataclass(kw_only=True)
class Analog(Sampler):
    """What the nearest states of the training data did next (Lorenz 1969, analogues).

    States are compared in delay coordinates (x_t, x_{t-s}, …, x_{t-(k-1)s}), for `delays` (k, s).
    The next `block` steps are the present state plus the mean increments of the `neighbours`,
    weighted by inverse distance; then the search is repeated. The error is at best the distance
    between neighbours, so it wins on low-dimensional attractors with much data, also where the
    equations are not smooth, and loses to anything that knows the form of the equations.

    A sample follows one neighbour in each block, drawn with those weights.
    """

    neighbours: tuple[int, ...] = (1, 3, 8)
    delays: tuple[tuple[int, int], ...] = DELAYS
    block: int = 4

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        fit_on, held_out = split(train, validation)
        runs = free_runs(held_out, context=min(100, held_out.shape[1] // 3))
        self.chosen_, self.follower_ = best_on_free_runs(
            self._trials(fit_on, runs.contexts.shape[1]), Follower.run, runs
        )
        self.context_needed_ = self.context_used_ = self.follower_.library.memory

    def _trials(
        self, train: Trajectories, longest: int
    ) -> Iterator[tuple[dict[str, Any], Follower]]:
        for delays, library in _libraries(train, self.delays, self.block, longest):
            for neighbours in self.neighbours:
                if neighbours <= len(library.futures):
                    weigh = partial(by_inverse_distance, neighbours=neighbours)
                    yield delays | {"neighbours": neighbours}, Follower(library, weigh)

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return self.follower_.run(context, horizon)

    def _sample(self, context: Windows, horizon: int, samples: int, seed: int) -> Samples:
        drawn_from = max(FEWEST_DRAWN, self.chosen_["neighbours"])
        drawn_from = min(drawn_from, len(self.follower_.library.futures))
        weigh = partial(by_inverse_distance, neighbours=drawn_from)
        return replace(self.follower_, weigh=weigh).draw(context, horizon, samples, seed)

    @classmethod
    def small(cls) -> "Analog":
        return cls(delays=((1, 1), (2, 1)))


@dataclass(kw_only=True)
class Simplex(Sampler):
    """Simplex projection (Sugihara & May, Nature 344, 734, 1990).

    In delay coordinates of E = k · dim numbers, for `delays` (k, s), the E + 1 nearest neighbours
    of the present are the corners of a simplex around it. The next `block` steps are the mean of
    what followed them with weights exp(-d / d_1), where d_1 is the smallest of the distances d;
    then the search is repeated. What is averaged are the states themselves, as in the paper, so
    that no forecast leaves the range of the training data; with `increments` their changes, which
    is more exact for a few steps. No parameters; memory of the training data, time of a search in a
    k-d tree a block. It wins where analogues do, and a little smoother; the more neighbours, the
    less it suits a high dimension or few data.

    A sample follows one corner in each block, drawn with those weights.
    """

    delays: tuple[tuple[int, int], ...] = DELAYS
    increments: tuple[bool, ...] = (False, True)
    block: int = 4

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {"tuned": {}, "sugihara1990": {"increments": (False,), "block": 1}}
    )

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        fit_on, held_out = split(train, validation)
        runs = free_runs(held_out, context=min(100, held_out.shape[1] // 3))
        self.chosen_, self.follower_ = best_on_free_runs(
            self._trials(fit_on, runs.contexts.shape[1]), Follower.run, runs
        )
        self.context_needed_ = self.context_used_ = self.follower_.library.memory

    def _trials(
        self, train: Trajectories, longest: int
    ) -> Iterator[tuple[dict[str, Any], Follower]]:
        for increment in self.increments:
            for delays, library in _libraries(train, self.delays, self.block, longest, increment):
                corners = library.coordinates + 1
                if corners <= len(library.futures):
                    weigh = partial(by_simplex, neighbours=corners)
                    yield delays | {"increment": increment}, Follower(library, weigh)

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return self.follower_.run(context, horizon)

    def _sample(self, context: Windows, horizon: int, samples: int, seed: int) -> Samples:
        return self.follower_.draw(context, horizon, samples, seed)

    @classmethod
    def small(cls) -> "Simplex":
        return cls(delays=((2, 1),))


# What the S-map's delays are compared with: good, if rarely best, on Lorenz, Lorenz96, Duffing,
# BelousovZhabotinsky, DoublePendulum and ForcedVanDerPol, and safe for delay coordinates.
SCOUTING_THETA, SCOUTING_RIDGE = 6.0, 1e-2


@dataclass(kw_only=True)
class SMap(Forecaster):
    """The S-map: a linear map fitted anew around each state (Sugihara 1994).

    x(t + h) = x(t) + c + B (v - v_now), h = 1 … `block`, where v are delay coordinates for
    `delays` (k, s) and c and B minimise sum w |error|² over neighbours of v_now, with
    w = exp(-theta d / mean d): theta = 0 is one linear model of all neighbours, a larger theta is
    more local. Two departures from the paper make it cheap and stable: of E coordinates only the
    `per_coordinate` · (E + 1) nearest neighbours count, and B carries a ridge, relative to their
    variance, since delay coordinates of a finely sampled flow nearly lie on a surface. Delays of
    more than `limit` coordinates are not tried, unless it is the state alone that has more.
    Source: Phil. Trans. R. Soc. A 348, 477 (1994).

    No parameters; a search and a regression on E coordinates a block, some 15 µs. The error falls
    with the square of the distance between neighbours, that of analogues with the distance: it
    wins over them wherever the flow is smooth, and over global polynomials where it is steep. It
    loses to those on smooth equations, needs more data the higher the dimension, and may diverge
    where the training data end, as long runs of BelousovZhabotinsky do. It draws no samples: the
    spread of neighbours around a local map says little about its error.
    """

    delays: tuple[tuple[int, int], ...] = DELAYS
    # Few, for speed. Ridges of 1e-6 and theta = 0 won little, and doubled the time of a fit.
    thetas: tuple[float, ...] = (6.0, 1.0)
    ridges: tuple[float, ...] = (1e-2, 1e-4, 1e-1)  # the last for long runs, as of HyperRossler
    per_coordinate: int = 3
    limit: int = 12
    block: int = 2  # 4 costs Lorenz96 a third of its horizon, 1 gains 5 % for twice the time

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        fit_on, held_out = split(train, validation)
        runs = free_runs(held_out, context=min(100, held_out.shape[1] // 3))
        longest = runs.contexts.shape[1]
        delays = self.delays
        if len(delays) > 1:
            weighing = (SCOUTING_THETA,), (SCOUTING_RIDGE,)
            scouted = self._trials(fit_on, delays, *weighing, longest)
            every_second = FreeRuns(runs.contexts[::2], runs.truths[::2])
            found, _ = best_on_free_runs(scouted, Follower.run, every_second)
            delays = ((found["taps"], found["stride"]),)
        self.chosen_, self.follower_ = best_on_free_runs(
            self._trials(fit_on, delays, self.thetas, self.ridges, longest), Follower.run, runs
        )
        self.context_needed_ = self.context_used_ = self.follower_.library.memory

    def _trials(
        self,
        train: Trajectories,
        delays: Sequence[tuple[int, int]],
        thetas: Sequence[float],
        ridges: Sequence[float],
        longest: int,
    ) -> Iterator[tuple[dict[str, Any], Follower]]:
        dim = train.shape[2]
        few = [(taps, stride) for taps, stride in delays if taps == 1 or taps * dim <= self.limit]
        for place, library in _libraries(train, few, self.block, longest):
            enough = self.per_coordinate * (library.coordinates + 1)
            neighbours = min(enough, len(library.futures))
            for theta in thetas:
                for ridge in ridges:
                    weigh = partial(
                        by_local_regression, neighbours=neighbours, theta=theta, ridge=ridge
                    )
                    yield place | {"theta": theta, "ridge": ridge}, Follower(library, weigh)

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return self.follower_.run(context, horizon)

    @classmethod
    def small(cls) -> "SMap":
        return cls(delays=((2, 1),), thetas=(6.0,), ridges=(1e-4,), block=4)


def _libraries(
    train: Trajectories,
    delays: Sequence[tuple[int, int]],
    block: int,
    longest: int,
    increment: bool = True,
) -> Iterator[tuple[dict[str, Any], Library]]:
    """The delays with a memory of at most `longest` that the training data can fill."""
    for taps, stride in delays:
        memory = (taps - 1) * stride + 1
        if memory <= longest and memory + block <= train.shape[1]:
            library = Library.build(train, taps, stride, block, increment)
            yield {"taps": taps, "stride": stride}, library


@dataclass(kw_only=True)
class Parrot(Sampler):
    """Context parroting: the best match within the context, and what followed it, copied.

    Zero-shot (Zhang & Gilpin, arXiv:2505.11349, 2025). The last D points are compared with every
    earlier stretch of the context that does not overlap them; of the nearest (Euclidean distance,
    all coordinates together) the continuation is copied, and copied again from the forecast itself
    when the context ends, so that the forecast becomes periodic. On a finely sampled flow the
    stretch of a moment ago is near and of no use: only minima of the distance along the context
    count, as long as there is one. (The paper searches where the context holds the whole horizon,
    which would make a forecast depend on how much of it is asked for.)

    D is the one of `lengths` with the best validation free runs, from contexts of `context` steps;
    with one length nothing at all is learned (preset `zero_shot`). D is never more than a quarter
    of the context, and a context of one point is continued by itself. No parameters, microseconds.
    It wins where there is little but context, and on periodic orbits, where it is exact; any model
    that has learned from 6000 points should beat it.

    A sample copies one of the `drawn` best matches, drawn with weights of inverse distance.
    """

    lengths: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    context: int = 512
    drawn: int = 4

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {"tuned": {}, "zero_shot": {"lengths": (8,)}}
    )

    @property
    def zero_shot(self) -> bool:
        return len(self.lengths) == 1

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        self.length_ = self.lengths[0]
        if len(self.lengths) > 1:
            _, held_out = split(train, validation)
            runs = free_runs(held_out, context=min(self.context, held_out.shape[1] // 3))
            trials = (({"length": length}, length) for length in self.lengths)
            self.chosen_, self.length_ = best_on_free_runs(trials, _parroted, runs)

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return _parroted(self.length_, context, horizon)

    def _sample(self, context: Windows, horizon: int, samples: int, seed: int) -> Samples:
        distance, end = _matches(context, self.length_, self.drawn)
        weight = 1 / (distance + 1e-12)
        luck = np.random.default_rng(seed).random(samples)  # one draw a sample, for all windows
        passed = (
            np.cumsum(weight, axis=1)[:, :-1] <= luck[:, None, None] * weight.sum(axis=1)[:, None]
        )
        chosen = np.take_along_axis(end, passed.sum(axis=2).T, axis=1)  # (windows, samples)
        return np.stack([_copied(context, each, horizon) for each in chosen.T])

    @classmethod
    def small(cls) -> "Parrot":
        return cls(lengths=(4, 8))


def _parroted(length: int, context: Windows, horizon: int) -> Forecast:
    _, end = _matches(context, length, 1)
    return _copied(context, end[:, 0], horizon)


def _copied(context: Windows, end: Int[np.ndarray, "windows"], horizon: int) -> Forecast:
    """What follows the first `end` points of each context, over and over."""
    period = context.shape[1] - end
    source = end[:, None] + np.arange(horizon) % period[:, None]
    return np.take_along_axis(context, source[:, :, None], axis=1)


def _matches(
    context: Windows, length: int, most: int
) -> tuple[Float[np.ndarray, "windows matches"], Int[np.ndarray, "windows matches"]]:
    """Distances of the best matches of the last `length` points, ascending, and where they end.

    `end` counts the points up to and with the match. Distances of missing matches are infinite.
    """
    windows, known, _ = context.shape
    if known == 1:
        return np.zeros((windows, 1)), np.zeros((windows, 1), dtype=int)
    length = min(length, max(1, known // 4))
    ends = np.arange(length, known - length + 1)
    distance = np.zeros((windows, len(ends)))
    for back in range(1, length + 1):  # not one array of all stretches: of 64 points, 64 contexts
        distance += ((context[:, ends - back] - context[:, known - back, None]) ** 2).sum(axis=2)
    distance = np.sqrt(distance)
    older = np.pad(distance[:, :-1], ((0, 0), (1, 0)), constant_values=np.inf)
    newer = np.pad(distance[:, 1:], ((0, 0), (0, 1)), constant_values=-np.inf)
    is_match = (distance <= older) & (distance <= newer)
    is_match |= ~is_match.any(axis=1, keepdims=True)
    distance[~is_match] = np.inf
    # The latest first among equals.
    best = len(ends) - 1 - np.argsort(distance[:, ::-1], axis=1, kind="stable")[:, :most]
    return np.take_along_axis(distance, best, axis=1), ends[best]
