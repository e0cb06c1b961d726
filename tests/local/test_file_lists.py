"""Lists of files by what btrfs knows: the same, byte for byte, as those of a walk over everything."""

from __future__ import annotations

import hashlib
import io
import os
import random
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stoneware import guest
from stoneware.guest import lists as base_lists
from stoneware.platforms.local.lists import entries, sealing
from stoneware.platforms.local.lists.changes import OddError, changes
from stoneware.platforms.local.lists.hashes import hashed
from stoneware.platforms.local.lists.prepared import PreparedList
from stoneware.platforms.local.store import btrfs
from stoneware.platforms.local.store.store import Store
from tests.local.file_changes import CASES, ODD, hidden, odd_subvolume
from tests.stores import blank_store

pytestmark = [pytest.mark.tool, pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")]

GUEST = Path(guest.__file__).parent
# What the builder itself would do. The time is given, so that both mask the same files as too new.
SCAN = """\
. "$1" && . "$2"
note() { echo "$*" >&2; }
now=$4
date() { echo "$now"; }
tab=$(printf '\\t') WORK=$3
scan
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with blank_store(tmp_path_factory.mktemp("lists") / "home") as made:
        yield made


@pytest.fixture(scope="module")
def parent(store: Store) -> Path:
    """A read-only root with lists of its own, as a base is."""
    root = store.data / "checkpoints/parent/rootfs"
    root.parent.mkdir()
    made = root.parent / "made"
    btrfs.create(made)
    fill(made)
    base_lists.write_file_lists(made)
    btrfs.snapshot(made, root, read_only=True)
    return root


def fill(root: Path) -> None:
    for directory in (
        "usr/share/a/b/c",
        "usr/lib/d",
        "etc/e",
        "var/log",
        "var/tmp",
        "tmp/x",
        "run",
        "proc",
        "many",
    ):
        (root / directory).mkdir(parents=True)
    for name in (
        "usr/share/a/one",
        "usr/share/a/b/two",
        "usr/share/a/b/c/three",
        "usr/lib/d/four",
        "etc/e/five",
    ):
        (root / name).write_text(f"content of {name}")
    (root / "etc/link").symlink_to("e/five")
    (root / "etc/hard").hardlink_to(root / "etc/e/five")
    (root / "etc/script").write_text("#!/bin/sh\n")
    (root / "usr/share/a-b").write_text("sorted between a and what is in it")
    (root / "var/log/empty").touch()
    (root / "big").write_bytes(os.urandom(300_000))
    for number in range(500):
        (root / f"many/{number}").touch()
    age(root)


def age(root: Path) -> None:
    """Let the files be older than a second: those that are not have no digest that is known."""
    time.sleep(2.1)
    assert root.is_dir()


@pytest.fixture
def child(store: Store, parent: Path) -> Iterator[Path]:
    root = store.data / "machines/child"
    btrfs.snapshot(parent, root, read_only=False)
    yield root
    btrfs.delete(root)


def walked(root: Path, work: Path, scanned: int) -> dict[str, bytes]:
    work.mkdir(exist_ok=True)
    parts = [str(part) for part in (GUEST / "lib.sh", GUEST / "build/lists.sh", work, scanned)]
    subprocess.run(["sh", "-c", SCAN, "sh", *parts], env={**os.environ, "SW_ROOT": str(root)}, check=True)
    names = ["files.new", "files.inodes", "files.totals", *entries.FINDINGS.values()]
    return {name: (work / name).read_bytes() for name in names}


def told(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        return {name: file.read() for name in members.getnames() if (file := members.extractfile(name))}


def without_hashes(found: dict[str, bytes], root: Path) -> dict[str, bytes]:
    """Return a list as it would be if no file of a step had been hashed before; the hashes are right."""
    changed, unhashed, lines = (found[name].split(b"\n") for name in ("changed", "unhashed", "files.new"))
    for number, line in enumerate(lines):
        digest, _, rest = line.partition(b"\t")
        path = rest.split(b"\t")[5] if rest else b""
        if path and path in changed and digest != b"?":
            content = (root / os.fsdecode(path[1:])).read_bytes()
            assert digest.decode() == hashlib.sha256(content).hexdigest()
            assert path not in unhashed
            lines[number] = b"?\t" + rest
    return {**found, "files.new": b"\n".join(lines), "unhashed": found["changed"]}


def compare(parent: Path, root: Path, work: Path) -> dict[str, bytes]:
    scanned = int(time.time())
    frozen = root.parent / "frozen"
    btrfs.snapshot(root, frozen, read_only=True)
    try:
        known = entries.known_list(parent)
        found = told(sealing.packed(sealing.list_changed(known, changes(parent, frozen), frozen), scanned))
        assert without_hashes(found, frozen) == walked(frozen, work, scanned)
        # What changed long ago is told as such, whoever lists it.
        later = scanned + 10
        again = told(sealing.packed(sealing.list_changed(known, changes(parent, frozen), frozen), later))
        assert without_hashes(again, frozen) == walked(frozen, work, later)
    finally:
        btrfs.delete(frozen)
    return found


@pytest.mark.parametrize("change", CASES, ids=lambda case: case.__name__)
def test_a_list_of_changes_is_the_list_of_a_walk(
    parent: Path, child: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    change(child)
    compare(parent, child, tmp_path / "work")


def change_anything(root: Path, chance: random.Random) -> None:
    everything = [path for path in root.rglob("*") if "stoneware" not in path.parts]
    directories = [root, *(path for path in everything if path.is_dir() and not path.is_symlink())]
    one, other = chance.choice(everything), chance.choice(directories) / f"n{chance.randrange(40)}"
    file = chance.choice([path for path in everything if path.is_file() and not path.is_symlink()])
    kind = chance.randrange(9)
    if kind < 4 and not os.path.lexists(other):
        make_anything(kind, one, other, file)
    elif kind == 4:
        file.unlink()
    elif kind == 5 and not one.is_symlink():
        one.chmod(chance.choice((0o700, 0o755, 0o4711, 0o1777)) if one.is_dir() else 0o646)
    elif kind == 6:
        file.write_text(str(chance.random()) * chance.randrange(900))
    elif kind == 7 and not any((last := directories[-1]).iterdir()):
        last.rmdir()


def make_anything(kind: int, one: Path, other: Path, file: Path) -> None:
    if kind == 1:
        other.mkdir()
    elif kind == 2:
        other.write_text("new")
    elif kind == 3:
        other.hardlink_to(file)
    elif one not in other.parents and not any("stoneware" in path.parts for path in one.rglob("*")):
        one.rename(other)


@pytest.mark.parametrize("seed", range(3))
def test_a_list_of_many_random_changes_is_the_list_of_a_walk(
    parent: Path, child: Path, store: Store, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    for _ in range(3):
        for _ in range(40):
            change_anything(child, chance)
        # A checkpoint between, as after each step: the builder goes on from it.
        between = store.data / "machines/between"
        btrfs.snapshot(child, between, read_only=True)
        btrfs.delete(between)
    compare(parent, child, tmp_path / "work")


def as_the_seal_does(root: Path) -> None:
    """Remove what a seal removes: what is in /tmp as well, where a machine may have another file system."""
    for place in ("tmp", "var/tmp"):
        for path in sorted((root / place).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    (root / "new").write_text("of the seal")


@pytest.mark.parametrize("change", CASES, ids=lambda case: case.__name__)
def test_the_list_of_a_step_is_that_of_its_base_with_what_has_changed(
    store: Store, parent: Path, child: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    change(child)
    odd = child / "tmp/x/name\nof two lines"
    odd.unlink(missing_ok=True)  # see the next test
    (child / "tmp/x/of-the-step").touch()
    step = store.data / "checkpoints/step/rootfs"
    step.parent.mkdir()
    btrfs.snapshot(child, step, read_only=True)
    machine = child.parent / "machine"
    btrfs.snapshot(step, machine, read_only=False)
    try:
        found, wanted = sealing.source_list(step, parent), hashed(entries.walk(step), step)
        for column in ("paths", "files", "inodes", "letters"):
            assert getattr(found, column) == getattr(wanted, column)
        assert sealing.source_list(step, parent) == found  # as it was kept
        as_the_seal_does(machine)
        compare(step, machine, tmp_path / "work")
    finally:
        btrfs.delete(machine)
        btrfs.delete(step)
        for path in step.parent.iterdir():
            path.unlink()
        step.parent.rmdir()


@pytest.mark.parametrize(
    "change", [hidden, *(case for case in ODD if case is not odd_subvolume)], ids=lambda case: case.__name__
)
def test_what_cannot_be_listed_by_an_odd_step_is_by_its_base(
    store: Store, parent: Path, child: Path, change: Callable[[Path], None]
) -> None:
    change(child)
    step = store.data / "checkpoints/odd/rootfs"
    step.parent.mkdir()
    btrfs.snapshot(child, step, read_only=True)
    try:
        root, found = PreparedList(step, parent).wait()
        assert root in (step, parent)
        assert root == parent or found.files == hashed(entries.walk(step), step).files
    finally:
        btrfs.delete(step)
        for path in step.parent.iterdir():
            path.unlink()
        step.parent.rmdir()


def test_what_has_not_changed_is_not_looked_at(
    parent: Path, child: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = entries.known_list(parent)
    (child / "etc/script").write_text("changed")
    frozen = child.parent / "frozen"
    btrfs.snapshot(child, frozen, read_only=True)
    looked: list[bytes] = []
    look = entries.look

    def noted(directory: int, name: bytes) -> tuple[os.stat_result, bytes]:
        looked.append(name)
        return look(directory, name)

    monkeypatch.setattr(entries, "look", noted)
    try:
        found = sealing.list_changed(known, changes(parent, frozen), frozen)
    finally:
        btrfs.delete(frozen)
    assert looked == [b"script"]
    hidden = [path for path in known.paths if path.startswith((b"/tmp", b"/run", b"/proc"))]
    assert len(found.paths) == len(known.paths) - len(hidden) > 500
    line = dict(zip(found.paths, found.files, strict=True))
    assert line[b"/etc/script"].startswith(b"?\tf\t644\t0\t0\t7\t")
    assert line[b"/etc/e/five"][64:67] == b"\tf\t"


@pytest.mark.parametrize("change", ODD, ids=lambda case: case.__name__)
def test_anything_odd_is_left_to_a_walk(parent: Path, child: Path, change: Callable[[Path], None]) -> None:
    change(child)
    staged = child.parent / "staged"
    with pytest.raises((OddError, OSError)):
        sealing.list_root(parent, child, staged)
    assert not staged.exists()


def test_a_whole_list_leaves_no_snapshot_and_a_left_one_is_in_nobodys_way(parent: Path, child: Path) -> None:
    staged = child.parent / "staged"
    btrfs.snapshot(child, staged, read_only=True)  # as a kill leaves it
    (child / "etc/script").chmod(0o755)
    found = told(sealing.list_root(parent, child, staged))
    assert found["changed"] == b"/etc/script\n"
    assert not staged.exists()


def test_a_damaged_note_of_the_parent_is_made_again(parent: Path) -> None:
    known = entries.known_list(parent)
    kept = parent.parent / "files.list"
    for damaged in (
        b"",
        b"x\n\ny\n\nz\n\n",
        kept.read_bytes()[:-40],
        kept.read_bytes().replace(b"\t", b" ", 3),
    ):
        kept.write_bytes(damaged)
        assert entries.known_list(parent) == known
        assert kept.read_bytes().startswith(b"stoneware file list 2 ")
