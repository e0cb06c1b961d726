"""Connections of machines to the emulator: so many of one machine at a time, and none that does not go on."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage

CONNECTIONS = 32  # of one machine at a time
IDLE = 30.0  # seconds to send the head of a request, or the next one
STALL = 60.0  # seconds in which a body, or its reader, must go on
LONGEST = 6 * 3600.0  # seconds of a connection
_DESCRIPTORS = 65_536  # that this process has, where it may
_LOOK = 5.0  # seconds between two looks at all of them
_DOCUMENT = 1 << 20  # bytes of a body that is no contents

Answer = Callable[[web.Request, str], Awaitable[web.StreamResponse]]


class _Connection(web.RequestHandler):
    """One connection of a machine, and when it last went on."""

    def __init__(self, guests: Guests, machine: str, **options: Any) -> None:
        super().__init__(guests, **options)
        self._guests = guests
        self.machine = machine
        self.request: web.BaseRequest | None = None  # the one that is answered
        self.link: asyncio.Transport | None = None
        self._begun = self._moved = guests.now()
        self._full = False  # what was written waits for the machine to read it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection."""
        super().connection_made(transport)
        self.link = cast(asyncio.Transport, transport)
        self._guests.entered(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count it no more."""
        self._guests.left(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Note that the machine goes on."""
        self._moved = self._guests.now()
        super().data_received(data)

    def pause_writing(self) -> None:
        """Note that the machine is slower than we are."""
        self._full = True
        self._moved = self._guests.now()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that it reads."""
        self._full = False
        self._moved = self._guests.now()
        super().resume_writing()

    def ended(self) -> None:
        """Note that a request is answered."""
        self.request = None
        self._moved = self._guests.now()

    def stalls(self, now: float) -> bool:
        """Say whether the machine has kept us waiting for too long."""
        if now - self._begun > LONGEST:
            return True
        if self.request is None:
            return now - self._moved > IDLE
        # Only where the machine is what is waited for: our own work may take longer.
        waiting = self._full or not self.request.content.is_eof()
        return waiting and now - self._moved > STALL


def _descriptors() -> int:
    """Return how many descriptors this process may have, from now on as many as it ever may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if wanted > soft:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted)


class Guests(web.Server):
    """Serves machines. `answer` gets each request with the name of the machine that it comes from."""

    def __init__(self, answer: Answer) -> None:
        # Bodies are left packed, for objects are kept as they come; work for a machine that is gone ends.
        options: dict[str, Any] = {"keepalive_timeout": IDLE, "auto_decompress": False, "access_log": None}
        super().__init__(self._answer, request_factory=self._request, handler_cancellation=True, **options)
        self._reply = answer
        self._open: set[_Connection] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._most = _descriptors() // 2  # the others are for programs

    def now(self) -> float:
        """Return the time that limits are counted in."""
        return self._loop.time()

    def start(self) -> None:
        """Begin to look for connections that stall."""
        self._keep(self._look())

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            self.look()

    def look(self) -> None:
        """End the connections that stall."""
        now = self.now()
        for connection in [one for one in self._open if one.stalls(now)]:
            if connection.link is not None:
                connection.link.abort()

    def enter(self, machine: str, link: socket.socket) -> None:
        """Serve a connection of a machine; from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._begin, machine, link)
        except RuntimeError:  # the loop has ended
            link.close()

    def _begin(self, machine: str, link: socket.socket) -> None:
        have = Counter(one.machine for one in self._open)[machine]
        if self._closed or have >= CONNECTIONS or len(self._open) >= self._most:
            link.close()
            return
        link.setblocking(False)
        self._keep(self._connected(machine, link))

    async def _connected(self, machine: str, link: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: self._connection(machine), link)
        except OSError:  # gone already
            link.close()

    def _connection(self, machine: str) -> _Connection:
        return _Connection(self, machine, loop=self._loop, **self._kwargs)

    def _keep(self, work: Any) -> None:
        task = self._loop.create_task(work)
        # The loop itself does not keep a task from the collector of garbage.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def entered(self, connection: _Connection) -> None:
        """Count a connection."""
        self._open.add(connection)

    def left(self, connection: _Connection) -> None:
        """Count it no more."""
        self._open.discard(connection)

    def _request(
        self, message: RawRequestMessage, payload: Any, protocol: Any, writer: Any, task: Any
    ) -> web.Request:
        loop = self._loop
        return web.Request(message, payload, protocol, writer, task, loop, client_max_size=_DOCUMENT)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = cast(_Connection, request.protocol)
        connection.request = request
        try:
            return await self._reply(cast(web.Request, request), connection.machine)
        finally:
            connection.ended()

    async def close(self) -> None:
        """End all connections."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await self.shutdown(0.5)
