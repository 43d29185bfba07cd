"""The judge: tasks from systems, forecasts from models, scores, results, leaderboard.

The names below are loaded on first use, so that `dysts-bench --help` need not wait for numpy.
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
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
    "query": "queries",
}

__all__ = sorted(_HOME)


def _check_neighbours() -> None:
    """`systems` and `models` are common names: another package may hide ours on the path."""
    here = Path(__file__).resolve().parents[1]
    for name in ("systems", "models"):
        spec = find_spec(name)
        found = None if spec is None or spec.origin is None else Path(spec.origin).resolve()
        if found != here / name / "__init__.py":
            raise ImportError(
                f"dysts-bench brings a package `{name}` of its own, in {here}, but Python finds "
                f"{found or 'none'}. Rename that, or start Python from another folder."
            )


_check_neighbours()


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dysts_bench' has no attribute {name!r}")
    return getattr(import_module(f"dysts_bench.{_HOME[name]}"), name)
