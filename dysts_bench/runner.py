"""Tasks × models × seeds → results, so that a killed run resumes and one failure is one row.

`plan` finds the cells that still have to run, `prepare` makes their data, `execute` runs them in
an executor and keeps each as it finishes; `run` is all of it in one call.
"""

import hashlib
import inspect
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import models as zoo
import systems
from dysts_bench import metrics, records
from dysts_bench.cells import (
    Cell,
    Evaluation,
    ModelSpec,
    no_values,
    work,
    work_again,
    work_on_data,
)
from dysts_bench.executors import Done, Executor, Failed, Serial, failure
from dysts_bench.forecasts import origin_of, write_forecasts
from dysts_bench.metrics import find
from dysts_bench.records import RecordError, Result, canonical_json, short_hash
from dysts_bench.store import Store
from dysts_bench.task import Clock, DataError, Task, clock
from systems.integrate import METHOD

Overwrite = Literal["never", "only-failed", "always"]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """Cells that a store already holds, that have to run, that are scored anew and no more."""

    finished: list[Cell]
    pending: list[Cell]
    to_rescore: list[Cell] = field(default_factory=list)

    @property
    def tasks(self) -> list[Task]:
        """The tasks whose data are needed, in order."""
        return list(dict.fromkeys(cell.task for cell in [*self.pending, *self.to_rescore]))


def run(
    tasks: Iterable[Task],
    models: Iterable[ModelSpec | str],
    seeds: int = 1,
    executor: Executor | None = None,
    *,
    store: Store | None = None,
    overwrite: Overwrite = "never",
) -> Iterator[Result]:
    """Every row of tasks × models × seeds as the cells finish, after what `store` holds already.

    A model that does not depend on chance runs once, with seed 0. Raises ValueError for a model
    that does not exist; whatever happens inside a cell is a row.
    """
    executor = executor or Serial()
    specs = [ModelSpec.parse(model) if isinstance(model, str) else model for model in models]
    todo = plan(cells(tasks, specs, seeds), store, overwrite)
    for cell in todo.finished:
        assert store is not None  # without one, nothing is finished
        yield from store.read(cell)
    prepared = dict(prepare(todo.tasks, executor))
    failed = {task: out for task, out in prepared.items() if isinstance(out, Failed)}
    facts = records.provenance(["dysts_bench.run"], catalog_hash(), threads=1)
    for _, rows in execute(todo, executor, facts, store=store, without_data=failed):
        yield from rows


def cells(tasks: Iterable[Task], models: Iterable[ModelSpec], seeds: int) -> list[Cell]:
    """All cells, task by task, so that a worker loads a task's data once."""
    specs = list(models)
    return [
        Cell(task, spec, seed)
        for task in tasks
        for spec in specs
        for seed in range(seeds if _of_model(spec).stochastic else 1)
    ]


def plan(cells: Sequence[Cell], store: Store | None = None, overwrite: Overwrite = "never") -> Plan:
    """Which cells are kept and which have to run.

    Of a cell whose forecasts are kept, and would be the same, only the scores are made anew. A kept
    cell runs again if its file is damaged, if anything that decides its result has changed
    (of a user's model, the text of its file, not what that imports), or if `overwrite` says so
    ("only-failed": a timeout, out of memory, a crash, or no value at all).
    """
    if store is None or overwrite == "always":
        return Plan([], list(cells))
    finished, pending, to_rescore, changed = [], [], [], 0
    for cell in cells:
        try:
            kept = store.key(cell)
        except RecordError as error:
            log.warning("%s: it runs again", error)
            kept = None
        if kept is not None and kept != key(cell):
            if origin_of(store.forecasts(cell)) == origin(cell):
                to_rescore.append(cell)
                continue
            changed, kept = changed + 1, None
        if kept is None or (overwrite == "only-failed" and has_failed(store.read(cell))):
            pending.append(cell)
        else:
            finished.append(cell)
    if changed:
        log.warning("%d cells run again: code, settings or equations have changed", changed)
    return Plan(finished, pending, to_rescore)


def shard(cells: Sequence[Cell], number: int, count: int) -> list[Cell]:
    """The `number`th of `count` parts, from 1, as for the jobs of an array.

    Drawn by hash, so that each has some of every model and system and they take about as long.
    """
    if not 1 <= number <= count:
        raise ValueError(f"a shard is one of 1/{count} to {count}/{count}, got {number}/{count}")

    def luck(index: int) -> str:
        cell = cells[index]
        return short_hash(canonical_json([cell.task.hash, cell.model.label, cell.seed]))

    chosen = sorted(range(len(cells)), key=luck)[number - 1 :: count]
    return [cells[index] for index in sorted(chosen)]


