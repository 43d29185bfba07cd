"""Training, validation and test data of a dataset, with nothing of one in another."""

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np

from systems.trajectory import Trajectory

By = Literal["time", "trajectory", "system"]


def split(
    dataset: Mapping[str, Trajectory],
    *,
    by: By = "time",
    train: float = 0.8,
    validation: float = 0.1,
    test: float = 0.1,
    gap: float = 5.0,
    seed: int = 0,
) -> dict[str, dict[str, Trajectory]]:
    """`dataset` in parts "train", "validation" and "test" of the given shares, which sum to 1.

    `by="time"` cuts each trajectory into consecutive pieces and drops `gap` Lyapunov times (periods
    where the system is not chaotic) between them, after which the first state tells little of the
    second. `by="trajectory"` deals whole trajectories out, in their order, for each system.
    `by="system"` deals systems out, shuffled by `seed`; all parameter draws of a system stay
    together. A part with share 0 is left out. Raises `ValueError` where a part would be empty.
    """
    shares = {"train": train, "validation": validation, "test": test}
    if not (min(shares.values()) >= 0 and math.isclose(sum(shares.values()), 1.0)):
        raise ValueError(f"the shares of a split are ≥ 0 and sum to 1; {shares} arrived.")
    if not (gap >= 0 and math.isfinite(gap)):
        raise ValueError(f"gap is a number ≥ 0 of Lyapunov times; {gap!r} arrived.")
    if not dataset:
        raise ValueError("there is nothing to split: the dataset is empty.")
    wanted = {part: share for part, share in shares.items() if share > 0}
    match by:
        case "time":
            pieces = {name: _by_time(name, made, wanted, gap) for name, made in dataset.items()}
        case "trajectory":
            pieces = {name: _by_trajectory(name, made, wanted) for name, made in dataset.items()}
        case "system":
            return _by_system(dataset, wanted, seed)
        case _:
            raise ValueError(f"a split is by time, trajectory or system; {by!r} arrived.")
    return {part: {name: pieces[name][part] for name in dataset} for part in wanted}


def _by_time(
    name: str, made: Trajectory, wanted: Mapping[str, float], gap: float
) -> dict[str, Trajectory]:
    unit = made.provenance["lyapunov_time"] or made.provenance["period"]
    dropped = math.ceil(gap * unit / made.provenance["dt"])
    kept = len(made) - dropped * (len(wanted) - 1)
    if kept < len(wanted):
        raise ValueError(
            f"{name}: {len(wanted)} pieces with {dropped} points dropped between them "
            f"({gap:g} x {unit:g} of system time) do not fit into {len(made)} points; take more "
            "points or a smaller gap."
        )
    pieces, first = {}, 0
    for part, size in _sizes(kept, wanted, f"{name}: points").items():
        pieces[part] = made.cut(first, first + size)
        first += size + dropped
    return pieces


def _by_trajectory(
    name: str, made: Trajectory, wanted: Mapping[str, float]
) -> dict[str, Trajectory]:
    pieces, first = {}, 0
    for part, size in _sizes(len(made.states), wanted, f"{name}: trajectories").items():
        pieces[part] = made.some(list(range(first, first + size)))
        first += size
    return pieces


def _by_system(
    dataset: Mapping[str, Trajectory], wanted: Mapping[str, float], seed: int
) -> dict[str, dict[str, Trajectory]]:
    found = sorted({made.system for made in dataset.values()})
    dealt = [found[place] for place in np.random.default_rng(seed).permutation(len(found))]
    parts, first = {}, 0
    for part, size in _sizes(len(found), wanted, "systems").items():
        chosen = set(dealt[first : first + size])
        parts[part] = {name: made for name, made in dataset.items() if made.system in chosen}
        first += size
    return parts


def _sizes(total: int, wanted: Mapping[str, float], what: str) -> dict[str, int]:
    """Whole numbers that sum to `total`, nearest to the shares (largest remainders), none of 0."""
    if total < len(wanted):
        raise ValueError(f"{what}: {total} cannot be split into {len(wanted)} parts.")
    exact = {part: share * total for part, share in wanted.items()}
    sizes = {part: int(size + 1e-9) for part, size in exact.items()}
    # the largest remainders get one more; ties go to the first part
    for part in sorted(wanted, key=lambda part: sizes[part] - exact[part]):
        if sum(sizes.values()) < total:
            sizes[part] += 1
    for part in [part for part, size in sizes.items() if size == 0]:
        sizes[max(sizes, key=lambda other: sizes[other])] -= 1
        sizes[part] = 1
    return sizes
