"""Requests of the build agent by bash's own sockets: byte for byte, and a failure where curl has to ask."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from tests.guest.support import FakeMetadata

pytestmark = pytest.mark.tool
TALK = Path(__file__).parents[2] / "src/stoneware/guest/build/talk.sh"
GO = "/computeMetadata/v1/instance/attributes/stoneware-go"
BYTES = bytes(range(256)) * 500


def _talk(server: str, *words: str | Path) -> tuple[int, list[str]]:
    argv = ["bash", "-p", str(TALK), server, *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout.split("\n")[:-1]


def test_files_of_any_bytes_come_and_go_over_one_connection(metadata: FakeMetadata, tmp_path: Path) -> None:
    metadata.files["bundle.tar"] = BYTES
    metadata.set(stoneware_go="7")
    (tmp_path / "results").write_bytes(BYTES)
    (tmp_path / "report").write_text('{"state":"sealed"}\n')
    words: list[str | Path] = ["get", "/stoneware/v1/files/bundle.tar", tmp_path / "bundle"]
    words += ["get", GO, tmp_path / "go", "put", "/stoneware/v1/results/sealed.tar", tmp_path / "results"]
    words += ["put", "/computeMetadata/v1/instance/guest-attributes/stoneware/build", tmp_path / "report"]
    code, lines = _talk(metadata.url, *words)
    assert (code, len(lines), lines[0], lines[2:]) == (0, 4, "200 ", ["200", "200"])
    assert lines[1].startswith("200 ")
    assert len(lines[1]) > 10  # with what the server calls this state of it
    assert (tmp_path / "bundle").read_bytes() == BYTES
    assert (tmp_path / "go").read_text() == "7"
    assert metadata.results["sealed.tar"] == BYTES
    assert metadata.reports == [("stoneware/build", '{"state":"sealed"}\n')]


@pytest.mark.parametrize("body", [b"", b"a line\n", b"a\0b", bytes(range(256)), b"x" * 3000, b"y" * 3001])
def test_a_short_file_goes_as_it_is(metadata: FakeMetadata, tmp_path: Path, body: bytes) -> None:
    (tmp_path / "short").write_bytes(body)
    assert _talk(metadata.url, "put", "/stoneware/v1/results/short", tmp_path / "short") == (0, ["200"])
    assert metadata.results["short"] == body


def test_a_report_comes_in_one_piece(tmp_path: Path) -> None:
    """The second of two pieces would wait 40 ms for the acknowledgement of the first."""
    (tmp_path / "report").write_text('{"state":"sealed"}\n')
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        argv = ["bash", "-p", str(TALK), url, "put", "/reports", str(tmp_path / "report")]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as talk:
            connection, _ = server.accept()
            with connection:
                assert connection.recv(65536).endswith(b'\r\n\r\n{"state":"sealed"}\n')
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                assert talk.communicate(timeout=60)[0] == "200\n"


def test_what_is_not_there_leaves_the_file_alone(metadata: FakeMetadata, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    code, lines = _talk(metadata.url, "get", "/stoneware/v1/files/none", tmp_path / "file")
    assert (code, lines) == (0, ["404 "])
    assert (tmp_path / "file").read_text() == "old"


def test_without_a_server_or_a_file_it_fails(metadata: FakeMetadata, tmp_path: Path) -> None:
    assert _talk("http://127.0.0.1:1", "get", GO, tmp_path / "go") == (1, [])
    assert _talk("http://a/b", "get", GO, tmp_path / "go") == (1, [])
    assert _talk(metadata.url, "put", "/stoneware/v1/results/x", tmp_path / "missing") == (1, [])
    assert metadata.results == {}
