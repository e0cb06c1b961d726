"""Reports of a machine: by bash's own sockets where that works, else by curl."""

from __future__ import annotations

import os
import shutil
import socketserver
import subprocess
import threading
from pathlib import Path

import pytest

from tests.guest.support import FakeMetadata, Root, finish

pytestmark = pytest.mark.tool
_REPORT = '. "$SW_ROOT/usr/lib/stoneware/lib.sh"\nsw_report status "$SW_RUN/one" files "$SW_RUN/two"\n'
_CURL = '#!/bin/sh\necho curl >>"$CURLS"\nexec %s "$@"\n'


@pytest.fixture
def curls(root: Root) -> Path:
    """Every start of curl is a line in this file."""
    real = shutil.which("curl")
    assert real
    root.put("bin/curl", _CURL % real, 0o755)
    root.put("run/stoneware/one", '{"phase":"running"}\n')
    root.put("run/stoneware/two", "abc  /a file\n\u00e4\n\n")
    root.put("usr/lib/stoneware/probe", _REPORT)
    return root.path / "curls"


def _run(root: Root, curls: Path, **extra: str) -> None:
    path = f"{root.path / 'bin'}:{os.environ['PATH']}"
    done = root.run("probe", env={"PATH": path, "CURLS": str(curls), **extra})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_reports_start_no_curl_and_arrive_byte_for_byte_in_order(
    root: Root, metadata: FakeMetadata, curls: Path
) -> None:
    _run(root, curls)
    assert metadata.reports == [
        ("stoneware/status", '{"phase":"running"}\n'),
        ("stoneware/files", "abc  /a file\n\u00e4\n\n"),
    ]
    assert not curls.exists()


def test_what_bash_cannot_hold_is_reported_by_curl(root: Root, metadata: FakeMetadata, curls: Path) -> None:
    root.put("run/stoneware/two", b"a\0b\n")
    _run(root, curls)
    assert metadata.reports[-1] == ("stoneware/files", "a\0b\n")
    assert curls.read_text() == "curl\n" * 2


def test_without_bash_curl_reports(root: Root, metadata: FakeMetadata, curls: Path) -> None:
    root.put("bin/bash", "#!/bin/sh\nexit 127\n", 0o755)
    _run(root, curls)
    assert [name for name, _ in metadata.reports] == ["stoneware/status", "stoneware/files"]
    assert curls.read_text() == "curl\n" * 2


def test_what_the_environment_has_for_bash_is_not_run(
    root: Root, metadata: FakeMetadata, curls: Path
) -> None:
    evil = root.put("evil", f"touch {root.path}/ran\n")
    _run(root, curls, BASH_ENV=str(evil))
    assert len(metadata.reports) == 2
    assert not (root.path / "ran").exists()
    assert not curls.exists()


def test_a_boot_asks_without_curl_byte_for_byte(root: Root, metadata: FakeMetadata, curls: Path) -> None:
    text = 'A="\u00e4\u2028"\n\n\\n\ttab'
    metadata.set(stoneware_config=text, startup_script="#!/bin/sh\n")
    path = f"{root.path / 'bin'}:{os.environ['PATH']}"
    done = root.run("stoneware-boot", "--fetch", env={"PATH": path, "CURLS": str(curls)})
    assert (done.returncode, done.stderr) == (0, "")
    found = root.path / "run/stoneware/md"
    assert (found / "stoneware-config").read_text() == text
    assert (found / "startup-script").read_text() == "#!/bin/sh\n"
    assert [(found / name).read_text() for name in ("name", "ip", "hostname")] == [
        "m1",
        "10.0.0.7",
        "m1.zone.c.project.internal",
    ]
    assert len((found / "etag").read_text()) == 17
    assert not curls.exists()


@pytest.mark.parametrize("what", ["too large", "refused at first"])
def test_what_bash_does_not_get_curl_asks_for(
    root: Root, metadata: FakeMetadata, curls: Path, what: str
) -> None:
    text = "A=" + "x" * (1 << 20 if what == "too large" else 1)
    metadata.set(stoneware_config=text)
    metadata.refuse = 0 if what == "too large" else 1
    path = f"{root.path / 'bin'}:{os.environ['PATH']}"
    done = root.run("stoneware-boot", "--fetch", env={"PATH": path, "CURLS": str(curls)})
    assert (done.returncode, done.stderr) == (0, "")
    assert (root.path / "run/stoneware/md/stoneware-config").read_text() == text
    assert curls.read_text() == "curl\n"


def test_the_watch_waits_without_curl(root: Root, metadata: FakeMetadata, curls: Path) -> None:
    metadata.set(stoneware_config="A=1\n")
    env = {"PATH": f"{root.path / 'bin'}:{os.environ['PATH']}", "CURLS": str(curls)}
    root.run("stoneware-boot", env=env)
    process = root.start("stoneware-watch", env=env)
    try:
        metadata.set(stoneware_inspect="n1")
        assert metadata.wait_text("stoneware/inspection", lambda text: text.startswith("n1\n"))
        metadata.set(stoneware_inspect="n2")
        assert metadata.wait_text("stoneware/inspection", lambda text: text.startswith("n2\n"))
    finally:
        finish(process)
    assert not curls.exists()


class _Pieces(socketserver.StreamRequestHandler):
    """Answers requests of one connection, and notes what came in one piece."""

    def handle(self) -> None:
        got: list[bytes] = self.server.pieces  # type: ignore[attr-defined]
        question = b""
        while piece := self.connection.recv(65536):
            got.append(piece)
            question += piece  # the first comes line by line
            if question.endswith(b"\r\n\r\n"):
                question = b""
                self.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")


def test_a_question_behind_the_first_is_sent_in_one_piece(root: Root) -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), _Pieces) as server:
        server.pieces = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        words = [f"http://127.0.0.1:{server.server_address[1]}", "5"]
        for number in range(4):
            words += [f"path{number}", str(root.path / f"answer{number}")]
        argv = ["bash", "-p", str(root.path / "usr/lib/stoneware/stoneware-ask"), *words]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        server.shutdown()
    assert (done.returncode, done.stderr, done.stdout.count("200 ")) == (0, "", 4)
    later = [piece for piece in server.pieces if piece.startswith(b"GET")][1:]  # type: ignore[attr-defined]
    assert len(later) == 3
    assert all(piece.endswith(b"\r\nMetadata-Flavor: Google\r\n\r\n") for piece in later)
