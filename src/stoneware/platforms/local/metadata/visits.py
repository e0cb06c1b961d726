"""The clients of the metadata server: which machine each is, and the limits of one machine.

A machine is identified by its address and by the port its connection came in by: the router marks what comes
in by a port with the address that belongs to it (`network.rules`); a connection has its first packet's mark.

Each machine has so many connections, so much work in a time, and so long to ask: what is beyond is refused to
that machine (503, 429, 408), and the others are served as before.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from stoneware.dataclass import dataclass
from stoneware.platforms.local.network.addresses import mark_of

CONNECTIONS = 128  # of one machine at a time; see also network.rules.CONNECTIONS
RATE, BURST = 200.0, 2000.0  # units of work: in a second, and at once. A request is one, and more by its size
_REPORT = 10.0  # units for a request that makes us write
_UNIT = 8192  # bytes of an answer that are one more
HEAD = 10.0  # seconds to send the head of a request
IDLE = 30.0  # seconds without a request on an open connection
STALL, BODY = 60.0, 600.0  # seconds between two parts of a body, and for all of it
_WAIT = 1.0  # seconds that a client beyond its limits waits for that answer
_ACCOUNTS = 4096  # more than machines; then those are forgotten that stand as if they had never come
_DESCRIPTORS = 262_144  # for as many machines as a subnet has, each with all of its connections
_ERRORS = 10  # errors logged in a minute

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass
class _Account:
    connections: int = 0
    units: float = BURST
    at: float = 0.0


@dataclass
class Accounts:
    """What each machine has of us, by the address of its port."""

    clock: Callable[[], float] = time.monotonic
    _accounts: dict[str, _Account] = field(default_factory=dict)

    def enter(self, who: str) -> bool:
        """Count a connection; return False when it is one too many."""
        account = self._of(who)
        if account.connections >= CONNECTIONS:
            return False
        account.connections += 1
        return True

    def leave(self, who: str) -> None:
        """Take back a connection that `enter` has counted."""
        self._of(who).connections -= 1

    def charge(self, who: str, units: float) -> bool:
        """Count work; return False when there has been too much of it lately. What is refused counts too."""
        account = self._of(who)
        # However much was asked, ten seconds of silence make up for it.
        account.units = max(account.units - units, -BURST)
        return account.units >= 0

    def _of(self, who: str) -> _Account:
        now = self.clock()
        if who not in self._accounts and len(self._accounts) >= _ACCOUNTS:
            self._forget(now)
        account = self._accounts.setdefault(who, _Account(at=now))
        account.units = min(BURST, account.units + (now - account.at) * RATE)
        account.at = now
        return account

    def _forget(self, now: float) -> None:
        for who, account in list(self._accounts.items()):
            if not account.connections and account.units + (now - account.at) * RATE >= BURST:
                del self._accounts[who]


def _refusal(status: int, reason: str, detail: str) -> bytes:
    body = f"{detail}\n".encode()
    head = f"HTTP/1.1 {status} {reason}\r\nMetadata-Flavor: Google\r\nContent-Type: text/plain\r\n"
    head += f"Retry-After: 1\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


_TOO_MANY = _refusal(503, "Service Unavailable", f"A machine may have {CONNECTIONS} connections.")
_NOT_YOURS = _refusal(403, "Forbidden", "This address does not belong to the port the request came in by.")
_TOO_SLOW = _refusal(408, "Request Timeout", "The request took too long to arrive.")


class Connection(web.RequestHandler):
    """One connection."""

    def __init__(self, manager: LimitedServer, **options: Any) -> None:
        super().__init__(manager, **options)
        self._limited_server = manager
        self._who: str | None = None  # None: refused
        self._peer_transport: asyncio.Transport | None = None
        self._refusal = b""
        self._timer: asyncio.TimerHandle | None = None  # one for all requests, set again for each
        self._end: float | None = None  # until when the head of a request has to be here
        self._busy = False
        self._reading: tuple[web.BaseRequest, asyncio.Timeout, float] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection, or keep it open until the refusal is sent."""
        self._peer_transport = cast(asyncio.Transport, transport)
        who = self._limited_server.identify(self._peer_transport)
        if who is None:
            self._refusal = _NOT_YOURS
        elif not self._limited_server.accounts.enter(who):
            self._refusal = _TOO_MANY
        else:
            # Of a refused connection aiohttp learns nothing: it would set up a task and a parser for it.
            self._who = who
            super().connection_made(transport)
        self._set_timer(_WAIT if self._refusal else HEAD)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop counting the connection."""
        if self._timer is not None:
            self._timer.cancel()
        if self._who is not None:
            self._limited_server.accounts.leave(self._who)
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what was sent, and notice when it comes too slowly."""
        if self._refusal:
            self._refuse_and_close(self._refusal)
            return
        if not self._busy and self._end is None:
            self._set_timer(HEAD)
        super().data_received(data)
        if self._reading is not None:
            request, limit, end = self._reading
            now = asyncio.get_running_loop().time()
            limit.reschedule(None if request.content.is_eof() else min(now + STALL, end))

    def _set_timer(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._end = loop.time() + seconds
        if self._timer is None:
            self._timer = loop.call_at(self._end, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._end is None:
            return
        loop = asyncio.get_running_loop()
        # It was put off meanwhile: winding a timer for each request was a part of the time of each.
        if loop.time() < self._end:
            self._timer = loop.call_at(self._end, self._on_timer)
        elif not self._busy:
            self._refuse_and_close(self._refusal or _TOO_SLOW)

    def _refuse_and_close(self, reply: bytes) -> None:
        if self._peer_transport is not None and not self._peer_transport.is_closing():
            self._peer_transport.write(reply)
            self._peer_transport.close()

    async def answer(self, request: web.BaseRequest, handler: Handler) -> web.StreamResponse:
        """Have a request answered, within the machine's limits."""
        self._end = None
        self._busy = True
        try:
            who, accounts = self._who or "", self._limited_server.accounts
            if not accounts.charge(who, _REPORT if request.body_exists else 1.0):
                await asyncio.sleep(_WAIT)  # a client that asks without end does so a few times a second
                return self._refuse(429, "This machine asks too much.")
            response = await self._timed(request, handler)
            body = response.body if isinstance(response, web.Response) else None
            accounts.charge(who, len(body) / _UNIT if isinstance(body, bytes) else 0.0)
            return response
        finally:
            self._busy = False

    async def _timed(self, request: web.BaseRequest, handler: Handler) -> web.StreamResponse:
        if not request.body_exists:
            return await handler(request)
        now = asyncio.get_running_loop().time()
        limit = asyncio.timeout_at(None if request.content.is_eof() else now + STALL)
        try:
            async with limit:
                self._reading = request, limit, now + BODY
                return await handler(request)
        except TimeoutError:
            if not limit.expired():
                raise
            return self._refuse(408, "The request took too long to arrive.")
        finally:
            self._reading = None

    @staticmethod
    def _refuse(status: int, detail: str) -> web.StreamResponse:
        headers = {"Metadata-Flavor": "Google", "Retry-After": "1"}
        response = web.Response(status=status, text=f"{detail}\n", headers=headers)
        response.force_close()
        return response


def address_of(
    link: socket.socket, peer: tuple[Any, ...], own: tuple[Any, ...], *, by_port: bool
) -> str | None:
    """Return the address of the machine at the other end of a connection, None where it is not its own."""
    address = str(peer[0])
    if by_port and address != own[0]:  # the router's own look whether we answer has no mark
        mark = link.getsockopt(socket.SOL_SOCKET, socket.SO_MARK)
        # The mark is unsigned, and getsockopt reads it as a signed number.
        if mark & 0xFFFFFFFF != mark_of(address):
            return None
    return address


class LimitedServer(web.Server):
    """An HTTP server with limits for each machine. `by_port`: the router marks each connection's machine."""

    def __init__(self, handler: Handler, *, by_port: bool) -> None:
        # A body that was compressed is refused, not expanded.
        # handler_cancellation: a wait for a change ends with its client, not with the change.
        super().__init__(
            self._answer, handler_cancellation=True, keepalive_timeout=IDLE, auto_decompress=False
        )
        self.accounts = Accounts()
        self._handler = handler
        self._by_port = by_port

    def __call__(self) -> Connection:
        """Return what serves one connection (asyncio's protocol factory)."""
        return Connection(self, loop=self._loop, **self._kwargs)

    def identify(self, transport: asyncio.BaseTransport) -> str | None:
        """Return the address of the machine that is at the other end, or None where it is not its own."""
        peer, own, link = (transport.get_extra_info(name) for name in ("peername", "sockname", "socket"))
        return address_of(link, peer, own, by_port=self._by_port) if peer and own else None

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        return await cast(Connection, request.protocol).answer(request, self._handler)


class RareMessages(logging.Filter):
    """Keeps clients from filling our log: what they send wrong is not logged, other errors a few a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._recent: list[float] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a record is logged."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            return False
        now = self._clock()
        self._recent = [then for then in self._recent if now - then < 60]
        if len(self._recent) >= _ERRORS:
            return False
        self._recent.append(now)
        return True


def raise_descriptor_limit() -> None:
    """Let this process have a descriptor for every connection of every machine, as far as it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _DESCRIPTORS
    with suppress(OSError, ValueError):
        most = min(most, int(Path("/proc/sys/fs/nr_open").read_text()))
    wanted = max(most, hard) if hard != resource.RLIM_INFINITY else most
    for limit in ((wanted, wanted), (hard, hard)):
        with suppress(OSError, ValueError):  # a user may not raise its hard limit
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            return
