"""Requests over HTTP as calls of the APIs, and what comes of them as replies."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes

from aiohttp import web

from stoneware.dataclass import dataclass
from stoneware.emulator import batch, errors, validate
from stoneware.emulator.apis import LARGEST, Api
from stoneware.emulator.cloud import Cloud
from stoneware.emulator.routes import Found, Router
from stoneware.emulator.service import Call, Service
from stoneware.untrusted.visible import visible

HOST = "127.0.0.1"
_BATCH = "/batch"
Log = Callable[[str], None]
Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Sent:
    """A request for a document: its verb, its path and query, its body and what type that has.

    `base`, `bearer` and `guest` are as a call's.
    """

    http: str
    target: str
    raw: bytes
    kind: str
    base: str
    bearer: str
    guest: str = ""


class Front:
    """Turns requests of HTTP into calls, and what comes of them into replies."""

    def __init__(self, service: Service, log: Log | None) -> None:
        self._service = service
        cloud = Cloud(service)
        self.storage = cloud.storage
        self.apis = {api.document.name: api for api in cloud.apis}
        self.router = Router(api.document for api in self.apis.values())
        self._tokens = cloud.tokens
        self._log = log

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """Answer a request of a program of this computer, or a batch of them."""
        return await self.answered(request, self._reply)

    async def answered(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        """Answer a request by a reply, or by its error. A reply that is lost is aborted once all is done."""
        if self._service.latency:
            await asyncio.sleep(self._service.latency)
        try:
            response = await reply(request)
        except errors.ApiError as error:
            response = response_of(error.status, error.body(), error.headers)
        except web.HTTPRequestEntityTooLarge:
            large = errors.ApiError(413, "uploadTooLarge", f"A request has {LARGEST} bytes at most.")
            response = response_of(large.status, large.body())
        # Who only reads loses nothing with a reply.
        if request.method != "GET" and self._service.faults.loses_reply() and request.transport is not None:
            self._note(f"{request.method} {request.raw_path} lost its reply")
            request.transport.abort()
        return response

    async def _reply(self, request: web.Request) -> web.StreamResponse:
        _refuse_pages(request)
        base, bearer = f"{request.scheme}://{request.host}", bearer_of(request.headers)
        self._tokens.check(bearer)
        if request.method == "POST" and request.path.startswith(_BATCH):
            return await self._batch(await sent_of(request, base, bearer))
        path, query = parts_of(request.raw_path)
        found = self.router.find(request.method, path)
        if found is not None and transfers(found, request):
            return await self.transfer(Call(found.method, given(found, query), base=base), request)
        # Clients of the XML API read an object so.
        if found is None and request.method in ("GET", "HEAD"):
            call = self.storage.public(path, base)
            if call is not None:
                return await self.transfer(call, request)
        return response_of(*await self.one(await sent_of(request, base, bearer)))

    async def transfer(self, call: Call, request: web.Request) -> web.StreamResponse:
        """Answer a request whose body, or whose reply's, is contents."""
        try:
            response = await self.storage.transfer(call, request)
        except errors.ApiError as error:
            response = response_of(error.status, error.body(), error.headers)
        self._note(f"{request.method} {request.raw_path} {response.status}")
        return response

    async def _batch(self, whole: Sent) -> web.Response:
        parts = batch.read(whole.kind, whole.raw)
        each = [Sent(part.http, part.target, part.body, "", whole.base, whole.bearer) for part in parts]
        replies = [(part, *await self.one(one)) for part, one in zip(parts, each, strict=True)]
        kind, body = batch.written(replies)
        return web.Response(body=body, headers={"Content-Type": kind})

    async def one(self, sent: Sent) -> tuple[int, Any]:
        """Return the status of a reply and its document, None for one without."""
        path, query = parts_of(sent.target)
        found = self.router.find(sent.http, path)
        status, document = 404, unknown(sent.http, path).body()
        if found is not None:
            api = self.apis[found.document.name]
            try:
                document = await api.answer(_call(api, found, query, sent))
                status = 200 if found.method.response else 204
            except errors.ApiError as error:
                status, document = error.status, api.refusal(error)
        self._note(f"{sent.http} {sent.target} {status}")
        return status, document if status not in (204, 304) else None

    def _note(self, line: str) -> None:
        if self._log is not None:
            self._log(visible(line))


def unknown(http: str, path: str) -> errors.ApiError:
    """Return the error for a request that is of no API."""
    return errors.ApiError(404, "notFound", f"The URL {path} is no method of an API that is served ({http})")


def parts_of(target: str) -> tuple[str, str]:
    """Return the path and query of a request. Raises ApiError (400) for names that are not UTF-8."""
    try:
        # Other bytes would be read as a replacement, by which two names become one.
        unquote_to_bytes(target).decode()
    except UnicodeError as error:
        raise errors.ApiError(400, "badRequest", "The URL is not UTF-8.") from error
    path, _, query = target.partition("?")
    return path, query


def transfers(found: Found, request: web.Request) -> bool:
    """Say whether a body of a request or its reply is contents, not a document."""
    return bool(found.media) or (found.method.downloads and request.query.get("alt") == "media")


def given(found: Found, query: str) -> dict[str, Any]:
    """Return the parameters of a request with their types. Raises ApiError (400)."""
    return validate.parameters(found.method, {**parse_qs(query, keep_blank_values=True), **found.names})


def _call(api: Api, found: Found, query: str, sent: Sent) -> Call:
    values, guest = given(found, query), sent.guest
    if not found.method.request:
        return Call(found.method, values, base=sent.base, bearer=sent.bearer, guest=guest)
    value = api.body(sent.raw, sent.kind)
    body = validate.body(found.document, found.method.request, value)
    cleared, nulls = validate.cleared(value), validate.nulls(value)
    return Call(found.method, values, body, cleared, nulls, sent.base, sent.bearer, guest)


def bearer_of(headers: Mapping[str, str]) -> str:
    """Return the token of a request, nothing for one without."""
    kind, _, token = headers.get("Authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


async def sent_of(request: web.Request, base: str, bearer: str, guest: str = "") -> Sent:
    """Return a request for a document; `guest`: the machine of an instance that it comes from."""
    raw, kind = await _body(request), request.headers.get("Content-Type", "")
    return Sent(request.method, request.raw_path, raw, kind, base, bearer, guest)


def response_of(status: int, document: Any, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a reply that is a document, or has no body."""
    if document is None or status == 304:
        return web.Response(status=status, headers=headers)
    return web.json_response(document, status=status, headers=headers)


async def _body(request: web.Request) -> bytes:
    """Return a request's body, unpacked. Raises ApiError (400), HTTPRequestEntityTooLarge."""
    raw = await request.read()
    if request.headers.get("Content-Encoding") != "gzip":
        return raw
    try:
        # Not by the server: that would unpack objects as well, and without a bound.
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
    # A page can also have a name of its own point here (DNS rebinding): that is then the host.
    if "Origin" in request.headers or host not in (HOST, "localhost"):
        raise errors.ApiError(
            403, "forbidden", "The emulator answers programs on this computer, no web pages."
        )
