"""Uploads and downloads request by request: sessions, ranges, what is refused, and what a kill leaves."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from stoneware.emulator import discovery, faults
from stoneware.emulator.cloud import Cloud
from stoneware.emulator.service import Service
from stoneware.emulator.storage import contents, sessions
from stoneware.emulator.store import Store
from tests.emulator.conftest import PROJECT
from tests.emulator.test_server import start

pytestmark = pytest.mark.tool

UNIT = 256 << 10
UPLOAD = "/upload/storage/v1/b/some-bucket/o"
OBJECTS = "/storage/v1/b/some-bucket/o"


class Wire:
    """One connection to the emulator."""

    def __init__(self, endpoint: str) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=60)

    def __call__(
        self, verb: str, path: str, body: Any = b"", headers: dict[str, str] | None = None, **more: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.connection.request(verb, path, raw, {**(headers or {}), **more})
        reply = self.connection.getresponse()
        return reply.status, reply.headers, reply.read()

    def put(self, session: str, content: bytes, where: str, **more: str) -> tuple[int, str | None]:
        status, headers, _ = self("PUT", session, content, {"Content-Range": f"bytes {where}", **more})
        return status, headers["Range"]

    def session(self, name: str = "o", query: str = "", **headers: str) -> str:
        path = f"{UPLOAD}?uploadType=resumable{query}"
        status, reply, _ = self("POST", path, {"name": name}, headers)
        assert status == 200
        place = urlsplit(reply["Location"])
        return f"{place.path}?{place.query}"


@pytest.fixture
def wire(endpoint: str) -> Iterator[Wire]:
    made = Wire(endpoint)
    assert made("POST", f"/storage/v1/b?project={PROJECT}", {"name": "some-bucket"})[0] == 200
    yield made
    made.connection.close()


def test_a_session_takes_whole_units_says_how_far_it_is_and_answers_again(wire: Wire) -> None:
    session = wire.session("a/b", "&ifGenerationMatch=0")
    assert wire.put(session, b"", "*/*") == (308, None)
    content = bytes(range(256)) * (UNIT * 2 // 256) + b"tail"
    total = len(content)
    assert wire.put(session, content[: UNIT + 5], f"0-{UNIT + 4}/*") == (308, f"bytes=0-{UNIT - 1}")
    assert wire.put(session, b"", f"*/{total}") == (308, f"bytes=0-{UNIT - 1}")
    # What is there already is not written twice; a hole is not made.
    assert wire.put(session, content[: UNIT * 2], f"0-{UNIT * 2 - 1}/*") == (308, f"bytes=0-{UNIT * 2 - 1}")
    assert wire.put(session, b"x", f"{UNIT * 3}-{UNIT * 3}/*") == (308, f"bytes=0-{UNIT * 2 - 1}")
    status, _, made = wire(
        "PUT", session, content[UNIT:], {"Content-Range": f"bytes {UNIT}-{total - 1}/{total}"}
    )
    assert (status, json.loads(made)["size"]) == (200, str(total))
    assert wire("PUT", session, b"", {"Content-Range": f"bytes */{total}"})[2] == made
    assert wire("GET", "/some-bucket/a/b")[2] == content


def test_the_provider_is_told_308_in_a_header(wire: Wire) -> None:
    session = wire.session()
    first = {"Content-Range": f"bytes 0-{UNIT - 1}/*", "X-Guploader-No-308": "yes"}
    status, headers, _ = wire("POST", session, b"x" * UNIT, first)
    assert (status, headers["X-Http-Status-Code-Override"], headers["Range"]) == (
        200,
        "308",
        f"bytes=0-{UNIT - 1}",
    )
    last = {"Content-Range": f"bytes {UNIT}-{UNIT}/{UNIT + 1}", "X-Guploader-No-308": "yes"}
    status, headers, made = wire("POST", session, b"y", last)
    assert (status, "X-Http-Status-Code-Override" in headers) == (200, False)
    assert json.loads(made)["size"] == str(UNIT + 1)


def test_a_session_may_be_whole_empty_cancelled_or_overtaken(wire: Wire) -> None:
    assert wire("PUT", wire.session("whole"), b"all of it")[0] == 200
    assert wire.put(wire.session("empty"), b"", "*/0")[0] == 200
    session = wire.session("gone")
    assert wire("DELETE", session)[0] == 499
    assert wire.put(session, b"", "*/*")[0] == 404
    guarded = wire.session("whole", "&ifGenerationNotMatch=7")
    late = wire.session("new", "&ifGenerationMatch=0")
    assert wire("PUT", wire.session("new"), b"first")[0] == 200
    assert wire("PUT", late, b"second")[0] == 412
    assert wire("GET", "/some-bucket/new")[2] == b"first"
    assert wire("PUT", guarded, b"other")[0] == 200
    assert wire("PUT", wire.session("summed"), b"x", {"X-Goog-Hash": "crc32c=AAAAAA=="})[0] == 400


@pytest.mark.parametrize(
    ("where", "content"),
    [("0-0", b"x"), ("0-1/1", b"xy"), ("5-2/9", b"x"), ("0-0/*", b"xy"), ("0-9" * 99, b""), ("-5/9", b"x")],
)
def test_a_range_that_is_none_is_refused(wire: Wire, where: str, content: bytes) -> None:
    assert wire.put(wire.session(), content, where)[0] == 400


def test_a_session_goes_on_where_a_broken_connection_and_a_killed_emulator_left_it(tmp_path: Path) -> None:
    words = ("--port", "0", "--project", PROJECT)

    def endpoint_of(process: subprocess.Popen[str]) -> str:
        assert process.stderr is not None
        return process.stderr.readline().split()[6].rstrip(";")

    def kill(process: subprocess.Popen[str]) -> None:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=300)

    with start(*words, home=tmp_path) as first:
        endpoint = endpoint_of(first)
        wire = Wire(endpoint)
        wire("POST", f"/storage/v1/b?project={PROJECT}", {"name": "some-bucket"})
        assert wire("POST", f"{UPLOAD}?uploadType=media&name=kept", b"kept")[0] == 200
        session = wire.session()
        head = {"Content-Range": f"bytes 0-{UNIT * 4 - 1}/{UNIT * 4}", "Content-Length": str(UNIT * 4)}
        wire.connection.putrequest("PUT", session)
        for name, value in head.items():
            wire.connection.putheader(name, value)
        wire.connection.endheaders()
        wire.connection.send(b"x" * (UNIT * 2 + 100))
        other = Wire(endpoint)  # while the first one is under way
        deadline = time.monotonic() + 300
        while other.put(session, b"", "*/*") != (308, f"bytes=0-{UNIT * 2 - 1}"):
            assert time.monotonic() < deadline
        kill(first)
        wire.connection.close()
        other.connection.close()
    objects = tmp_path / "emulator" / "objects"
    (objects / "half").write_text("what a kill has left")
    with start(*words, home=tmp_path) as second:
        wire = Wire(endpoint_of(second))
        assert not (objects / "half").exists()
        assert wire.put(session, b"", "*/*") == (308, f"bytes=0-{UNIT * 2 - 1}")
        assert wire.put(session, b"y" * UNIT * 2, f"{UNIT * 2}-{UNIT * 4 - 1}/{UNIT * 4}")[0] == 200
        assert wire("GET", "/some-bucket/o")[2] == b"x" * UNIT * 2 + b"y" * UNIT * 2
        assert wire("GET", "/some-bucket/kept")[2] == b"kept"
        wire.connection.close()
        kill(second)


def test_what_a_kill_between_file_and_record_leaves_is_swept(service: Service) -> None:
    cloud = Cloud(service)
    contents = cloud.storage.records.contents
    service.store.put(
        "uploads/going-on", {"begun": service.clock(), "fields": {}, "query": {}, "total": None}
    )
    service.store.put("uploads/old", {"begun": 0.0, "fields": {}, "query": {}, "total": None})
    for name in ("going-on", "old", "orphan"):
        contents.upload(name).touch()
    contents.path("orphan").touch()
    Cloud(service)
    left = [path.name for place in ("objects", "uploads") for path in (service.store.root / place).iterdir()]
    assert left == ["going-on"]


@pytest.mark.parametrize(
    ("wanted", "status", "content"),
    [
        ("bytes=0-", 206, b"0123456789"),
        ("bytes=2-3", 206, b"23"),
        ("bytes=8-99", 206, b"89"),
        ("bytes=-3", 206, b"789"),
        ("bytes=-99", 206, b"0123456789"),
        ("bytes=10-", 416, None),
        ("bytes=5-2", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=-", 200, b"0123456789"),
        ("lines=1-2", 200, b"0123456789"),
        ("bytes=0-1,3-4", 200, b"0123456789"),
        ("bytes=" + "9" * 200 + "-", 200, b"0123456789"),
    ],
)
def test_a_range_of_contents(wire: Wire, wanted: str, status: int, content: bytes | None) -> None:
    wire("POST", f"{UPLOAD}?uploadType=media&name=o", b"0123456789")
    for path in (f"{OBJECTS}/o?alt=media", "/some-bucket/o", f"/download{OBJECTS}/o"):
        code, headers, raw = wire("GET", path, b"", {"Range": wanted})
        assert code == status
        if content is None:
            assert headers["Content-Range"] == "bytes */10"
        else:
            assert raw == content
            assert headers["X-Goog-Hash"] == "crc32c=KAwGng==,md5=eB5eJF1ptWaXm4bijSPyxw=="


def test_conditions_of_reads(wire: Wire) -> None:
    _, _, made = wire("POST", f"{UPLOAD}?uploadType=media&name=o", b"content")
    generation = json.loads(made)["generation"]
    for path in (f"{OBJECTS}/o", f"{OBJECTS}/o?alt=media"):
        join = "&" if "?" in path else "?"
        assert wire("GET", f"{path}{join}ifGenerationNotMatch={generation}")[::2] == (304, b"")
        assert wire("GET", f"{path}{join}ifGenerationMatch=5")[0] == 412
        assert wire("GET", f"{path}{join}ifMetagenerationNotMatch=2")[0] == 200
    assert wire("HEAD", "/some-bucket/o")[1]["Content-Length"] == "7"


MULTIPART = "multipart/related; boundary="


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        (f"{MULTIPART}b", b"--b\r\nContent-Type: application/json\r\n\r\n{}\r\n--b\r\n\r\nx\r\n--b--", 200),
        (f"{MULTIPART}'b'", b"--b\nContent-Type: application/json\n\n{}\n--b\n\nx\n--b--\n", 200),
        (f'{MULTIPART}"b"', b"--b\r\nContent-Type: application/json\r\n\r\n\r\n--b\r\n\r\nx\r\n--b--", 200),
        (f"{MULTIPART}b", b"--b\r\nContent-Type: application/json\r\n\r\n{\r\n--b\r\n\r\nx\r\n--b--", 400),
        (f"{MULTIPART}b", b"--b\r\nContent-Type: text/plain\r\n\r\n{}\r\n--b\r\n\r\nx\r\n--b--", 400),
        (f"{MULTIPART}b", b"--b\r\nContent-Type: application/json\r\n\r\n{}\r\n--b\r\n\r\nx", 400),
        (f"{MULTIPART}b", b"--b\r\nContent-Type: application/json\r\n\r\n{}", 400),
        (f"{MULTIPART}b", b"x" * (3 << 20), 400),
        (f"{MULTIPART}b", b"", 400),
        ("multipart/related", b"--b--", 400),
        ("application/json", b"{}", 400),
    ],
)
def test_a_body_of_two_parts(wire: Wire, kind: str, body: bytes, status: int) -> None:
    code, _, reply = wire("POST", f"{UPLOAD}?uploadType=multipart&name=o", body, {"Content-Type": kind})
    assert code == status, reply
    if status == 200:
        assert wire("GET", "/some-bucket/o")[2] == b"x"


@pytest.mark.parametrize("content", [b"", b"\r\n", b"--b\r\n", b"\n--", b"\0" * 3000 + b"\r\n"])
def test_contents_of_a_part_are_kept_as_they_are(wire: Wire, content: bytes) -> None:
    body = b"--bb\r\nContent-Type: application/json\r\n\r\n{}\r\n--bb\r\n\r\n" + content + b"\r\n--bb--\r\n"
    wire("POST", f"{UPLOAD}?uploadType=multipart&name=o", body, {"Content-Type": f"{MULTIPART}bb"})
    assert wire("GET", "/some-bucket/o")[2] == content


@pytest.mark.parametrize(
    "name", ["../../x", "a/../b", "/", "//", "\0", "a%2Fb", "x" * 1024, "\u2028 é", "?#&"]
)
def test_any_name_is_one_object(wire: Wire, service: Service, name: str) -> None:
    assert wire("POST", f"{UPLOAD}?uploadType=media&name={quote(name, safe='')}", b"odd")[0] == 200
    path = f"{OBJECTS}/{quote(name, safe='')}"
    assert json.loads(wire("GET", path)[2])["name"] == name
    assert wire("GET", f"{path}?alt=media")[2] == b"odd"
    assert {path.name for path in service.store.root.iterdir()} <= {
        *("objects", "uploads", "lock"),
        *("records.sqlite", "records.sqlite-wal", "records.sqlite-shm"),
    }
    assert wire("DELETE", path)[0] == 204


@pytest.mark.parametrize("name", ["", ".", "..", "a\nb", "a\rb", "x" * 1025, "é" * 513])
def test_a_name_that_no_object_has_is_refused(wire: Wire, name: str) -> None:
    assert wire("POST", f"{UPLOAD}?uploadType=media&name={quote(name, safe='')}", b"odd")[0] == 400


@pytest.mark.parametrize(
    ("request_line", "body", "headers", "status"),
    [
        (f"POST /storage/v1/b?project={PROJECT}", {"name": "No"}, {}, 400),
        (f"POST /storage/v1/b?project={PROJECT}", {"name": "10.0.0.1"}, {}, 400),
        (f"POST /storage/v1/b?project={PROJECT}", {"name": "google-bucket"}, {}, 400),
        (f"POST /storage/v1/b?project={PROJECT}", {"name": "bucket", "location": "moon"}, {}, 400),
        ("POST /storage/v1/b?project=other", {"name": "bucket"}, {}, 400),
        (f"POST {UPLOAD}?uploadType=media&name=%FF", b"x", {}, 400),
        ("GET /some-bucket/%ED%A0%80", b"", {}, 400),
        (f"POST {UPLOAD}?uploadType=media&name=o", b"x", {"Content-Type": "t\xe9xt/x"}, 400),
        (f"POST {UPLOAD}?uploadType=resumable", {"name": "o", "storageClass": "A\r\nB: c"}, {}, 400),
        (f"POST /storage/v1/b?project={PROJECT}", {"name": "bucket", "storageClass": "none"}, {}, 400),
        (f"GET {OBJECTS}?maxResults=-1", b"", {}, 400),
        ("POST /storage/v1/b", {"name": "bucket"}, {}, 400),
        ("POST /upload/storage/v1/b/none/o?uploadType=media&name=o", b"x", {}, 404),
        (f"POST {UPLOAD}?uploadType=other&name=o", b"x", {}, 400),
        (f"POST {UPLOAD}?uploadType=media&name=o", b"x", {"Origin": "http://example.org"}, 403),
        (f"POST {UPLOAD}?uploadType=media&name=o", b"x", {"Host": "example.org"}, 403),
        (f"POST {UPLOAD}?uploadType=media&name=o", b"x", {"X-Goog-Encryption-Algorithm": "AES256"}, 501),
        (f"POST {UPLOAD}?uploadType=media&name=o&ifGenerationMatch=x", b"x", {}, 400),
        (f"POST {UPLOAD}?uploadType=resumable", {"name": "o", "cacheControl": "a\r\nB: c"}, {}, 400),
        (f"POST {UPLOAD}?uploadType=resumable", {"name": "o", "metadata": {"k": "v" * 9000}}, {}, 400),
        (f"POST {UPLOAD}?uploadType=resumable", {"name": "o", "metadata": {"k": 1}}, {}, 400),
        (f"POST {UPLOAD}?uploadType=resumable", {"name": "o", "x": "v" * (1 << 20)}, {}, 400),
        (f"POST {OBJECTS}", {"name": "o"}, {}, 400),
        (f"GET {OBJECTS}?pageToken=x", b"", {}, 400),
        (f"GET {OBJECTS}?matchGlob=*", b"", {}, 501),
        ("GET /some-bucket/none", b"", {}, 404),
        ("GET /none/none", b"", {}, 404),
        ("PUT /some-bucket/none", b"x", {}, 404),
        (f"POST {OBJECTS}/o/compose", {"sourceObjects": []}, {}, 400),
        (f"POST {OBJECTS}/o/compose", {"sourceObjects": [{"name": "none"}]}, {}, 404),
        (f"POST {OBJECTS}/o/acl", {"entity": "allUsers"}, {}, 501),
    ],
)
def test_what_is_refused(
    wire: Wire, request_line: str, body: Any, headers: dict[str, str], status: int
) -> None:
    verb, path = request_line.split(" ")
    code, _, reply = wire(verb, path, body, headers)
    assert (code, json.loads(reply)["error"]["code"]) == (status, status)


def test_what_is_patched_away_has_its_default_again(wire: Wire) -> None:
    wire("POST", f"{UPLOAD}?uploadType=media&name=o", b"x", {"Content-Type": "text/plain"})
    gone = {"contentType": None, "storageClass": None, "metadata": None}
    assert wire("PATCH", f"{OBJECTS}/o", gone)[0] == 200
    headers = wire("GET", "/some-bucket/o")[1]
    assert (headers["Content-Type"], headers["X-Goog-Storage-Class"]) == (
        "application/octet-stream",
        "STANDARD",
    )
    for path in ("copyTo", "rewriteTo"):
        assert wire("POST", f"{OBJECTS}/o/{path}/b/some-bucket/o/p", {"metadata": {"a": "b"}})[0] == 200
    gone = {
        "storageClass": None,
        "location": None,
        "iamConfiguration": None,
        "versioning": None,
        "name": None,
    }
    assert wire("PATCH", "/storage/v1/b/some-bucket", gone)[0] == 200
    bucket = json.loads(wire("GET", "/storage/v1/b/some-bucket")[2])
    assert (bucket["storageClass"], bucket["location"], bucket["name"]) == ("STANDARD", "US", "some-bucket")
    assert wire("POST", f"{UPLOAD}?uploadType=media&name=q", b"x")[0] == 200


def test_an_object_has_its_buckets_class_unless_it_says_another(wire: Wire) -> None:
    wire("PATCH", "/storage/v1/b/some-bucket", {"storageClass": "NEARLINE"})
    assert wire("PUT", wire.session("o"), b"x")[0] == 200
    assert wire("GET", "/some-bucket/o")[1]["X-Goog-Storage-Class"] == "NEARLINE"


def test_faults_are_of_uploads_and_downloads_too(wire: Wire, service: Service) -> None:
    service.faults = faults.Faults([faults.parse("503")])
    assert wire("POST", f"{UPLOAD}?uploadType=media&name=o", b"x")[0] == 503
    assert wire("GET", f"{OBJECTS}/o?alt=media")[0] == 503
    assert wire("GET", OBJECTS)[0] == 503
    service.faults = faults.Faults([faults.parse("lost-reply")])
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        wire("POST", f"{UPLOAD}?uploadType=media&name=o", b"done all the same")
    service.faults = faults.Faults()
    assert wire("GET", "/some-bucket/o")[2] == b"done all the same"


def test_generations_grow_whatever_the_clock_does(tmp_path: Path, document: discovery.Document) -> None:
    now = [2000.0]
    store = Store(tmp_path)
    records = Cloud(Service(document, store, clock=lambda: now[0])).storage.records
    first = int(records.generation())
    now[0] = 1000.0
    assert int(records.generation()) > first
    store.put("b/x", {"generation": str(first + 9)})
    assert int(Cloud(Service(document, store, clock=lambda: now[0])).storage.records.generation()) > first + 9
    store.close()


def test_sessions_that_are_over_make_room_for_others(
    wire: Wire, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_MOST", 2)
    assert wire("PUT", wire.session("over"), b"x")[0] == 200
    wire.session("a")
    wire.session("b")
    assert wire("POST", f"{UPLOAD}?uploadType=resumable", {"name": "c"})[0] == 429
    assert len(service.store.keys("uploads")) == 2


def test_a_page_of_many_objects_is_read_and_no_more(wire: Wire, service: Service) -> None:
    records = Cloud(service).storage.records
    summary = contents.Summary(0, "", "")
    with service.store.transaction():
        for number in range(1500):
            records.write(("some-bucket", f"{number // 100:02}/{number:04}"), {}, "none", summary)
    shown: list[str] = []
    token = ""
    while True:
        page = json.loads(wire("GET", f"{OBJECTS}?pageToken={token}&prefix=0")[2])
        shown += [item["name"] for item in page["items"]]
        if not (token := page.get("nextPageToken", "")):
            break
        assert len(page["items"]) == 1000
    assert shown == [f"{number // 100:02}/{number:04}" for number in range(1000)]
    top = json.loads(wire("GET", f"{OBJECTS}?delimiter=/&maxResults=10")[2])
    assert (top["prefixes"], "items" in top) == ([f"{number:02}/" for number in range(10)], False)
