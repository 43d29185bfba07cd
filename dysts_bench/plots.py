"""Plots of systems, forecasts and leaderboards, by matplotlib (extra `plots`).

Each function takes numbers (of portraits.py, or a table of leaderboard.py) and returns a Figure,
which `dysts-bench plot` saves; none of them computes anything that another file does not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from dysts_bench.figures import figure, style
from dysts_bench.standings import PUBLISHED

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

    from dysts_bench.comparison import Comparison
    from dysts_bench.portraits import Forecasts
    from systems.lyapunov import Spectrum

INK, FAINT = "#1f3b57", "#9aa5b1"
SPREAD = 30.0  # from which ratio of medians on their axis is logarithmic
Path2 = Float[np.ndarray, "times 2"]


@dataclass(frozen=True)
class _Place:
    """Of a name beside a point: how far away in points, in which direction."""

    away: float
    direction: tuple[float, float]

    @property
    def offset(self) -> tuple[float, float]:
        return self.away * self.direction[0], self.away * self.direction[1]

    @property
    def across(self) -> str:
        """Which end of the name is nearest to the point."""
        return {-1: "right", 0: "center", 1: "left"}[int(np.sign(self.direction[0]))]

    @property
    def up(self) -> str:
        return {-1: "top", 0: "center", 1: "bottom"}[int(np.sign(self.direction[1]))]


_DIRECTIONS = (
    *((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)),
    *((0.7, 0.7), (0.7, -0.7), (-0.7, 0.7), (-0.7, -0.7)),
)
_PLACES = [_Place(away, way) for away in range(6, 160, 10) for way in _DIRECTIONS]


# ---- systems ---------------------------------------------------------------------------------


def gallery(portraits: Mapping[str, Path2], *, columns: int = 15) -> "Figure":
    """Attractors side by side, each with its name, in the order given and without scales."""
    columns = min(columns, len(portraits))
    rows = -(-len(portraits) // columns)
    shown = figure(1.15 * columns, 1.3 * rows)
    grid = shown.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(portraits) :]:
        axes.set_axis_off()
    for axes, (name, run) in zip(grid.flat, portraits.items(), strict=False):
        _curve(axes, run)
        axes.set_title(name, fontsize=5.5, pad=2, color=INK)
    return shown


def attractor(name: str, run: Path2) -> "Figure":
    """One attractor, large."""
    shown = figure(5.0, 5.0)
    axes = shown.add_subplot(title=name)
    _curve(axes, run, width=0.5)
    return shown


def _curve(axes: "Axes", run: Path2, width: float = 0.3) -> None:
    axes.plot(run[:, 0], run[:, 1], color=INK, linewidth=width, alpha=0.85)
    axes.set_axis_off()
    axes.set_box_aspect(1)


def return_map(system: str, coordinate: str, tops: Float[np.ndarray, " maxima"]) -> "Figure":
    """Each maximum of a coordinate against the one before, and the diagonal."""
    shown = figure(5.0, 5.0)
    axes = shown.add_subplot(
        title=f"{system}: successive maxima of {coordinate}",
        xlabel=f"maximum n of {coordinate}",
        ylabel="maximum n + 1",
    )
    ends = [float(tops.min()), float(tops.max())]
    axes.plot(ends, ends, color=FAINT, linewidth=0.8)
    axes.plot(tops[:-1], tops[1:], linestyle="", marker=".", markersize=3, color=INK)
    axes.set_aspect("equal")
    style(axes)
    return shown


def spectrum(
    system: str,
    coordinates: Sequence[str],
    frequencies: Float[np.ndarray, " frequencies"],
    power: Float[np.ndarray, "frequencies dim"],
    *,
    highest: float = 8.0,
) -> "Figure":
    """Shares of power in each coordinate, up to `highest` times the frequency of the period."""
    shown = figure()
    axes = shown.add_subplot(
        title=f"{system}: power spectrum",
        yscale="log",
        xlabel="frequency (1 / period)",
        ylabel="share of power",
        xlim=(0, highest),
    )
    near = (frequencies > 0) & (frequencies <= highest)
    for name, values in zip(coordinates, power.T, strict=True):
        axes.plot(frequencies[near], values[near], linewidth=0.9, label=name)
    style(axes)
    if len(coordinates) > 1:
        axes.legend(fontsize="small", frameon=False, ncols=2 if len(coordinates) > 5 else 1)
    return shown


def convergence(
    system: str,
    period: float,
    spectra: "Sequence[Spectrum]",
    known: Sequence[float],
    *,
    most: int = 4,
) -> "Figure":
    """Exponents (1 / system time) against the length they were estimated from, in periods.

    A row for each of the `most` largest, with a scale of its own: they differ by orders. Bars are
    two standard errors; dashed lines what the catalog says, `known`.
    """
    count = min(most, len(spectra[-1].exponents))
    shown = figure(7.0, 0.9 + 1.6 * count)
    rows = shown.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    lengths = np.array([spectrum.length for spectrum in spectra]) / period
    for i, axes in enumerate(rows):
        estimates = np.array([spectrum.exponents[i] for spectrum in spectra])
        errors = np.array([spectrum.errors[i] for spectrum in spectra])
        axes.errorbar(
            lengths, estimates, 2 * errors, color=INK, marker="o", markersize=4, capsize=3
        )
        told = f"{estimates[-1]:.4g} ± {errors[-1]:.1g}"
        if i < len(known):
            axes.axhline(known[i], color="C1", linewidth=1.0, linestyle="--")
            told += f"; catalog: {known[i]:.4g}"
        axes.text(0.99, 0.97, told, transform=axes.transAxes, ha="right", va="top", fontsize=8)
        axes.margins(y=0.25)
        axes.set_ylabel(f"$\\lambda_{{{i + 1}}}$")
        style(axes)
    rows[0].set_title(f"{system}: Lyapunov exponents (1 / system time)")
    rows[-1].set_xscale("log")
    rows[-1].set_xlabel(f"length of each of {spectra[0].trajectories} runs (periods)")
    return shown


# ---- forecasts -------------------------------------------------------------------------------


def forecast(found: "Forecasts", *, coordinates: Sequence[str] | None = None) -> "Figure":
    """Truth and forecasts against time, a row a coordinate; a tick where each stops being valid.

    The first three coordinates unless others are named. ValueError for one that is none.
    """
    names = list(coordinates or found.coordinates[:3])
    for name in names:
        if name not in found.coordinates:
            known = ", ".join(found.coordinates)
            raise ValueError(f"{found.system} has no coordinate {name!r}; it has {known}.")
    shown = figure(9.0, 0.8 + 1.7 * len(names))
    rows = shown.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    steps = len(found.truth) - len(next(iter(found.forecasts.values()), found.truth[:0]))
    future = found.times[steps:]
    for axes, name in zip(rows, names, strict=True):
        column = found.coordinates.index(name)
        truth = found.truth[:, column]
        axes.plot(found.times, truth, color="#c3cad2", linewidth=3.5, label="truth")
        for i, (model, run) in enumerate(found.forecasts.items()):
            label = f"{model}: {found.valid[model]:.3g}"
            axes.plot(future, run[:, column], color=f"C{i}", linewidth=1.0, label=label)
            axes.axvline(found.valid[model], color=f"C{i}", linewidth=0.8, linestyle=":")
        axes.axvline(0.0, color=FAINT, linewidth=0.8)
        # A forecast that leaves the attractor would flatten everything else.
        margin = 0.25 * float(np.ptp(truth)) or 1.0
        axes.set_ylim(truth.min() - margin, truth.max() + margin)
        axes.set_ylabel(name)
        style(axes)
    rows[-1].set_xlim(found.times[0], found.times[-1])
    rows[-1].set_xlabel(f"{found.unit} since the end of the context")
    rows[0].set_title(found.system)
    lines, labels = rows[0].get_legend_handles_labels()
    shown.legend(
        lines,
        labels,
        loc="outside right upper",
        title="valid for",
        fontsize="small",
        frameon=False,
    )
    return shown


# ---- leaderboards ----------------------------------------------------------------------------


def critical_differences(found: "Comparison") -> "Figure":
    """Mean ranks on a line, best left, and bars over entries that cannot be told apart.

    After Demšar, J. Mach. Learn. Res. 7, 1 (2006); the bars are `Comparison.alike`.
    """
    count, ranks = len(found.entries), found.mean_ranks
    labels = [f"{name}  {rank:.2f}" for name, rank in zip(found.entries, ranks, strict=True)]
    left = -(-count // 2)  # the better half is named on the left
    layers = _layers(found.alike)
    bars, height = max(layers, default=-1) + 1, max(left, count - left)
    lowest = -(0.5 + 0.35 * bars + 0.55 * height)
    # Inches: the axis, and beside it the longest names.
    room = [0.45 + 0.075 * max(map(len, half)) for half in (labels[:left], labels[left:])]
    middle = max(9.0 - sum(room), 4.0)
    per_inch = (count - 1) / middle
    shown = figure(middle + sum(room), 0.9 - 0.5 * lowest)
    axes = shown.add_subplot(
        xlim=(1 - room[0] * per_inch, count + room[1] * per_inch), ylim=(lowest, 0.9)
    )
    axes.set_axis_off()
    axes.plot([1, count], [0, 0], color="black", linewidth=1.0)
    told = 1 if count <= 15 else 2 if count <= 40 else 5
    for tick in range(1, count + 1):
        axes.plot([tick, tick], [0, 0.15], color="black", linewidth=1.0)
        if tick % told == 1 % told:
            axes.text(tick, 0.22, str(tick), ha="center", va="bottom", fontsize=8)
    for i, (name, rank) in enumerate(zip(found.entries, ranks, strict=True)):
        on_left = i < left
        row = i if on_left else count - 1 - i
        level = -(0.5 + 0.35 * bars + 0.55 * row)
        end = 1 - 0.25 * per_inch if on_left else count + 0.25 * per_inch
        axes.plot([rank, rank, end], [0, level, level], color=FAINT, linewidth=0.8)
        text = labels[i] if on_left else f"{rank:.2f}  {name}"
        place = end + (-0.06 if on_left else 0.06) * per_inch
        align = "right" if on_left else "left"
        axes.text(place, level, text, ha=align, va="center", fontsize=9)
    for layer, (first, last) in zip(layers, found.alike, strict=True):
        level = -0.3 - 0.35 * layer
        ends = [ranks[first] - 0.05, ranks[last] + 0.05]
        axes.plot(ends, [level, level], color=INK, linewidth=4, solid_capstyle="butt")
    axes.set_title(
        f"Mean rank by {found.metric} over {len(found.systems)} systems; bars: not told apart "
        f"at {found.level:.0%}",
        fontsize=10,
    )
    return shown


def _layers(runs: Sequence[tuple[int, int]]) -> list[int]:
    """For each run, in their order, the first layer in which it meets no other."""
    layers: list[int] = []
    for i, (first, _) in enumerate(runs):
        taken = {layers[k] for k in range(i) if runs[k][1] >= first}
        layers.append(next(layer for layer in range(i + 1) if layer not in taken))
    return layers


def cost(table: "pd.DataFrame", metric: str, unit: str = "", *, group: str = "chaotic") -> "Figure":
    """Median against seconds of fit and forecast, a point an entry; the front is a staircase.

    `table` is a leaderboard. Entries that were not asked on all systems of the group are left out,
    as are published ones, whose seconds are other machines'. ValueError if none is left.
    """
    part = table[(table["group"] == group) & (table["source"] != PUBLISHED)]
    seconds = part["fit_seconds"] + part["predict_seconds"]
    part = part.assign(seconds=seconds)[(part["systems"] == part["systems"].max())]
    part = part[part["seconds"].gt(0) & part["median"].notna()]
    if part.empty:
        raise ValueError(f"no entry of group {group!r} has both a median and seconds.")
    shown = figure()
    axes = shown.add_subplot(
        xscale="log",
        xlabel="seconds of fit and forecast (median over cells)",
        ylabel=f"median ({unit})" if unit else "median",
    )
    axes.set_title(f"{metric}, {group} systems", loc="left")
    front = part[part["front"]].sort_values("seconds")
    axes.step(front["seconds"], front["median"], where="post", color=FAINT, linewidth=1.0)
    for on_front, some in part.groupby("front"):
        axes.plot(
            some["seconds"],
            some["median"],
            linestyle="",
            marker="o" if on_front else "s",
            markersize=6 if on_front else 4,
            color=INK if on_front else FAINT,
            label="on the front" if on_front else "behind it",
        )
    positive = part["median"][part["median"] > 0]
    if (part["median"] >= 0).all() and positive.max() > SPREAD * positive.min():
        axes.set_yscale("symlog", linthresh=positive.min())
    axes.margins(x=0.12, y=0.08)
    axes.legend(
        fontsize="small", frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1.0, 1.0)
    )
    style(axes)
    sources = part["model"].value_counts()
    names = [
        row.model if sources[row.model] == 1 else f"{row.model} ({row.source})"
        for row in part.itertuples()
    ]
    corners = np.repeat(front[["seconds", "median"]].to_numpy(), 2, axis=0)
    stairs = np.column_stack([corners[1:, 0], corners[:-1, 1]])
    _name_points(axes, names, part[["seconds", "median"]].to_numpy(), stairs)
    return shown


def _name_points(axes: "Axes", names: Sequence[str], points: Path2, line: Path2) -> None:
    """Write names beside points, where they cover no point, no other name and not the line, whose
    pieces are level or upright. Where there is no such place, a name is where it covers something.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.transforms import Bbox

    shown = axes.get_figure(root=True)
    assert shown is not None
    renderer = FigureCanvasAgg(shown).get_renderer()
    shown.draw_without_rendering()  # from here on, places are known in pixels
    inside = axes.get_window_extent(renderer)
    half = 3.5 / 72 * shown.dpi
    taken = [Bbox([at - half, at + half]) for at in axes.transData.transform(points)]
    bends = axes.transData.transform(line)
    taken += [Bbox([np.minimum(*ends) - 1, np.maximum(*ends) + 1]) for ends in pairwise(bends)]
    for name, point in zip(names, points, strict=True):
        label = axes.annotate(name, point, (0, 0), textcoords="offset points", fontsize=8)
        label.set_in_layout(False)

        def box(place: _Place, label: "Annotation" = label) -> Bbox:
            label.set(position=place.offset, ha=place.across, va=place.up)
            return label.get_window_extent(renderer)

        def is_free(box: Bbox) -> bool:
            held = inside.x0 <= box.x0 and box.x1 <= inside.x1
            held &= inside.y0 <= box.y0 and box.y1 <= inside.y1
            return held and not box.count_overlaps(taken)

        place = next((place for place in _PLACES if is_free(box(place))), _PLACES[0])
        taken.append(box(place))
        if place.away > _PLACES[0].away:
            hint = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.6, "shrinkA": 0}
            line_to = axes.annotate(
                "", point, place.offset, textcoords="offset points", arrowprops=hint
            )
            line_to.set_in_layout(False)
