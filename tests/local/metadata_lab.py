"""A store with one machine, and its metadata server: as a process, or in a thread of this one."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from stoneware.files import write_json
from stoneware.platforms.local.metadata.http import Server as Answers
from stoneware.platforms.local.metadata.server import listen
from stoneware.platforms.local.metadata.visits import LimitedServer

CASES = Path(__file__).parent / "cases"
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
class Client:
    """Asks the server of a machine, and changes the machine's records."""

    home: Path
    machine: Path
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


@dataclass
class Server(Client):
    """A server that is a process of its own."""

    process: subprocess.Popen[str]


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
    return Server(home, home / "data" / "machines" / "h1", int(line.rpartition(":")[2]), process)


def end(server: Server) -> None:
    server.process.kill()
    server.process.wait()
    assert server.process.stdout is not None
    server.process.stdout.close()


class Clock:
    """The clock of a server's limits: time passes where a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class ClientHere(Client):
    """A client of a server that is a thread of this process."""

    clock: Clock


@contextmanager
def served_here(home: Path, *, by_port: bool = False) -> Iterator[ClientHere]:
    """Serve the machine of a store from a thread."""
    machine = home / "data" / "machines" / "h1"

    def find(_address: str) -> Path | None:
        return machine if machine.is_dir() else None

    answers = Answers(home / "project.json", find, home / "data" / "secrets")
    clock, listener, loop = Clock(), listen("127.0.0.1", 0), asyncio.new_event_loop()
    ended, ready = asyncio.Event(), threading.Event()

    async def serve() -> None:
        limited = LimitedServer(answers, by_port=by_port)
        limited.accounts.clock = clock
        runner = web.ServerRunner(limited, shutdown_timeout=0.1)
        await runner.setup()
        await web.SockSite(runner, listener, backlog=256).start()
        ready.set()
        await ended.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        ready.wait()
        yield ClientHere(home, machine, listener.getsockname()[1], clock)
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


def wait_until(condition: Callable[[], object], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
