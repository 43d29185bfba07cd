"""Systems in groups of like ones, for a leaderboard of each: by tag, dimension or exponent."""

from collections.abc import Iterable

import systems as catalog

# Upper ends, of the largest exponent times the period: about the quarters of the catalog.
EXPONENTS = (0.25, 0.5, 0.8)


def systems_by(kind: str, names: Iterable[str]) -> dict[str, list[str]]:
    """Groups by `kind`, each with those of `names` in it, in the catalog's order within a group.

    "tag": groups overlap; "dimension": of the state, a delay system's counted as infinite;
    "exponent": largest Lyapunov exponent × period, in numbers per period. Names that the catalog
    does not hold are left out. ValueError for another kind.
    """
    known = set(catalog.names())
    entries = [catalog.load(name) for name in sorted(set(names) & known)]
    groups: dict[str, list[str]] = {}
    for entry in entries:
        match kind:
            case "tag":
                labels = list(entry.tags)
            case "dimension":
                labels = [_dimension(entry)]
            case "exponent":
                labels = [_exponent(entry.lyapunov_spectrum[0] * entry.period)]
            case _:
                raise ValueError(f"systems go by tag, dimension or exponent; got {kind!r}")
        for label in labels:
            groups.setdefault(label, []).append(entry.name)
    return dict(sorted(groups.items()))


def _dimension(entry: catalog.System) -> str:
    if "delay" in entry.tags:
        return "infinite (a delay)"
    return f"dimension {entry.dimension}" if entry.dimension < 5 else "dimension 5 and more"


def _exponent(per_period: float) -> str:
    low = 0.0
    for high in EXPONENTS:
        if per_period < high:
            return f"exponent per period {low:g} to {high:g}"
        low = high
    return f"exponent per period from {low:g}"