def code_of(spec: ModelSpec) -> list[Path]:
    """The files whose text decides, with a cell's settings and data, what its result is."""
    model = _of_model(spec).unfitted
    return [*_files_of(model), *_METRICS] if model is not None else _METRICS


def wants_gpu(job: Cell | Task) -> bool:
    """Whether it is a cell of a model with a hyperparameter `device` that is not "cpu"."""
    if isinstance(job, Task):
        return False
    return bool(_of_model(job.model).hyperparameters.get("device", "cpu") != "cpu")


def data_of(job: Cell | Task) -> str:
    """What tells apart the data that this job loads."""
    return job.hash if isinstance(job, Task) else job.task.hash


def prepare(tasks: Sequence[Task], executor: Executor) -> Iterator[tuple[Task, Done | Failed]]:
    """Make the tasks' data, each task once instead of once in every worker."""
    return executor.map(work_on_data, tasks)


def execute(
    plan: Plan,
    executor: Executor,
    facts: Mapping[str, Any],
    *,
    store: Store | None = None,
    without_data: Mapping[Task, Failed] | None = None,
    keep_forecasts: bool = False,
) -> Iterator[tuple[Cell, list[Result]]]:
    """Run the pending cells and yield each with its rows, once they are safely in `store`.

    `facts` (records.provenance) are kept in the manifest before the first cell; the CSV files of
    all models of the plan are made anew at the end, unless the process is killed.
    """
    cells = plan.pending
    run_id = records.run_id(facts)
    hopeless = {
        cell: failed
        for cell in cells
        if (failed := (without_data or {}).get(cell.task) or _of_model(cell.model).failed)
    }
    if store is not None and (cells or plan.to_rescore):
        store.note({run_id: facts})
    try:
        for cell, failed in hopeless.items():
            yield cell, _keep(cell, Evaluation(no_values(failed, cell.task.metrics)), run_id, store)
        hopeful = [cell for cell in cells if cell not in hopeless]
        if plan.to_rescore:
            assert store is not None
            for cell, again in _rescored(plan.to_rescore, executor, run_id, store):
                if again is None:
                    hopeful.append(cell)
                else:
                    yield cell, again
        for cell, outcome in executor.map(partial(work, keep=keep_forecasts), hopeful):
            if isinstance(outcome, Failed):
                outcome = Done(Evaluation(no_values(outcome, cell.task.metrics)))
            yield cell, _keep(cell, outcome.value, run_id, store)
    finally:
        if store is not None:
            store.rebuild(
                {cell.model.name for cell in [*plan.pending, *plan.to_rescore]},
                {run_id: facts},
                unless_current={cell.model.name for cell in plan.finished},
            )


def key(cell: Cell) -> str:
    """A hash of all that decides a cell's result: while it stays the same, the result holds."""
    entry, time, spectrum = _of_task(cell.task)
    everything = _of_forecasts(cell) | {
        "task": cell.task.hash,
        "system": entry,
        "clock": None if time is None else _fields(time),
        "spectrum": spectrum,
        "metrics": _metrics_code(),
    }
    return short_hash(canonical_json(everything))


def origin(cell: Cell) -> str:
    """A hash of all that decides a cell's forecasts, which are the same for other metrics.

    As long as these need no other kind of data: only what is needed is forecast.
    """
    entry, time, spectrum = _of_task(cell.task)
    everything = _of_forecasts(cell) | {
        "task": replace(cell.task, metrics=()).hash,
        "system": entry,
        "clock": None if time is None else _fields(time),
        "exponents": len(spectrum),
        "data": sorted({find(metric).data for metric in cell.task.metrics}),
    }
    return short_hash(canonical_json(everything))


def _of_forecasts(cell: Cell) -> dict[str, Any]:
    model = _of_model(cell.model)
    return {
        "model": [cell.model.label, model.hyperparameters, _background(model), model.code],
        "seed": cell.seed,
        "integrator": METHOD,
        "version": records.version(),
    }


def catalog_hash() -> str:
    """A hash over every entry of the catalog."""
    return short_hash(canonical_json([[name, systems.load(name).hash] for name in systems.names()]))


