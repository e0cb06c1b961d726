"""Contents of objects on their way to a client."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime
from pathlib import Path
from typing import IO

from aiohttp import web

from stoneware.dataclass import dataclass
from stoneware.emulator import errors
from stoneware.emulator.storage.records import CONTENT, Records, etag
from stoneware.emulator.store import Record

_CHUNK = 256 << 10
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CONTROLS = re.compile("[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Part:
    """The bytes of contents that a client asks for: from `start`, before `end`. `whole`: it asks for all."""

    start: int
    end: int
    whole: bool


async def send(records: Records, record: Record, request: web.Request) -> web.StreamResponse:
    """Send the contents of an object, or the range that is asked for. Raises ApiError (416, 503)."""
    plain = _unpacks(record, request.headers)
    size = int(record["size"])
    # Google takes no range of what it unpacks.
    part = Part(0, size, whole=True) if plain else _part(request.headers.get("Range", ""), size)
    reply = web.StreamResponse(status=200 if part.whole else 206, headers=_headers(record, plain=plain))
    if not part.whole:
        reply.headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{size}"
    # How long it is when it is unpacked is not known yet.
    if not plain:
        reply.content_length = part.end - part.start
    # Before the reply begins, whose status is final; open, it is read to its end whatever replaces it.
    with _opened(records.contents.path(record[CONTENT])) as stream:
        await reply.prepare(request)
        if request.method == "HEAD":
            return reply
        try:
            await (_unpack(stream, reply) if plain else _copy(stream, part, reply))
        except (ConnectionError, zlib.error):  # the client is gone, or has to see that this is not all
            if request.transport is not None:
                request.transport.abort()
        else:
            await reply.write_eof()
    return reply


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise errors.unavailable(f"the emulator cannot read the contents: {error.strerror}") from error


def _unpacks(record: Record, headers: Mapping[str, str]) -> bool:
    """Say whether contents that are kept compressed are sent as they were before, as Google does."""
    return (
        record.get("contentEncoding") == "gzip"
        and "gzip" not in headers.get("Accept-Encoding", "")
        and "no-transform" not in record.get("cacheControl", "")
    )


def _part(text: str, size: int) -> Part:
    """Return what a Range header asks for; one of another form is not looked at."""
    found = _RANGE.fullmatch(text.strip())
    if found is None or len(text) > 100 or found[0] == "bytes=-":
        return Part(0, size, whole=True)
    first, last = found.groups()
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last) + 1, size) if first and last else size
    if start >= size or (first and last and int(last) < start):
        raise errors.ApiError(
            416,
            "requestedRangeNotSatisfiable",
            "Request range not satisfiable",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return Part(start, end, whole=False)


def _headers(record: Record, *, plain: bool) -> dict[str, str]:
    sums = {"crc32c": record["crc32c"], "md5": record.get("md5Hash")}
    stored = record.get("contentEncoding") or "identity"
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": record.get("cacheControl"),
        "Content-Disposition": record.get("contentDisposition"),
        "Content-Encoding": None if plain else record.get("contentEncoding"),
        "Content-Language": record.get("contentLanguage"),
        "Content-Type": record.get("contentType") or "application/octet-stream",
        "ETag": etag(record),
        "Last-Modified": format_datetime(datetime.fromisoformat(record["updated"]), usegmt=True),
        "X-Goog-Generation": record["generation"],
        "X-Goog-Hash": ",".join(f"{name}={value}" for name, value in sums.items() if value),
        "X-Goog-Metageneration": record["metageneration"],
        "X-Goog-Storage-Class": record["storageClass"],
        "X-Goog-Stored-Content-Encoding": stored,
        "X-Goog-Stored-Content-Length": record["size"],
    }
    for name, value in (record.get("metadata") or {}).items():
        # What could end a header's line, and begin another, is left out.
        if _TOKEN.fullmatch(name) and not _CONTROLS.search(value):
            headers[f"X-Goog-Meta-{name}"] = value
    return {name: value for name, value in headers.items() if value is not None}


async def _copy(stream: IO[bytes], part: Part, reply: web.StreamResponse) -> None:
    stream.seek(part.start)
    left = part.end - part.start
    while left:
        chunk = stream.read(min(left, _CHUNK))
        if not chunk:
            raise ConnectionError("the file is shorter than its record says")
        left -= len(chunk)
        await reply.write(chunk)


async def _unpack(stream: IO[bytes], reply: web.StreamResponse) -> None:
    unpacker = zlib.decompressobj(wbits=31)
    # In bounded pieces: a small object may be a very large one when it is unpacked.
    while chunk := unpacker.unconsumed_tail or stream.read(_CHUNK):
        if plain := unpacker.decompress(chunk, _CHUNK):
            await reply.write(plain)
    while plain := unpacker.flush(_CHUNK):
        await reply.write(plain)
        if unpacker.eof:
            break
    if not unpacker.eof:
        raise zlib.error("the contents end early")
