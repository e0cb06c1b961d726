"""Several requests in one."""

from __future__ import annotations

from typing import Any

import pytest
from googleapiclient.errors import HttpError

from stoneware.emulator import batch, errors

G = {"project": "proj-1"}


@pytest.mark.tool
@pytest.mark.filterwarnings("ignore:You have constructed a BatchHttpRequest:DeprecationWarning")
def test_googles_client_gets_each_reply_of_a_batch(client: Any) -> None:
    got: dict[str, Any] = {}

    def keep(name: str, reply: Any, error: HttpError | None) -> None:
        got[name] = reply["name"] if error is None else error.resp.status

    many = client.new_batch_http_request(callback=keep)
    many.add(client.networks().insert(**G, body={"name": "n", "description": "größe"}), request_id="made")
    many.add(client.networks().get(**G, network="n"), request_id="found")
    many.add(client.networks().get(**G, network="none"), request_id="missing")
    many.execute()
    assert got.pop("made").startswith("operation-")
    assert got == {"found": "n", "missing": 404}


PART = b"--b\r\nContent-Type: application/http\r\nContent-ID: <x>\r\n\r\n"


def test_a_part_has_its_verb_path_and_body() -> None:
    raw = PART + b"POST /p?q=1 HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}\r\n" + PART + b"GET /g\r\n--b--\r\n"
    first, second = batch.read("multipart/mixed; boundary=b", raw)
    assert (first.content_id, first.http, first.target, first.body.strip()) == (
        "<x>",
        "POST",
        "/p?q=1",
        b"{}",
    )
    assert (second.http, second.target, second.body.strip()) == ("GET", "/g", b"")


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        ("application/json", b"{}"),
        ("multipart/mixed; boundary=b", b""),
        ("multipart/mixed", b"--b--"),
        ("multipart/mixed; boundary=b", b"--b\r\nContent-Type: text/plain\r\n\r\nGET /g\r\n--b--"),
        ("multipart/mixed; boundary=b", PART + b"GET\r\n--b--"),
        ("multipart/mixed; boundary=b", PART + b"GET http://example.org/\r\n--b--"),
        ("multipart/mixed; boundary=b", PART + b"\r\n--b--"),
        ("multipart/mixed; boundary=b", (PART + b"GET /g\r\n") * 1001 + b"--b--"),
        ("multipart/mixed; boundary=\udcff\r\n", b"--b--"),
    ],
)
def test_what_is_no_batch_is_refused(kind: str, raw: bytes) -> None:
    with pytest.raises(errors.ApiError) as caught:
        batch.read(kind, raw)
    assert caught.value.status == 400
