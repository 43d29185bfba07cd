"""Curves on two logarithmic axes as SVG text: pages are made without a plotting library."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape

import numpy as np
from jaxtyping import Float

Points = Float[np.ndarray, "points"]
WIDTH, HEIGHT = 720.0, 440.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 60.0, 570.0, 20.0, 390.0  # of the frame; names stand right of it
_LINE = 13.0  # between two lines of text
# Okabe and Ito's, which the colour-blind can tell apart; a second round is dashed.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")


@dataclass(frozen=True)
class _Axis:
    """Logarithms between two decades, mapped to pixels."""

    low: int
    high: int
    start: float
    end: float

    @classmethod
    def over(cls, values: Points, start: float, end: float) -> "_Axis":
        logs = np.log10(values)
        low = math.floor(logs.min() + 1e-9)
        return cls(low, max(math.ceil(logs.max() - 1e-9), low + 1), start, end)

    def at(self, value: float) -> float:
        part = (math.log10(value) - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    def ticks(self) -> Iterator[tuple[float, str]]:
        step = 1 + (self.high - self.low) // 9
        for power in range(self.low, self.high + 1, step):
            yield self.at(10.0**power), f"{10.0**power:g}"


def loglog(curves: Mapping[str, tuple[Points, Points]], x_name: str, y_name: str) -> str:
    """An SVG image of curves (x, y) by name, named at their right ends.

    Points that are not positive and finite are left out, and curves of which nothing is left.
    Raises ValueError if that is all of them.
    """
    shown = {}
    for name, (x, y) in curves.items():
        good = np.isfinite(y) & (y > 0) & np.isfinite(x) & (x > 0)
        if good.any():
            shown[name] = (np.asarray(x)[good], np.asarray(y)[good])
    if not shown:
        raise ValueError("a figure needs one point that is positive and finite; got none.")
    across = _Axis.over(np.concatenate([x for x, _ in shown.values()]), _LEFT, _RIGHT)
    up = _Axis.over(np.concatenate([y for _, y in shown.values()]), _BOTTOM, _TOP)
    order = sorted(shown, key=lambda name: up.at(shown[name][1][-1]))
    heights = _apart([up.at(shown[name][1][-1]) for name in order])
    parts = [*_frame(across, up, x_name, y_name)]
    for name, height in zip(order, heights, strict=True):
        number = list(shown).index(name)
        colour = _COLOURS[number % len(_COLOURS)]
        dashes = ' stroke-dasharray="6 3"' if number >= len(_COLOURS) else ""
        points = " ".join(
            f"{across.at(a):.1f},{up.at(b):.1f}" for a, b in zip(*shown[name], strict=True)
        )
        parts += [
            f'<polyline points="{points}" fill="none" stroke="{colour}"{dashes}/>',
            f'<text x="{_RIGHT + 8}" y="{height + 4:.1f}" fill="{colour}">{escape(name)}</text>',
        ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" '
        'font-family="sans-serif" font-size="12">\n'
        f'<rect width="{WIDTH:g}" height="{HEIGHT:g}" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _frame(across: _Axis, up: _Axis, x_name: str, y_name: str) -> Iterator[str]:
    for x, label in across.ticks():
        yield f'<path d="M{x:.1f} {_TOP}V{_BOTTOM}" stroke="#ddd"/>'
        yield f'<text x="{x:.1f}" y="{_BOTTOM + 18}" text-anchor="middle">{label}</text>'
    for y, label in up.ticks():
        yield f'<path d="M{_LEFT} {y:.1f}H{_RIGHT}" stroke="#ddd"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
    centre, middle = (_LEFT + _RIGHT) / 2, (_TOP + _BOTTOM) / 2
    yield f'<text x="{centre}" y="{HEIGHT - 12}" text-anchor="middle">{escape(x_name)}</text>'
    yield (
        f'<text x="14" y="{middle}" text-anchor="middle" '
        f'transform="rotate(-90 14 {middle})">{escape(y_name)}</text>'
    )


def _apart(heights: list[float]) -> list[float]:
    """Ascending heights, each a line below the one before it, and the last within the frame."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + _LINE) if placed else height)
    for i in range(len(placed) - 1, -1, -1):
        below = placed[i + 1] - _LINE if i + 1 < len(placed) else HEIGHT - _LINE
        placed[i] = min(placed[i], below)
    return placed
