"""A table as text: csv, json or markdown."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any


def as_text(columns: Sequence[str], rows: Iterable[Sequence[Any]], format: str) -> str:
    """`csv`, `json` (a list of objects) or `markdown`; None is an empty field.

    Floats keep every bit but in markdown, which has three digits. Lists and objects are JSON in a
    field of csv and markdown. ValueError for another format.
    """
    match format:
        case "csv":
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows([_field(value) for value in row] for row in rows)
            return text.getvalue()
        case "json":
            objects = [dict(zip(columns, map(_plain, row), strict=True)) for row in rows]
            return json.dumps(objects, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        case "markdown":
            lines = [list(columns), ["---"] * len(columns)]
            lines += [[_short(value) for value in row] for row in rows]
            return "".join(f"| {' | '.join(line)} |\n" for line in lines)
    raise ValueError(f"formats are csv, json and markdown; got {format!r}")


def _plain(value: Any) -> Any:
    """What JSON has: numbers that are finite, texts, truth values, lists, objects."""
    match value:
        case float() if value - value != 0:  # not finite
            return None
        case None | bool() | int() | float() | str():
            return value
        case Decimal():
            return _plain(float(value))
        case list() | tuple():
            return [_plain(part) for part in value]
        case dict():
            return {str(key): _plain(part) for key, part in value.items()}
    return str(value)  # a date, a duration


def _field(value: Any) -> Any:
    if isinstance(value, list | tuple | dict):
        return json.dumps(_plain(value), ensure_ascii=False)
    return value


def _short(value: Any) -> str:
    if value is None:
        return ""
    text = f"{value:.3g}" if isinstance(value, float) else str(_field(value))
    return text.replace("|", "\\|").replace("\n", " ")
