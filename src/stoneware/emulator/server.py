"""The APIs over HTTP on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from stoneware.emulator import apis, batch, errors, validate
from stoneware.emulator.routes import Router
from stoneware.emulator.service import Call, Service
from stoneware.errors import InputError
from stoneware.untrusted.bounded import BoundsError, bounded_json

HOST = "127.0.0.1"
_LARGEST = 4 << 20  # bytes of a request: 512 KiB of metadata, each byte escaped, has room
_DEEPEST = 100  # brackets around each other
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GRACE = 0.5  # seconds that a reply under way has at the end; a wait for an operation is cut off
_BATCH = "/batch"
Log = Callable[[str], None]


def listen(port: int) -> socket.socket:
    """Return a socket that listens on loopback; port 0 is any free one. Raises InputError where it cannot."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((HOST, port))
        sock.listen(128)
    except (OSError, OverflowError) as error:
        sock.close()
        why = error.strerror if isinstance(error, OSError) else "a port is a number up to 65535"
        raise InputError(
            f"the emulator cannot listen on {HOST}:{port}",
            details=f"{why}.",
            resolution="stoneware emulate google --port 0    # any free port",
        ) from error
    return sock


async def serve(
    service: Service, sock: socket.socket, ready: Callable[[], None], log: Log | None = None
) -> None:
    """Serve the API on a socket until SIGINT, SIGTERM or SIGHUP. `ready` is called once it is served.

    What is done for a request is whole at any end.
    """
    ended = asyncio.Event()
    runner = web.AppRunner(application(service, log), shutdown_timeout=_GRACE, handle_signals=False)
    await runner.setup()
    loop = asyncio.get_running_loop()
    taken = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    try:
        await web.SockSite(runner, sock).start()
        for number in taken:
            loop.add_signal_handler(number, ended.set)
        ready()
        await ended.wait()
    finally:
        with contextlib.ExitStack() as last:
            for number in taken:
                last.callback(loop.remove_signal_handler, number)
            await runner.cleanup()


def application(service: Service, log: Log | None = None) -> web.Application:
    """Return the application that serves the APIs below their discovery documents' base paths."""
    front = _Front(service, log)
    app = web.Application(client_max_size=_LARGEST)
    app.router.add_route("*", "/{path:.*}", front.respond)
    return app


class _Front:
    """Turns requests of HTTP into calls, and what comes of them into replies."""

    def __init__(self, service: Service, log: Log | None) -> None:
        self._service = service
        self._apis = {api.document.name: api for api in apis.of(service)}
        self._router = Router(api.document for api in self._apis.values())
        self._log = log

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """Answer a request, or a batch of them. A reply that is lost is aborted once all is done."""
        try:
            _refuse_pages(request)
            raw = await request.read()
            if request.path.startswith(_BATCH):
                response = await self._batch(request.headers.get("Content-Type", ""), raw)
            else:
                status, document = await self._one(request.method, request.raw_path, raw)
                response = web.json_response(document, status=status)
        except errors.ApiError as error:
            response = web.json_response(error.body(), status=error.status)
        except web.HTTPRequestEntityTooLarge:
            large = errors.ApiError(413, "uploadTooLarge", f"A request has {_LARGEST} bytes at most.")
            response = web.json_response(large.body(), status=large.status)
        if request.method != "GET" and self._service.faults.loses_reply() and request.transport is not None:
            self._note(f"{request.method} {request.raw_path} lost its reply")
            request.transport.abort()
        return response

    async def _batch(self, content_type: str, raw: bytes) -> web.Response:
        parts = batch.read(content_type, raw)
        replies = [(part, *await self._one(part.http, part.target, part.body)) for part in parts]
        kind, body = batch.written(replies)
        return web.Response(body=body, headers={"Content-Type": kind})

    async def _one(self, http: str, target: str, raw: bytes) -> tuple[int, dict[str, Any]]:
        try:
            status, document = 200, await self._answer(http, target, raw)
        except errors.ApiError as error:
            status, document = error.status, error.body()
        self._note(f"{http} {target} {status}")
        return status, document

    async def _answer(self, http: str, target: str, raw: bytes) -> dict[str, Any]:
        path, _, query = target.partition("?")
        found = self._router.find(http, path)
        if found is None:
            titles = " or ".join(api.document.title for api in self._apis.values())
            raise errors.ApiError(404, "notFound", f"The URL {path} is no method of the {titles} ({http})")
        method, document = found.method, found.document
        given = validate.parameters(method, {**parse_qs(query, keep_blank_values=True), **found.names})
        answer = self._apis[document.name].answer
        if not method.request:
            return await answer(Call(method, given))
        value = _json(raw)
        body = validate.body(document, method.request, value)
        return await answer(Call(method, given, body, validate.cleared(value)))

    def _note(self, line: str) -> None:
        if self._log is not None:
            self._log(line)


def _refuse_pages(request: web.Request) -> None:
    """Refuse what a web page of a browser on this computer sends: the emulator asks for no password."""
    host = (request.host or "").rsplit(":", 1)[0]
    if "Origin" in request.headers or host not in (HOST, "localhost"):
        raise errors.ApiError(
            403, "forbidden", "The emulator answers programs on this computer, no web pages."
        )


def _json(raw: bytes) -> Any:
    try:
        return bounded_json(raw, _LARGEST, _DEEPEST) if raw.strip() else {}
    except BoundsError as error:
        raise errors.ApiError(400, "parseError", f"Invalid JSON payload received. It {error}.") from error
