"""Systems driven by white noise: dx = f(x, t) dt + b dW, with constant b_i for each state.

The method is Rössler's SRA3 (2010, SIAM J. Numer. Anal. 48, 922): for additive noise of strong
order 1.5, and of order 3 where b = 0. A step of length h takes f three times, and for each state
two Gaussian numbers: the increment ΔW of the Wiener process, and its area ΔZ = ∫ (W(s) - W(t)) ds,
whose variances are h and h³/3 and whose covariance is h²/2. The steps are of one length, so that a
seed fixes the path of W.

Delay equations are not supported. Where the right-hand side jumps, the orders are lost.
"""

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float

from systems import machine_code
from systems.burn_in import ATTEMPTS, PERTURBATION
from systems.catalog import System
from systems.generate import _select, simulate
from systems.integrate import IntegrationError
from systems.kernel_compiler import Floats, call_field, load_kernels
from systems.llvm import Compiled, compile_field
from systems.random_streams import random_stream
from systems.trajectory import Trajectory

METHOD = "sra3/1"  # raised whenever the same call would return other bits
ACCURACY = 1e-6  # of a step without noise between two samples, in deviations of the attractor
MOST_STEPS = 2**14  # between two samples
NOISY_BURN_IN = 10.0  # periods with noise, after a burn-in without
BLOCK = 65_536  # steps whose random numbers are drawn at once; no result depends on it


