"""The command that writes a report."""

from pathlib import Path
from typing import Annotated

import typer

from dysts_bench.commands.options import Results, SuiteName, readable_errors


def report(
    suite: SuiteName = "standard",
    results: Results = Path("results"),
    output: Annotated[
        Path, typer.Option(help="The folder of the pages; a report in it is replaced.")
    ] = Path("report"),
) -> None:
    """Pages to look at: leaderboard, heat map, a page a system and a model. No network needed."""
    from dysts_bench.report import write_report

    with readable_errors():
        try:
            written = write_report(results, output, suite)
        except ImportError as error:
            raise ValueError(error) from None
    print(f"{written.start}: {written.systems} systems, {written.models} models")
