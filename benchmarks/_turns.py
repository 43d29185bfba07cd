"""Seconds of codes that do one thing, in turns: a busy machine is then unfair to none of them."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any


def in_turns(
    codes: Mapping[str, Callable[[], Any]],
    repetitions: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, float]:
    """Median seconds of each code, of the CPU or by another clock."""
    seconds: dict[str, list[float]] = {code: [] for code in codes}
    for _ in range(repetitions):
        for code, compute in codes.items():
            begun = clock()
            compute()
            seconds[code].append(clock() - begun)
    return {code: statistics.median(spent) for code, spent in seconds.items()}
