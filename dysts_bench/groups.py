"""Systems in groups of like ones, for a leaderboard of each: by tag, equations …"""

from collections.abc import Iterable
from functools import cache

import systems as catalog

# Upper ends, of the largest exponent times the period: about the quarters of the catalog.
EXPONENTS = (0.25, 0.5, 0.8)


def systems_by(kind: str, names: Iterable[str]) -> dict[str, list[str]]:
    """Groups by `kind`, each with those of `names` in it, in the catalog's order within a group.

    "tag": groups overlap; "dimension": of the state, a delay system's counted as infinite;
    "exponent": largest Lyapunov exponent × period, in numbers per period; "equations": polynomials
    of the states by degree, or others. Names that the catalog does not hold are left out.
    ValueError for another kind.
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
            case "equations":
                labels = [_equations(entry)]
            case _:
                raise ValueError(
                    f"systems go by tag, dimension, exponent or equations; got {kind!r}"
                )
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


def _equations(entry: catalog.System) -> str:
    degree = degree_of(entry.name)
    if degree is None:
        return "not polynomial"
    return f"polynomial of degree {degree}" if degree < 3 else "polynomial of degree 3 and more"


@cache
def degree_of(name: str) -> int | None:
    """The degree of a system's right-hand side if that is a polynomial of the states, or None."""
    from systems.calculus import polynomials

    try:
        terms = polynomials(catalog.load(name))
    except ValueError:
        return None
    return max(sum(powers) for equation in terms for powers in equation)
