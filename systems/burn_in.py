"""Trajectories that have forgotten where they began: perturbed states, run to the attractor.

A trajectory is integrated twice: through its burn-in in double precision, then from the state that
it has reached, as a float64, at time 0 of its recorded times. So the recorded states are the
solution through the first of them, to the precision of the second integration.
"""

import numpy as np
from jaxtyping import Float

from systems.catalog import System
from systems.integrate import IntegrationError
from systems.lanes import Precision
from systems.random_streams import random_stream
from systems.solve import solve

PERTURBATION = 1e-3  # relative size of the random change of the catalog's initial state
ATTEMPTS = 20  # initial states tried for one trajectory before the system is said to escape


def on_attractor(
    system: System,
    times: Float[np.ndarray, "times"],
    *,
    trajectories: int,
    seed: int,
    transient: float,
    precision: Precision,
    rtol: float | None = None,
    atol: float | None = None,
) -> tuple[Float[np.ndarray, "trajectories times dim"], Float[np.ndarray, "trajectories"], int]:
    """States at `times` after the burn-ins, the lengths of those (system time), and how many
    initial states were tried and escaped.

    Each trajectory draws its initial state and its burn-in, of `transient` to twice as many
    periods, from a stream of its own. Raises `IntegrationError` after `ATTEMPTS` failures of one.
    """
    m = trajectories
    streams = [random_stream(system, seed, "initial states", number) for number in range(m)]
    states = np.empty((m, len(times), system.dimension))
    burn_ins = np.empty(m)
    pending, rejected = list(range(m)), 0
    for _ in range(ATTEMPTS):
        drawn = [_draw(system, transient, streams[number]) for number in pending]
        starts = np.array([state for state, _ in drawn])
        lengths = np.array([length for _, length in drawn])
        burn_ins[pending] = lengths
        made, reasons = _run(system, times, starts, lengths, precision, rtol, atol)
        states[pending] = made
        pending = [number for place, number in enumerate(pending) if place in reasons]
        rejected += len(pending)
        if not pending:
            return states, burn_ins, rejected
    raise IntegrationError(
        f"{system.name}: {ATTEMPTS} initial states near the catalog's escape. "
        f"Last: {next(iter(reasons.values()))}"
    )


def _draw(
    system: System, transient: float, stream: np.random.Generator
) -> tuple[Float[np.ndarray, "dim"], float]:
    initial = np.array(system.initial)
    start = initial * (1 + PERTURBATION * stream.standard_normal(initial.shape))
    return start, transient * (1 + stream.uniform()) * system.period


def _run(
    system: System,
    times: np.ndarray,
    starts: np.ndarray,
    burn_ins: np.ndarray,
    precision: Precision,
    rtol: float | None,
    atol: float | None,
) -> tuple[np.ndarray, dict[int, str]]:
    if system.delays:  # the state after the burn-in is a whole piece of the past
        return _through(system, times, starts, burn_ins, rtol, atol)
    at_end, zero = np.zeros(1), np.zeros(len(starts))
    reached, escaped = solve(
        system, at_end, starts, starts=-burn_ins, epochs=burn_ins, precision="double",
        rtol=rtol, atol=atol,
    )  # fmt: skip
    kept = [i for i in range(len(starts)) if i not in escaped]
    states = np.empty((len(starts), len(times), system.dimension))
    if kept:
        states[kept], later = solve(
            system, times, reached[kept, 0], starts=zero[kept], epochs=burn_ins[kept],
            precision=precision, rtol=rtol, atol=atol,
        )  # fmt: skip
        escaped |= {kept[i]: reason for i, reason in later.items()}
    return states, escaped


def _through(
    system: System,
    times: np.ndarray,
    starts: np.ndarray,
    burn_ins: np.ndarray,
    rtol: float | None,
    atol: float | None,
) -> tuple[np.ndarray, dict[int, str]]:
    states = np.empty((len(starts), len(times), system.dimension))
    escaped: dict[int, str] = {}
    for i, (start, burn_in) in enumerate(zip(starts, burn_ins, strict=True)):
        made, reasons = solve(system, burn_in + times, start[None], rtol=rtol, atol=atol)
        states[i] = made[0]
        if reasons:
            escaped[i] = reasons[0]
    return states, escaped
