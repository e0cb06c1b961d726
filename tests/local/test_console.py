"""Consoles in files of bounded size: reading, finding lines and times in them."""

from __future__ import annotations

import os
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from stoneware.platforms.local.machines import console
from stoneware.platforms.local.metadata.console_times import LOG_LIMIT, bound_logs


def write(directory: Path, *pieces: bytes) -> None:
    base = 0
    for number, piece in enumerate(pieces):
        (directory / (f"console.log.{base:016d}" if number else "console.log")).write_bytes(piece)
        base += len(piece)


def all_of(directory: Path, offset: int = 0, limit: int = 3) -> bytes:
    made = b""
    while True:
        data, offset = console.read(directory, offset, limit)
        if not data:
            return made
        made += data


def test_parts_are_one_text(tmp_path: Path) -> None:
    write(tmp_path, b"one\ntw", b"o\nthr", b"ee\n")
    assert console.span(tmp_path) == (0, 14)
    assert all_of(tmp_path) == b"one\ntwo\nthree\n"
    assert all_of(tmp_path, 4) == b"two\nthree\n"
    assert console.read(tmp_path, 14) == (b"", 14)
    (tmp_path / "console.log").unlink()
    assert console.span(tmp_path) == (6, 14)
    assert console.read(tmp_path, 2) == (b"o\nthr", 11)  # what is gone is passed over


@pytest.mark.parametrize(
    ("count", "found"),
    [(0, b""), (1, b"three\n"), (2, b"two\nthree\n"), (3, b"one\ntwo\nthree\n"), (9, b"one\ntwo\nthree\n")],
)
def test_the_last_lines_are_found_from_the_end(tmp_path: Path, count: int, found: bytes) -> None:
    write(tmp_path, b"one\ntw", b"o\nthr", b"ee\n")
    assert all_of(tmp_path, console.last_lines(tmp_path, count)) == found


def test_a_last_line_without_its_end_counts(tmp_path: Path) -> None:
    write(tmp_path, b"one\ntwo\nthr")
    assert all_of(tmp_path, console.last_lines(tmp_path, 2)) == b"two\nthr"
    assert console.last_lines(tmp_path, 0) == 11


def test_the_last_lines_of_a_huge_console_take_no_time(tmp_path: Path) -> None:
    with (tmp_path / "console.log").open("wb") as stream:
        stream.truncate(1 << 34)  # 16 GiB of nothing: to read it all would take a minute and the memory
        stream.seek(0, os.SEEK_END)
        stream.write(b"\nlast\n")
    assert all_of(tmp_path, console.last_lines(tmp_path, 1)) == b"last\n"


def test_times(tmp_path: Path) -> None:
    write(tmp_path, b"")
    moments = {b"one\n": 100.0, b"two\nthree\nfo": 200.0, b"ur\nfive\n": 300.0}
    known: int | None = None
    for piece, moment in moments.items():
        with (tmp_path / "console.log").open("ab") as stream:
            stream.write(piece)
        os.utime(tmp_path / "console.log", (moment, moment))
        known = console.remember(tmp_path, known)
        known = console.remember(tmp_path, known)  # nothing new: nothing is noted
    assert console.times(tmp_path) == [(4, 100.0), (16, 200.0), (24, 300.0)]
    clock = console.Clock(tmp_path)
    assert [clock.at(offset) for offset in (0, 3, 4, 15, 16, 23)] == [
        100.0,
        100.0,
        200.0,
        200.0,
        300.0,
        300.0,
    ]
    assert all_of(tmp_path, console.since(tmp_path, 150)) == b"two\nthree\nfour\nfive\n"
    assert all_of(tmp_path, console.since(tmp_path, 201)) == b"five\n"
    assert console.since(tmp_path, 301) == 24
    assert console.since(tmp_path, 1) == 0
    assert [console.until(tmp_path, moment) for moment in (99, 100, 250, 300, 999)] == [0, 4, 16, 24, 24]


def test_times_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "console.log").write_bytes(b"")
    pairs = [(number, float(number)) for number in range(1, console.MOST_PAIRS + 2)]
    (tmp_path / "console.times").write_bytes(b"".join(console.PAIR.pack(*pair) for pair in pairs))
    (tmp_path / "console.log").write_bytes(b"x" * (console.MOST_PAIRS + 9))
    assert console.remember(tmp_path, None) == console.MOST_PAIRS + 9
    left = console.times(tmp_path)
    assert len(left) < console.MOST_PAIRS
    assert left == sorted(left)
    assert left[-1][0] == console.MOST_PAIRS + 9


def test_a_damaged_or_missing_file_of_times_says_nothing(tmp_path: Path) -> None:
    write(tmp_path, b"one\n")
    os.utime(tmp_path / "console.log", (50, 50))
    assert console.Clock(tmp_path).at(0) == 50  # not later than the last write
    (tmp_path / "console.times").write_bytes(b"short")
    assert console.times(tmp_path) == []


def keep(directory: Path, text: bytes, size: int, files: int) -> None:
    """Run the shim's own function."""
    shim = (resources.files("stoneware.platforms.local.machines") / "shim.sh").read_text()
    function = shim[shim.index("keep_console() {") : shim.index("\n}\n", shim.index("keep_console() {")) + 3]
    settings = f"CONSOLE={directory / 'console.log'} LOG_SIZE={size} LOG_FILES={files}"
    subprocess.run(["sh", "-euc", f"{settings}\n{function}\nkeep_console"], input=text, check=True)


@pytest.mark.parametrize(("size", "files"), [(7, 3), (10, 1), (1000, 2), (5, 2)])
def test_what_the_shim_keeps_is_the_end_and_no_more(tmp_path: Path, size: int, files: int) -> None:
    (tmp_path / "console.log").touch()
    text = b"".join(b"line %d\n" % number for number in range(8, 12))
    for piece in (text[:3], text[3:17], text[17:]):  # a machine that is started three times
        keep(tmp_path, piece, size, files)
    first, end = console.span(tmp_path)
    assert end == len(text)
    assert all_of(tmp_path) == text[first:]
    assert first == 0 or end - first >= size * (files - 1)
    assert len(console.parts(tmp_path)) <= files
    assert all(part.path.stat().st_size <= size for part in console.parts(tmp_path))


def test_a_console_of_before_that_is_too_long_is_gone_on_from(tmp_path: Path) -> None:
    (tmp_path / "console.log").write_bytes(b"x" * 50 + b"\n")
    keep(tmp_path, b"new\n", 20, 2)
    assert all_of(tmp_path, console.last_lines(tmp_path, 1)) == b"new\n"
    assert console.span(tmp_path) == (0, 55)


def test_servers_logs_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "dnsmasq.log").write_bytes(b"x" * (LOG_LIMIT + 1))
    (tmp_path / "metadata.log").write_bytes(b"said")
    (tmp_path / "record.json").write_bytes(b"x" * (LOG_LIMIT + 1))
    bound_logs(tmp_path)
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes == {"dnsmasq.log": 0, "metadata.log": 4, "record.json": LOG_LIMIT + 1}
