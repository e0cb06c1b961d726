"""Every rule of the metadata protocol, over HTTP to a server in a thread of this process."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stoneware.files import write_json
from stoneware.model.guest_protocol import BOOT_PATH
from tests.local.metadata_lab import CASES, GUEST, V1, Client, make_store, put_secret, served_here, wait_until

pytestmark = pytest.mark.pure

HTTP_CASES = json.loads((CASES / "metadata_http.json").read_text())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    home = tmp_path_factory.mktemp("store")
    make_store(home)
    with served_here(home) as client:
        yield client


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Client]:
    make_store(tmp_path)
    with served_here(tmp_path) as client:
        yield client


@pytest.mark.parametrize("case", HTTP_CASES, ids=lambda case: case["name"])
def test_protocol(shared: Client, case: dict[str, Any]) -> None:
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


def test_a_token_says_how_long_it_is_good_and_ends(server: Client) -> None:
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


def test_a_boot_has_in_one_answer_what_each_path_says(server: Client) -> None:
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


def test_reports_and_results_are_files_of_the_machine(server: Client) -> None:
    assert server.ask(f"{GUEST}stoneware/status", "PUT", b"{}")[0] == 200
    assert json.loads((server.machine / "guest-attributes.json").read_text()) == {"stoneware/status": "{}"}
    server.builder("sealed.tar")
    data = os.urandom(5_000_001)
    assert server.ask("/stoneware/v1/results/sealed.tar", "PUT", data)[0] == 200
    assert (server.machine / "results" / "sealed.tar").read_bytes() == data
    assert [path.name for path in (server.machine / "results").iterdir()] == ["sealed.tar"]


def test_a_changed_secret_is_served_at_once(server: Client) -> None:
    value = bytes(range(256)) * 300
    put_secret(server.home, "x-key", "v2", value)
    status, text, headers = server.ask("/stoneware/v1/secrets/x-key")
    assert (status, text, headers["ETag"]) == (200, value, "v2")
    write_json(server.machine / "spec.json", {"secrets": []})
    assert server.ask("/stoneware/v1/secrets/x-key")[0] == 404


def test_a_large_file_is_streamed_whole(server: Client) -> None:
    data = os.urandom(20_000_000)
    (server.machine / "files" / "big").write_bytes(data)
    assert server.ask("/stoneware/v1/files/big")[1] == data


def test_a_result_too_large_is_refused_and_leaves_nothing(server: Client) -> None:
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


def test_guest_attributes_can_be_switched_off(server: Client) -> None:
    server.attributes(**{"enable-guest-attributes": "FALSE"})
    for method in ("GET", "PUT", "DELETE"):
        status, text, _ = server.ask(f"{GUEST}a/b", method, b"x" if method == "PUT" else None)
        assert (status, b"Guest attributes endpoint access is disabled." in text) == (403, True)
    assert server.ask(f"{V1}instance/attributes/enable-guest-attributes")[1] == b"FALSE"


def test_a_removed_machine_is_refused(server: Client) -> None:
    shutil.rmtree(server.machine)
    assert server.ask(f"{V1}instance/name")[0] == 403
    assert server.ask("/")[0] == 200
