"""Reading what btrfs says has changed, and following it in a tree of names."""

from __future__ import annotations

import os
import stat
import struct
from itertools import pairwise

import pytest

from stoneware.platforms.local.lists import entries, sealing
from stoneware.platforms.local.lists.changes import MOST_COMMANDS, Change, OddError, parse
from stoneware.platforms.local.lists.entries import FileList, row_of
from stoneware.platforms.local.lists.followed_tree import FollowedTree, Wanted

pytestmark = pytest.mark.pure

FILE, MKDIR, RENAME, LINK, UNLINK, RMDIR, CHMOD, UTIMES = 3, 4, 9, 10, 11, 12, 18, 20
HEAD = struct.pack("<13sI", b"btrfs-stream\0", 1)


def command(kind: int, *values: tuple[int, bytes]) -> bytes:
    body = b"".join(struct.pack("<HH", name, len(value)) + value for name, value in values)
    return struct.pack("<IHI", len(body), kind, 0) + body


SNAPSHOT = command(2, (15, b"rootfs"), (1, bytes(16)))
END = command(21)


def test_commands_are_read_with_their_paths() -> None:
    stream = HEAD + SNAPSHOT + command(4, (15, b"o1-2-0"), (3, bytes(8)))
    stream += command(9, (15, b"o1-2-0"), (16, b"etc/new")) + command(10, (15, b"a"), (17, b"b")) + END
    assert list(parse(stream + bytes(50))) == [
        (MKDIR, b"o1-2-0", b""),
        (RENAME, b"o1-2-0", b"etc/new"),
        (LINK, b"a", b"b"),
    ]


STREAMS = {
    "ends early": HEAD + SNAPSHOT,
    "not a stream": b"tar" + bytes(30),
    "of version 1": struct.pack("<13sI", b"btrfs-stream\0", 2) + SNAPSHOT + END,
    "command 1 ": HEAD + command(1, (15, b"rootfs")) + END,
    "command 4 is": HEAD + command(4, (15, b"x")) + END,  # before it is said of what
    "command 23": HEAD + SNAPSHOT + command(23, (15, b"x")) + END,
    "command 2 ": HEAD + SNAPSHOT + SNAPSHOT + END,
    "has no path": HEAD + SNAPSHOT + command(18, (5, bytes(8))) + END,
    "longer than the stream": HEAD + SNAPSHOT + struct.pack("<IHIQ", 99, 18, 0, 0),
    "longer than its command": HEAD + SNAPSHOT + struct.pack("<IHIHH2s", 6, 18, 0, 15, 9, b"ab"),
    "the stream ends": HEAD + SNAPSHOT + struct.pack("<IHI", 3, 18, 0) + bytes(3) + END,
}


@pytest.mark.parametrize(("why", "stream"), STREAMS.items(), ids=STREAMS)
def test_anything_else_is_odd(why: str, stream: bytes) -> None:
    with pytest.raises(OddError, match=why if why != "not a stream" else "stream of version"):
        list(parse(stream))


def test_a_stream_without_an_end_in_sight_is_odd() -> None:
    with pytest.raises(OddError, match="too many"):
        list(parse(HEAD + SNAPSHOT + command(20, (15, b"")) * MOST_COMMANDS + END))


# -- the tree -----------------------------------------------------------------------------------------

IMAGE = "usr/lib/stoneware/image"
LISTS = (f"{IMAGE}/files.tsv", f"{IMAGE}/files.inodes")
DIRECTORIES = ("", "a", "a/b", "a/b/c", "tmp", "usr", "usr/lib", "usr/lib/stoneware", IMAGE)


def known_of(*files: str, linked: tuple[str, ...] = ()) -> FileList:
    """Return a list of files and directories, each with an inode of its own, but those that are one file."""
    rows = []
    for number, name in enumerate((*DIRECTORIES, *files, *LISTS, *linked)):
        kind = stat.S_IFDIR if name in DIRECTORIES else stat.S_IFREG
        inode = 999 if name in linked else 300 + number
        path = b"/" + name.encode()
        rows.append(row_of(path, status(kind | 0o755, inode=inode, links=1 + (name in linked)), b"", {}))
    return entries.listed(rows, 7)


