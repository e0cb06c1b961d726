"""Uploads in several requests: what has arrived is kept, whatever ends the connection or the emulator.

How much has arrived is the size of the session's file, to the last whole part of 256 KiB.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

from aiohttp import web

from stoneware.dataclass import dataclass
from stoneware.emulator import errors
from stoneware.emulator.discovery import Document
from stoneware.emulator.service import Call
from stoneware.emulator.storage import conditions, contents, uploads
from stoneware.emulator.storage.records import Records
from stoneware.emulator.store import Record

KEPT_SECONDS = 7 * 86400.0  # as Google keeps a session
_MOST = 1000  # sessions at a time
_OF_A_MACHINE, _OF_MACHINES = 50, 500  # of these, begun by one of the machines of instances, and by all
_UNIT = 256 << 10  # bytes; what is kept of a part that is not the last is whole ones of these
_DOCUMENT = 1 << 20
_CHUNK = 1 << 20
_BYTES = re.compile(r"bytes (?:(\d{1,14})-(\d{1,14})|\*)/(?:(\d{1,14})|\*)")


@dataclass(frozen=True)
class _Span:
    """What a request says of its bytes: from `start` (None: it has none), before `end`, of `total`."""

    start: int | None
    end: int
    total: int | None


class Sessions:
    """The uploads under way of a store."""

    def __init__(self, records: Records, document: Document) -> None:
        self._records = records
        self._document = document
        self._writers: dict[str, object] = {}  # the request that writes a session, the newest one

    def forget_old(self) -> None:
        """Remove the sessions that were begun a week ago."""
        before = self._records.clock() - KEPT_SECONDS
        for key, record in self._records.store.under("uploads"):
            if record["begun"] < before:
                self._forget(key.removeprefix("uploads/"))

    def _forget(self, name: str) -> None:
        self._records.store.remove(f"uploads/{name}")
        self._records.contents.upload(name).unlink(missing_ok=True)

    def _check_guests(self, guest: str) -> None:
        """Raise ApiError (429) where this machine, or all of them, have too many uploads under way."""
        owners = [
            record.get("guest") for _, record in self._records.store.under("uploads") if "made" not in record
        ]
        if owners.count(guest) >= _OF_A_MACHINE or sum(map(bool, owners)) >= _OF_MACHINES:
            raise errors.ApiError(429, "rateLimitExceeded", "Instances have too many uploads under way.")

    def _make_room(self) -> None:
        """Forget the sessions that are over, if there are many. Raises ApiError (429) if none of them is."""
        if len(self._records.store.keys("uploads")) < _MOST:
            return
        # What is made is kept only for clients that ask again.
        over = [key for key, record in self._records.store.under("uploads") if "made" in record]
        if not over:
            raise errors.ApiError(429, "rateLimitExceeded", f"There are {_MOST} uploads under way.")
        for key in over:
            self._records.store.remove(key)

    async def begin(self, call: Call, request: web.Request) -> web.Response:
        """Begin an upload; the reply says where its bytes go."""
        raw = await request.content.read(_DOCUMENT + 1)
        # One read gives what is there already, which may not be all.
        while len(raw) <= _DOCUMENT and (more := await request.content.read(_DOCUMENT)):
            raw += more
        fields = uploads.with_query(call, uploads.described(self._document, raw))
        if kind := request.headers.get("X-Upload-Content-Type"):
            fields.setdefault("contentType", kind)
        size = request.headers.get("X-Upload-Content-Length")
        if size is not None:
            uploads.too_large(_number("X-Upload-Content-Length", size))
        where = uploads.named(call, fields)
        # Now, so that no gigabytes are sent for a 412; and again at the end.
        conditions.check(call.query, self._records.live(*where))
        if call.guest:
            self._check_guests(call.guest)
        self._make_room()
        name = contents.new_name()
        record = {"begun": self._records.clock(), "fields": fields, "query": dict(call.query), "total": size}
        record |= {"guest": call.guest} if call.guest else {}
        # First the file: without a record it is swept at the next start.
        with contents.kept():
            self._records.contents.upload(name).touch(mode=0o600)
        self._records.store.put(f"uploads/{name}", record)
        query = urlencode({"uploadType": "resumable", "name": where[1], "upload_id": name})
        headers = {"Location": f"{call.base}{request.path}?{query}", "X-GUploader-UploadID": name}
        return web.Response(headers=headers)

    def cancel(self, name: str, guest: str) -> web.Response:
        """End an upload; nothing is made of it. `guest`: the machine that asks, if it is one."""
        self._session(name, guest)
        self._writers.pop(name, None)
        self._forget(name)
        # The status that Google gives a cancelled one.
        return web.Response(status=499, reason="Client Closed Request")

    def _session(self, name: str, guest: str) -> Record:
        record = self._records.store.get(f"uploads/{name}")
        if record is None or (guest and record.get("guest") != guest):
            raise errors.ApiError(404, "notFound", "There is no such upload; it may be over, or cancelled.")
        return record

    async def go_on(self, name: str, call: Call, request: web.Request) -> web.Response:
        """Take more bytes of an upload, or say how many there are. The last ones make the object."""
        record = self._session(name, call.guest)
        if "made" in record:
            return web.json_response(record["made"])
        span = _span(request.headers)
        total = span.total if span.total is not None else record["total"] and int(record["total"])
        path = self._records.contents.upload(name)
        writer = object()
        try:
            if span.start is not None:  # from now on; a request that only asks stops no other
                self._writers[name] = writer
                await self._append(name, writer, span, request)
            # Without a total in this request more may come, though as much is there as was announced.
            asks_or_ends = span.total is not None or span.start is None
            if total is None or path.stat().st_size != total or not asks_or_ends:
                return self._incomplete(path, total, request)
            self._writers[name] = writer
            return await self._complete(name, writer, call, request)
        except FileNotFoundError as error:  # it was cancelled meanwhile
            raise errors.ApiError(404, "notFound", "There is no such upload any more.") from error
        finally:
            if self._writers.get(name) is writer:
                del self._writers[name]

    async def _append(self, name: str, writer: object, span: _Span, request: web.Request) -> None:
        path = self._records.contents.upload(name)
        uploads.too_large(span.end)
        # Beyond a whole unit the client was told of nothing: it sends that again.
        have = path.stat().st_size // _UNIT * _UNIT
        if span.start is None or span.start > have:
            return  # the client is told how much there is, and goes on from there
        # A client may begin before what has arrived: those bytes are here.
        skip = have - span.start
        with contents.kept(), path.open("r+b") as stream:
            stream.truncate(have)
            stream.seek(have)
            async for chunk in request.content.iter_chunked(_CHUNK):
                # The client has begun another request meanwhile, and only that one goes on.
                if self._writers.get(name) is not writer:
                    raise errors.unavailable("Another request writes this upload.")
                stream.write(chunk[skip:])
                skip = max(skip - len(chunk), 0)
                if stream.tell() > span.end:
                    stream.truncate(have)
                    raise errors.ApiError(400, "badRequest", "The body is larger than its Content-Range.")

    def _incomplete(self, path: Path, total: int | None, request: web.Request) -> web.Response:
        size = path.stat().st_size
        if total is not None and size > total:
            raise errors.ApiError(400, "invalid", f"The upload has {size} bytes, and {total} were to come.")
        have = size // _UNIT * _UNIT
        headers = {"Range": f"bytes=0-{have - 1}"} if have else {}
        # Clients in Go, Terraform's provider among them, take a plain 308 for a failure.
        if request.headers.get("X-Guploader-No-308") == "yes":
            return web.Response(headers=headers | {"X-Http-Status-Code-Override": "308"})
        return web.Response(status=308, reason="Resume Incomplete", headers=headers)

    async def _complete(self, name: str, writer: object, call: Call, request: web.Request) -> web.Response:
        path = self._records.contents.upload(name)
        summary = await asyncio.to_thread(contents.summary, path)
        # Another request may have come while the sums were computed.
        if self._writers.get(name) is not writer:
            raise errors.unavailable("Another request writes this upload.")
        record = self._session(name, call.guest)
        claimed = uploads.claims(record["fields"], request.headers)
        # With the query that began the upload, whose conditions are those of its end.
        begun = Call(call.method, record["query"], base=call.base)
        with self._records.store.transaction():
            made = uploads.made(self._records, begun, path, record["fields"], (summary, claimed))
            # A client whose reply was lost asks again.
            self._records.store.put(f"uploads/{name}", record | {"made": made})
        path.unlink(missing_ok=True)
        return web.json_response(made)


def _number(name: str, text: str) -> int:
    if not re.fullmatch(r"\d{1,14}", text):
        raise errors.ApiError(400, "badRequest", f"The header {name} is a number of bytes.")
    return int(text)


def _span(headers: Mapping[str, str]) -> _Span:
    text = headers.get("Content-Range")
    if text is None:
        length = _number("Content-Length", headers.get("Content-Length", ""))
        return _Span(0, length, length)
    found = _BYTES.fullmatch(text.strip())
    if found is None:
        raise errors.ApiError(
            400, "badRequest", f"Content-Range is bytes FIRST-LAST/TOTAL, not {text[:100]!r}."
        )
    first, last, total = (None if group is None else int(group) for group in found.groups())
    if first is None or last is None:
        return _Span(None, 0, total)
    if last < first or (total is not None and last >= total):
        raise errors.ApiError(400, "badRequest", f"There is no such Content-Range: {text!r}.")
    return _Span(first, last + 1, total)
