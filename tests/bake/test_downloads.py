"""ADD of URLs, against a server on the loopback."""

from __future__ import annotations

import http.server
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoneware.bake.downloads import Downloads
from stoneware.errors import InputError
from stoneware.files import sha256_hex
from stoneware.machinefile.context import Source
from stoneware.machinefile.recipe import CopyStep

pytestmark = pytest.mark.tool


class Handler(http.server.BaseHTTPRequestHandler):
    content = b"one"
    missing = 0  # bytes that are announced and not sent
    asked: list[tuple[str, str | None]] = []  # noqa: RUF012 -- one server per test

    def do_GET(self) -> None:
        etag = f'"{sha256_hex(self.content)[:8]}"'
        self.asked.append((self.path, self.headers.get("If-None-Match")))
        if self.path != "/file":
            self.send_error(404)
        elif self.headers.get("If-None-Match") == etag:
            self.send_response(304)
            self.end_headers()
        else:
            self.send_response(200)
            self.send_header("ETag", etag)
            self.send_header("Content-Length", str(len(self.content) + self.missing))
            self.end_headers()
            self.wfile.write(self.content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Handler.content, Handler.missing, Handler.asked = b"one", 0, []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


def digests(downloads: Downloads, url: str, checksum: str = "") -> str:
    step = CopyStep(1, "0", 2, "ADD", add=True, sources=(url,), checksum=checksum)
    source = Source(url, "url", "file", (), "")
    ((found, digest),) = downloads.of(step, [source], lambda line: f"Machinefile:{line}")
    assert found == url
    return digest


def test_a_file_is_fetched_once_and_asked_for_again(server: str, tmp_path: Path) -> None:
    downloads = Downloads(tmp_path / "d")
    url = f"{server}/file"
    assert digests(downloads, url) == sha256_hex(b"one")
    assert downloads.path(url).read_bytes() == b"one"
    assert digests(downloads, url) == sha256_hex(b"one")
    assert [etag is not None for _, etag in Handler.asked] == [False, True]
    Handler.content = b"two"
    assert digests(downloads, url) == sha256_hex(b"two")
    assert downloads.path(url).read_bytes() == b"two"


def test_a_checksum_makes_asking_unnecessary(server: str, tmp_path: Path) -> None:
    downloads = Downloads(tmp_path / "d")
    checksum = f"sha256:{sha256_hex(b'one')}"
    digests(downloads, f"{server}/file", checksum)
    digests(downloads, f"{server}/file", checksum)
    assert len(Handler.asked) == 1


def test_another_content_than_the_checksum_says_is_refused(server: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not match --checksum") as caught:
        digests(Downloads(tmp_path / "d"), f"{server}/file", f"sha256:{'0' * 64}")
    assert caught.value.location == "Machinefile:2"
    assert sha256_hex(b"one") in caught.value.details


def test_offline_asks_nobody(server: str, tmp_path: Path) -> None:
    assert digests(Downloads(tmp_path / "d", offline=True), f"{server}/file") == ""
    assert Handler.asked == []


@pytest.mark.parametrize("path", ["/missing", ""])
def test_failures_name_the_url_and_the_line(server: str, tmp_path: Path, path: str) -> None:
    url = f"{server}{path}" if path else "http://127.0.0.1:1/file"
    with pytest.raises(InputError, match="cannot download") as caught:
        digests(Downloads(tmp_path / "d"), url)
    assert url in caught.value.brief
    assert caught.value.location == "Machinefile:2"


def test_what_breaks_off_is_refused_and_leaves_what_was_there(server: str, tmp_path: Path) -> None:
    downloads, url = Downloads(tmp_path / "d"), f"{server}/file"
    digests(downloads, url)
    Handler.content, Handler.missing = b"two" * 2**20, 7
    with pytest.raises(InputError, match="cannot download") as caught:
        digests(downloads, url)
    assert "7 more" in caught.value.details
    assert downloads.path(url).read_bytes() == b"one"
    Handler.missing = 0
    assert digests(downloads, url) == sha256_hex(Handler.content)
    assert not list((tmp_path / "d").glob("*.partial"))


def test_what_a_killed_bake_has_left_of_a_file_is_replaced(server: str, tmp_path: Path) -> None:
    downloads, url = Downloads(tmp_path / "d"), f"{server}/file"
    (tmp_path / "d").mkdir()
    partial = downloads.path(url).with_suffix(".partial")
    partial.write_bytes(b"on" * 100)
    assert digests(downloads, url) == sha256_hex(b"one")
    assert downloads.path(url).read_bytes() == b"one"
    assert not partial.exists()


def test_a_large_file_is_never_held_in_memory(server: str, tmp_path: Path) -> None:
    Handler.content = bytes(64 << 20)
    tracemalloc.start()  # the server's own bytes were there before
    try:
        digests(Downloads(tmp_path / "d"), f"{server}/file")
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 16 << 20


def test_a_server_that_speaks_no_http_is_an_error_with_the_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_babble, args=(listener,))
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/file"
        with pytest.raises(InputError, match="cannot download") as caught:
            digests(Downloads(tmp_path / "d"), url)
        thread.join()
    assert caught.value.location == "Machinefile:2"


def _babble(listener: socket.socket) -> None:
    link, _ = listener.accept()
    with link:
        link.recv(1 << 16)
        link.sendall(b"what?\r\n\r\n")
