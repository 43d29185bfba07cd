"""What a page says of a system or a model: facts of the catalog, docstrings, hyperparameters."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import models
from systems import System
from systems.trajectory import optional

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup


@dataclass(frozen=True)
class Fact:
    """A line of a list of facts."""

    name: str
    value: str
    note: str = ""


def mathml(system: System) -> "Markup":
    """The `let` lines and equations as MathML, which browsers set by themselves."""
    from markupsafe import Markup

    convert = optional("latex2mathml.converter", extra="report").convert
    text = system.latex().replace("{aligned}", "{align*}")  # which latex2mathml knows
    # A name is one symbol, a little apart from its factors: else `a slip` is set as a·s·l·i·p.
    text = re.sub(_WORD, r"\\text{\1}", text)
    text = re.sub(r"(?<=[\w}]) (?=\\text)", r" \\, ", text)
    text = re.sub(r"(\\text\{\w+\}(?:[_^]\{\w+\})?) (?=\w|\\(?!right|,|\\))", r"\1 \\, ", text)
    found = convert(text, display="block").replace("mtext>", "mi>")
    return Markup(found)  # of the catalog, whose names are letters


# Two letters or more that are neither a command of LaTeX nor its argument.
_WORD = re.compile(r"(?<!begin\{)(?<!end\{)(?<!operatorname\{)(?<![\\A-Za-z])([A-Za-z]{2,})")


def facts(system: System) -> Iterator[Fact]:
    """What is known of a system, in the order in which one asks."""
    measured = system.measured
    yield Fact("Dimension", f"{system.dimension}" + (", and the past" if system.delays else ""))
    yield Fact("Behaviour, measured", str(measured.get("behaviour", "not measured")))
    yield Fact("Period", number(system.period), "in system time")
    if "chaotic" in system.tags:
        yield Fact("Lyapunov time", number(system.lyapunov_time), "in system time")
        yield Fact("Lyapunov times a period", number(system.period / system.lyapunov_time))
    for name, key in (
        ("Kaplan-Yorke dimension", "kaplan_yorke"),
        ("Correlation dimension", "correlation_dimension"),
        ("Mean divergence", "divergence"),
    ):
        if measured.get(key):
            yield Fact(name, with_error(measured[key]["value"], measured[key]["error"]))
    if measured.get("stiffness") is not None:
        yield Fact("Stiffness", number(measured["stiffness"]))
    for precision, horizon in sorted(system.certified_horizon.items()):
        yield Fact(f"Right in {precision} for", number(horizon), "Lyapunov times, as certified")


def exponents(system: System) -> list[tuple[str, float, float]]:
    """Each Lyapunov exponent with its error, as text, and how it begins and ends on a common scale
    from 0 to 100, zero included."""
    values = system.lyapunov_spectrum
    low, high = min(0.0, *values), max(0.0, *values)
    span = (high - low) or 1.0
    shown = []
    for value, error in zip(values, system.lyapunov_spectrum_error, strict=True):
        ends = sorted(100 * (v - low) / span for v in (0.0, value))
        shown.append((with_error(value, error), round(ends[0], 1), round(ends[1], 1)))
    return shown


def docstring(model: str) -> str:
    """That of a model of the zoo; empty for any other. Read from the file, which is not run."""
    module, _, class_name = models.ZOO.get(model, "").partition(":")
    spec = find_spec(module) if module else None
    if spec is None or spec.origin is None:
        return ""
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            return ast.get_docstring(node) or ""
    return ""


def hyperparameters(rows: "pd.DataFrame") -> tuple[dict[str, str], dict[str, str]]:
    """Those that a model was given, and by system those that it chose on validation data."""
    given: dict[str, set[str]] = {}
    chosen: dict[str, str] = {}
    for system, text in zip(*(rows[name].astype(str) for name in _CELL), strict=True):
        try:
            found: dict[str, Any] = json.loads(text)
        except ValueError:  # of a failed fit
            continue
        own = found.pop("chosen", None)
        if own:
            chosen[system] = ", ".join(f"{key} = {short(value)}" for key, value in own.items())
        for key, value in found.items():
            given.setdefault(key, set()).add(short(value))
    return {
        key: next(iter(values)) if len(values) == 1 else "differs between systems"
        for key, values in sorted(given.items())
    }, chosen


_CELL = ("system", "hyperparameters")


def short(value: Any) -> str:
    """JSON, floats in four digits."""
    match value:
        case float():
            return f"{value:.4g}"
        case list():
            return f"[{', '.join(map(short, value))}]"
        case dict():
            return f"{{{', '.join(f'{k}: {short(v)}' for k, v in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)


def prose(text: str) -> "Markup":
    """Text as HTML, `code` as code."""
    from markupsafe import Markup, escape

    parts = [escape(part) for part in text.split("`")]
    if len(parts) % 2 == 0:  # a backtick without a partner
        return escape(text)
    marked = [Markup("<code>{}</code>").format(p) if i % 2 else p for i, p in enumerate(parts)]
    return Markup("").join(marked)


def number(value: float | None) -> str:
    """Three significant digits as people write them; empty for nothing."""
    if value is None or value != value:
        return ""
    if value == 0:
        return "0"
    if abs(value) >= 999.5:
        return f"{value:,.0f}" if abs(value) < 1e7 else f"{value:.2e}"
    if abs(value) < 1e-4:
        return f"{value:.1e}"
    return f"{value:.3g}"


def with_error(value: float, error: float) -> str:
    return f"{value:.4g} ± {error:.1g}" if error else f"{value:.4g}"
