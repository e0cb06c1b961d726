"""Programs that outlive a command, or run as somebody else, get none of the files it was started with."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoneware.bake import git_worktree
from stoneware.platforms.local.machines import start


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[Path]:
    """A file that this process has open as flock(1) opens it for the command that it runs."""
    path = tmp_path / "lock"
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR)
    os.set_inheritable(descriptor, True)
    yield path
    os.close(descriptor)


_LIST = "for fd in /proc/$$/fd/*; do readlink $fd; done; true"


def test_a_machine_gets_none(lock: Path, tmp_path: Path) -> None:
    assert (
        str(lock)
        in subprocess.run(
            ["sh", "-c", _LIST], capture_output=True, text=True, check=True, close_fds=False
        ).stdout.splitlines()
    )
    log = tmp_path / "log"
    with log.open("ab") as stream:
        start._spawn(["sh", "-c", _LIST], stream.fileno())
    assert log.read_text().splitlines()[:3] == ["/dev/null", str(log), str(log)]
    assert str(lock) not in log.read_text()


def test_git_gets_none(lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = tmp_path / "git"
    git.write_text(f"#!/bin/sh\n{_LIST}\n")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    answer = git_worktree.Asked(str(tmp_path)).answer().splitlines()
    assert answer[0] == "/dev/null"
    assert str(lock) not in answer
