"""The merged tree against the schema: models of what is right, and every fault with its place."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from stoneware.compose import schema
from stoneware.compose.faults import Faults
from stoneware.compose.model import Place
from stoneware.compose.nodes import Node, describe, place_of, plain
from stoneware.compose.refused import alternative
from stoneware.compose.values import HINT
from stoneware.machinefile.flags import nearest

_SHAPES = {"model_type": "a mapping", "dict_type": "a mapping", "list_type": "a list"}
P = TypeVar("P", bound=schema.Part)
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Entry(Generic[P]):
    """One entry of a section: its model, and the node it was made of."""

    model: P
    node: Node
    place: Place  # of its key
    extensions: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Document:
    """The valid entries of a file. `named` are the keys of each section, valid or not."""

    services: dict[str, Entry[schema.Service]]
    networks: dict[str, Entry[schema.Network]]
    volumes: dict[str, Entry[schema.Volume]]
    secrets: dict[str, Entry[schema.Secret]]
    named: dict[str, frozenset[str]]
    extensions: dict[str, Any]


def validate(root: Node, faults: Faults) -> Document:
    """Return what is valid of a document, and note what is not."""
    if not isinstance(root.value, dict):
        faults.add(root.place, f"expected a mapping with services, not {describe(_shape(root))}")
    for key in root.mapping:
        if key not in schema.TOP and not key.startswith("x-"):
            _unknown(root, (), key, schema.TOP, faults)
    services = root.get("services")
    if isinstance(root.value, dict) and (services is None or services.value in (None, {})):
        faults.add(
            root.key_place("services"), "there are no services", "Write services: with at least one in it."
        )
    return Document(
        _section(root, "services", schema.Service, faults),
        _section(root, "networks", schema.Network, faults),
        _section(root, "volumes", schema.Volume, faults),
        _section(root, "secrets", schema.Secret, faults),
        {
            section: frozenset(node.mapping if (node := root.get(section)) else ())
            for section in schema.SECTIONS
        },
        extensions(root),
    )


def extensions(node: Node) -> dict[str, Any]:
    """Return the `x-…` keys of a mapping."""
    return {key: plain(each) for key, each in node.mapping.items() if key.startswith("x-")}


def _shape(node: Node) -> object:
    return type(node.value)() if isinstance(node.value, dict | list) else node.value


def _section(root: Node, section: str, model: type[P], faults: Faults) -> dict[str, Entry[P]]:
    node = root.get(section)
    if node is None or node.value is None:
        return {}
    if not isinstance(node.value, dict):
        faults.add(node.place, f"{section}: expected a mapping, not {describe(_shape(node))}")
    found: dict[str, Entry[P]] = {}
    for key, each in node.mapping.items():
        if key.startswith("x-") and section == "services":
            continue
        value = plain(each)
        try:
            if value is None and section != "services":
                value = {}
            valid = model.model_validate(value)
        except ValidationError as error:
            _blame(error, root, model, (section, key), faults)
        else:
            found[key] = Entry(valid, each, node.key_place(key), extensions(each))
    return found


def _blame(error: ValidationError, root: Node, model: type[schema.Part], base: Path, faults: Faults) -> None:
    for each in error.errors(include_url=False):
        path = (*base, *each["loc"])
        kind, given = each["type"], each["input"]
        if kind == "extra_forbidden":
            owner = _model_at(model, each["loc"][:-1])
            _unknown(root, path[:-1], str(path[-1]), tuple(owner.model_fields) if owner else (), faults)
            continue
        if kind == "missing":
            path, text = path[:-1], f"{path[-1]} is missing"
        elif kind in _SHAPES:
            text = f"expected {_SHAPES[kind]}, not {describe(given)}"
        else:
            text = each["msg"]
        reason, _, hint = text.partition(HINT)
        faults.add(place_of(root, path), f"{dotted(path)}: {reason}", hint)


def _unknown(root: Node, path: Path, key: str, known: Sequence[str], faults: Faults) -> None:
    owner: Node | None = root
    for step in path:
        owner = (
            owner.items[step] if owner and isinstance(step, int) else owner.get(str(step)) if owner else None
        )
    place = owner.key_place(key) if owner else root.place
    where = dotted((*path, key))
    hint = alternative(tuple(map(str, path)), key)
    if hint is not None:
        faults.add(place, f"{where}: machines have no {key!r}", hint)
        return
    similar = nearest(key, known)
    faults.add(place, f"{where}: there is no {key!r}", f"Did you mean {similar!r}?" if similar else "")


def dotted(path: Sequence[str | int]) -> str:
    """Return a path as people write it: services.web.ports[0]."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _model_at(model: type[schema.Part], path: Sequence[str | int]) -> type[schema.Part] | None:
    """Return the model of what is at a path below a model."""
    current: Any = model
    for step in path:
        if isinstance(current, type) and issubclass(current, schema.Part):
            found = current.model_fields.get(str(step))
            current = _inner(found.annotation if found else None)
        # a key of a dict or an index of a list: `_inner` has gone to what they hold
    return current if isinstance(current, type) and issubclass(current, schema.Part) else None


def _inner(annotation: Any) -> Any:
    """Return the model inside an optional, a list or a dict."""
    for part in (annotation, *typing.get_args(annotation)):
        if isinstance(part, type) and issubclass(part, schema.Part):
            return part
    deeper = [found for part in typing.get_args(annotation) if (found := _inner(part)) is not None]
    return deeper[0] if deeper else None
