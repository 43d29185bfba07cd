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
from collections.abc import Callable, Iterable, Iterator
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
CONNECTING = 10.0  # seconds to wait for Dask's scheduler
_POOLS_PER_RUN = 20  # a pool that breaks as a whole is replaced, but not for ever


@dataclass(frozen=True)
class Done:
    """The function returned `value`."""

    value: Any


@dataclass(frozen=True)
class Failed:
    """The job failed as a whole: a status of records.STATUSES and what happened."""

    status: str
    message: str


class WorkerError(ValueError):
    """Workers are not set up for what they are asked to do: no job's fault."""


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
                    outcome = _outcome(function(job))
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
    """

    workers: int = 1
    timeout: float = math.inf
    memory_mb: int | None = None
    _running: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def running(self) -> list[Any]:
        return [job for future, job in list(self._running.items()) if future.running()]

    def map(
        self, function: Callable[[Job], Any], jobs: Iterable[Job]
    ) -> Iterator[tuple[Job, Done | Failed]]:
        waiting = deque(jobs)
        pools = 0
        while waiting:
            pools += 1
            if pools > _POOLS_PER_RUN:
                raise RuntimeError(
                    f"worker processes broke down {_POOLS_PER_RUN} times while idle. "
                    "Is the machine out of memory or processes? Run fewer jobs at once."
                )
            yield from self._drain(function, waiting)

    def _drain(
        self, function: Callable[[Job], Any], waiting: deque[Job]
    ) -> Iterator[tuple[Job, Done | Failed]]:
        """Run the waiting jobs in one pool; if it breaks as a whole, what it held waits again."""
        pool = self._pool()
        self._running.clear()
        try:
            while waiting or self._running:
                # One job more than workers: none is idle while the caller writes a result down.
                while waiting and len(self._running) < self.workers + 1:
                    job = waiting.popleft()
                    try:
                        future = pool.schedule(function, args=(job,), timeout=self._seconds())
                    except RuntimeError:  # it broke after the last result
                        waiting.extendleft([job, *reversed(self._running.values())])
                        return
                    self._running[future] = job
                finished, _ = wait(self._running, return_when=FIRST_COMPLETED)
                for future in finished:
                    error = future.exception()
                    if isinstance(error, BrokenProcessPool):
                        waiting.extendleft(reversed(self._running.values()))
                        return
                    job = self._running.pop(future)
                    yield job, _outcome(future.result()) if error is None else self._failed(error)
        finally:
            self._running.clear()
            pool.stop()
            pool.join()

    def _failed(self, error: BaseException) -> Failed:
        from pebble import ProcessExpired

        match error:
            case TimeoutError():
                return Failed("timeout", f"stopped after the limit of {self.timeout:g} s")
            case ProcessExpired() if error.exitcode == -getattr(signal, "SIGKILL", 9):
                return Failed("oom", "killed by signal 9, as the kernel does when memory runs out")
            case ProcessExpired():
                return Failed("crash", f"the process ended with {_exit(error.exitcode)}")
        return failure(error)

    def _seconds(self) -> float | None:
        return self.timeout if math.isfinite(self.timeout) else None

    def _pool(self) -> Any:
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
                max_workers=self.workers,
                initializer=_start_worker,
                initargs=(self.memory_mb,),
                context=context,
            )


@dataclass
class Dask:
    """Workers of a Dask cluster, on this machine or on many.

    `scheduler`: its address, tcp://host:8786. Each job runs in a process of its own beneath a
    worker, with the limits of `Local`: one that hangs or crashes holds or harms no worker. A job
    whose worker dies is given to another, a few times.
    """

    scheduler: str
    timeout: float = math.inf
    memory_mb: int | None = None

    def running(self) -> list[Any]:
        return []  # the scheduler knows, and its dashboard shows it

    def map(
        self, function: Callable[[Job], Any], jobs: Iterable[Job]
    ) -> Iterator[tuple[Job, Done | Failed]]:
        from distributed import Client, as_completed

        waiting = deque(jobs)
        if not waiting:
            return
        alone = Local(1, self.timeout, self.memory_mb)
        try:
            client = Client(self.scheduler, set_as_default=False, timeout=CONNECTING)
        except (OSError, ValueError) as error:
            raise WorkerError(f"no Dask scheduler answers at {self.scheduler}: {error}") from error
        with client:
            finished = as_completed(loop=client.loop)
            sent: dict[Any, Job] = {}
            while waiting or sent:
                # some more than there are workers: none is idle, and the graph stays small
                while waiting and len(sent) < 2 * max(1, sum(client.nthreads().values())):
                    job = waiting.popleft()
                    future = client.submit(_isolated, alone, function, job, pure=False)
                    sent[future] = job
                    finished.add(future)
                future = next(finished)
                raised = future.exception()
                if isinstance(raised, WorkerError):
                    raise raised
                yield sent.pop(future), future.result() if raised is None else failure(raised)


def _isolated(alone: Local, function: Callable[[Job], Any], job: Job) -> Done | Failed:
    """On a Dask worker: the job in a process of its own."""
    if multiprocessing.current_process().daemon:
        raise WorkerError(
            "Dask's workers must be allowed to start processes, which jobs run in: start them with "
            "the environment variable DASK_DISTRIBUTED__WORKER__DAEMON=False, or without a nanny"
        )
    for _ in range(_POOLS_PER_RUN):
        pool = _pools.get(alone.memory_mb) or _pools.setdefault(alone.memory_mb, alone._pool())
        try:
            future = pool.schedule(function, args=(job,), timeout=alone._seconds())
            error = future.exception()
        except RuntimeError:  # it broke after the last job
            error = BrokenProcessPool()
        if not isinstance(error, BrokenProcessPool):
            return _outcome(future.result()) if error is None else alone._failed(error)
        _pools.pop(alone.memory_mb, None)
        pool.stop()
        pool.join()
    raise RuntimeError(f"the processes beneath a worker broke down {_POOLS_PER_RUN} times")


# Of one process each, by their limit of memory: a process that has loaded numba takes the next job.
_pools: dict[int | None, Any] = {}


def _outcome(value: Any) -> Done | Failed:
    return value if isinstance(value, Failed) else Done(value)


def _start_worker(memory_mb: int | None) -> None:
    """Once in every worker: one thread, the memory limit, no warnings, an end with the run."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(dict.fromkeys(_THREADS, "1"))
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
