"""Opens what QEMU may have, and becomes QEMU: what the shim runs, in the router's network namespace.

Root's work is done here: the port's far end and the sockets are opened, the user that QEMU runs as gets the
machine's disks. Then jail.sh takes everything else away.
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
from stoneware.platforms.local.machines.qemu.hardware import Hardware, command_line, socket_names, user_id

_TUNSETIFF = 0x400454CA  # if_tun.h
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_SOCKETS = "sockets"


def main() -> None:
    """Become the QEMU that the settings in a file (JSON) describe."""
    settings: dict[str, Any] = json.loads(Path(sys.argv[1]).read_bytes())
    run, disks = Path(settings["run"]), Path(settings["disks"])
    hardware = Hardware(
        **settings["hardware"],
        tap=_tap(f"vb-{settings['hardware']['machine_id']}") if settings["hardware"]["mac"] else -1,
        sockets=_listen(run / _SOCKETS),
        volumes=tuple((name, _open(path)) for name, path in settings.get("volumes", ())),
    )
    user = user_id(hardware.machine_id)
    _give(disks, user)
    argv = jail.command(disks, user, command_line(hardware), kvm=hardware.accelerator == "kvm")
    os.execvp(argv[0], argv)  # noqa: S606 - with the environment and the programs of the shim


def _tap(name: str) -> int:
    """Open the far end of the machine's port, which exists in this network namespace."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    os.set_inheritable(descriptor, True)
    return descriptor


def _open(disk: str) -> int:
    """Open the disk of a volume, which stays root's."""
    descriptor = os.open(disk, os.O_RDWR | os.O_NOFOLLOW)
    os.set_inheritable(descriptor, True)
    return descriptor


def _listen(directory: Path) -> dict[str, int]:
    """Listen at the sockets that lead to the machine, for root alone; return their descriptors."""
    directory.mkdir(mode=0o700, exist_ok=True)
    os.chdir(directory)  # a socket's path may be no longer than 107 bytes
    found = {}
    for name in socket_names():
        Path(name).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(name)
        listener.listen(4)
        found[name] = listener.detach()
        os.set_inheritable(found[name], True)
    os.chdir("/")
    return found


def _give(disks: Path, user: int) -> None:
    """Let QEMU's user, and no other, have the machine's disks."""
    for path in (disks, *disks.iterdir()):
        os.chown(path, user, user, follow_symlinks=False)


if __name__ == "__main__":
    main()
