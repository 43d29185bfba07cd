"""An executor on the workers of a Dask cluster, with the isolation and limits of `Local`."""

import math
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from dysts_bench.executors import POOLS_PER_RUN, Done, Failed, Job, Local, failure, outcome_of

CONNECTING = 10.0  # seconds to wait for the scheduler


class WorkerError(ValueError):
    """Workers are not set up for what they are asked to do: no job's fault."""


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
    for _ in range(POOLS_PER_RUN):
        pool = _pools.get(alone.memory_mb) or _pools.setdefault(alone.memory_mb, alone.pool())
        try:
            future = pool.schedule(function, args=(job,), timeout=alone.seconds())
            error = future.exception()
        except RuntimeError:  # it broke after the last job
            error = BrokenProcessPool()
        if not isinstance(error, BrokenProcessPool):
            return outcome_of(future.result()) if error is None else alone.failed(error)
        _pools.pop(alone.memory_mb, None)
        pool.stop()
        pool.join()
    raise RuntimeError(f"the processes beneath a worker broke down {POOLS_PER_RUN} times")


# Of one process each, by their limit of memory: a process that has loaded numba takes the next job.
_pools: dict[int | None, Any] = {}
