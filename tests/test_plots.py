"""What is drawn lies where the numbers are; the commands write files that are pictures."""

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from test_comparison import table_of
from test_leaderboard import PRIMARY, row
from typer.testing import CliRunner

from dysts_bench import plots
from dysts_bench.cli import app
from dysts_bench.commands import plots as commands
from dysts_bench.comparison import compared
from dysts_bench.leaderboard import leaderboard
from dysts_bench.portraits import Forecasts
from dysts_bench.records import to_frame
from systems.lyapunov import Spectrum

pytest.importorskip("matplotlib")


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_a_gallery_has_a_panel_for_each_system_with_its_curve_and_name():
    runs = {f"S{i}": np.random.default_rng(i).normal(size=(50, 2)) for i in range(7)}
    shown = plots.gallery(runs, columns=3)
    assert len(shown.axes) == 9  # three rows of three, the last two empty
    for axes, (name, run) in zip(shown.axes, runs.items(), strict=False):
        assert axes.get_title() == name
        np.testing.assert_array_equal(axes.lines[0].get_xydata(), run)
    assert [len(axes.lines) for axes in shown.axes[7:]] == [0, 0]


def test_a_return_map_pairs_each_maximum_with_the_next():
    [axes] = plots.return_map("Lorenz", "z", np.array([3.0, 1.0, 4.0, 1.5])).axes
    diagonal, points = axes.lines
    assert points.get_xydata().tolist() == [[3.0, 1.0], [1.0, 4.0], [4.0, 1.5]]
    assert diagonal.get_xydata().tolist() == [[1.0, 1.0], [4.0, 4.0]]


def test_a_spectrum_is_drawn_up_to_the_frequency_asked_for():
    frequencies, power = np.arange(5.0), np.array([[0.0, 0.0], [4, 1], [3, 2], [2, 3], [1, 4]])
    [axes] = plots.spectrum("S", ("x", "y"), frequencies, power, highest=3.0).axes
    assert axes.get_yscale() == "log" and [line.get_label() for line in axes.lines] == ["x", "y"]
    assert axes.lines[1].get_xydata().tolist() == [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]


def test_convergence_has_estimates_with_two_errors_and_the_catalogs_exponents():
    spectra = [
        Spectrum((0.9, -1.0), (0.2, 0.1), "tangent", 50.0, 8),
        Spectrum((1.0, -1.1), (0.02, 0.01), "tangent", 500.0, 8),
    ]
    above, below = plots.convergence("S", 5.0, spectra, (1.01, -1.09)).axes
    [first], [second] = above.containers, below.containers
    assert first.lines[0].get_xydata().tolist() == [[10.0, 0.9], [100.0, 1.0]]
    [bars] = second.lines[2]
    spans = [tuple(segment[:, 1]) for segment in bars.get_segments()]
    assert spans == [pytest.approx((-1.2, -0.8)), pytest.approx((-1.12, -1.08))]
    dashed = [line for axes in (above, below) for line in axes.lines if line.get_ls() == "--"]
    assert [line.get_ydata()[0] for line in dashed] == [1.01, -1.09]
    assert texts(above) == ["1 ± 0.02; catalog: 1.01"]


def found_forecasts():
    times = np.arange(-4, 6) / 2
    truth = np.column_stack([np.sin(times), np.cos(times)])
    future = truth[5:]
    runs = {"good": future + 0.01, "bad": future * 1e9}
    return Forecasts(
        "S", ("x", "y"), times, "Lyapunov times", truth, runs, {"good": 2.5, "bad": 0.0}
    )


