"""A console for people: moments as Docker reads them, and lines with the time they came in front."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable

from stoneware.durations import parse_duration
from stoneware.errors import InputError

_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")


def parse_moment(text: str, now: float, option: str) -> float:
    """Return `2026-01-02T15:04:05Z`, `1767366245` or `10m` (before now) in seconds since the epoch.

    A time without a zone is in this computer's. Raises InputError for anything else.
    """
    if _NUMBER.fullmatch(text):
        return float(text)
    try:
        return datetime.datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError, OSError):
        pass  # not a date, perhaps a duration
    try:
        return now - parse_duration(text, option)
    except InputError as error:
        raise InputError(
            f"{text!r} of {option} is no time",
            resolution=f"for example: {option} 10m, {option} 2026-01-02T15:04:05Z",
        ) from error


def timestamp(moment: float) -> str:
    """Return a time as Docker's logs have it: RFC 3339 with nanoseconds, in UTC."""
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


class Stamper:
    """Puts the time in front of each line of one console's output, which comes in pieces."""

    def __init__(self, clock: Callable[[int], float | None]) -> None:
        self._clock = clock
        self._fresh = True  # the next byte begins a line

    def feed(self, data: bytes, end: int) -> bytes:
        """Return a piece that ends at the offset `end` with times; lines of an unknown time have none."""
        stamped, start, began = [], 0, end - len(data)
        while start < len(data):
            behind = data.find(b"\n", start) + 1 or len(data)
            moment = self._clock(began + start) if self._fresh else None
            if moment is not None:
                stamped.append(f"{timestamp(moment)} ".encode())
            stamped.append(data[start:behind])
            self._fresh = data[behind - 1] == 10
            start = behind
        return b"".join(stamped)
