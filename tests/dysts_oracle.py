"""dysts 0.96 as the oracle for right-hand sides: the same states and parameters into both."""

import copy
from functools import cache
from typing import Any

import numpy as np

from systems.catalog import System


@cache
def systems_of_dysts() -> dict[str, type]:
    """Its classes by name."""
    import dysts.flows
    from dysts.base import DynSys, DynSysDelay

    return {
        name: kind
        for name, kind in vars(dysts.flows).items()
        if isinstance(kind, type) and issubclass(kind, DynSys | DynSysDelay)
        if kind not in (DynSys, DynSysDelay)
    }


def largest_relative_difference(system: System, draws: int = 20, seed: int = 0) -> float:
    """Largest difference between our right-hand side (edition `dysts`) and dysts' own over random
    states and parameters (±20 %), relative to the size of the terms that make up the component."""
    rng = np.random.default_rng(seed)
    flow = systems_of_dysts()[system.name]
    original = flow().params
    worst, compared = 0.0, 0
    for draw in range(draws):
        # whole numbers are often exponents: perturbed in every second draw only, as a broken
        # exponent of a negative state is nan on both sides
        theirs = {
            name: _perturbed(value, rng, whole_too=draw % 2 == 1)
            for name, value in original.items()
        }
        model = flow(parameters=copy.deepcopy(theirs))
        ours = system.with_parameters(**_flattened(theirs, system))
        state = np.array(system.initial)
        state = state + 0.3 * (np.abs(state) + 0.1) * rng.standard_normal(state.size)
        time = float(rng.uniform(0, 10))
        delayed = np.array([state[d.state] + rng.standard_normal() for d in system.delays])
        arguments = (state, time, delayed) if system.delays else (state, time)
        with np.errstate(all="ignore"):
            expected = _theirs(model, state, time, delayed)
            actual = ours.rhs()(*arguments)
            scale = np.abs(expected) + _size_of_terms(ours, *arguments)
            difference = np.abs(actual - expected) / scale
        both_nan = np.isnan(expected) & np.isnan(actual)
        compared += int((~both_nan).all())
        difference = np.where(both_nan | (actual == expected), 0.0, difference)
        worst = max(worst, float(np.nan_to_num(difference, nan=np.inf).max()))
    return worst if compared >= draws // 4 else float("nan")


def _perturbed(value: Any, rng: np.random.Generator, whole_too: bool) -> Any:
    array = np.asarray(value)
    if not np.issubdtype(array.dtype, np.number):
        return value  # dysts marks a missing value by None
    if np.issubdtype(array.dtype, np.integer) and not whole_too:
        return value
    perturbed = array * rng.uniform(0.8, 1.2, array.shape)
    return float(perturbed) if array.ndim == 0 else perturbed


def _flattened(theirs: dict[str, Any], system: System) -> dict[str, float]:
    """dysts' parameters under our names: k[0][1] is `k_0_1`; a reserved name ends with `_`."""
    flat: dict[str, float] = {}
    for name, value in theirs.items():
        for index, number in np.ndenumerate(np.asarray(value)):
            ours = "_".join([name, *map(str, index)])
            for candidate in (ours, ours + "_"):
                if candidate in system.parameters:
                    flat[candidate] = float(number)
    return flat


def _theirs(model: Any, state: np.ndarray, time: float, delayed: np.ndarray) -> np.ndarray:
    if delayed.size:
        value = model._rhs(state[0], delayed[0], time, *model.param_list)
    else:
        value = model.rhs(state, time)
    return np.asarray(value, dtype=float).ravel()


def _size_of_terms(
    system: System, state: np.ndarray, time: float, delayed: np.ndarray | None = None
) -> np.ndarray:
    """|∂f/∂x · x| summed over the states: as large as the terms, also where they cancel."""
    field = system.rhs()
    rest = (time,) if delayed is None else (time, delayed)
    middle = field(state, *rest)
    total = np.zeros(system.dimension)
    for i in range(system.dimension):
        moved = state.copy()
        moved[i] *= 1 + 1e-6
        total += 1e6 * np.abs(field(moved, *rest) - middle)
    return np.nan_to_num(total, nan=0.0, posinf=0.0)
