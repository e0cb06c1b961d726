"""H5: a tar in the machine that sends devices, setuid files, paths that lead out, and no end."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from stoneware.errors import InputError, MachineError
from stoneware.platforms.local.store.recover import recover
from tests.archives import Archive
from tests.local.engine_lab import Bench

pytestmark = pytest.mark.machine

FOR_EVER = r"""#!/usr/bin/perl
open(H, "/root/stream"); read(H, my $header, 512); $| = 1; print $header; while (1) { print "\0" x 65536 }
"""
STALLED = r"""#!/usr/bin/perl
open(H, "/root/stream"); read(H, my $header, 512); $| = 1; print $header; print "x" x 512; sleep 3600;
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory on this computer that is copied to; what is beside it must stay."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("untouched")
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def sends(lab: Bench, archive: bytes, tar: str = "#!/bin/sh\nexec cat /root/stream\n") -> None:
    """Put another tar in the place of the machine's."""
    root = lab.paths().rootfs
    (root / "root/stream").write_bytes(archive)
    (root / "root/tar").write_text(tar)
    (root / "root/tar").chmod(0o755)
    (root / "root/tar").replace(root / "usr/bin/tar")


def left(place: Path) -> list[str]:
    beside = [path.name for path in place.parent.iterdir() if path.name not in ("place", "outside")]
    assert (place.parent / "outside/file").read_text() == "untouched"
    return beside + sorted(str(path.relative_to(place)) for path in place.rglob("*"))


def test_a_tar_that_is_the_attackers(lab: Bench, place: Path) -> None:
    lab.boot()
    assert (
        lab.sh(
            "mkdir /root/d && mknod /root/d/p p && ln -s ../../etc/shadow /root/d/out && echo x >/root/d/f"
        )
        == 0
    )
    told = lab.platform.copy_out(lab.name, "/root/d", place)
    assert "d/out" not in left(place)
    assert left(place) == ["d", "d/f"]
    assert "p (FIFO)" in told[0]
    assert "out (a link to ../../etc/shadow)" in told[0]
    with pytest.raises(MachineError, match="cannot be copied"):
        lab.platform.copy_out(lab.name, "/root/d/p", place)

    powerful = Archive().add("d/zero", tarfile.CHRTYPE, devmajor=1, devminor=5, mode=0o666)
    powerful.add("d/disk", tarfile.BLKTYPE, devmajor=7, devminor=0, mode=0o666)
    powerful.add("d/suid", content=b"x", mode=0o6755, uid=1, gid=1)
    powerful.add("d/passwd", tarfile.LNKTYPE, linkname="/etc/passwd")
    sends(lab, powerful.bytes())
    told = lab.platform.copy_out(lab.name, "/root/", place)
    assert left(place) == ["d", "d/f", "root", "root/d", "root/d/suid"]
    assert told[0].count("device") == 2
    found = (place / "root/d/suid").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o755, 0, 0)

    for name in ("../outside/file", "/etc/cron.d/x", "a/../../outside/file"):
        sends(lab, Archive().add("first", content=b"x").add(name, content=b"x").bytes())
        with pytest.raises(MachineError, match="could not be copied") as caught:
            lab.platform.copy_out(lab.name, "/root/d", place)
        assert "outside" in caught.value.details
    through = (
        Archive().add("l", tarfile.SYMTYPE, linkname="d").add("d", tarfile.DIRTYPE).add("l/f", content=b"x")
    )
    sends(lab, through.bytes())
    with pytest.raises(MachineError):
        lab.platform.copy_out(lab.name, "/root/d", place)
    assert left(place) == ["d", "d/f", "root", "root/d", "root/d/suid"]

    sends(lab, Archive().add("big", pax_headers={}).bytes(), FOR_EVER.replace("print $header;", _huge()))
    began = os.statvfs(place).f_bavail
    with pytest.raises(MachineError) as caught:
        lab.platform.copy_out(lab.name, "/root/d", place)
    assert "more than" in caught.value.details
    assert abs(os.statvfs(place).f_bavail - began) * os.statvfs(place).f_frsize < 4 << 30
    assert left(place) == ["d", "d/f", "root", "root/d", "root/d/suid"]


def test_a_tar_that_goes_on_after_its_archive(lab: Bench, place: Path) -> None:
    lab.boot()
    sends(lab, b"", "#!/bin/sh\nexec cat /dev/zero\n")
    with pytest.raises(MachineError, match="could not be copied"):
        lab.platform.copy_out(lab.name, "/root", place)
    assert left(place) == []


