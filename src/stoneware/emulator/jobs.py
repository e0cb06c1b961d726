"""What takes longer than a request: done by threads, while the operation of the request runs."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from stoneware.dataclass import dataclass
from stoneware.emulator.errors import ApiError
from stoneware.errors import StonewareError

_THREADS = 16  # machines that are started or stopped at once
_POLL = 0.02  # seconds between two looks whether all is done


@dataclass(frozen=True)
class Job:
    """Work on one resource: `run`, then `ended`, which writes how that ended, with the error if it failed."""

    resource: str
    run: Callable[[], None]
    ended: Callable[[ApiError | None], None]


class Jobs:
    """Jobs on many resources at once; those on one come one after another."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="instance")
        self._queues: dict[str, list[Job]] = {}
        self._guard = threading.Lock()

    def add(self, job: Job) -> None:
        """Begin a job, once those on its resource are done."""
        # Each resource has one thread at most: what starts and what stops a machine must not overlap.
        with self._guard:
            queue = self._queues.setdefault(job.resource, [])
            queue.append(job)
            if len(queue) > 1:
                return
        self._pool.submit(self._work, job.resource)

    def idle(self) -> bool:
        """Say whether there is no work at all."""
        with self._guard:
            return not self._queues

    def busy(self, resource: str) -> bool:
        """Say whether there is work on a resource."""
        with self._guard:
            return resource in self._queues

    def _work(self, resource: str) -> None:
        while True:
            with self._guard:
                job = self._queues[resource][0]
            try:
                _do(job)
            finally:
                with self._guard:
                    queue = self._queues[resource]
                    queue.pop(0)
                    if not queue:
                        del self._queues[resource]
            # Without the guard: to a queue that was empty nothing is added, as the next job makes another.
            if not queue:
                return

    def close(self) -> None:
        """Wait for all jobs, and for those that they begin. To be called before the store is closed."""
        while not self.idle():
            time.sleep(_POLL)
        self._pool.shutdown()


def _do(job: Job) -> None:
    failure = None
    try:
        job.run()
    except StonewareError as error:
        failure = ApiError(500, "internalError", " ".join(f"{error} {error.details or ''}".split()))
    except OSError as error:
        failure = ApiError(500, "internalError", f"{error}")
    with contextlib.suppress(ApiError):  # the state cannot be written now: the next emulator does it again
        job.ended(failure)
