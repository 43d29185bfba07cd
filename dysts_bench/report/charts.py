"""The figures of a report, by matplotlib, inline: in the colours of the page, light or dark."""

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from dysts_bench import plots
from dysts_bench.comparison import compare
from dysts_bench.leaderboard import scores
from dysts_bench.metrics import Metric
from systems.trajectory import optional

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup
    from matplotlib.figure import Figure

# Stand-ins for colours that the page's style sets; matplotlib writes them into its SVG.
INK, FAINT = "#010203", "#040506"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.grid": True,
    "figure.facecolor": "none",
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": FAINT,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}
PAGE = {
    INK: "currentColor",
    FAINT: "var(--faint)",
    "#000000": "currentColor",
    plots.INK: "var(--cool)",
    plots.FAINT: "var(--faint)",
}
COLOURS = (  # of middling lightness: to be seen on white and on black
    *("#d95f30", "#1f87a8", "#7a62c9", "#3f9b54", "#c2457e", "#b08a00", "#4f7bd9", "#8a6d5a"),
)
SIZE = (8.5, 4.6)  # inches
FAMILY = "nrmse_at_"


def charts(results: "pd.DataFrame", board: "pd.DataFrame", metric: Metric) -> list[dict[str, Any]]:
    """The figures that these results allow, each with what it says in words.

    `results` as of records.load_results, `board` their leaderboard in the primary metric.
    """
    optional("matplotlib", extra="report")
    from matplotlib import rc_context

    first = board[board["group"] == board["group"].iloc[0]]
    with rc_context(STYLE):
        made = [_compared(results, metric), _horizons(results), _costs(first, metric)]
    return [chart for chart in made if chart is not None]


def _inline(figure: "Figure", name: str) -> "Markup":
    """The figure as an <svg> element, decorative for readers of screens: what it shows stands in
    a label of the element around it. `name` tells its ids from those of others on a page."""
    from markupsafe import Markup
    from matplotlib import rc_context

    for axes in figure.axes:
        for place in ("left", "center"):
            axes.set_title("", loc=place)  # the page has a heading
    buffer = io.StringIO()
    with rc_context({**STYLE, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<(metadata|style).*?</\1>", "", text, flags=re.DOTALL)
    text = re.sub(r' (id|xlink:href|clip-path)="(url\()?(#?)', rf' \1="\2\3{name}-', text)
    text = re.sub(r' (width|height)="[0-9.]+pt"', "", text, count=2)
    for colour, of_the_page in PAGE.items():
        text = text.replace(colour, of_the_page)
    text = text.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
    return Markup(text)  # matplotlib escapes the texts in it


# ---- who is told apart -------------------------------------------------------------------------


def _compared(results: "pd.DataFrame", metric: Metric) -> dict[str, Any] | None:
    try:
        found = compare(results, metric.name)
    except ValueError:  # fewer than two entries, or systems, in common
        return None
    alike = "; ".join(", ".join(found.entries[i : j + 1]) for i, j in found.alike)
    order = ", ".join(
        f"{name} {rank:.2f}" for name, rank in zip(found.entries, found.mean_ranks, strict=True)
    )
    return {
        "title": "Who can be told apart",
        "says": f"Mean ranks over the {len(found.systems)} chaotic systems on which all of these "
        "were run, 1 is best. A bar joins models no two of which differ by Wilcoxon's "
        f"signed-rank test at {found.level:g}, after Holm. Friedman's test that all are alike: "
        f"p = {found.friedman_p:.2g}.",
        "label": f"Critical-difference diagram. Mean ranks: {order}. Not told apart: "
        f"{alike or 'none'}.",
        "svg": _inline(plots.critical_differences(found), "differences"),
    }


# ---- error against horizon ---------------------------------------------------------------------


def _horizons(results: "pd.DataFrame") -> dict[str, Any] | None:
    """Median error at each horizon, of the entries that were asked on all chaotic systems."""
    from matplotlib.figure import Figure

    names = [name for name in results["metric"].unique() if name.startswith(FAMILY)]
    horizons = sorted(float(name.removeprefix(FAMILY)) for name in names)
    if len(horizons) < 2:
        return None
    columns = [scores(results, f"{FAMILY}{h:g}").replace(-np.inf, -1e300) for h in horizons]
    medians = {
        entry: np.array([-column[entry].median() for column in columns])
        for entry in columns[0]
        if all(entry in column for column in columns)
    }
    if not medians:
        return None
    best = sorted(medians, key=lambda entry: (float(np.log(medians[entry] + 1e-300).sum()), entry))
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot(
        xscale="log",
        yscale="log",
        xlabel="horizon, Lyapunov times",
        ylabel="NRMSE, median over systems",
    )
    for i, entry in reversed(list(enumerate(best))):
        values = np.where((medians[entry] > 0) & (medians[entry] < 1e299), medians[entry], np.nan)
        top = i < len(COLOURS)
        axes.plot(
            horizons,
            values,
            color=COLOURS[i] if top else FAINT,
            linewidth=1.8 if top else 0.9,
            marker="o" if top else None,
            markersize=3.5,
            label=_label(*entry) if top else "_",
            zorder=3 if top else 1,
        )
    axes.set_xticks(horizons, [f"{h:g}" for h in horizons])
    axes.minorticks_off()
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside right upper")
    three = ", ".join(_label(*entry) for entry in best[:3])
    return {
        "title": "Error against horizon",
        "says": "Normalised root mean squared error from the start of the forecast to the horizon, "
        "median over the chaotic systems, of models that were run on all of them. The "
        f"{min(len(best), len(COLOURS))} best in colour.",
        "label": f"Median error of {len(best)} models against the horizon; the lowest are those of "
        f"{three}.",
        "svg": _inline(figure, "horizons"),
    }


def _label(model: str, source: str) -> str:
    return model if source == "reference" else f"{model} ({source})"


# ---- accuracy against cost ---------------------------------------------------------------------


def _costs(board: "pd.DataFrame", metric: Metric) -> dict[str, Any] | None:
    """Accuracy against the seconds of a cell, and who is beaten in neither."""
    try:
        figure = plots.cost(board, metric.name, metric.unit, group=str(board["group"].iloc[0]))
    except ValueError:  # nobody has both
        return None
    front = board[board["front"]].sort_values("fit_seconds")
    return {
        "title": "Accuracy against cost",
        "says": "No model is both better and faster than one on the line. Timings compare only "
        "between rows from the same hardware.",
        "label": f"Median {metric.name} against seconds. On the front, from cheap to dear: "
        f"{', '.join(front['model'])}.",
        "svg": _inline(figure, "costs"),
    }
