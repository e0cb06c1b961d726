"""The metadata server as a process: waiting for changes, large bodies, and being killed."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoneware.files import write_json
from tests.local.metadata_lab import GUEST, V1, Server, end, make_store, start

pytestmark = pytest.mark.tool


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("store")
    make_store(home)
    server = start(home)
    yield server
    end(server)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    make_store(tmp_path)
    server = start(tmp_path)
    yield server
    end(server)


def test_curl_puts_a_large_body_without_delay(server: Server, tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not on this computer")
    server.builder("x")
    (tmp_path / "body").write_bytes(b"x" * 3_000_000)
    url = f"http://127.0.0.1:{server.port}/stoneware/v1/results/x"
    argv = [
        curl,
        "-sS",
        "-T",
        str(tmp_path / "body"),
        "-H",
        "Metadata-Flavor: Google",
        "-w",
        "%{time_total}",
        url,
    ]
    done = subprocess.run([*argv, "-H", "Expect: 100-continue"], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.9, "the client waited for a 100 that did not come"


def test_machines_are_told_by_their_address(tmp_path: Path) -> None:
    make_store(tmp_path)
    server = start(tmp_path, machine="")
    try:
        assert server.ask(f"{V1}instance/name")[0] == 403
        write_json(server.machine / "network.json", {"ip": "127.0.0.1", "id": "m1"})
        assert server.ask(f"{V1}instance/name")[1] == b"h1"
    finally:
        end(server)


def test_an_address_in_use_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        argv = [sys.executable, "-m", "stoneware.platforms.local.metadata.server", "--home", str(tmp_path)]
        argv += ["--listen", f"127.0.0.1:{busy.getsockname()[1]}"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, "Address already in use" in done.stderr) == (1, True)


# --- waiting ------------------------------------------------------------------------------------------------


class Waiter(threading.Thread):
    """A client that hangs in a request."""

    def __init__(self, server: Server, path: str) -> None:
        super().__init__()
        self.server, self.path = server, path
        self.reply: tuple[int, bytes, dict[str, str]] = (0, b"", {})
        self.start()

    def run(self) -> None:
        self.reply = self.server.ask(self.path)

    def finish(self) -> tuple[int, bytes, dict[str, str]]:
        self.join(300)
        assert not self.is_alive()
        return self.reply


@pytest.mark.parametrize("etag", ["NONE", "0", "", "0123456789abcdef"])
def test_another_etag_is_answered_at_once(shared: Server, etag: str) -> None:
    path = f"{V1}?recursive=true&wait_for_change=true&timeout_sec=600&last_etag={etag}"
    assert shared.ask(path)[0] == 200  # or the client has given up long before


@pytest.mark.parametrize("with_etag", [True, False])
def test_a_timeout_gives_the_same_content_and_etag(shared: Server, with_etag: bool) -> None:
    path = f"{V1}instance/attributes/greeting-text"
    _, text, headers = shared.ask(path)
    query = "?wait_for_change=true&timeout_sec=1" + (f"&last_etag={headers['ETag']}" if with_etag else "")
    started = time.monotonic()
    status, again, later = shared.ask(path + query)
    assert (status, again, later["ETag"]) == (200, text, headers["ETag"])
    assert time.monotonic() - started > 0.9, "it was waited for"


def test_each_change_is_told(server: Server) -> None:
    path = f"{V1}instance/attributes/go"
    server.attributes(go="0")
    for number in range(1, 8):
        etag = server.ask(path)[2]["ETag"]
        waiter = Waiter(server, f"{path}?wait_for_change=true&last_etag={etag}")
        time.sleep(0.05)  # not for a state: most changes come while the client hangs
        server.attributes(go=str(number))
        status, text, headers = waiter.finish()
        assert (status, text) == (200, str(number).encode())
        assert headers["ETag"] != etag


def test_other_changes_do_not_wake_a_waiter(server: Server) -> None:
    path = f"{V1}instance/attributes/"
    server.attributes(a="1")
    waiter = Waiter(server, f"{path}?recursive=true&wait_for_change=true")
    time.sleep(0.2)  # nothing to wait for: the client must be hanging
    server.ask(f"{GUEST}ns/key", "PUT", b"report")
    write_json(server.machine / "state.json", {})
    time.sleep(0.2)
    assert waiter.is_alive()
    server.attributes(a="2")
    assert json.loads(waiter.finish()[1])["a"] == "2"


def test_a_report_wakes_who_waits_for_it(server: Server) -> None:
    server.ask(f"{GUEST}ns/key", "PUT", b"1")
    etag = server.ask(f"{GUEST}ns/key")[2]["ETag"]
    waiter = Waiter(server, f"{GUEST}ns/key?wait_for_change=true&last_etag={etag}")
    server.ask(f"{GUEST}ns/key", "PUT", b"2")
    assert waiter.finish()[1] == b"2"


def test_a_key_that_goes_away_is_a_404(server: Server) -> None:
    server.attributes(a="1", b="2")
    path = f"{V1}instance/attributes/a"
    etag = server.ask(path)[2]["ETag"]
    waiter = Waiter(server, f"{path}?wait_for_change=true&last_etag={etag}")
    server.attributes(b="2")
    assert waiter.finish()[0] == 404
    assert server.ask(f"{path}?wait_for_change=true")[0] == 404


def test_a_hundred_waiters_are_all_woken(server: Server) -> None:
    server.attributes(a="1")
    path = f"{V1}instance/attributes/a"
    etag = server.ask(path)[2]["ETag"]
    waiters = [Waiter(server, f"{path}?wait_for_change=true&last_etag={etag}") for _ in range(120)]
    started, used = time.monotonic(), cpu_seconds(server.process.pid)
    time.sleep(1.0)
    share = (cpu_seconds(server.process.pid) - used) / (time.monotonic() - started)
    assert share < 0.5, f"hanging clients cost {share:.0%} of a CPU"
    server.attributes(a="2")
    assert [waiter.finish()[1] for waiter in waiters] == [b"2"] * 120


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_killed_server_goes_on_where_it_was(server: Server) -> None:
    server.ask(f"{GUEST}ns/key", "PUT", b"before")
    etag = server.ask(f"{GUEST}ns/key")[2]["ETag"]
    end(server)
    again = start(server.home, f"127.0.0.1:{server.port}")
    try:
        status, text, headers = again.ask(f"{GUEST}ns/key")
        assert (status, text, headers["ETag"]) == (200, b"before", etag)
    finally:
        end(again)


def test_it_ends_on_sigterm_with_clients_hanging(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request(
        "GET", f"{V1}instance/name?wait_for_change=true", headers={"Metadata-Flavor": "Google"}
    )
    server.ask(V1)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(300) == 0
    connection.close()
