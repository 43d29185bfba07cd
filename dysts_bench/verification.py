"""Finished cells, run again: does this machine give the values that are kept?

**What can be asked.** With the same code, data and kernels of linear algebra a cell repeats to the
bit. Elsewhere it does not: OpenBLAS adds in an order that depends on the processor (or on the one
that OPENBLAS_CORETYPE names; a run's manifest says which, since it is recorded, and the reference
rows up to then are by the kernels for Haswell), and the last bits of a fitted weight differ. In a
forecast of a chaotic system an initial error ε grows as ε·exp(λt), so that a forecast is valid for
v = ln(threshold/ε) Lyapunov times. Where v is short, ε is far above rounding and hardly changes;
where it is long, rounding is a part of ε, at last all of it, and ε is another number of about that
size in all windows of the cell, as they share the weights. So a prediction time may differ by
`RELATIVE` of itself, which is a factor of exp(0.1 v) in ε: 1.1 where v is 1, and 2.7 where it is
10; and by one sampling step, the smallest difference there is. Values of other metrics may differ
by `RELATIVE`.

**What cannot.** Training of a neural network amplifies rounding as chaos does: on another kind of
machine it ends in another minimum, as from another seed. Such cells (of models with a `device`)
that differ by more are shown, and neither confirmed nor refuted. Nor are cells that meet a limit of
time or memory, here or then.

Rows do not say which code they were made by, but their run says which commit: where git knows it,
cells whose model or metrics have changed since are marked. They are held to the same tolerance; a
deviation then means that the kept value is of old code.
"""

import random
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from dysts_bench import records, reference, runner
from dysts_bench.cells import Cell, ModelSpec, split_list
from dysts_bench.records import Result
from dysts_bench.task import Suite, Task, tasks

RELATIVE = 0.1

Source = Literal["reference", "local"]
Verdict = Literal["identical", "agrees", "deviates", "not comparable"]


@dataclass(frozen=True)
class Kept:
    """A cell of earlier, its rows, and whether the code has changed since (None: not known)."""

    cell: Cell
    rows: list[Result]
    changed: bool | None

    @property
    def expected_seconds(self) -> float:
        row = self.rows[0]
        return (row.fit_seconds or 0.0) + (row.predict_seconds or 0.0)


@dataclass(frozen=True)
class Verified:
    """A kept cell beside the same cell now. Values: the primary metric's median over windows."""

    kept: Kept
    before: float | None
    now: float | None
    equal_rows: int  # to the bit, of `len(kept.rows)`
    verdict: Verdict
    reason: str


def sample(
    results: Path, suite: Suite, count: int, *, seed: int, source: Source = "reference"
) -> list[Kept]:
    """`count` finished cells, drawn at random from those that this version can run.

    ValueError if there are none. Left out: models of a user's own files, other versions of the
    suite, and systems that are not to be found.
    """
    folder = records.place_of(results, source) / suite.name
    cells, runs = reference.cells_of(folder), reference.runs_of(folder)
    chosen: list[Kept] = []
    for which in random.Random(seed).sample(sorted(cells), len(cells)):
        if len(chosen) == count:
            break
        rows = cells[which]
        cell = _cell(suite, rows[0])
        if cell is not None:
            run = runs.get(rows[0].run_id, {})
            commit = None if run.get("dirty", True) else run.get("commit")
            chosen.append(Kept(cell, rows, _changed_since(commit, runner.code_of(cell.model))))
    if not chosen:
        raise ValueError(f"{folder} holds no cells that this version could run again.")
    return chosen


def compare(kept: Kept, rows: Sequence[Result]) -> Verified:
    """What was kept beside the rows that the cell has now."""
    metric = kept.cell.task.metrics[0]
    before, now = _value(kept.rows, metric), _value(rows, metric)
    places = {_place(row): (row.value, row.status) for row in rows}
    equal = sum(places.get(_place(row)) == (row.value, row.status) for row in kept.rows)
    verdict, reason = _verdict(kept, rows, before, now)
    if verdict == "agrees" and equal == len(kept.rows) == len(rows):
        verdict = "identical"
    if kept.changed and verdict != "identical":
        reason = "; ".join(filter(None, [reason, "its code has changed since"]))
    return Verified(kept, before, now, equal, verdict, reason)


def _verdict(
    kept: Kept, rows: Sequence[Result], before: float | None, now: float | None
) -> tuple[Verdict, str]:
    old, new = kept.rows[0], rows[0]
    for row in (old, new):
        if row.status in ("timeout", "oom"):
            return "not comparable", f"{row.status}: {row.message}"
    if before is None and now is None:
        return "agrees", f"no value then and now: {new.status}"
    if before is None or now is None:
        lost = new if now is None else old
        return "deviates", f"{'now' if now is None else 'then'} {lost.status}: {lost.message}"
    allowed = RELATIVE * abs(before)
    if old.unit in ("Lyapunov times", "periods"):
        allowed += 1 / kept.cell.task.protocol.points_per_time_unit  # a step, or more than that
    if abs(now - before) <= allowed:
        return "agrees", ""
    if old.hardware_id != new.hardware_id and runner.wants_gpu(kept.cell):
        return "not comparable", "a network that was trained on another kind of machine"
    return "deviates", f"by more than {allowed:.3g}"


def _cell(suite: Suite, row: Result) -> Cell | None:
    """The cell that makes such rows; None if this version has none."""
    if row.suite_version != suite.version or row.edition != suite.edition:
        return None
    variant = split_list(row.preset)
    preset = "".join(part for part in variant if "=" not in part)
    given = ", ".join(part for part in variant if "=" in part)
    text = row.model + (f":{preset}" if preset else "") + (f"({given})" if given else "")
    try:
        spec = ModelSpec.parse(text)
        spec.create()
        found = [task for task in tasks(suite, [row.system]) if _is_of(task, row)]
    except (ValueError, KeyError, ImportError):
        return None
    return Cell(found[0], spec, row.seed) if found and spec.variant == row.preset else None


def _is_of(task: Task, row: Result) -> bool:
    return task.name == row.task and task.protocol.train_points == row.n_points


def _value(rows: Sequence[Result], metric: str) -> float | None:
    """The median over windows; a window without a value ranks below every value, so None if it is
    one of these."""
    of_metric = [row for row in rows if row.metric == metric]
    worst = float("-inf") if of_metric and of_metric[0].higher_is_better else float("inf")
    middle = median(worst if row.value is None else row.value for row in of_metric)
    return middle if abs(middle) < float("inf") else None


def _place(row: Result) -> tuple[str, int | None]:
    return row.metric, row.window


def _changed_since(commit: str | None, files: Sequence[Path]) -> bool | None:
    """Whether a file differs from that commit's; None where git does not know the commit."""
    if commit is None or not files:
        return None
    command = ["git", "-C", str(files[0].parent), "diff", "--quiet", commit, "--"]
    try:
        done = subprocess.run([*command, *map(str, files)], capture_output=True)
    except OSError:
        return None
    return {0: False, 1: True}.get(done.returncode)
