"""Durations as people write them: `90`, `90s`, `1m30s`, `2h`."""

from __future__ import annotations

import re

from stoneware.errors import InputError

LONGEST = 366 * 24 * 3600.0  # seconds; what counts in shells and units overflows long after that
_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_DURATION = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?")


def parse_duration(text: str, what: str) -> float:
    """Return a duration in seconds; a bare number is seconds. Raises InputError that names `what`."""
    word = text.strip()
    # A bare number is seconds only by itself: the 30 of 1h30 may be meant for minutes.
    match = _DURATION.fullmatch(f"{word}s" if word[-1:].isdigit() and not set("hm") & set(word) else word)
    if match is None or not any(match.groups()):
        raise InputError(f"invalid duration {text!r} of {what}", resolution="for example: 90s, or 1m30s")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    found = hours * 3600 + minutes * 60 + seconds
    if found > LONGEST:
        raise InputError(
            f"the duration {word[:40]!r} of {what} is too long",
            resolution="a year is the most: 8760h",
        )
    return found


def in_seconds(duration: float) -> str:
    """Return a duration as systemd reads it: a plain number of seconds, to the millisecond."""
    return f"{duration:.3f}".rstrip("0").rstrip(".")
