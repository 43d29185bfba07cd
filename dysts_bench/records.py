"""Result rows: their columns, CSV in and out, and where they came from.

Nothing here interprets a value; a file read back is equal to what was written, floats included.
Files are replaced whole or not at all.
"""

import csv
import gzip
import hashlib
import io
import json
import math
import os
import platform
import re
import secrets
import subprocess
import sys
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    import pandas as pd

# What an installed package brings, as results/ of a checkout holds it: not there in a checkout.
BUNDLED = Path(__file__).parent / "results"
STATUSES = ("ok", "diverged", "nan", "timeout", "oom", "crash", "unsupported")


class RecordError(ValueError):
    """A file of results is torn, altered, or not one of ours."""


@dataclass(frozen=True, slots=True)
class Result:
    """One row: one metric of one model on one task with one seed. The order is that of CSV.

    None is an empty field. Where there was no forecast or no score there is no value, only a
    status and a message; "nan" and "diverged" keep what a metric declares for such a forecast,
    as long as it is finite (a valid prediction time up to where it went wrong).
    """

    run_id: str  # key into manifest.json, which says where, when and with what the row was made
    suite: str
    suite_version: int
    task: str  # track/system
    system: str
    edition: str  # of the catalog
    model: str
    preset: str  # a named preset, or the hyperparameters given, such as "units=300"
    hyperparameters: str  # JSON; "chosen" on validation data, in so many "trials"; "parameters"
    seed: int
    window: int | None  # number of the test window; None: the median over windows or free runs
    metric: str
    value: float | None
    unit: str  # "periods" in place of "Lyapunov times" marks a system that is not chaotic
    higher_is_better: bool
    status: str  # one of STATUSES
    message: str
    n_points: int  # training points
    horizon_lyapunov_times: float | None  # of the windows (periods, if not chaotic)
    censored: bool | None  # the value is a lower bound, cut off by the horizon; None: can't be
    noise_floor: float | None  # of an invariant: its value between independent true runs
    fit_seconds: float | None  # of the cell: model, task and seed
    predict_seconds: float | None  # all windows and free runs of the cell
    peak_memory_mb: float | None  # of the process while it worked on the cell; None: not measurable
    hardware_id: str  # timings compare only within one
    catalog_hash: str  # of the system's entry: equations, parameters, initial state
    data_hash: str  # of the standardised arrays; "" when they were never loaded
    version: str  # of dysts-bench

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise RecordError(f"status must be one of {', '.join(STATUSES)}, got {self.status!r}")
        may_have, must_have = self.status in ("ok", "nan", "diverged"), self.status == "ok"
        if (must_have and self.value is None) or (self.value is not None and not may_have):
            raise RecordError(f"the status {self.status!r} does not go with value {self.value!r}")
        if self.value is not None and not math.isfinite(self.value):
            raise RecordError(f"a value is finite, got {self.value!r} for {self.metric}")


COLUMNS = tuple(f.name for f in fields(Result))
_TYPES: dict[str, Any] = {f.name: f.type for f in fields(Result)}


