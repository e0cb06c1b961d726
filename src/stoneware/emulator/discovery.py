"""Google's discovery document of Compute Engine, read as methods and schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.errors import HostError

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Method:
    """One method: `id` as `compute.disks.insert`, the verb of HTTP, the path template below `base`."""

    id: str
    http: str
    path: str
    parameters: Mapping[str, Schema]
    request: str | None
    response: str | None

    @property
    def collection(self) -> str:
        """The word between the dots, as `disks`."""
        return self.id.split(".")[1]

    @property
    def verb(self) -> str:
        """The last word, as `insert`."""
        return self.id.split(".")[2]


@dataclass(frozen=True)
class Document:
    """What the emulator needs of a discovery document."""

    revision: str
    base: str
    methods: Mapping[str, Method]
    schemas: Mapping[str, Schema]


def load() -> Document:
    """Read the document of the installed google-api-python-client. Raises HostError where it is not."""
    try:
        package = resources.files("googleapiclient.discovery_cache.documents")
        raw = (package / "compute.v1.json").read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise HostError(
            "the emulator needs Google's discovery document of Compute Engine",
            resolution="pip install 'stoneware[emulator]'",
        ) from error
    return parse(json.loads(raw))


def parse(raw: Mapping[str, Any]) -> Document:
    """Return the methods and schemas of a discovery document."""
    methods = {method.id: method for method in _methods(raw)}
    return Document(raw["revision"], raw["basePath"], methods, raw["schemas"])


def _methods(node: Mapping[str, Any]) -> Iterator[Method]:
    for raw in node.get("methods", {}).values():
        yield Method(
            raw["id"],
            raw["httpMethod"],
            raw["flatPath"],
            raw.get("parameters", {}),
            raw.get("request", {}).get("$ref"),
            raw.get("response", {}).get("$ref"),
        )
    for child in node.get("resources", {}).values():
        yield from _methods(child)
