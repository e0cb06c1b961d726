"""H2, from the other side: what answers on the machine's bus is the attacker's, and says anything."""

from __future__ import annotations

import array
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stoneware.errors import MachineError
from stoneware.platforms.local.machines import bus as machine_bus
from tests.local.engine_lab import Bench

pytestmark = pytest.mark.machine

Talk = Callable[[socket.socket], None]
OK = b"OK 0123456789abcdef0123456789abcdef\r\n"


def silent(_peer: socket.socket) -> None:
    pass


def hang_up(peer: socket.socket) -> None:
    peer.shutdown(socket.SHUT_RDWR)


def garbage(peer: socket.socket) -> None:
    peer.sendall(os.urandom(1 << 16))


def endless_line(peer: socket.socket) -> None:
    while True:
        peer.sendall(b"A" * 65536)


def descriptors(peer: socket.socket) -> None:
    with Path("/dev/null").open("rb") as null:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null.fileno()] * 100))]
        while True:
            peer.sendmsg([b"B" * 64], rights)


def greeted(message: bytes) -> Talk:
    def talk(peer: socket.socket) -> None:
        peer.recv(4096)
        peer.sendall(OK + b"AGREE_UNIX_FD\r\n")
        while True:
            peer.sendall(message)

    return talk


# A signal that never ends, a message of 128 MiB, an array of empty structures, a header cut off.
SIGNAL = bytes.fromhex("6c04000100000000010000000000000000000000")[:16]
HUGE = bytes.fromhex("6c02000100000008010000000000000000000000")[:16]
EMPTY = bytes.fromhex("6c020001000000000100000010000000") + b"\x01\x03a()\x00\x00\x00" + b"\x01" * 8
TORN = bytes.fromhex("6c020001000000000100000008000000") + b"\x05\x01u\x00\xff"

TALKS: dict[str, Talk] = {
    "silent": silent,
    "hangs up": hang_up,
    "garbage": garbage,
    "an endless line": endless_line,
    "descriptors": descriptors,
    "signals without end": greeted(SIGNAL),
    "a huge message": greeted(HUGE),
    "empty structures": greeted(EMPTY),
    "a torn header": greeted(TORN),
}


@contextlib.contextmanager
def answering(path: Path, talk: Talk) -> Iterator[None]:
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    path.chmod(0o666)
    server.listen()
    peers: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                peers.append(server.accept()[0])
                with contextlib.suppress(OSError):
                    talk(peers[-1])

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        for peer in peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        thread.join(300)
        server.close()
        for peer in peers:
            peer.close()


def test_whatever_answers_a_command_ends_in_an_error(
    lab: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    leader = lab.boot().leader
    monkeypatch.setattr(machine_bus, "TIMEOUT", 1.0)
    place = Path(f"/proc/{leader}/root/run/dbus/system_bus_socket")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name, talk in TALKS.items():
        with answering(place, talk), pytest.raises(MachineError) as caught:
            lab.platform.run(lab.name, ["true"], timeout=5)
        assert "stoneware" in caught.value.resolution, name
        assert len(list(Path("/proc/self/fd").iterdir())) == before, name
    place.unlink()
    with pytest.raises(MachineError, match="no system bus that answers") as caught:
        lab.platform.run(lab.name, ["true"], timeout=5)
    assert "package dbus" in caught.value.details
    for trap in (os.mkfifo, Path.touch, Path.mkdir, lambda path: path.symlink_to(tmp_path / "ours")):
        trap(place)
        with pytest.raises(MachineError):
            lab.platform.run(lab.name, ["true"], timeout=5)
        place.rmdir() if place.is_dir() else place.unlink()


def test_a_machine_without_terminals_of_its_own_gives_none(lab: Bench) -> None:
    leader = lab.boot().leader
    pts = Path(f"/proc/{leader}/root/dev/pts")
    assert lab.sh("mount -t tmpfs none /dev/pts && ln -s /dev/zero /dev/pts/ptmx") == 0
    assert list(pts.iterdir())
    with pytest.raises(MachineError, match="no terminals"):
        lab.sh("true", tty=True)
    assert lab.sh("true") == 0