def status(mode: int, *, inode: int = 300, links: int = 1, size: int = 0, at: int = 5) -> os.stat_result:
    plain = (mode, inode, 0, links, 0, 0, size, 0, 0, at)
    return os.stat_result(plain, {"st_ctime_ns": at * 10**9})


def followed(known: FileList, *told: Change) -> tuple[set[str], dict[str, dict[str, bool]]]:
    """Return what is kept, and what is looked at in which directory."""
    tree = FollowedTree(known)
    for change in told:
        tree.follow(*change)
    tree.check_own_lists()
    marks, wanted = tree.sort_out()
    kept = {path.decode() for path, mark in zip(known.paths, marks, strict=True) if mark}
    found: dict[str, dict[str, bool]] = {}
    for place in wanted:
        found.setdefault(place.directory.decode(), {}).update(_text(place))
    return kept, found


def looked_at(wanted: dict[str, dict[str, bool]]) -> set[str]:
    return {
        above if name == "." else f"{above.rstrip('/')}/{name}" for above in wanted for name in wanted[above]
    }


def _text(place: Wanted) -> dict[str, bool]:
    return {name.decode(): inside for name, inside in place.names.items()}


KNOWN = known_of("a/one", "a/b/two", "a/b/c/three", "a-b", "tmp/x")
SHOWN = {path.decode() for path in KNOWN.paths if path != b"/tmp" and not path.startswith(b"/tmp/")}


def test_a_tree_of_which_nothing_is_told_is_kept_but_what_is_never_listed() -> None:
    assert followed(KNOWN) == (SHOWN, {})


def test_a_directory_that_moves_is_looked_at_with_all_in_it() -> None:
    told = [(RENAME, b"a/b", b"d"), (UTIMES, b"d", b""), (UTIMES, b"a", b""), (UTIMES, b"", b"")]
    kept, wanted = followed(KNOWN, *told)
    assert kept == SHOWN - {"/", "/a", "/a/b", "/a/b/two", "/a/b/c", "/a/b/c/three"}
    assert wanted["/d"] == {"two": False, "c": True}
    assert wanted["/d/c"] == {"three": False}
    assert looked_at(wanted) == {"/", "/a", "/d", "/d/two", "/d/c", "/d/c/three"}


def test_what_has_a_change_told_is_looked_at_and_nothing_beside_it() -> None:
    kept, wanted = followed(KNOWN, (CHMOD, b"a/b/c/three", b""), (UTIMES, b"a/b/c/three", b""))
    assert kept == SHOWN - {"/a/b/c/three"}
    assert wanted == {"/a/b/c": {"three": False}}


def test_what_goes_away_is_neither_kept_nor_looked_at() -> None:
    kept, wanted = followed(KNOWN, (UNLINK, b"a/b/c/three", b""), (RMDIR, b"a/b/c", b""))
    assert kept == SHOWN - {"/a/b/c/three", "/a/b/c"}
    assert wanted == {}


def test_what_is_made_is_looked_at_where_it_is_in_the_end() -> None:
    made = [(MKDIR, b"o1-2-0", b""), (RENAME, b"o1-2-0", b"a/new"), (FILE, b"a/new/f", b"")]
    kept, wanted = followed(KNOWN, *made, (LINK, b"g", b"a/new/f"))
    assert kept == SHOWN
    assert wanted == {"/a": {"new": True}, "/a/new": {"f": False}, "/": {"g": False}}


def test_a_file_that_changes_under_one_name_is_looked_at_under_all() -> None:
    known = known_of("x", linked=("a/one", "a/b/c/other"))
    kept, wanted = followed(known, (CHMOD, b"a/one", b""))
    assert {"/a/one", "/a/b/c/other"}.isdisjoint(kept)
    assert "/x" in kept
    assert wanted == {"/a": {"one": False}, "/a/b/c": {"other": False}}
    kept, wanted = followed(known, (UNLINK, b"a/one", b""))
    assert {"/a/one", "/a/b/c/other"}.isdisjoint(kept)
    assert wanted == {"/a/b/c": {"other": False}}


def test_what_moves_there_and_back_is_looked_at_itself_only() -> None:
    kept, wanted = followed(KNOWN, (RENAME, b"a/b", b"o1-1-0"), (RENAME, b"o1-1-0", b"a/b"))
    assert kept == SHOWN - {"/a/b"}
    assert wanted == {"/a": {"b": True}}


