"""The command `dysts-bench`: list, show, generate, calibrate, certify, check, run, leaderboard.

Every command imports what it needs when it is called, so that `--help` is there at once. What the
user can mend, such as a name that does not exist, ends with a message and exit code 2.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from enum import StrEnum
from functools import partial
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from dysts_bench.executors import Executor, Failed
    from dysts_bench.runner import Plan
    from dysts_bench.store import Store
    from dysts_bench.task import Suite, Task
    from systems.calibrate import Measured

app = typer.Typer(
    help="Benchmark forecasters on chaotic systems.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)


class Listed(StrEnum):
    systems = "systems"
    models = "models"
    metrics = "metrics"
    suites = "suites"


class Edition(StrEnum):
    corrected = "corrected"
    dysts = "dysts"


class Overwrite(StrEnum):
    never = "never"
    only_failed = "only-failed"
    always = "always"


class Format(StrEnum):
    table = "table"
    csv = "csv"
    json = "json"
    markdown = "markdown"


class DataFormat(StrEnum):
    npz = "npz"
    parquet = "parquet"
    arrow = "arrow"


class SplitBy(StrEnum):
    time = "time"
    trajectory = "trajectory"
    system = "system"


SuiteName = Annotated[str, typer.Option(help="A suite's name, or a TOML file of your own.")]
Systems = Annotated[str, typer.Option(help="Names separated by commas, or all.")]
ProfileName = Annotated[str, typer.Option(help="quick, standard or full")]
OfSuite = Annotated[
    str, typer.Option(help="Names separated by commas, a subset of the suite, or all it has.")
]
Models = Annotated[
    str | None,
    typer.Option(
        help="Names separated by commas, or all; default: the profile's. "
        "With hyperparameters: esn(units=300)."
    ),
]
OwnModels = Annotated[
    list[str] | None, typer.Option(help="A model of yours, file.py:Class. Its code is run.")
]
Seeds = Annotated[
    int | None, typer.Option(min=1, help="For stochastic models; default: the profile's.")
]
Timeout = Annotated[
    float | None, typer.Option(min=0.001, help="Seconds a cell; default: the profile's.")
]
Jobs = Annotated[int, typer.Option(min=0, help="Worker processes; 0: this process alone.")]
Results = Annotated[Path, typer.Option(help="The folder of results.")]
CORES = os.cpu_count() or 1


@app.command("list")
def list_(what: Listed) -> None:
    """What there is: systems, models, metrics or suites."""
    from dysts_bench import display

    with _readable_errors():
        match what:
            case Listed.systems:
                display.print_systems()
            case Listed.models:
                display.print_models()
            case Listed.metrics:
                display.print_metrics()
            case Listed.suites:
                display.print_suites()


@app.command()
def show(system: str, edition: Edition = Edition.corrected) -> None:
    """A system: equations, parameters, exponents, and where its two editions differ."""
    import systems
    from dysts_bench import display

    with _readable_errors():
        editions = {e: systems.load(system, edition=e.value) for e in Edition}
    shown = editions.pop(edition)
    display.print_system(shown, *editions.values())


@app.command()
def generate(
    systems: Systems = "all",
    tag: Annotated[str | None, typer.Option(help="Instead: all systems with this tag.")] = None,
    points: Annotated[int, typer.Option(help="Points of each trajectory.")] = 1000,
    points_per_period: Annotated[
        float | None, typer.Option(help="Sampling; 100 where none is given.")
    ] = None,
    points_per_lyapunov_time: Annotated[float | None, typer.Option(help="Sampling.")] = None,
    dt: Annotated[float | None, typer.Option(help="Sampling, in system time.")] = None,
    trajectories: Annotated[int, typer.Option(help="Independent ones for each system.")] = 1,
    seed: Annotated[int, typer.Option(help="Of initial states, parameters and noise.")] = 0,
    noise: Annotated[
        float, typer.Option(help="Observation noise: share of each coordinate's deviation.")
    ] = 0.0,
    process_noise: Annotated[
        float, typer.Option(help="White noise in the equations: deviations per root of a period.")
    ] = 0.0,
    observe: Annotated[
        str, typer.Option(help="all, states, or coordinates separated by commas.")
    ] = "all",
    perturb: Annotated[
        float, typer.Option(help="Multiply each parameter by 1 + U(-p, p); chaotic draws only.")
    ] = 0.0,
    draws: Annotated[int, typer.Option(help="Parameter sets for each system.")] = 1,
    max_seconds: Annotated[float, typer.Option(help="To find one chaotic draw.")] = 60.0,
    edition: Edition = Edition.corrected,
    output: Annotated[Path, typer.Option(help="Folder for what is written.")] = Path("data"),
    format: Annotated[
        DataFormat, typer.Option(help="One .npz a system, or one table of all.")
    ] = DataFormat.npz,
    split: Annotated[
        SplitBy | None, typer.Option(help="Write parts train, validation and test.")
    ] = None,
    shares: Annotated[str, typer.Option(help="Of the parts.")] = "0.8,0.1,0.1",
    gap: Annotated[
        float, typer.Option(help="Lyapunov times dropped between parts cut in time.")
    ] = 5.0,
    stream: Annotated[
        int, typer.Option(min=0, help="Write files of this many points, in little memory.")
    ] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Threads.")] = CORES,
) -> None:
    """Trajectories of any systems: .npz, parquet or arrow; whole, in parts, or as a stream."""
    import systems as catalog
    from dysts_bench import display, generation
    from dysts_bench.selection import system_names
    from systems.perturbation import PerturbationError

    console = display.make_console()
    sampling = {
        "points_per_period": points_per_period,
        "points_per_lyapunov_time": points_per_lyapunov_time,
        "dt": dt,
        "trajectories": trajectories,
        "seed": seed,
        "process_noise": process_noise,
        "observe": observe if observe in ("all", "states") else observe.split(","),
    }
    with _readable_errors():
        try:
            if tag is not None and systems != "all":
                raise ValueError("--systems and --tag are two ways of choosing; give one of them.")
            names = catalog.names(tag=tag) if tag is not None else system_names(systems)
            if stream:
                if noise or perturb or split:
                    raise ValueError("a stream takes no noise, perturb or split.")
                files = generation.stream(
                    console,
                    names,
                    points,
                    edition=edition.value,
                    chunk=stream,
                    folder=output,
                    format=format.value,
                    **sampling,
                )
            else:
                dataset = generation.make(
                    console,
                    names,
                    points,
                    edition=edition.value,
                    jobs=jobs,
                    perturb=perturb,
                    draws=draws,
                    max_seconds=max_seconds,
                    noise=noise,
                    **sampling,
                )
                cut = None
                if split:
                    cut = {"by": split.value, "gap": gap, "seed": seed, **generation.shares(shares)}
                files = generation.save(dataset, output, format.value, cut)
        except (PerturbationError, ImportError) as error:
            raise ValueError(str(error)) from None
    print(
        f"{output}: {len(names)} systems, {trajectories} trajectories of {points} points each, "
        f"{files} files"
    )


@app.command()
def calibrate(
    systems: Systems = "all",
    seconds: Annotated[
        float, typer.Option(help="At most, for the exponents of each edition of a system.")
    ] = 60.0,
    again: Annotated[bool, typer.Option(help="Also where nothing has changed since.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes; one process writes.")] = 1,
    literature: Annotated[
        bool, typer.Option(help="Instead: systems at the parameters of published exponents.")
    ] = False,
) -> None:
    """Measure what the catalog says of systems, and write it there. May be stopped and resumed."""
    from dysts_bench.selection import system_names
    from systems.calibrate import calibrate_catalog
    from systems.literature import measure_literature

    failed = False
    with _readable_errors():
        names = system_names(systems)
        measured = (
            measure_literature(names, seconds=seconds, again=again)
            if literature
            else calibrate_catalog(names, seconds=seconds, again=again, jobs=jobs)
        )
        for found in measured:
            print(
                f"{found.system.name}, edition {found.system.edition}: {_found(found)}", flush=True
            )
            failed |= bool(found.problem)
    if failed:
        raise typer.Exit(1)


@app.command()
def certify(
    systems: Systems = "all",
    precision: Annotated[
        str, typer.Option(help="double or double-double, or both with a comma between.")
    ] = "double,double-double",
    edition: Edition = Edition.corrected,
    starts: Annotated[int, typer.Option(min=1, help="States that are followed.")] = 5,
    seconds: Annotated[float, typer.Option(help="At most, for a system and precision.")] = 600.0,
    again: Annotated[bool, typer.Option(help="Also where nothing has changed since.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes; one process writes.")] = 1,
    catalog: Annotated[
        Path | None, typer.Option(help="A copy of catalog.json to write, not the catalog itself.")
    ] = None,
) -> None:
    """Measure how long trajectories are right, and write it there. May be stopped and resumed."""
    from dysts_bench.selection import system_names
    from systems.catalog import CATALOG
    from systems.certify import PRECISIONS, certify_catalog
    from systems.trajectory import optional

    with _readable_errors():
        chosen = [name.strip() for name in precision.split(",")]
        for name in chosen:
            if name not in PRECISIONS:
                raise ValueError(f"precision is {' or '.join(PRECISIONS)}; {name!r} arrived")
        try:
            optional("heyoka", extra="certify")
        except ImportError as error:
            raise ValueError(error) from None
        for outcome in certify_catalog(
            system_names(systems),
            precisions=[known for known in PRECISIONS if known in chosen],
            edition=edition.value,
            starts=starts,
            seconds=seconds,
            jobs=jobs,
            again=again,
            path=catalog or CATALOG,
        ):
            print(outcome.told(), flush=True)


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="A system, a catalog.json, a model, file.py:Class.")],
) -> None:
    """Whether a system or a model keeps its contract, in words. A file.py of yours is run."""
    import models
    import systems
    from dysts_bench.cells import ModelSpec
    from systems.check import in_words

    verdicts: Iterator[tuple[bool, str]]

    with _readable_errors():
        if name.endswith(".json"):
            verdicts = chain.from_iterable(map(in_words, systems.load_file(name).values()))
        elif name in systems.names():
            verdicts = in_words(systems.load(name))
        elif ".py:" in name or ModelSpec.parse(name).name in models.names():
            verdicts = iter([_verdict_on_model(name)])
        else:
            close = get_close_matches(name, [*systems.names(), *models.names()], n=3, cutoff=0.5)
            hint = f"Did you mean {' or '.join(close)}?" if close else "See `dysts-bench list`."
            raise ValueError(f"{name!r} is neither a system nor a model. {hint}")
        failed = False
        for sound, verdict in verdicts:
            print(f"{'✓' if sound else '✗'} {verdict}", flush=True)
            failed |= not sound
    if failed:
        raise typer.Exit(1)


@app.command()
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
    from dysts_bench import display, runner, task
    from dysts_bench.selection import Selection, shard_of
    from dysts_bench.store import Store

    console = display.make_console()
    with _readable_errors():
        chosen = Selection.of(task.read_suite(suite), profile, systems, models, model or [])
        cells = chosen.cells(seeds)
        if shard is not None:
            cells = runner.shard(cells, *shard_of(shard))
        executor = _executor(jobs, timeout or chosen.profile.timeout, memory, scheduler)
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
    _carry_out(plan, executor, store, console, data_only=data_only, keep_forecasts=keep_forecasts)
    _conclude(console, results, chosen.suite)


@app.command()
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
    with _readable_errors():
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
    _conclude(console, results, chosen.suite)


@app.command()
def leaderboard(
    suite: SuiteName = "standard",
    results: Results = Path("results"),
    metric: Annotated[
        str | None,
        typer.Option(help="One of `dysts-bench list metrics`; default: the suite's primary one."),
    ] = None,
    format: Annotated[Format, typer.Option(help="Of what is printed or written.")] = Format.table,
    output: Annotated[Path | None, typer.Option(help="A file instead of the screen.")] = None,
    with_published: Annotated[
        bool,
        typer.Option("--with-published", help="Beside published figures, on the systems of both."),
    ] = False,
) -> None:
    """The table of reference and local results; a failure ranks below every value."""
    from dysts_bench import display, published, records
    from dysts_bench.leaderboard import PRIMARY, as_text
    from dysts_bench.leaderboard import leaderboard as table_of
    from dysts_bench.task import read_suite, suite_names

    with _readable_errors():
        name, subsets = suite, {}
        if suite.endswith(".toml") or suite in suite_names():
            known = read_suite(suite)
            name, metric, subsets = known.name, metric or known.metrics[0], known.subsets
        metric = metric or PRIMARY  # of rows whose suite is not at hand
        rows = records.load_results(results, name)
        if with_published:
            rows = published.beside(rows, published.load(results, name), metric)
        table = table_of(rows, metric, subsets)
    if output is not None:
        chosen = Format.csv if format is Format.table else format
        records.write_atomically(output, as_text(table, chosen.value))
    elif format is Format.table:
        console = display.make_console()
        display.print_leaderboard(console, table, metric)
        if with_published:
            display.print_summaries(console, published.summaries(results, name), metric)
    else:
        print(as_text(table, format.value), end="")


@app.command()
def merge(
    sources: Annotated[
        list[Path], typer.Argument(help="Folders of results, from other machines or shards.")
    ],
    suite: SuiteName = "standard",
    results: Results = Path("results"),
) -> None:
    """Take over the cells of other folders of results; then the leaderboard of all."""
    from dysts_bench import display
    from dysts_bench.store import Store
    from dysts_bench.task import read_suite

    with _readable_errors():
        known = read_suite(suite)
        own = Store(results / "local" / known.name)
        for source in sources:
            folder = source / "local" / known.name
            if not (folder / "cells").is_dir():
                raise ValueError(
                    f"{source} holds no results of suite {known.name}: no {folder}/cells"
                )
        for source in sources:
            merged = own.merge(Store(source / "local" / known.name))
            torn = f"; {merged.damaged} damaged files left out" if merged.damaged else ""
            print(f"{source}: {merged.taken} cells, {merged.replaced} in place of others{torn}")
    _conclude(display.make_console(), results, known)


@app.command()
def publish(
    suite: SuiteName = "standard",
    results: Results = Path("results"),
    source: Annotated[Path, typer.Option(help="The folder of results to take from.")] = Path(
        "results"
    ),
) -> None:
    """Local results become reference ones, and the leaderboard is made anew. For maintainers."""
    from dysts_bench import display, reference
    from dysts_bench.task import read_suite

    with _readable_errors():
        known = read_suite(suite)
        for model, cells in reference.publish(known.name, source, results).items():
            print(f"{model}: {cells} cells")
        _conclude(display.make_console(), results, known, reference_only=True)


# ---- names -----------------------------------------------------------------------------------


@contextlib.contextmanager
def _readable_errors() -> Iterator[None]:
    """What the user can mend is a message and exit code 2; the rest is our fault: a traceback."""
    try:
        yield
    except (ValueError, KeyError, FileNotFoundError) as error:
        typer.echo(f"dysts-bench: {error}", err=True)
        raise typer.Exit(2) from None


# ---- what the commands do --------------------------------------------------------------------


def _executor(
    jobs: int, timeout: float = 3600.0, memory: int | None = None, scheduler: str | None = None
) -> "Executor":
    from dysts_bench.executors import Dask, Local, Serial

    if scheduler is not None:
        if find_spec("distributed") is None:
            raise ValueError("--scheduler needs Dask: pip install 'dysts-bench[dask]'")
        return Dask(scheduler, timeout, memory)
    return Local(jobs, timeout, memory) if jobs else Serial()


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
    from dysts_bench.executors import WorkerError

    facts = records.provenance(["dysts-bench", *sys.argv[1:]], runner.catalog_hash(), threads=1)
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


def _conclude(
    console: "Console", results: Path, suite: "Suite", *, reference_only: bool = False
) -> None:
    """Write leaderboard.csv from everything there is, and print it."""
    from dysts_bench import display, records
    from dysts_bench.leaderboard import as_text, failures
    from dysts_bench.leaderboard import leaderboard as table_of

    rows, primary = records.load_results(results, suite.name), suite.metrics[0]
    if reference_only:
        rows = rows[rows["source"] == "reference"]
    table = table_of(rows, primary, suite.subsets)
    name = "leaderboard.csv" if suite.name == "standard" else f"leaderboard-{suite.name}.csv"
    records.write_atomically(results / name, as_text(table, "csv"))
    display.print_leaderboard(console, table, primary)
    display.print_failures(console, failures(rows, primary))


def _found(measured: "Measured") -> str:
    if measured.problem:
        return f"not measured: {measured.problem}"
    facts = measured.facts
    told = f"period {facts['period']:.4g}, largest exponent {facts['lyapunov_spectrum'][0]:.4g}"
    return "; ".join([told, *(f"fails {gate}" for gate in measured.failing)])


def _verdict_on_model(name: str) -> tuple[bool, str]:
    from dysts_bench.cells import ModelSpec
    from models.checks import ContractError, check_forecaster

    spec = ModelSpec.parse(name)
    model = spec.create()
    try:
        check_forecaster(model if spec.variant else type(model))
    except ContractError as error:
        return False, f"{name} breaks the contract of a forecaster: {error}"
    except Exception as error:  # whatever a stranger's model raises
        reason = f"{type(error).__name__}: {error}"
        return False, f"{name} breaks the contract of a forecaster: it raised {reason}"
    return True, f"{name} keeps the contract of a forecaster"
