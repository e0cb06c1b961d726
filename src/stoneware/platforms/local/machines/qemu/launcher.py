"""Opens what QEMU may have, and becomes QEMU: what the shim runs, in the router's network namespace.

Root's work is done here: the port's far end and the sockets are opened, the user that QEMU runs as gets the
machine's disks. Then the jail takes everything else away. No package of Python is loaded: that takes time.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any

from stoneware.platforms.local.machines.qemu import jail

_TUNSETIFF = 0x400454CA  # if_tun.h
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_SOCKETS = "sockets"
_SOURCES = os.fspath(Path(__file__).parents[5])
_START = f"import sys; sys.path.append({_SOURCES!r}); from {__name__} import main; main()"


def command(settings: Path) -> list[str]:
    """Return the command that becomes the QEMU of a file of settings: see `launching.write`."""
    return [*jail.PYTHON, "-c", _START, os.fspath(settings)]


def main() -> None:
    """Become the QEMU that the settings in a file (JSON) describe."""
    settings: dict[str, Any] = json.loads(Path(sys.argv[1]).read_bytes())
    if settings["tap"]:
        _hand_on(_tap(settings["tap"]["name"]), settings["tap"]["descriptor"])
    _listen(Path(settings["run"]) / _SOCKETS, settings["sockets"])
    for path, descriptor in settings["volumes"]:
        _hand_on(os.open(path, os.O_RDWR | os.O_NOFOLLOW), descriptor)  # it stays root's
    _give(Path(settings["disks"]), settings["user"])
    jail.become(settings["disks"], settings["user"], settings["argv"], kvm=settings["kvm"])


def _hand_on(opened: int, descriptor: int) -> None:
    """Have QEMU find what is open under the number that its command line names."""
    os.dup2(opened, descriptor, inheritable=True)
    os.close(opened)


def _tap(name: str) -> int:
    """Open the far end of the machine's port, which exists in this network namespace."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    return descriptor


def _listen(directory: Path, names: dict[str, int]) -> None:
    """Listen at the sockets that lead to the machine, for root alone."""
    directory.mkdir(mode=0o700, exist_ok=True)
    os.chdir(directory)  # a socket's path may be no longer than 107 bytes
    for name, descriptor in names.items():
        Path(name).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(name)
        listener.listen(4)
        _hand_on(listener.detach(), descriptor)
    os.chdir("/")


def _give(disks: Path, user: int) -> None:
    """Let QEMU's user, and no other, have the machine's disks."""
    for path in (disks, *disks.iterdir()):
        os.chown(path, user, user, follow_symlinks=False)
