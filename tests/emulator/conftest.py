from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from googleapiclient.discovery import build_from_document
from googleapiclient.http import build_http

from stoneware.emulator import discovery, methods, validate
from stoneware.emulator.front import Front
from stoneware.emulator.server import prepared
from stoneware.emulator.service import Call, Service
from stoneware.emulator.store import Store
from tests.emulator.serving import served_in_a_thread

PROJECT = "proj-1"


class Api:
    """Asks a service as a request does, without HTTP: `api("disks.insert", {…}, zone="us-central1-a")`."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def __call__(self, method: str, body: dict[str, Any] | None = None, /, **given: str) -> dict[str, Any]:
        found = self.service.document.methods[f"compute.{method}"]
        if "project" in found.parameters:
            given = {"project": PROJECT, **given}
        query = validate.parameters(found, given)
        content = validate.body(self.service.document, found.request, body or {}) if found.request else {}
        return asyncio.run(methods.answer(self.service, Call(found, query, content, validate.cleared(body))))


@pytest.fixture(scope="session")
def document() -> discovery.Document:
    return discovery.load()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.close()


@pytest.fixture
def service(document: discovery.Document, store: Store) -> Service:
    made = Service(document, store, delay=0)
    made.add_project(PROJECT)
    return made


@pytest.fixture
def api(service: Service) -> Api:
    return Api(service)


@pytest.fixture
def endpoint(service: Service) -> Iterator[str]:
    """Serve the service from a thread of its own."""
    with served_in_a_thread(prepared(Front(service, None))) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def client(endpoint: str) -> Iterator[Any]:
    """Give Google's own client, which makes its methods of the discovery document."""
    package = resources.files("googleapiclient.discovery_cache.documents")
    raw = json.loads((package / "compute.v1.json").read_bytes())
    http = build_http()
    yield build_from_document(raw | {"rootUrl": f"{endpoint}/"}, http=http)
    http.close()
