"""The metadata server's limits of one machine, over real connections to a server in this process."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from stoneware.platforms.local.metadata import visits
from tests.local.metadata_lab import GUEST, V1, ClientHere, make_store, served_here, wait_until

pytestmark = pytest.mark.pure

NAME = f"{V1}instance/name"
HEAD = "Host: x\r\nMetadata-Flavor: Google\r\n"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClientHere]:
    monkeypatch.setattr(visits, "_WAIT", 0.05)
    make_store(tmp_path)
    with served_here(tmp_path) as client:
        yield client


def connect(server: ClientHere, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=60, source_address=(source, 0))


def all_of(link: socket.socket) -> bytes:
    said = b""
    # What we sent after the server had closed is answered by a reset.
    with suppress(ConnectionResetError):
        while data := link.recv(1 << 16):
            said += data
    return said


def trickle(link: socket.socket) -> None:
    """Go on sending until there is an answer."""
    with suppress(ConnectionError):
        while not select.select([link], [], [], 0.01)[0]:
            link.sendall(b"x")


def test_one_connection_too_many_is_refused_and_the_others_go_on(server: ClientHere) -> None:
    with ExitStack() as held:
        links = [held.enter_context(connect(server)) for _ in range(visits.CONNECTIONS)]
        # All of them are there: what is asked over the last one is answered.
        links[-1].sendall(f"GET {NAME} HTTP/1.1\r\n{HEAD}\r\n".encode())
        assert links[-1].recv(12) == b"HTTP/1.1 200"
        with connect(server) as refused:
            refused.sendall(b"GET / HTTP/1.1\r\n\r\n")
            said = all_of(refused)
        assert said.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert said.endswith(b"\r\n\r\nA machine may have 128 connections.\n")
        links.pop(0).close()
        wait_until(lambda: server.ask(NAME)[0] == 200)


def test_who_is_refused_and_asks_nothing_is_told_and_closed(server: ClientHere) -> None:
    with ExitStack() as held:
        for _ in range(visits.CONNECTIONS):
            held.enter_context(connect(server))
        assert all_of(held.enter_context(connect(server))).startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize("sent", ["", "GET / HTTP/1.1\r\nHos"])
def test_a_head_that_does_not_come_is_not_waited_for(
    server: ClientHere, monkeypatch: pytest.MonkeyPatch, sent: str
) -> None:
    monkeypatch.setattr(visits, "HEAD", 0.05)
    with connect(server) as link:
        link.sendall(sent.encode())
        assert all_of(link).startswith(b"HTTP/1.1 408 Request Timeout\r\nMetadata-Flavor: Google\r\n")
    assert server.ask(NAME)[0] == 200


@pytest.mark.parametrize("name", ["STALL", "BODY"])
def test_a_body_that_does_not_come_is_not_waited_for(
    server: ClientHere, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(visits, name, 0.1)
    with connect(server) as link:
        link.sendall(f"PUT {GUEST}a/b HTTP/1.1\r\n{HEAD}Content-Length: 100000\r\n\r\nx".encode())
        if name == "BODY":
            trickle(link)
        said = all_of(link)
    assert said.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert said.endswith(b"\r\n\r\nThe request took too long to arrive.\n")
    assert not (server.machine / "guest-attributes.json").exists()


def test_who_asks_too_much_is_told_to_come_later_and_then_is_served(server: ClientHere) -> None:
    def report() -> int:
        return server.ask(f"{GUEST}a/b", "PUT", b"x")[0]

    assert [report() for _ in range(201)] == [200] * 200 + [429]
    status, said, headers = server.ask(NAME)
    assert (status, said, headers["Retry-After"]) == (429, b"This machine asks too much.\n", "1")
    server.clock.now += 0.2  # in which forty units come back: what was refused counts too
    assert server.ask(NAME)[0] == 200


def test_an_address_that_the_router_has_not_marked_is_refused(tmp_path: Path) -> None:
    make_store(tmp_path)
    with served_here(tmp_path, by_port=True) as server:
        with connect(server, "127.0.0.2") as link:
            link.sendall(f"GET {NAME} HTTP/1.1\r\n{HEAD}\r\n".encode())
            said = all_of(link)
        assert said.startswith(b"HTTP/1.1 403 Forbidden\r\n")
        assert b"does not belong to the port" in said
        assert server.ask(NAME)[0] == 200  # the router itself, which looks whether there is an answer
