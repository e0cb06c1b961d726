"""Listing a directory by looking at all of it, and one whose changes are told: without btrfs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stoneware.platforms.local.lists import entries, hashes, sealing
from stoneware.platforms.local.lists.changes import OddError

pytestmark = pytest.mark.pure

IMAGE = "usr/lib/stoneware/image"
MKDIR, RENAME, UNLINK, CHMOD, UTIMES = 4, 9, 11, 18, 20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    top = tmp_path / "rootfs"
    for directory in (IMAGE, "etc/inner", "run/lock"):
        (top / directory).mkdir(parents=True)
    (top / "etc/one").write_text("one")
    (top / "etc/inner/two").write_text("two")
    (top / "etc/link").symlink_to("one")
    (top / "run/lock/x").write_text("")
    return top


def with_lists(root: Path) -> None:
    """Let an image have its lists, as its seal has written them."""
    found = entries.walk(root)
    files = [
        line.replace(b"?", hashlib.sha256((root / path.decode()[1:]).read_bytes()).hexdigest().encode(), 1)
        if line.startswith(b"?")
        else line
        for path, line in zip(found.paths, found.files, strict=True)
    ]
    (root / IMAGE / "files.tsv").write_bytes(b"\n".join([*files, b""]))
    (root / IMAGE / "files.inodes").write_bytes(b"\n".join([*found.inodes, b""]))


def columns(found: entries.FileList) -> dict[str, list[str]]:
    lines = zip(found.paths, found.files, strict=True)
    return {path.decode(): line.decode().split("\t") for path, line in lines}


def test_a_walk_finds_each_name_with_its_kind(root: Path) -> None:
    found = columns(entries.walk(root))
    assert list(found)[:5] == ["/", "/etc", "/etc/inner", "/etc/inner/two", "/etc/link"]
    assert found["/etc/link"][1] == "l"
    assert found["/etc/link"][-1] == "one"
    assert found["/etc/one"][0] == "?"
    assert "/run/lock/x" in found, "what no list shows is known all the same: it may move"


def test_a_walk_takes_over_the_digests_of_files_that_are_the_same(root: Path) -> None:
    with_lists(root)
    before = columns(entries.walk(root))
    assert before["/etc/one"][0] == hashlib.sha256(b"one").hexdigest()
    (root / "etc/one").write_text("two")
    after = columns(entries.walk(root))
    assert after["/etc/one"][0] == "?"
    assert after["/etc/inner/two"][0] == hashlib.sha256(b"two").hexdigest()


@pytest.mark.parametrize("text", [b"", b"no digest\tf\t644\n" * 9, b"\xff" * 99])
def test_lists_that_say_nothing_give_no_digest(root: Path, text: bytes) -> None:
    with_lists(root)
    (root / IMAGE / "files.tsv").write_bytes(text)
    assert columns(entries.walk(root))["/etc/one"][0] == "?"


def test_a_link_in_the_place_of_the_lists_is_not_followed(root: Path, tmp_path: Path) -> None:
    with_lists(root)
    (root / IMAGE).rename(tmp_path / "elsewhere")
    (root / IMAGE).symlink_to(tmp_path / "elsewhere")
    assert columns(entries.walk(root))["/etc/one"][0] == "?"


def test_the_list_of_what_does_not_change_is_made_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = entries.known_list(root)
    with monkeypatch.context() as patch:
        patch.setattr(entries, "walk", None)
        assert entries.known_list(root) == first
    kept = root.parent / "files.list"
    kept.write_bytes(kept.read_bytes().replace(b"/etc/one", b"/etc/two", 1))
    assert entries.known_list(root) == first, "a list that was changed is made again"
    assert entries.known_list(root) == first


def test_what_is_told_is_looked_at_and_the_rest_is_taken_over(root: Path) -> None:
    with_lists(root)
    known = entries.known_list(root)
    (root / "etc/one").chmod(0o600)
    (root / "etc/inner").rename(root / "etc/moved")
    (root / "etc/new").mkdir()
    told = [(CHMOD, b"etc/one", b""), (RENAME, b"etc/inner", b"etc/moved"), (MKDIR, b"etc/new", b"")]
    found = columns(sealing.list_changed(known, [*told, (UTIMES, b"etc", b"")], root))
    wanted = columns(entries.walk(root))
    shown = {path: line for path, line in wanted.items() if not path.startswith("/run")}
    assert {path: line[1:] for path, line in found.items()} == {
        path: line[1:] for path, line in shown.items()
    }
    assert found["/etc/moved/two"][0] == hashlib.sha256(b"two").hexdigest()


def test_what_was_told_wrongly_is_odd(root: Path) -> None:
    known = entries.known_list(root)
    with pytest.raises(FileNotFoundError):
        sealing.list_changed(known, [(MKDIR, b"etc/new", b"")], root)
    (root / "etc/new").write_text("a file")
    with pytest.raises(OddError, match="not what was told"):
        sealing.list_changed(known, [(MKDIR, b"etc/new", b"")], root)


def test_a_link_where_a_directory_is_told_leads_nowhere(root: Path, tmp_path: Path) -> None:
    known = entries.known_list(root)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "two").write_text("not of the image")
    (root / "etc/inner/two").unlink()
    (root / "etc/inner").rmdir()
    (root / "etc/inner").symlink_to(outside)
    with pytest.raises(OSError, match="directory"):
        sealing.list_changed(known, [(CHMOD, b"etc/inner/two", b"")], root)


def test_a_tree_with_too_many_names_is_odd(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "_MOST", 5)
    with pytest.raises(OddError, match="more than 5"):
        entries.walk(root)


def test_the_seconds_of_an_old_change_are_those_of_its_file(root: Path) -> None:
    found = entries.walk(root)
    number = found.paths.index(b"/etc/one")
    status = (root / "etc/one").stat()
    assert found.inodes[number] == b"%d\t%d.%09d0" % (status.st_ino, *divmod(status.st_ctime_ns, 10**9))
    assert entries.changed_at(found.inodes[number]) == int(status.st_ctime)
    assert found.latest <= time.time()
    assert os.path.samestat(status, (root / "etc/link").stat())


def test_files_are_hashed_up_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("a", 5), ("b", 6), ("c", 3)):
        (tmp_path / name).write_bytes(b"x" * size)
    (tmp_path / "link").symlink_to("a")
    monkeypatch.setattr(hashes, "MOST_BYTES", 9)
    found = hashes.hashed(entries.walk(tmp_path), tmp_path)
    digests = dict(zip(found.paths, (line.partition(b"\t")[0] for line in found.files), strict=True))
    five, three = (hashlib.sha256(b"x" * size).hexdigest().encode() for size in (5, 3))
    assert digests == {b"/": b"-", b"/a": five, b"/b": b"?", b"/c": three, b"/link": b"-"}
    assert dict(zip(found.paths, found.letters, strict=True)) == {
        b"/": "",
        b"/a": "cm",
        b"/b": "cmu",
        b"/c": "cm",
        b"/link": "",
    }


def test_a_file_that_is_not_what_was_listed_is_not_hashed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    listed = entries.walk(tmp_path)
    (tmp_path / "a").write_bytes(b"1234567")
    with pytest.raises(OddError, match="not what was listed"):
        hashes.hashed(listed, tmp_path)
    (tmp_path / "a").unlink()
    (tmp_path / "a").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic links"):
        hashes.hashed(listed, tmp_path)


_ENDING = """
import sys, threading
from pathlib import Path
from stoneware.platforms.local.lists import entries, hashes
from stoneware.platforms.local.lists.changes import OddError
found = entries.walk(Path(sys.argv[1]))
def hash():
    threading.main_thread().join()
    try:
        hashes.hashed(found, Path(sys.argv[1]))
    except OddError as error:
        print(error)
threading.Thread(target=hash).start()
"""


def test_a_command_that_ends_does_not_wait_for_digests(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    words = [sys.executable, "-c", _ENDING, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("the command ends\n", "")
