"""Contents of objects on their way from a client, in one request."""

from __future__ import annotations

import asyncio
import email.message
import email.parser
import email.policy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from aiohttp import web

from stoneware.emulator import errors, validate
from stoneware.emulator.discovery import Document
from stoneware.emulator.service import Call
from stoneware.emulator.storage import conditions, contents
from stoneware.emulator.storage.contents import Summary
from stoneware.emulator.storage.records import Records, check_fields, check_object_name, show
from stoneware.emulator.store import Record
from stoneware.untrusted.bounded import BoundsError, bounded_json

_DOCUMENT = 1 << 20  # bytes of what is said of an object
_DEEPEST = 100
_CHUNK = 1 << 20
_BOUNDARY = re.compile(r"""\bboundary=(?:"([^"]+)"|'([^']+)'|([^\s;"']+))""")  # gcloud has single quotes


def described(document: Document, raw: bytes) -> Record:
    """Return what a client says of an object that it uploads. Raises ApiError (400)."""
    try:
        value = bounded_json(raw, _DOCUMENT, _DEEPEST) if raw.strip() else {}
    except BoundsError as error:
        raise errors.ApiError(400, "parseError", f"Invalid JSON payload received. It {error}.") from error
    fields = validate.body(document, "Object", value)
    check_fields(fields)
    return fields


def named(call: Call, fields: Mapping[str, Any]) -> tuple[str, str]:
    """Return the bucket and the name of the object that a request makes. Raises ApiError (400)."""
    return call.query["bucket"], check_object_name(call.query.get("name") or fields.get("name"))


def with_query(call: Call, fields: Record) -> Record:
    """Return what is said of an object, with what the query says of it."""
    encoding = call.query.get("contentEncoding")
    return fields | ({"contentEncoding": encoding} if encoding else {})


async def media(records: Records, call: Call, request: web.Request) -> Record:
    """Make an object of a request's body."""
    headers = {"contentType": "Content-Type", "contentEncoding": "Content-Encoding"}
    said = {field: request.headers[name] for field, name in headers.items() if request.headers.get(name)}
    fields = with_query(call, said)
    check_fields(fields)
    with records.contents.gathered() as path:
        await receive(request, path)
        return await finish(records, call, path, fields, claims(fields, request.headers))


async def multipart(records: Records, document: Document, call: Call, request: web.Request) -> Record:
    """Make an object of a body of two parts: what is said of it, and its contents."""
    # Into a file first: where the contents end is known once all is there.
    with records.contents.gathered() as whole, records.contents.gathered() as path:
        await receive(request, whole)
        raw, kind = _split(request.headers.get("Content-Type", ""), whole, path)
        fields = with_query(call, ({"contentType": kind} if kind else {}) | described(document, raw))
        return await finish(records, call, path, fields, claims(fields, request.headers))


async def receive(request: web.Request, path: Path) -> None:
    """Write a request's body to a file. Raises ApiError."""
    with contents.kept(), path.open("wb") as stream:
        size = 0
        async for chunk in request.content.iter_chunked(_CHUNK):
            size += len(chunk)
            too_large(size)
            stream.write(chunk)


def too_large(size: int) -> None:
    """Raise ApiError (413) for a size that no object has."""
    if size > contents.LARGEST:
        raise errors.ApiError(413, "uploadTooLarge", f"An object has {contents.LARGEST} bytes at most.")


async def finish(
    records: Records, call: Call, path: Path, fields: Record, claimed: Mapping[str, str]
) -> Record:
    """Make an object of a file that is whole, if its checksums and the request's conditions hold."""
    summary = await asyncio.to_thread(contents.summary, path)
    with records.store.transaction():
        return made(records, call, path, fields, (summary, claimed))


def made(
    records: Records,
    call: Call,
    path: Path,
    fields: Record,
    sums: tuple[Summary, Mapping[str, str]],
) -> Record:
    """Make an object of a file, of which the checksums are known and claimed. Raises ApiError (400, 412)."""
    summary, claimed = sums
    for name, have in (("MD5", summary.md5), ("CRC32C", summary.crc32c)):
        said = claimed.get(name.lower(), have)
        if said != have:
            why = f'Provided {name} hash "{said}" doesn\'t match calculated {name} hash "{have}".'
            raise errors.ApiError(400, "invalid", why)
    where = named(call, fields)
    # In the transaction that writes: nothing comes in between.
    conditions.check(call.query, records.live(*where))
    content = records.contents.keep(path)
    return show(records.write(where, fields, content, summary), call.base)


def claims(fields: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, str]:
    """Return the checksums that a client says its contents have."""
    given = {"md5": fields.get("md5Hash"), "crc32c": fields.get("crc32c")}
    given["md5"] = headers.get("Content-MD5", given["md5"])
    for pair in headers.get("X-Goog-Hash", "").split(","):
        name, _, value = pair.strip().partition("=")
        if name in given:
            given[name] = value
    return {name: value for name, value in given.items() if value}


def _split(content_type: str, whole: Path, into: Path) -> tuple[bytes, str]:
    """Write the second part of a body to a file; return the first one, and the second one's type."""
    found = _BOUNDARY.search(content_type)
    if not content_type.startswith(("multipart/related", "multipart/mixed")) or found is None:
        raise _malformed("its type is multipart/related with a boundary")
    mark = f"--{found[1] or found[2] or found[3]}".encode(errors="replace")
    with whole.open("rb") as stream:
        _past(stream, mark)
        if _headers(stream).get_content_type() != "application/json":
            raise _malformed("the first part is application/json")
        raw = _past(stream, mark)
        kind = _headers(stream)
        if kind.get("Content-Transfer-Encoding", "binary").lower() not in ("binary", "7bit", "8bit"):
            raise _malformed("the contents are sent as they are")
        end = _end(stream, mark)
        contents.part(stream, end, into)
    return raw, str(kind.get("Content-Type", ""))


def _malformed(why: str) -> errors.ApiError:
    return errors.ApiError(400, "badRequest", f"Malformed multipart body: {why}.")


def _past(stream: IO[bytes], mark: bytes) -> bytes:
    """Return the lines before one that is a mark; the stream is then after it."""
    found: list[bytes] = []
    size = 0
    while line := stream.readline(_DOCUMENT):
        if line.rstrip() == mark:
            return b"".join(found)
        size += len(line)
        if size > _DOCUMENT:
            break
        found.append(line)
    raise _malformed("each part begins with the boundary, and what is said of the object is 1 MiB at most")


def _headers(stream: IO[bytes]) -> email.message.Message:
    lines = []
    while (line := stream.readline(_DOCUMENT)).strip():
        lines.append(line)
        if len(lines) > 100:
            raise _malformed("a part has 100 headers at most")
    return email.parser.BytesParser(policy=email.policy.compat32).parsebytes(b"".join(lines))


def _end(stream: IO[bytes], mark: bytes) -> int:
    """Return where the contents end that begin at the stream's place and go on to the last mark."""
    start, size = stream.tell(), stream.seek(0, 2)
    # Only its end is read: contents may be large, and have the mark in them.
    near = max(start, size - len(mark) - 64)
    stream.seek(near)
    tail = stream.read()
    at = tail.rfind(mark + b"--")
    before = tail[:at]
    if at < 0 or tail[at + len(mark) + 2 :].strip():
        raise _malformed("it ends with the boundary")
    if near + at == start:  # no contents, and no line end of their own
        end = start
    else:
        end = near + at - (2 if before.endswith(b"\r\n") else 1 if before.endswith(b"\n") else 0)
    stream.seek(start)
    return max(end, start)