class Diffusion:
    """One noisy trajectory on its way, in `steps` equal steps between two points `dt` apart."""

    def __init__(
        self,
        system: System,
        initial: Float[np.ndarray, "dim"],
        intensity: Float[np.ndarray, "dim"],
        *,
        dt: float,
        steps: int,
        rng: np.random.Generator,
        start: float = 0.0,
    ) -> None:
        """`intensity` is b, in units of the state over the square root of time; `start` the time at
        which the state is `initial`."""
        self.compiled = _field(system)
        self.name = system.name
        self.state = np.array(initial, dtype=float)
        self.intensity = np.array(intensity, dtype=float)
        self.dt, self.steps, self.start = float(dt), int(steps), float(start)
        self.rng = rng
        self.points = 0  # since the start

    def advance(self, points: int) -> Float[np.ndarray, "points dim"]:
        """The states at the next `points` points; the first is `dt` after the present one.

        Raises `IntegrationError` when a state leaves the floating-point range.
        """
        out = np.empty((points, len(self.state)))
        each = max(1, BLOCK // self.steps)
        for first in range(0, points, each):
            block = out[first : first + each]
            h = self.dt / self.steps
            drawn = self.rng.standard_normal((len(block) * self.steps, 2, len(self.state)))
            increments = np.empty_like(drawn)
            increments[:, 0] = math.sqrt(h) * drawn[:, 0]
            increments[:, 1] = h**1.5 / 2 * (drawn[:, 0] + drawn[:, 1] / math.sqrt(3.0))
            follow(
                self.compiled,
                self.state,
                self.intensity,
                self.start,
                h,
                increments,
                block,
                self.points,
            )
            self.points += len(block)
            if not np.isfinite(self.state).all():
                raise IntegrationError(
                    f"{self.name}: before time {self.start + self.points * self.dt:.6g} the noisy "
                    "solution diverges."
                )
        return out


def follow(
    compiled: Compiled,
    state: Float[np.ndarray, "dim"],
    intensity: Float[np.ndarray, "dim"],
    start: float,
    h: float,
    increments: Float[np.ndarray, "steps 2 dim"],
    out: Float[np.ndarray, "points dim"],
    first: int = 0,
) -> None:
    """Step along a given path of W, by its `increments` (ΔW, ΔZ): `state` becomes the last state,
    `out` holds as many as it has room for, equally spaced. `first` is the number, from the time
    `start` on, of the point where `state` is."""
    _kernel().steps_sra3(
        compiled.address,
        np.array(compiled.parameters, dtype=float),
        len(state),
        state,
        np.empty(4 * len(state)),
        intensity,
        start,
        h,
        increments,
        len(increments) // len(out),
        first,
        len(out),
        out,
        np.empty(1),
    )


@cache
def _kernel() -> Any:
    made_from = machine_code.sources("process_noise.py", "kernel_compiler.py")
    return load_kernels((steps_sra3,), made_from)


def steps_sra3(
    field: int,
    parameters: Floats,
    n: int,
    y: Floats,
    scratch: Floats,
    b: Floats,
    start: float,
    h: float,
    increments: Floats,
    steps: int,
    first: int,
    points: int,
    out: Floats,
    nothing: Floats,
) -> None:
    """`points` times `steps` steps from the state `y`; `scratch` has room for 4 states."""
    k1 = scratch[n:]
    k2 = scratch[2 * n :]
    k3 = scratch[3 * n :]
    for point in range(points):
        for step in range(steps):
            number = point * steps + step
            t = start + h * steps * (first + point) + h * step
            dw = increments[2 * n * number :]
            dz = increments[(2 * number + 1) * n :]
            call_field(field, t, y, nothing, parameters, k1)
            for i in range(n):
                scratch[i] = y[i] + h * k1[i]
            call_field(field, t + h, scratch, nothing, parameters, k2)
            for i in range(n):
                # the noise enters here only: Σ B⁰ = 3/2, as b does not depend on the time
                scratch[i] = y[i] + 0.25 * h * (k1[i] + k2[i]) + 1.5 * b[i] * dz[i] / h
            call_field(field, t + 0.5 * h, scratch, nothing, parameters, k3)
            for i in range(n):
                y[i] += h * (k1[i] + k2[i] + 4.0 * k3[i]) / 6.0 + b[i] * dw[i]
        for i in range(n):
            out[point * n + i] = y[i]


# ---- noise as a fraction of the attractor --------------------------------------------------------


def noise_facts(system: System, fraction: float, dt: float) -> dict[str, Any]:
    """What `process_noise=fraction` means for `system`, as JSON: the intensity b of each state, and
    the number of steps between two points.

    b_i = fraction · s_i / √period, where s_i is the standard deviation of the state over 100
    periods of the attractor without noise: within a period the noise alone would carry the state a
    `fraction` of its deviation away. States that are not observed as they are (angles, and the
    clocks of driven systems) get none. Raises `ValueError` for delay equations, for a system that
    has no other states, or one too stiff for an explicit method.
    """
    if not (fraction > 0 and math.isfinite(fraction)):
        raise ValueError(f"process_noise is a number ≥ 0; {fraction!r} arrived.")
    _field(system)  # refuses delay equations
    observe = system.observe or {state: state for state in system.states}
    moved = np.array([observe.get(state) == state for state in system.states])
    times, states = _pilot(system)
    deviation = states.std(axis=0)
    if not (deviation[moved] > 0).any():
        raise ValueError(
            f"{system.name}: process_noise is a fraction of the attractor's deviation, but no "
            "state is both observed as it is and moving. `process_noise.Diffusion` takes "
            "intensities."
        )
    intensity = np.where(moved, fraction * deviation / math.sqrt(system.period), 0.0)
    return {
        "process_noise": float(fraction),
        "sde_method": METHOD,
        "intensity": [float(value) for value in intensity],
        "steps": _steps(system, times, states, deviation, dt),
    }


def generate_noisy(
    system: System, facts: Mapping[str, Any], coordinates: tuple[str, ...]
) -> Trajectory:
    """The trajectories that `facts` determine, without observation noise."""
    times = np.arange(facts["n"]) * facts["dt"]
    runs, rejected = [], 0
    for number in range(facts["trajectories"]):
        diffusion, first, failures = start_noisy(system, facts, number)
        states = np.concatenate([first, diffusion.advance(facts["n"] - 1)])
        begun = diffusion.start + (diffusion.points - facts["n"] + 1) * facts["dt"]
        runs.append(_select(system, states, begun + times, coordinates))
        rejected += failures
    return Trajectory(times, np.stack(runs), coordinates, dict(facts) | {"rejected": rejected})


def start_noisy(
    system: System, facts: Mapping[str, Any], number: int
) -> tuple[Diffusion, Float[np.ndarray, "1 dim"], int]:
    """Trajectory `number` at its first point: after a burn-in without and one with noise.

    Also how many initial states escaped before. A trajectory that escapes later is an error.
    """
    rng = random_stream(system, facts["seed"], "process noise", number)
    for failures in range(ATTEMPTS):
        initial = np.array(system.initial)
        initial = initial * (1 + PERTURBATION * rng.standard_normal(initial.shape))
        burn_in = facts["transient"] * (1 + rng.uniform()) * system.period
        try:
            state = simulate(
                system, np.array([burn_in]), initial=initial[None], precision="double"
            ).states[0, 0]
            diffusion = Diffusion(
                system,
                state,
                np.array(facts["intensity"]),
                dt=facts["dt"],
                steps=facts["steps"],
                rng=rng,
                start=burn_in,
            )
            points = math.ceil(NOISY_BURN_IN * system.period / facts["dt"])
            return diffusion, diffusion.advance(points)[-1:], failures
        except IntegrationError as error:
            last = error
    raise IntegrationError(
        f"{system.name}: with noise, {ATTEMPTS} initial states near the catalog's escape. "
        f"Last: {last}"
    ) from last


def _field(system: System) -> Compiled:
    if system.delays:
        raise ValueError(f"{system.name}: there is no process noise for delay equations.")
    return compile_field(system)


def _pilot(system: System) -> tuple[np.ndarray, np.ndarray]:
    """Times and states of 100 periods without noise, after a burn-in of 50."""
    times = system.period * np.linspace(50.0, 150.0, 4001)
    states = simulate(system, times, rtol=1e-9, atol=1e-9).states[0]
    return times, states


def _steps(
    system: System, times: np.ndarray, states: np.ndarray, deviation: np.ndarray, dt: float
) -> int:
    """The least power of 2 of steps that, doubled, change no state of the pilot's next point by
    more than ACCURACY deviations."""
    compiled, still = compile_field(system), np.zeros(system.dimension)
    scale = np.where(deviation > 0, deviation, 1.0)

    def ends(steps: int) -> np.ndarray:
        found = np.empty((len(times[::20]), system.dimension))
        nothing = np.zeros((steps, 2, system.dimension))
        for time, state, end in zip(times[::20], states[::20], found, strict=True):
            follow(compiled, state.copy(), still, time, dt / steps, nothing, end[None])
        return found

    steps, coarse = 1, ends(1)
    while steps <= MOST_STEPS:
        fine = ends(2 * steps)
        if np.abs((fine - coarse) / scale).max() < ACCURACY:  # False where one is not finite
            return steps
        steps, coarse = 2 * steps, fine
    raise ValueError(
        f"{system.name}: process noise would take more than {MOST_STEPS} steps between two points; "
        "the system is too stiff for an explicit method, or it jumps. Take a smaller dt."
    )
