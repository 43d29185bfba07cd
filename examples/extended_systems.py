"""Local reservoirs on extended systems: Kuramoto-Sivashinsky and Lorenz96 with 40 variables.

    python examples/extended_systems.py

Prints the largest Lyapunov exponents of both, measured here, and for how many Lyapunov times
`esn` and `parallel_esn` forecast them.
"""

import time
from collections.abc import Callable

import numpy as np

from models.parallel_reservoir import ParallelESN
from models.reservoir import ESN

Step = Callable[[np.ndarray], np.ndarray]  # (trajectories, dim) to the same, one sample later

# Length, points and sampling of Pathak et al. (2018) and Vlachas et al. (2020), who find exponents
# of 0.043 to 0.048 for L = 22. Lorenz96 with F = 8 and N = 40 has 1.67 to 1.69.
SAMPLING = {"kuramoto_sivashinsky": 0.25, "lorenz96": 0.05}


def kuramoto_sivashinsky(length: float = 22.0, points: int = 64, dt: float = 0.25) -> Step:
    """u_t = -u u_x - u_xx - u_xxxx, periodic, by ETDRK4 (Kassam & Trefethen 2005)."""
    k = 2 * np.pi / length * np.arange(points // 2 + 1)
    linear = k**2 - k**4
    # Contour integrals: the formulas themselves cancel where dt · linear is small.
    around = dt * linear[:, None] + np.exp(1j * np.pi * (np.arange(32) + 0.5) / 32)
    e = np.exp(around)
    q = dt * ((np.exp(around / 2) - 1) / around).mean(1).real
    first = dt * ((-4 - around + e * (4 - 3 * around + around**2)) / around**3).mean(1).real
    middle = dt * ((2 + around + e * (around - 2)) / around**3).mean(1).real
    last = dt * ((-4 - 3 * around - around**2 + e * (4 - around)) / around**3).mean(1).real
    full, half = np.exp(dt * linear), np.exp(dt * linear / 2)
    derivative = -0.5j * k
    derivative[2 * len(derivative) // 3 :] = 0  # products of the higher ones would fold back

    def nonlinear(v: np.ndarray) -> np.ndarray:
        return derivative * np.fft.rfft(np.fft.irfft(v, points) ** 2)

    def step(u: np.ndarray) -> np.ndarray:
        v = np.fft.rfft(u)
        here = nonlinear(v)
        a = half * v + q * here
        at_a = nonlinear(a)
        at_b = nonlinear(half * v + q * at_a)
        at_c = nonlinear(half * a + q * (2 * at_b - here))
        return np.fft.irfft(full * v + first * here + 2 * middle * (at_a + at_b) + last * at_c)

    return step


def lorenz96(forcing: float = 8.0, dt: float = 0.05, substeps: int = 4) -> Step:
    """x_i' = (x_{i+1} - x_{i-2}) x_{i-1} - x_i + forcing, by Runge-Kutta of order 4."""
    h = dt / substeps

    def rhs(x: np.ndarray) -> np.ndarray:
        return (np.roll(x, -1, 1) - np.roll(x, 2, 1)) * np.roll(x, 1, 1) - x + forcing

    def step(x: np.ndarray) -> np.ndarray:
        for _ in range(substeps):
            one = rhs(x)
            two = rhs(x + h / 2 * one)
            three = rhs(x + h / 2 * two)
            x = x + h / 6 * (one + 2 * two + 2 * three + rhs(x + h * three))
        return x

    return step


def trajectories(step: Step, start: np.ndarray, burn_in: int, times: int) -> np.ndarray:
    """(trajectories, times, dim) from `start`, after `burn_in` steps."""
    x, states = start, []
    for t in range(burn_in + times):
        x = step(x)
        if t >= burn_in:
            states.append(x)
    return np.stack(states, axis=1)


def largest_exponent(step: Step, start: np.ndarray, dt: float, steps: int) -> float:
    """Mean growth rate of a small difference, shrunk again after every step (Benettin 1980)."""
    small = 1e-7
    x = start
    y = x + small * np.random.default_rng(0).standard_normal(x.shape)
    growth = []
    for t in range(steps):
        x, y = step(x), step(y)
        size = np.linalg.norm(y - x, axis=1, keepdims=True)
        y = x + small * (y - x) / size
        if t > steps // 10:
            growth.append(np.log(size / small))
    return float(np.mean(growth)) / dt


def valid_times(forecast: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Steps until the root mean square error first exceeds 0.4 standard deviations."""
    wrong = ~(np.sqrt(((forecast - truth) ** 2).mean(axis=2)) <= 0.4)
    return np.where(wrong.any(axis=1), wrong.argmax(axis=1), wrong.shape[1])


def main(train: int = 10_000, windows: int = 16, seed: int = 100) -> None:
    rng = np.random.default_rng(seed)
    grid = 2 * np.pi * np.arange(64) / 64
    phases = rng.uniform(0, 2 * np.pi, (windows + 2, 3, 1))
    # The mean of u is conserved, and zero.
    waves = sum(np.cos((m + 1) * grid + phases[:, m]) for m in range(3))
    for name, step, start, every, horizon, local in (
        # Every second point: neighbours that are nearly equal make free runs unstable.
        (
            "kuramoto_sivashinsky",
            kuramoto_sivashinsky(),
            waves,
            2,
            1000,
            ParallelESN(
                units=500,
                neighbourhoods=((4, 8),),
                shared=(True,),
                dynamics=((0.1, 1.0, 0.1, 0.5), (0.4, 1.0, 0.3, 1.0)),
                ridges=(1e-9, 1e-6, 1e-4, 1e-2, 1.0, 100.0),
            ),
        ),
        ("lorenz96", lorenz96(), 8 + rng.standard_normal((windows + 2, 40)), 1, 240, ParallelESN()),
    ):
        dt = SAMPLING[name]
        on_attractor = trajectories(step, start, 2000, 1)[:, 0]
        exponent = largest_exponent(step, on_attractor, dt, 6000)
        long = trajectories(step, on_attractor[:1], 0, train)[:, :, ::every]
        short = trajectories(step, on_attractor[1:], 0, 2000)[:, :, ::every]
        print(f"{name}: {long.shape[2]} coordinates, largest exponent {exponent:.4f}")
        mean, std = long.mean(), long.std()  # of all places: they are alike
        fit_on, validation, tests = (
            (x - mean) / std for x in (long, short[:1], short[1:, : 128 + horizon])
        )
        for label, model in (("esn", ESN(units=1000)), ("parallel_esn", local)):
            begun = time.process_time()
            model.fit(fit_on, dt=dt, validation=validation, seed=seed)
            spent = time.process_time() - begun
            forecast = model.predict(tests[:, :128], horizon)
            vpt = valid_times(forecast, tests[:, 128:]) * dt * exponent
            low, middle, high = np.quantile(vpt, [0.25, 0.5, 0.75])
            print(
                f"  {label:13} median {middle:.1f} Lyapunov times ({low:.1f} to {high:.1f}), "
                f"fitted in {spent:.0f} CPU s, {dict(model.chosen_)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
