"""docs/certificates.md: how long the trajectories of each system are right, from the catalog.

python -m dysts_bench.certificates_page [catalog.json]
"""

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from systems import catalog
from systems.catalog import System

PAGE = Path(__file__).parents[1] / "docs" / "certificates.md"
OPENING = """# How long our trajectories are right

Generated from the catalog by `python -m dysts_bench.certificates_page`; measured by `dysts-bench
certify`.

From states on the attractor, given to the last bit, our trajectory and a reference are followed
until they differ by 1 % of an observed coordinate's standard deviation. The horizon is that of the
worst start, in Lyapunov times (in periods for a system that is not chaotic, marked p), rounded
down; the median over the starts stands in brackets. "≥" means that the comparison ended first: at
its limit, at its budget, or where two references of other steps and order no longer agree.

The reference of an ODE is a Taylor series in quadruple precision by heyoka, which shares the tree
of the equations with us and no code of integration. Kinks and jumps are found as events, at which
its steps end. The reference of a delay equation is our own collocation in extended precision,
independent in method and precision but not in authorship; a start is then a constant history.
"""


def page(systems: Iterable[System]) -> str:
    """The page in Markdown: a summary, the ten shortest horizons, the table."""
    systems = sorted(systems, key=lambda system: system.name)
    parts = [OPENING]
    for precision in ("double", "double-double"):
        known = [s for s in systems if precision in s.certified_horizon]
        if not known:
            continue
        horizons = [s.certified_horizon[precision] for s in known]
        worst = sorted(known, key=lambda s: s.certified_horizon[precision])[:10]
        shortest = ", ".join(f"{s.name} {s.certified_horizon[precision]:g}" for s in worst)
        parts.append(
            f"In {precision}: {len(known)} systems, shortest {min(horizons):g}, median "
            f"{np.median(horizons):g}. The ten shortest: {shortest}.\n"
        )
    rows = ["| system | double | double-double | reference | note |", "|---|---|---|---|---|"]
    for system in systems:
        double, better = (_cell(system, kind) for kind in ("double", "double-double"))
        facts = list(system.certificates.values())
        reference = facts[-1]["reference"] if facts else "not certified"
        notes = "; ".join(dict.fromkeys(fact["note"] for fact in facts if "note" in fact))
        rows.append(f"| {system.name} | {double} | {better} | {reference} | {notes} |")
    return "\n".join([*parts, "\n".join(rows), ""])


def _cell(system: System, precision: str) -> str:
    if precision not in system.certified_horizon:
        return ""
    facts = system.certificates[precision]
    sign = "≥ " if facts["capped"] == facts["starts"] else ""
    unit = "" if "chaotic" in system.tags else " p"
    return f"{sign}{system.certified_horizon[precision]:g}{unit} ({facts['median']:g})"


def main(path: Path = catalog.CATALOG) -> None:
    """Write the page of the catalog in `path`."""
    import json

    entries = json.loads(path.read_text(encoding="utf-8"))["systems"]
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(catalog.from_entry(n, e) for n, e in entries.items()), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
