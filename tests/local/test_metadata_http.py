"""The metadata server as a process: every rule of the protocol, waiting, limits, and being killed."""

from __future__ import annotations

import base64
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stoneware.files import write_json
from stoneware.model.guest_protocol import BOOT_PATH

pytestmark = pytest.mark.tool

CASES = Path(__file__).parent / "cases"
HTTP_CASES = json.loads((CASES / "metadata_http.json").read_text())
V1 = "/computeMetadata/v1/"
GUEST = f"{V1}instance/guest-attributes/"


def make_store(home: Path) -> Path:
    document = json.loads((CASES / "metadata_machine.json").read_text())
    machine = home / "data" / "machines" / "h1"
    (machine / "files").mkdir(parents=True)
    (machine / "files" / "bundle.tar").write_text("not really a tar\n")
    (machine / "files" / ".hidden").write_text("hidden")
    write_json(machine / "network.json", document["network"])
    mounts = [{"secret": name} for name in ("x-key", "x-gone")]
    write_json(machine / "spec.json", {**document["spec"], "secrets": mounts})
    put_secret(home, "x-key", "v1", b"hunter2\n")
    put_secret(home, "y-key", "v1", b"another's")
    write_json(machine / "metadata.json", {"attributes": document["attributes"]})
    write_json(home / "project.json", document["project"])
    return machine


def put_secret(home: Path, name: str, version: str, value: bytes) -> None:
    (home / "data" / "secrets").mkdir(exist_ok=True)
    path = home / "data" / "secrets" / f"{name}.json"
    write_json(path, {"versions": [{"version": version, "value": base64.b64encode(value).decode()}]})


