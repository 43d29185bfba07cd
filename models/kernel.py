"""Kernel regression of one step: smooth in the states, without a shape given to the equations.

Hyperparameters in the plural list candidates, from which validation free runs choose
(models._tuning); one candidate fixes them. Shapes and units are those of models.base.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from models._regression import Regression
from models._tuning import FreeRuns, best_on_free_runs, free_runs, ranked_on_free_runs, split
from models.base import DIVERGED, Forecast, Forecaster, Trajectories, Windows

# (taps, stride): as those of NVAR, up to 23 steps of memory.
DELAYS = ((1, 1), (2, 1), (4, 1), (4, 4), (6, 4), (12, 2))
RIDGES = (1e-18, 1e-15, 1e-12, 1e-9, 1e-6, 1e-3)
SCOUTING_ROWS = 2000


@dataclass(kw_only=True)
class Kernel(Forecaster):
    """Kernel ridge regression on delay vectors, reduced to a subset of regressors.

    With v = [x(t), x(t - s), …, x(t - (k-1) s)] for `delays` (k, s),

        x(t+1) = x(t) + A v + a + Σ_i w_i exp(-|v - c_i|² / (2 k L²)),  i = 1 … centres.

    This is the mean of a Gaussian process with a linear trend, whose kernel is known by its values
    at `centres` training vectors, each the farthest from those before (the subset of regressors of
    Quiñonero-Candela & Rasmussen, JMLR 6, 1939 (2005)). L, of `lengths`, is in standard deviations
    of a delayed state. The fit takes training steps · centres² operations, a step centres · k ·
    dim. It wins where every state is observed and the equations are smooth but no polynomials; it
    loses with many dimensions, which no number of centres fills, and on edges. Away from the
    training data the kernel fades, and what remains is the linear trend. (Trends of degree 2 and 3
    gained a tenth of the horizon on Duffing and Lorenz96, lost as much on Chua and HindmarshRose,
    and diverged in half of Duffing's long runs.)
    """

    delays: tuple[tuple[int, int], ...] = DELAYS
    lengths: tuple[float, ...] = (0.3, 1.0, 3.0)
    ridges: tuple[float, ...] = RIDGES
    centres: int = 600
    scouts: int = 200

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        fit_on, held_out = split(train, validation)
        runs = free_runs(held_out, context=min(100, held_out.shape[1] // 3))
        pairs = [(delay, length) for delay in self.delays for length in self.lengths]
        if len(pairs) > 1:
            scouts = min(self.scouts, self.centres)
            scouted = self._trials(fit_on, runs, pairs, scouts, SCOUTING_ROWS, self.ridges[::2])
            ranked = ranked_on_free_runs(scouted, KernelMap.run, runs)
            found = dict.fromkeys(
                ((chosen["taps"], chosen["stride"]), chosen["length"]) for chosen, _ in ranked
            )
            pairs = list(found)[:2]
        every_row = fit_on.shape[0] * fit_on.shape[1]
        trials = self._trials(fit_on, runs, pairs, self.centres, every_row, self.ridges)
        self.chosen_, self.map_ = best_on_free_runs(trials, KernelMap.run, runs)
        self.context_needed_ = self.context_used_ = self.map_.memory
        self.parameters_ = self.map_.weights.size

    def _trials(
        self,
        train: Trajectories,
        runs: FreeRuns,
        pairs: Sequence[tuple[tuple[int, int], float]],
        centres: int,
        most_rows: int,
        ridges: Sequence[float],
    ) -> Iterator[tuple[dict[str, Any], "KernelMap"]]:
        from models._kernel_loops import spread

        longest = min(runs.contexts.shape[1], train.shape[1] - 1)
        for (taps, stride), length in pairs:
            if (taps - 1) * stride + 1 > longest:
                continue
            vectors, change = _rows(train, taps, stride, most_rows)
            chosen_rows = spread(vectors, min(centres, len(vectors)))
            unfitted = KernelMap(
                taps, stride, 0.5 / (taps * length**2), vectors[chosen_rows], np.empty((0, 0))
            )
            regression = Regression.of(unfitted.features(vectors), change)
            for ridge, weights in regression.solutions(ridges):
                chosen = {"taps": taps, "stride": stride, "length": length, "ridge": ridge}
                yield chosen, replace(unfitted, weights=weights)

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return self.map_.run(context, horizon)

    @classmethod
    def small(cls) -> "Kernel":
        return cls(delays=((1, 1), (4, 4)), lengths=(3.0,), centres=100)


@dataclass(frozen=True)
class KernelMap:
    """x(t+1) = x(t) + weights^T [k(v, centres); v; 1], v a delay vector, the newest state first."""

    taps: int
    stride: int
    sharpness: float
    centres: Float[np.ndarray, "centres inputs"]
    weights: Float[np.ndarray, "features dim"]

    @property
    def memory(self) -> int:
        return (self.taps - 1) * self.stride + 1

    def features(
        self, vectors: Float[np.ndarray, "rows inputs"]
    ) -> Float[np.ndarray, "rows features"]:
        from scipy.spatial.distance import cdist

        similar = np.exp(-self.sharpness * cdist(vectors, self.centres, "sqeuclidean"))
        return np.concatenate([similar, vectors, np.ones((len(vectors), 1))], axis=1)

    def run(self, context: Windows, horizon: int) -> Forecast:
        from models._kernel_loops import run_kernel

        return run_kernel(
            self.weights,
            self.centres,
            self.sharpness,
            np.ascontiguousarray(context[:, context.shape[1] - self.memory :]),
            self.taps,
            self.stride,
            horizon,
            DIVERGED,
        )


def _rows(
    train: Trajectories, taps: int, stride: int, most: int
) -> tuple[Float[np.ndarray, "rows inputs"], Float[np.ndarray, "rows dim"]]:
    """Delay vectors and the change that follows them, at about `most` evenly spaced times."""
    memory = (taps - 1) * stride + 1
    cuts = np.lib.stride_tricks.sliding_window_view(train, memory + 1, axis=1)
    cuts = cuts.reshape(-1, train.shape[2], memory + 1)
    cuts = cuts[:: -(-len(cuts) // most)]
    past = cuts[:, :, -2::-stride]  # (rows, dim, taps), the newest first
    vectors = np.ascontiguousarray(past.transpose(0, 2, 1)).reshape(len(cuts), -1)
    return vectors, cuts[:, :, -1] - cuts[:, :, -2]
