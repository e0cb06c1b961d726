"""Compute Engine's metadata protocol over HTTP: headers, methods and codes around the tree.

Beyond Compute Engine's paths there are `GET /stoneware/v1/boot`, what a boot asks for at once (`boot`),
`GET /stoneware/v1/files/NAME`, a file that the machine was given,
`GET /stoneware/v1/secrets/NAME`, a secret of its own in the version of its spec (the ETag), and for builders
what `builds` describes: `GET /stoneware/v1/build-secrets/NAME`, `PUT /stoneware/v1/build-key` and
`PUT /stoneware/v1/results/NAME`, a file that it hands back. No body may be compressed.
"""

from __future__ import annotations

import asyncio
import html
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from aiohttp import web

from stoneware.model import guest_protocol as protocol
from stoneware.platforms.local.metadata import boot, builds, state, tree
from stoneware.platforms.local.metadata.secrets import secret_for
from stoneware.platforms.local.metadata.watch import Watcher

ROOT = "/computeMetadata/v1/"
_BLOCK = 2**20
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_HEADERS = {
    "Metadata-Flavor": "Google",
    "Server": "Metadata Server for VM",
    "X-XSS-Protection": "0",
    "X-Frame-Options": "SAMEORIGIN",
}

Response = web.StreamResponse


def _reply(body: bytes, content_type: str = tree.TEXT, status: int = 200, **headers: str) -> web.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(status=status, body=body, headers={**_HEADERS, "Content-Type": content_type, **named})


def _error(status: int, title: str, detail: str, **headers: str) -> web.Response:
    text = (
        f"<!DOCTYPE html>\n<html lang=en>\n<title>Error {status} ({html.escape(title)})</title>\n"
        f"<p><b>{status}.</b> {html.escape(title)}.\n<p>{html.escape(detail, quote=False)}\n</html>\n"
    )
    return _reply(text.encode("utf-8", "replace"), "text/html; charset=UTF-8", status, **headers)


def _not_found(path: str) -> web.Response:
    return _error(404, "Not Found", f"The requested URL {path} was not found on this server.")


def _token(text: object, expires: float) -> web.Response:
    """Return an access token, with the whole seconds that it has left."""
    left = int(expires - time.time())
    if left <= 0:  # who issues them is away
        return _error(503, "Service Unavailable", "There is no token now.", Retry_After="1")
    body = {"access_token": text, "expires_in": left, "token_type": "Bearer"}
    return _reply(json.dumps(body, separators=(",", ":")).encode(), tree.JSON)


def _not_allowed(allowed: str) -> web.Response:
    return _error(405, "Method Not Allowed", f"Allowed here: {allowed}.", Allow=allowed)


