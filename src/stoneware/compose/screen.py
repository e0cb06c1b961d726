"""Leaves out of a merged file what has no effect in machines, and says so."""

from __future__ import annotations

from dataclasses import field

from stoneware.compose.faults import Faults
from stoneware.compose.key_rules import Outcome
from stoneware.compose.keys import KEYS
from stoneware.compose.model import Place
from stoneware.compose.nodes import Node, rebuilt
from stoneware.dataclass import dataclass

# Where a blank text, as of a variable that is not set, is no value; and where it is one all the same.
_BLANK = ("services.*", "networks.*", "volumes.*")
_CLEARED = ("image", "command", "entrypoint")


@dataclass
class _Found:
    """Where one key without effect is written."""

    path: str
    why: str
    places: list[Place] = field(default_factory=list)


def screened(root: Node, faults: Faults) -> Node:
    """Return the file without the keys that are warned about, and without those that say what is so anyway.

    One warning tells of all places where a key is; faults are left for the schema to find.
    """
    found: dict[tuple[str, str], _Found] = {}
    result = root
    for pattern in KEYS:
        steps = tuple(pattern.split(".")) if pattern else ()
        result = _below(result, steps, "", pattern, found)
    for each in found.values():
        more = len(each.places) - 1
        also = f" (and at {more} more place{'s' * (more > 1)})" if more else ""
        faults.warn(f"{each.places[0]}: {each.path}: {each.why[0].lower()}{each.why[1:].rstrip('.')}{also}")
    return result


def _below(
    node: Node,
    steps: tuple[str, ...],
    path: str,
    pattern: str,
    found: dict[tuple[str, str], _Found],
) -> Node:
    if not steps:
        return _without(node, path, pattern, found)
    step, *rest = steps
    if isinstance(node.value, list) and step == "*":
        return rebuilt(node, [_below(each, tuple(rest), path, pattern, found) for each in node.value])
    if not isinstance(node.value, dict):
        return node
    names = list(node.value) if step == "*" else [step] * (step in node.value)
    entries = dict(node.value)
    for name in names:
        if not name.startswith("x-"):  # what is below these is the user's own
            entries[name] = _below(
                node.value[name], tuple(rest), f"{path}.{name}".lstrip("."), pattern, found
            )
    return rebuilt(node, entries)


def _without(node: Node, path: str, pattern: str, found: dict[tuple[str, str], _Found]) -> Node:
    if not isinstance(node.value, dict):
        return node
    entries = dict(node.value)
    for key, rule in KEYS[pattern].items():
        if key not in entries:
            continue
        said = _said(entries[key])
        if rule.outcome is Outcome.ACTS:
            if said == "" and _is_text(entries[key]) and pattern in _BLANK and key not in _CLEARED:
                del entries[key]
        elif said in rule.harmless or entries[key].value in (None, [], {}):  # an empty key asks for nothing
            del entries[key]
        elif rule.outcome is Outcome.WARNED:
            del entries[key]
            each = found.setdefault((pattern, key), _Found(f"{path}.{key}".lstrip("."), rule.why))
            each.places.append(node.key_place(key))
    return rebuilt(node, entries)


def _said(node: Node) -> str | None:
    """Return a scalar in small letters, an empty text for nothing at all, None for what has parts."""
    if isinstance(node.value, dict | list):
        return "" if not node.value else None
    return "" if node.value is None else str(node.value).lower()


def _is_text(node: Node) -> bool:
    return isinstance(node.value, str)
