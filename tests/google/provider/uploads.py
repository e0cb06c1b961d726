"""Uploads as Google's own library for Go makes them: small ones in one request, others piece by piece."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from tests.google.provider.client import Client
from tests.google.provider.documents import Document

PIECE = 16 << 20  # bytes of one request
_BOUNDARY = "stand-in-for-hashicorp-google"


def upload(client: Client, url: str, document: Document, kind: str, data: bytes) -> None:
    """Upload an object's contents with its description, whose name goes into the query. Raises ApiError."""
    rest = {name: value for name, value in document.items() if name != "name"}
    query = {"alt": "json", "name": document["name"], "prettyPrint": "false"}
    if len(data) > PIECE:
        _pieces(client, url, query, document=rest, kind=kind, data=data)
        return
    head = f"--{_BOUNDARY}\r\nContent-Type: application/json\r\n\r\n{json.dumps(rest)}\r\n"
    head += f"--{_BOUNDARY}\r\nContent-Type: {kind}\r\n\r\n"
    body = head.encode() + data + f"\r\n--{_BOUNDARY}--\r\n".encode()
    headers = {"Content-Type": f"multipart/related; boundary={_BOUNDARY}"}
    client.send("POST", url, body, headers, query | {"uploadType": "multipart"})


def _pieces(
    client: Client, url: str, query: dict[str, str], *, document: Document, kind: str, data: bytes
) -> None:
    headers = {"Content-Type": "application/json", "X-Upload-Content-Type": kind}
    begun = client.send(
        "POST", url, json.dumps(document).encode(), headers, query | {"uploadType": "resumable"}
    )
    session = urlsplit(begun.headers["Location"])
    address = f"{session.scheme}://{session.netloc}{session.path}"
    asked = dict(part.split("=", 1) for part in session.query.split("&"))
    for start in range(0, len(data), PIECE):
        piece = data[start : start + PIECE]
        end = start + len(piece)
        total = str(len(data)) if end == len(data) else "*"
        sent = {"Content-Range": f"bytes {start}-{end - 1}/{total}", "X-Guploader-No-308": "yes"}
        client.send("POST", address, piece, sent, asked)