def test_what_comes_out_of_a_hidden_directory_is_looked_at() -> None:
    kept, wanted = followed(KNOWN, (RENAME, b"tmp/x", b"x"), (RENAME, b"a/b", b"tmp/b"))
    assert wanted == {"/": {"x": False}}
    assert kept == {path for path in SHOWN if not path.startswith("/a/b")}


IMPOSSIBLE: list[Change] = [
    (FILE, b"a/one", b""),  # is there
    (FILE, b"nowhere/x", b""),
    (FILE, b"a/one/x", b""),  # below a file
    (FILE, b"", b""),
    (FILE, b"a//x", b""),
    (MKDIR, b"a", b""),
    (RENAME, b"none", b"x"),
    (RENAME, b"a/one", b"a/b/two"),
    (LINK, b"x", b"none"),
    (LINK, b"x", b"a/b"),
    (UNLINK, b"a/b", b""),
    (UNLINK, b"none", b""),
    (RMDIR, b"a/b", b""),  # with something in it
    (RMDIR, b"a/one", b""),
    (CHMOD, b"none", b""),
    (UTIMES, b"a/one/x", b""),
]


@pytest.mark.parametrize("change", IMPOSSIBLE, ids=str)
def test_what_cannot_be_is_odd(change: Change) -> None:
    with pytest.raises(OddError, match="cannot be followed"):
        FollowedTree(KNOWN).follow(*change)


OWN: list[list[Change]] = [
    [(CHMOD, LISTS[0].encode(), b"")],
    [(UNLINK, LISTS[1].encode(), b"")],
    [(RENAME, LISTS[0].encode(), b"x")],
    [(RENAME, b"usr/lib", b"lib")],
    [(UNLINK, LISTS[0].encode(), b""), (FILE, LISTS[0].encode(), b"")],
]


@pytest.mark.parametrize("told", OWN, ids=str)
def test_other_lists_in_the_machine_than_in_its_parent_are_odd(told: list[Change]) -> None:
    with pytest.raises(OddError, match="has changed the lists"):
        followed(KNOWN, *told)


# -- lines --------------------------------------------------------------------------------------------

DIGEST = b"d" * 64
OWN_FILE = f"/{IMAGE}/env".encode()
CASES = {
    "a file": (b"/srv/f", stat.S_IFREG | 0o644, 7, b"?\tf\t644\t0\t0\t7\t/srv/f\t", "cmu"),
    "an empty one": (b"/srv/f", stat.S_IFREG | 0o640, 0, b"?\tf\t640\t0\t0\t0\t/srv/f\t", "cu"),
    "the largest searched": (b"/f", stat.S_IFREG, 1 << 20, b"?\tf\t0\t0\t0\t1048576\t/f\t", "cmu"),
    "a larger one": (b"/f", stat.S_IFREG, (1 << 20) + 1, b"?\tf\t0\t0\t0\t1048577\t/f\t", "cu"),
    "setuid": (b"/f", stat.S_IFREG | 0o4755, 0, b"?\tf\t4755\t0\t0\t0\t/f\t", "scu"),
    "setgid": (b"/f", stat.S_IFREG | 0o2755, 0, b"?\tf\t2755\t0\t0\t0\t/f\t", "scu"),
    "setgid and sticky": (b"/f", stat.S_IFREG | 0o3755, 0, b"?\tf\t3755\t0\t0\t0\t/f\t", "cu"),
    "sticky": (b"/f", stat.S_IFREG | 0o1755, 0, b"?\tf\t1755\t0\t0\t0\t/f\t", "cu"),
    "writable": (b"/f", stat.S_IFREG | 0o646, 0, b"?\tf\t646\t0\t0\t0\t/f\t", "wcu"),
    "a log": (b"/var/log/x", stat.S_IFREG | 0o644, 1, b"?\tf\t644\t0\t0\t1\t/var/log/x\t", "lcmu"),
    "an empty log": (b"/var/log/x", stat.S_IFREG | 0o644, 0, b"?\tf\t644\t0\t0\t0\t/var/log/x\t", "cu"),
    "a temporary file": (b"/var/tmp/x", stat.S_IFREG | 0o644, 0, b"?\tf\t644\t0\t0\t0\t/var/tmp/x\t", "tcu"),
    "residue": (b"/etc/.x.stoneware", stat.S_IFREG, 0, b"?\tf\t0\t0\t0\t0\t/etc/.x.stoneware\t", "rcu"),
    "no residue": (b"/etc/.x.stoneware/y", stat.S_IFREG, 0, b"?\tf\t0\t0\t0\t0\t/etc/.x.stoneware/y\t", "cu"),
    "a directory for all": (b"/d", stat.S_IFDIR | 0o777, 9, b"-\td\t777\t0\t0\t-\t/d\t", "w"),
    "a sticky one": (b"/d", stat.S_IFDIR | 0o1777, 9, b"-\td\t1777\t0\t0\t-\t/d\t", ""),
    "a FIFO": (b"/p", stat.S_IFIFO | 0o666, 9, b"-\tp\t666\t0\t0\t-\t/p\t", ""),
    "its own": (OWN_FILE, stat.S_IFREG, 0, b"?\tf\t0\t0\t0\t0\t" + OWN_FILE + b"\t", "xcu"),
}


