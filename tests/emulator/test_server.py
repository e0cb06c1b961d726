"""The emulator over HTTP, and the command that serves it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from stoneware.cli import program
from stoneware.emulator import reference, server
from stoneware.emulator.cloud import Cloud
from stoneware.emulator.fidelity import BEHIND
from stoneware.emulator.service import Service
from stoneware.errors import InputError

PATH = "/compute/v1/projects/proj-1"
PAGE = Path(__file__).parents[2] / "docs" / "emulator.md"


def ask(
    endpoint: str, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=60)
    try:
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())
    finally:
        connection.close()


class Case(NamedTuple):
    method: str
    path: str
    body: bytes
    headers: dict[str, str]
    status: int
    reason: str | None


@pytest.mark.tool
@pytest.mark.parametrize(
    "case",
    [
        Case("GET", PATH, b"", {}, 200, None),
        Case("GET", f"{PATH}/global/nothing", b"", {}, 404, "notFound"),
        Case("PUT", PATH, b"", {}, 404, "notFound"),
        Case("GET", "/", b"", {}, 404, "notFound"),
        Case("GET", PATH, b"", {"Origin": "http://example.org"}, 403, "forbidden"),
        Case("GET", PATH, b"", {"Host": "example.org"}, 403, "forbidden"),
        Case("POST", f"{PATH}/global/networks", b"{", {}, 400, "parseError"),
        Case("POST", f"{PATH}/global/networks", b'"text"', {}, 400, "parseError"),
        Case("POST", f"{PATH}/global/networks", b"[" * 100_000, {}, 400, "parseError"),
        Case("POST", f"{PATH}/global/networks", b'{"mtu": NaN}', {}, 400, "parseError"),
        Case("POST", f"{PATH}/global/networks", b'{"name": "\\ud800"}', {}, 400, "invalid"),
        Case("POST", f"{PATH}/global/networks", b"\xff", {}, 400, "parseError"),
        Case("POST", f"{PATH}/global/networks", b" " * (5 << 20), {}, 413, "uploadTooLarge"),
        Case("POST", f"{PATH}/global/networks", b"{}", {}, 400, "required"),
        Case("POST", f"{PATH}/zones/us-central1-a/instances/i/suspend", b"", {}, 501, "notImplemented"),
        Case("GET", f"{PATH}/global/networks?filter=(", b"", {}, 400, "invalid"),
        Case("GET", f"{PATH}/global/networks?filter={'(' * 6000}", b"", {}, 400, "invalid"),
        Case("GET", f"{PATH}/global/networks?filter={'NOT+' * 1500}a=b", b"", {}, 400, "invalid"),
        Case("GET", f"{PATH}/global/networks?maxResults=501", b"", {}, 400, "invalid"),
    ],
)
def test_every_reply_is_the_apis(endpoint: str, case: Case) -> None:
    code, reply = ask(endpoint, case.method, case.path, case.body, case.headers)
    assert code == case.status, reply
    if case.reason:
        assert reply["error"]["code"] == case.status
        assert reply["error"]["errors"][0]["reason"] == case.reason


def test_the_tables_of_methods_are_current(service: Service) -> None:
    apis = Cloud(service).apis
    assert reference.with_tables(PAGE.read_text(), reference.tables(apis)) == PAGE.read_text()
    served = {
        api.document.name: {one.collection for one in api.document.methods.values() if api.serves(one)}
        for api in apis
    }
    assert served == {name: set(collections) for name, collections in BEHIND.items()}


@pytest.mark.tool
def test_a_port_in_use_is_named() -> None:
    with server.listen(0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen on 127.0.0.1:{port}"):
            server.listen(port)
    with pytest.raises(InputError, match="cannot listen"):
        server.listen(70_000)


@pytest.mark.parametrize("name", ["x", "Project", "a_project", "1project", "p" * 31])
def test_a_name_that_no_project_has_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["emulate", "google", "--state", str(tmp_path / "s"), "--project", name]
    assert program.run(words) == 2
    assert "no name of a project" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_a_missing_package_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "googleapiclient.discovery_cache.documents", None)
    assert program.run(["emulate", "google", "--state", str(tmp_path / "s")]) == 3
    assert "pip install 'stoneware[emulator]'" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


@contextmanager
def start(*words: str, home: Path) -> Iterator[subprocess.Popen[str]]:
    """Start an emulator, which is killed at the end if it runs then, also where the test fails."""
    main = "from stoneware.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", main, "emulate", "google", *words],
        env={**os.environ, "STONEWARE_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        restore_signals=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def end(process: subprocess.Popen[str], number: int) -> tuple[str, str, int]:
    process.send_signal(number)
    out, err = process.communicate(timeout=300)
    return out, err, process.returncode


@pytest.mark.tool
def test_the_command_serves_what_it_prints_until_it_is_ended_and_again_after(tmp_path: Path) -> None:
    with start("--port", "0", "--json", "--log", "--project", "proj-1", home=tmp_path) as first:
        assert first.stdout is not None
        assert first.stderr is not None
        assert "Ctrl-C ends it" in first.stderr.readline()
        # The process is ready, so what it prints is there; the document ends with its first unindented brace.
        text = "".join(iter(first.stdout.readline, "}\n")) + "}"
        printed = json.loads(text)
        base = printed["environment"]["CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE"]
        assert (
            printed["environment"]["GOOGLE_COMPUTE_CUSTOM_ENDPOINT"]
            == base
            == f"{printed['endpoint']}/compute/v1/"
        )
        made = ask(printed["endpoint"], "POST", f"{PATH}/global/networks", b'{"name": "n"}')
        assert (made[0], made[1]["status"]) == (200, "RUNNING")
        with start("--port", "0", home=tmp_path) as second:
            out, err = second.communicate(timeout=300)
            assert (second.returncode, out) == (2, "")
            assert f"another emulator keeps its state in {tmp_path}/emulator" in err
        out, err, code = end(first, signal.SIGINT)
        assert (out, err, code) == ("", f"POST {PATH}/global/networks 200\n", 0)
    with start("--port", "0", "--project", "proj-1", home=tmp_path) as again:
        assert again.stderr is not None
        endpoint = again.stderr.readline().split()[6].rstrip(";")
        assert ask(endpoint, "GET", f"{PATH}/global/networks/n")[0] == 200
        out, err, code = end(again, signal.SIGTERM)
        assert (err, code) == ("", 0)
        assert f"export GOOGLE_COMPUTE_CUSTOM_ENDPOINT={endpoint}/compute/v1/\n" in out


@pytest.mark.tool
def test_a_killed_emulator_leaves_the_lock_to_the_next(tmp_path: Path) -> None:
    with start("--port", "0", home=tmp_path) as first:
        assert first.stderr is not None
        first.stderr.readline()
        end(first, signal.SIGKILL)
    with start("--port", "0", home=tmp_path) as second:
        assert second.stderr is not None
        assert "serving" in second.stderr.readline()
        assert end(second, signal.SIGTERM)[2] == 0
