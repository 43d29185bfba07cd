"""Fixtures of the whole suite: a cache of its own, and systems made for one test."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# As in the runner's workers. With more, torch's threads wait for each other, and for the threads
# of the tests beside these: steps that take 1 ms took 50.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from systems.catalog import System, check_system, from_entry

# the oracles beside the tests are imported by name; `tests` itself is no package, as another
# distribution may install one of that name
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session", autouse=True)
def _cache_of_this_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DYSTS_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for one test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("DYSTS_BENCH_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def make_system() -> Callable[..., System]:
    """make_system({"x": "-a*x"}, [1.0], parameters={"a": 2.0}, …): a System of one's own."""

    def make(equations: dict[str, str], initial: list[float], **entry: Any) -> System:
        defaults = {"states": list(equations), "parameters": {}, "period": 1.0}
        system = from_entry("Made", defaults | entry | {"equations": equations, "initial": initial})
        check_system(system)
        return system

    return make
