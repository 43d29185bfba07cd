"""The report's pages: what they say, where they lead, and that strangers' text stays text."""

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from report_results import HOSTILE, SYSTEMS, row, write_results
from typer.testing import CliRunner

import systems
from dysts_bench import records
from dysts_bench.cells import Cell, ModelSpec, evaluate
from dysts_bench.cli import app
from dysts_bench.forecasts import write_forecasts
from dysts_bench.report import pictures, write_report
from dysts_bench.report.descriptions import docstring, mathml, number, prose
from dysts_bench.report.pages import ModelPage
from dysts_bench.report.survey import Entry, slug
from dysts_bench.store import Store

VOID = {"meta", "link", "input", "br", "img", "hr"}


class Page(HTMLParser):
    """The elements of a page, with their attributes and the text in each; unbalanced tags fail."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and data.strip():
            self.texts.append((self._open[-1], data.strip()))

    def attributes(self, tag: str, name: str) -> list[str]:
        found = [attributes.get(name) for own, attributes in self.elements if own == tag]
        return [value for value in found if value is not None]

    def rows(self) -> list[list[str]]:
        """Texts of the cells of every row of every table, one string a row's cell."""
        text = re.findall(r"<tr[^>]*>(.*?)</tr>", self.rawdata_, re.DOTALL)
        cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in text]
        return [[" ".join(re.sub(r"<[^>]+>", "", cell).split()) for cell in row] for row in cells]

    @property
    def rawdata_(self) -> str:
        return self._text

    def feed(self, data: str) -> None:
        self._text = data
        super().feed(data)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def report(results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "report"
    write_report(results, folder)
    return folder


def every_page(report: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(report.rglob("*.html"))}


def test_there_is_a_page_for_each_system_and_each_model(report):
    assert {path.stem for path in (report / "systems").iterdir()} == set(SYSTEMS)
    names = sorted(path.stem for path in (report / "models").iterdir())
    assert [name for name in names if "-" not in name] == ["esn", "nvar", "persistence"]
    assert len(names) == 4


def test_every_link_leads_to_a_file_or_an_element_of_the_report(report):
    for path, page in every_page(report).items():
        links = page.attributes("a", "href") + page.attributes("link", "href")
        links += page.attributes("script", "src") + page.attributes("img", "src")
        assert len(links) > 5
        ids = {attributes.get("id") for _, attributes in page.elements}
        for link in links:
            if link.startswith("#"):
                assert link[1:] in ids
            elif not link.startswith("data:"):
                assert (path.parent / link).resolve().is_file(), f"{path.name}: {link}"


def test_nothing_is_loaded_from_a_network(report):
    for path in report.rglob("*"):
        if path.suffix in (".html", ".css", ".js"):
            text = path.read_text(encoding="utf-8")
            text = re.sub(r'xmlns(:xlink)?="http://www\.w3\.org/[^"]+"', "", text)
            assert not re.search(r"(https?:)?//[a-z]+\.[a-z]", text), path


def test_texts_of_strangers_are_escaped_and_shown(report):
    shown = 0
    for page in every_page(report).values():
        assert not any("alert" in text for tag, text in page.texts if tag == "script")
        assert not any("onerror" in attributes for _, attributes in page.elements)
        assert page.attributes("img", "src") == []
        shown += sum(HOSTILE in text for _, text in page.texts)
    assert shown == 1  # in the failures of the model's page


def test_the_leaderboard_ranks_as_the_medians_do(report):
    rows = [row for row in Page(report / "index.html").rows() if row[0].isdigit()]
    # Medians over DoublePendulum, Lorenz and MackeyGlass, SprottA being conservative and chaotic.
    assert [row[1] for row in rows[:3]] == ["nvar", "esn", "persistence"]
    assert rows[0][2].startswith("7.5 ") and rows[1][2].startswith("6 ")
    assert rows[3][1].startswith("esn:name=<img") or "esn:name=&lt;img" in rows[3][1]


def test_the_heat_map_colours_better_cells_deeper(report):
    page = Page(report / "heatmap.html")
    cells = [of for tag, of in page.elements if tag == "td" and of.get("data-value")]
    levels = [(float(of["data-value"]), int(of["class"].removeprefix("h"))) for of in cells]
    assert len(levels) == 14
    levels.sort()
    assert [level for _, level in levels] == sorted(level for _, level in levels)
    assert levels[0][1] == 0 and levels[-1][1] == 9
    assert ("td", "failed") in page.texts and ("td", "≥25") in page.texts


def test_a_page_of_a_system_has_facts_errata_scores_and_invariants(report):
    page = Page(report / "systems" / "DoublePendulum.html")
    text = " ".join(text for _, text in page.texts)
    system = systems.load("DoublePendulum")
    assert system.erratum.split(".")[0] in text and number(system.period) in text
    assert "Lyapunov exponents" in text or "Lyapunov spectrum" in text
    rows = page.rows()
    assert ["true runs", "0.0625"] in rows
    scores = [row for row in rows if row[0] in ("esn", "nvar", "persistence") and len(row) > 3]
    assert [row[:2] for row in scores] == [["esn", "2"], ["nvar", "1"], ["persistence", "0.25"]]


def test_a_page_of_a_model_has_its_docstring_and_what_it_chose(report):
    text = " ".join(text for _, text in Page(report / "models" / "nvar.html").texts)
    assert docstring("nvar").split("\n")[0] in text
    assert "ridge = 1e-06" in text and "300" in text


def test_docstrings_are_those_of_the_classes():
    import models

    for name in ("esn", "persistence", "sindy"):
        assert docstring(name).split("\n")[0] == models.class_of(name).__doc__.split("\n")[0]
    assert docstring("my_model.py:Own") == ""


def test_a_model_is_summed_up_in_its_first_sentence():
    page = ModelPage(
        Entry("m", "local"), ["A unit (Cho et al. 2014). Another."], {}, {}, [], [], 0, 0, ""
    )
    assert page.summary == "A unit (Cho et al. 2014)"


def test_tables_have_captions_and_headers_and_pictures_have_words(report):
    for path, page in every_page(report).items():
        tags = [tag for tag, _ in page.elements]
        assert tags.count("table") == tags.count("caption") == tags.count("thead"), path
        assert tags.count("h1") == 1
        for tag, attributes in page.elements:
            if tag == "th":
                assert attributes.get("scope") in ("col", "row"), path
            if tag == "svg":
                assert attributes.get("aria-hidden") == "true" or attributes.get("aria-label")
        ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        assert len(ids) == len(set(ids)), path


def test_the_same_rows_make_the_same_bytes(results, report, tmp_path):
    again = tmp_path / "again"
    write_report(results, again)
    files = sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert files == sorted(p.relative_to(report) for p in report.rglob("*") if p.is_file())
    for file in files:
        assert (again / file).read_bytes() == (report / file).read_bytes(), file


def test_a_report_is_replaced_and_nothing_else_is(results, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "thesis.tex").write_text("years of work")
    arguments = ["report", "--results", str(results), "--output"]
    refused = CliRunner().invoke(app, [*arguments, str(own)])
    assert refused.exit_code == 2 and "is no report" in refused.output
    assert (own / "thesis.tex").read_text() == "years of work"
    done = CliRunner().invoke(app, [*arguments, str(tmp_path / "new")])
    assert done.exit_code == 0 and "4 systems, 4 models" in done.output
    (tmp_path / "new" / "old.html").write_text("")
    assert CliRunner().invoke(app, [*arguments, str(tmp_path / "new")]).exit_code == 0
    assert not (tmp_path / "new" / "old.html").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_no_results_are_one_clear_error(tmp_path):
    done = CliRunner().invoke(app, ["report", "--results", str(tmp_path), "--output", "x"])
    assert done.exit_code == 2 and "holds no results" in done.output


def test_the_raw_rows_can_be_downloaded(results, report):
    rows = records.read_csv(report / "data" / "reference" / "nvar.csv.gz")
    assert rows == records.read_csv(results / "reference" / "standard" / "nvar.csv.gz")
    assert "data/local/esn.csv" in Page(report / "index.html").attributes("a", "href")


# ---- forecasts ---------------------------------------------------------------------------------


def keep_a_forecast(folder: Path, *, shift: float) -> None:
    """Run persistence on Lorenz as `run --keep-forecasts` does; what is kept is off by `shift`."""
    from dysts_bench.task import load, read_suite, tasks

    suite = read_suite("standard")
    [task] = tasks(suite, ["Lorenz"])
    cell = Cell(task, ModelSpec("persistence"), 0)
    evaluation = evaluate(load(task), cell.model.create(), 0, ["valid_prediction_time"], keep=True)
    rows = [
        row("persistence", "Lorenz", m.value, window=m.window, censored=m.censored)
        for m in evaluation.measurements
    ]
    records.write_csv(folder / "local" / "standard" / "persistence.csv", rows)
    forecasts = {data: values + shift for data, values in evaluation.forecasts.items()}
    path = Store(folder / "local" / "standard").forecasts(cell)
    path.parent.mkdir(parents=True)
    write_forecasts(path, "of a test", forecasts)


@pytest.mark.parametrize(("shift", "drawn"), [(0.0, True), (1.0, False)])
def test_forecasts_are_drawn_if_they_score_what_the_rows_say(tmp_path, shift, drawn):
    keep_a_forecast(tmp_path / "results", shift=shift)
    write_report(tmp_path / "results", tmp_path / "report")
    page = Page(tmp_path / "report" / "systems" / "Lorenz.html")
    labels = [label for label in page.attributes("svg", "aria-label") if "forecast" in label]
    assert len(labels) == drawn


# ---- parts -------------------------------------------------------------------------------------


def read_path(text: str) -> np.ndarray:
    """The points of a path as pictures.py writes it."""
    start, steps = re.fullmatch(r"M(-?\d+ -?\d+)l([-\d ]+)", text).groups()
    moves = np.array([start.split(), *np.array(steps.split()).reshape(-1, 2)], dtype=int)
    return moves.cumsum(axis=0)


def test_a_path_is_the_points_to_the_nearest_unit():
    points = np.random.default_rng(0).uniform(0, 300, (50, 2))
    assert np.array_equal(read_path(pictures.path(points)), np.rint(points))
    assert pictures.path(points[:0]) == "" and pictures.path(points[[3, 3]]).startswith("M")


def test_an_attractor_fills_its_box_the_right_way_up():
    lorenz = systems.load("Lorenz")
    states = pictures.orbit(lorenz)
    shown = pictures.projections(lorenz, states)
    points = read_path(next(p for p in shown if (p.across, p.up) == ("x", "z")).path)
    assert np.array_equal(points.min(axis=0), [4, 4])
    assert np.array_equal(points.max(axis=0), np.array(pictures.BOX) - 4)
    highest = points[points[:, 1].argmin()]
    share = (highest[0] - 4) / (pictures.BOX[0] - 8)
    x = states[states[:, 2].argmax(), 0]
    assert share == pytest.approx((x - states[:, 0].min()) / np.ptp(states[:, 0]), abs=0.02)


def test_a_single_coordinate_is_shown_against_its_past():
    system = systems.load("MackeyGlass")
    run = pictures.orbit(system)
    [picture] = pictures.projections(system, run)
    assert "before" in picture.across and picture.path == pictures.thumbnail(run)


def test_a_forecast_leaves_the_picture_at_its_edge_and_ends_where_it_is_not_finite():
    truth = np.sin(np.linspace(0, 6, 200))
    wild = truth.copy()
    wild[50:60], wild[150:] = 1e9, np.nan
    drawn = pictures.course(truth, wild, 0.25)
    points = read_path(drawn.forecast)
    assert points[:, 1].min() == 0 and points[-1, 0] == pytest.approx(149 / 199 * 1000, abs=1)
    assert drawn.right_until == 250
    assert read_path(drawn.truth)[:, 1].min() > 0


def test_equations_of_every_system_are_well_formed_and_words_are_one_symbol():
    for name in systems.names():
        system = systems.load(name)
        tree = ElementTree.fromstring(mathml(system))
        lines = tree.findall(".//{*}mtr")
        assert len(lines) == len(system.lets) + len(system.equations), name
        assert "\\" not in "".join(tree.itertext()), name
    slip = mathml(systems.load("StickSlipOscillator"))
    assert "friction" in "".join(ElementTree.fromstring(slip).itertext())
    assert any(e.text == "friction" for e in ElementTree.fromstring(slip).iter())


def test_numbers_have_three_digits_and_nothing_is_nothing():
    shown = [number(v) for v in (0.0, 3.14159, 1234.5, 0.00001234, 123456789.0, float("nan"), None)]
    assert shown == ["0", "3.14", "1,234", "1.2e-05", "1.23e+08", "", ""]


def test_backticks_are_code_and_markup_is_not():
    assert prose("a `b<c` d") == "a <code>b&lt;c</code> d"
    assert prose("it`s <b>") == "it`s &lt;b&gt;"


def test_file_names_are_plain_and_differ_even_where_case_does_not_count():
    names = ["esn", "ESN", "Esn", "Lorenz", "lorenz", "LORENZ", "esn(units=3)", "esn_units_3_"]
    names += ["../../etc", "..", "", "a" * 300, "a" * 301]
    slugs = [slug(name) for name in names]
    # only the catalog's own name and its small twin can meet: one is a system, one a model
    assert len({name.lower() for name in slugs}) == len(names) - 1
    assert slug("Lorenz") == "Lorenz" and slug("esn") == "esn"
    assert all(re.fullmatch(r"[\w.-]{1,80}", name) and "/" not in name for name in slugs)
    assert Entry("esn", "local").slug != Entry("esn", "reference").slug == "esn"