@dataclass
class Server:
    home: Path
    machine: Path
    process: subprocess.Popen[str]
    port: int

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        timeout: float = 20,
    ) -> tuple[int, bytes, dict[str, str]]:
        """Send one request with just these headers (default: the flavor header)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            sent = {"Metadata-Flavor": "Google"} if headers is None else headers
            connection.request(method, path, body=body, headers=sent)
            reply = connection.getresponse()
            return reply.status, reply.read(), dict(reply.getheaders())
        finally:
            connection.close()

    def builder(self, result: str) -> None:
        """Make it the builder of a bake that waits for a result."""
        write_json(self.machine / "spec.json", {"kind": "builder"})
        self.attributes(**{"stoneware-results": f"http://x/{result}", "stoneware-accept": "TRUE"})

    def attributes(self, **values: str) -> None:
        write_json(self.machine / "metadata.json", {"attributes": values})


def start(home: Path, listen: str = "127.0.0.1:0", machine: str = "h1") -> Server:
    argv = [
        sys.executable,
        "-m",
        "stoneware.platforms.local.metadata.server",
        "--home",
        str(home),
        "--listen",
        listen,
    ]
    argv += ["--machine", machine] if machine else []
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("listening on "), line
    return Server(home, home / "data" / "machines" / "h1", process, int(line.rpartition(":")[2]))


def end(server: Server) -> None:
    server.process.kill()
    server.process.wait()
    assert server.process.stdout is not None
    server.process.stdout.close()


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


@pytest.mark.parametrize("case", HTTP_CASES, ids=lambda case: case["name"])
def test_protocol(shared: Server, case: dict[str, Any]) -> None:
    sent = {"Metadata-Flavor": "Google"} if case.get("flavor", True) else {}
    sent.update(case.get("send", {}))
    body = b"x" * case["send_size"] if "send_size" in case else case.get("send_body", "").encode() or None
    status, text, headers = shared.ask(case["get"], case.get("method", "GET"), body, sent)
    assert status == case["status"], text
    if "body" in case:
        assert text.decode() == case["body"]
    assert case.get("contains", "") in text.decode()
    for name, value in case.get("headers", {}).items():
        assert headers.get(name) == value
    if case.get("etag"):
        assert len(headers["ETag"]) == 16


def test_a_token_says_how_long_it_is_good_and_ends(server: Server) -> None:
    def account(expires: float) -> None:
        one: dict[str, Any] = {"aliases": ["default"], "email": "a@b.example", "scopes": []}
        one |= {"token": {"access_token": "ya29.x", "expires": expires}}
        accounts = {"default": one, "a@b.example": one}
        write_json(
            server.machine / "spec.json", {"identity": {"instance/service-accounts": json.dumps(accounts)}}
        )

    path = f"{V1}instance/service-accounts/"
    assert server.ask(f"{path}default/token")[0] == 404
    account(time.time() + 600)
    for name in ("default", "a@b.example"):
        status, body, headers = server.ask(f"{path}{name}/token?scopes=x")
        assert (status, headers["Content-Type"]) == (200, "application/json")
        found = json.loads(body)
        assert (found["access_token"], found["token_type"]) == ("ya29.x", "Bearer")
        assert 590 < found["expires_in"] <= 600
    assert b"ya29" not in server.ask(f"{path}?recursive=true")[1]
    assert server.ask(f"{path}default/")[1] == b"aliases\nemail\nscopes\ntoken\n"
    account(time.time() - 1)
    status, _, headers = server.ask(f"{path}default/token")
    assert (status, headers["Retry-After"]) == (503, "1")


def test_a_boot_has_in_one_answer_what_each_path_says(server: Server) -> None:
    status, body, _ = server.ask(BOOT_PATH)
    etag, *values, attributes = body.split(b"\n", 5)
    one_by_one = [
        b" ".join(server.ask(f"{V1}instance/{path}")[1].split())
        for path in ("name", "hostname", "network-interfaces/0/ip", "network-interfaces/0/dns-servers")
    ]
    _, alone, headers = server.ask(f"{V1}instance/attributes/?recursive=true")
    assert (status, values, attributes) == (200, one_by_one, alone)
    assert etag.decode() == headers["ETag"]
    assert len(json.loads(attributes)) > 1
    assert server.ask(BOOT_PATH, "PUT", b"x")[0] == 405
    assert server.ask(BOOT_PATH, headers={})[0] == 403


def test_reports_and_results_are_files_of_the_machine(server: Server) -> None:
    assert server.ask(f"{GUEST}stoneware/status", "PUT", b"{}")[0] == 200
    assert json.loads((server.machine / "guest-attributes.json").read_text()) == {"stoneware/status": "{}"}
    server.builder("sealed.tar")
    data = os.urandom(5_000_001)
    assert server.ask("/stoneware/v1/results/sealed.tar", "PUT", data)[0] == 200
    assert (server.machine / "results" / "sealed.tar").read_bytes() == data
    assert [path.name for path in (server.machine / "results").iterdir()] == ["sealed.tar"]


def test_a_changed_secret_is_served_at_once(server: Server) -> None:
    value = bytes(range(256)) * 300
    put_secret(server.home, "x-key", "v2", value)
    status, text, headers = server.ask("/stoneware/v1/secrets/x-key")
    assert (status, text, headers["ETag"]) == (200, value, "v2")
    write_json(server.machine / "spec.json", {"secrets": []})
    assert server.ask("/stoneware/v1/secrets/x-key")[0] == 404


def test_a_large_file_is_streamed_whole(server: Server) -> None:
    data = os.urandom(20_000_000)
    (server.machine / "files" / "big").write_bytes(data)
    assert server.ask("/stoneware/v1/files/big")[1] == data


def test_a_result_too_large_is_refused_and_leaves_nothing(server: Server) -> None:
    server.builder("x")
    headers = {"Metadata-Flavor": "Google", "Content-Length": str(2**28 + 1)}
    assert server.ask("/stoneware/v1/results/x", "PUT", b"x", headers)[0] == 413
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as link:
        link.sendall(
            b"PUT /stoneware/v1/results/x HTTP/1.1\r\nHost: x\r\nMetadata-Flavor: Google\r\n"
            b"Content-Length: 4000000\r\n\r\n" + b"x" * 2_000_000
        )
    results = server.machine / "results"
    wait_until(lambda: results.exists() and not any(results.iterdir()))
    assert server.ask(V1)[0] == 200


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


def test_guest_attributes_can_be_switched_off(server: Server) -> None:
    server.attributes(**{"enable-guest-attributes": "FALSE"})
    for method in ("GET", "PUT", "DELETE"):
        status, text, _ = server.ask(f"{GUEST}a/b", method, b"x" if method == "PUT" else None)
        assert (status, b"Guest attributes endpoint access is disabled." in text) == (403, True)
    assert server.ask(f"{V1}instance/attributes/enable-guest-attributes")[1] == b"FALSE"


def test_a_removed_machine_is_refused(server: Server) -> None:
    shutil.rmtree(server.machine)
    assert server.ask(f"{V1}instance/name")[0] == 403
    assert server.ask("/")[0] == 200


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


def wait_until(condition: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


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
        self.join(60)
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
    assert server.process.wait(60) == 0
    connection.close()
