"""A figure's curves lie where their numbers are."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from dysts_bench.figures import loglog, save


def drawn(curves: dict[str, tuple[list[float], list[float]]]) -> Any:
    arrays = {name: (np.array(x, float), np.array(y, float)) for name, (x, y) in curves.items()}
    return loglog(arrays, "points & more", "error")


def test_a_power_law_is_a_straight_line() -> None:
    [axes] = drawn({"law": ([1, 10, 100], [1, 0.1, 0.01])}).axes
    [line] = axes.lines
    places = axes.transData.transform(line.get_xydata())
    steps = np.diff(places, axis=0)
    assert steps[0] == pytest.approx(steps[1]) and steps[0, 0] > 0 > steps[0, 1]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("points & more", "error")


def test_what_cannot_be_drawn_is_left_out() -> None:
    [axes] = drawn(
        {"gone": ([1, 2], [np.inf, 0]), "half": ([1, 10, 100], [np.nan, 5, 2]), "one": ([3], [3])}
    ).axes
    found = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert found == {"one": [[3, 3]], "half": [[10, 5], [100, 2]]}
    with pytest.raises(ValueError, match="got none"):
        drawn({"gone": ([1], [-1])})


def test_names_stand_in_the_order_of_the_ends() -> None:
    figure = drawn({f"m{i}<": ([1, 10], [1, 1 + i]) for i in (1, 3, 2)})
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["m3<", "m2<", "m1<"]


def test_a_figure_is_written_to_the_same_bytes_and_keeps_its_text(tmp_path: Path) -> None:
    written = []
    for _ in range(2):
        save(drawn({"a < b": ([1, 10], [1, 2])}), tmp_path / "figure.svg")
        written.append((tmp_path / "figure.svg").read_bytes())
    assert written[0] == written[1]
    texts = {element.text for element in ElementTree.fromstring(written[0]).iter()}
    assert {"a < b", "points & more", "error"} <= texts
