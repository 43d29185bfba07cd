"""The package built, installed into an environment of its own, and used outside the repository.

`make test-wheel`: it takes a minute or two, and pip.
"""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PIP = ["-m", "pip", "--quiet", "--disable-pip-version-check"]

pytestmark = pytest.mark.wheel


def run(program: Path, *arguments: object, cwd: Path) -> str:
    outside = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    environment = outside | {"DYSTS_BENCH_CACHE": str(cwd / "cache"), "COLUMNS": "200"}
    command = [str(program), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def wheel(home):
    """Built from what the sdist holds, so that the sdist is whole, too."""
    build = [*PIP, "wheel", "--no-deps", "--wheel-dir", home / "dist"]
    hatch = home / "hatch"
    run(Path(sys.executable), "-m", "venv", hatch, cwd=home)
    run(hatch / "bin" / "python", *PIP, "install", "hatchling", cwd=home)
    sdist = run(
        hatch / "bin" / "python",
        "-m",
        "hatchling",
        "build",
        "-t",
        "sdist",
        "-d",
        home / "dist",
        cwd=ROOT,
    ).strip()
    with tarfile.open(next((home / "dist").glob("*.tar.gz"))) as archive:
        archive.extractall(home / "source", filter="data")
    [source] = (home / "source").iterdir()
    assert (source / "tests").is_dir() and (source / "Makefile").is_file(), sdist
    run(Path(sys.executable), *build, source, cwd=home)
    return next((home / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def bin_folder(home, wheel):
    """The wheel and what reports, tables and queries need; no torch, no jax, no repository."""
    run(Path(sys.executable), "-m", "venv", home / "venv", cwd=home)
    python = home / "venv" / "bin" / "python"
    pins = ROOT / "constraints.txt"
    run(python, *PIP, "install", "-c", pins, f"{wheel}[report,data,query]", cwd=home)
    return home / "venv" / "bin"


def test_the_wheel_holds_data_and_types_and_is_small(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        *("systems/catalog.json", "systems/py.typed", "models/py.typed", "dysts_bench/py.typed"),
        *("dysts_bench/suites/standard.toml", "dysts_bench/report/templates/index.html"),
        *("dysts_bench/report/static/report.js",),
        *("dysts_bench/results/reference/standard/esn.csv.gz",),
        *("dysts_bench/results/published/summaries.csv",),
        *("dysts_bench/results/leaderboard.csv", "dysts_bench/results/leaderboard-phyxmamba.csv"),
    ):
        assert name in names
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"systems", "models", "dysts_bench"}
    assert wheel.stat().st_size < 8e6


def test_the_core_is_light(bin_folder, home):
    installed = run(bin_folder / "python", *PIP, "list", "--format=freeze", cwd=home)
    names = {line.split("==")[0].lower() for line in installed.splitlines()}
    assert names.isdisjoint({"torch", "jax", "darts", "dysts", "heyoka"})


def test_the_readmes_python_runs(bin_folder, home):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for code in re.findall(r"```python\n(.*?)```", readme, re.DOTALL):
        if "results/reference" not in code:  # of a checkout
            run(bin_folder / "python", "-c", code, cwd=home)


def test_a_model_is_ranked_beside_the_reference_and_reported(bin_folder, home):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    (home / "my_model.py").write_text(next(b for b in blocks if "DampedPersistence" in b))
    program, own = bin_folder / "dysts-bench", "my_model.py:DampedPersistence"
    assert "keeps the contract" in run(program, "check", own, cwd=home)
    three = ("--systems", "Lorenz,Rossler,Duffing", "--jobs", "1")
    shown = run(program, "run", "--model", own, *three, "--keep-forecasts", cwd=home)
    assert "DampedPersistence" in shown and "neural_ode" in shown
    ranked = "select suite from leaderboard where model like '%DampedPersistence' group by 1"
    assert run(program, "query", ranked, "--format", "csv", cwd=home) == "suite\nstandard\n"
    brought = "select count(distinct suite) > 3 as all from leaderboard"
    assert run(program, "query", brought, "--format", "csv", cwd=home) == "all\nTrue\n"
    told = run(program, "report", cwd=home)
    assert "135 systems" in told
    page = (home / "report" / "systems" / "Lorenz.html").read_text(encoding="utf-8")
    assert "DampedPersistence on Lorenz: forecast beside truth" in page
    assert not (home / "results" / "reference").exists()
