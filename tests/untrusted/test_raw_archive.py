"""Archives with a disk, as Compute Engine takes them: what is read, and what is refused."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import pytest

from stoneware.errors import InputError
from stoneware.untrusted import raw_archive
from stoneware.untrusted.raw_archive import unpack
from tests.emulator.archives import GIB, packed, table, write


def nowhere(_place: int, _piece: bytes) -> None:
    pass


def test_every_piece_comes_with_its_place(tmp_path: Path) -> None:
    pieces = {0: table(), 1 << 20: b"a" * 700, 900 << 20: b"b" * (3 << 20)}
    pieces |= {(901 + each) << 20: bytes([each]) * 512 for each in range(5, 60)}  # a map of several blocks
    found: list[tuple[int, bytes]] = []
    path = write(tmp_path / "x", packed(pieces, size=2 * GIB))
    assert unpack(path, lambda place, piece: found.append((place, piece))) == 2 * GIB
    joined = {place: piece for place, piece in found if place in pieces}
    assert joined[0] == table()
    assert joined[1 << 20] == b"a" * 700
    assert sum(len(piece) for _, piece in found) == sum(map(len, pieces.values()))
    assert [place for place, _ in found] == sorted(place for place, _ in found)


@pytest.mark.tool
def test_what_tar_makes(tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    with disk.open("wb") as stream:
        stream.truncate(GIB)
        stream.write(table())
        for each in range(1, 50):
            stream.seek(each * 10_000_000)
            stream.write(b"%d" % each)
    archive = tmp_path / "a.tar.gz"
    subprocess.run(["tar", "--format=oldgnu", "-S", "-czf", archive, "-C", tmp_path, disk.name], check=True)
    found: dict[int, bytes] = {}
    assert unpack(archive, found.__setitem__) == GIB
    for place, piece in found.items():
        with disk.open("rb") as stream:
            stream.seek(place)
            assert stream.read(len(piece)) == piece
    for each in range(1, 50):
        assert any(place <= each * 10_000_000 < place + len(piece) for place, piece in found.items())


@pytest.mark.parametrize(
    ("tar", "said"),
    [
        (packed(magic=b"ustar\00000"), "no tar of GNU's old format"),
        (packed(name=b"other.raw"), "'other.raw', and not the file disk.raw"),
        (packed(kind=b"5"), "and not the file disk.raw"),
        (packed(size=GIB + 512), "whole number of GiB"),
        (packed(size=0), "whole number of GiB"),
        (packed(size=1 << 50), "whole number of GiB"),
        (packed({0: bytes(512)}), "no table of partitions"),
        (packed({1 << 20: table()}), "no table of partitions"),
        (packed({}), "no table of partitions"),
        (packed({0: table(), 512: table()}), "map of holes is wrong"),
        (packed({0: table(), GIB: b"x"}), "map of holes is wrong"),
        (packed(more=packed()), "more than the one file"),
        (packed()[:-1024], "cut off"),
        (packed()[:600], "cut off"),
        (packed().replace(b"\x31", b"\x32", 1), "checksum of its first header"),
        (b"", "cut off"),
        (b"x" * 512, "no tar of GNU's old format"),
    ],
)
def test_what_becomes_no_image(tmp_path: Path, tar: bytes, said: str) -> None:
    with pytest.raises(InputError) as caught:
        unpack(write(tmp_path / "x", tar), nowhere)
    assert said in caught.value.details


def test_a_map_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_archive, "_ENTRIES", 1000)
    head = bytearray(packed())
    head[482] = 1
    head[148:156] = b"%06o\0 " % (sum(head[:148]) + sum(head[156:512]) + 8 * 32)
    block = (b"%011o\0" % 0 + b"%011o\0" % 0) * 21 + b"\1" + bytes(7)
    with pytest.raises(InputError) as caught:
        unpack(write(tmp_path / "x", bytes(head[:512]) + block * 100), nowhere)
    assert "no end" in caught.value.details


@pytest.mark.parametrize("data", [packed(), b"", gzip.compress(packed())[:-4], gzip.compress(packed())[:90]])
def test_what_is_no_whole_gzip(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(InputError) as caught:
        unpack(tmp_path / "x", nowhere)
    assert "gzip" in caught.value.details or "cut off" in caught.value.details


def test_bytes_that_were_changed_are_told(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(packed()))
    data[-6] ^= 1
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(InputError):
        unpack(tmp_path / "x", nowhere)
