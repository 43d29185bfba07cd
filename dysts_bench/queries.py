"""SQL over everything that is known: results, tasks, systems, published figures, leaderboards.

DuckDB (extra `query`) answers from a database file in the user's cache, which is made anew when a
file of results or the catalog has other contents. It is opened for reading, with no access to other
files or the network, and settings locked: a query that comes from anywhere can look, not touch.

Tables, each column of one type (`query("describe results")` lists them):
results      every row of results/reference and results/local, as records.Result has it, and source
systems      the catalog, a row an edition
tasks        what was forecast: a row a task of a suite, with what all its rows share
published    figures of others, suite by suite (results/published)
leaderboard  results/leaderboard*.csv, and their suite

`window` and `group` are words of SQL: as columns they stand in double quotes.
"""

import contextlib
import gzip
import hashlib
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dysts_bench import leaderboard, published, records
from dysts_bench.records import RecordError

if TYPE_CHECKING:
    import pandas as pd
    from duckdb import DuckDBPyConnection

HOUR = 3600.0  # seconds, far more than a database takes
KEPT = 4  # databases in the cache: of several folders of results, or of one as it was before
_SYSTEMS = {
    "system": "varchar",
    "edition": "varchar",
    "dimension": "bigint",  # of the state; a delay system's is the number of its components
    "tags": "varchar[]",
    "period": "double",  # system time, as is the Lyapunov time
    "lyapunov_time": "double",
    "largest_exponent": "double",  # per system time
    "lyapunov_spectrum": "double[]",
    "kaplan_yorke_dimension": "double",
    "certified_horizon": "map(varchar, double)",  # Lyapunov times, by precision
    "catalog_hash": "varchar",
    "description": "varchar",
    "reference": "varchar",
    "erratum": "varchar",  # in what the editions differ; empty where they do not
}
_PUBLISHED = {
    "suite": "varchar",
    "model": "varchar",
    "system": "varchar",
    "metric": "varchar",
    "value": "double",
    "fit_seconds": "double",
    "predict_seconds": "double",
}
_TASKS = """
create view tasks as
select suite, suite_version, task, split_part(task, '/', 1) as track, system, edition,
       any_value(n_points) as n_points, any_value(horizon_lyapunov_times) as horizon_lyapunov_times,
       bool_or(unit = 'periods') as in_periods, any_value(catalog_hash) as catalog_hash,
       count(distinct model || ':' || preset) as entries
from results group by all
"""


def query(sql: str, results: str | Path = "results") -> "pd.DataFrame":
    """The answer to one SELECT over the tables above, from a folder of results.

    Raises ValueError for SQL that is wrong, or that would do anything but look, ImportError
    without DuckDB, and RecordError for a damaged file.
    """
    with _errors(), contextlib.closing(_connect(Path(results))) as database:
        return _checked(database, sql).df()


def answer(sql: str, results: str | Path = "results") -> tuple[list[str], list[tuple[Any, ...]]]:
    """The same as names of columns and rows of Python's own types; None where there is nothing."""
    with _errors(), contextlib.closing(_connect(Path(results))) as database:
        found = _checked(database, sql)
        return [name for name, *_ in found.description], found.fetchall()


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """What DuckDB finds wrong with a query, as a ValueError."""
    from systems.trajectory import optional

    duckdb = optional("duckdb", extra="query")

    try:
        yield
    except duckdb.Error as error:
        raise ValueError(f"the query failed. {error}") from None


def _checked(database: "DuckDBPyConnection", sql: str) -> "DuckDBPyConnection":
    import duckdb

    looking = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
    statements = database.extract_statements(sql)
    if len(statements) != 1 or statements[0].type not in looking:
        kinds = ", ".join(statement.type.name for statement in statements) or "nothing"
        raise ValueError(f"a query is one SELECT; {kinds} arrived.")
    return database.execute(statements[0])


def _connect(results: Path) -> "DuckDBPyConnection":
    """The database of a folder of results, made if need be, locked."""
    import duckdb

    path = _database(results)
    settings: dict[str, str | bool | int | float | list[str]] = {
        "enable_external_access": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "python_enable_replacements": False,  # Python's own variables are no tables
        "temp_directory": "",
        "lock_configuration": True,
    }
    return duckdb.connect(str(path), read_only=True, config=settings)


def _database(results: Path) -> Path:
    """The file for these contents, which its name is made of."""
    import duckdb

    from systems.catalog import CATALOG
    from systems.machine_code import cache_folder

    digest = hashlib.sha256(f"{duckdb.__version__} {records.version()}".encode())
    for file in [CATALOG, Path(__file__), *_files(results)]:
        with file.open("rb") as content:
            contents = hashlib.file_digest(content, "sha256").hexdigest()
        digest.update(f"{'/'.join(file.parts[-3:])} {contents}\n".encode())  # source/suite/model
    folder = cache_folder() / "queries"
    path = folder / f"{digest.hexdigest()[:24]}.duckdb"
    if path.exists():
        with contextlib.suppress(OSError):
            os.utime(path)
        return path
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{secrets.token_hex(6)}.part"
    try:
        _build(results, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        temporary.with_name(f"{temporary.name}.wal").unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):  # another process tidies, too
        _tidy(folder)
    return path


def _tidy(folder: Path) -> None:
    """Remove old databases, and what processes that were killed left half made."""
    newest_first = sorted(folder.glob("*.duckdb"), key=lambda p: p.stat().st_mtime, reverse=True)
    parts = [part for part in folder.glob(".*.part*") if time.time() - part.stat().st_mtime > HOUR]
    for old in newest_first[KEPT:] + parts:
        with contextlib.suppress(OSError):  # another process has it open, on Windows
            old.unlink()


