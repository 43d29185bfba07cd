"""Sphinx: `make site` builds docs/ into site/. Pages of the catalog are written beforehand."""

import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

project = "dysts-bench"
author = "The dysts-bench maintainers"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "dysts-bench"
html_static_path = ["_static"]
html_css_files = ["catalog.css"]
myst_heading_anchors = 3
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures keep theirs short; shapes stand in the docstrings
autodoc_mock_imports: list[str] = []
suppress_warnings = ["myst.header"]  # the page of a metric starts below its kind


def as_restructured_text(lines: list[str]) -> list[str]:
    """A docstring of ours, plain text with `code` in backticks, as reStructuredText: paragraphs
    are escaped, what is indented stays as it stands."""
    out: list[str] = []
    for paragraph in "\n".join(lines).strip().split("\n\n"):
        rows = paragraph.splitlines()
        if any(row.startswith((" ", "- ", ">>>")) or re.match(r"\w+:( |$)", row) for row in rows):
            out += ["::", "", *(f"    {row}" for row in rows), ""]
        else:
            parts = " ".join(rows).split("`")
            escaped = [re.sub(r"([\\*_|<])", r"\\\1", part) for part in parts]
            if len(parts) % 2 == 0:
                escaped = ["\\`".join(escaped)]
            code = [f"``{part}``" for part in parts]
            both = [code[i] if i % 2 else escaped[i] for i in range(len(escaped))]
            out += ["\\ ".join(filter(None, both)), ""]
    return out


def _restructure(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = as_restructured_text(lines)


def setup(app: Any) -> None:
    from dysts_bench.system_pages import write_pages

    write_pages(HERE)
    app.connect("autodoc-process-docstring", _restructure)
