"""A call that runs in a thread while its caller does other work."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Background:
    """A call in a thread of its own; what it raises is raised in the thread that waits for it."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return when it is done. A Ctrl-C meanwhile is raised then: it takes no longer than to end it."""
        try:
            self._thread.join()
        except KeyboardInterrupt:
            self._thread.join()
            raise
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self._failure = error
