"""A page of Markdown for every system of the catalog, and their index: for the documentation.

`make site` writes them into docs/ (systems/*.md and catalog.md), which git ignores.
"""

from collections.abc import Iterator
from pathlib import Path

import systems
from dysts_bench.catalog_pages import differences
from dysts_bench.records import write_atomically
from dysts_bench.report import descriptions, pictures
from systems import System

WIDTH, HEIGHT = pictures.BOX


def write_pages(folder: Path) -> None:
    """Write the index and the pages. A page that is as it should be keeps its date, so that only
    what has changed is built again. Pages of systems that are no more are removed."""
    pages = {folder / "catalog.md": index()}
    pages |= {folder / "systems" / f"{name}.md": page(name) for name in systems.names()}
    for path in set((folder / "systems").glob("*.md")) - pages.keys():
        path.unlink()
    for path, text in pages.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_atomically(path, text)


def index() -> str:
    """A table of all systems, and the list that a table of contents needs."""
    lines = [
        "# The catalog\n",
        f"{len(systems.names())} systems. Times are in a system's own unit; D is the Kaplan-Yorke "
        "dimension.\n",
        "| | system | dimension | Lyapunov time | D | tags |",
        "|---|---|---|---|---|---|",
    ]
    for name in systems.names():
        system = systems.load(name)
        run = pictures.orbit(system)
        time = system.lyapunov_time if "chaotic" in system.tags else None
        dimension = system.measured.get("kaplan_yorke", {}).get("value")
        cells = [
            "" if run is None else _svg(pictures.thumbnail(run), name, "thumb"),
            f"[{name}](systems/{name}.md)",
            str(system.dimension),
            descriptions.number(time),
            descriptions.number(dimension),
            " ".join(system.tags),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    entries = "\n".join(f"systems/{name}" for name in systems.names())
    contents = f"```{{toctree}}\n:hidden:\n\n{entries}\n```"
    return "\n".join([*lines, "", contents, ""])


def page(name: str) -> str:
    """What the catalog knows of one system."""
    return "\n".join(_page(systems.load(name))) + "\n"


def _page(system: System) -> Iterator[str]:
    yield f"# {system.name}\n"
    yield f"{system.description}\n"
    if system.tags:
        yield f"*{', '.join(system.tags)}*\n"
    run = pictures.orbit(system)
    if run is not None:
        figures = "".join(
            f"<figure>{_svg(picture.path, system.name)}<figcaption>{picture.up} over "
            f"{picture.across}</figcaption></figure>"
            for picture in pictures.projections(system, run)
        )
        yield f'<div class="attractors">{figures}</div>\n'
    yield f'<div class="equations">{descriptions.mathml(system)}</div>\n'
    if system.parameters:
        values = (f"`{name}` = {value:.6g}" for name, value in system.parameters.items())
        yield f"{', '.join(values)}.\n"
    yield "| | | |\n|---|---|---|"
    for fact in descriptions.facts(system):
        yield f"| {fact.name} | {fact.value} | {fact.note} |"
    for i, (value, _, _) in enumerate(descriptions.exponents(system), 1):
        yield f"| λ{i} | {value} | per unit of system time |"
    yield ""
    if system.erratum:
        yield "## Where dysts 0.96 differs\n"
        yield f"{system.erratum}\n"
        yield "| | corrected | dysts |\n|---|---|---|"
        for what, *sides in differences(system, systems.load(system.name, "dysts")):
            yield f"| {what} | {' | '.join(f'`{side}`' if side else '' for side in sides)} |"
        yield ""
    if system.reference:
        yield f"{system.reference}\n"
    yield f'```python\nimport systems\n\nsystems.load("{system.name}").trajectory(1000)\n```'


def _svg(path: str, name: str, kind: str = "") -> str:
    hidden = 'aria-hidden="true"' if kind else f'role="img" aria-label="Attractor of {name}"'
    return f'<svg class="{kind}" viewBox="0 0 {WIDTH} {HEIGHT}" {hidden}><path d="{path}"/></svg>'
