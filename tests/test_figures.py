"""A figure's curves lie where their numbers are."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from dysts_bench.figures import HEIGHT, loglog

SVG = "{http://www.w3.org/2000/svg}"


def drawn(curves: dict[str, tuple[list[float], list[float]]]) -> ElementTree.Element:
    arrays = {name: (np.array(x, float), np.array(y, float)) for name, (x, y) in curves.items()}
    return ElementTree.fromstring(loglog(arrays, "points & more", "error"))


def lines_of(image: ElementTree.Element) -> list[np.ndarray]:
    texts = [line.attrib["points"] for line in image.iter(f"{SVG}polyline")]
    return [np.array([p.split(",") for p in text.split()], dtype=float) for text in texts]


def texts_of(image: ElementTree.Element) -> dict[str, tuple[float, float]]:
    found = image.iter(f"{SVG}text")
    return {str(t.text): (float(t.attrib["x"]), float(t.attrib["y"])) for t in found}


def test_a_power_law_is_a_straight_line_through_the_ticks_of_its_numbers() -> None:
    image = drawn({"law": ([1, 10, 100], [1, 0.1, 0.01])})
    [line] = lines_of(image)
    texts = texts_of(image)
    ticks = [(texts[x][0], texts[y][1] - 4) for x, y in (("10", "0.1"), ("100", "0.01"))]
    assert line[1:] == pytest.approx(np.array(ticks), abs=0.1)
    assert np.diff(line, axis=0)[0] == pytest.approx(np.diff(line, axis=0)[1], abs=0.2)
    assert line[0, 1] < line[2, 1]  # larger is higher up


def test_what_cannot_be_drawn_is_left_out() -> None:
    image = drawn(
        {"gone": ([1, 2], [np.inf, 0]), "half": ([1, 10, 100], [np.nan, 5, 2]), "one": ([3], [3])}
    )
    assert [len(line) for line in lines_of(image)] in ([2, 1], [1, 2])
    assert "gone" not in texts_of(image) and "half" in texts_of(image)
    with pytest.raises(ValueError, match="got none"):
        drawn({"gone": ([1], [-1])})


def test_names_stand_apart_in_the_order_of_the_ends_and_within_the_figure() -> None:
    curves = {f"m{i}<": ([1, 10], [1, 1 - i / 1000]) for i in range(20)}
    image = drawn(curves)
    names = {name: y for name, (_, y) in texts_of(image).items() if name.startswith("m")}
    heights = [names[f"m{i}<"] for i in range(20)]
    assert (np.diff(heights) > 12).all() and max(heights) < HEIGHT
    strokes = re.findall(r"stroke-dasharray", ElementTree.tostring(image, "unicode"))
    assert len(strokes) == 13  # seven colours; the others are dashed
