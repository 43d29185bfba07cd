"""System → trajectories on the attractor: burn-in, sampling, noise, observation.

Shared parameters: `dt` and times are in system time; `transient` is the burn-in in periods; `seed`
fixes everything random. A call with equal arguments returns equal bits on one machine.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cache as once
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from systems.burn_in import PERTURBATION, on_attractor
from systems.catalog import CATALOG, System
from systems.integrate import IntegrationError
from systems.lanes import Precision
from systems.random_streams import random_stream
from systems.solve import method_of, precision_of, solve
from systems.storage import cached
from systems.trajectory import Trajectory

Observe = Literal["all", "states"] | Sequence[str]
Solver = Literal["compiled", "diffrax", "auto"]

POINTS_PER_PERIOD = 100.0  # where no other sampling is asked for


def simulate(
    system: System,
    times: Float[np.ndarray, "times"],
    *,
    initial: Float[np.ndarray, "trajectories dim"] | None = None,
    precision: Precision | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    max_seconds: float = math.inf,
    backend: Solver = "compiled",
) -> Trajectory:
    """The raw states through `initial` at time 0 (default: the catalog's), without burn-in.

    `precision`: "double" or "double-double" (32 digits on the way, analytic equations only);
    default: the best that the equations allow, or "double" where a tolerance is given. `rtol`,
    `atol`: bounds on the error of a step, relative and in the states' units; default: rounding. A
    delay system holds `initial` for all times before 0. `backend`: "diffrax" computes on the device
    of JAX, in double precision; "auto" does where that was measured to be faster. Raises
    `IntegrationError` for a trajectory that diverges.
    """
    if initial is None:
        initial = np.array([system.initial])
    if _on_diffrax(system, len(initial), backend, precision, max_seconds):
        return _simulate_on_diffrax(system, times, initial, rtol, atol)
    precision = precision_of(system, precision, rtol)
    states, failures = solve(
        system,
        times,
        initial,
        precision=precision,
        rtol=rtol,
        atol=atol,
        max_seconds=max_seconds,
    )
    if failures:
        number, reason = next(iter(failures.items()))
        raise IntegrationError(f"{system.name}: trajectory {number}: {reason}.")
    provenance = _facts(system, precision) | {"rtol": rtol, "atol": atol}
    return Trajectory(np.array(times, dtype=float), states, system.states, provenance)


def _on_diffrax(
    system: System,
    trajectories: int,
    backend: Solver,
    precision: Precision | None,
    max_seconds: float,
) -> bool:
    if backend not in ("compiled", "diffrax", "auto"):
        raise ValueError(f"backends are compiled, diffrax and auto; {backend!r} arrived.")
    possible = precision != "double-double" and max_seconds == math.inf
    if backend == "diffrax" and not possible:
        raise ValueError(
            f"{system.name}: diffrax computes in double precision and knows no max_seconds; leave "
            'them out, or take backend="compiled".'
        )
    if backend == "auto":
        from systems.integrate_diffrax import is_faster

        return possible and is_faster(system, trajectories)
    return backend == "diffrax"


def _simulate_on_diffrax(
    system: System, times: np.ndarray, initial: np.ndarray, rtol: float | None, atol: float | None
) -> Trajectory:
    from systems import integrate_diffrax as on_diffrax

    rtol = on_diffrax.RTOL if rtol is None else rtol
    atol = on_diffrax.ATOL if atol is None else atol
    states = on_diffrax.integrate(system, times, initial, rtol=rtol, atol=atol)
    facts = _facts(system, "double") | {"method": on_diffrax.METHOD, "rtol": rtol, "atol": atol}
    return Trajectory(np.array(times, dtype=float), states, system.states, facts)


def trajectory(
    system: System,
    n: int,
    *,
    points_per_period: float | None = None,
    points_per_lyapunov_time: float | None = None,
    dt: float | None = None,
    trajectories: int = 1,
    seed: int = 0,
    transient: float | None = None,
    process_noise: float = 0.0,
    noise: float = 0.0,
    observe: Observe = "all",
    precision: Precision | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    cache: bool = True,
) -> Trajectory:
    """`n` points of each of `trajectories` independent trajectories on the attractor.

    Each starts from the catalog's initial state, slightly perturbed, and runs through a burn-in of
    `transient` to twice as many periods (drawn at random, so that phases differ too; default: 50,
    longer where the Lyapunov time is long). The sampling is one of `points_per_period` (default:
    100), `points_per_lyapunov_time`, or `dt` in system time. `process_noise` adds white noise to
    the equations, see `systems.process_noise`; `noise` adds Gaussian observation noise, as a
    fraction of each coordinate's standard deviation. `observe`: "all" observed coordinates, the raw
    "states", or a list of names of either. Results are cached on disk; `cache=False` computes
    afresh and stores nothing.

    Raises `ValueError` for arguments out of range and `IntegrationError` if every attempted initial
    state escapes.
    """
    facts = sampling_facts(
        system,
        n,
        step(system, points_per_period, points_per_lyapunov_time, dt),
        trajectories=trajectories,
        seed=seed,
        transient=transient,
        noise=noise,
        observe=observe,
        precision=precision,
        rtol=rtol,
        atol=atol,
    )
    if process_noise:
        from systems.process_noise import noise_facts

        facts |= noise_facts(system, process_noise, facts["dt"])
    return cached(facts, lambda: _made(system, facts)) if cache else _made(system, facts)


def step(
    system: System,
    points_per_period: float | None = None,
    points_per_lyapunov_time: float | None = None,
    dt: float | None = None,
) -> float:
    """The time between two points, in system time, by the one of three samplings that is given.

    Raises `ValueError` where two are, or where the system has no Lyapunov time.
    """
    given = {
        "points_per_period": points_per_period,
        "points_per_lyapunov_time": points_per_lyapunov_time,
        "dt": dt,
    }
    chosen = {label: float(value) for label, value in given.items() if value is not None}
    if len(chosen) > 1:
        raise ValueError(
            f"the sampling is one of {', '.join(given)}; {' and '.join(chosen)} arrived."
        )
    [(label, value)] = chosen.items() or [("points_per_period", POINTS_PER_PERIOD)]
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{system.name}: {label} is positive and finite; {value:g} arrived.")
    if label == "dt":
        return value
    if label == "points_per_period":
        return system.period / value
    if not math.isfinite(system.lyapunov_time):
        raise ValueError(
            f"{system.name}: no Lyapunov time is known (the system is not chaotic, or was not "
            "measured); sample it by points_per_period or dt."
        )
    return system.lyapunov_time / value


def sampling_facts(
    system: System,
    n: int,
    dt: float,
    *,
    trajectories: int,
    seed: int,
    transient: float | None,
    noise: float,
    observe: Observe,
    precision: Precision | None,
    rtol: float | None,
    atol: float | None,
) -> dict[str, Any]:
    """All that determines the numbers of a trajectory, checked; JSON."""
    _check_numbers(n, trajectories, seed, noise)
    burn_in = _default_transient(system) if transient is None else float(transient)
    if not (burn_in >= 0 and math.isfinite(burn_in)):
        raise ValueError(f"{system.name}: transient is finite and ≥ 0; {burn_in:g} arrived.")
    return _facts(system, precision_of(system, precision, rtol)) | {
        "n": int(n),
        "dt": dt,
        "period": system.period,
        "lyapunov_time": system.lyapunov_time if math.isfinite(system.lyapunov_time) else None,
        "trajectories": int(trajectories),
        "seed": int(seed),
        "transient": burn_in,
        "perturbation": PERTURBATION,
        "noise": float(noise),
        "coordinates": list(_coordinates(system, observe)),
        "rtol": rtol,
        "atol": atol,
    }


def _made(system: System, facts: dict[str, Any]) -> Trajectory:
    coordinates = tuple(facts["coordinates"])
    if "process_noise" in facts:
        from systems.process_noise import generate_noisy

        made = generate_noisy(system, facts, coordinates)
    else:
        made = _generate(system, facts | {"noise": 0.0}, coordinates)
    origin = {"parameters": dict(system.parameters), "catalog_hash": catalog_hash()}
    return Trajectory(
        made.times,
        _with_noise(made.states, system, facts),
        coordinates,
        {**made.provenance, **facts, **origin},
    )


def _with_noise(states: np.ndarray, system: System, facts: Mapping[str, Any]) -> np.ndarray:
    """Observation noise, scaled by the deviation of each trajectory and drawn from a stream of each
    one, so that asking for more trajectories changes none."""
    if not facts["noise"]:
        return states
    noisy = []
    for number, run in enumerate(states):
        rng = random_stream(system, facts["seed"], "observation noise", number)
        noisy.append(run + facts["noise"] * run.std(axis=0) * rng.standard_normal(run.shape))
    return np.stack(noisy)


@once
def catalog_hash() -> str:
    """Hex digest of the built-in catalog.json, as it was read."""
    return hashlib.sha256(CATALOG.read_bytes()).hexdigest()[:16]


def _check_numbers(n: int, trajectories: int, seed: int, noise: float) -> None:
    for label, value in (("n", n), ("trajectories", trajectories)):
        if not (isinstance(value, int | np.integer) and value >= 1):
            raise ValueError(f"{label} is a positive whole number; {value!r} arrived.")
    if not (isinstance(seed, int | np.integer) and seed >= 0):
        raise ValueError(f"seed is a whole number ≥ 0; {seed!r} arrived.")
    if not (noise >= 0 and math.isfinite(noise)):
        raise ValueError(f"noise is a fraction ≥ 0 of the standard deviation; {noise!r} arrived.")


def _coordinates(system: System, observe: Observe) -> tuple[str, ...]:
    if observe == "all":
        return system.observables
    if observe == "states":
        return system.states
    chosen = (observe,) if isinstance(observe, str) else tuple(observe)
    if not chosen:
        raise ValueError(f"{system.name}: observe names at least one coordinate; none arrived.")
    known = {*system.observables, *system.states}
    for name in chosen:
        if name not in known:
            raise ValueError(
                f"{system.name}: `{name}` is neither an observed coordinate nor a state; "
                f"there are {', '.join(dict.fromkeys([*system.observables, *system.states]))}."
            )
    return chosen


def _default_transient(system: System) -> float:
    """Periods after which trajectories from neighbouring initial states have nothing in common, or
    a test window would be a copy of a piece of the training data."""
    if math.isfinite(system.lyapunov_time):
        return min(max(50.0, 40.0 * system.lyapunov_time / system.period), 5000.0)
    if "transient" in system.tags:
        return 20.0  # a longer burn-in would leave the chaotic transient
    return 50.0


def _facts(system: System, precision: Precision) -> dict[str, Any]:
    return {
        "system": system.name,
        "edition": system.edition,
        "system_hash": system.hash,
        "method": method_of(system, precision),
        "precision": precision,
    }


def _generate(system: System, facts: Mapping[str, Any], coordinates: tuple[str, ...]) -> Trajectory:
    times = np.arange(facts["n"]) * facts["dt"]
    names = ("trajectories", "seed", "transient", "precision", "rtol", "atol")
    states, burn_ins, rejected = on_attractor(
        system, times, **{name: facts[name] for name in names}
    )
    seen = [
        _select(system, run, burn_in + times, coordinates)
        for run, burn_in in zip(states, burn_ins, strict=True)
    ]
    return Trajectory(times, np.stack(seen), coordinates, dict(facts) | {"rejected": rejected})


def _select(
    system: System, states: np.ndarray, times: np.ndarray, coordinates: tuple[str, ...]
) -> np.ndarray:
    if coordinates == system.states:
        return states
    observed = system.observed(states, times)
    if coordinates == system.observables:
        return observed
    columns = dict(zip(system.states, states.T, strict=True))
    columns |= dict(zip(system.observables, observed.T, strict=True))
    return np.stack([columns[name] for name in coordinates], axis=-1)