def write_csv(path: Path, results: Iterable[Result]) -> None:
    """Replace `path` by a header and one line a result; floats keep every bit (repr).

    A name that ends with .gz is compressed, to the same bytes whenever it is written.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_text(getattr(result, name)) for name in COLUMNS] for result in results)
    text = buffer.getvalue()
    write_atomically(path, gzip.compress(text.encode(), mtime=0) if _packed(path) else text)


def read_csv(path: Path) -> list[Result]:
    """The rows of one file; RecordError names the line that is not a row of ours."""
    open_as_text = gzip.open if _packed(path) else open
    with open_as_text(path, "rt", encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        check_columns(path, next(reader, ()))
        try:
            return [from_fields(dict(zip(COLUMNS, line, strict=True))) for line in reader]
        except (ValueError, csv.Error, EOFError, zlib.error) as error:
            raise RecordError(f"{path}, line {reader.line_num}: {error}") from error


def from_fields(texts: Mapping[str, str]) -> Result:
    """A row from the text of its fields."""
    return Result(**{name: _parsed(name, texts[name]) for name in COLUMNS})


def load_results(
    root: str | Path = "results",
    suite: str | None = "standard",
    *,
    metrics: Collection[str] | None = None,
    models: Collection[str] | None = None,
    columns: Collection[str] = COLUMNS,
) -> "pd.DataFrame":
    """All rows of a suite, or of all; column `source`: reference (committed) or local (yours).

    Or those of some `metrics`, of some `models` (names without presets), or some `columns` of them,
    in less time and memory. A column is of one type: the annotations of Result, texts as categories
    (a million rows take some 100 MB), numbers float64 with NaN where there is none, or int64 (Int64
    for `window`, which may be absent), truth values boolean. RecordError for a file with other
    columns, ValueError for columns that there are not.
    """
    import pandas as pd

    if unknown := sorted(set(columns) - set(COLUMNS)):
        close = get_close_matches(unknown[0], COLUMNS, n=3) or COLUMNS
        raise ValueError(f"rows have no column {unknown[0]!r}. There are {', '.join(close)}.")

    types = {name: kind for name, kind in _pandas_types().items() if name in columns}
    read = {**types, "metric": "category"}  # by which rows are chosen
    wanted = None if models is None else {file_name(model) for model in models}
    parts = []
    for source in ("reference", "local"):
        folder = place_of(Path(root), source)
        folders = sorted(folder.glob("*/")) if suite is None else [folder / suite]
        for path in [path for folder in folders for path in row_files(folder)]:
            if wanted is not None and _stem(path) not in wanted:
                continue
            if path.suffix == ".parquet":
                frame = pd.read_parquet(path)
                check_columns(path, frame.columns)
            else:
                check_columns(path, _header(path))
                frame = pd.read_csv(
                    path if metrics is None else _lines_of(path, metrics),
                    usecols=list(read),
                    dtype=read,
                    keep_default_na=False,
                    na_values=_empty(),
                    float_precision="round_trip",  # the default is off by one bit now and then
                )
            if metrics is not None:
                frame = frame[frame["metric"].isin(list(metrics))]
            parts.append(frame[list(types)].astype(types).assign(source=source))
    if not parts:
        parts = [pd.DataFrame(columns=list(types)).astype(types).assign(source="")]
    return joined(parts)


def _header(path: Path) -> list[str]:
    with (gzip.open if _packed(path) else open)(path, "rt", encoding="utf-8", newline="") as file:
        return next(csv.reader(file), [])


def _lines_of(path: Path, metrics: Collection[str]) -> io.BytesIO:
    """The header, and the lines that may be rows of these metrics: a row has no line break.

    A table is made of one or two of some 50 metrics: most lines need not be parsed.
    """
    named = [f",{metric},".encode() for metric in metrics]
    kept = io.BytesIO()
    with (gzip.open if _packed(path) else open)(path, "rb") as file:
        kept.write(file.readline())
        for line in file:
            for name in named:  # half the time of any() and of a regular expression
                if name in line:
                    kept.write(line)
                    break
    kept.seek(0)
    return kept


def check_columns(path: Path, names: Iterable[str]) -> None:
    """RecordError unless these are the columns of this version, in their order."""
    if tuple(names) != COLUMNS:
        strange = sorted(set(names) ^ set(COLUMNS)) or "their order"
        raise RecordError(f"{path}: the columns differ from this version's in {strange}")


def place_of(results: Path, kind: str) -> Path:
    """Where the folder of results has its `reference`, `local` or `published` figures: inside, or
    else in the installed package, which brings the first and the last."""
    own, bundled = results / kind, BUNDLED / kind
    return bundled if bundled.exists() and not own.exists() else own


def to_frame(results: Iterable[Result], source: str = "local") -> "pd.DataFrame":
    """The same DataFrame from rows at hand."""
    import pandas as pd

    rows = [tuple(getattr(result, name) for name in COLUMNS) for result in results]
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype(_pandas_types())
    return joined([frame.assign(source=source)])


def tables(folder: Path) -> list[Path]:
    """The files of rows in a folder, `<model>.csv` or `<model>.csv.gz`, by name."""
    return sorted([*folder.glob("*.csv"), *folder.glob("*.csv.gz")])


def row_files(folder: Path) -> list[Path]:
    """The same, and `<model>.parquet` where no CSV of that name lies beside it."""
    csvs = tables(folder)
    models = {_stem(path) for path in csvs}
    return [*csvs, *(p for p in sorted(folder.glob("*.parquet")) if _stem(p) not in models)]


def _stem(path: Path) -> str:
    """The `file_name` of the model whose rows a file holds."""
    return path.name.removesuffix(".gz").removesuffix(".csv").removesuffix(".parquet")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace `path` by `content`: whoever reads it, whenever, meets the old or the new, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        with temporary.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def file_name(model: str) -> str:
    """A model's name as the beginning of a file's."""
    return re.sub(r"[^\w.-]", "_", model)


def one_line(text: str, limit: int = 300) -> str:
    """A message that fits a CSV field: whitespace folded, surrogates escaped, cut at `limit`."""
    folded = " ".join(text.encode("utf-8", "backslashreplace").decode().replace("\0", "").split())
    return folded if len(folded) <= limit else folded[: limit - 1] + "…"


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def short_hash(text: str) -> str:
    """Twelve hexadecimal digits of SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# ---- provenance ------------------------------------------------------------------------------


@cache
def version() -> str:
    """The version of dysts-bench; "unknown" where it is imported without having been installed."""
    try:
        return metadata.version("dysts-bench")
    except metadata.PackageNotFoundError:
        return "unknown"


@cache
def hardware() -> dict[str, Any]:
    """What timings depend on: processor, cores, memory (rounded to GiB), GPUs, operating system."""
    pages = (
        os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    )
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30) or None,
        "system": platform.system(),
        "machine": platform.machine(),
        **({"gpus": gpus} if (gpus := _gpus()) else {}),
    }


