"""Commands that draw: plot gallery, attractor, return-map, spectrum, convergence, forecast, …"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dysts_bench.commands.options import Results, SuiteName, Systems, readable_errors

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from dysts_bench.task import Suite

app = typer.Typer(help="Plots: saved as png, svg or pdf, or shown.", no_args_is_help=True)

Output = Annotated[
    Path | None, typer.Option(help="A .png, .svg or .pdf; default: a viewer shows it.")
]
Metric = Annotated[
    str | None,
    typer.Option(help="One of `dysts-bench list metrics`; default: the suite's primary one."),
]


@app.command()
def gallery(
    systems: Systems = "all",
    columns: Annotated[int, typer.Option(min=1, help="Attractors a row.")] = 15,
    output: Output = None,
) -> None:
    """The attractors of all systems, each from the side where it spreads most."""
    with readable_errors():
        _require_matplotlib()
        from dysts_bench import plots, portraits
        from dysts_bench.selection import system_names

        found = {name: portraits.portrait(name) for name in system_names(systems)}
        _finish(plots.gallery(found, columns=columns), output)


@app.command()
def attractor(system: str, output: Output = None) -> None:
    """One attractor, large."""
    with readable_errors():
        _require_matplotlib()
        from dysts_bench import plots, portraits

        _finish(plots.attractor(system, portraits.portrait(system, periods=100.0)), output)


@app.command()
def return_map(
    system: str,
    coordinate: Annotated[str | None, typer.Option(help="Default: the last one.")] = None,
    output: Output = None,
) -> None:
    """Each maximum of a coordinate against the one before."""
    with readable_errors():
        _require_matplotlib()
        from dysts_bench import plots, portraits

        name, tops = portraits.successive_maxima(system, coordinate)
        _finish(plots.return_map(system, name, tops), output)


@app.command()
def spectrum(system: str, output: Output = None) -> None:
    """The power spectrum of each coordinate."""
    with readable_errors():
        _require_matplotlib()
        import systems
        from dysts_bench import plots, portraits

        coordinates = systems.load(system).observables
        _finish(plots.spectrum(system, coordinates, *portraits.power(system)), output)


@app.command()
def convergence(
    system: str,
    longest: Annotated[float, typer.Option(min=10.0, help="Periods of the longest runs.")] = 1000.0,
    output: Output = None,
) -> None:
    """Lyapunov exponents against the length they are estimated from, beside the catalog's."""
    with readable_errors():
        _require_matplotlib()
        import systems
        from dysts_bench import plots, portraits
        from systems import IntegrationError

        entry = systems.load(system)
        lengths = [longest * share for share in portraits.SHARES]
        try:
            found = portraits.exponents(system, lengths=lengths)
        except IntegrationError as error:
            raise ValueError(error) from None
        drawn = plots.convergence(system, entry.period, found, entry.lyapunov_spectrum)
        _finish(drawn, output)


@app.command()
def forecast(
    system: str,
    models: Annotated[str, typer.Option(help="Names separated by commas.")] = "esn,nvar",
    suite: SuiteName = "standard",
    window: Annotated[int, typer.Option(min=0, help="The test window.")] = 0,
    seed: Annotated[int, typer.Option(help="Of stochastic models.")] = 0,
    coordinates: Annotated[
        str | None, typer.Option(help="Names separated by commas; default: the first three.")
    ] = None,
    results: Results = Path("results"),
    output: Output = None,
) -> None:
    """Forecasts of one test window beside the truth: kept ones, or of models fitted now."""
    with readable_errors():
        _require_matplotlib()
        import models as zoo
        from dysts_bench import plots, portraits
        from dysts_bench.cells import split_list
        from dysts_bench.task import read_suite

        try:
            found = portraits.forecasts(
                read_suite(suite),
                system,
                split_list(models),
                window=window,
                seed=seed,
                results=results,
            )
        except (zoo.FitError, ImportError) as error:
            raise ValueError(error) from None
        chosen = coordinates.split(",") if coordinates else None
        _finish(plots.forecast(found, coordinates=chosen), output)


@app.command()
def critical_differences(
    suite: SuiteName = "standard",
    results: Results = Path("results"),
    metric: Metric = None,
    output: Output = None,
) -> None:
    """Mean ranks, and which entries of the leaderboard cannot be told apart."""
    with readable_errors():
        _require_matplotlib()
        from dysts_bench import plots
        from dysts_bench.comparison import compare

        known, rows = _rows(suite, results)
        _finish(plots.critical_differences(compare(rows, metric or known.metrics[0])), output)


@app.command()
def cost(
    suite: SuiteName = "standard",
    results: Results = Path("results"),
    metric: Metric = None,
    output: Output = None,
) -> None:
    """The medians of the leaderboard against seconds of fit and forecast."""
    with readable_errors():
        _require_matplotlib()
        from dysts_bench import plots
        from dysts_bench.leaderboard import leaderboard
        from dysts_bench.metrics import find

        known, rows = _rows(suite, results)
        chosen = find(metric or known.metrics[0])
        _finish(plots.cost(leaderboard(rows, chosen.name), chosen.name, chosen.unit), output)


def _rows(suite: str, results: Path) -> "tuple[Suite, pd.DataFrame]":
    from dysts_bench import records
    from dysts_bench.task import read_suite

    known = read_suite(suite)
    return known, records.load_results(results, known.name)


def _require_matplotlib() -> None:
    """At once, not when all is computed."""
    from systems.trajectory import optional

    try:
        optional("matplotlib", extra="plots")
    except ImportError as error:
        raise ValueError(error) from None


def _finish(figure: "Figure", output: Path | None) -> None:
    """Save a figure, or have the desktop's viewer show it."""
    from dysts_bench.figures import save

    if output is not None:
        save(figure, output)
        print(output)
        return
    path = Path(tempfile.mkdtemp(prefix="dysts-bench-")) / "plot.png"
    save(figure, path)
    if typer.launch(str(path)) != 0:
        print(f"{path}: no viewer opened it; --output FILE saves it where you want.")
