"""Looking after a platform: what it lacks, what nothing uses, and what has the room; as data."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from typing import Any, Protocol

from stoneware.dataclass import dataclass


@dataclass(frozen=True)
class Finding:
    """What `doctor` found of one requirement; `problem` is empty when it is fulfilled.

    Without an `optional` one only what it is for cannot be done.
    """

    name: str
    kind: str
    purpose: str
    get: str
    version: str
    problem: str
    optional: bool = False


@dataclass(frozen=True)
class Unused:
    """What `prune` removes: names and ids by kind."""

    machines: tuple[str, ...]
    images: tuple[str, ...]
    checkpoints: tuple[str, ...]
    caches: tuple[str, ...]
    disks: tuple[str, ...] = ()  # of images, for virtual machines
    remains: tuple[str, ...] = ()  # of things that are gone, which could not be removed at once
    deprecated: tuple[str, ...] = ()  # images that stay, and are marked as replaced by newer ones

    @property
    def empty(self) -> bool:
        """Say whether there is nothing to remove."""
        return not any(vars(self).values())


@dataclass(frozen=True)
class Item:
    """One thing that has room. Sizes are in bytes; None where the platform cannot tell.

    An image's size is that of all its files, most of which it shares.
    """

    name: str
    active: bool
    size: int | None
    limit: int | None = None


@dataclass(frozen=True)
class Row:
    """A kind of things. `size` is what they have on the disk, `reclaimable` what the unused have of it."""

    kind: str
    total: int
    active: int
    size: int | None
    reclaimable: int | None


@dataclass(frozen=True)
class Room:
    """The file system: bytes in all, used, free; what guests cannot take of that, and what they still can."""

    total: int
    used: int
    free: int
    reserve: int | None
    left: int | None
    host_free: int | None  # on the disk that the file system's own file is on


@dataclass(frozen=True)
class Usage:
    """What `system df` shows."""

    rows: tuple[Row, ...]
    items: dict[str, tuple[Item, ...]]
    room: Room | None  # nothing where there is no end of it

    def to_document(self, *, verbose: bool) -> dict[str, Any]:
        """Return it as JSON data."""
        room = asdict(self.room) if self.room is not None else None
        document = {"kinds": [asdict(row) for row in self.rows], "room": room}
        if verbose:
            document["items"] = {kind: [asdict(item) for item in found] for kind, found in self.items.items()}
        return document


@dataclass(frozen=True)
class VolumeUsage:
    """What a volume has and may have, in bytes (None: not known), and where it is on this computer."""

    used: int | None
    limit: int | None
    path: str


class Upkeep(Protocol):
    """What the commands ask that look after a platform. Every method raises StonewareError."""

    def unused(self, *, everything: bool, wanted: Collection[str], keep: int | None = None) -> Unused:
        """Return what nothing uses. Images of `wanted` (ids) are kept.

        With `everything`, images that only have a tag are unused, and all checkpoints but the bases. With
        `keep`, which takes Capability.DEPRECATION, older images than so many of a name are deprecated.
        """
        ...

    def prune(
        self, what: Unused, *, everything: bool, wanted: Collection[str], keep: int | None = None
    ) -> int:
        """Remove what `unused` found and nothing has begun to use since; return how many bytes that freed."""
        ...

    def usage(self, wanted: Collection[str]) -> Usage:
        """Measure what has the room. Images of `wanted` (ids) are in use."""
        ...

    def volume_usage(self, name: str) -> VolumeUsage:
        """Return what a volume has."""
        ...
