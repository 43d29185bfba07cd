"""From the start of a process to 1000 points of all 135 systems, beside dysts.

    python -m benchmarks.start [--repetitions 5] [--cap 20] [--again] [--only-ours]

Every figure is the CPU time (user + system) of child processes, in seconds. Ours starts at an
interpreter with nothing imported and ends with the trajectories in memory; nothing of them is read
from a cache. Double-double is the default, where the equations allow it. Cold: no machine code is
kept from earlier runs either. dysts runs with its default options, a process a system, which is
stopped at `cap` seconds and then counts that much: a lower bound. Its systems are kept in
benchmarks/out/start.jsonl as they finish, and a later call goes on from there unless `--again`.
"""

import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

OUT = Path(__file__).with_name("out") / "start.jsonl"
POINTS, POINTS_PER_PERIOD = 1000, 100
OURS = f"""
import systems
made = systems.make_dataset(
    systems.names(), {POINTS}, points_per_period={POINTS_PER_PERIOD}, transient=0, cache=False,
    precision={{precision!r}}
)
assert all(len(trajectory) == {POINTS} for trajectory in made.values())
"""  # format it with a precision
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def main(repetitions: int = 5, cap: int = 20, again: bool = False, only_ours: bool = False) -> None:
    """Print the table; ours is the least of `repetitions`."""
    os.environ.update(ONE_THREAD)
    theirs = None if only_ours else _dysts(cap, again)
    rows = []
    for precision, kind in ((None, "double-double"), ("double", "double")):
        code = OURS.format(precision=precision)
        with tempfile.TemporaryDirectory() as folder:
            caches = [Path(folder) / str(number) for number in range(repetitions)]
            rows.append((f"ours, {kind}, cold", min(_ours(code, cache) for cache in caches)))
            warm = min(_ours(code, caches[0]) for _ in range(repetitions))
            rows.append((f"ours, {kind}, warm", warm))
    numpy = min(_child("import numpy") for _ in range(repetitions))
    table = Table("process start to trajectories", "CPU s", "dysts takes", title=_machine())
    for label, seconds in rows:
        table.add_row(label, f"{seconds:.3f}", f"{theirs / seconds:.0f}x" if theirs else "")
    table.add_row("of which import numpy", f"{numpy:.3f}", "")
    if theirs:
        table.add_row(f"dysts {version('dysts')}, each system at most {cap} s", f"{theirs:.1f}", "")
    Console().print(table)


def _machine() -> str:
    load = os.getloadavg()[0]
    return f"Python {sys.version.split()[0]}, {os.cpu_count()} CPUs, load {load:.1f}"


def _ours(code: str, cache: Path) -> float:
    return _child(code, DYSTS_BENCH_CACHE=str(cache), NUMBA_CACHE_DIR=str(cache / "numba"))


def _child(code: str, **environment: str) -> float:
    before = _children()
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | environment)
    return _children() - before


def _children() -> float:
    """CPU seconds of all ended children so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


# ---- dysts ---------------------------------------------------------------------------------------


def _dysts(cap: int, again: bool) -> float:
    """CPU seconds of dysts for all systems, its import counted once."""
    import systems

    OUT.parent.mkdir(exist_ok=True)
    if again:
        OUT.unlink(missing_ok=True)
    known = {row["system"]: row for row in _rows() if row["cap"] == cap}
    if known:
        print(f"{len(known)} systems of dysts were timed by an earlier call; --again times all")
    loading = min(_child("import dysts.flows") for _ in range(3))
    for name in systems.names():
        if name not in known:
            known[name] = _one(name, cap)
            with OUT.open("a", encoding="utf-8") as file:
                file.write(json.dumps(known[name]) + "\n")
    rows = [known[name] for name in systems.names()]
    stopped = [row["system"] for row in rows if row["status"] == "stopped"]
    failed = [row["system"] for row in rows if row["status"] == "failed"]
    print(f"dysts: import {loading:.2f} s; stopped at {cap} s: {len(stopped)}, failed: {failed}")
    return loading + sum(row["seconds"] for row in rows)


def _rows() -> Iterator[dict[str, Any]]:
    """The rows of earlier calls; a line torn by an interrupt is passed over."""
    for line in OUT.read_text(encoding="utf-8").splitlines() if OUT.exists() else ():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def _one(name: str, cap: int) -> dict[str, Any]:
    import dysts.flows

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (cap, cap + 1))
        made = getattr(dysts.flows, name)().make_trajectory(
            POINTS, pts_per_period=POINTS_PER_PERIOD
        )
        os._exit(0 if made is not None and len(made) == POINTS else 1)

    before, begun = _children(), time.monotonic()
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(30 * cap)  # a limit on waiting only: CPU time ends it long before
    process.kill()
    process.join()
    seconds = _children() - before
    status = {0: "ok", 1: "failed"}.get(process.exitcode or 0, "stopped")
    return {
        "system": name,
        "seconds": round(min(seconds, cap), 3),
        "wall": round(time.monotonic() - begun, 3),
        "status": status,
        "cap": cap,
    }


if __name__ == "__main__":
    typer.run(main)
