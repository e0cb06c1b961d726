"""Files of a stage in the archive that its builder has packed: the same sources as from a directory."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from stoneware.errors import InputError
from stoneware.machinefile.archive_tree import ArchiveTree
from stoneware.machinefile.archives import write_tar
from stoneware.machinefile.context import resolve_sources
from stoneware.machinefile.recipe import CopyStep

pytestmark = pytest.mark.pure
CAPABILITY = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\xff\xfe\x00\x00"


def _entry(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


MEMBERS = [
    _entry("./opt", type=tarfile.DIRTYPE, mode=0o750, uid=3),
    _entry("./opt/link", type=tarfile.SYMTYPE, linkname="/usr/lib/jvm"),
    _entry(
        "./usr/lib/jvm/java",
        b"program",
        mode=0o4755,
        uid=7,
        gid=70000,
        pax_headers={"SCHILY.xattr.security.capability": CAPABILITY.decode("utf-8", "surrogateescape")},
    ),
    _entry("./usr/lib/jvm/same", type=tarfile.LNKTYPE, linkname="./usr/lib/jvm/java"),
    _entry("./usr/lib/jvm/pipe", type=tarfile.FIFOTYPE),
    _entry("./usr/lib/jvm/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
]


def _packed(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return path


def _copied(tree: ArchiveTree, *sources: str, **fields: Any) -> list[tuple[str, str, int, int, int]]:
    step = CopyStep(1, "s", 1, "COPY", sources=sources, from_stage="x", **fields)
    return [
        (entry.name, entry.kind, entry.mode, entry.uid, entry.gid)
        for source in resolve_sources(step, tree, location="Machinefile:3")
        for entry in source.entries
    ]


def test_links_are_followed_inside_and_owners_kept(tmp_path: Path) -> None:
    tree = ArchiveTree(_packed(tmp_path / "a.tar", MEMBERS), "the stage x")
    everything = [
        ("java", "file", 0o4755, 7, 70000),
        ("null", "character", 0o644, 0, 0),
        ("pipe", "fifo", 0o644, 0, 0),
        ("same", "file", 0o4755, 7, 70000),
    ]
    assert _copied(tree, "/opt/link") == everything
    assert _copied(tree, "/opt/link/j*") == everything[:1]
    assert _copied(tree, "/opt/link/same")[0][0] == "same"
    assert ("opt", "directory", 0o750, 3, 0) in _copied(tree, "/opt/link", parents=True)
    with pytest.raises(InputError, match="is not in stage x") as missing:
        _copied(tree, "/usr/lib/jvm/jav")
    assert missing.value.location == "Machinefile:3"
    assert "Did you mean" in missing.value.resolution


def test_contents_attributes_and_links_arrive(tmp_path: Path) -> None:
    tree = ArchiveTree(_packed(tmp_path / "a.tar", MEMBERS), "the stage x")
    step = CopyStep(1, "s", 1, "COPY", sources=("/usr/lib/jvm",), from_stage="x")
    (source,) = resolve_sources(step, tree)
    with (tmp_path / "out.tar").open("w+b") as stream:
        write_tar(source.entries, stream)
        stream.seek(0)
        with tarfile.open(fileobj=stream, errors="surrogateescape") as archive:
            java, same, null = (archive.getmember(name) for name in ("java", "same", "null"))
            read = archive.extractfile("java")
            assert read is not None
            assert read.read() == b"program"
    value = java.pax_headers["SCHILY.xattr.security.capability"]
    assert value.encode("utf-8", "surrogateescape") == CAPABILITY
    assert (same.type, same.linkname) == (tarfile.LNKTYPE, "java")
    assert os.makedev(null.devmajor, null.devminor) == os.makedev(1, 3)


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([_entry("../etc/passwd", b"x")], "outside of itself"),
        ([_entry("/etc/passwd", b"x")], "outside of itself"),
        ([_entry("a", type=tarfile.LNKTYPE, linkname="../../etc/shadow")], "outside of itself"),
        ([_entry("a", type=tarfile.LNKTYPE, linkname="b")], "hard link"),
        ([_entry("a", type=b"Z")], "unknown kind"),
        ([_entry("/".join("d" * 600), b"")], "directories deep"),
    ],
)
def test_what_a_builder_may_not_pack(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]], why: str
) -> None:
    with pytest.raises(InputError, match="the files of the stage x cannot be read") as refused:
        ArchiveTree(_packed(tmp_path / "a.tar", members), "the stage x")
    assert why in refused.value.details


def test_a_link_leads_nowhere_outside(tmp_path: Path) -> None:
    members = [_entry("up", type=tarfile.SYMTYPE, linkname="../../../../etc"), _entry("etc/here", b"x")]
    tree = ArchiveTree(_packed(tmp_path / "a.tar", members), "the stage x")
    assert [each[0] for each in _copied(tree, "/up")] == ["here"]
    loop = [_entry("a", type=tarfile.SYMTYPE, linkname="b"), _entry("b", type=tarfile.SYMTYPE, linkname="a")]
    with pytest.raises(InputError, match="cannot be read"):
        _copied(ArchiveTree(_packed(tmp_path / "b.tar", loop), "the stage x"), "/a")


def test_a_torn_archive_is_told(tmp_path: Path) -> None:
    whole = _packed(tmp_path / "a.tar", MEMBERS).read_bytes()
    (tmp_path / "torn.tar").write_bytes(whole[:2600])
    with pytest.raises(InputError, match="the files of the stage x cannot be read"):
        ArchiveTree(tmp_path / "torn.tar", "the stage x")
