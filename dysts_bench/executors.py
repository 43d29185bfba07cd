"""Where cells run: in this process, or in killable worker processes with limits on time and memory.

An executor maps a function over jobs and yields each job with its outcome as it finishes, in any
order. It never raises for what a job did: a hang, a crash, an exception are outcomes (`Failed`).

Nothing heavy is imported at the top: a worker pins its threads here before numpy is loaded.
"""

import contextlib
import math
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable

Job = TypeVar("Job")

_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
# What every worker needs, loaded once by the server that workers are forked from.
_PRELOAD = ["numpy", "systems", "models", "dysts_bench.runner", "dysts_bench.metrics"]
POOLS_PER_RUN = 20  # a pool that breaks as a whole is replaced, but not for ever


@dataclass(frozen=True)
class Done:
    """The function returned `value`."""

    value: Any


@dataclass(frozen=True)
class Failed:
    """The job failed as a whole: a status of records.STATUSES and what happened."""

    status: str
    message: str


@runtime_checkable
class Executor(Protocol):
    """Runs `function(job)` for every job and yields (job, outcome) as they finish.

    A function that returns Failed has failed like one that raises.
    """

    def map(
        self, function: Callable[[Job], Any], jobs: Iterable[Job]
    ) -> Iterator[tuple[Job, Done | Failed]]: ...

    def running(self) -> list[Any]:
        """The jobs that are being worked on, for a progress display."""
        ...


def failure(error: BaseException) -> Failed:
    """The status of an exception: out of memory, not supported, or simply a crash."""
    message = f"{type(error).__name__}: {error}"
    match error:
        case MemoryError():
            return Failed("oom", message)
        case ImportError() | NotImplementedError():
            return Failed("unsupported", message)
    return Failed("crash", message)


@dataclass
class Serial:
    """One job after the other in this process: for debugging. A hang hangs, a crash crashes."""

    _running: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)

    def running(self) -> list[Any]:
        return list(self._running)

    def map(
        self, function: Callable[[Job], Any], jobs: Iterable[Job]
    ) -> Iterator[tuple[Job, Done | Failed]]:
        import threadpoolctl

        for job in jobs:
            self._running[:] = [job]
            try:
                with threadpoolctl.threadpool_limits(1):  # as in a worker: sums in the same order
                    outcome = outcome_of(function(job))
            except Exception as error:
                outcome = failure(error)
            self._running.clear()
            yield job, outcome


