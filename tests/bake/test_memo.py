"""The memory of a bake that had nothing to do: nothing may change unnoticed."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stoneware.bake import memo
from stoneware.bake.memo import recall
from stoneware.cli import program
from stoneware.process import run
from tests.bake.conftest import Context

pytestmark = pytest.mark.machine

FILES = {
    "Machinefile": "FROM debian:12\nARG WORD\nCOPY a b* link /srv/\nCOPY tree /srv/tree\n",
    "a": "a",
    "b1": "b",
    "tree/deep/file": "c",
    "unused": "d",
}


@pytest.fixture
def words(context: Context, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a bake's words that the program knows to have nothing to do."""
    context.write(FILES)
    (context.path / "real").write_text("x")
    (context.path / "link").symlink_to("real")
    git(context.path, "init", "-q")
    commit(context.path)
    monkeypatch.chdir(context.path)
    monkeypatch.setenv("STONEWARE_HOME", str(context.home))
    monkeypatch.setenv("WORD", "one")
    words = ["bake", "-t", context.name, "--json", "--build-arg", "WORD", "."]
    first = json.loads(context.run(*words)[0])
    # What changed within the last two seconds is not trusted yet, so the first bakes are not remembered.
    deadline = time.monotonic() + 30
    while (known := recall(words)) is None and time.monotonic() < deadline:
        assert json.loads(context.run(*words)[0])["image_id"] == first["image_id"]
    assert known is not None
    assert known["result"]["image_id"] == first["image_id"]
    assert known["result"]["ran"] == 0
    return words


def git(where: Path, *argv: str) -> None:
    run(["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *argv], cwd=where)


def commit(where: Path) -> None:
    git(where, "add", "-A")
    git(where, "commit", "-q", "--allow-empty", "-m", "a commit")


def relink(where: Path) -> None:
    (where / "link").unlink()
    (where / "link").symlink_to("a")


def in_place(where: Path) -> None:
    """Change content and keep length and modification time: the change time still tells."""
    before = (where / "tree/deep/file").stat()
    (where / "tree/deep/file").write_text("C")
    os.utime(where / "tree/deep/file", ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": in_place,
    "mode": lambda where: (where / "a").chmod(0o700),
    "a file that a wildcard finds": lambda where: (where / "b2").write_text("new"),
    "a file below a directory": lambda where: (where / "tree/deep/new").write_text("new"),
    "a link's target": lambda where: (where / "real").write_text("y"),
    "another link": relink,
    "an ignore file": lambda where: (where / ".machineignore").write_text("b1\n"),
    "the Machinefile": lambda where: (where / "Machinefile").write_text("FROM debian:12\n"),
    "a commit": commit,
    "the work tree": lambda where: (where / "unused").write_text("changed"),
}


def test_every_change_is_noticed(context: Context, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert recall([*words, "--label", "x=y"]) is None
    with monkeypatch.context() as changed:
        changed.setenv("WORD", "two")
        assert recall(words) is None
    # Files that have just been put back count as settled here.
    monkeypatch.setattr(memo, "_SETTLING_NS", 0)
    monkeypatch.setattr(sys, "argv", ["stoneware", *words])
    saved = context.path.with_name("saved")
    run(["cp", "-a", context.path, saved])
    for name, change in CHANGES.items():
        assert program.run(words) == 0
        assert recall(words) is not None, f"before: {name}"
        change(context.path)
        assert recall(words) is None, name
        run(["find", context.path, "-mindepth", "1", "-delete"])
        run(["cp", "-a", f"{saved}/.", context.path])


def test_what_goes_from_the_store_is_noticed(context: Context, words: list[str]) -> None:
    left = context.home / "data/builds/bake-left"
    left.mkdir()
    assert recall(words) is None
    left.rmdir()
    assert recall(words) is not None
    context.run("rmi", f"{context.name}:latest")
    assert recall(words) is None
    assert json.loads(context.run(*words)[0])["tags"][0] == f"{context.name}:latest"
    assert recall(words) is not None
    for tag in json.loads(context.run(*words)[0])["tags"]:
        context.run("rmi", tag)
    assert recall(words) is None


def test_few_commands_are_remembered(
    context: Context, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memo, "_KEPT", 1)
    other = [*words, "--progress", "plain"]
    context.run(*other)
    assert recall(words) is not None
    monkeypatch.setattr(sys, "argv", ["stoneware", *other])
    assert program.run(other) == 0
    assert recall(other) is not None
    assert recall(words) is None
