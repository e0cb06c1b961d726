"""Notices that a builder has sent nothing for too long."""

from __future__ import annotations

from collections.abc import Callable

HEARD = "stoneware-heard"  # the attribute that is written before a builder counts as silent
_GAP = 1.0  # seconds between two looks that say that the one who looks has been held up itself


class Pulse:
    """Counts the time since a builder was heard last; time in which the driver did not run does not count."""

    def __init__(self, limit: float, clock: Callable[[], float]) -> None:
        """Begin to listen. `limit` is the silence in seconds that is too long."""
        self._limit = limit
        self._clock = clock
        self._last = self._looked = clock()
        self._sign: tuple[str | None, ...] = ()

    def heard(self, *signs: str | None) -> None:
        """Take in what the builder shows now: whatever differs from before is a sign of life."""
        now = self._clock()
        held_up = now - self._looked
        self._looked = now
        if signs != self._sign:
            self._sign = signs
            self._last = now
        elif held_up > _GAP:
            self._last += held_up

    def silent(self) -> bool:
        """Say whether it has been silent for too long."""
        return self._clock() - self._last > self._limit
