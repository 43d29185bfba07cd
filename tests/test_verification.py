"""Cells that are run again: what agrees, what deviates, and what can't be said."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_suite import cli, elsewhere  # noqa: F401

from dysts_bench import records, reference, runner, verification
from dysts_bench.cells import ModelSpec
from dysts_bench.records import Result
from dysts_bench.task import read_suite
from dysts_bench.verification import Kept, compare, sample

RUN = ("run", "--suite", "tiny.toml", "--systems", "Lorenz,Rossler", "--jobs", "0")
VERIFY = ("verify", "--suite", "tiny.toml", "--jobs", "0")


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """results/reference/tiny with three models on two systems, as if of a commit."""
    cli(*RUN, "--models", "persistence,linear,seasonal(period=3.5)")
    folder = tmp_path / "results" / "local" / "tiny"
    manifest = json.loads((folder / "manifest.json").read_text())
    for run in manifest["runs"].values():
        run |= {"commit": "0" * 40, "dirty": False}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    reference.publish("tiny", tmp_path / "results", tmp_path / "results")
    return tmp_path / "results" / "reference" / "tiny"


def changed(folder: Path, model: str, /, **columns: object) -> None:
    path = folder / f"{model}.csv.gz"
    rows = records.read_csv(path)
    records.write_csv(path, [replace(row, **columns) for row in rows])


def test_cells_run_again_are_identical_here(published: Path) -> None:
    output = cli(*VERIFY, "--cells", "6")
    assert "6 identical." in output and "seasonal:period=3.5" in output
    table = list((published.parent.parent / "local" / "tiny").glob("*.csv"))
    before = [path.read_bytes() for path in table]
    cli(*VERIFY, "--cells", "2", "--source", "local")
    assert [path.read_bytes() for path in table] == before  # nothing is kept


def test_a_value_that_is_not_reproduced_is_shown_and_ends_with_1(published: Path) -> None:
    rows = records.read_csv(published / "linear.csv.gz")
    doubled = [replace(r, value=r.value and 2 * r.value + 0.2) for r in rows]
    records.write_csv(published / "linear.csv.gz", doubled)
    output = cli(*VERIFY, "--cells", "6", code=1)
    assert "2 deviates, 4 identical." in output


def test_the_draw_is_that_of_the_seed_and_of_what_this_version_can_run(published: Path) -> None:
    def drawn(count: int, seed: int) -> list[tuple[str, str]]:
        kept = sample(Path("results"), read_suite("tiny.toml"), count, seed=seed)
        return [(each.cell.model.label, each.cell.task.system) for each in kept]

    assert drawn(3, 1) == drawn(3, 1) and len(set(drawn(9, 0))) == 6
    assert {tuple(drawn(3, seed)) for seed in range(5)} != {tuple(drawn(3, 1))}
    changed(published, "linear", suite_version=7)
    changed(published, "seasonal", model="my_own")
    assert {model for model, _ in drawn(9, 0)} == {"persistence"}
    changed(published, "persistence", system="Nowhere")
    with pytest.raises(ValueError, match="holds no cells that this version could run"):
        drawn(9, 0)


# ---- verdicts --------------------------------------------------------------------------------


@pytest.fixture
def kept(published: Path) -> Kept:
    [one] = sample(Path("results"), read_suite("tiny.toml"), 1, seed=0)
    return replace(one, changed=False)


def with_times(rows: list[Result], *times: float | None, **columns: object) -> list[Result]:
    """The rows with these prediction times in their windows, None for a failure."""
    left = list(times)
    found = []
    for each in rows:
        if each.metric == "valid_prediction_time":
            value = left.pop(0)
            status = {"status": "ok", "message": ""} if value is not None else {"status": "crash"}
            each = replace(each, value=value, **status)
        found.append(replace(each, **columns))
    return found


@pytest.mark.parametrize(
    ("then", "now", "verdict"),
    [
        ((2.0, 2.0, 2.0), (2.0, 2.0, 2.0), "identical"),
        ((2.0, 2.0, 2.0), (2.0, 2.24, 9.0), "agrees"),  # 10 % of 2, and a step of 1/20
        ((2.0, 2.0, 2.0), (2.0, 2.26, 9.0), "deviates"),
        ((2.0, 2.0, 2.0), (1.74, 1.74, 1.74), "deviates"),
        ((0.1, 0.1, 0.1), (0.2, 0.2, 0.2), "deviates"),
        ((2.0, None, None), (None, None, 5.0), "agrees"),  # both fail in most windows
        ((2.0, 2.0, 2.0), (2.0, None, None), "deviates"),
        ((None, None, 2.0), (2.0, 2.0, 2.0), "deviates"),
    ],
)
def test_the_tolerance_is_a_tenth_and_a_step_of_the_median(kept, then, now, verdict) -> None:
    before = replace(kept, rows=with_times(kept.rows, *then))
    assert compare(before, with_times(kept.rows, *now)).verdict == verdict


def test_limits_and_networks_on_other_machines_are_not_compared(kept: Kept) -> None:
    late = [replace(kept.rows[0], value=None, window=None, status="timeout", message="late")]
    assert compare(kept, late).verdict == "not comparable"
    far = with_times(kept.rows, 9.0, 9.0, 9.0, hardware_id="another")
    assert compare(kept, far).verdict == "deviates"
    network = replace(kept, cell=replace(kept.cell, model=ModelSpec("lstm")))
    assert compare(network, far).verdict == "not comparable"
    assert compare(network, with_times(kept.rows, 9.0, 9.0, 9.0)).verdict == "deviates"


def test_code_that_git_knows_to_have_changed_is_said_to_be_so(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = replace(kept, changed=True)
    far = compare(old, with_times(kept.rows, 9.0, 9.0, 9.0))
    assert far.verdict == "deviates" and "its code has changed since" in far.reason
    repository = tmp_path / "repository"
    repository.mkdir()

    def git(*arguments: str) -> str:
        me = ("-c", "user.name=n", "-c", "user.email=e@example.org")
        command = ["git", *me, "-C", str(repository), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    file = repository / "model.py"
    file.write_text("one")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    commit = git("rev-parse", "HEAD")
    assert verification._changed_since(commit, [file]) is False
    file.write_text("two")
    assert verification._changed_since(commit, [file]) is True
    assert verification._changed_since("0" * 40, [file]) is None  # a commit git does not know
    assert verification._changed_since(commit, runner.code_of(ModelSpec("nvar"))) is None
