"""What several commands share: options, and how an error that the user can mend is said."""

import contextlib
import os
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Edition(StrEnum):
    corrected = "corrected"
    dysts = "dysts"


class Format(StrEnum):
    table = "table"
    csv = "csv"
    json = "json"
    markdown = "markdown"


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


@contextlib.contextmanager
def readable_errors() -> Iterator[None]:
    """What the user can mend is a message and exit code 2, what the machine refuses (a full disk, a
    folder that may not be written) a message and 1; the rest is our fault: a traceback."""
    try:
        yield
    except (ValueError, KeyError, OSError) as error:
        typer.echo(f"dysts-bench: {error}", err=True)
        refused = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
        raise typer.Exit(1 if refused else 2) from None