def _sync(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


async def _expected(request: web.BaseRequest) -> None:
    """Tell a client that asked first (curl with a large body) to go on."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


class Server:
    """Answers one request after another; holds nothing that could not be read again.

    `identify` finds the directory of the machine that has an address; `secrets` is the store's directory.
    """

    def __init__(self, project_file: Path, identify: Callable[[str], Path | None], secrets: Path) -> None:
        self._identify = identify
        self._secrets = secrets
        self._trees = state.Trees(project_file)
        self._watcher = Watcher(self._trees.stamps)
        self._uploading: set[Path] = set()
        self._serving: set[Path] = set()  # secrets of builds

    async def __call__(self, request: web.BaseRequest) -> Response:
        """Answer a request (aiohttp's low-level handler)."""
        path = request.path
        if "//" in path:
            path = re.sub(r"/{2,}", "/", path)
        # As on Compute Engine: a proxy in the machine must not fetch secrets for those outside.
        if "X-Forwarded-For" in request.headers:
            return _error(403, "Forbidden", "Requests with an X-Forwarded-For header are refused.")
        if path in {"/", "/computeMetadata/", "/computeMetadata"} and request.method in {"GET", "HEAD"}:
            return self._top(path)
        # As there: a page or a URL that somebody has a program fetch cannot set a header.
        if not self._has_flavor(request):
            return _error(403, "Forbidden", "Missing Metadata-Flavor:Google header.")
        machine = self._identify(request.remote or "")
        if machine is None:
            return _error(403, "Forbidden", "This address belongs to no machine of this store.")
        # A body that is expanded here would be as large as its sender likes.
        if request.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
            return self._refused(415, "Unsupported Media Type", "No content encoding is taken here.")
        return await self._route(request, machine, path)

    @staticmethod
    def _has_flavor(request: web.BaseRequest) -> bool:
        flavor = request.headers.get("Metadata-Flavor", "").lower()
        return flavor == "google" or request.headers.get("X-Google-Metadata-Request", "").lower() == "true"

    @staticmethod
    def _top(path: str) -> web.Response:
        if path == "/computeMetadata":
            return _reply(b"/computeMetadata/", status=301, Location="/computeMetadata/")
        return _reply(b"computeMetadata/\n" if path == "/" else b"v1/\n")

    async def _route(self, request: web.BaseRequest, machine: Path, path: str) -> Response:
        if path.startswith(ROOT):
            return await self._metadata(request, machine, path)
        if path.startswith((protocol.BUILD_SECRETS_PATH, protocol.BUILD_KEY_PATH, protocol.RESULTS_PATH)):
            return await self._build(request, machine, path)
        if path == protocol.BOOT_PATH:
            return self._boot(request, machine)
        if path.startswith(protocol.FILES_PATH):
            return await self._file(request, machine, path.removeprefix(protocol.FILES_PATH))
        if path.startswith(protocol.SECRETS_PATH):
            return self._secret(request, machine, path.removeprefix(protocol.SECRETS_PATH))
        return self._redirect(request, path) if path == ROOT.rstrip("/") else _not_found(path)

    async def _metadata(self, request: web.BaseRequest, machine: Path, path: str) -> web.Response:
        parts = tree.split(path.removeprefix(ROOT))
        in_guest = parts[:2] == ("instance", "guest-attributes")
        if in_guest and not state.guest_attributes_enabled(self._trees.read(machine).facts):
            return _error(403, "Forbidden", "Guest attributes endpoint access is disabled.")
        if request.method in {"GET", "HEAD"}:
            return await self._get(request, machine, path, parts)
        if in_guest and request.method in {"PUT", "DELETE"}:
            return await self._report(request, machine, parts[2:])
        return _not_allowed("GET, HEAD, PUT, DELETE" if in_guest else "GET, HEAD")

    # --- reading the tree ----------------------------------------------------------------------------

    async def _get(
        self, request: web.BaseRequest, machine: Path, path: str, parts: tuple[str, ...]
    ) -> web.Response:
        try:
            query = tree.parse_query(request.query)
            return await self._answer(request, machine, path, parts, query)
        except tree.BadRequestError as error:
            return _error(400, "Bad Request", str(error))

    async def _answer(
        self, request: web.BaseRequest, machine: Path, path: str, parts: tuple[str, ...], query: tree.Query
    ) -> web.Response:
        deadline = None if query.timeout_sec is None else time.monotonic() + query.timeout_sec
        # Without one, a change is told from what is there now.
        awaited = query.last_etag
        while True:
            reading = self._trees.read(machine)
            node = tree.find(reading.tree, parts)
            if node is None or (path.endswith("/") and isinstance(node, tree.Leaf)):
                return _not_found(path)
            if isinstance(node, tree.Directory) and not path.endswith("/"):
                return self._redirect(request, path)
            if isinstance(node, tree.Leaf) and node.expires is not None:
                return _token(node.value, node.expires)
            reply = tree.render(node, query)
            if awaited is None:
                awaited = reply.etag
            elif reply.etag != awaited:
                break
            if not query.wait_for_change:
                break
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not await self._watcher.changed(machine, reading.stamps, left):
                break
        return _reply(reply.body, reply.content_type, ETag=reply.etag)

    def _boot(self, request: web.BaseRequest, machine: Path) -> web.Response:
        if request.method not in {"GET", "HEAD"}:
            return _not_allowed("GET, HEAD")
        return _reply(boot.answer(self._trees.read(machine).tree))

    @staticmethod
    def _redirect(request: web.BaseRequest, path: str) -> web.Response:
        query = f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else ""
        return _reply(f"{path}/".encode(), status=301, Location=f"{path}/{query}")

    # --- guest attributes ----------------------------------------------------------------------------

    async def _report(self, request: web.BaseRequest, machine: Path, names: tuple[str, ...]) -> web.Response:
        if len(names) != 2 or not all(state.valid_name(name) for name in names):
            detail = "Guest attributes are named NAMESPACE/KEY, both of letters, digits, _ and -."
            return _error(400, "Bad Request", detail)
        value: str | None = None
        if request.method == "PUT":
            body = await self._limited(request, state.VALUE_LIMIT)
            if body is None:
                return self._too_large(f"a guest attribute may have {state.VALUE_LIMIT} bytes")
            value = body.decode("utf-8", "replace")
        try:
            was_there = state.set_guest_attribute(machine, "/".join(names), value)
        except state.LimitError as error:
            return self._too_large(str(error))
        except FileNotFoundError:
            return _not_found(request.path)
        self._watcher.look(machine)
        if value is None and not was_there:
            return _not_found(request.path)
        return _reply(b"")

    @staticmethod
    async def _limited(request: web.BaseRequest, limit: int) -> bytes | None:
        await _expected(request)
        body = b""
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > limit:
                return None
        return body

    @staticmethod
    def _refused(status: int, title: str, detail: str) -> web.Response:
        response = _error(status, title, detail)
        response.force_close()  # the rest of the body is not read
        return response

    @classmethod
    def _too_large(cls, detail: str) -> web.Response:
        return cls._refused(413, "Content Too Large", detail[:1].upper() + detail[1:] + ".")

    # --- files and results ---------------------------------------------------------------------------

    async def _file(self, request: web.BaseRequest, machine: Path, name: str) -> Response:
        if request.method not in {"GET", "HEAD"}:
            return _not_allowed("GET, HEAD")
        path = machine / "files" / name
        if not _FILE_NAME.fullmatch(name) or builds.is_secret(name) or not path.is_file():
            return _not_found(request.path)
        headers = {**_HEADERS, "Content-Type": "application/octet-stream"}
        return web.FileResponse(path, chunk_size=_BLOCK, headers=headers)

    def _secret(self, request: web.BaseRequest, machine: Path, name: str) -> web.Response:
        if request.method not in {"GET", "HEAD"}:
            return _not_allowed("GET, HEAD")
        secret = secret_for(machine, self._secrets, name)
        if secret is None:
            return _not_found(request.path)
        return _reply(secret.value, "application/octet-stream", ETag=secret.version, Cache_Control="no-store")

    async def _build(self, request: web.BaseRequest, machine: Path, path: str) -> Response:
        if path.startswith(protocol.BUILD_SECRETS_PATH):
            return await self._build_secret(request, machine, path.removeprefix(protocol.BUILD_SECRETS_PATH))
        if path.startswith(protocol.RESULTS_PATH):
            return await self._result(request, machine, path.removeprefix(protocol.RESULTS_PATH))
        return await self._build_key(request, machine)

    async def _build_secret(self, request: web.BaseRequest, machine: Path, name: str) -> web.StreamResponse:
        if request.method != "GET":
            return _not_allowed("GET")
        facts = self._trees.read(machine).facts
        key = request.headers.get(builds.KEY_HEADER, "")
        path = builds.secret_for_step(machine, facts, name, key) if _FILE_NAME.fullmatch(name) else None
        if path is None:
            return _not_found(request.path)
        if path in self._serving:  # to two that ask at once it would be served twice
            return self._refused(429, "Too Many Requests", "Another request for it is being answered.")
        self._serving.add(path)
        try:
            response = _reply(path.read_bytes(), "application/octet-stream", Cache_Control="no-store")
            await response.prepare(request)
            await response.write_eof()
            # Only now: an agent whose connection broke has not had it and may ask again.
            builds.note_served(machine, facts, name)
        finally:
            self._serving.discard(path)
        return response

    async def _build_key(self, request: web.BaseRequest, machine: Path) -> web.Response:
        if request.method != "PUT":
            return _not_allowed("PUT")
        if not builds.is_builder(self._trees.read(machine).facts):
            return self._refused(404, "Not Found", "This machine is no builder.")
        body = await self._limited(request, builds.KEY_LIMIT)
        if body is None:
            return self._too_large(f"a key may have {builds.KEY_LIMIT} bytes")
        if not builds.take_key(machine, body):
            return _error(409, "Conflict", "Another key was here first.")
        return _reply(b"")

    async def _result(self, request: web.BaseRequest, machine: Path, name: str) -> web.Response:
        if request.method != "PUT":
            return _not_allowed("PUT")
        if not (_FILE_NAME.fullmatch(name) and builds.expects_result(self._trees.read(machine).facts, name)):
            return self._refused(404, "Not Found", "No bake waits for this result of this machine.")
        # Said before the body is asked for, where the client tells how long it is.
        if (request.content_length or 0) > builds.RESULT_LIMIT:
            return self._too_large(f"a result may have {builds.RESULT_LIMIT} bytes")
        # One at a time, or a builder could fill the disk with many that never end.
        if machine in self._uploading:
            return self._refused(429, "Too Many Requests", "Another result is coming in.")
        self._uploading.add(machine)
        try:
            await _expected(request)
            return await self._take_result(request, machine, name)
        finally:
            self._uploading.discard(machine)

    async def _take_result(self, request: web.BaseRequest, machine: Path, name: str) -> web.Response:
        directory = machine / "results"
        directory.mkdir(exist_ok=True)
        staged = directory / f".{name}.part"  # one name: what a kill has left is written over
        try:
            with staged.open("wb") as stream:
                complete = await self._store(request, stream.write)
                # In a thread: the disk may take seconds, and one process serves all machines.
                await asyncio.to_thread(_sync, stream)
            if not complete:
                return self._too_large(f"a result may have {builds.RESULT_LIMIT} bytes")
            staged.replace(directory / name)
        finally:
            staged.unlink(missing_ok=True)
        return _reply(b"")

    @staticmethod
    async def _store(request: web.BaseRequest, write: Callable[[bytes], int]) -> bool:
        size, block = 0, bytearray()
        async for chunk in request.content.iter_any():
            size += len(chunk)
            if size > builds.RESULT_LIMIT:
                return False
            block += chunk
            if len(block) >= _BLOCK:
                await asyncio.to_thread(write, bytes(block))
                block.clear()
        await asyncio.to_thread(write, bytes(block))
        return True
