"""The jail that QEMU runs in: programs and libraries to be read, the machine's disks, nothing else.

It is made by system calls in one process: a program for each of its mounts would take half of the time that
passes before QEMU runs. Of Python's own library it takes what starts in a moment, and no package.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys

# Type checkers know the name; importing it from typing is work for nothing before each start of QEMU.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

# Neither our caller's paths and environment nor packages: looking for those takes time at each start.
PYTHON = (sys.executable, "-I", "-S")
_PLACE = "/run/stoneware/jail"
# linux/mount.h, linux/sched.h
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8
_REMOUNT, _BIND, _REC, _PRIVATE = 32, 4096, 16384, 1 << 18
_DETACH = 2
_NEWNS, _NEWIPC, _NEWNET = 0x00020000, 0x08000000, 0x40000000
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_SIZE = "size=1m"


def command(disks: Path, user: int, argv: Sequence[str], *, kvm: bool) -> list[str]:
    """Return a command that root starts: `argv` has a directory as /disks, and runs as a user of its own."""
    return [*PYTHON, __file__, os.fspath(disks), str(user), "kvm" if kvm else "", *argv]


def enter(disks: str, user: int, argv: Sequence[str], *, kvm: bool) -> None:
    """Become a command in the jail, as that user without any privilege. Raises OSError."""
    make(disks, user, kvm=kvm)
    who = [f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    less = ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    os.execv(_program("setpriv"), ["setpriv", *who, *less, "--", *argv])  # noqa: S606


def _program(name: str) -> str:
    """Return where a program is; os.execvp would load a module, which is out of reach by now."""
    places = [f"{directory}/{name}" for directory in os.environ.get("PATH", os.defpath).split(":")]
    return next((place for place in places if os.access(place, os.X_OK)), name)


def make(disks: str, user: int, *, kvm: bool) -> None:
    """Go into the jail, in mount, network and IPC namespaces of its own. Raises OSError."""
    kernel = _Kernel()
    kernel.unshare()
    os.umask(0o022)
    os.makedirs(_PLACE, exist_ok=True)  # noqa: PTH103 - in a namespace where nothing else is
    kernel.mount("tmpfs", _PLACE, "tmpfs", _NOSUID, f"mode=0755,{_SIZE}")
    os.chdir(_PLACE)
    for name in ("usr", "dev", "disks", "etc", "tmp"):
        os.mkdir(name)  # noqa: PTH102
    kernel.bind("/usr", "usr", _RDONLY | _NOSUID)
    for name in _SYSTEM:
        _system(kernel, name)
    _touch("etc/ld.so.cache")
    kernel.bind("/etc/ld.so.cache", "etc/ld.so.cache", _RDONLY)
    for device in ("null", "urandom"):
        _touch(f"dev/{device}")
        kernel.bind(f"/dev/{device}", f"dev/{device}")
    if kvm:  # a node of its own: this computer's may be root's alone
        os.mknod("dev/kvm", stat.S_IFCHR | 0o600, os.stat("/dev/kvm").st_rdev)  # noqa: PTH116
        os.chown("dev/kvm", user, user)
    kernel.bind(disks, "disks", _NOSUID | _NODEV | _NOEXEC)
    kernel.pivot_here()
    # Last: until here places to mount at had to be made.
    kernel.mount(None, "/", None, _REMOUNT | _RDONLY | _NOSUID, _SIZE)


def _system(kernel: _Kernel, name: str) -> None:
    """Give the jail a directory of programs or libraries, as it is on this computer."""
    theirs = f"/{name}"
    if os.path.islink(theirs):  # noqa: PTH114
        os.symlink(f"usr/{name}", name)  # noqa: PTH211
    elif os.path.isdir(theirs):  # noqa: PTH112
        os.mkdir(name)  # noqa: PTH102
        kernel.bind(theirs, name, _RDONLY | _NOSUID)


def _touch(path: str) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))


class _Kernel:
    """The system calls that Python does not have. All raise OSError."""

    def __init__(self) -> None:
        self._library: Any = ctypes.CDLL(None, use_errno=True)

    def _call(self, what: str, function: Any, *arguments: object) -> None:
        if function(*arguments) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), what)

    def unshare(self) -> None:
        self._call("namespaces", self._library.unshare, _NEWNS | _NEWIPC | _NEWNET)
        self.mount(None, "/", None, _REC | _PRIVATE)

    def mount(
        self, source: str | None, target: str, kind: str | None, flags: int, options: str | None = None
    ) -> None:
        words = [None if word is None else os.fsencode(word) for word in (source, target, kind, options)]
        self._call(target, self._library.mount, *words[:3], ctypes.c_ulong(flags), ctypes.c_char_p(words[3]))

    def bind(self, source: str, target: str, flags: int = 0) -> None:
        """Bind a file or directory, which keeps what it is not allowed already."""
        self.mount(source, target, None, _BIND)
        if flags:
            # A remount takes away every flag that it does not name.
            kept = os.statvfs(target).f_flag & (_RDONLY | _NOSUID | _NODEV | _NOEXEC)
            self.mount(None, target, None, _REMOUNT | _BIND | flags | kept)

    def pivot_here(self) -> None:
        """Make the working directory the root; the old one is out of reach."""
        # pivot_root(2), NOTES: with one directory for both, the old root lies over the new one and goes.
        number = _PIVOT_ROOT[os.uname().machine]
        self._call("pivot_root", self._library.syscall, number, b".", b".")
        self._call("the old root", self._library.umount2, b".", _DETACH)
        os.chdir("/")


def main() -> None:
    """Become what the words name: DISKS USER KVM COMMAND."""
    disks, user, kvm, *argv = sys.argv[1:]
    try:
        enter(disks, int(user), argv, kvm=bool(kvm))
    except OSError as error:
        raise SystemExit(f"the jail of a virtual machine: {error}") from error


if __name__ == "__main__":
    main()
