"""Systems of other installed packages, which name themselves by an entry point.

    [project.entry-points."dysts_bench.systems"]
    circuits = "circuits.data"

says that the package `circuits.data` holds a catalog.json in the format of ours. Naming one of its
systems imports that package, as `import` would; the catalog itself is data, and checked as a
user's file is. The built-in catalog cannot be replaced: of two systems of one name, it is the
built-in one, then that of the entry point whose name comes first.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import as_file, files
from types import MappingProxyType
from typing import Any

from systems.catalog import CatalogError, checked_entries, names

ENTRY_POINTS = "dysts_bench.systems"


def outside_names() -> list[str]:
    """The systems that installed packages bring; `names` lists those of the built-in catalog."""
    return list(outside_entries())


@cache
def outside_entries() -> Mapping[str, Any]:
    """Their catalog entries by name, every rule checked.

    Raises `CatalogError` or `EquationError` for a package whose catalog is missing or breaks one.
    """
    found: dict[str, Any] = {}
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        found = _entries_of(point) | found
    built_in = set(names())
    return MappingProxyType({name: found[name] for name in found if name not in built_in})


def _entries_of(point: EntryPoint) -> dict[str, Any]:
    try:
        import_module(point.value)
        with as_file(files(point.value) / "catalog.json") as path:
            return checked_entries(path)
    except (ImportError, OSError) as error:
        raise CatalogError(
            f"the entry point `{point.name}` of {ENTRY_POINTS} names {point.value!r}, a package in "
            f"which a catalog.json should be: {error}. Mend or remove the package that brings it."
        ) from error
