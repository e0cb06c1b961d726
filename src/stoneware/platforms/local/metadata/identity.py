"""What a machine's metadata server says of it instead of what it says of machines of this computer.

`MachineSpec.identity` has paths of the tree and values as JSON. Texts, numbers and lists of texts are values,
objects are directories, lists of objects are numbered directories. A `token` has `access_token`, and
`expires` in seconds since 1970.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stoneware.platforms.local.metadata.tree import Directory, Leaf, Node, split

PROJECT_ATTRIBUTES = "project/attributes"
_JSON_BY_DEFAULT = "instance/tags"  # the one list that is JSON unless text is asked for
_OWN_KEYS = (PROJECT_ATTRIBUTES, "instance/service-accounts")  # their keys are not spelt otherwise in JSON
_TOKEN = "token"  # noqa: S105 -- the name of the one that is left out of recursive replies


def overlaid(tree: Directory, identity: Mapping[str, str]) -> Directory:
    """Return a tree with the values of an identity at their paths. Raises ValueError for what is no JSON."""
    for path, text in sorted(identity.items()):
        node = _node(json.loads(text), json_default=path == _JSON_BY_DEFAULT)
        if isinstance(node, Directory):
            node = replace(node, keep_keys=path in _OWN_KEYS)
        tree = _placed(tree, split(path), node)
    return tree


def attributes_of(identity: Mapping[str, str]) -> Mapping[str, str]:
    """Return the attributes of the project that an identity names."""
    found = json.loads(identity.get(PROJECT_ATTRIBUTES, "{}"))
    return found if isinstance(found, dict) else {}


def _placed(directory: Directory, parts: tuple[str, ...], node: Node) -> Directory:
    name, *rest = parts
    if rest:
        below = directory.children.get(name)
        node = _placed(below if isinstance(below, Directory) else Directory(), tuple(rest), node)
    return replace(directory, children={**directory.children, name: node})


def _node(value: Any, *, json_default: bool = False) -> Node:
    if isinstance(value, Mapping):
        return Directory(
            {name: _token(item) if name == _TOKEN else _node(item) for name, item in value.items()}
        )
    if isinstance(value, list):
        if value and all(isinstance(item, Mapping) for item in value):
            return Directory({str(at): _node(item) for at, item in enumerate(value)}, indexed=True)
        return Leaf(tuple(str(item) for item in value), json_default=json_default)
    return Leaf(value if isinstance(value, int) and not isinstance(value, bool) else str(value))


def _token(value: Any) -> Leaf:
    if isinstance(value, Mapping):
        return Leaf(str(value["access_token"]), hidden=True, expires=float(value["expires"]))
    return Leaf(str(value), hidden=True)
