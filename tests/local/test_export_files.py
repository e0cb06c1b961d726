"""Files that appear whole or not at all, and what the command asks of the disks."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stoneware.errors import HostError, InputError
from stoneware.platforms.disks import DiskFormat, format_of
from stoneware.platforms.local.disks import export
from stoneware.platforms.local.disks.placing import appearing
from stoneware.process import ProcessError


def test_a_file_is_there_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "disk.raw"
    with appearing(target, force=False) as descriptor:
        Path(f"/proc/self/fd/{descriptor}").write_bytes(b"whole")
        assert list(tmp_path.iterdir()) == []
    assert target.read_bytes() == b"whole"
    assert target.stat().st_mode & 0o777 == 0o600


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    def fill() -> None:
        with appearing(tmp_path / "x", force=False) as descriptor:
            os.write(descriptor, b"part")
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_replaced_when_asked_for_only(tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_text("old")
    with pytest.raises(InputError, match="there already"), appearing(target, force=False):
        pass
    with appearing(target, force=True) as descriptor:
        os.write(descriptor, b"new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_what_somebody_makes_meanwhile_stays(tmp_path: Path) -> None:
    target = tmp_path / "x"

    def write() -> None:
        with appearing(target, force=False) as descriptor:
            os.write(descriptor, b"ours")
            target.write_text("theirs")

    with pytest.raises(InputError, match="there already"):
        write()
    assert target.read_text() == "theirs"


def test_a_file_system_without_nameless_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refuse(path: Path, flags: int, *rest: int, **named: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "not supported")
        return opened(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", refuse)
    with appearing(tmp_path / "x", force=False) as descriptor:
        os.write(descriptor, b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    with pytest.raises(KeyboardInterrupt), appearing(tmp_path / "y", force=False):
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_kill_leaves_nothing(tmp_path: Path) -> None:
    text = (
        "import sys, os, time\nfrom pathlib import Path\n"
        "from stoneware.platforms.local.disks.placing import appearing\n"
        "with appearing(Path(sys.argv[1]), force=False) as fd:\n"
        "    os.write(fd, b'part')\n    print('ready', flush=True)\n    time.sleep(3600)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", text, str(tmp_path / "x")], stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGKILL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "word"),
    [
        ("nowhere/x", "no directory"),
        ("", "is a directory"),
        ("pipe", "is a pipe or socket and no file"),
        ("/dev/null", "is a device and no file"),
        ("stdout", "is a device and no file"),
        ("circle", "cannot be a file: Too many levels"),
        ("x" * 256, "cannot be a file: File name too long"),
    ],
)
def test_a_place_that_cannot_be(tmp_path: Path, place: str, word: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "stdout").symlink_to("/dev/null")
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(InputError, match=word), appearing(tmp_path / place, force=True):
        pass
    assert Path("/dev/null").is_char_device()


def test_the_longest_name_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 255)
    for content in (b"old", b"new"):
        with appearing(target, force=True) as descriptor:
            os.write(descriptor, content)
    assert target.read_text() == "new"


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_leads_to_the_new_file(tmp_path: Path, there: bool) -> None:
    link, target = tmp_path / "link", tmp_path / "target"
    link.symlink_to("target")
    if there:
        target.write_text("old")
    with pytest.raises(InputError, match="there already"), appearing(link, force=False):
        pass
    with appearing(link, force=True) as descriptor:
        os.write(descriptor, b"new")
    assert link.is_symlink()
    assert target.read_text() == "new"


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (errno.EROFS, "x cannot be written"),
        (errno.EACCES, "x cannot be written"),
        (errno.ENOSPC, "no room for"),
    ],
)
@pytest.mark.parametrize("call", ["open", "fsync"])
def test_a_target_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, word: str, call: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "directory")

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(HostError, match=word) as caught, appearing(tmp_path / "x", force=False):
        pass
    assert os.strerror(number) in caught.value.details


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.qcow2", DiskFormat.QCOW2),
        ("a.b.RAW", DiskFormat.RAW),
        ("a.img", DiskFormat.RAW),
        ("a.vmdk", DiskFormat.VMDK),
        ("a.tar.gz", DiskFormat.GCE),
        ("a.tar", DiskFormat.TAR),
        ("a.tar.zst", DiskFormat.TAR_ZST),
    ],
)
def test_a_name_says_the_form(name: str, form: DiskFormat) -> None:
    assert format_of(name) is form


@pytest.mark.parametrize("name", ["a", "a.iso", "tar", "a.gz"])
def test_a_name_that_says_none(name: str) -> None:
    with pytest.raises(InputError) as caught:
        format_of(name)
    assert "--format" in caught.value.resolution


@pytest.mark.parametrize(
    ("script", "error"),
    [
        pytest.param("kill -PIPE $$", BrokenPipeError, id="whoever reads has had enough"),
        pytest.param("echo tar: Broken pipe >&2; exit 2", BrokenPipeError, id="as tar says it"),
        pytest.param("kill -KILL $$", ProcessError, id="no memory"),
        pytest.param("exit 1", ProcessError, id="a fault"),
    ],
)
def test_a_program_that_is_killed_has_failed(script: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        export._run(["sh", "-c", script], None)
