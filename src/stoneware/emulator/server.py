"""The APIs over HTTP on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import zlib
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes

from aiohttp import web

from stoneware.dataclass import dataclass
from stoneware.emulator import batch, errors, instance_work, validate
from stoneware.emulator.apis import LARGEST, Api
from stoneware.emulator.cloud import Cloud
from stoneware.emulator.routes import Found, Router
from stoneware.emulator.service import Call, Service
from stoneware.errors import InputError, StonewareError

HOST = "127.0.0.1"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GRACE = 0.5  # seconds that a reply under way has at the end; a wait for an operation is cut off
_LOOK = 1.0  # seconds between two looks at the machines
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
    runner = prepared(service, log)
    await runner.setup()
    loop = asyncio.get_running_loop()
    taken = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    try:
        await web.SockSite(runner, sock).start()
        for number in taken:
            loop.add_signal_handler(number, ended.set)
        looking = asyncio.create_task(_look(service))
        ready()
        await ended.wait()
        looking.cancel()
    finally:
        with contextlib.ExitStack() as last:
            for number in taken:
                last.callback(loop.remove_signal_handler, number)
            await runner.cleanup()


async def _look(service: Service) -> None:
    """See once a second to machines that have ended by themselves."""
    while True:
        await asyncio.sleep(_LOOK)
        try:
            await asyncio.to_thread(instance_work.look, service)
        except StonewareError:  # the store is full or busy: the next look sees more
            continue


def prepared(service: Service, log: Log | None = None) -> web.AppRunner:
    """Return what serves the APIs below their discovery documents' base paths."""
    front = _Front(service, log)
    app = web.Application(client_max_size=LARGEST)
    app.router.add_route("*", "/{path:.*}", front.respond)
    # Contents of objects are kept as they come.
    return web.AppRunner(app, shutdown_timeout=_GRACE, handle_signals=False, auto_decompress=False)


@dataclass(frozen=True)
class _Sent:
    """A request for a document: its verb, its path and query, its body and what type that has."""

    http: str
    target: str
    raw: bytes
    kind: str
    base: str
    bearer: str


class _Front:
    """Turns requests of HTTP into calls, and what comes of them into replies."""

    def __init__(self, service: Service, log: Log | None) -> None:
        self._service = service
        cloud = Cloud(service)
        self._storage = cloud.storage
        self._tokens = cloud.tokens
        self._apis = {api.document.name: api for api in cloud.apis}
        self._router = Router(api.document for api in self._apis.values())
        self._log = log

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """Answer a request, or a batch of them. A reply that is lost is aborted once all is done."""
        try:
            _refuse_pages(request)
            response = await self._reply(request)
        except errors.ApiError as error:
            response = _response(error.status, error.body(), error.headers)
        except web.HTTPRequestEntityTooLarge:
            large = errors.ApiError(413, "uploadTooLarge", f"A request has {LARGEST} bytes at most.")
            response = _response(large.status, large.body())
        if request.method != "GET" and self._service.faults.loses_reply() and request.transport is not None:
            self._note(f"{request.method} {request.raw_path} lost its reply")
            request.transport.abort()
        return response

    async def _reply(self, request: web.Request) -> web.StreamResponse:
        base, bearer = f"{request.scheme}://{request.host}", _bearer(request.headers)
        self._tokens.check(bearer)
        if request.method == "POST" and request.path.startswith(_BATCH):
            return await self._batch(await _sent(request, base, bearer))
        path, query = _parts(request.raw_path)
        found = self._router.find(request.method, path)
        if found is not None and _transfers(found, request):
            given = _given(found, query)
            return await self._transfer(Call(found.method, given, base=base), request)
        if found is None and request.method in ("GET", "HEAD"):
            call = self._storage.public(path, base)
            if call is not None:
                return await self._transfer(call, request)
        return _response(*await self._one(await _sent(request, base, bearer)))

    async def _transfer(self, call: Call, request: web.Request) -> web.StreamResponse:
        try:
            response = await self._storage.transfer(call, request)
        except errors.ApiError as error:
            response = _response(error.status, error.body(), error.headers)
        self._note(f"{request.method} {request.raw_path} {response.status}")
        return response

    async def _batch(self, whole: _Sent) -> web.Response:
        parts = batch.read(whole.kind, whole.raw)
        each = [_Sent(part.http, part.target, part.body, "", whole.base, whole.bearer) for part in parts]
        replies = [(part, *await self._one(one)) for part, one in zip(parts, each, strict=True)]
        kind, body = batch.written(replies)
        return web.Response(body=body, headers={"Content-Type": kind})

    async def _one(self, sent: _Sent) -> tuple[int, Any]:
        """Return the status of a reply and its document, None for one without."""
        path, query = _parts(sent.target)
        found = self._router.find(sent.http, path)
        status, document = 404, _unknown(sent.http, path).body()
        if found is not None:
            api = self._apis[found.document.name]
            try:
                document = await api.answer(_call(api, found, query, sent))
                status = 200 if found.method.response else 204
            except errors.ApiError as error:
                status, document = error.status, api.refusal(error)
        self._note(f"{sent.http} {sent.target} {status}")
        return status, document if status not in (204, 304) else None

    def _note(self, line: str) -> None:
        if self._log is not None:
            self._log(line)


