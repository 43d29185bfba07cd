"""Commands about systems and their data: list, show, generate, calibrate, certify, check."""

from collections.abc import Iterator
from difflib import get_close_matches
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dysts_bench.commands.options import CORES, Edition, Systems, readable_errors

if TYPE_CHECKING:
    from systems.calibrate import Measured


class Listed(StrEnum):
    systems = "systems"
    models = "models"
    metrics = "metrics"
    suites = "suites"


class DataFormat(StrEnum):
    npz = "npz"
    parquet = "parquet"
    arrow = "arrow"


class SplitBy(StrEnum):
    time = "time"
    trajectory = "trajectory"
    system = "system"


def list_(what: Listed) -> None:
    """What there is: systems, models, metrics or suites."""
    from dysts_bench import display

    with readable_errors():
        match what:
            case Listed.systems:
                display.print_systems()
            case Listed.models:
                display.print_models()
            case Listed.metrics:
                display.print_metrics()
            case Listed.suites:
                display.print_suites()


def show(system: str, edition: Edition = Edition.corrected) -> None:
    """A system: equations, parameters, exponents, and where its two editions differ."""
    import systems
    from dysts_bench import display

    with readable_errors():
        editions = {e: systems.load(system, edition=e.value) for e in Edition}
    shown = editions.pop(edition)
    display.print_system(shown, *editions.values())


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
    with readable_errors():
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
    with readable_errors():
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

    with readable_errors():
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


def check(
    name: Annotated[str, typer.Argument(help="A system, a catalog.json, a model, file.py:Class.")],
) -> None:
    """Whether a system or a model keeps its contract, in words. A file.py of yours is run."""
    import models
    import systems
    from dysts_bench.cells import ModelSpec
    from systems.check import in_words

    verdicts: Iterator[tuple[bool, str]]

    with readable_errors():
        if name.endswith(".json"):
            verdicts = chain.from_iterable(map(in_words, systems.load_file(name).values()))
        elif name in (*systems.names(), *systems.outside_names()):
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
