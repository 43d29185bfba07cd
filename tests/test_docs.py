"""The documentation's code runs, its links lead somewhere, and its pages of systems are whole."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import systems
from dysts_bench import system_pages

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_code_of_a_tutorial_runs_from_top_to_bottom(page, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 2
    environment = os.environ | {"DYSTS_BENCH_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_commands_of_a_tutorial_exist_with_their_options(page):
    from typer.testing import CliRunner

    from dysts_bench.cli import app

    text = "\n".join(re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
    lines = [line.split("#")[0].split() for line in text.splitlines() if line.strip()]
    assert len(lines) >= 2
    for program, command, *arguments in lines:
        assert program == "dysts-bench"
        shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
        assert shown.exit_code == 0, command
        for option in (a for a in arguments if a.startswith("--")):
            assert option in re.sub(r"\x1b\[[0-9;]*m", "", shown.output), (command, option)


def test_sphinx_reads_every_page_and_docstring_without_a_warning(tmp_path):
    """Everything that `make site` does but to write HTML, which is half of its time."""
    pytest.importorskip("myst_parser", reason="pip install 'dysts-bench[docs]'")
    sphinx = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "dummy"]
    done = subprocess.run([*sphinx, DOCS, tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


def test_links_between_pages_lead_somewhere():
    made = {"catalog.md"}
    for page in sorted(DOCS.rglob("*.md")):
        if page.parent.name == "systems" or page.name in made:
            continue
        for link in re.findall(r"\]\(([^)#:]+\.md)", page.read_text(encoding="utf-8")):
            path = (page.parent / link).resolve()
            assert path.exists() or path.name in made, f"{page.name}: {link}"


def test_every_page_is_in_the_table_of_contents():
    listed = re.findall(
        r"^([\w/-]+)$", (DOCS / "index.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")}
    own = {page for page in pages if not page.startswith("systems/")} | {"catalog"}
    assert set(listed) == own - {"index"}


def test_the_index_of_the_catalog_lists_every_system():
    text = system_pages.index()
    for name in systems.names():
        assert f"[{name}](systems/{name}.md)" in text
    assert len(re.findall(r"^systems/\w+$", text, re.MULTILINE)) == len(systems.names())


def test_pages_of_systems_are_written_where_they_differ_and_removed_with_their_system(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(systems, "names", lambda: ["Lorenz", "Rossler"])
    system_pages.write_pages(tmp_path)
    lorenz = tmp_path / "systems" / "Lorenz.md"
    os.utime(lorenz, (0, 0))
    monkeypatch.setattr(systems, "names", lambda: ["Lorenz"])
    system_pages.write_pages(tmp_path)
    assert list((tmp_path / "systems").iterdir()) == [lorenz]
    assert lorenz.stat().st_mtime == 0


def test_a_page_of_a_system_has_equations_exponents_and_errata():
    page = system_pages.page("DoublePendulum")
    system = systems.load("DoublePendulum")
    assert system.erratum in page and system.reference in page
    assert page.count("<math") == 1 and page.count("<svg") == 3
    assert page.count("per unit of system time") == len(system.lyapunov_spectrum)


def test_docstrings_become_text_that_sphinx_takes_literally(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("conf_of_docs", DOCS / "conf.py")
    conf = module_from_spec(spec)
    spec.loader.exec_module(conf)
    lines = ["The `state_` of *x*.", "", "Units:", "  dt: time", "", "it`s"]
    assert conf.as_restructured_text(lines) == [
        "The \\ ``state_``\\  of \\*x\\*.",
        "",
        "::",
        "",
        "    Units:",
        "      dt: time",
        "",
        "it\\`s",
        "",
    ]
