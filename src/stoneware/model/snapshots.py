"""What snapshots of volumes are called where nobody says it."""

from __future__ import annotations

import time
from collections.abc import Collection

BEFORE_RESTORE = "before-restore-"  # how the names of those begin that a restore keeps


def name_at(seconds: float, taken: Collection[str], prefix: str = "") -> str:
    """Return a name from the time, in UTC: `2026-11-29-203012`, or with a number behind it."""
    wanted = prefix + time.strftime("%Y-%m-%d-%H%M%S", time.gmtime(seconds))
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}-{number}"
    return name
