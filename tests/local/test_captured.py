"""The files that a captured root file system gets from outside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stoneware.errors import MachineError
from stoneware.platforms.local.store.image_files import put_files

pytestmark = [pytest.mark.tool, pytest.mark.skipif(os.geteuid() != 0, reason="owners need root")]


def test_files_are_roots_whatever_was_there(tmp_path: Path) -> None:
    image = tmp_path / "root/usr/lib/stoneware/image"
    image.mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.write_text("kept")
    (image / "env").symlink_to(outside)
    (image / "manifest.json").write_text("old")
    (image / "manifest.json").chmod(0o666)
    put_files(tmp_path / "root", {"manifest.json": b"new", "env": b"A=1\n"})
    assert outside.read_text() == "kept"
    for name, content in {"manifest.json": "new", "env": "A=1\n"}.items():
        assert (image / name).read_text() == content
        status = (image / name).lstat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (0, 0, 0o644)


@pytest.mark.parametrize("part", ["usr", "usr/lib", "usr/lib/stoneware", "usr/lib/stoneware/image"])
def test_a_link_on_the_way_is_not_followed(tmp_path: Path, part: str) -> None:
    outside = tmp_path / "outside"
    (outside / "lib/stoneware/image").mkdir(parents=True)
    place = tmp_path / "root" / part
    place.parent.mkdir(parents=True)
    place.symlink_to(outside)
    with pytest.raises(MachineError, match="not the directory"):
        put_files(tmp_path / "root", {"manifest.json": b"new"})
    assert not list(outside.rglob("manifest.json"))
