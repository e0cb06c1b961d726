"""Sources of COPY and ADD: paths by the case file, then digests, archives and the cache."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stoneware.errors import InputError
from stoneware.machinefile.archives import is_archive, write_tar, write_unpacked
from stoneware.machinefile.context import Source, context_tree, resolve_mount, resolve_sources, stage_tree
from stoneware.machinefile.digests import DigestCache
from stoneware.machinefile.ignore import load_ignore
from stoneware.machinefile.load import load_recipe
from stoneware.machinefile.recipe import CopyStep, Mount
from stoneware.machinefile.tree import Entry
from stoneware.process import run, which
from stoneware.untrusted.removal import remove_tree
from tests.machinefile.support import CASES, resolve

SECTIONS = (CASES / "context.txt").read_text().split("\n=== ")[1:]
MARKS = {"directory": "/", "link": "@"}


def build(root: Path, lines: str) -> None:
    for line in lines.splitlines():
        name, arrow, target = line.partition(" -> ")
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if arrow:
            path.symlink_to(target)
        elif name.endswith("/"):
            path.mkdir()
        else:
            path.write_text(name)


def copy(text: str) -> CopyStep:
    step = load_recipe(f"FROM debian:12\n{text}\n", resolve_base=resolve).target.steps[0]
    assert isinstance(step, CopyStep)
    return step


def shown(source: Source) -> str:
    entries = " ".join(entry.name + MARKS.get(entry.kind, "") for entry in source.entries)
    return f"{source.kind} {source.name}: {entries}".rstrip()


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.partition("\n")[0])
def test_sources(section: str, tmp_path: Path) -> None:
    parts = dict(block.partition("\n")[::2] for block in section.split("\n--- ")[1:])
    build(tmp_path, parts["tree"])
    tree = context_tree(tmp_path)
    if "ignore" in parts:
        ignore = tmp_path / ".dockerignore"
        ignore.write_text(parts["ignore"] + "\n")
        tree = context_tree(tmp_path, load_ignore(tmp_path))
        ignore.unlink()
    step = copy(parts["copy"])
    want = parts.get("want", "").strip()
    if not want.startswith("error: "):
        assert [shown(source) for source in resolve_sources(step, tree)] == want.splitlines()
        return
    brief, _, resolution = want.removeprefix("error: ").partition(" |")
    with pytest.raises(InputError) as caught:
        resolve_sources(step, tree, location="Machinefile:2")
    assert brief in caught.value.brief
    assert resolution.strip() in caught.value.resolution
    assert caught.value.location == "Machinefile:2"


def test_the_ignore_rule_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("x")
    (tmp_path / ".machineignore").write_text("# logs\n*.log\n")
    with pytest.raises(InputError) as caught:
        resolve_sources(copy("COPY a.log /x"), context_tree(tmp_path, load_ignore(tmp_path)))
    assert caught.value.details == ".machineignore:2: *.log"


def digests(root: Path, text: str = "COPY . /x") -> list[str]:
    return [source.digest for source in resolve_sources(copy(text), context_tree(root))]


def test_digest_is_of_content_modes_names_and_links_but_not_times(tmp_path: Path) -> None:
    build(tmp_path, "a\nd/b\nl -> a")
    seen = [digests(tmp_path)]
    os.utime(tmp_path / "a", (1, 1))
    assert digests(tmp_path) == seen[0]

    def turn_link() -> None:
        (tmp_path / "l").unlink()
        (tmp_path / "l").symlink_to("b")

    changes: list[Callable[[], object]] = [
        lambda: (tmp_path / "a").write_text("other"),
        lambda: (tmp_path / "a").chmod(0o600),
        lambda: (tmp_path / "d").chmod(0o700),
        lambda: (tmp_path / "a").rename(tmp_path / "b"),
        turn_link,
        (tmp_path / "empty").mkdir,
    ]
    for change in changes:
        change()
        assert digests(tmp_path) not in seen
        seen.append(digests(tmp_path))


def test_digest_does_not_run_names_and_contents_together(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    build(one, "l -> ab\nm -> c")
    build(two, "l -> a\nm -> bc")
    assert digests(one) != digests(two)


def test_owners_count_in_a_stage_only(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    step = copy("COPY a /x")
    (own,) = resolve_sources(step, stage_tree(tmp_path))
    (zero,) = resolve_sources(step, context_tree(tmp_path))
    assert own.entries[0].uid == os.getuid()
    assert (zero.entries[0].uid, zero.entries[0].gid) == (0, 0)


def test_links_of_a_stage_stay_in_its_root(tmp_path: Path) -> None:
    build(tmp_path, "usr/bin/tool\nbin -> usr/bin\nopt/tool -> /bin/tool")
    step = replace(copy("COPY a /x"), sources=("/opt/tool", "../../bin/tool"), from_stage="build")
    found = resolve_sources(step, stage_tree(tmp_path))
    assert [source.entries[0].path for source in found] == [str(tmp_path / "usr/bin/tool")] * 2


def test_bind_mount_sources(tmp_path: Path) -> None:
    build(tmp_path, "d/a\nf")
    assert shown(resolve_mount(Mount("bind", "/m", source="d"), context_tree(tmp_path))) == "directory d: a"
    assert shown(resolve_mount(Mount("bind", "/m"), context_tree(tmp_path))) == "directory : d/ d/a f"
    assert shown(resolve_mount(Mount("bind", "/m", source="f"), context_tree(tmp_path))) == "file f: f"
    with pytest.raises(InputError):
        resolve_mount(Mount("bind", "/m", source="g"), context_tree(tmp_path))


def tar_bytes() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("x"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "want"),
    [
        ("a.tar", tar_bytes(), True),
        ("noname", gzip.compress(tar_bytes()), True),
        ("a", bz2.compress(tar_bytes()), True),
        ("b", lzma.compress(tar_bytes()), True),
        ("a.gz", gzip.compress(b"text" * 300), False),
        ("a.tar", b"not a tar archive" * 100, False),
        ("a.tar", b"", False),
        ("a.tar", b"\0" * 1024, False),
        ("broken.tgz", gzip.compress(tar_bytes())[:15], False),
        ("a.tar.zst", b"\x28\xb5\x2f\xfd rest", True),
        ("a.zst", b"\x28\xb5\x2f\xfd rest", False),
    ],
)
def test_archives_that_add_unpacks(tmp_path: Path, name: str, content: bytes, want: bool) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert is_archive(str(path)) is want


def test_only_add_unpacks_and_unpack_decides(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar_bytes())
    kinds = {
        text: resolve_sources(copy(text), context_tree(tmp_path))[0].kind
        for text in ("ADD a.tar /x", "COPY a.tar /x", "ADD --unpack=false a.tar /x", "ADD a.ta? /x")
    }
    assert list(kinds.values()) == ["archive", "file", "file", "archive"]


def test_tar_is_deterministic_and_complete(tmp_path: Path) -> None:
    build(tmp_path, "d/b\nd/a\nd/l -> a\nd/é\nd/" + "n" * 150)
    (tmp_path / "d/a").chmod(0o4750)
    os.link(tmp_path / "d/b", tmp_path / "d/c")
    os.mkfifo(tmp_path / "d/pipe")
    (tmp_path / "d" / os.fsdecode(b"\xff")).write_bytes(b"raw")
    (source,) = resolve_sources(copy("COPY d /x"), context_tree(tmp_path))
    first, second = io.BytesIO(), io.BytesIO()
    write_tar(source.entries, first)
    write_tar(source.entries, second)
    assert first.getvalue() == second.getvalue()
    first.seek(0)
    with tarfile.open(fileobj=first) as archive:
        members = {member.name: member for member in archive.getmembers()}
        assert archive.extractfile(members[os.fsdecode(b"\xff")]).read() == b"raw"  # type: ignore[union-attr]
    assert [member.name for member in members.values()] == [entry.name for entry in source.entries]
    assert members["a"].mode == 0o4750
    assert members["l"].linkname == "a"
    assert members["c"].islnk()
    assert members["c"].linkname == "b"
    assert members["pipe"].isfifo()
    assert {(member.uid, member.gid, member.uname) for member in members.values()} == {(0, 0, "")}
    assert members["b"].mtime == int((tmp_path / "d/b").stat().st_mtime)


def test_tar_of_a_heredoc() -> None:
    buffer = io.BytesIO()
    write_tar([Entry("f", "file", 0o644, 3, data=b"abc")], buffer)
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as archive:
        assert archive.extractfile("f").read() == b"abc"  # type: ignore[union-attr]


@pytest.mark.parametrize("content", ["l", "else", ""])
def test_tar_fails_when_a_file_changed_since_it_was_listed(tmp_path: Path, content: str) -> None:
    (tmp_path / "a").write_text("long")
    (source,) = resolve_sources(copy("COPY a /x"), context_tree(tmp_path))
    (tmp_path / "a").write_text(content)
    with pytest.raises(InputError) as caught:
        write_tar(source.entries, io.BytesIO())
    assert caught.value.brief == "the file a changed while it was being read"


def test_a_stage_is_not_hashed(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (source,) = resolve_sources(replace(copy("COPY a /x"), from_stage="b"), stage_tree(tmp_path))
    assert source.entries[0].digest == ""
    buffer = io.BytesIO()
    write_tar(source.entries, buffer)
    assert b"a" in buffer.getvalue()


def test_cache_remembers_settled_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    cache = DigestCache(tmp_path / "cache.json")
    later = time.time_ns() + 10_000_000_000
    monkeypatch.setattr("stoneware.machinefile.digests.time.time_ns", lambda: later)
    first = cache.digest(str(path), path.stat())
    assert cache.digest(str(path), path.stat()) == first
    assert (cache.hits, cache.misses) == (1, 1)
    cache.save()
    again = DigestCache(tmp_path / "cache.json")
    assert again.digest(str(path), path.stat()) == first
    assert (again.hits, again.misses) == (1, 0)
    path.write_text("two")
    assert again.digest(str(path), path.stat()) != first


def test_cache_does_not_trust_a_file_that_just_changed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    cache = DigestCache(tmp_path / "cache.json")
    stat = path.stat()
    first = cache.digest(str(path), stat)
    path.write_text("two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert cache.digest(str(path), stat) != first
    cache.save()
    assert not (tmp_path / "cache.json").exists()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"version": 99, "entries": {}}', '{"version": 1, "entries": 3}']
)
def test_a_torn_cache_counts_as_empty(tmp_path: Path, content: str) -> None:
    (tmp_path / "cache.json").write_text(content)
    (tmp_path / "a").write_text("one")
    cache = DigestCache(tmp_path / "cache.json")
    assert len(cache.digest(str(tmp_path / "a"), (tmp_path / "a").stat())) == 64


def test_cache_file_is_only_written_when_something_was_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("one")
    later = time.time_ns() + 10_000_000_000
    monkeypatch.setattr("stoneware.machinefile.digests.time.time_ns", lambda: later)
    cache = DigestCache(tmp_path / "cache.json")
    cache.digest(str(tmp_path / "a"), (tmp_path / "a").stat())
    cache.save()
    assert len(json.loads((tmp_path / "cache.json").read_text())["entries"]) == 1
    (tmp_path / "cache.json").unlink()
    cache.save()
    assert not (tmp_path / "cache.json").exists()


def test_a_tree_that_is_too_deep_is_told(tmp_path: Path) -> None:
    """Python would give up first, and a path of the kernel a little later."""
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    try:
        with pytest.raises(InputError, match="cannot be read: more than 512 directories"):
            resolve_sources(CopyStep(0, "", 0, "", sources=("d",)), stage_tree(tmp_path))
    finally:
        remove_tree(tmp_path / "d")


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar.zst"])
def test_an_archive_that_unpacks_to_more_than_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(bytes(4 << 20))
    packed = tmp_path / name
    if name.endswith(".zst"):
        if which("zstd") is None:
            pytest.skip("no zstd here")
        run(["zstd", "-q", plain, "-o", packed])
    else:
        packed.write_bytes(gzip.compress(plain.read_bytes()))
    with (tmp_path / "out").open("wb") as stream:
        write_unpacked(str(packed), stream)
        assert stream.tell() == 4 << 20
    monkeypatch.setattr("stoneware.machinefile.archives.free_room", lambda _: 1 << 20)
    with (tmp_path / "out").open("wb") as stream, pytest.raises(InputError, match="no room"):
        write_unpacked(str(packed), stream)
