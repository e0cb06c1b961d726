"""What not every platform can do. A plan asks once, before anything is made."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Protocol

from stoneware.dataclass import dataclass
from stoneware.errors import InputError


class Capability(StrEnum):
    """One thing that a platform may be able to do. The text says it to people."""

    CHECKPOINTS = "saving a builder after each step"
    STAGES = "handing files of one stage of a Machinefile to another"
    STEP_SECRETS = "secrets of the steps of a bake"
    STORED_SECRETS = "secrets that are in Secret Manager already"
    CACHES = "directories that outlive builders"
    COMMANDS = "running commands inside machines"
    PUBLISHED_PORTS = "publishing ports of machines on this computer"
    LOCAL_FILES = "reading the files of images on this computer"
    MACHINE_LIMITS = "limits of a machine's processors, memory and processes"
    READ_ONLY = "machines whose changes are gone at the next start, and resource limits of their processes"
    DEPRECATION = "marking older images as replaced by newer ones"
    KERNELS = "choosing machines with or without a kernel of their own"
    SNAPSHOTS = "snapshots of volumes"
    VOLUME_KINDS = "volumes that are disks or directories, their size and conversion"
    OWN_NETWORKS = "networks that are internal, or have ranges of addresses of their own"


class Able(Protocol):
    """What is asked of a platform about what it can do."""

    @property
    def name(self) -> str:
        """Return what users call it."""
        ...

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Return what it can do of what not every platform can."""
        ...

    def instead_of(self, capability: Capability) -> str:
        """Return what to type or write where it cannot do something; nothing where there is no such way."""
        ...


@dataclass(frozen=True)
class Need:
    """Something that a user asks for and that takes a capability.

    `place` is where: `FILE:LINE:COLUMN`, or the option. `instead` is what to type or write in its place,
    where the platform has no word on that.
    """

    capability: Capability
    place: str = ""
    instead: str = ""


def refusal(platform: str, capability: Capability, instead: str, **more: str) -> InputError:
    """Return the error for what a platform cannot do; `more` are other parts of an InputError."""
    return InputError(f"the platform {platform} cannot do this: {capability}", resolution=instead, **more)


def require(platform: Able, needs: Iterable[Need]) -> None:
    """Raise one InputError with all that is asked for and that a platform cannot do, and where."""
    lacking = [need for need in needs if need.capability not in platform.capabilities]
    if not lacking:
        return
    first = lacking[0]
    rows = [f"{need.place}: {need.capability}" if need.place else str(need.capability) for need in lacking]
    raise refusal(
        platform.name,
        first.capability,
        platform.instead_of(first.capability) or first.instead,
        details="\n".join(dict.fromkeys(rows)) if len(lacking) > 1 else "",
        location=first.place,
    )
