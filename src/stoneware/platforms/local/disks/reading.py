"""Reading what is on the disk of a virtual machine, which may have written anything there.

This computer's kernel does not mount it. fuse2fs reads it, as a user who is nobody here and sees nothing
else, after e2fsck has put a copy of the disk in order, as a machine's own would. What it reads comes as a
tar, and is unpacked by a root who sees one directory and may do nothing but write in it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from stoneware import process
from stoneware.errors import InputError, MachineError
from stoneware.platforms.local.disks.layout import NoRoom
from stoneware.platforms.local.host.requirements import check
from stoneware.platforms.local.store import btrfs, volume_kinds

TOOLS = ("fuse2fs", "e2fsck", "fuse", "nsenter", "unshare", "setpriv", "tar")
_SCRIPT = Path(__file__).with_name("reading.sh")
_CUT_OFF = "not connected"  # what is said of a file system whose server is gone
_FIRST, _COUNT = 0x80000000, 0x70000000  # ids of nobody, and how many of the disk's they stand for
_FAULTY, _UNREADABLE, _DEVICES, _TIRED = 4, 5, 6, 7  # exit codes of reading.sh
_FULL = ("No space left", "Disk quota exceeded")
_MOST_SAID = 4096  # bytes
# What reading may take, ten times what honest disks do: seconds of a processor, and memory for e2fsck's maps.
_LEAST_SECONDS, _SECONDS_WRITTEN, _SECONDS_SIZE = 900, 120, 10  # the latter two for each GiB
_LEAST_MEMORY, _BYTES_PER_BYTE = 2 << 30, 1024


def fill_directory(source: Path, made: Path) -> None:
    """Copy what is on a volume's disk to the directory of a blank volume.

    Raises InputError for a disk that cannot be read, or that has devices, which containers cannot have.
    """
    check(TOOLS)
    if volume_kinds.is_blank(source):
        return
    scratch, limits = made / "scratch", limits_of(volume_kinds.disk_file(source).stat())
    with volume_kinds.disk_file(source).open("rb") as reader, scratch.open("xb") as writer:
        btrfs.share_blocks(reader.fileno(), writer.fileno())
        os.fchmod(writer.fileno(), 0o600)
        os.fchown(writer.fileno(), _FIRST, _FIRST)
    try:
        with _namespace() as namespace:
            reading = ["read", str(scratch), str(_FIRST), namespace]
            _copy(source.name, reading, volume_kinds.contents(made), limits)
    finally:
        scratch.unlink()
    _write_out(volume_kinds.contents(made))


def limits_of(disk: os.stat_result) -> list[str]:
    """Return the words that run a program with limits for a disk: no crafted one keeps us busy for ever.

    What is on the disk takes time, and so does the zero that is read of a hole. Both ends have it each.
    """
    written, size = disk.st_blocks * 512, disk.st_size
    seconds = _LEAST_SECONDS + _SECONDS_WRITTEN * (written >> 30) + _SECONDS_SIZE * (size >> 30)
    return [
        "prlimit",
        f"--cpu={seconds}",
        f"--as={_LEAST_MEMORY + size // _BYTES_PER_BYTE}",
        "--core=0",
        "--",
    ]


def too_long(name: str, limits: Sequence[str]) -> InputError:
    """Return the error for a volume that reaches these limits."""
    return InputError(
        f"the volume {name!r} takes longer to convert than any honest one, or more memory",
        details=f"It may be made to be like that. These were the limits: {' '.join(limits[1:3])}",
        resolution=f"stoneware cp MACHINE:/path .    # out of a machine that has {name}, then into another",
    )


@contextlib.contextmanager
def _namespace() -> Iterator[str]:
    """Give the path of a user namespace whose users are nobody's here."""
    argv = ["setpriv", "--pdeathsig", "KILL", "unshare", "--user", "sh", "-c", "echo; read -r line"]
    env = process.tool_environment()
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as holder:
        assert holder.stdout is not None  # noqa: S101
        assert holder.stdin is not None  # noqa: S101
        try:
            if not holder.stdout.readline():
                raise MachineError("no user namespace can be made", resolution="stoneware doctor")
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{holder.pid}/{name}").write_text(f"0 {_FIRST} {_COUNT}\n")
            descriptor = os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY)
        finally:
            # The process may end: the namespace lives on by its descriptor.
            holder.stdin.close()
    try:
        os.set_inheritable(descriptor, True)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _copy(name: str, reading: Sequence[str], target: Path, limits: Sequence[str]) -> None:
    """Let one end read the disk, and the other write what it says."""
    with (
        _end(reading, limits, stdout=subprocess.PIPE) as reader,
        _end(["write", str(target)], limits, stdin=reader.stdout) as writer,
    ):
        assert reader.stdout is not None  # noqa: S101
        # The writer alone has it now: where that ends, the reader is told by SIGPIPE.
        reader.stdout.close()
        # The writer says little before it has read all, and the reader's errors fit into its pipe.
        wrote, read = _said(writer), _said(reader)
        codes = reader.wait(), writer.wait()
    if any(word in wrote for word in _FULL):
        raise NoRoom("there is no room for the directory", details=wrote)
    if _TIRED in codes or _CUT_OFF in read:
        raise too_long(name, limits)
    if codes[0] == _DEVICES:
        raise InputError(
            f"the disk {name!r} has device files, which containers cannot have",
            details=read,
            resolution="remove them in the virtual machine, then convert it again",
        )
    if any(codes):
        raise InputError(
            f"the disk {name!r} cannot be read" if codes[0] else f"what is on {name!r} cannot be written",
            details="\n".join(filter(None, (read, wrote))),
            resolution="start its virtual machine, which checks the disk and repairs what it can"
            if codes[0] in (_FAULTY, _UNREADABLE)
            else "stoneware doctor",
        )


@contextlib.contextmanager
def _end(
    words: Sequence[str],
    limits: Sequence[str],
    *,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run one end of the copy, which ends with us."""
    argv = [
        "setpriv",
        "--pdeathsig",
        "KILL",
        *limits,
        "unshare",
        "--mount",
        "--net",
        "--ipc",
        "--pid",
        "--fork",
    ]
    argv += ["--kill-child", "--propagation", "private", "sh", str(_SCRIPT), *words]
    child = subprocess.Popen(
        argv,
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=process.tool_environment(),
        # The descriptor of the user namespace goes along.
        close_fds=False,
    )
    with child:
        try:
            yield child
        except BaseException:
            child.kill()
            raise


def _said(child: subprocess.Popen[bytes]) -> str:
    """Return the beginning of what a program says about its errors, once it has ended."""
    assert child.stderr is not None  # noqa: S101
    said = child.stderr.read(_MOST_SAID)
    # Read on, so that a full pipe holds nothing up.
    while child.stderr.read(1 << 16):
        pass
    return said.decode(errors="backslashreplace").strip()


def _write_out(directory: Path) -> None:
    """Have all that was written outlast a crash of this computer."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _syncfs(descriptor)
    finally:
        os.close(descriptor)


def _syncfs(descriptor: int) -> None:
    import ctypes

    if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
