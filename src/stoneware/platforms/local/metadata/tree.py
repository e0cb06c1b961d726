"""The metadata tree of one machine, and how Compute Engine spells its parts. Pure: no files, no sockets.

A tree is made of directories and leaves. `render` turns an addressed node into the bytes of a reply under the
protocol's rules for `recursive` and `alt`; `etag` is computed over the default representation of that node.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import field

from stoneware.dataclass import dataclass

TEXT = "application/text"
JSON = "application/json"

_TRUE = frozenset(("1", "on", "true", "yes"))
_LONGEST_WAIT = 10**9  # seconds; a number of some hundred digits is no time that could be waited for


class BadRequestError(Exception):
    """The query breaks a rule of the protocol (HTTP 400); the message says which."""


@dataclass(frozen=True)
class Leaf:
    """One value: a text, a number (bare in JSON) or a list of texts.

    `json_default` is for the one list (`instance/tags`) that is JSON unless text is asked for; `hidden`
    leaves are served at their path but left out of recursive replies. One that `expires` (seconds since 1970)
    is an access token.
    """

    value: str | int | tuple[str, ...]
    json_default: bool = False
    hidden: bool = False
    expires: float | None = None


@dataclass(frozen=True)
class Directory:
    """Named children. `keep_keys` keeps their spelling in JSON, `indexed` makes them a JSON array,
    `shut` shows the directory as empty in recursive replies of the directories above it."""

    children: Mapping[str, Node] = field(default_factory=dict)
    keep_keys: bool = False
    indexed: bool = False
    shut: bool = False


Node = Leaf | Directory


@dataclass(frozen=True)
class Query:
    """The parameters of a GET."""

    recursive: bool = False
    alt: str = ""
    wait_for_change: bool = False
    timeout_sec: float | None = None
    last_etag: str | None = None


@dataclass(frozen=True)
class Reply:
    """The bytes of a reply, their content type and the node's ETag."""

    body: bytes
    content_type: str
    etag: str


def parse_query(parameters: Mapping[str, str]) -> Query:
    """Return the query that URL parameters spell. Raises BadRequestError for a bad `alt` or `timeout_sec`."""
    alt = parameters.get("alt", "").lower()
    if alt not in {"", "json", "text"}:
        raise BadRequestError(f"alt must be json or text, not {alt!r}")
    timeout: float | None = None
    if parameters.get("timeout_sec"):
        try:
            timeout = float(min(int(parameters["timeout_sec"]), _LONGEST_WAIT))
        except ValueError:
            raise BadRequestError("timeout_sec must be a whole number of seconds") from None
        if timeout < 0:
            raise BadRequestError("timeout_sec must not be negative")
    return Query(
        recursive=_flag(parameters.get("recursive")),
        alt=alt,
        wait_for_change=_flag(parameters.get("wait_for_change")),
        timeout_sec=timeout or None,
        last_etag=parameters.get("last_etag"),
    )


def _flag(text: str | None) -> bool:
    return text is not None and text.strip().lower() in _TRUE


def split(path: str) -> tuple[str, ...]:
    """Return the parts of a path; doubled and trailing slashes count for nothing."""
    return tuple(part for part in path.split("/") if part)


def find(root: Node, parts: tuple[str, ...]) -> Node | None:
    """Return the node at a path below `root`, or None."""
    node: Node | None = root
    for part in parts:
        if not isinstance(node, Directory):
            return None
        node = node.children.get(part)
    return node


def render(node: Node, query: Query) -> Reply:
    """Return the reply for a node. Raises BadRequestError where the query does not suit the node."""
    is_directory = isinstance(node, Directory)
    if is_directory and query.alt and not query.recursive:
        raise BadRequestError("alt needs recursive=true on a directory")
    if is_directory and query.wait_for_change and not query.recursive:
        raise BadRequestError("wait_for_change needs recursive=true on a directory")
    json_default = node.json_default if isinstance(node, Leaf) else query.recursive
    default = _represent(node, query.recursive, json_default)
    as_json = query.alt == "json" or (json_default and query.alt != "text")
    body = default if as_json == json_default else _represent(node, query.recursive, as_json)
    return Reply(body, JSON if as_json else TEXT, hashlib.sha256(default).hexdigest()[:16])


def _represent(node: Node, recursive: bool, as_json: bool) -> bytes:
    if as_json:
        text = json.dumps(to_json(node), separators=(",", ":"), ensure_ascii=False)
    elif isinstance(node, Leaf):
        text = _leaf_text(node)
    elif recursive:
        text = "".join(f"{path} {value}\n" for path, value in _walk(node, ""))
    else:
        text = "".join(f"{name}/\n" if _has_slash(child) else f"{name}\n" for name, child in _listed(node))
    return text.encode("utf-8", "replace")


def _listed(node: Directory) -> list[tuple[str, Node]]:
    return list(node.children.items() if node.indexed else sorted(node.children.items()))


def _has_slash(node: Node) -> bool:
    return isinstance(node, Directory)


def _leaf_text(leaf: Leaf) -> str:
    if isinstance(leaf.value, tuple):
        return "".join(f"{item}\n" for item in leaf.value)
    return str(leaf.value)


def _walk(node: Directory, prefix: str) -> Iterator[tuple[str, str]]:
    for name, child in _listed(node):
        if isinstance(child, Directory):
            if not child.shut:
                yield from _walk(child, f"{prefix}{name}/")
        elif not child.hidden:
            value = child.value
            text = json.dumps(list(value)) if isinstance(value, tuple) else str(value)
            yield f"{prefix}{name}", text


def to_json(node: Node) -> object:
    """Return the JSON value of a node: fixed keys in camelCase, users' keys as they are."""
    if isinstance(node, Leaf):
        return list(node.value) if isinstance(node.value, tuple) else node.value
    shown = [(name, child) for name, child in _listed(node) if not (isinstance(child, Leaf) and child.hidden)]
    if node.indexed:
        return [_inner_json(child) for _, child in shown]
    return {(name if node.keep_keys else _camel(name)): _inner_json(child) for name, child in shown}


def _inner_json(node: Node) -> object:
    return {} if isinstance(node, Directory) and node.shut else to_json(node)


def _camel(name: str) -> str:
    first, *rest = name.split("-")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)
