"""Preconditions of requests, by generation and metageneration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stoneware.emulator.errors import ApiError
from stoneware.emulator.store import Record

_NAMES = ("generation", "metageneration")


def check(
    query: Mapping[str, Any], record: Record | None, *, source: bool = False, reads: bool = False
) -> None:
    """Hold the conditions of a request against a record, None for one that is not there.

    `source`: those of the object that is copied. Raises ApiError: 412; of a request that only reads, 304
    where the client has the object already.
    """
    for name in _NAMES:
        have = "0" if record is None else str(record[name])
        suffix = f"{'Source' if source else ''}{name.capitalize()}"
        wanted, other = query.get(f"if{suffix}Match"), query.get(f"if{suffix}NotMatch")
        if wanted is not None and wanted != have:
            raise failed()
        if other is not None and other == have:
            raise ApiError(304, "notModified", "Not Modified") if reads else failed()


def failed() -> ApiError:
    """Return the error for a condition that does not hold."""
    return ApiError(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
