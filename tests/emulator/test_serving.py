"""The thread that serves the emulators of tests leaves no connection, whatever its clients do."""

from __future__ import annotations

import gc
import socket
import threading
import warnings

import pytest
from aiohttp import web

from tests.emulator.serving import served_in_a_thread

pytestmark = pytest.mark.tool
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def _large(_request: web.Request) -> web.Response:
    return web.Response(body=bytes(32 << 20))


def _runner() -> web.AppRunner:
    app = web.Application()
    app.router.add_get("/", _large)
    return web.AppRunner(app, shutdown_timeout=0.2)


def test_connections_of_clients_that_neither_read_nor_close_are_cut_off() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with served_in_a_thread(_runner()) as port:
            silent = socket.create_connection(("127.0.0.1", port))
            reading = socket.create_connection(("127.0.0.1", port))
            reading.sendall(REQUEST)
            reading.recv(1)  # the first of a reply that does not go into any buffer
        gc.collect()
    assert [str(each.message) for each in told] == []
    for each in (silent, reading):
        each.close()


def test_connections_that_come_in_at_the_end_are_cut_off() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(5):
            connected = _come_in_at_the_end()
            gc.collect()
            for each in connected:
                each.close()
    assert [str(each.message) for each in told] == []


def _come_in_at_the_end() -> list[socket.socket]:
    connected: list[socket.socket] = []
    first = threading.Event()

    def connect(port: int) -> None:
        for _ in range(500):
            try:
                connected.append(socket.create_connection(("127.0.0.1", port)))
            except OSError:
                return
            first.set()

    with served_in_a_thread(_runner()) as port:
        client = threading.Thread(target=connect, args=(port,))
        client.start()
        assert first.wait(300)
    client.join()
    return connected
