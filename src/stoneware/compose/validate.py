"""The merged tree against the schema: models of what is right, and every fault with its place."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from dataclasses import field
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from stoneware.compose import schema, schema_resources
from stoneware.compose.faults import Faults
from stoneware.compose.keys import OWN, alternative, below_which
from stoneware.compose.model import Place
from stoneware.compose.nodes import Node, describe, place_of, plain, rebuilt
from stoneware.compose.schema_parts import Part
from stoneware.compose.values import HINT
from stoneware.dataclass import dataclass
from stoneware.machinefile.flags import nearest

_SHAPES = {"model_type": "a mapping", "dict_type": "a mapping", "list_type": "a list"}
_FEW = 12  # keys that are worth to be listed
# Their short form is a list.
_LISTED = {"args", "depends_on", "environment", "labels", "networks", "options", "sysctls"}
P = TypeVar("P", bound=Part)
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Entry(Generic[P]):
    """One entry of a section: its model, and the node it was made of."""

    model: P
    node: Node
    place: Place  # of its key
    extensions: dict[str, Any] = field(default_factory=dict)
    whole: bool = True  # nothing wrong had to be left out


@dataclass(frozen=True)
class Document:
    """The valid entries of a file. `named` are the keys of each section, valid or not."""

    services: dict[str, Entry[schema.Service]]
    networks: dict[str, Entry[schema_resources.Network]]
    volumes: dict[str, Entry[schema_resources.Volume]]
    secrets: dict[str, Entry[schema_resources.Secret]]
    configs: dict[str, Entry[schema_resources.Config]]
    named: dict[str, frozenset[str]]
    extensions: dict[str, Any]


def validate(root: Node, faults: Faults) -> Document:
    """Return what is valid of a document, and note what is not."""
    if not isinstance(root.value, dict):
        faults.add(root.place, f"expected a mapping with services, not {describe(_shape(root))}")
    for key in root.mapping:
        if key not in schema.TOP and not key.startswith("x-"):
            _unknown(root, (), key, schema.TOP, faults)
    for key in ("name", "version"):
        text = root.get(key)
        if text is not None and isinstance(text.value, dict | list):
            faults.add(text.place, f"{key}: expected text, not {describe(_shape(text))}")
    services = root.get("services")
    if isinstance(root.value, dict) and (services is None or services.value in (None, {})):
        faults.add(
            root.key_place("services"), "there are no services", "Write services: with at least one in it."
        )
    return Document(
        _section(root, "services", schema.Service, faults),
        _section(root, "networks", schema_resources.Network, faults),
        _section(root, "volumes", schema_resources.Volume, faults),
        _section(root, "secrets", schema_resources.Secret, faults),
        _section(root, "configs", schema_resources.Config, faults),
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
    for key in node.mapping:
        entry = _entry(root, section, key, model, faults)
        if entry is not None:
            found[key] = entry
    return found


def _entry(root: Node, section: str, key: str, model: type[P], faults: Faults) -> Entry[P] | None:
    """Return one entry; what is wrong with it is noted and left out, so that the rest is checked as well."""
    owner = root.mapping[section]
    node = owner.mapping[key]
    place = owner.key_place(key)
    # Nothing below a volume's or network's name means the defaults; a service needs an image.
    empty = rebuilt(node, {}) if node.value is None and section != "services" else node
    try:
        return Entry(model.model_validate(plain(empty)), empty, place, extensions(node))
    except ValidationError as error:
        blame(error, root, model, (section, key), faults)
        paths = [each["loc"] for each in error.errors(include_url=False)]
    if () in paths:
        return None
    kept = _without(node, paths)
    try:
        return Entry(model.model_validate(plain(kept)), kept, place, extensions(node), whole=False)
    except ValidationError:
        return None


def _without(node: Node, paths: Sequence[Path]) -> Node:
    """Return an entry without the keys, or the items of its keys, that paths lead to."""
    entries = dict(node.mapping)
    below: dict[str, set[str | int]] = {}
    for key, *rest in paths:
        if rest:
            below.setdefault(str(key), set()).add(rest[0])
        else:
            entries.pop(str(key), None)
    for key in below.keys() & entries.keys():
        value = entries[key]
        if isinstance(value.value, list):
            entries[key] = rebuilt(value, [each for n, each in enumerate(value.value) if n not in below[key]])
        else:
            kept = {name: each for name, each in value.mapping.items() if name not in below[key]}
            entries[key] = rebuilt(value, kept)
    return rebuilt(node, entries)


def blame(error: ValidationError, root: Node, model: type[Part], base: Path, faults: Faults) -> None:
    """Note each thing that a model has against what is at a path of a file."""
    for each in error.errors(include_url=False):
        path = (*base, *each["loc"])
        kind, given = each["type"], each["input"]
        if kind == "extra_forbidden":
            owner = _model_at(model, each["loc"][:-1])
            known = [field.alias or name for name, field in owner.model_fields.items()] if owner else ()
            _unknown(root, path[:-1], str(path[-1]), known, faults)
            continue
        if kind == "missing":
            path, text = path[:-1], f"{path[-1]} is missing"
        elif kind in _SHAPES:
            either = "a list or " if kind == "dict_type" and path[-1] in _LISTED else ""
            text = f"expected {either}{_SHAPES[kind]}, not {describe(given)}"
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
    faults.add(place, f"{where}: there is no {key!r}", _instead(root, path, key, known))


def _instead(root: Node, path: Path, key: str, known: Sequence[str]) -> str:
    """Return what a key that is not known may be meant for."""
    own = nearest(key.lower().replace("_", "-"), OWN) if key[:1] in "xX" else ""
    if below := below_which(tuple(map(str, path)), key):
        return f"It stands below {below}."
    if similar := own or nearest(key, known):
        return f"Did you mean {similar!r}?"
    if not path and "services" not in root.mapping and isinstance(root.mapping[key].value, dict):
        return "Is it a service? Services stand below services:"
    if not known:
        return f"{path[-1]} has no keys yet."
    return f"It has: {', '.join(known)}." if path and len(known) <= _FEW else ""


def dotted(path: Path) -> str:
    """Return a path as people write it: services.web.ports. The place says which item of a list it is."""
    return ".".join(step for step in path if isinstance(step, str))


def _model_at(model: type[Part], path: Path) -> type[Part] | None:
    """Return the model of what is at a path below a model."""
    annotation: Any = model
    for step in path:
        annotation = _required(annotation)
        if isinstance(annotation, type) and issubclass(annotation, Part):
            found = annotation.model_fields.get(str(step))
            annotation = found.annotation if found else None
        else:
            annotation = (typing.get_args(annotation) or (None,))[-1]  # of a list's items, a dict's values
    annotation = _required(annotation)
    return annotation if isinstance(annotation, type) and issubclass(annotation, Part) else None


def _required(annotation: Any) -> Any:
    """Return what an optional annotation is of."""
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return next(part for part in typing.get_args(annotation) if part is not type(None))
    return annotation
