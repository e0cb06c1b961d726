"""Unpacking what somebody hostile has packed: nothing outside, nothing but plain things, always an end."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stoneware.untrusted.bounded import BoundsError
from stoneware.untrusted.extraction import Skipped, extract, extract_root, room, stays_inside
from stoneware.untrusted.tarstream import Limits
from tests.archives import Archive

ROOMY = Limits(total=1 << 24)
Add = Callable[..., None]


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "inside").mkdir()
    (tmp_path / "outside").write_text("untouched")
    return tmp_path / "inside"


def unpack(data: bytes, top: Path, limits: Limits = ROOMY) -> Skipped:
    directory = os.open(top, os.O_RDONLY)
    try:
        return extract(io.BytesIO(data), directory, limits)
    finally:
        os.close(directory)


def refused(data: bytes, top: Path, limits: Limits = ROOMY) -> str:
    before = sorted(path.name for path in top.parent.iterdir())
    with pytest.raises(BoundsError) as caught:
        unpack(data, top, limits)
    assert sorted(path.name for path in top.parent.iterdir()) == before
    assert (top.parent / "outside").read_text() == "untouched"
    return str(caught.value)


def test_plain_things_are_kept(top: Path) -> None:
    archive = Archive().add(".", tarfile.DIRTYPE, mode=0o750, mtime=1_000_000)
    archive.add("./d", tarfile.DIRTYPE, mode=0o711, mtime=1_000_001.5)
    archive.add("./d/file", content=b"content" * 1000, mode=0o640, mtime=1_000_002.25, uid=12, gid=34)
    archive.add("./d/again", tarfile.LNKTYPE, linkname="./d/file")
    archive.add("./link", tarfile.SYMTYPE, linkname="d/file")
    archive.add("./é\udcff\n", content=b"odd")
    assert unpack(archive.bytes(), top).count == 0
    found = (top / "d/file").stat()
    assert (top / "d/file").read_bytes() == b"content" * 1000
    assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (0o640, 1_000_002_250_000_000)
    assert (found.st_uid, found.st_gid) == (os.geteuid(), os.getegid())
    assert (top / "d/again").samefile(top / "d/file")
    assert os.readlink(top / "link") == "d/file"  # noqa: PTH115
    assert (top / "é\udcff\n").read_bytes() == b"odd"
    assert (top / "d").stat().st_mtime_ns == 1_000_001_500_000_000
    assert (stat.S_IMODE((top / "d").stat().st_mode), stat.S_IMODE(top.stat().st_mode)) == (0o711, 0o750)
    assert top.stat().st_mtime_ns == 1_000_000 * 10**9


def test_modes_lose_what_gives_power(top: Path) -> None:
    archive = Archive().add("d", tarfile.DIRTYPE, mode=0o7777).add("d/suid", content=b"x", mode=0o6755)
    archive.add("d/sticky", mode=0o1644, pax_headers={"SCHILY.xattr.security.capability": "\x01\0\0\x02"})
    unpack(archive.bytes(), top)
    assert [stat.S_IMODE((top / name).stat().st_mode) for name in ("d", "d/suid", "d/sticky")] == [
        0o777,
        0o755,
        0o644,
    ]
    assert os.listxattr(top / "d/sticky") == []


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.CHRTYPE, "character device"),
        (tarfile.BLKTYPE, "block device"),
        (tarfile.FIFOTYPE, "FIFO"),
        (b"Z", "of an unknown kind"),
    ],
)
def test_what_is_no_file_is_left_out_and_told(top: Path, kind: bytes, word: str) -> None:
    archive = Archive().add("dev", kind, devmajor=1, devminor=5, mode=0o666).add("after", content=b"x")
    skipped = unpack(archive.bytes(), top)
    assert (skipped.count, skipped.told) == (1, [f"dev ({word})"])
    assert [path.name for path in top.iterdir()] == ["after"]


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "a/..", "..", "./../x", "//x", "a/b/../c"])
def test_names_that_lead_out(top: Path, name: str) -> None:
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        assert "outside" in refused(Archive(form).add(name, content=b"x").bytes(), top)
    assert "outside" in refused(Archive().add("x", pax_headers={"path": name}).bytes(), top)


@pytest.mark.parametrize(
    ("name", "target", "inside"),
    [
        ("l", "a", True),
        ("l", "a/b", True),
        ("d/l", "../a", True),
        ("d/e/l", "../../a", True),
        ("d/l", "./..//a", True),
        ("l", "..", False),
        ("l", "../a", False),
        ("d/l", "../../a", False),
        ("l", "/etc/passwd", False),
        ("l", "a/../b", False),  # a may be a link to somewhere deeper or higher
        ("d/l", "../a/..", False),
        ("l", "", False),
    ],
)
def test_links_stay_inside(top: Path, name: str, target: str, inside: bool) -> None:
    assert stays_inside(tuple(name.split("/")), target) is inside
    skipped = unpack(Archive().add(name, tarfile.SYMTYPE, linkname=target).bytes(), top)
    assert skipped.count == (not inside)
    assert (top / name).is_symlink() is inside


def test_nothing_goes_through_a_link(top: Path) -> None:
    archive = Archive().add("d", tarfile.DIRTYPE).add("d/l", tarfile.SYMTYPE, linkname="../d")
    archive.add("d/l/file", content=b"x")
    assert "below l, which is no directory" in refused(archive.bytes(), top)


def test_the_last_entry_of_a_name_counts(top: Path) -> None:
    archive = Archive().add("victim", content=b"kept")
    archive.add("a", tarfile.SYMTYPE, linkname="victim").add("a", content=b"second")
    archive.add("b", content=b"x").add("b", tarfile.DIRTYPE).add("b/c", content=b"y")
    archive.add("h", tarfile.LNKTYPE, linkname="victim").add("h", content=b"third")
    unpack(archive.bytes(), top)
    assert (top / "victim").read_bytes() == b"kept"
    assert [(top / name).read_bytes() for name in ("a", "b/c", "h")] == [b"second", b"y", b"third"]
    clash = Archive().add("d", tarfile.DIRTYPE).add("d/x").add("d", content=b"file")
    assert "both a directory and something else" in refused(clash.bytes(), top)


def test_hard_links_only_to_files_of_the_archive(top: Path) -> None:
    archive = Archive().add("l", tarfile.SYMTYPE, linkname="d").add("d", tarfile.DIRTYPE)
    for number, target in enumerate(["../outside", "/etc/passwd", "none", "l", "d", "d/none/x", "", "."]):
        archive.add(f"h{number}", tarfile.LNKTYPE, linkname=target)
    skipped = unpack(archive.bytes(), top)
    assert skipped.count == 8
    assert sorted(path.name for path in top.iterdir()) == ["d", "l"]


def test_sizes_that_do_not_fit(top: Path) -> None:
    small = Limits(total=100_000)
    assert "more than 100000 bytes" in refused(Archive().add("x", content=bytes(99_000)).bytes(), top, small)
    huge = bytearray(Archive(tarfile.GNU_FORMAT).add("x").bytes())
    for size in ((1 << 62).to_bytes(11, "big"), ((1 << 88) - 1).to_bytes(11, "big")):
        _resize(huge, b"\x80" + size)
        assert "more than" in refused(bytes(huge), top)
    _resize(huge, b"\xff" * 11 + b"\xfe")
    assert "negative" in refused(bytes(huge), top)
    assert "more than" in refused(Archive().add("x", pax_headers={"size": "9" * 18}).bytes(), top)
    for text in ("-1", "1e9", "0x10", "9" * 30):
        assert "no number" in refused(Archive().add("x", pax_headers={"size": text}).bytes(), top)


def _resize(block: bytearray, field: bytes) -> None:
    block[124:136] = field
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:512])


class Endless:
    """A stream that repeats itself, and says how much of it was read."""

    def __init__(self, first: bytes, again: bytes) -> None:
        self.first, self.again, self.count = io.BytesIO(first), again, 0

    def read(self, size: int = -1) -> bytes:
        data = self.first.read(size)
        while len(data) < size:
            data += (self.again * (size // len(self.again) + 1))[: size - len(data)]
        self.count += len(data)
        return data


def header(**fields: object) -> bytes:
    info = tarfile.TarInfo("x")
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    ("first", "again", "said"),
    [
        (b"", header(), "entries"),
        (b"", header(type=tarfile.DIRTYPE), "entries"),
        (b"", header(type=tarfile.XHDTYPE), "entries"),
        (b"", header(type=tarfile.XGLTYPE), "entries"),
        (header(size=1 << 40), b"\0", "more than"),
        (header(type=tarfile.XHDTYPE, size=1 << 40), b"7", "extended header"),
        (header(type=tarfile.GNUTYPE_LONGNAME, size=1 << 40), b"a", "extended header"),
        (b"", b"\xff" * 512, "damaged"),
    ],
)
def test_what_never_ends_is_ended(top: Path, first: bytes, again: bytes, said: str) -> None:
    directory = os.open(top, os.O_RDONLY)
    stream = Endless(first, again)
    with pytest.raises(BoundsError, match=said):
        extract(stream, directory, Limits(total=1 << 30, entries=2000))
    os.close(directory)
    assert stream.count < 1 << 23


def test_an_end_that_never_ends(top: Path) -> None:
    directory = os.open(top, os.O_RDONLY)
    stream = Endless(Archive().add("x", content=b"x").bytes(), b"\0")
    extract(stream, directory, ROOMY)
    os.close(directory)
    assert stream.count < 1 << 22


def test_depth_names_and_torn_ends(top: Path) -> None:
    assert "deep" in refused(Archive().add("a/" * 600 + "x").bytes(), top)
    assert "255 bytes" in refused(Archive().add("x" * 256).bytes(), top)
    whole = Archive().add("x", content=bytes(1000)).bytes()
    for length in (100, 600, 1030, 1535):
        assert "ends in the middle" in refused(whole[:length], top)
    assert unpack(whole[:2048], top).count == 0  # only the end mark is missing


@pytest.mark.parametrize(
    "data",
    [b"9999999 path=x\n", b"4 a=\n", b"0 a=b\n", b"nonsense", b"12 path=a\0b\n", b"-5 path=x\n"],
)
def test_torn_extended_headers(top: Path, data: bytes) -> None:
    torn = header(type=tarfile.XHDTYPE, size=len(data)) + data.ljust(512, b"\0") + header() + bytes(1024)
    assert refused(torn, top)


def test_sparse_files_are_refused(top: Path) -> None:
    assert "sparse" in refused(header(type=tarfile.GNUTYPE_SPARSE) + bytes(1024), top)
    fields = {"GNU.sparse.major": "1", "GNU.sparse.realsize": str(1 << 60)}
    assert "sparse" in refused(Archive().add("x", pax_headers=fields).bytes(), top)


@pytest.mark.parametrize("mtime", ["1e400", "nan", "-1", "9" * 18, "1.9999999999999999", "1.5.5", ""])
def test_times_that_are_none(top: Path, mtime: str) -> None:
    unpack(Archive().add("x", pax_headers={"mtime": mtime}).bytes(), top)
    assert (top / "x").exists()


def test_room_keeps_a_reserve(top: Path) -> None:
    directory = os.open(top, os.O_RDONLY)
    status = os.fstatvfs(directory)
    assert room(directory).total <= status.f_bavail * status.f_frsize
    os.close(directory)


_names = st.lists(
    st.sampled_from(["a", "b", "c", "..", ".", "", "/", "\udcff", "é", "x" * 256]), min_size=0, max_size=5
).map("/".join)
_kinds = st.sampled_from([bytes([kind]) for kind in b"0012334567xgLKSDZ\0"])
_Entry = tuple[str, bytes, bytes, str, int, dict[str, str]]
_entries = st.lists(
    st.tuples(
        _names,
        _kinds,
        st.binary(max_size=40),
        _names,
        st.integers(-1, 1 << 12),
        st.dictionaries(
            st.sampled_from(["path", "linkpath", "size", "mtime", "GNU.sparse.map", "uid"]),
            st.one_of(_names, st.integers(-9, 1 << 70).map(str)),
            max_size=2,
        ),
    ),
    max_size=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(entries=_entries, form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]), noise=st.data())
def test_random_archives_never_write_outside(entries: list[_Entry], form: int, noise: st.DataObject) -> None:
    archive = Archive(form)
    for name, kind, content, target, mode, headers in entries:
        fields = {"pax_headers": headers} if form == tarfile.PAX_FORMAT else {}
        try:
            archive.add(name, kind, content, linkname=target, mode=mode & 0o7777, **fields)
        except (UnicodeError, ValueError, tarfile.TarError):
            continue
    data = bytearray(archive.bytes())
    for place in noise.draw(st.lists(st.integers(0, len(data) - 1), max_size=4)):
        data[place] = noise.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as directory:
        top = Path(directory, "inside")
        top.mkdir()
        Path(directory, "a").write_text("outside")
        with_links = os.open(top, os.O_RDONLY)
        try:
            extract(io.BytesIO(bytes(data)), with_links, ROOMY)
        except BoundsError:
            pass
        finally:
            os.close(with_links)
        assert sorted(os.listdir(directory)) == ["a", "inside"]  # noqa: PTH208
        assert Path(directory, "a").read_text() == "outside"
        _only_plain(top)


def _only_plain(top: Path) -> None:
    real = top.resolve()
    for directory, names, files in os.walk(top):
        for name in [*names, *files]:
            path = Path(directory, name)
            mode = path.lstat().st_mode
            assert stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)
            if stat.S_ISLNK(mode):
                with contextlib.suppress(RuntimeError):  # a loop
                    assert path.resolve().is_relative_to(real)
            else:
                assert stat.S_IMODE(mode) & ~0o777 == 0


def unpack_root(data: bytes, top: Path) -> Skipped:
    directory = os.open(top, os.O_RDONLY)
    try:
        return extract_root(io.BytesIO(data), directory, ROOMY)
    finally:
        os.close(directory)


CAPABILITY = "\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"  # cap_net_raw=ep


@pytest.mark.skipif(os.geteuid() != 0, reason="owners are root's to give")
def test_the_root_of_a_machine_keeps_owners_modes_links_and_capabilities(top: Path) -> None:
    archive = Archive().add("bin", tarfile.DIRTYPE, mode=0o2755, gid=8)
    headers = {"SCHILY.xattr.security.capability": CAPABILITY, "SCHILY.xattr.trusted.x": "1"}
    archive.add("bin/ping", content=b"ELF", mode=0o755, pax_headers=headers)
    archive.add("bin/su", content=b"ELF", mode=0o4755, uid=0, gid=100)
    archive.add("bin/sh", tarfile.SYMTYPE, linkname="/etc/../../outside", uid=7)
    archive.add("bin/again", tarfile.LNKTYPE, linkname="bin/su")
    archive.add("null", tarfile.CHRTYPE, mode=0o666)
    skipped = unpack_root(archive.bytes(), top)
    assert skipped.told == ["null (character device)"]
    assert stat.S_IMODE((top / "bin").stat().st_mode) == 0o2755
    assert (top / "bin").stat().st_gid == 8
    assert os.getxattr(top / "bin/ping", "security.capability") == CAPABILITY.encode("latin-1")
    assert os.listxattr(top / "bin/ping") == ["security.capability"]
    su = (top / "bin/su").stat()
    assert (stat.S_IMODE(su.st_mode), su.st_gid, su.st_nlink) == (0o4755, 100, 2)
    assert (top / "bin/sh").readlink() == Path("/etc/../../outside")
    assert (top / "bin/sh").lstat().st_uid == 7


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"uid": 65536}, "has a file of the user or group 65536, and machines have 0 to 65535: f"),
        ({"pax_headers": {"gid": "99999999"}}, "the user or group 99999999"),
        ({"pax_headers": {"uid": "-1"}}, "the uid of an entry is no number"),
        ({"pax_headers": {"uid": "9" * 40}}, "the uid of an entry is no number"),
    ],
)
def test_owners_that_no_machine_has_are_refused(top: Path, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(BoundsError, match=said):
        unpack_root(Archive().add("f", **fields).bytes(), top)


def test_nothing_of_a_root_is_written_through_its_links(top: Path) -> None:
    archive = Archive().add("etc", tarfile.SYMTYPE, linkname=str(top.parent)).add("etc/outside", content=b"x")
    with pytest.raises(BoundsError, match="has something below etc, which is no directory"):
        unpack_root(archive.bytes(), top)
    assert (top.parent / "outside").read_text() == "untouched"
