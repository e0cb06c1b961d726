"""An emulator in a thread of the test's own: what it was asked, and what is in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from aiohttp import web

from stoneware.emulator import discovery, faults
from stoneware.emulator.front import Front
from stoneware.emulator.server import prepared
from stoneware.emulator.service import Service
from stoneware.emulator.store import Store
from tests.emulator.computers import Computers
from tests.emulator.serving import served_in_a_thread

PROJECT = "proj-1"
REGION = "us-central1"
ZONE = f"{REGION}-a"
BASE = f"/compute/v1/projects/{PROJECT}"
_FORMAT = re.compile(r"(?<=[?&])(?:alt=json|prettyPrint=false)(?:&|$)")  # of replies


@dataclass(frozen=True)
class Request:
    """One request: `POST zones/us-central1-a/instances`, as the project has it, and its body."""

    line: str
    body: Any = None

    @property
    def verb(self) -> str:
        return self.line.split(" ")[0]


def once(asked: Iterable[Request]) -> list[Request]:
    """Leave out questions that were asked before: how often they are says how busy this computer is."""
    seen: set[str] = set()
    kept = []
    for each in asked:
        if each.verb != "GET" or each.line not in seen:
            kept.append(each)
            seen.add(each.line)
    return kept


@dataclass
class Cloud:
    """An emulator that is served. `asked` are the requests since it was last emptied, without operations."""

    endpoint: str
    service: Service
    computers: Computers
    asked: list[Request] = field(default_factory=list)
    each: Callable[[Request], None] | None = None  # told of each request before it is answered
    given: set[str] = field(default_factory=set)  # the keys of what a project has from its beginning

    def take(self) -> list[Request]:
        """Return what was asked, and forget it."""
        taken, self.asked[:] = list(self.asked), []
        return taken

    def changes(self) -> list[Request]:
        """Return what was asked that changes something but objects of a bucket, and forget all."""
        return [each for each in self.take() if each.verb != "GET" and "/storage/v1/" not in each.line]

    def of(self, collection: str) -> dict[str, Any]:
        """Return the records that were made in a collection, by their names."""
        found = self.service.store.everywhere(PROJECT, collection)
        return {key.rsplit("/", 1)[1]: record for key, record in found if key not in self.given}

    def delete(self, path: str) -> None:
        """Delete what a path below the project names, behind Terraform's back."""
        connection = HTTPConnection(self.endpoint.removeprefix("http://"), timeout=60)
        connection.request("DELETE", f"{BASE}/{path}")
        assert connection.getresponse().status == 200
        connection.close()

    def insert(self, path: str, body: Mapping[str, Any]) -> None:
        """Insert a body into the collection at a path below the project, behind Terraform's back."""
        connection = HTTPConnection(self.endpoint.removeprefix("http://"), timeout=60)
        connection.request("POST", f"{BASE}/{path}", json.dumps(body), {"Content-Type": "application/json"})
        assert connection.getresponse().status == 200
        connection.close()

    def fail(self, *names: str) -> None:
        """Let faults happen from now on: none, or those of `stoneware emulate google --fault`."""
        self.service.faults = faults.Faults(map(faults.parse, names))


@contextmanager
def served(directory: Path, *, delay: float = 0.05) -> Iterator[Cloud]:
    """Serve an emulator whose instances are machines in memory."""
    directory.mkdir()
    store, computers = Store(directory), Computers()
    service = Service(discovery.load(), store, delay=delay, open_computers=lambda: computers)
    service.add_project(PROJECT)
    service.add_public_images()
    cloud = Cloud("", service, computers)
    for collection in ("firewalls", "networks", "subnetworks"):
        cloud.given.update(key for key, _ in store.everywhere(PROJECT, collection))
    with _running(service, cloud) as port:
        cloud.endpoint = f"http://127.0.0.1:{port}"
        yield cloud
    service.jobs.close()
    store.close()


@contextmanager
def _running(service: Service, cloud: Cloud) -> Iterator[int]:
    runner = prepared(Front(service, None))
    runner.app.middlewares.append(_recorder(cloud))
    with served_in_a_thread(runner) as port:
        yield port


def _recorder(cloud: Cloud) -> Any:
    @web.middleware
    async def record(request: web.Request, handler: Any) -> web.StreamResponse:
        path = request.raw_path.removeprefix(f"{BASE}/")
        if "/operations/" not in path:
            body = None
            json_body = request.content_type == "application/json" and request.can_read_body
            if json_body and not path.startswith("/upload/"):
                body = json.loads(await request.read())  # contents of objects are streams
            line = _FORMAT.sub("", f"{request.method} {path}").rstrip("?&")
            asked = Request(line, body)
            cloud.asked.append(asked)
            if cloud.each is not None:
                cloud.each(asked)
        response: web.StreamResponse = await handler(request)
        return response

    return record


def lines(requests: Sequence[Request]) -> list[str]:
    """Return the requests without their bodies."""
    return [each.line for each in requests]
