"""The time that a rollout's limits are measured in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_TICK = 1.0  # seconds between two marks that this process runs
_GAP = 5.0  # seconds without one: it, or the computer, was suspended


class ProcessClock:
    """The time of day for the journal; for limits, the time that this process has run.

    It cannot be set. A process that was stopped, or whose computer slept, has seen nothing of its
    cluster meanwhile, so that time counts for no limit.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Begin to count; `now` is a clock that cannot be set, in seconds."""
        self._now = now
        self._lock = threading.Lock()
        self._ran = 0.0
        self._seen = now()
        self._ticker: threading.Thread | None = None

    def time(self) -> float:
        """Return the seconds since the epoch."""
        return time.time()

    def ran(self) -> float:
        """Return the seconds that this process ran since this clock was made."""
        if self._ticker is None:
            self._ticker = threading.Thread(target=self._tick, name="rollout-clock", daemon=True)
            self._ticker.start()
        return self._mark()

    def _mark(self) -> float:
        with self._lock:
            now = self._now()
            passed, self._seen = now - self._seen, now
            # Of a gap, in which nothing was seen of the cluster, at most one tick was really run.
            self._ran += passed if passed <= _GAP else _TICK
            return self._ran

    def _tick(self) -> None:
        """Go on marking while somebody waits for a gate or a machine; ends with the process."""
        while True:
            time.sleep(_TICK)
            self._mark()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(max(seconds, 0.0))
