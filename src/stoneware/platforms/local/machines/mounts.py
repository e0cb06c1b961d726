"""Which mounts of a machine's making show a directory of this computer, by what the kernel says of them.

Only /proc of this computer is read: no look at a file of the machine, whose file systems may never answer.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from stoneware.dataclass import dataclass
from stoneware.errors import MachineError
from stoneware.process_identity import descendants
from stoneware.untrusted.visible import visible

_ESCAPE = re.compile(rb"\\([0-7]{3})")
_LONGEST = 5.0  # seconds: a machine may have so many processes and mounts that nobody waits for the end
_SHOWN = 100  # letters of what a machine has named
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError, NotADirectoryError)


@dataclass(frozen=True)
class Shown:
    """A directory as mounts show it: the device of its file system, and where it is in that."""

    device: bytes
    root: bytes

    def is_below(self, device: bytes, root: bytes) -> bool:
        """Say whether a mount shows it, or something in it."""
        return device == self.device and (root + b"/").startswith(self.root + b"/")


def shown(path: Path) -> Shown:
    """Return how mounts show a directory that is in the store. Raises OSError where it is on no mount."""
    text = os.fsencode(path.resolve())  # as the table has it
    best: tuple[bytes, bytes, bytes] | None = None
    for device, root, place in _mounts("/proc/self/mountinfo"):
        # The last of those at one place covers the others.
        if (text + b"/").startswith(place.rstrip(b"/") + b"/") and (
            best is None or len(place) >= len(best[2])
        ):
            best = device, root, place
    if best is None:
        raise FileNotFoundError(path)
    device, root, place = best
    within = text[len(place.rstrip(b"/")) :]
    return Shown(device, root.rstrip(b"/") + within)


def _mounts(table: str) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Give the device, the root and the place of each mount in a table (proc(5): mountinfo)."""
    with open(table, "rb") as lines:  # noqa: PTH123 - paths below /proc, many of them
        for line in lines:
            _, _, device, root, place, _ = line.split(b" ", 5)
            yield device, _plain(root), _plain(place)


def _plain(text: bytes) -> bytes:
    return _ESCAPE.sub(lambda found: bytes((int(found[1], 8) & 0xFF,)), text)


def uses(leader: int, directory: Shown, place: str) -> tuple[bool, list[str]]:
    """Say whether a machine has a directory mounted at a place, and list its other uses of it, in words.

    `leader` is its first process. Raises MachineError where it takes too long to find out.
    """
    deadline = time.monotonic() + _LONGEST
    there, others = False, set()
    wanted = os.fsencode(place)
    known: set[str] = set()
    for process in (leader, *descendants(leader)):
        if time.monotonic() > deadline:
            raise MachineError("a machine has too many processes to look at all of their mounts")
        with contextlib.suppress(*_GONE):
            namespace = os.readlink(f"/proc/{process}/ns/mnt")  # noqa: PTH115
            if namespace not in known:
                known.add(namespace)
                for device, root, mounted in _mounts(f"/proc/{process}/mountinfo"):
                    if directory.is_below(device, root):
                        there = there or mounted == wanted
                        others |= {_words(mounted)} if mounted != wanted else set()
            if _has_open(process, wanted):
                others.add(f"the process {_name(process)} uses {place}")
    return there, sorted(others)


def _words(place: bytes) -> str:
    return f"it is mounted at {_short(os.fsdecode(place))}"


def _short(text: str) -> str:
    # The machine has chosen it.
    shown = visible(text)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"


def _has_open(process: int, place: bytes) -> bool:
    """Say whether a process works in a directory, or has something open there."""
    links = [f"/proc/{process}/cwd", f"/proc/{process}/root"]
    descriptors = f"/proc/{process}/fd"
    links += [f"{descriptors}/{number}" for number in os.listdir(descriptors)]  # noqa: PTH208
    for link in links:
        with contextlib.suppress(*_GONE):
            if (os.fsencode(os.readlink(link)) + b"/").startswith(place + b"/"):  # noqa: PTH115
                return True
    return False


def _name(process: int) -> str:
    with contextlib.suppress(*_GONE):
        return _short(Path(f"/proc/{process}/comm").read_text(errors="replace").strip())
    return str(process)
