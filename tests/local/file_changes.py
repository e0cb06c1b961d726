"""Changes of a tree of files, which lists of files are to tell: ordinary ones, and odd ones."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from stoneware.platforms.local.store import btrfs


def rename_directory(root: Path) -> None:
    (root / "usr/share/a").rename(root / "etc/a")


def swap_directories(root: Path) -> None:
    (root / "usr/share/a").rename(root / "usr/share/x")
    (root / "usr/lib/d").rename(root / "usr/share/a")
    (root / "usr/share/x").rename(root / "usr/lib/d")


def turn_inside_out(root: Path) -> None:
    (root / "usr/share/a/b/c").rename(root / "c")
    (root / "usr/share/a").rename(root / "c/a")
    (root / "c/a/b").rename(root / "usr/share/a")


def rename_and_fill(root: Path) -> None:
    (root / "usr/share/a/b").rename(root / "b")
    (root / "b/new").write_text("new")
    (root / "b/c/three").unlink()
    (root / "usr/share/a/b").mkdir()
    (root / "usr/share/a/b/two").write_text("another two")


def hard_links(root: Path) -> None:
    (root / "usr/lib/first").hardlink_to(root / "usr/share/a/one")
    (root / "usr/lib/second").hardlink_to(root / "usr/share/a/one")
    (root / "etc/hard").unlink()


def write_through_a_hard_link(root: Path) -> None:
    (root / "etc/hard").write_text("both have it")


def attributes(root: Path) -> None:
    os.setxattr(root / "etc/script", "user.note", b"x")
    # cap_net_raw, as `setcap` writes it
    os.setxattr(
        root / "usr/share/a/one",
        "security.capability",
        bytes.fromhex("0100000200200000000000000000000000000000"),
    )


def modes(root: Path) -> None:
    for number, name in enumerate(("etc/script", "usr/share/a/one", "usr/lib/d/four", "big")):
        (root / name).chmod((0o4755, 0o3711, 0o666, 0o2000)[number])
    (root / "usr/share/a").chmod(0o1777)
    (root / "usr/lib/d").chmod(0o777)
    os.chown(root / "etc/e/five", 1000, 1001)
    root.chmod(0o700)


def times(root: Path) -> None:
    os.utime(root / "etc/script", (1, 2))
    os.utime(root / "usr/share/a", ns=(5, 6))


def contents(root: Path) -> None:
    with (root / "big").open("r+b") as stream:
        stream.seek(1 << 33)
        stream.write(b"sparse")
        os.truncate(root / "usr/share/a/one", 3)
    with (root / "etc/script").open("ab") as stream:
        stream.write(b"more")
    (root / "var/log/full").write_text("a log")
    (root / "var/log/empty").write_text("no more")
    (root / "var/tmp/left").write_text("left")
    (root / "etc/.x.stoneware").write_text("residue")
    (root / "etc/empty").touch()
    (root / "etc/large").write_bytes(bytes(1_048_577))
    (root / "etc/fits").write_bytes(bytes(1_048_576))


def shared_blocks(root: Path) -> None:
    with (root / "big").open("rb") as source, (root / "copy").open("wb") as target:
        btrfs.share_blocks(source.fileno(), target.fileno())


def kinds(root: Path) -> None:
    os.mkfifo(root / "fifo")
    os.mknod(root / "device", 0o600 | 0o020000, os.makedev(1, 3))
    os.mknod(root / "disk", 0o600 | 0o060000, os.makedev(7, 9))
    listening = socket.socket(socket.AF_UNIX)
    here = os.open(root, os.O_PATH)
    listening.bind(f"/proc/self/fd/{here}/socket")
    listening.close()
    os.close(here)
    (root / "to-nothing").symlink_to("/nowhere")
    (root / "etc/link").unlink()
    (root / "etc/link").symlink_to("elsewhere")


def replace_kinds(root: Path) -> None:
    (root / "etc/script").unlink()
    (root / "etc/script").mkdir()
    (root / "etc/script/in").write_text("in")
    (root / "usr/lib/d/four").unlink()
    (root / "usr/lib/d").rmdir()
    (root / "usr/lib/d").write_text("a file now")
    (root / "usr/share/a/b/c/three").unlink()
    (root / "usr/share/a/b/c").rmdir()
    (root / "usr/share/a/b/c").symlink_to("/etc")


def hidden(root: Path) -> None:
    (root / "tmp/x/y").mkdir()
    (root / "tmp/x/y/z").write_text("not listed")
    (root / "tmp/x/name\nof two lines").write_text("neither")
    (root / "tmp/x/y").rename(root / "y")
    (root / "run/dir").mkdir()
    (root / "usr/share/a").rename(root / "run/a")
    (root / "proc").rmdir()
    (root / "proc").symlink_to("etc")


def odd_names(root: Path) -> None:
    (root / ("n" * 255)).write_text("long")
    (root / "etc" / os.fsdecode(b"\xff\xfe bytes \x01")).write_text("no UTF-8")
    (root / "etc" / os.fsdecode(b"e\x01")).write_text("before e")
    (root / "usr/share/a b").mkdir()
    (root / "usr/share/a b/ ").write_text("blank")
    (root / "usr/share/a/\\t\"'*[").write_text("quotes")
    (root / "o257-8-0").write_text("as btrfs calls what it has no place for yet")


def own_files(root: Path) -> None:
    image = root / "usr/lib/stoneware/image"
    (image / "manifest.json").write_text("{}")
    (image / "env").write_text("")
    (image / "files.other").write_text("not listed")
    (image / "files.Other").write_text("listed")
    (image / "units").write_text("listed")


def deep(root: Path) -> None:
    place = root
    for _ in range(30):
        place /= "d" * 100
        place.mkdir()
    (place / "bottom").write_text("3030 bytes down")


def nothing(root: Path) -> None:
    assert root.is_dir()


def remove_all(root: Path) -> None:
    for name in ("many", "usr/share", "usr/lib/d", "etc"):
        shutil.rmtree(root / name)
    (root / "big").unlink()


CASES = [
    rename_directory,
    swap_directories,
    turn_inside_out,
    rename_and_fill,
    hard_links,
    shared_blocks,
    times,
]
CASES += [write_through_a_hard_link, attributes, modes, contents, kinds, replace_kinds, hidden, odd_names]
CASES += [own_files, deep, nothing, remove_all]


def odd_newline(root: Path) -> None:
    (root / "etc/two\nlines").write_text("")


def odd_tab(root: Path) -> None:
    (root / "etc/a\tb").mkdir()


def odd_target(root: Path) -> None:
    (root / "etc/to").symlink_to("two\nlines")


def odd_subvolume(root: Path) -> None:
    btrfs.create(root / "etc/inner")


def odd_own_lists(root: Path) -> None:
    (root / "usr/lib/stoneware/image" / "files.tsv").write_text("what a step would like to be known")


def odd_own_directory(root: Path) -> None:
    (root / "usr/lib/stoneware/image").rename(root / "usr/lib/stoneware/other")


def odd_depth(root: Path) -> None:
    place = os.open(root, os.O_PATH)
    for _ in range(45):  # longer than a path may be
        os.mkdir("d" * 100, dir_fd=place)
        inner = os.open("d" * 100, os.O_PATH, dir_fd=place)
        os.close(place)
        place = inner
    os.close(place)


ODD = [odd_newline, odd_tab, odd_target, odd_subvolume, odd_own_lists, odd_own_directory, odd_depth]