def _unknown(http: str, path: str) -> errors.ApiError:
    return errors.ApiError(404, "notFound", f"The URL {path} is no method of an API that is served ({http})")


def _parts(target: str) -> tuple[str, str]:
    """Return the path and query of a request. Raises ApiError (400) for names that are not UTF-8."""
    try:
        unquote_to_bytes(target).decode()
    except UnicodeError as error:
        raise errors.ApiError(400, "badRequest", "The URL is not UTF-8.") from error
    path, _, query = target.partition("?")
    return path, query


def _transfers(found: Found, request: web.Request) -> bool:
    """Say whether a body of a request or its reply is contents, not a document."""
    return bool(found.media) or (found.method.downloads and request.query.get("alt") == "media")


def _given(found: Found, query: str) -> dict[str, Any]:
    return validate.parameters(found.method, {**parse_qs(query, keep_blank_values=True), **found.names})


def _call(api: Api, found: Found, query: str, sent: _Sent) -> Call:
    given = _given(found, query)
    if not found.method.request:
        return Call(found.method, given, base=sent.base, bearer=sent.bearer)
    value = api.body(sent.raw, sent.kind)
    body = validate.body(found.document, found.method.request, value)
    cleared, nulls = validate.cleared(value), validate.nulls(value)
    return Call(found.method, given, body, cleared, nulls, sent.base, sent.bearer)


def _bearer(headers: Mapping[str, str]) -> str:
    kind, _, token = headers.get("Authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


async def _sent(request: web.Request, base: str, bearer: str) -> _Sent:
    raw, kind = await _body(request), request.headers.get("Content-Type", "")
    return _Sent(request.method, request.raw_path, raw, kind, base, bearer)


def _response(status: int, document: Any, headers: Mapping[str, str] | None = None) -> web.Response:
    if document is None or status == 304:
        return web.Response(status=status, headers=headers)
    return web.json_response(document, status=status, headers=headers)


async def _body(request: web.Request) -> bytes:
    """Return a request's body, unpacked. Raises ApiError (400), HTTPRequestEntityTooLarge."""
    raw = await request.read()
    if request.headers.get("Content-Encoding") != "gzip":
        return raw
    try:
        unpacker = zlib.decompressobj(wbits=31)
        plain = unpacker.decompress(raw, LARGEST)
    except zlib.error as error:
        raise errors.ApiError(400, "parseError", "The body is not what its Content-Encoding says.") from error
    if unpacker.unconsumed_tail:
        raise web.HTTPRequestEntityTooLarge(LARGEST, LARGEST + 1)
    return plain


def _refuse_pages(request: web.Request) -> None:
    """Refuse what a web page of a browser on this computer sends: the emulator asks for no password."""
    host = (request.host or "").rsplit(":", 1)[0]
    if "Origin" in request.headers or host not in (HOST, "localhost"):
        raise errors.ApiError(
            403, "forbidden", "The emulator answers programs on this computer, no web pages."
        )