@pytest.mark.parametrize(("path", "mode", "size", "line", "letters"), CASES.values(), ids=CASES)
def test_a_line_and_its_findings(path: bytes, mode: int, size: int, line: bytes, letters: str) -> None:
    row = row_of(path, status(mode, size=size), b"", {})
    assert row == (path, line, b"300\t5.0000000000", letters)


def test_a_digest_is_that_of_the_same_inode_and_time() -> None:
    known = {b"300\t5.0000000000": DIGEST + b"\tf\t644", b"301\t5.0000000000": b"-\td\t755"}
    file = stat.S_IFREG | 0o644
    assert row_of(b"/f", status(file), b"", known)[1::2] == (DIGEST + b"\tf\t644\t0\t0\t0\t/f\t", "")
    for other in (status(file, inode=301), status(file, at=6)):
        assert row_of(b"/f", other, b"", known)[1].startswith(b"?\t")


def test_a_file_that_was_hashed_behind_a_step_is_searched_all_the_same() -> None:
    inode = b"300\t5.0000000000"
    known = {inode: DIGEST + b"\tf\t644"}
    line = DIGEST + b"\tf\t4755\t0\t0\t9\t/f\t"
    assert row_of(b"/f", status(stat.S_IFREG | 0o4755, size=9), b"", known, {inode})[1::2] == (line, "scm")
    moved = row_of(b"/f", status(stat.S_IFREG | 0o4755, size=9, at=6), b"", known, {inode})
    assert moved[1::2] == (b"?" + line[64:], "scmu")


ODD = [(b"/a\nb", b""), (b"/a\tb", b""), (b"/l", b"x\ny"), (b"/l", b"x\ty")]


@pytest.mark.parametrize(("path", "target"), ODD, ids=str)
def test_what_a_line_cannot_hold_is_odd(path: bytes, target: bytes) -> None:
    with pytest.raises(OddError, match="newline or a tab"):
        row_of(path, status(stat.S_IFLNK | 0o777), target, {})


def test_a_list_is_in_the_order_of_its_lines() -> None:
    names = [b"/a", b"/a\1", b"/a-b", b"/a/b", b"/a b", b"/b"]
    found = entries.listed([row_of(name, status(stat.S_IFREG), b"", {}) for name in names[::-1]], 5)
    assert found.paths == [b"/a\1", b"/a", b"/a b", b"/a-b", b"/a/b", b"/b"]
    assert all(one + b"\t" < other + b"\t" for one, other in pairwise(found.paths))


def test_what_changed_within_the_last_second_has_no_inode_in_the_list() -> None:
    rows = [row_of(b"/%d" % at, status(stat.S_IFREG, at=at), b"", {}) for at in (5, 6, 7)]
    archive = sealing.packed(entries.listed(rows, 7), 7)
    assert b"300\t5.0000000000\n-\t-\n-\t-\n" in archive
    assert archive.count(b"3 0\n") == 1  # three files, no bytes
    later = sealing.packed(entries.listed(rows, 7), 9)
    assert b"300\t7.0000000000\n" in later
    assert b"-\t-\n" not in later
