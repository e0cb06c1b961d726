"""What not every platform can do. A plan asks once, before anything is made."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from stoneware.errors import InputError


class Capability(StrEnum):
    """One thing that a platform may be able to do. The text says it to people."""

    CHECKPOINTS = "saving a builder after each step"
    COMMANDS = "running commands inside machines"
    PUBLISHED_PORTS = "publishing ports of machines on this computer"
    LOCAL_FILES = "reading the files of images on this computer"
    CACHES = "directories that outlive builders, for RUN --mount=type=cache"
    MACHINE_LIMITS = "limits of a machine's processors, memory and processes"


def require(
    capabilities: Collection[Capability],
    needed: Capability,
    *,
    platform: str,
    location: str = "",
    instead: str = "",
) -> None:
    """Raise InputError where a platform cannot do what is asked for.

    `location` is the place in the user's file; `instead` is what to type or write in its place.
    """
    if needed not in capabilities:
        raise InputError(
            f"the platform {platform} has no {needed.name.lower().replace('_', ' ')}",
            details=f"It cannot do this: {needed}.",
            resolution=instead,
            location=location,
        )