def _files(results: Path) -> list[Path]:
    """Every file that a database is made of."""
    rows = [file for files in _rows(results).values() for file in files]
    figures = records.tables(records.place_of(results, published.PUBLISHED))
    return [*rows, *figures, *_boards(results)]


def _rows(results: Path) -> dict[str, list[Path]]:
    """The files of rows by source."""
    return {
        source: [
            file
            for folder in sorted(records.place_of(results, source).glob("*/"))
            for file in records.row_files(folder)
        ]
        for source in ("reference", "local")
    }


def _boards(results: Path) -> list[Path]:
    """Those beside the reference rows; the folder's own in place of what a package brings."""
    folders = (records.place_of(results, "reference").parent, results)
    named = {file.name: file for folder in folders for file in folder.glob("leaderboard*.csv")}
    return [named[name] for name in sorted(named)]


# ---- making the database ---------------------------------------------------------------------


def _build(results: Path, path: Path) -> None:
    import duckdb

    with contextlib.closing(duckdb.connect(str(path))) as database:
        database.begin()  # one transaction: each would wait for the disk
        _create(database, "results", {**records.sql_types(), "source": "varchar"})
        for source, files in _rows(results).items():
            _insert_rows(database, files, source)
        database.execute(_TASKS)
        _create(database, "systems", _SYSTEMS)
        _insert_frame(database, "systems", _systems())
        _create(database, "published", _PUBLISHED)
        for suite in published.suites(results):
            _insert_frame(database, "published", published.load(results, suite).assign(suite=suite))
        _create(database, "leaderboard", _leaderboard_types())
        for file in _boards(results):
            _insert_frame(database, "leaderboard", _leaderboard(file))
        database.commit()


def _create(database: "DuckDBPyConnection", table: str, types: Mapping[str, str]) -> None:
    columns = ", ".join(f'"{name}" {kind}' for name, kind in types.items())
    database.execute(f"create table {table} ({columns})")


def _insert_rows(database: "DuckDBPyConnection", files: Sequence[Path], source: str) -> None:
    """All files of a source at once: DuckDB reads several side by side."""
    import duckdb

    types = records.sql_types()
    names = ", ".join(f'"{name}"' for name in types)
    csvs = [str(file) for file in files if file.suffix != ".parquet"]
    others = [str(file) for file in files if file.suffix == ".parquet"]
    for file in csvs:
        opened = gzip.open if file.endswith(".gz") else open
        with opened(file, "rt", encoding="utf-8", newline="") as text:
            records.check_columns(Path(file), text.readline().rstrip("\r\n").split(","))
    texts = [name for name, kind in types.items() if kind == "varchar"]
    options = "auto_detect = false, header = true, quote = '\"'"
    reader = f"read_csv(?, {options}, columns = {types}, force_not_null = {texts})"
    for paths, function in ((csvs, reader), (others, "read_parquet(?)")):
        if paths:
            try:
                database.execute(
                    f"insert into results select {names}, '{source}' from {function}", [paths]
                )
            except duckdb.Error as error:
                raise RecordError(f"a file of results is damaged: {error}") from None


def _insert_frame(database: "DuckDBPyConnection", table: str, frame: "pd.DataFrame") -> None:
    database.register("frame", frame)
    database.execute(f"insert into {table} by name select * from frame")
    database.unregister("frame")


def _systems() -> "pd.DataFrame":
    import pandas as pd

    import systems
    from systems.lyapunov import kaplan_yorke_dimension

    rows = []
    for name in systems.names():
        for edition in ("corrected", "dysts"):
            entry = systems.load(name, edition=edition)
            spectrum = list(entry.lyapunov_spectrum)
            rows.append(
                {
                    "system": name,
                    "edition": edition,
                    "dimension": entry.dimension,
                    "tags": list(entry.tags),
                    "period": entry.period,
                    "lyapunov_time": entry.lyapunov_time,
                    "largest_exponent": spectrum[0] if spectrum else None,
                    "lyapunov_spectrum": spectrum,
                    "kaplan_yorke_dimension": kaplan_yorke_dimension(spectrum)
                    if spectrum
                    else None,
                    "certified_horizon": _map(entry.certified_horizon),
                    "catalog_hash": entry.hash[:12],  # as in the rows
                    "description": entry.description,
                    "reference": entry.reference,
                    "erratum": entry.erratum or "",
                }
            )
    return pd.DataFrame(rows)


def _map(values: Mapping[str, float]) -> dict[str, list[Any]]:
    """As DuckDB takes a map from Python; a plain dictionary would be a struct."""
    return {"key": list(values), "value": list(values.values())}


def _leaderboard_types() -> dict[str, str]:
    """Columns of a leaderboard, and `suite` before them."""
    texts = ("group", "model", "source", "baseline", "failed_by")
    counts = ("systems", "failures", "censored")
    types = {
        name: "varchar"
        if name in texts
        else "bigint"
        if name in counts
        else "boolean"
        if name == "front"
        else "double"
        for name in leaderboard.COLUMNS
    }
    return {"suite": "varchar", **types}


def _leaderboard(file: Path) -> "pd.DataFrame":
    import pandas as pd

    suite = file.stem.removeprefix("leaderboard").removeprefix("-") or "standard"
    texts = dict.fromkeys(("model", "baseline", "failed_by"), str)
    table = pd.read_csv(file, dtype=texts, float_precision="round_trip")
    strange = set(table.columns) - set(leaderboard.COLUMNS)
    if strange:
        raise RecordError(f"{file} has columns of another version: {', '.join(sorted(strange))}")
    return table.assign(suite=suite)
