"""The beginning of a disk that somebody else wrote: which of our images it was made of."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterable

from stoneware.platforms.local.disks.assembly import ROOT
from stoneware.platforms.local.disks.kernel import partition_uuid

_MOST = 64 << 10  # bytes that are kept: the table has 34 sectors
_SECTOR = 512


class Head:
    """Gathers the beginning of a disk, whose pieces come in order and without holes."""

    def __init__(self) -> None:
        self._data = bytearray()

    def take(self, place: int, piece: bytes) -> None:
        """Take a piece at a place of the disk."""
        if place >= _MOST:
            return
        # What lies between two pieces are holes of the disk, which read as zeros.
        self._data += bytes(place - len(self._data))
        self._data += piece[: _MOST - place]

    def image(self, known: Iterable[str]) -> str | None:
        """Return which of some images it was made of: the ids of our partitions are made of the image's."""
        partitions = set(self._partitions())
        return next((image for image in known if partition_uuid(image, ROOT) in partitions), None)

    def _partitions(self) -> list[uuid.UUID]:
        """Return the ids of all partitions of the disk's GPT; none where it has none."""
        head = self._data[_SECTOR : 2 * _SECTOR]
        if head[:8] != b"EFI PART" or len(head) < _SECTOR:
            return []
        first, count, size = struct.unpack_from("<QII", head, 72)
        if not 128 <= size <= _SECTOR or first > _MOST // _SECTOR:
            return []
        places = range(first * _SECTOR, first * _SECTOR + min(count, 128) * size, size)
        entries = [self._data[place : place + 32] for place in places]
        # A GPT has the first three parts of an id with their bytes turned round.
        return [uuid.UUID(bytes_le=bytes(entry[16:])) for entry in entries if len(entry) == 32]
