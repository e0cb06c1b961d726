"""Writing an image to a file for other computers: disks by qemu-img and cp, archives by tar."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from stoneware import process
from stoneware.errors import HostError
from stoneware.files import locked
from stoneware.platforms.disks import DiskFormat, Export
from stoneware.platforms.local.disks import disks, kernel, placing
from stoneware.platforms.local.disks.layout import MIB
from stoneware.platforms.local.host.requirements import check
from stoneware.platforms.local.store.store import Store
from stoneware.platforms.protocols import BAKES, Machines
from stoneware.process import ProcessError

Progress = Callable[[str], None]
_GIB = 1 << 30
_FULL = ("No space left", "Disk quota exceeded", "File too large", "Wrote only")
_LITTLE = 1 << 20  # bytes; with less than that a tool that fails has found no room
_TOOLS = {
    DiskFormat.QCOW2: ("qemu-img",),
    DiskFormat.VMDK: ("qemu-img",),
    DiskFormat.TAR_ZST: ("zstd",),
}
# What decides the bytes of an archive besides what is in it.
_ARCHIVE = ["--numeric-owner", "--sparse", "--sort=name"]
_ATTRIBUTES = ["--xattrs", "--xattrs-include=*", "--acls"]
# By default the names of headers have tar's process id in them, and two of the times are not the image's.
_PAX = "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime"


class LocalDisks:
    """The disks of images of a store: see `stoneware.platforms.disks.Disks`."""

    def __init__(self, store: Store, machines: Machines) -> None:
        """Open the disks of a store; `machines` starts the builders of those that are missing."""
        self._store = store
        self._machines = machines

    def export(self, wanted: Export, progress: Progress) -> None:
        """Write an image to a file, which appears whole or not at all."""
        check(_TOOLS.get(wanted.format, ()))
        if wanted.target is None:
            sys.stdout.flush()
            self._write(wanted, sys.stdout.fileno(), progress)
            return
        with placing.appearing(wanted.target, force=wanted.force) as descriptor:
            self._write(wanted, descriptor, progress)

    def _write(self, wanted: Export, descriptor: int, progress: Progress) -> None:
        if not wanted.format.is_disk:
            # Held shared, as by a bake: `prune` leaves the image where it is.
            with (
                locked(self._store.build_lock_path(BAKES), shared=True),
                _in_words(wanted.target, descriptor),
            ):
                _write_tree(self._store.image_rootfs(wanted.image), wanted.format, descriptor, progress)
            return
        disks.check_possible(wanted.size)
        found = disks.ensure_disk(self._store, self._machines, wanted.image, progress)
        size = wanted.size
        # Compute Engine takes disks of whole GiB only.
        if wanted.format is DiskFormat.GCE:
            size = -(-(size or found.size) // _GIB) * _GIB
        disks.check_size(found, size)
        with self._store.staging(self._store.data / "disks") as staged:
            disk = staged / "disk.raw"
            disks.copy_disk(self._store, self._machines, wanted.image, disk, progress, size=size)
            progress(f"writing {wanted.format.value}: a disk of {disk.stat().st_size // MIB} MiB")
            epoch = kernel.epoch_of(self._store.manifest(wanted.image))
            with _in_words(wanted.target, descriptor):
                _write_disk(disk, wanted.format, descriptor, epoch)


def _write_disk(disk: Path, form: DiskFormat, descriptor: int, epoch: int) -> None:
    place = f"/proc/self/fd/{descriptor}"
    if form is DiskFormat.GCE:
        # What Compute Engine reads: a tar of GNU's old format with one file, disk.raw.
        words = ["--format=oldgnu", *_ARCHIVE, f"--mtime=@{epoch}", "--owner=0", "--group=0", "--mode=0644"]
        # -n: without the time, so that the same disk gives the same bytes.
        compressed = ["--use-compress-program=gzip -n -1"]
        _run(["tar", "--create", *words, *compressed, "-C", str(disk.parent), disk.name], descriptor)
    elif form is DiskFormat.RAW:
        _run(["cp", "--sparse=always", "--reflink=auto", str(disk), place], None, descriptor)
    else:
        options = ["-o", "subformat=streamOptimized"] if form is DiskFormat.VMDK else []
        argv = ["qemu-img", "convert", "-f", "raw", "-O", form.value, *options, str(disk), place]
        _run(argv, None, descriptor)


def _write_tree(root: Path, form: DiskFormat, descriptor: int, progress: Progress) -> None:
    progress("writing the root file system")
    packed = ["--use-compress-program=zstd -q -T0 -3"] if form is DiskFormat.TAR_ZST else []
    words = ["--format=posix", _PAX, *_ARCHIVE, *_ATTRIBUTES, *packed]
    _run(["tar", "--create", *words, "-C", str(root), "."], descriptor)


def _run(argv: Sequence[str], output: int | None, passed: int | None = None) -> None:
    """Run a program whose standard output is a descriptor, or that has one `passed`; it ends with us."""
    child = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if output is None else output,
        stderr=subprocess.PIPE,
        env=process.tool_environment(),
        pass_fds=() if passed is None else (passed,),
    )
    try:
        said = child.stderr.read(1 << 16) if child.stderr else b""
        # The rest is read as well: a full pipe would stop the program.
        while child.stderr and child.stderr.read(1 << 16):
            pass
        child.wait()
    finally:
        child.kill()
        child.wait()
        if child.stderr:
            child.stderr.close()
    text = said.decode(errors="replace")
    # Who reads our output has had enough, which is no error of the export.
    # Another signal, as of a computer without memory, is one.
    if child.returncode == -signal.SIGPIPE or (child.returncode and "Broken pipe" in text):
        raise BrokenPipeError
    if child.returncode:
        raise ProcessError(list(argv), child.returncode, text)


@contextlib.contextmanager
def _in_words(target: Path | None, descriptor: int) -> Iterator[None]:
    """Turn what a tool says of a full disk into our words; None is standard output."""
    try:
        yield
    except ProcessError as error:
        if not _is_full(error, descriptor):
            raise
        if target is not None:
            raise placing.no_room(target, error.stderr.strip()) from error
        raise HostError(
            "there is no room for what is written to standard output",
            details=error.stderr.strip(),
            resolution="make room where it leads to, then run the command again",
        ) from error


def _is_full(error: ProcessError, descriptor: int) -> bool:
    if error.returncode == -signal.SIGXFSZ or any(word in error.stderr for word in _FULL):
        return True
    # qemu-img says of a VMDK on a full disk that an argument is invalid.
    status = os.fstatvfs(descriptor)
    return stat.S_ISREG(os.fstat(descriptor).st_mode) and status.f_bavail * status.f_frsize < _LITTLE
