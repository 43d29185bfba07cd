"""The Taylor integrator: analytic right-hand sides, several trajectories at once.

Order 20 in double precision leaves the rounding of float64 and little more. Order 36 in
double-double precision (32 digits) makes trajectories that stay right, in every digit of a plot and
nearly every digit of float64, for 50 to 70 Lyapunov times.
"""

import math
import time as clock

import numpy as np
from jaxtyping import Float

from systems import taylor_kernel as kernels
from systems.catalog import System
from systems.jets import compile_step
from systems.lanes import Precision

METHOD = "taylor/1"  # raised whenever the same call would return other bits
WIDTHS: dict[Precision, int] = {"double": 8, "double-double": 4}  # trajectories side by side
TOLERANCES: dict[Precision, float] = {"double": 2.0**-52, "double-double": 2.0**-106}
STEPS_PER_CALL = 20_000  # after so many the clock is read
# A solution that spirals out oscillates ever faster and would need for ever to overflow. In the
# catalog, no system takes more than 5000 steps a period on its attractor, and most take 20.
STEPS_PER_PERIOD = 50_000

_REASONS = {
    kernels.NOT_FINITE: "the solution diverges (states overflow)",
    kernels.COLLAPSED: "the step length collapses: the solution diverges in finite time, or meets "
    "a singularity of its equations",
    kernels.SLOW: f"the solution takes more than {STEPS_PER_PERIOD} steps a period: it diverges, "
    "or the system's period is far too long",
}


def width_of(trajectories: int, precision: Precision) -> int:
    """How many trajectories to follow side by side."""
    return 1 if trajectories == 1 else WIDTHS[precision]


class Lanes:
    """Trajectories on their way, as many as fit side by side.

    `width` is 1 or more; no trajectory depends on it. `advance` fills in the states at further
    times; it can be called again with later ones. `failures` says which trajectories ended, and
    why.
    """

    def __init__(
        self,
        system: System,
        initial: Float[np.ndarray, "trajectories dim"],
        *,
        width: int,
        starts: Float[np.ndarray, "trajectories"] | float = 0.0,
        epochs: Float[np.ndarray, "trajectories"] | float = 0.0,
        precision: Precision = "double",
        tolerance: float | None = None,
        least_scale: float = 0.0,
    ) -> None:
        m, n = initial.shape
        assert m <= width, f"{m} trajectories in {width} lanes"
        self.step = compile_step(system, precision, width)
        self.trajectories = m
        self.period = system.period
        filled = np.concatenate([initial, np.repeat(initial[:1], width - m, axis=0)])
        largest = np.abs(filled).max(axis=1, keepdims=True)
        scale = np.maximum(np.abs(filled), 1e-3 * np.where(largest > 0, largest, 1.0))
        self.states = np.zeros((n, 3, width))
        self.states[:, 0], self.states[:, 2] = filled.T, np.maximum(scale, least_scale).T
        self.clock, self.begin = np.zeros((2, width)), np.zeros((2, width))
        self.epochs = np.zeros(width)
        self.begin[0, :m], self.epochs[:m] = starts, epochs
        self.coefficients = np.empty(self.step.coefficients)
        self.parameters = np.array(self.step.parameters, dtype=float)
        self.conditions = np.zeros(width, dtype=np.int64)
        self.log2_tolerance = math.log2(max(tolerance or 0.0, TOLERANCES[precision]))
        self.failures: dict[int, str] = {}

    def advance(
        self, times: Float[np.ndarray, "times"], *, max_seconds: float = math.inf
    ) -> Float[np.ndarray, "trajectories times dim"]:
        """The states at increasing `times`, counted from the start (not before those of an earlier
        call); rows of a trajectory that fails are nan from where it does."""
        n, width = self.step.dimension, self.step.width
        out = np.full((width, len(times), n), np.nan)
        reached = np.zeros(width, dtype=np.int64)
        reached[self.trajectories :] = len(times)
        offsets, values = np.zeros(kernels.POINTS), np.zeros(kernels.POINTS * n)
        begun = clock.monotonic()
        least = self.period * STEPS_PER_CALL / STEPS_PER_PERIOD
        while True:
            before = self.begin[0].copy()
            status = kernels.compiled().follow(
                self.step.address,
                self.step.series,
                self.parameters,
                n,
                width,
                self.log2_tolerance,
                self.states,
                self.clock,
                self.begin,
                self.epochs,
                self.coefficients,
                times,
                len(times),
                out,
                reached,
                self.conditions,
                offsets,
                values,
                STEPS_PER_CALL,
            )
            if status == kernels.DONE:
                break
            slow = (reached < len(times)) & (self.begin[0] - before < least)
            self.conditions[slow & (self.conditions == kernels.RUNNING)] = kernels.SLOW
            if clock.monotonic() - begun > max_seconds:
                for lane in np.flatnonzero(reached < len(times)):
                    self._fail(int(lane), times, f"the limit of {max_seconds:g} s is used up")
                break
        for lane in np.flatnonzero(self.conditions[: self.trajectories]):
            self._fail(int(lane), times, _REASONS[int(self.conditions[lane])])
        return out[: self.trajectories]

    def _fail(self, lane: int, times: np.ndarray, reason: str) -> None:
        text = f"at time {self.begin[0, lane]:.6g} of {times[-1]:.6g} {reason}"
        self.failures.setdefault(lane, text)
