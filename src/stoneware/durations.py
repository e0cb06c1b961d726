"""Durations as people write them: `90`, `90s`, `1m30s`, `2h`."""

from __future__ import annotations

import re

from stoneware.errors import InputError

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


def parse_duration(text: str, what: str) -> float:
    """Return a duration in seconds; a bare number is seconds. Raises InputError that names `what`."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        raise InputError(f"invalid duration {text!r} of {what}", resolution="for example: 90s, or 1m30s")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds
