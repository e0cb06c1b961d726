"""Removing trees that somebody else has shaped: deep, wide, oddly named, full of links."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoneware.untrusted import removal

DEPTH = 3000


@pytest.fixture
def top(tmp_path: Path) -> Path:
    path = tmp_path / "top"
    path.mkdir()
    return path


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 8, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def dig(top: Path, depth: int, name: str = "d") -> None:
    here = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        inner = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.close(here)


def test_no_depth_stops_it(top: Path, few_descriptors: None) -> None:
    assert sys.getrecursionlimit() < DEPTH
    dig(top, DEPTH, "directory")
    (top / "directory" / "beside").mkdir()
    removal.remove_tree(top)
    assert not top.exists()


def test_many_directories_beside_each_other(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "_MANY", 3)
    for number in range(10):
        (top / f"{number}/inner").mkdir(parents=True)
        (top / f"{number}/file").touch()
    removal.remove_tree(top)
    assert not top.exists()


def test_names_and_kinds_do_not_matter(top: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    directory = os.open(top, os.O_RDONLY)
    for name in (b"a\nb", b"\xff\xfe", b"-rf", b"n" * 255, b"\x1b[2J"):
        os.mkdir(name, dir_fd=directory)
        os.symlink(outside, name + b"l" if len(name) < 255 else b"m", dir_fd=directory)
    os.close(directory)
    os.mkfifo(top / "fifo")
    (top / "hard").hardlink_to(outside / "kept")
    (top / "locked").mkdir(mode=0)
    removal.remove_tree(top)
    assert not top.exists()
    assert (outside / "kept").read_text() == "kept"


def test_a_link_a_file_and_nothing(tmp_path: Path, top: Path) -> None:
    (tmp_path / "link").symlink_to(top)
    (tmp_path / "file").touch()
    for name in ("link", "file", "none", "none/below"):
        removal.remove_tree(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["top"]


def test_what_is_on_another_device_is_for_the_caller(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount below is never emptied; a subvolume, which has a device of its own, goes to the callback."""
    inside = top / "a/mounted"
    inside.mkdir(parents=True)
    (inside / "kept").touch()
    number = inside.stat().st_ino
    real = os.fstat

    def elsewhere(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        if found.st_ino != number:
            return found
        return os.stat_result([*found[:2], 4711, *found[3:]])

    monkeypatch.setattr(os, "fstat", elsewhere)
    with pytest.raises(OSError, match="mounted"):
        removal.remove_tree(top)
    assert (inside / "kept").exists()
    seen: list[str] = []

    def special(directory: int, name: str) -> None:
        seen.append(name)
        os.unlink(f"{name}/kept", dir_fd=directory)
        os.rmdir(name, dir_fd=directory)

    removal.remove_tree(top, mounted=special)
    assert seen == ["mounted"]
    assert not top.exists()


def test_a_directory_that_is_moved_meanwhile_is_noticed(
    top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (top / "a/b").mkdir(parents=True)
    other = tmp_path / "other"
    (other / "precious").mkdir(parents=True)
    real = removal._clear
    moved = False

    def clear(directory: int) -> list[str]:
        nonlocal moved
        found = real(directory)
        if not found and not moved:
            moved = True
            (top / "a/b").rename(other / "b")
        return found

    monkeypatch.setattr(removal, "_clear", clear)
    with pytest.raises(OSError, match="moved"):
        removal.remove_tree(top)
    assert (other / "precious").exists()
