"""Which of our images a disk from elsewhere was made of, by the beginning of it."""

from __future__ import annotations

import pytest

from stoneware.platforms.local.disks.assembly import ROOT
from stoneware.platforms.local.disks.head import Head
from stoneware.platforms.local.disks.kernel import partition_uuid
from tests.emulator.archives import table

IMAGES = ["sha256:" + digit * 64 for digit in "abc"]


def of(*pieces: tuple[int, bytes]) -> str | None:
    head = Head()
    for place, piece in pieces:
        head.take(place, piece)
    return head.image(IMAGES)


def disk(image: str) -> bytes:
    return table(str(partition_uuid(image, ROOT)))


def test_the_partitions_tell_the_image() -> None:
    assert of((0, disk(IMAGES[1]))) == IMAGES[1]
    assert of((0, disk("sha256:" + "d" * 64))) is None
    assert of((0, table())) is None


def test_pieces_come_with_holes_between_them() -> None:
    whole = disk(IMAGES[2])
    assert of((0, whole[:600]), (600, whole[600:1030]), (1030, whole[1030:]), (1 << 30, b"x")) == IMAGES[2]
    assert of((0, whole[:512]), (1024, whole[1024:])) is None  # the head of the table is missing


@pytest.mark.parametrize(
    ("place", "changed"),
    [
        (512, b"EFI  ART"),
        (512 + 72, b"\xff" * 8),  # where the entries are
        (512 + 84, b"\1\0\0\0"),  # how long one is
        (512 + 84, b"\xff" * 4),
        (512 + 80, b"\0\0\0\0"),  # how many there are
    ],
)
def test_a_table_that_is_none_tells_nothing(place: int, changed: bytes) -> None:
    whole = disk(IMAGES[0])
    assert of((0, whole[:place] + changed + whole[place + len(changed) :])) is None


def test_a_disk_that_is_cut_off() -> None:
    assert of() is None
    assert of((0, disk(IMAGES[0])[:1050])) is None
