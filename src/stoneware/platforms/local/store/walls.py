"""The walls between the store and the other users of this computer.

A setuid program or a device node that a machine leaves in its root, in a volume or in an image is owned by
this computer's user of the same number: by root. So only root may reach it (the store and HOME have
mode 0700), and it may do nothing even then (the store is mounted `nosuid,nodev`). Machines have a
mount of their own without `nosuid` (shim.sh), where their own root's programs work and only for them.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from stoneware import process
from stoneware.files import locked

MOUNT_OPTIONS = "nosuid,nodev"
_FLAGS = os.ST_NOSUID | getattr(os, "ST_NODEV", 4)
_OTHERS = 0o077


def missing_walls(home: Path, data: Path) -> list[str]:
    """Return what lets other users of this computer at a store, as phrases; forks nothing."""
    found = [f"{path} has mode {mode & 0o7777:04o}" for path, mode in _open_modes(home, data)]
    if data.is_dir() and not _restricted(data):
        found.append(f"{data} is mounted without {MOUNT_OPTIONS}")
    return found


def raise_walls(home: Path, data: Path) -> list[str]:
    """Close a store to other users of this computer; say, as sentences, what of an older store was open."""
    told = []
    for path, mode in _open_modes(home, data):
        path.chmod(0o700)
        told.append(f"closed {path} to other users of this computer: it had mode {mode & 0o7777:04o}")
    if not _restricted(data) and _restrict(home, data):
        told.append(f"remounted {data} with {MOUNT_OPTIONS}: setuid programs of machines end there")
    return told


def outermost(command: list[str]) -> None:
    """Run a command where the computer's first process sees mounts, if that is elsewhere; it may fail.

    Under sudo with a private mount namespace: what is mounted has to outlive this command.
    """
    with contextlib.suppress(OSError):
        if Path("/proc/self/ns/mnt").readlink() != Path("/proc/1/ns/mnt").readlink():
            process.run(["nsenter", "--target", "1", "--mount", *command], check=False)


def is_mount_point(path: Path) -> bool:
    """Say whether something is mounted at a path, be it a directory bound onto itself."""
    escaped = (
        str(path).replace("\\", r"\134").replace(" ", r"\040").replace("\t", r"\011").replace("\n", r"\012")
    )
    # By name, as mountinfo spells it (proc(5)): a directory bound onto itself is on the same device.
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:  # noqa: PTH123
        return any(line.split(" ", 5)[4] == escaped for line in lines)


def _open_modes(home: Path, data: Path) -> list[tuple[Path, int]]:
    found = []
    for path in (home, data):
        with contextlib.suppress(FileNotFoundError):
            mode = path.stat().st_mode
            if mode & _OTHERS:
                found.append((path, mode))
    return found


def _restricted(data: Path) -> bool:
    return os.statvfs(data).f_flag & _FLAGS == _FLAGS


def _restrict(home: Path, data: Path) -> bool:
    """Take setuid programs and devices from the store's mount; say whether that mount was there before.

    Where HOME is on a btrfs of the computer's own, the store's directory is bound onto itself for that. A
    computer that does not let us mount keeps the other wall, the mode, and `doctor` says so.
    """
    with locked(home / "locks" / "pool.lock"):
        if _restricted(data):
            return False
        own = is_mount_point(data)
        if own:
            # bind: the flags of this mount alone; machines have mounts of the same file system without them.
            command = ["mount", "-o", f"remount,bind,{MOUNT_OPTIONS}", str(data)]
        else:
            command = ["mount", "-o", f"bind,{MOUNT_OPTIONS}", str(data), str(data)]
        outermost(command)
        if not _restricted(data):
            process.run(command, check=False)
        return own and _restricted(data)
