"""Kill a run with SIGKILL at random moments, resume it, and compare it with an undisturbed one.

    python -m benchmarks.resume [--kills 10] [--systems Lorenz,Rossler,…] [--seed 0]

Both runs start with an empty cache of trajectories. Everything but timings, memory and the run's id
must be equal: the leaderboard byte for byte, the rows of every model likewise.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import typer

SYSTEMS = "Lorenz,Rossler,Chen,Duffing,MackeyGlass,Thomas,SprottB,Halvorsen"
OF_THE_RUN = ["run_id", "fit_seconds", "predict_seconds", "peak_memory_mb", "front"]


def main(kills: int = 10, systems: str = SYSTEMS, jobs: int = 2, seed: int = 0) -> None:
    """Report whether a run that is killed `kills` times ends like one that is not."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        undisturbed, disturbed = Path(folder) / "undisturbed", Path(folder) / "disturbed"
        begun = time.monotonic()
        _start(undisturbed, systems, jobs).wait()
        whole = time.monotonic() - begun
        print(f"undisturbed: {whole:.1f} s")
        for number in range(1, kills + 1):
            run = _start(disturbed, systems, jobs)
            # a fresh process spends a while on imports before it gets anywhere
            moment = rng.uniform(0.5, 3.0 + 2 * whole / kills)
            try:
                run.wait(timeout=moment)
                print(f"kill {number}: too late, the run had ended")
                continue
            except subprocess.TimeoutExpired:
                os.killpg(run.pid, signal.SIGKILL)
                run.wait()
            cells = len(list(disturbed.glob("local/*/cells/*/*.jsonl")))
            print(f"kill {number}: after {moment:.1f} s, {cells} cells finished so far")
        begun = time.monotonic()
        if _start(disturbed, systems, jobs).wait() != 0:
            sys.exit("the last resume failed")
        print(f"last resume: {time.monotonic() - begun:.1f} s")
        differing = _differences(undisturbed, disturbed)
    for name in differing:
        print(f"DIFFERENT: {name}")
    if differing:
        sys.exit(1)
    print("equal: the leaderboard and every model's rows, apart from times")


def _start(results: Path, systems: str, jobs: int) -> subprocess.Popen:
    command = [sys.executable, "-m", "dysts_bench", "run", "--profile", "quick"]
    command += ["--systems", systems, "--jobs", str(jobs), "--results", str(results)]
    environment = os.environ | {"DYSTS_BENCH_CACHE": str(results.with_suffix(".cache"))}
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _differences(one: Path, other: Path) -> list[str]:
    names = sorted({str(p.relative_to(root)) for root in (one, other) for p in _tables(root)})
    assert any("leaderboard" in name for name in names) and len(names) > 2, names
    return [name for name in names if _bytes(one / name) != _bytes(other / name)]


def _tables(root: Path) -> list[Path]:
    return [*root.glob("*.csv"), *root.glob("local/*/*.csv")]


def _bytes(path: Path) -> str | None:
    if not path.exists():
        return None
    table = pd.read_csv(path, dtype=str)
    return table.drop(columns=[c for c in OF_THE_RUN if c in table]).to_csv(index=False)


if __name__ == "__main__":
    typer.run(main)
