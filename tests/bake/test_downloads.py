"""ADD of URLs, against a server on the loopback."""

from __future__ import annotations

import http.server
import threading
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
            self.send_header("Content-Length", str(len(self.content)))
            self.end_headers()
            self.wfile.write(self.content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Handler.content, Handler.asked = b"one", []
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
    with pytest.raises(InputError, match="not what --checksum says") as caught:
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
