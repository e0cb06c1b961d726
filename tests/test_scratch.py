"""Directories that the next command removes where a kill left them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stoneware import scratch
from stoneware.scratch import remove_left, scratch_directory

KILLED = """
import os, signal, sys
from pathlib import Path
from stoneware.scratch import scratch_directory
with scratch_directory("kind-", Path(sys.argv[1])) as path:
    (path / "sub").mkdir()
    (path / "sub/file").write_text("x")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_directory_is_ours_alone_and_goes(tmp_path: Path) -> None:
    with scratch_directory("kind-", tmp_path) as path:
        assert path.parent == tmp_path
        assert path.stat().st_mode & 0o777 == 0o700
        (path / "file").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_it_goes_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="why"), scratch_directory("kind-", tmp_path):
        raise ValueError("why")
    assert list(tmp_path.iterdir()) == []


def test_what_a_kill_has_left_goes_with_the_next(tmp_path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False).returncode == -9
    (left,) = tmp_path.iterdir()
    assert (left / "sub/file").exists()
    with scratch_directory("other-", tmp_path):
        assert left.exists(), "another kind"
    with scratch_directory("kind-", tmp_path) as path:
        assert list(tmp_path.iterdir()) == [path]


def test_what_somebody_uses_stays(tmp_path: Path) -> None:
    with scratch_directory("kind-", tmp_path) as one, scratch_directory("kind-", tmp_path) as other:
        assert one.exists()
        assert other.exists()


def test_links_files_and_what_is_another_users_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "kind-link").symlink_to("target")
    (tmp_path / "kind-file").write_text("x")
    (tmp_path / "kind-theirs").mkdir()
    with monkeypatch.context() as patched:
        patched.setattr("os.geteuid", lambda: 12345)
        remove_left(tmp_path, "kind-")
    assert {path.name for path in tmp_path.iterdir()} == {"target", "kind-link", "kind-file", "kind-theirs"}
    remove_left(tmp_path, "kind-")
    assert {path.name for path in tmp_path.iterdir()} == {"target", "kind-link", "kind-file"}


def test_one_that_is_taken_for_left_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = scratch._opened
    taken: list[Path] = []

    def open_late(path: Path) -> int | None:
        found = opened(path)
        if not taken:
            taken.append(path)
            path.rmdir()
        return found

    monkeypatch.setattr(scratch, "_opened", open_late)
    with scratch_directory("kind-", tmp_path) as path:
        assert path != taken[0]
        assert path.is_dir()


def test_a_way_to_remove_is_taken(tmp_path: Path) -> None:
    (tmp_path / "kind-1").mkdir()
    seen: list[Path] = []
    remove_left(tmp_path, "kind-", seen.append)
    assert seen == [tmp_path / "kind-1"]
