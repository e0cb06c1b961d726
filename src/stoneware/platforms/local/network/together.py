"""Things to be done under a lock, done together by whoever gets it first.

Twenty machines of a cluster end within a moment, each in a thread of its own. One change of the rules takes
as long for all of them as for one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager


class Together:
    """What threads of this process wait to have done, by what it is done to (`place`)."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._waiting: dict[str, dict[str, None]] = {}

    def do(
        self,
        place: str,
        item: str,
        lock: Callable[[], AbstractContextManager[None]],
        action: Callable[[Sequence[str]], None],
    ) -> None:
        """Call the action under the lock with this item and all others that wait there, in their order.

        Returns once some thread has done so; an item whose action failed elsewhere is tried again here.
        """
        with self._waits(place, item), lock():
            with self._mutex:
                items = list(self._waiting.get(place, ()))
            if item not in items:
                return  # done by the thread that had the lock before
            action(items)
            with self._mutex:
                for one in items:
                    self._waiting[place].pop(one, None)

    @contextmanager
    def _waits(self, place: str, item: str) -> Iterator[None]:
        with self._mutex:
            self._waiting.setdefault(place, {})[item] = None
        try:
            yield
        finally:
            with self._mutex:
                self._waiting[place].pop(item, None)
