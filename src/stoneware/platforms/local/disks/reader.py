"""Reading a foreign disk: in a virtual machine that has nothing but the disk, and sends the root as a tar.

This computer's kernel mounts nothing of it and no program of root's looks into its file systems: that is done
by the kernel of that machine (reader-init.sh is its only program), whose QEMU runs as a user of its own in
the jail of all virtual machines, without a network. The file is opened here and handed on to be read; what
is written, as by the journal of a file system, goes into a layer that is thrown away. What comes back is
read as any archive of a stranger.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from stoneware import process
from stoneware.dataclass import dataclass
from stoneware.errors import HostError, MachineError
from stoneware.platforms.local.disks import choosing
from stoneware.platforms.local.disks.foreign import QCOW2, ForeignDisk, damaged
from stoneware.platforms.local.disks.reader_image import INITRAMFS, KERNEL, reader_image
from stoneware.platforms.local.host.requirements import check
from stoneware.platforms.local.machines.qemu import accelerator, jail
from stoneware.platforms.local.machines.qemu.disks import clone
from stoneware.platforms.local.machines.qemu.hardware import PROGRAM, user_id
from stoneware.platforms.local.store.store import Store
from stoneware.untrusted.bounded import BoundsError, bounded_json

TOOLS = (PROGRAM, "qemu-img")
_MEMORY = 512  # MiB
_OVERLAY = "changes.qcow2"
_MOST_CHANGES = 2 << 30  # bytes that a file of QEMU's may have: journals of file systems are smaller
_COMES_UP = 300.0  # seconds until the disk is described, in software and on a busy computer
_SILENCE = 300.0  # seconds without a byte of the archive
_TOLD = 256 << 20  # bytes of the archive between two words about it
_PIECE = 1 << 18
_CLOSED_LINE = 1 << 12
# QEMU ends with this command, also where that has ended before QEMU began.
_TIED = '[ "$PPID" = "$0" ] || exit 1; exec "$@"'

Progress = Callable[[str], None]


@dataclass(frozen=True)
class _Machine:
    """The machine that reads: its process, our ends of its ports, and what QEMU has said."""

    process: subprocess.Popen[bytes]
    report: socket.socket
    archive: socket.socket
    said: IO[bytes]


@contextlib.contextmanager
def root_archive(store: Store, disk: ForeignDisk, progress: Progress) -> Iterator[RootArchive]:
    """Give the root file system of a foreign disk as a stream of tar.

    Call `finish` once it is read. Raises InputError for a disk without exactly one root of a Linux that can
    be read, HostError where this computer lacks QEMU.
    """
    if os.uname().machine != "x86_64":
        raise HostError(
            "disks are read on computers with an x86-64 processor so far",
            resolution="import the root file system as a tar",
        )
    check(TOOLS)
    image = reader_image(store, progress)
    with store.staging(store.data / "disks") as staged, tempfile.TemporaryFile() as said:
        _furnish(staged, image, disk)
        with _started(store, staged, disk, said) as machine:
            reading = RootArchive(disk, machine, progress)
            reading.begin()
            yield reading


def _furnish(directory: Path, image: Path, disk: ForeignDisk) -> None:
    """Lay out what the machine has besides the disk: its kernel, and a place for what it writes."""
    for name in (KERNEL, INITRAMFS):
        clone(image / name, directory / name)
    size = -(-disk.size // 512) * 512
    process.run(["qemu-img", "create", "-q", "-f", "qcow2", directory / _OVERLAY, str(size)])


@contextlib.contextmanager
def _started(store: Store, directory: Path, disk: ForeignDisk, said: IO[bytes]) -> Iterator[_Machine]:
    """Start the machine. It is gone at the end."""
    # One that no machine has: who breaks out of this QEMU has no rights to the others' disks.
    user = user_id(secrets.token_hex(8))
    for path in (directory, *directory.iterdir()):
        os.chown(path, user, user)
    accel = accelerator.known(store)
    with contextlib.ExitStack() as held:
        file = held.enter_context(disk.path.open("rb"))
        report, theirs = (held.enter_context(each) for each in socket.socketpair())
        archive, theirs_too = (held.enter_context(each) for each in socket.socketpair())
        passed = (file.fileno(), theirs.fileno(), theirs_too.fileno())
        machine = command_line(disk.form, accel, *passed)
        tied = ["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", _TIED, str(os.getpid()), *machine]
        argv = jail.command(directory, user, tied, kvm=accel == accelerator.KVM)
        child = subprocess.Popen(
            ["prlimit", f"--fsize={_MOST_CHANGES}", "--core=0", "--", *argv],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=process.tool_environment(),
            pass_fds=passed,
        )
        # While we hold these, QEMU's end would not show as one.
        theirs.close()
        theirs_too.close()
        try:
            yield _Machine(child, report, archive, said)
        finally:
            child.kill()
            child.wait()


def command_line(form: str, accel: str, disk: int, report: int, archive: int) -> list[str]:
    """Return QEMU's command line; the numbers are descriptors. Paths are those of the jail."""
    foreign: dict[str, object] = {
        "driver": form,
        "node-name": "foreign",
        "read-only": True,
        "file": {"driver": "file", "filename": "/dev/fdset/1", "read-only": True},
    }
    if form != "raw":
        foreign["backing"] = None  # whatever it says
    changes = {
        "driver": QCOW2,
        "node-name": "disk",
        "file": {"driver": "file", "filename": f"/disks/{_OVERLAY}"},
        "backing": "foreign",
    }
    kvm = accel == accelerator.KVM
    argv = [PROGRAM, "-name", "stoneware-import", "-nodefaults", "-no-user-config", "-display", "none"]
    argv += ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
    argv += ["-machine", "q35,smm=off,vmport=off,usb=off,graphics=off", "-m", f"{_MEMORY}M"]
    argv += ["-accel", "kvm" if kvm else "tcg,thread=multi,tb-size=64", "-cpu", "host" if kvm else "max"]
    argv += ["-action", "reboot=shutdown,shutdown=poweroff,panic=exit-failure"]
    argv += ["-kernel", f"/disks/{KERNEL}", "-initrd", f"/disks/{INITRAMFS}"]
    argv += ["-append", "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on"]
    argv += ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]
    argv += ["-add-fd", f"fd={disk},set=1"]
    for node in (foreign, changes):
        argv += ["-blockdev", json.dumps(node)]
    argv += ["-device", "virtio-blk-pci,drive=disk,serial=foreign"]
    argv += ["-object", "rng-random,id=random,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=random"]
    argv += ["-device", "virtio-serial-pci,id=ports"]
    for number, (name, descriptor) in enumerate((("report", report), ("archive", archive)), start=1):
        argv += ["-chardev", f"socket,id={name},fd={descriptor}"]
        port = f"virtserialport,bus=ports.0,nr={number},chardev={name},name=stoneware.{name}"
        argv += ["-device", port]
    return argv


