"""Commands that fit and score models: run, rescore, verify."""

import sys
from dataclasses import replace
from enum import StrEnum
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dysts_bench.commands.options import (
    CORES,
    Jobs,
    Models,
    OfSuite,
    OwnModels,
    ProfileName,
    Results,
    Seeds,
    SuiteName,
    Timeout,
    readable_errors,
)
from dysts_bench.commands.results import conclude

if TYPE_CHECKING:
    from rich.console import Console

    from dysts_bench.executors import Executor, Failed
    from dysts_bench.runner import Plan
    from dysts_bench.store import Store
    from dysts_bench.task import Task


class Source(StrEnum):
    reference = "reference"
    local = "local"


class Overwrite(StrEnum):
    never = "never"
    only_failed = "only-failed"
    always = "always"


def run(
    suite: SuiteName = "standard",
    profile: ProfileName = "quick",
    systems: OfSuite = "all",
    models: Models = None,
    model: OwnModels = None,
    seeds: Seeds = None,
    jobs: Jobs = CORES,
    timeout: Timeout = None,
    memory: Annotated[int | None, typer.Option(min=1, help="Megabytes a worker (Linux).")] = None,
    results: Results = Path("results"),
    overwrite: Annotated[
        Overwrite, typer.Option(help="Which finished cells run again.")
    ] = Overwrite.never,
    data_only: Annotated[
        bool, typer.Option(help="Make the data of the pending cells, no more.")
    ] = False,
    shard: Annotated[
        str | None, typer.Option(help="i/n: the i-th of n parts of the work, for job arrays.")
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(
            help="CUDA devices, such as 0,1: each is a slot for one cell whose model uses a GPU, "
            "beside --jobs. 0,0 are two slots on one."
        ),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Of a Dask cluster, tcp://host:8786, in place of --jobs.")
    ] = None,
    keep_forecasts: Annotated[
        bool,
        typer.Option(
            help="Keep forecasts too, 1 to 10 MB a cell: other metrics then need no other fit."
        ),
    ] = False,
) -> None:
    """Fit, forecast, score; then the leaderboard. A run that was stopped goes on where it was."""
    from dysts_bench import display, runner, task, timings
    from dysts_bench.selection import Selection, shard_of
    from dysts_bench.store import Store

    console = display.make_console()
    with readable_errors():
        chosen = Selection.of(task.read_suite(suite), profile, systems, models, model or [])
        cells = chosen.cells(seeds)
        if shard is not None:
            cells = runner.shard(cells, *shard_of(shard))
        executor = _executor(jobs, timeout or chosen.profile.timeout, memory, scheduler, gpus)
    store = Store(results / "local" / chosen.suite.name)
    plan = runner.plan(cells, store, overwrite.value)
    console.print(
        f"{chosen.suite.name}: {chosen.told()}: {len(cells)} cells; "
        f"{len(plan.finished)} finished before, {len(plan.pending)} to run"
        + (f", {len(plan.to_rescore)} to score anew" if plan.to_rescore else ""),
        highlight=False,
    )
    if chosen.left_out:
        console.print(
            f"{', '.join(chosen.left_out)} need weights and are left out; named one by one they "
            f"run: --models '{chosen.left_out[0]}(weights=path)'",
            highlight=False,
        )
    took = timings.earlier(results, chosen.suite, {cell.model.name for cell in plan.pending})
    plan = replace(plan, pending=timings.longest_first(plan.pending, took))
    _carry_out(plan, executor, store, console, data_only=data_only, keep_forecasts=keep_forecasts)
    conclude(console, results, chosen.suite)


def rescore(
    suite: SuiteName = "standard",
    profile: ProfileName = "quick",
    systems: OfSuite = "all",
    models: Models = None,
    model: OwnModels = None,
    seeds: Seeds = None,
    jobs: Jobs = CORES,
    timeout: Timeout = None,
    results: Results = Path("results"),
) -> None:
    """Score kept forecasts where metrics have changed; `run` would do so, and fit the rest."""
    from dysts_bench import display, runner, task
    from dysts_bench.selection import Selection
    from dysts_bench.store import Store

    console = display.make_console()
    with readable_errors():
        chosen = Selection.of(task.read_suite(suite), profile, systems, models, model or [])
        cells = chosen.cells(seeds)
        executor = _executor(jobs, timeout or chosen.profile.timeout)
    store = Store(results / "local" / chosen.suite.name)
    plan = runner.plan(cells, store)
    console.print(
        f"{chosen.suite.name}: {len(plan.to_rescore)} of {len(cells)} cells to score anew, "
        f"{len(plan.finished)} are as they should be, {len(plan.pending)} have no forecasts that "
        "hold and are left alone",
        highlight=False,
    )
    _carry_out(runner.Plan(plan.finished, [], plan.to_rescore), executor, store, console)
    conclude(console, results, chosen.suite)


