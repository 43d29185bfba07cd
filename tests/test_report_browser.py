"""The report in a headless Chromium: sorting, filtering, links, keyboard, narrow and dark.

`make test-report`; skipped where there is no Chromium or no playwright.
"""

import shutil

import pytest
from report_results import SYSTEMS, write_results

from dysts_bench.report import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome"),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    write_report(write_results(folder / "results"), folder / "report")
    return folder / "report"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def page(browser, report):
    """A page whose console and network must stay silent."""
    complaints = []
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
    opened.on(
        "request",
        lambda request: (
            request.url.startswith(("file:", "data:")) or complaints.append(request.url)
        ),
    )
    opened.goto((report / "index.html").as_uri())
    yield opened
    context.close()
    assert complaints == []


def column(page, table: str, number: int) -> list[str]:
    cells = page.locator(f"#{table} tbody tr:visible > :nth-child({number})")
    return [text.strip() for text in cells.all_inner_texts()]


def test_a_click_on_a_header_sorts_and_says_so(page):
    first = page.locator("table").first.get_attribute("id")
    models = column(page, first, 2)
    assert models[:3] == ["nvar", "esn", "persistence"]
    header = page.locator(f"#{first} th", has_text="Model").first
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert column(page, first, 2) == sorted(models)
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    assert column(page, first, 2) == sorted(models, reverse=True)
    page.locator(f"#{first} th", has_text="Median").get_by_role("button").click()
    assert header.get_attribute("aria-sort") is None
    # At first, a model that was not run everywhere came last, whatever its median.
    by_median = column(page, first, 2)
    assert by_median[:2] == ["nvar", "esn"] and by_median[3] == "persistence"


def test_headers_work_from_the_keyboard(page):
    first = page.locator("table").first.get_attribute("id")
    button = page.locator(f"#{first} th", has_text="Model").get_by_role("button").first
    button.focus()
    page.keyboard.press("Enter")
    assert column(page, first, 2)[0] == "esn"


def test_empty_cells_come_last_both_ways(page, report):
    page.goto((report / "heatmap.html").as_uri())
    header = page.locator("#heat thead th").last  # the local model: not run on one, failed on one
    for order in ("descending", "ascending"):
        header.get_by_role("button").click()
        assert header.get_attribute("aria-sort") == order
        values = column(page, "heat", 5)
        assert set(values[-2:]) == {"", "failed"}
        numbers = [float(value) for value in values[:2]]
        assert numbers == sorted(numbers, reverse=order == "descending")


def test_filters_hide_rows_and_count(page, report):
    page.goto((report / "systems.html").as_uri())
    assert sorted(column(page, "systems", 1)) == sorted(SYSTEMS)
    page.get_by_label("Filter", exact=True).fill("mackey")
    assert column(page, "systems", 1) == ["MackeyGlass"]
    assert page.locator("output").inner_text() == "1 of 4"
    page.get_by_label("Filter", exact=True).fill("")
    page.get_by_label("Tag").select_option("delay")
    assert column(page, "systems", 1) == ["MackeyGlass"]
    page.get_by_label("Tag").select_option("")
    assert page.locator("output").inner_text() == "4 of 4"


def test_every_page_is_reached_by_clicks(page, report):
    for name in ("Heat map", "Systems", "Models", "Leaderboard"):
        page.get_by_role("navigation").get_by_role("link", name=name).click()
        assert page.locator("nav a[aria-current=page]").inner_text() == name
    page.get_by_role("link", name="nvar").first.click()
    assert page.locator("h1").inner_text() == "nvar"
    page.get_by_role("link", name="Lorenz").first.click()
    assert page.locator("h1").inner_text() == "Lorenz"
    assert page.locator("math").bounding_box()["height"] > 50
    with page.expect_navigation():
        page.get_by_role("link", name="MackeyGlass").click()
    assert page.locator("h1").inner_text() == "MackeyGlass"


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_page_is_wider_than_the_screen(page, report, width):
    page.set_viewport_size({"width": width, "height": 800})
    for path in sorted(report.rglob("*.html")):
        page.goto(path.as_uri())
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, path.name


def luminance(colour: list[float]) -> float:
    parts = [c / 255 for c in colour]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_schemes(browser, report, scheme):
    """WCAG's contrast, 4.5, of the page's text and of every level of the heat map."""
    context = browser.new_context(color_scheme=scheme)
    opened = context.new_page()
    opened.goto((report / "heatmap.html").as_uri())
    pairs = opened.evaluate(
        """() => {
        const canvas = document.createElement("canvas").getContext("2d");
        const rgb = (text) => { canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
          return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3); };
        const back = (e) => { for (; e; e = e.parentElement) {
          const c = getComputedStyle(e).backgroundColor;
          if (c !== "rgba(0, 0, 0, 0)") return c; } return "white"; };
        const levels = [...Array(10).keys()].map((i) => {
          const cell = document.createElement("td"); cell.className = "h" + i;
          document.querySelector("#heat tbody tr").append(cell); return cell; });
        const some = [...document.querySelectorAll("p, a, th, label, output, button"), ...levels];
        const ink = (e) => rgb(getComputedStyle(e).color);
        return some.map((e) => [e.className || e.tagName, ink(e), rgb(back(e))]);
        }"""
    )
    context.close()
    assert len(pairs) > 25
    for name, ink, paper in pairs:
        one, other = sorted((luminance(ink), luminance(paper)))
        assert (other + 0.05) / (one + 0.05) >= 4.5, (scheme, name, ink, paper)