def test_forecasts_begin_after_the_context_and_end_their_validity_at_a_line():
    found = found_forecasts()
    above, below = plots.forecast(found).axes
    truth, good, good_ends, _, bad_ends, now = below.lines
    np.testing.assert_array_equal(
        truth.get_xydata(), np.column_stack([found.times, found.truth[:, 1]])
    )
    assert good.get_xdata().tolist() == [0.5, 1.0, 1.5, 2.0, 2.5]
    np.testing.assert_array_equal(good.get_ydata(), found.forecasts["good"][:, 1])
    ends = [line.get_xdata()[0] for line in (good_ends, bad_ends, now)]
    assert ends == [2.5, 0.0, 0.0]
    low, high = above.get_ylim()
    assert -2 < low < -0.9 and 0.9 < high < 2  # not those of the forecast that left
    assert below.get_xlabel() == "Lyapunov times since the end of the context"
    [axes] = plots.forecast(found, coordinates=["x"]).axes
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), found.truth[:, 0])
    with pytest.raises(ValueError, match="it has x, y"):
        plots.forecast(found, coordinates=["z"])


def test_critical_differences_put_entries_at_their_ranks_and_bars_over_those_alike():
    values = np.random.default_rng(0).normal(size=(60, 1)) - np.array([[0.0, 1.0, 1.0, 3.0]])
    values = values + 0.2 * np.random.default_rng(1).normal(size=values.shape)
    found = compared(table_of(values), "any")
    assert found.alike == ((1, 2),)
    [axes] = plots.critical_differences(found).axes
    for name, rank in zip(found.entries, found.mean_ranks, strict=True):
        assert {f"{name}  {rank:.2f}", f"{rank:.2f}  {name}"} & set(texts(axes))
        assert any(
            line.get_xdata()[0] == rank and len(line.get_xdata()) == 3 for line in axes.lines
        )
    [bar] = [line for line in axes.lines if line.get_linewidth() == 4]
    assert bar.get_xdata() == pytest.approx(found.mean_ranks[1:3] + np.array([-0.05, 0.05]))
    assert "60 systems" in axes.get_title()