def hardware_id() -> str:
    """Twelve digits that name this kind of machine, not this one machine."""
    return short_hash(canonical_json(hardware()))


def provenance(command: list[str], catalog_hash: str, threads: int) -> dict[str, Any]:
    """What a run was made with. Two runs that agree in all of it share a `run_id`."""
    return {
        "command": command,
        "python": platform.python_version(),
        "packages": _packages(),
        "linear_algebra": _linear_algebra(),
        **_commit(),
        "hardware": hardware(),
        "threads_per_worker": threads,
        "catalog_hash": catalog_hash,
    }


def run_id(facts: Mapping[str, Any]) -> str:
    """The name of a run in rows and in manifest.json."""
    return short_hash(canonical_json(facts))


def _linear_algebra() -> list[str]:
    """NumPy's, with the processor that its kernels are for: they add in another order on others."""
    import numpy  # noqa: F401  its library can be asked once it is loaded
    from threadpoolctl import threadpool_info

    return sorted(
        " ".join(filter(None, (each["internal_api"], each["version"], each.get("architecture"))))
        for each in threadpool_info()
        if each["user_api"] == "blas" and "numpy" in each["filepath"]
    )


def _packages() -> dict[str, str]:
    found = {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"]}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _commit() -> dict[str, Any]:
    """The commit of the checkout that holds this file; nothing for an installed package."""
    here = Path(__file__).parent
    git = ["git", "-C", str(here)]
    try:
        top = subprocess.run([*git, "ls-files", "--error-unmatch", __file__], capture_output=True)
        if top.returncode != 0:  # a package installed under somebody else's repository
            return {"commit": None, "dirty": None}
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
        # results/ is what runs write: a run must not make the next one dirty
        status = subprocess.run(
            [*git, "status", "--porcelain", "--", ":/", ":(top,exclude)results"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}
    return {"commit": head.stdout.strip(), "dirty": bool(status.stdout.strip())}


def _processor() -> str:
    if sys.platform.startswith("linux"):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        if found := _named(text):
            return found
    return platform.processor() or platform.machine()


def _named(cpuinfo: str) -> str:
    """The first processor, with its generation: virtual machines call very different ones alike."""
    first = cpuinfo.split("\n\n")[0]
    facts = {
        key.strip(): value.strip()
        for key, _, value in (line.partition(":") for line in first.splitlines())
    }
    generation = [
        f"{word} {facts[key]}"
        for word, key in (("family", "cpu family"), ("model", "model"), ("stepping", "stepping"))
        if key in facts
    ]
    name = facts.get("model name", "")
    return f"{name} ({', '.join(generation)})" if name and generation else name


def _gpus() -> list[str]:
    """The names of NVIDIA's, as its own tool knows them."""
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.split("\n")[:-1]


# ---- fields ----------------------------------------------------------------------------------


def _packed(path: Path) -> bool:
    return path.suffix == ".gz"


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            return repr(float(value))  # numpy's float64 is a float with a repr of its own
    return str(value)


def _parsed(name: str, text: str) -> Any:
    kinds = get_args(_TYPES[name]) or (_TYPES[name],)
    if text == "" and type(None) in kinds:
        return None
    kind = kinds[0]
    if kind is bool:
        if text not in ("true", "false"):
            raise RecordError(f"{name} is true or false, got {text!r}")
        return text == "true"
    try:
        return kind(text)
    except ValueError:
        raise RecordError(f"{name} is {kind.__name__}, got {text!r}") from None


def _pandas_types() -> dict[str, str]:
    names = {str: "category", int: "int64", float: "float64", bool: "boolean"}
    types = {}
    for name, kind in _TYPES.items():
        kinds = get_args(kind) or (kind,)
        types[name] = "Int64" if kinds[0] is int and len(kinds) > 1 else names[kinds[0]]
    return types


def sql_types() -> dict[str, str]:
    """The type of each column in SQL."""
    names = {str: "varchar", int: "bigint", float: "double", bool: "boolean"}
    return {name: names[(get_args(kind) or (kind,))[0]] for name, kind in _TYPES.items()}


def _empty() -> dict[str, list[str]]:
    """Only numbers and truth values may be missing: a system called NA is a system."""
    return {name: [""] for name, kind in _pandas_types().items() if kind != "category"}


def joined(parts: "list[pd.DataFrame]") -> "pd.DataFrame":
    """Frames of rows as one, with the columns that all have; text columns stay categories."""
    import pandas as pd
    from pandas.api.types import union_categoricals

    columns = [name for name in [*COLUMNS, "source"] if all(name in part for part in parts)]
    parts = [part[columns] for part in parts]  # what is given stays as it is
    types = _pandas_types()
    texts = [name for name in columns if types.get(name) == "category"]
    for name in texts:  # concat would fall back to object where categories differ
        union = union_categoricals([part[name] for part in parts]).categories
        for part in parts:
            part[name] = part[name].cat.set_categories(union)
    return pd.concat(parts, ignore_index=True)
