"""Figures, by matplotlib (extra `plots`), which is imported when one is drawn."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Points = Float[np.ndarray, "points"]
SIZE = (8.0, 5.0)  # inches


def loglog(curves: Mapping[str, tuple[Points, Points]], x_name: str, y_name: str) -> "Figure":
    """Curves (x, y) by name on two logarithmic axes, in the legend from the highest end down.

    Points that are not positive and finite are left out, and curves of which nothing is left.
    Raises ValueError if that is all of them.
    """
    from matplotlib.figure import Figure

    shown = {}
    for name, (x, y) in curves.items():
        good = np.isfinite(y) & (y > 0) & np.isfinite(x) & (x > 0)
        if good.any():
            shown[name] = (x[good], y[good])
    if not shown:
        raise ValueError("a figure needs one point that is positive and finite; got none.")
    figure = Figure(figsize=SIZE, layout="constrained")  # not by pyplot, which keeps every figure
    axes = figure.add_subplot(xscale="log", yscale="log", xlabel=x_name, ylabel=y_name)
    for name, (x, y) in sorted(shown.items(), key=lambda curve: -curve[1][1][-1]):
        axes.plot(x, y, marker="o", markersize=3, label=name)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")
    return figure


def save(figure: "Figure", path: Path) -> None:
    """Write an SVG file, the same bytes whenever it is written."""
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": path.name, "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