@pytest.mark.parametrize("count", [14, 21, 35])
def test_names_of_many_entries_do_not_cover_each_other(count):
    """Scores and seconds as clustered as in the reference results: some differ by a percent."""
    random = np.random.default_rng(count)
    skill, seconds = 10 ** random.normal(size=(2, count // 2 + 1))
    near = np.exp(0.05 * random.normal(size=(3, count)))
    figures = {
        f"darts_model_{i}": (skill[i // 2] * near[0, i], seconds[i // 2] * near[1, i])
        for i in range(count)
    }
    systems = [f"S{k}" for k in range(10)]
    values = np.array(
        [[v + 0.3 * v * random.normal() for v, _ in figures.values()] for _ in systems]
    )
    rows = [row(m, "S1", v, fit_seconds=t) for m, (v, t) in figures.items()]
    for drawn, size in (
        (plots.critical_differences(compared(table_of(values), "any")), count + 2),
        (plots.cost(leaderboard(to_frame(rows)), PRIMARY, "Lyapunov times"), count),
    ):
        drawn.draw_without_rendering()
        [axes] = drawn.axes
        boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
        assert len(boxes) >= size
        for one, other in combinations(boxes, 2):
            assert not one.overlaps(other)
        for box in boxes:
            assert drawn.bbox.x0 <= box.x0 and box.x1 <= drawn.bbox.x1


def test_cost_has_a_point_for_each_entry_and_a_staircase_through_the_front():
    figures = {"good": (5.0, 8.0), "cheap": (1.0, 1.0), "beaten": (4.0, 9.0)}
    rows = [row(m, s, v, fit_seconds=t) for m, (v, t) in figures.items() for s in ("S1", "S2")]
    rows += [row("few", "S1", 9.0, fit_seconds=0.1)]
    [axes] = plots.cost(leaderboard(to_frame(rows)), PRIMARY, "Lyapunov times").axes
    staircase, beaten, front = axes.lines
    assert staircase.get_drawstyle() == "steps-post"
    assert staircase.get_xydata().tolist() == [[2.0, 1.0], [9.0, 5.0]]
    assert front.get_xydata()[np.argsort(front.get_xdata())].tolist() == [[2.0, 1.0], [9.0, 5.0]]
    assert beaten.get_xydata().tolist() == [[10.0, 4.0]]
    assert sorted(texts(axes)) == ["beaten", "cheap", "good"]
    with pytest.raises(ValueError, match="no entry of group 'nobody'"):
        plots.cost(leaderboard(to_frame(rows)), PRIMARY, group="nobody")


# ---- commands --------------------------------------------------------------------------------


def cli(*arguments, code=0):
    done = CliRunner().invoke(app, ["plot", *arguments])
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DYSTS_BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.mark.parametrize(
    ("arguments", "kind", "begins"),
    [
        (["gallery", "--systems", "Lorenz,MackeyGlass"], "png", b"\x89PNG"),
        (["attractor", "Rossler"], "svg", b"<?xml"),
        (["return-map", "Lorenz"], "pdf", b"%PDF"),
        (["spectrum", "Lorenz"], "png", b"\x89PNG"),
        (["convergence", "Lorenz", "--longest", "30"], "png", b"\x89PNG"),
    ],
)
def test_a_plot_of_systems_is_saved(arguments, kind, begins, tmp_path):
    path = tmp_path / f"plot.{kind}"
    assert str(path.name) in cli(*arguments, "--output", path.name)
    assert path.read_bytes().startswith(begins)


def test_plots_of_results_are_saved(tmp_path):
    from dysts_bench import records

    rng = np.random.default_rng(4)
    rows = [row(m, f"S{i}", float(v)) for m in "ABC" for i, v in enumerate(rng.gamma(2, size=9))]
    records.write_csv(tmp_path / "results" / "local" / "standard" / "all.csv", rows)
    for name in ("critical-differences", "cost"):
        cli(name, "--output", f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_without_output_a_viewer_is_asked_to_show_it(monkeypatch):
    shown = []
    monkeypatch.setattr(typer, "launch", lambda path: shown.append(path) or 0)
    assert cli("attractor", "Lorenz") == ""
    assert shown[0].endswith("plot.png")
    monkeypatch.setattr(typer, "launch", lambda path: 1)
    assert "no viewer opened it" in cli("attractor", "Lorenz")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["attractor", "Lorentz"], "Did you mean `Lorenz`"),
        (["return-map", "Lorenz", "--coordinate", "w"], "it has x, y, z"),
        (["attractor", "Lorenz", "--output", "plot.jpg"], "written as png, svg, pdf"),
        (["cost", "--metric", "smapy"], "Did you mean"),
        (["critical-differences", "--suite", "standrad"], "Did you mean standard"),
        (["forecast", "Lorenz", "--models", "nvra"], "Did you mean nvar"),
    ],
)
def test_what_is_wrong_ends_with_code_2(arguments, said):
    assert said in cli(*arguments, code=2)


PAGE = (Path(__file__).parents[1] / "docs" / "plots.md").read_text(encoding="utf-8")


def test_every_command_is_on_the_page_and_the_other_way_round():
    told = re.findall(r"^dysts-bench plot (\S+)", PAGE, re.MULTILINE)
    assert sorted(told) == sorted(typer.main.get_command(commands.app).commands)
    for line in re.findall(r"^dysts-bench plot ([^#\n]+)", PAGE, re.MULTILINE):
        name, *_ = line.split()
        known = cli(name, "--help")
        assert all(option in known for option in re.findall(r"--\w+", line))


def test_code_of_the_page_draws(tmp_path):
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(code, {})
    assert (tmp_path / "lorenz.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_way_to_install_it_is_said(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    assert 'pip install "dysts-bench[plots]"' in cli("attractor", "Lorenz", code=2)


def test_the_table_that_cost_reads_is_the_leaderboards():
    columns = {"group", "source", "systems", "median", "fit_seconds", "predict_seconds", "front"}
    rows = pd.DataFrame(columns=sorted(columns))
    with pytest.raises(ValueError, match="both a median and seconds"):
        plots.cost(rows.assign(model=[]), PRIMARY)
