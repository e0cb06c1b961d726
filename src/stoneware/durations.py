"""Durations as people write them: `90`, `90s`, `1m30s`, `2h`."""

from __future__ import annotations

import re

from stoneware.errors import InputError

LONGEST = 366 * 24 * 3600.0  # seconds; what counts in shells and units overflows long after that
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


def parse_duration(text: str, what: str) -> float:
    """Return a duration in seconds; a bare number is seconds. Raises InputError that names `what`."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        raise InputError(f"invalid duration {text!r} of {what}", resolution="for example: 90s, or 1m30s")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    found = hours * 3600 + minutes * 60 + seconds
    if found > LONGEST:
        raise InputError(
            f"the duration {text.strip()[:40]!r} of {what} is too long",
            resolution="a year is the most: 8760h",
        )
    return found