def _huge() -> str:
    """Return Perl that prints the header of a file that is larger than any disk."""
    info = tarfile.TarInfo("big")
    info.size = 1 << 60
    return f"print pack('H*', '{info.tobuf(tarfile.GNU_FORMAT).hex()}');"


def test_a_directory_here_is_merged_without_following_links(lab: Bench, place: Path) -> None:
    lab.boot()
    assert (
        lab.sh("mkdir -p /root/d/sub /root/d/link && echo new >/root/d/sub/f && echo new >/root/d/link/file")
        == 0
    )
    (place / "d").mkdir()
    (place / "d/link").symlink_to(place.parent / "outside")
    with pytest.raises(InputError, match="in the way"):
        lab.platform.copy_out(lab.name, "/root/d", place)
    assert left(place) == ["d", "d/link"]
    assert lab.sh("rm -r /root/d/link") == 0
    (place / "d/sub").mkdir()
    (place / "d/sub/f").symlink_to(place.parent / "outside/file")
    (place / "d/sub/kept").touch()
    assert lab.platform.copy_out(lab.name, "/root/d", place) == []
    assert (place / "d/sub/f").read_text() == "new\n"
    assert left(place) == ["d", "d/link", "d/sub", "d/sub/f", "d/sub/kept"]


def test_a_stopped_machines_root(lab: Bench, place: Path) -> None:
    lab.boot()
    lab.platform.stop(lab.name)
    root = lab.paths().rootfs
    (root / "root/d").mkdir()
    os.mkfifo(root / "root/d/fifo")
    os.mknod(root / "root/d/zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    (root / "root/d/out").symlink_to(place.parent / "outside")
    (root / "root/out").symlink_to(place.parent / "outside")
    (root / "root/etc").symlink_to("/etc")
    told = lab.platform.copy_out(lab.name, "/root/d", place)
    assert left(place) == ["d"]
    assert told[0].count("(") == 3
    with pytest.raises(InputError, match="there is no"):
        lab.platform.copy_out(lab.name, "/root/out/file", place)
    lab.platform.copy_out(lab.name, "/root/etc/hostname", place)  # the machine's own
    assert (place / "hostname").read_bytes() == (root / "etc/hostname").read_bytes()
    with pytest.raises(InputError):
        lab.platform.copy_in(place / "hostname", lab.name, "/root/out/new")
    (place / "tree/out").mkdir(parents=True)
    (place / "tree/out/new").write_text("x")
    (root / "root/tree").mkdir()
    (root / "root/tree/out").symlink_to(place.parent / "outside")
    lab.platform.copy_in(f"{place}/tree/.", lab.name, "/root/tree")
    assert sorted(path.name for path in (place.parent / "outside").iterdir()) == ["file"]
    deep = os.open(root / "root/d", os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("directory", dir_fd=deep)
        inner = os.open("directory", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = inner
    os.close(deep)
    before = left(place)
    with pytest.raises(MachineError, match="could not be copied") as caught:
        lab.platform.copy_out(lab.name, "/root/d", place)
    assert "deep" in caught.value.details
    assert left(place) == before


def test_a_killed_cp_leaves_nothing_after_the_next_command(lab: Bench, place: Path) -> None:
    lab.boot()
    sends(lab, Archive().add("f", content=b"x" * 4096).bytes(), STALLED)
    (place / "f").write_text("old")
    script = (
        "import sys; from pathlib import Path; from tests.local.engine_lab import Bench\n"
        "Bench(Path(sys.argv[1])).platform.copy_out(sys.argv[2], '/root/stream', Path(sys.argv[3]))\n"
    )
    words = [sys.executable, "-c", script, str(lab.home), lab.name, str(place / "f")]
    copying = subprocess.Popen(words, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while not list(place.glob(".stoneware-cp-*/content/f")):
            assert time.monotonic() < deadline
            assert copying.poll() is None
            time.sleep(0.02)
        assert recover(lab.store) == []  # it lives
        copying.send_signal(signal.SIGKILL)
    finally:
        copying.kill()
        copying.wait()
    assert len(left(place)) > 1
    assert recover(lab.store) == [f"removed what an interrupted cp had left in {place}"]
    assert left(place) == ["f"]
    assert (place / "f").read_text() == "old"
    assert recover(lab.store) == []
    assert list((lab.home / "copies").iterdir()) == []