@dataclass
class Local:
    """Worker processes on this machine, each with one thread.

    `timeout`: seconds of wall clock a job may take, after which its process is killed.
    `memory_mb`: data that a process may hold (Linux); past it an allocation fails, which is
    reported as `oom`.
    `gpus`: slots for jobs that `wants_gpu` names, each a process of its own beside the others that
    sees this CUDA device and no other; all other processes see none. Without slots such jobs are
    like others.
    `near` groups jobs that have something in common, as the data that they load: a process stays
    with a group while there are jobs in it, and begins one that no other has, if there is one.
    """

    workers: int = 1
    timeout: float = math.inf
    memory_mb: int | None = None
    gpus: tuple[str, ...] = ()
    wants_gpu: Callable[[Any], bool] = field(default=lambda job: False, repr=False)
    near: Callable[[Any], Hashable] = field(default=lambda job: None, repr=False)
    _running: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def running(self) -> list[Any]:
        return [job for future, job in list(self._running.items()) if future.running()]

    def map(
        self, function: Callable[[Job], Any], jobs: Iterable[Job]
    ) -> Iterator[tuple[Job, Done | Failed]]:
        waiting = {True: _Queue(self.near), False: _Queue(self.near)}  # by whether they want a GPU
        for job in jobs:
            waiting[bool(self.gpus) and self.wants_gpu(job)].append(job)
        pools = 0
        while any(waiting.values()):
            pools += 1
            if pools > POOLS_PER_RUN:
                raise RuntimeError(
                    f"worker processes broke down {POOLS_PER_RUN} times while idle. "
                    "Is the machine out of memory or processes? Run fewer jobs at once."
                )
            yield from self._drain(function, waiting)

    def _drain(
        self, function: Callable[[Job], Any], waiting: "dict[bool, _Queue]"
    ) -> Iterator[tuple[Job, Done | Failed]]:
        """Run the waiting jobs in one set of pools; if one breaks, what they held waits again."""
        lanes = self._lanes(bool(waiting[True]))
        self._running.clear()
        try:
            while any(waiting.values()) or self._running:
                for lane in lanes:
                    queue = waiting[lane.gpu]
                    # One more than runs, so that no process is idle while the caller writes a
                    # result down; not beside a GPU, nor at the end, when another may begin it.
                    ahead = not lane.gpu and len(queue) > len(lanes)
                    while queue and len(lane.held) < 1 + ahead:
                        job = queue.take(lane, lanes)
                        try:
                            future = lane.pool.schedule(
                                function, args=(job,), timeout=self.seconds()
                            )
                        except RuntimeError:  # it broke after the last result
                            queue.put_back(job)
                            return _wait_again(lanes, waiting)
                        lane.held[future] = self._running[future] = job
                finished, _ = wait(self._running, return_when=FIRST_COMPLETED)
                for future in finished:
                    error = future.exception()
                    if isinstance(error, BrokenProcessPool):
                        return _wait_again(lanes, waiting)
                    job = self._running.pop(future)
                    for lane in lanes:
                        lane.held.pop(future, None)
                    yield job, outcome_of(future.result()) if error is None else self.failed(error)
        finally:
            self._running.clear()
            for lane in lanes:
                lane.pool.stop()
                lane.pool.join()

    def _lanes(self, with_gpus: bool) -> "list[_Lane]":
        unseen = "" if self.gpus else None
        slots = [_Lane(self.pool(gpu), gpu=True) for gpu in self.gpus if with_gpus]
        return [*(_Lane(self.pool(unseen)) for _ in range(self.workers)), *slots]

    def failed(self, error: BaseException) -> Failed:
        """What became of a job whose process raised this error, or ended with it."""
        from pebble import ProcessExpired

        match error:
            case TimeoutError():
                return Failed("timeout", f"stopped after the limit of {self.timeout:g} s")
            case ProcessExpired() if error.exitcode == -getattr(signal, "SIGKILL", 9):
                return Failed("oom", "killed by signal 9, as the kernel does when memory runs out")
            case ProcessExpired():
                return Failed("crash", f"the process ended with {_exit(error.exitcode)}")
        return failure(error)

    def seconds(self) -> float | None:
        """The limit as pebble wants it."""
        return self.timeout if math.isfinite(self.timeout) else None

    def pool(self, gpu: str | None = None) -> Any:
        """A process that sees this CUDA device, "" for none; None: whatever this process sees."""
        from pebble import ProcessPool

        # Not fork: numba, BLAS and a progress display hold threads and locks that don't survive it.
        kind = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        context = multiprocessing.get_context(kind)
        with _environment({name: "1" for name in _THREADS}):
            if kind == "forkserver":
                from multiprocessing import forkserver

                forkserver.set_forkserver_preload(_PRELOAD)
                forkserver.ensure_running()  # now, so that it inherits the pinned threads
            return ProcessPool(
                max_workers=1,
                initializer=_start_worker,
                initargs=(self.memory_mb, gpu),
                context=context,
            )


@dataclass
class _Lane:
    """A process and the jobs that it holds, of which it runs one."""

    pool: Any
    gpu: bool = False
    group: Hashable = None  # of the job that it was given last
    held: dict[Any, Any] = field(default_factory=dict)


@dataclass
class _Queue:
    """Jobs that wait, in groups of those that are near each other, in the order of their first."""

    near: Callable[[Any], Hashable]
    groups: dict[Hashable, deque[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self.groups.values()))

    def append(self, job: Any) -> None:
        self.groups.setdefault(self.near(job), deque()).append(job)

    def put_back(self, job: Any) -> None:
        self.groups.setdefault(self.near(job), deque()).appendleft(job)

    def take(self, lane: _Lane, lanes: list[_Lane]) -> Any:
        """The next job of the lane's group, of one that no other lane has, or of the first."""
        if lane.group not in self.groups:
            taken = {other.group for other in lanes}
            free = (group for group in self.groups if group not in taken)
            lane.group = next(free, next(iter(self.groups)))
        group = self.groups[lane.group]
        job = group.popleft()
        if not group:
            del self.groups[lane.group]
        return job


def _wait_again(lanes: list[_Lane], waiting: dict[bool, _Queue]) -> None:
    for lane in lanes:
        for job in reversed(lane.held.values()):
            waiting[lane.gpu].put_back(job)


def outcome_of(value: Any) -> Done | Failed:
    """What a function returned, as an outcome."""
    return value if isinstance(value, Failed) else Done(value)


def _start_worker(memory_mb: int | None, gpu: str | None) -> None:
    """Once in every worker: one thread, its GPU, limits, no warnings, an end with the run."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    if memory_mb is not None and sys.platform.startswith("linux"):
        import resource

        # Data, not address space: numba and torch reserve far more addresses than they use.
        limit = memory_mb * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)  # for what was loaded before the environment was set
    warnings.simplefilter("ignore")  # thousands of cells would bury the progress; Serial shows them


def _end_with_parent() -> None:
    """A worker whose run was killed would finish its cell for nobody, or hang for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _exit(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
