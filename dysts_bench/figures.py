"""How figures look and are written; matplotlib (extra `plots`) is imported when one is drawn."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from dysts_bench.records import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Float[np.ndarray, "points"]
SIZE = (8.0, 5.0)  # inches
KINDS = ("png", "svg", "pdf")


def figure(width: float = SIZE[0], height: float = SIZE[1]) -> "Figure":
    """An empty one, in inches, which finds room for its texts itself."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")  # pyplot would keep every figure


def style(axes: "Axes") -> None:
    """A faint grid, and no box around it."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def loglog(curves: Mapping[str, tuple[Points, Points]], x_name: str, y_name: str) -> "Figure":
    """Curves (x, y) by name on two logarithmic axes, in the legend from the highest end down.

    Points that are not positive and finite are left out, and curves of which nothing is left.
    Raises ValueError if that is all of them.
    """
    shown = {}
    for name, (x, y) in curves.items():
        good = np.isfinite(y) & (y > 0) & np.isfinite(x) & (x > 0)
        if good.any():
            shown[name] = (x[good], y[good])
    if not shown:
        raise ValueError("a figure needs one point that is positive and finite; got none.")
    drawn = figure()
    axes = drawn.add_subplot(xscale="log", yscale="log", xlabel=x_name, ylabel=y_name)
    for name, (x, y) in sorted(shown.items(), key=lambda curve: -curve[1][1][-1]):
        axes.plot(x, y, marker="o", markersize=3, label=name)
    axes.grid(alpha=0.3)
    drawn.legend(loc="outside right upper", fontsize="small")
    return drawn


def save(figure: "Figure", path: Path) -> None:
    """Write a file of the kind that its name ends with, png, svg or pdf, whole or not at all.

    The same bytes whenever it is written, by one version of matplotlib. ValueError for another end.
    """
    from matplotlib import rc_context

    kind = path.suffix.removeprefix(".")
    if kind not in KINDS:
        raise ValueError(f"figures are written as {', '.join(KINDS)}; got {path.name!r}.")
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    content = io.BytesIO()
    with rc_context({"svg.hashsalt": path.name, "svg.fonttype": "none"}):
        figure.savefig(content, format=kind, dpi=150, metadata=undated)
    write_atomically(path, content.getvalue())
