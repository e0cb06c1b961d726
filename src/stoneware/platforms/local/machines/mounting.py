"""Mounts a directory of this computer in a container that runs: a program of its own, started by root.

The mount's ids are those of the machine's user namespace. It goes on as the machine's root, in that namespace
and the machine's mount namespace, where links and mounts of the machine's making lead nowhere else. It joins
no PID namespace: nothing in the machine can see it, trace it or read its files. Of Python's own library it
takes what starts in a moment, and no package.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PYTHON = (sys.executable, "-I", "-S")
# linux/mount.h, linux/sched.h, linux/fcntl.h, asm-generic/unistd.h
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_CLONE, _EMPTY_PATH = 1, 0x1000
_FROM_EMPTY, _TO_EMPTY = 0x04, 0x40
_RDONLY, _NOSUID, _NODEV, _IDMAP = 0x1, 0x2, 0x4, 0x100000
_REC, _PRIVATE = 16384, 1 << 18
_NEWNS, _NEWUSER = 0x00020000, 0x10000000
_HERE = -100
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def command(source: str, target: str, user: int, mounts: int, *, read_only: bool) -> list[str]:
    """Return the command that mounts `source` at a directory that is there in the machine.

    `user` and `mounts` are descriptors of the machine's namespaces, which it inherits.
    """
    return [*PYTHON, __file__, source, target, str(user), str(mounts), "ro" if read_only else "rw"]


def give(source: str, target: str, user: int, mounts: int, *, read_only: bool) -> None:
    """Mount a directory in a machine. Raises OSError."""
    kernel = _Kernel()
    tree = kernel.tree(source)
    # On the computer the store is nosuid. In the machine its setuid programs are its own.
    kernel.set_attributes(tree, _IDMAP | _NODEV | (_RDONLY if read_only else 0), _NOSUID, user)
    kernel.unshare()
    kernel.make_private()
    kernel.move(tree, os.open(source, _DIRECTORY))
    os.chdir(source)
    kernel.enter(user, _NEWUSER)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    # Copied into namespaces of a user with less, mounts keep for good what they do not allow.
    kernel.unshare()
    tree = kernel.tree(".")
    kernel.enter(mounts, _NEWNS)
    kernel.move(tree, _opened(target))


def _opened(path: str) -> int:
    """Open a directory by its path, none of which may be a link."""
    found = os.open("/", _DIRECTORY)
    for name in path.strip("/").split("/"):
        found = os.open(name, _DIRECTORY, dir_fd=found)
    return found


class _Kernel:
    """The system calls that Python does not have. All raise OSError."""

    def __init__(self) -> None:
        self._library: Any = ctypes.CDLL(None, use_errno=True)

    def _call(self, what: str, function: Any, *arguments: object) -> int:
        found = int(function(*arguments))
        if found < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), what)
        return found

    def _system(self, what: str, number: int, *arguments: object) -> int:
        return self._call(what, self._library.syscall, ctypes.c_long(number), *arguments)

    def tree(self, path: str) -> int:
        """Return a copy of the mount at a path that is mounted nowhere."""
        return self._system(path, _OPEN_TREE, _HERE, os.fsencode(path), _CLONE | os.O_CLOEXEC)

    def set_attributes(self, tree: int, wanted: int, unwanted: int, user: int) -> None:
        """Change attributes of a mount, and map its ids into a user namespace."""
        attributes = struct.pack("=QQQQ", wanted, unwanted, 0, user)
        size = ctypes.c_size_t(len(attributes))
        self._system("mount_setattr", _MOUNT_SETATTR, tree, b"", _EMPTY_PATH, attributes, size)

    def move(self, tree: int, target: int) -> None:
        """Mount at an open directory what is mounted nowhere."""
        self._system("move_mount", _MOVE_MOUNT, tree, b"", target, b"", _FROM_EMPTY | _TO_EMPTY)

    def unshare(self) -> None:
        self._call("unshare", self._library.unshare, _NEWNS)

    def make_private(self) -> None:
        flags = ctypes.c_ulong(_REC | _PRIVATE)
        self._call("private", self._library.mount, None, b"/", None, flags, None)

    def enter(self, namespace: int, kind: int) -> None:
        self._call("setns", self._library.setns, namespace, kind)


def main() -> None:
    """Do what the words name: SOURCE TARGET USER MOUNTS MODE."""
    source, target, user, mounts, mode = sys.argv[1:]
    try:
        give(source, target, int(user), int(mounts), read_only=mode == "ro")
    except OSError as error:
        raise SystemExit(f"{error.filename}: {error.strerror}") from error


if __name__ == "__main__":
    main()
