"""The judge: tasks from systems, forecasts from models, scores, results, leaderboard.

The names below are loaded on first use, so that `dysts-bench --help` need not wait for numpy.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "Result": "records",
    "Suite": "task",
    "Task": "task",
    "read_suite": "task",
    "tasks": "task",
    "ModelSpec": "runner",
    "run": "runner",
    "load_results": "records",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dysts_bench' has no attribute {name!r}")
    return getattr(import_module(f"dysts_bench.{_HOME[name]}"), name)
