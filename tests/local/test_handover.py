"""Connections of instances on their way to the emulator that has them."""

from __future__ import annotations

import asyncio
import queue
import socket
from pathlib import Path

import pytest

from stoneware.files import write_json
from stoneware.platforms.local.metadata.handover import STATE_LABEL, Entrance, Handover, place
from stoneware.platforms.local.metadata.server import listen

STATE = "/var/lib/emulator"


def machine(root: Path, labels: dict[str, str]) -> Path:
    path = root / "machines" / "k1-123"
    path.mkdir(parents=True)
    write_json(path / "spec.json", {"labels": labels})
    return path


def ask(root: Path, found: Path | None) -> bytes:
    """Connect as a machine does and return what it is told, by whoever has the connection."""

    async def whole() -> bytes:
        listener = listen("127.0.0.1", 0)
        Handover(listener, lambda _address: found, root / "run", by_port=False).start()
        host, port = listener.getsockname()
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        said = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        await writer.wait_closed()
        asyncio.get_running_loop().remove_reader(listener)
        listener.close()
        return said

    return asyncio.run(whole())


def take(_name: str, link: socket.socket) -> None:
    with link:
        link.recv(1000)


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("r")  # the path of a socket has 107 characters at most


def test_the_emulator_gets_the_connection_and_the_machines_name(root: Path) -> None:
    came: queue.Queue[str] = queue.Queue()

    def enter(name: str, link: socket.socket) -> None:
        came.put(name)
        with link:
            link.recv(1000)  # a connection that is closed with something unread is reset
            link.sendall(b"from the emulator")

    entrance = Entrance(place(root / "run", STATE), enter)
    found = machine(root, {STATE_LABEL: STATE})
    assert ask(root, found) == b"from the emulator"
    assert came.get(timeout=60) == "k1-123"
    place(root / "run", STATE).unlink()  # as when the router is removed
    assert ask(root, found).startswith(b"HTTP/1.1 503 ")
    entrance.renew()
    assert ask(root, found) == b"from the emulator"
    entrance.close()
    assert ask(root, found).startswith(b"HTTP/1.1 503 ")


def test_an_emulator_that_was_killed_is_followed_by_the_next(root: Path) -> None:
    path = place(root / "run", STATE)
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as killed:
        killed.bind(str(path))
    found = machine(root, {STATE_LABEL: STATE})
    assert ask(root, found).startswith(b"HTTP/1.1 503 ")
    entrance = Entrance(path, take)
    assert not ask(root, found).startswith(b"HTTP")
    assert path.parent.stat().st_mode & 0o777 == 0o700
    entrance.close()


@pytest.mark.parametrize(
    ("labels", "status"),
    [
        ({}, 404),
        ({"stoneware.emulator": "projects/p/zones/z/instances/i"}, 404),
        ({STATE_LABEL: "/somewhere/else"}, 503),
    ],
)
def test_others_are_told_that_there_is_nothing_for_them(
    root: Path, labels: dict[str, str], status: int
) -> None:
    entrance = Entrance(place(root / "run", STATE), take)
    said = ask(root, machine(root, labels))
    assert said.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"Connection: close" in said
    entrance.close()


def test_an_address_of_no_machine_is_refused(root: Path) -> None:
    assert ask(root, None).startswith(b"HTTP/1.1 403 ")


def test_a_client_that_asks_nothing_is_let_go(root: Path) -> None:
    async def whole() -> None:
        listener = listen("127.0.0.1", 0)
        Handover(listener, lambda _address: None, root, by_port=False).start()
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        assert await asyncio.wait_for(reader.read(), 120) == b""
        writer.close()
        asyncio.get_running_loop().remove_reader(listener)
        listener.close()

    asyncio.run(whole())