def verify(
    results: Annotated[Path, typer.Argument(help="The folder of results.")] = Path("results"),
    suite: SuiteName = "standard",
    cells: Annotated[int, typer.Option(min=1, help="How many, drawn at random.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    source: Annotated[
        Source, typer.Option(help="The committed results, or your own.")
    ] = Source.reference,
    jobs: Jobs = CORES,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds a cell.")] = 1800.0,
) -> None:
    """Run some finished cells again: are their values those of this machine? Exit code 1: no."""
    from dysts_bench import display, records, runner, task, verification

    console = display.make_console()
    with readable_errors():
        known = task.read_suite(suite)
        kept = verification.sample(results, known, cells, seed=seed, source=source.value)
        executor = _executor(jobs, timeout)
    kept.sort(key=lambda each: each.expected_seconds, reverse=True)
    then = sum(each.expected_seconds for each in kept)
    console.print(
        f"{len(kept)} cells of results/{source.value}, which took {then:.0f} s", highlight=False
    )
    plan = runner.Plan([], [each.cell for each in kept])
    facts = records.provenance(["dysts-bench", *sys.argv[1:]], runner.catalog_hash(), threads=1)
    without_data = _prepare(plan.tasks, executor, console)
    again = {}
    with display.progress(console, "cells", len(kept), partial(_doing, executor)) as bar:
        for cell, rows in runner.execute(plan, executor, facts, without_data=without_data):
            again[cell] = rows
            bar.advance(failed=runner.has_failed(rows))
    compared = [verification.compare(each, again[each.cell]) for each in kept]
    display.print_verification(console, compared, known.metrics[0])
    if any(each.verdict == "deviates" for each in compared):
        raise typer.Exit(1)


def _executor(
    jobs: int,
    timeout: float,
    memory: int | None = None,
    scheduler: str | None = None,
    gpus: str | None = None,
) -> "Executor":
    from dysts_bench import runner
    from dysts_bench.dask_cluster import Dask
    from dysts_bench.executors import Local, Serial

    slots = tuple(name.strip() for name in gpus.split(",")) if gpus is not None else ()
    if not all(slots):
        raise ValueError(f"--gpus are CUDA devices with commas between, such as 0,1; got {gpus!r}")
    if scheduler is not None:
        if slots:
            raise ValueError("--gpus are those of this machine; Dask's workers bring their own")
        if find_spec("distributed") is None:
            raise ValueError("--scheduler needs Dask: pip install 'dysts-bench[dask]'")
        return Dask(scheduler, timeout, memory)
    if not jobs:
        if slots:
            raise ValueError("--gpus needs worker processes: --jobs 1 or more")
        return Serial()
    return Local(jobs, timeout, memory, slots, runner.wants_gpu, runner.data_of)


def _command(store: "Store") -> list[str]:
    """What was typed, but for where on this machine the results lie: manifests are published."""
    folder = store.folder.parents[1]
    option = "--results="
    return ["dysts-bench"] + [
        "results"
        if Path(word) == folder
        else f"{option}results"
        if word.startswith(option)
        else word
        for word in sys.argv[1:]
    ]


def _carry_out(
    plan: "Plan",
    executor: "Executor",
    store: "Store",
    console: "Console",
    *,
    data_only: bool = False,
    keep_forecasts: bool = False,
) -> None:
    """Run what is planned, with a progress display; an interruption says how to go on."""
    from dysts_bench import display, records, runner
    from dysts_bench.dask_cluster import WorkerError

    facts = records.provenance(_command(store), runner.catalog_hash(), threads=1)
    done, to_do = len(plan.finished), len(plan.pending) + len(plan.to_rescore)
    every = done + to_do
    try:
        without_data = _prepare(plan.tasks, executor, console)
        if data_only:
            raise typer.Exit(1 if without_data else 0)
        doing = partial(_doing, executor)
        with display.progress(console, "models", to_do, doing) as bar:
            for _, rows in runner.execute(
                plan,
                executor,
                facts,
                store=store,
                without_data=without_data,
                keep_forecasts=keep_forecasts,
            ):
                done += 1
                bar.advance(failed=runner.has_failed(rows))
    except KeyboardInterrupt:
        console.print(
            f"Stopped with {done} of {every} cells kept in {store.folder}; "
            "the same command goes on from there.",
            highlight=False,
        )
        raise typer.Exit(130) from None
    except WorkerError as error:
        typer.echo(f"dysts-bench: {error}", err=True)
        raise typer.Exit(2) from None
    except OSError as error:
        typer.echo(
            f"dysts-bench: {error}. Cells that are kept in {store.folder} are whole; with this "
            "mended, the same command goes on from there.",
            err=True,
        )
        raise typer.Exit(1) from None


def _prepare(tasks: "list[Task]", executor: "Executor", console: "Console") -> "dict[Task, Failed]":
    """Make the tasks' data; returns those that have none, with the reason."""
    from dysts_bench import display, runner
    from dysts_bench.executors import Failed

    failed = {}
    with display.progress(console, "data", len(tasks), partial(_doing, executor)) as bar:
        for task, outcome in runner.prepare(tasks, executor):
            if isinstance(outcome, Failed):
                failed[task] = outcome
            bar.advance(failed=isinstance(outcome, Failed))
    return failed


def _doing(executor: "Executor") -> str:
    """The cells that are being run, or the tasks whose data are being made, in a few words."""
    from dysts_bench.cells import Cell

    names = [
        f"{job.task.system} {job.model.label}" if isinstance(job, Cell) else job.system
        for job in executor.running()
    ]
    return ", ".join(names)
