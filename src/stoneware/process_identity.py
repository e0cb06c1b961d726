"""Which process is which: a process id with its start time, this computer's boot, who has a socket open.

Read from /proc, not with psutil: the records hold start times in clock ticks since boot, which the shim (a
shell script) writes too. psutil gives seconds since the epoch, and those change when somebody sets the clock.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path

from stoneware.dataclass import dataclass

_DEAD = ("Z", "X")  # proc_pid_stat(5): a zombie, and what is dead
_LARGEST = 1 << 31  # process ids are below


@dataclass(frozen=True)
class ProcessIdentity:
    """A process that cannot be mistaken for another: `start` is its start time in clock ticks since boot."""

    pid: int
    start: int

    @property
    def alive(self) -> bool:
        """Say whether this very process still runs and is no zombie."""
        return start_time(self.pid) == self.start


@functools.cache
def boot_id() -> str:
    """Return the identity of this computer's present boot: process ids mean nothing in another one."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int) -> ProcessIdentity | None:
    """Return the identity of a process, or None where it is gone or a zombie."""
    start = start_time(pid)
    return None if start is None else ProcessIdentity(pid, start)


def parse_identity(text: str) -> ProcessIdentity | None:
    """Return the identity that `PID START` means, as the shim writes it, or None where that is none."""
    try:
        pid, start = map(int, text.split())
    except ValueError:
        return None
    return ProcessIdentity(pid, start) if 0 < pid < _LARGEST else None


def start_time(pid: int) -> int | None:
    """Return a process's start time in clock ticks since boot, or None where it is gone or a zombie."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in _DEAD else int(fields[19])


def parent(pid: int) -> int | None:
    """Return the process id of a process's parent, or None where the process is gone."""
    fields = _stat(pid)
    return None if fields is None else int(fields[1])


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat after the program's name, which may hold blanks and parentheses."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return os.read(descriptor, 4096).decode(errors="replace").rpartition(")")[2].split()
    except ProcessLookupError:
        return None
    finally:
        os.close(descriptor)


def pids() -> Iterator[int]:
    """Return the process ids of all processes that are seen from here."""
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())


def command_line(pid: int) -> list[str]:
    """Return the words a process was started with; none where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def descendants(pid: int) -> Iterator[int]:
    """Return the processes that a process has started, and those have, and so on."""
    # Not by /proc/PID/task/TID/children: each thread has its own, and some may be left out while others end.
    children: dict[int, list[int]] = {}
    for child in pids():
        if (above := parent(child)) is not None:
            children.setdefault(above, []).append(child)
    left = [pid]  # not by recursion: a machine decides how deep its processes start each other
    while left:
        started = children.pop(left.pop(), [])
        yield from started
        left += started


def network_namespace(pid: int) -> int | None:
    """Return the inode of a process's network namespace, or None where the process is gone."""
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError:
        return None


def socket_owner(inode: int) -> str | None:
    """Return `NAME (process PID)` of a process that has a socket open, or None."""
    target = f"socket:[{inode}]"
    for pid in pids():
        process = Path(f"/proc/{pid}")
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(descriptor.readlink()) == target:
                        return f"{(process / 'comm').read_text().strip()} (process {pid})"
    return None
