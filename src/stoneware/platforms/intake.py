"""Images that come to a platform from another one, as files: what it is offered, and what it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from stoneware.dataclass import dataclass
from stoneware.platforms.disks import DiskFormat


@dataclass(frozen=True)
class Offer:
    """An image as it is offered: its id, the manifest that this is the SHA-256 of, a note, and its tags."""

    image: str
    manifest: bytes
    document: Mapping[str, Any]
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Taken:
    """An image that a platform has: what it is called there, and whether it was not there before."""

    name: str
    new: bool


class Intake(Protocol):
    """What takes images in."""

    @property
    def form(self) -> DiskFormat:
        """Return the form in which the platform takes an image."""
        ...

    def take(self, offer: Offer, write: Callable[[Path], None], progress: Callable[[str], None]) -> Taken:
        """Have an image with its tags; one that is there is not sent again.

        `write` makes the file, in `form`, at a path where there is none; it is called where the file is
        needed. What a killed call has left is used by the next one for the same image, or removed by another
        command. Raises StonewareError; then nothing is left either, but what the next call goes on from.
        """
        ...
