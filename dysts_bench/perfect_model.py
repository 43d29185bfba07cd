"""How long a perfect model would be right: the system itself, started a little off.

It is no forecaster, for it knows the equations and the hidden states, and stands beside them as
the measure of what precision in the first step is worth: an e-fold is one Lyapunov time.
"""

import numpy as np
from jaxtyping import Float

import systems
from dysts_bench.metrics import Facts, score
from dysts_bench.task import Task, clock, load, trajectories

_SEED = 0
_APART = 1e-13  # of a deviation, the first distance of a delay system's twins


def valid_prediction_times(task: Task, offset: float) -> Float[np.ndarray, "windows"]:
    """In Lyapunov times (periods), of the system that starts `offset` standard deviations away.

    Of an ODE: on the test windows, from where their contexts end, each coordinate off by a normal
    number; phases, which are not observed themselves, are known. A delay system's past cannot be
    set at will. There, twins start from constant histories next to each other, and the forecast
    begins when they first differ by `offset`.
    """
    facts = load(task).facts
    if systems.load(task.system, edition=task.edition).delays:
        truth, forecast = _twins(task, facts, offset)
    else:
        truth, forecast = _restarted(task, offset)
    [result] = score(truth, forecast, facts, metrics=["valid_prediction_time"])
    return np.array(result.values)


def _restarted(task: Task, offset: float) -> tuple[np.ndarray, np.ndarray]:
    system, time = systems.load(task.system, edition=task.edition), clock(task)
    true = trajectories(task, "test", observe="states")
    begin = task.protocol.context - 1
    start = true[:, begin].copy()
    observed = [i for i, name in enumerate(system.states) if name in system.observables]
    luck = np.random.default_rng(_SEED).normal(size=(len(start), len(observed)))
    start[:, observed] += offset * true[..., observed].std(axis=(0, 1)) * luck
    times = np.arange(time.steps + 1) * time.dt
    twin = systems.simulate(system, times, initial=start).states
    truth = true[:, begin + 1 :]
    return system.observed(truth, times[1:]), system.observed(twin[:, 1:], times[1:])


def _twins(task: Task, facts: Facts, offset: float) -> tuple[np.ndarray, np.ndarray]:
    system, time = systems.load(task.system, edition=task.edition), clock(task)
    # Long enough for a difference of _APART to grow to `offset`, twice over.
    lead = int(2 * np.log(offset / _APART) * time.unit / time.dt)
    times = np.arange(lead + 2 * time.steps) * time.dt
    rng = np.random.default_rng(_SEED)
    dim = len(system.states)
    start = np.array(system.initial) + 0.1 * facts.scale * rng.normal(
        size=(task.protocol.windows, dim)
    )
    one, other = (
        system.observed(systems.simulate(system, times, initial=at).states, times)
        for at in (start, start + _APART * facts.scale)
    )
    apart = np.sqrt((((one - other) / facts.scale) ** 2).mean(axis=2)) >= offset
    begins = apart[:, : lead + time.steps].argmax(axis=1)
    cut = begins[:, None] + np.arange(time.steps)
    truth, forecast = (np.take_along_axis(run, cut[:, :, None], axis=1) for run in (one, other))
    return truth, forecast
