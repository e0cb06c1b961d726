"""Google's discovery documents, read as methods and schemas."""

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
    """One method: `id` as `compute.disks.insert`, the verb of HTTP, the path template below `base`.

    `template`: the path again, as the parameters are named: `{+name}` stands for several segments of `path`.
    `uploads`: the templates below the server's root that take contents. `downloads`: gives contents as well.
    `scopes`: one of them is what a token must have.
    """

    id: str
    http: str
    path: str
    template: str
    parameters: Mapping[str, Schema]
    request: str | None
    response: str | None
    uploads: tuple[str, ...] = ()
    downloads: bool = False
    scopes: tuple[str, ...] = ()

    @property
    def collection(self) -> str:
        """The word before the last, as `disks`."""
        return self.id.split(".")[-2]

    @property
    def verb(self) -> str:
        """The last word, as `insert`."""
        return self.id.split(".")[-1]


@dataclass(frozen=True)
class Document:
    """What the emulator needs of a discovery document: the name of the API, as `compute`, what it is called.

    `base`: what its paths begin with, as `/compute/v1/`.
    """

    name: str
    title: str
    revision: str
    base: str
    methods: Mapping[str, Method]
    schemas: Mapping[str, Schema]


def load(name: str = "compute.v1") -> Document:
    """Read a document of the installed google-api-python-client. Raises HostError where it is not."""
    try:
        # Google's client library has them, so routes and checks are Google's own.
        package = resources.files("googleapiclient.discovery_cache.documents")
        raw = (package / f"{name}.json").read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise HostError(
            f"the emulator needs Google's discovery document {name}",
            resolution="pip install 'stoneware[emulator]'",
        ) from error
    return parse(json.loads(raw))


def parse(raw: Mapping[str, Any]) -> Document:
    """Return the methods and schemas of a discovery document."""
    methods = {method.id: method for method in _methods(raw)}
    base = raw["basePath"] or "/"
    return Document(raw["name"], raw["title"], raw["revision"], base, methods, raw["schemas"])


def _methods(node: Mapping[str, Any]) -> Iterator[Method]:
    for raw in node.get("methods", {}).values():
        uploads = raw.get("mediaUpload", {}).get("protocols", {})
        yield Method(
            raw["id"],
            raw["httpMethod"],
            # It names each segment, by which the router finds a method.
            raw.get("flatPath", raw["path"]),
            raw["path"],
            raw.get("parameters", {}),
            raw.get("request", {}).get("$ref"),
            raw.get("response", {}).get("$ref"),
            tuple(protocol["path"] for protocol in uploads.values()),
            raw.get("supportsMediaDownload", False),
            tuple(raw.get("scopes", ())),
        )
    for child in node.get("resources", {}).values():
        yield from _methods(child)
