"""Opens what QEMU may have, and becomes QEMU: what the shim runs, in the router's network namespace.

Root's work is done here: the port's far end and the sockets are opened, the user that QEMU runs as gets the
machine's disks. Then the jail takes everything else away. The machine waits for this, so it loads no
packages, and of Python's own library only what starts in a moment.
"""

from __future__ import annotations

import _socket  # of `socket`, which loads enum and selectors: half of the time that all of this takes
import fcntl
import os
import struct
import sys
import time

from stoneware.platforms.local.machines.qemu import jail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_TUNSETIFF = 0x400454CA  # if_tun.h
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_PORT, _LOOK = 60.0, 0.002  # seconds that it may take, with many machines, and between two looks
_SOCKETS = "sockets"
# Python's -I takes no path from outside, so where our own modules are is said to it.
_SOURCES = __file__.rsplit("/", 6)[0]
_START = f"import sys; sys.path.append({_SOURCES!r}); from {__name__} import main; main()"


def command(settings: str) -> list[str]:
    """Return the command that becomes the QEMU of a file of settings: see `hardware.launch_settings`."""
    return [*jail.PYTHON, "-c", _START, settings]


def main() -> None:
    """Become the QEMU that the lines of a file describe, of a kind, a number and a text each."""
    # surrogateescape: paths need not be UTF-8.
    with open(sys.argv[1], encoding="utf-8", errors="surrogateescape") as lines:  # noqa: PTH123
        said = [line.rstrip("\n").split(" ", 2) for line in lines]
    found: dict[str, dict[int, str]] = {}
    for kind, number, text in said:
        found.setdefault(kind, {})[int(number)] = text
    _listen(f"{found['run'][0]}/{_SOCKETS}", found["socket"])
    for kind, mode in (("volume", os.O_RDWR), ("fixed", os.O_RDONLY)):
        for descriptor, path in found.get(kind, {}).items():
            _hand_on(os.open(path, mode | os.O_NOFOLLOW), descriptor)  # it stays root's
    ((user, disks),) = found["disks"].items()
    _give(disks, user)
    # Last, since the shim makes the port meanwhile: one after the other took 70 ms of each start.
    for descriptor, name in found.get("tap", {}).items():
        _await_port(f"{found['run'][0]}/port")
        _hand_on(_tap(name), descriptor)
    jail.enter(disks, user, list(found["word"].values()), kvm="kvm" in found)


def _hand_on(opened: int, descriptor: int) -> None:
    """Have QEMU find what is open under the number that its command line names."""
    os.dup2(opened, descriptor, inheritable=True)
    os.close(opened)


def _await_port(note: str) -> None:
    """Wait until the shim has made the machine's port, as it says in a file."""
    deadline = time.monotonic() + _PORT
    while time.monotonic() < deadline:
        try:
            with open(note, encoding="ascii") as stream:  # noqa: PTH123
                said = stream.read()
        except FileNotFoundError:
            said = ""
        if said == "made\n":
            return
        if said == "failed\n":
            break
        time.sleep(_LOOK)
    raise SystemExit("the machine's network port could not be made")


def _tap(name: str) -> int:
    """Open the far end of the machine's port, which exists in this network namespace."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    return descriptor


def _listen(directory: str, names: Mapping[int, str]) -> None:
    """Listen at the sockets that lead to the machine, for root alone."""
    os.makedirs(directory, mode=0o700, exist_ok=True)  # noqa: PTH103
    os.chdir(directory)  # a socket's path may be no longer than 107 bytes
    # Those of the last start: no socket is bound where a file is.
    for name in os.listdir():  # noqa: PTH208
        os.unlink(name)  # noqa: PTH108
    for descriptor, name in names.items():
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        listener.bind(name)
        listener.listen(4)
        _hand_on(listener.detach(), descriptor)
    os.chdir("/")


def _give(disks: str, user: int) -> None:
    """Let QEMU's user, and no other, have the machine's disks."""
    for path in (disks, *(f"{disks}/{name}" for name in os.listdir(disks))):  # noqa: PTH208
        os.chown(path, user, user, follow_symlinks=False)
