"""Records of an API that says when they were made."""

from __future__ import annotations

import time
from collections.abc import Callable

from stoneware.emulator import values
from stoneware.emulator.store import Store


class DatedRecords:
    """The records of a store. `clock`: seconds since 1970."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self.store = store
        self.clock = clock

    def now(self) -> str:
        """Return this moment as the API writes it."""
        return values.zulu(self.clock())
