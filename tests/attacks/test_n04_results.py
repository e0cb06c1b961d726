"""N4: a machine uploads results without end, compressed ones too."""

from __future__ import annotations

import gzip
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoneware.files import write_json
from stoneware.platforms.local.metadata.builds import RESULT_LIMIT
from tests.local.metadata_lab import GUEST, ClientHere, make_store, served_here, wait_until

pytestmark = pytest.mark.pure
RESULT = "/stoneware/v1/results/sealed.tar"
FLAVOR = {"Metadata-Flavor": "Google"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ClientHere]:
    make_store(tmp_path)
    with served_here(tmp_path) as made:
        yield made


def builder(server: ClientHere, *, waits: bool = True, kind: str = "builder", serving: str = "") -> None:
    """`serving`: the step that runs, and the secrets that it may fetch."""
    write_json(server.machine / "spec.json", {"kind": kind})
    results = "http://169.254.169.254/stoneware/v1/results/sealed.tar"
    accept = "TRUE" if waits else "FALSE"
    attributes = {"stoneware-results": results, "stoneware-accept": accept}
    server.attributes(**attributes, **({"stoneware-serving": serving} if serving else {}))


def test_only_the_builder_of_a_bake_that_waits_hands_in_what_is_expected(server: ClientHere) -> None:
    for kind, waits, path in (
        ("machine", True, RESULT),
        ("builder", False, RESULT),
        ("builder", True, "/stoneware/v1/results/other.tar"),
        ("builder", True, "/stoneware/v1/results/..%2f..%2fx"),
    ):
        builder(server, kind=kind, waits=waits)
        assert server.ask(path, "PUT", b"x")[0] == 404
    assert not (server.machine / "results").exists()
    builder(server)
    assert server.ask(RESULT, "PUT", b"x")[0] == 200
    assert (server.machine / "results/sealed.tar").read_bytes() == b"x"


def test_compressed_bodies_are_refused_unread(server: ClientHere) -> None:
    builder(server)
    bomb = gzip.compress(bytes(30_000_000), 9)
    for coding in ("gzip", "deflate", "br", "x-gzip", "zstd"):
        for path in (RESULT, f"{GUEST}stoneware/status"):
            assert server.ask(path, "PUT", bomb, {**FLAVOR, "Content-Encoding": coding})[0] == 415
    assert not (server.machine / "results").exists()


def test_a_body_of_unknown_length_is_bounded(server: ClientHere) -> None:
    builder(server)
    block = bytes(1 << 20)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as link:
        link.sendall(
            f"PUT {RESULT} HTTP/1.1\r\nHost: x\r\nMetadata-Flavor: Google\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        try:
            for _ in range(RESULT_LIMIT // len(block) + 8):
                link.sendall(f"{len(block):x}\r\n".encode() + block + b"\r\n")
            answer = link.recv(100)
        except OSError:
            answer = b""  # the server has ended the connection
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413")
    deadline = time.monotonic() + 300
    while list((server.machine / "results").iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list((server.machine / "results").iterdir()) == []


def test_one_result_comes_in_at_a_time(server: ClientHere) -> None:
    builder(server)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as link:
        head = f"PUT {RESULT} HTTP/1.1\r\nHost: x\r\nMetadata-Flavor: Google\r\nContent-Length: 9\r\n\r\nx"
        link.sendall(head.encode())
        wait_until((server.machine / "results").exists)
        assert server.ask(RESULT, "PUT", b"y")[0] == 429
    wait_until(lambda: server.ask(RESULT, "PUT", b"z")[0] == 200)


def test_a_step_without_the_key_gets_no_secret_of_its_bake(server: ClientHere) -> None:
    (server.machine / "files/secret-tok").write_bytes(b"value")
    builder(server, serving="3 secret-tok")
    secret = "/stoneware/v1/build-secrets/secret-tok"
    assert server.ask("/stoneware/v1/files/secret-tok")[0] == 404
    assert server.ask(secret)[0] == 404
    assert server.ask("/stoneware/v1/build-key", "PUT", b"k1")[0] == 200
    assert server.ask("/stoneware/v1/build-key", "PUT", b"k1")[0] == 200, "a client that asks once more"
    assert server.ask("/stoneware/v1/build-key", "PUT", b"k2")[0] == 409
    with_key = {**FLAVOR, "X-Stoneware-Key": "k1"}
    for headers in (FLAVOR, {**FLAVOR, "X-Stoneware-Key": ""}, {**FLAVOR, "X-Stoneware-Key": "k2"}):
        assert server.ask(secret, headers=headers)[0] == 404
    builder(server, serving="2 secret-other")
    assert server.ask(secret, headers=with_key)[0] == 404
    builder(server, serving="3 secret-tok")
    assert server.ask(secret, headers=with_key)[:2] == (200, b"value")
    assert server.ask(secret, headers=with_key)[0] == 404, "once"
    builder(server, serving="4 secret-tok")
    assert server.ask(secret, headers=with_key)[:2] == (200, b"value")
    builder(server, kind="machine", serving="5 secret-tok")
    assert server.ask(secret, headers=with_key)[0] == 404


def test_a_secret_goes_to_one_of_two_that_ask_at_once(server: ClientHere) -> None:
    value = b"s" * (32 << 20)  # more than the sockets of both ends hold
    (server.machine / "files/secret-tok").write_bytes(value)
    builder(server, serving="3 secret-tok")
    secret = "/stoneware/v1/build-secrets/secret-tok"
    assert server.ask("/stoneware/v1/build-key", "PUT", b"k1")[0] == 200
    with_key = {**FLAVOR, "X-Stoneware-Key": "k1"}
    head = f"GET {secret} HTTP/1.1\r\nHost: x\r\nMetadata-Flavor: Google\r\nX-Stoneware-Key: k1\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as link:
        link.sendall(head.encode())
        assert link.recv(12) == b"HTTP/1.1 200"
        assert server.ask(secret, headers=with_key)[0] == 429
    # The one that had begun has gone without it: that is no serving.
    wait_until(lambda: server.ask(secret, headers=with_key)[:2] == (200, value))
    server.clock.now += 20  # else it has asked for more than it may in so short a time
    wait_until(lambda: server.ask(secret, headers=with_key)[0] == 404)
