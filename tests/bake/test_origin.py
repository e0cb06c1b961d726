from __future__ import annotations

from pathlib import Path

import pytest

from stoneware.bake.git_origin import origin_tags, read_origin
from stoneware.image.manifest import Origin
from stoneware.process import run

pytestmark = pytest.mark.tool


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    context = tmp_path / "image"
    context.mkdir()
    (context / "Machinefile").write_text("FROM debian:12\n")
    (context / ".gitignore").write_text("*.cache\n")
    (tmp_path / "elsewhere").write_text("1")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "first")
    return context


def git(where: Path, *argv: str) -> str:
    return run(["git", *argv], cwd=where).stdout.strip()


def everything(path: str) -> bool:
    return True


def test_outside_git_there_is_no_commit(tmp_path: Path) -> None:
    assert read_origin(tmp_path, everything, ()) == Origin(None, dirty=False)
    assert origin_tags(Origin(None, dirty=False)) == ()


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    head = git(checkout, "rev-parse", "HEAD")
    origin = read_origin(checkout, everything, ())
    assert origin == Origin(head, dirty=False)
    assert origin_tags(origin) == (head, head[:7])


@pytest.mark.parametrize(
    ("path", "dirty"),
    [("image/Machinefile", True), ("image/new file", True), ("elsewhere", False), ("image/x.cache", False)],
)
def test_only_what_the_context_holds_makes_it_dirty(checkout: Path, path: str, dirty: bool) -> None:
    (checkout.parent / path).write_text("changed")
    assert read_origin(checkout, everything, ()).dirty is dirty


def test_what_the_ignore_file_leaves_out_does_not_count(checkout: Path) -> None:
    (checkout / "notes").write_text("x")
    assert not read_origin(checkout, lambda path: path != "notes", ()).dirty


def test_an_ignored_file_counts_when_a_step_copies_it(checkout: Path) -> None:
    (checkout / "x.cache").write_text("x")
    assert read_origin(checkout, everything, ("x.cache",)).dirty


def test_a_dirty_tree_marks_its_tags() -> None:
    assert origin_tags(Origin("a" * 40, dirty=True)) == ("a" * 40 + "-dirty", "aaaaaaa-dirty")
