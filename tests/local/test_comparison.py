"""What differs between two roots, and what is the same on both."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from stoneware.platforms.local.disks.comparison import differences, equal, unchanged

pytestmark = pytest.mark.pure


@pytest.fixture
def one(tmp_path: Path) -> Path:
    root = tmp_path / "one"
    (root / "etc/deep").mkdir(parents=True)
    (root / "etc/name").write_text("a")
    (root / "etc/deep/file").write_text("b")
    return root


@pytest.fixture
def other(one: Path, tmp_path: Path) -> Path:
    """The same files: each is a second name of the same inode, as in snapshots of one lineage."""
    root = tmp_path / "other"
    shutil.copytree(one, root, copy_function=os.link)
    return root


def told(one: Path, other: Path, below: str = "") -> dict[str, tuple[bool, bool]]:
    """Return on which sides the paths are that differ, without directories, which are copies here."""
    return {
        each.path: (each.before is not None, each.after is not None)
        for each in differences(one, other, below)
        if not (one / each.path).is_dir() or not (other / each.path).is_dir()
    }


def test_files_with_the_same_inode_do_not_differ(one: Path, other: Path) -> None:
    assert told(one, other) == {}
    assert [each.path for each in differences(one, one)] == []


def test_what_was_added_removed_and_replaced_is_told(one: Path, other: Path) -> None:
    (other / "etc/name").unlink()
    (other / "etc/name").write_text("a")  # the same text in another inode
    (one / "etc/gone").write_text("")
    (other / "new").mkdir()
    (other / "new/inside").write_text("")
    assert told(one, other) == {"etc/gone": (True, False), "etc/name": (True, True), "new": (False, True)}
    assert told(one, other, "etc") == {"etc/gone": (True, False), "etc/name": (True, True)}


def test_a_directory_in_the_place_of_a_file_is_not_entered(one: Path, other: Path) -> None:
    (other / "etc/name").unlink()
    (other / "etc/name").mkdir()
    (other / "etc/name/inside").write_text("")
    assert told(one, other) == {"etc/name": (True, True)}


def test_the_root_itself_is_compared(one: Path, other: Path) -> None:
    assert "" in {each.path for each in differences(one, other)}
    assert "" not in {each.path for each in differences(one, other, "etc")}


def test_any_change_of_an_inode_is_one(one: Path) -> None:
    before = one.lstat()
    assert unchanged(before, one.lstat())
    one.chmod(0o711)
    assert not unchanged(before, one.lstat())


def test_equal_files_have_the_same_content_mode_and_attributes(one: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(one, root)
    assert equal(one, root, "etc/name")
    assert equal(one, root, "etc")
    (root / "etc/name").write_text("b")  # as long as the other
    assert not equal(one, root, "etc/name")
    (root / "etc/name").write_text("a")
    (root / "etc/name").chmod(0o600)
    assert not equal(one, root, "etc/name")
    (root / "etc/name").chmod((one / "etc/name").stat().st_mode)
    os.setxattr(root / "etc/name", "user.a", b"1")
    assert not equal(one, root, "etc/name")
    os.setxattr(one / "etc/name", "user.a", b"1")
    assert equal(one, root, "etc/name")


def test_large_files_are_compared_to_their_end(one: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    root.mkdir()
    (one / "large").write_bytes(bytes((1 << 20) + 1))
    (root / "large").write_bytes(bytes(1 << 20) + b"x")
    assert not equal(one, root, "large")
    (root / "large").write_bytes(bytes((1 << 20) + 1))
    assert equal(one, root, "large")


def test_links_are_equal_by_where_they_lead_and_are_not_followed(one: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    root.mkdir()
    for place, target in ((one, "none"), (root, "none")):
        (place / "link").symlink_to(target)
    assert equal(one, root, "link")
    (root / "link").unlink()
    (root / "link").symlink_to("other")
    assert not equal(one, root, "link")
    (root / "link").unlink()
    (root / "link").write_text("none")
    assert not equal(one, root, "link")


def test_what_is_opened_is_never_waited_for(one: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    root.mkdir()
    os.mkfifo(one / "fifo")
    os.mkfifo(root / "fifo")
    assert equal(one, root, "fifo")
    with pytest.raises(FileNotFoundError):
        equal(one, root, "etc/name")