def _rescored(
    cells: Sequence[Cell], executor: Executor, run_id: str, store: Store
) -> Iterator[tuple[Cell, list[Result] | None]]:
    """Kept forecasts with new measurements; all else of a cell's rows stays as it was.

    None for a cell whose forecasts turn out to be damaged, or can't be scored: it has to run.
    """
    for cell, outcome in executor.map(partial(work_again, kept=store.forecasts), cells):
        if isinstance(outcome, Failed):
            log.warning(
                "%s, %s: it runs again: %s", cell.task.name, cell.model.label, outcome.message
            )
            yield cell, None
            continue
        before = store.read(cell)[0]
        evaluation = replace(
            outcome.value,
            hyperparameters=json.loads(before.hyperparameters),
            fit_seconds=before.fit_seconds,
            predict_seconds=before.predict_seconds,
            peak_memory_mb=before.peak_memory_mb,
        )
        yield cell, _keep(cell, evaluation, run_id, store, before.hardware_id)


def _keep(
    cell: Cell,
    evaluation: Evaluation,
    run_id: str,
    store: Store | None,
    hardware_id: str | None = None,
) -> list[Result]:
    rows = _rows(cell, evaluation, run_id, hardware_id or records.hardware_id())
    if store is not None:
        if evaluation.forecasts:
            write_forecasts(store.forecasts(cell), origin(cell), evaluation.forecasts)
        store.write(cell, key(cell), rows)
    return rows


def _rows(cell: Cell, evaluation: Evaluation, run_id: str, hardware_id: str) -> list[Result]:
    task = cell.task
    entry, time, _ = _of_task(task)
    used = evaluation.hyperparameters or _of_model(cell.model).hyperparameters
    return [
        Result(
            run_id=run_id,
            suite=task.suite,
            suite_version=task.version,
            task=task.name,
            system=task.system,
            edition=task.edition,
            model=cell.model.name,
            preset=cell.model.variant,
            hyperparameters=canonical_json(used),
            seed=cell.seed,
            unit=_unit(find(measured.metric).unit, time),
            higher_is_better=find(measured.metric).better == "higher",
            n_points=task.protocol.train_points,
            horizon_lyapunov_times=None if time is None else time.horizon,
            fit_seconds=evaluation.fit_seconds,
            predict_seconds=evaluation.predict_seconds,
            peak_memory_mb=evaluation.peak_memory_mb,
            hardware_id=hardware_id,
            catalog_hash=entry,
            data_hash=evaluation.data_hash,
            version=records.version(),
            **asdict(measured),
        )
        for measured in evaluation.measurements
    ]


def _unit(unit: str, time: Clock | None) -> str:
    return time.unit_name if time is not None and unit == "Lyapunov times" else unit


def has_failed(rows: list[Result]) -> bool:
    """Whether a cell met a timeout, a crash or a lack of memory, or has no value at all."""
    return all(row.value is None for row in rows) or any(
        row.status in ("timeout", "oom", "crash") for row in rows
    )


# ---- what a cell's result depends on ---------------------------------------------------------


@dataclass(frozen=True)
class _Model:
    """What must be known of a model before it runs."""

    unfitted: zoo.Forecaster | None
    hyperparameters: dict[str, Any]
    code: str
    stochastic: bool
    failed: Failed | None = None


@cache
def _of_model(spec: ModelSpec) -> _Model:
    try:
        model = spec.create()
    except ImportError as error:  # a library that is not installed: rows that say so
        return _Model(None, {}, "", False, failure(error))
    code = _code_hash(_files_of(model))
    return _Model(model, zoo.hyperparameters(model), code, type(model).stochastic)


def _files_of(model: zoo.Forecaster) -> list[Path]:
    source = Path(inspect.getfile(type(model)))
    if source.parent != Path(zoo.__file__).parent:
        return [source]
    return [source, *source.parent.glob("_*.py"), source.parent / "base.py"]  # what they share


def _background(model: _Model) -> dict[str, Any]:
    """Not kept, as what is known of a model is: files of weights may change at any time."""
    return zoo.background(model.unfitted) if model.unfitted is not None else {}


@cache
def _of_task(task: Task) -> tuple[str, Clock | None, tuple[float, ...]]:
    """The hash of the system's entry, the clock unless the catalog can't tell it, the spectrum."""
    system = systems.load(task.system, edition=task.edition)
    entry, spectrum = system.hash[:12], tuple(system.lyapunov_spectrum)
    try:
        return entry, clock(task), spectrum
    except DataError:
        return entry, None, spectrum


@cache
def _fields(time: Clock) -> tuple[Any, ...]:
    return astuple(time)


_METRICS = sorted(Path(metrics.__file__).parent.glob("*.py"))


@cache
def _metrics_code() -> str:
    return _code_hash(_METRICS)


def _code_hash(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
