"""Several requests in one, as gcloud and Google's client libraries send them: multipart/mixed of HTTP."""

from __future__ import annotations

import email.message
import email.parser
import email.policy
import json
import re
import secrets
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.emulator import errors

MOST = 1000  # requests of a batch, as Google's
_KIND = "application/http"
# A client may name the server again in each part.
_HERE = re.compile(r"^https?://(?:127\.0\.0\.1|localhost|[a-z]+\.googleapis\.com)(?::\d+)?(?=/)")


@dataclass(frozen=True)
class Part:
    """One request of a batch: what its reply is known by, its verb, its path with the query, its body."""

    content_id: str
    http: str
    target: str
    body: bytes


def read(content_type: str, raw: bytes) -> list[Part]:
    """Return the requests of a batch. Raises ApiError (400)."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode(errors="replace")
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + raw)
    parts = list(message.iter_parts()) if message.is_multipart() else []
    if not parts or len(parts) > MOST:
        raise errors.ApiError(400, "badRequest", f"A batch is multipart/mixed, of 1 to {MOST} requests.")
    return [_part(one) for one in parts]


def _part(part: email.message.MIMEPart) -> Part:
    payload = part.get_payload(decode=True)
    if part.get_content_type() != _KIND or not isinstance(payload, bytes):
        raise errors.ApiError(400, "badRequest", f"A part of a batch is {_KIND}.")
    # Clients end lines either way.
    head, _, body = payload.replace(b"\r\n", b"\n").partition(b"\n\n")
    words = head.split(b"\n")[0].decode(errors="replace").split(" ")
    if len(words) > 1:
        words[1] = _HERE.sub("", words[1])
    if len(words) < 2 or not words[1].startswith("/"):
        raise errors.ApiError(400, "badRequest", "A part of a batch begins with a verb and a path.")
    return Part(str(part.get("Content-ID", "")), words[0], words[1], body)


def written(replies: Iterable[tuple[Part, int, Any]]) -> tuple[str, bytes]:
    """Return the content type and body of the reply to a batch, of the status and document of each part."""
    boundary = f"batch_{secrets.token_hex(16)}"
    lines = [line for part, status, document in replies for line in _lines(boundary, part, status, document)]
    body = "\r\n".join([*lines, f"--{boundary}--", ""]).encode()
    return f"multipart/mixed; boundary={boundary}", body


def _lines(boundary: str, part: Part, status: int, document: Any) -> Iterator[str]:
    text = "" if document is None else json.dumps(document)
    yield from (f"--{boundary}", f"Content-Type: {_KIND}")
    # Clients know each part's reply by this, the id of the request with `response-` before it.
    if part.content_id.startswith("<"):
        yield f"Content-ID: <response-{part.content_id[1:]}"
    yield from ("", f"HTTP/1.1 {status} {HTTPStatus(status).phrase}")
    yield from ("Content-Type: application/json; charset=UTF-8", f"Content-Length: {len(text)}", "", text)