class RootArchive:
    """The root file system of a disk as it comes, a stream of tar."""

    def __init__(self, disk: ForeignDisk, machine: _Machine, progress: Progress) -> None:
        self._disk, self._progress = disk, progress
        self._child, self._said = machine.process, machine.said
        self._report, self._archive = machine.report, machine.archive
        self.report = choosing.Report("", "", ())  # what is on the disk, once it is known
        self._count, self._kept = 0, b""

    def begin(self) -> None:
        """Choose the partition and have it sent. Raises InputError where there is none to be chosen."""
        self.report = choosing.report_of(self._line(_COMES_UP))
        root = choosing.root_of(self.report, self._disk.path.name)
        if others := choosing.left_out(self.report, root):
            self._progress(f"left out: the partitions {', '.join(others)}")
        self._progress(f"reading partition {root.words}")
        # Only a number and one of the words of `choosing`: nothing that the disk has said goes back.
        self._report.sendall(f"{root.number} {root.directory}\n".encode())

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes of the archive, fewer at its end only. Raises MachineError, BoundsError."""
        found = bytearray()
        while len(found) < size:
            # Until it is full: who unpacks a tar takes a short read for its end.
            data = self._receive(self._archive, min(size - len(found), _PIECE), _SILENCE)
            if not data:
                break
            found += data
        before, self._count = self._count // _TOLD, self._count + len(found)
        if self._count // _TOLD > before:
            self._progress(f"{self._count >> 20} MiB read")
        return bytes(found)

    def finish(self) -> None:
        """See that all of it was read. Raises InputError where the file system could not be."""
        while True:  # what fills up the archive's last record
            ready = select.select([self._report, self._archive], [], [], _SILENCE)[0]
            if self._archive in ready and self._archive.recv(_PIECE):
                continue
            break
        try:
            document = bounded_json(self._line(_SILENCE), _CLOSED_LINE, 4)
            code, why = document["code"], document["why"]
        except (BoundsError, KeyError, TypeError) as error:
            raise self._ended("its last word is none") from error
        if code != 0:
            raise damaged(self._disk.path, f"its files cannot all be read: {str(why)[:300]}")

    def _line(self, patience: float) -> bytes:
        deadline = time.monotonic() + patience
        while b"\n" not in self._kept:
            if len(self._kept) > choosing.MOST_REPORT:
                raise self._ended("it says too much")
            data = self._receive(self._report, _PIECE, deadline - time.monotonic())
            if not data:
                raise self._ended("QEMU has ended")
            self._kept += data
        line, _, self._kept = self._kept.partition(b"\n")
        return line

    def _receive(self, port: socket.socket, size: int, patience: float) -> bytes:
        port.settimeout(max(0.01, patience))
        try:
            return port.recv(size)
        except TimeoutError:
            raise self._ended("it says nothing any more") from None
        except ConnectionError:
            return b""

    def _ended(self, why: str) -> Exception:
        """Return the error of a machine that does not read the disk."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(1)
        self._said.seek(0)
        words = self._said.read(1 << 16).decode(errors="replace").strip()[-2000:]
        if re.search(r"-blockdev .*foreign", words):
            return damaged(self._disk.path, words.splitlines()[-1].rpartition("}: ")[2])
        return MachineError(
            f"the machine that reads {self._disk.path.name} does not go on",
            details=f"{why}\n{words}".strip(),
            resolution="run the command again; then import the root file system as a tar",
        )
