"""A YAML document as values that know where they are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from stoneware.compose.model import Place

Scalar = str | int | float | bool | None
RESET = "!reset"
OVERRIDE = "!override"


@dataclass(slots=True)  # a file becomes thousands of these
class Node:
    """A value and its place. Shared between the trees of aliases, so it is never changed once it is built.

    `value` is a dict of nodes, a list of nodes, or a scalar; `keys` are the places of a dict's keys, `text`
    is a scalar as it is written, `directive` one of Compose's tags for merging.
    """

    value: Value
    place: Place
    text: str = ""
    keys: dict[str, Place] = field(default_factory=dict)
    directive: str = ""

    @property
    def mapping(self) -> dict[str, Node]:
        """The entries of a mapping; of anything else, none."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> list[Node]:
        """The items of a list; of anything else, none."""
        return self.value if isinstance(self.value, list) else []

    def get(self, *path: str) -> Node | None:
        """Return what is below a path of keys, or None."""
        node: Node | None = self
        for key in path:
            node = node.mapping.get(key) if node else None
        return node

    def key_place(self, key: str) -> Place:
        """Return the place of a key, or that of the mapping where it has none."""
        return self.keys.get(key, self.place)


Value = dict[str, Node] | list[Node] | Scalar


def plain(node: Node) -> Any:
    """Return the value without places."""
    if isinstance(node.value, dict):
        return {key: plain(each) for key, each in node.value.items()}
    if isinstance(node.value, list):
        return [plain(each) for each in node.value]
    return node.value


def place_of(node: Node, path: Sequence[str | int]) -> Place:
    """Return where the value at a path is written; that of its key, where there is no value.

    Where the path leads nowhere, it is the place of what would hold it.
    """
    place = node.place
    for step in path:
        below: Node | None = None
        if isinstance(step, str):
            below = node.mapping.get(step)
        elif step < len(node.items):
            below = node.items[step]
        if below is None:
            return place
        place = below.place if below.value is not None else node.key_place(str(step))
        node = below
    return place


def key_place(node: Node, path: Sequence[str | int]) -> Place:
    """Return where the last key of a path is written, where it is one; else as `place_of`."""
    *above, last = path
    for step in above:
        found = node.get(step) if isinstance(step, str) else dict(enumerate(node.items)).get(step)
        if found is None:
            return node.place
        node = found
    if isinstance(last, str) and last in node.keys:
        return node.keys[last]
    return place_of(node, (last,))


def describe(value: object) -> str:
    """Return what a value is, for a sentence: `the text 'x'`, `a list`."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, str):
        short = value if len(value) <= 40 else value[:37] + "..."
        return f"the text {short!r}" if value else "an empty text"
    return f"the number {value}"


def rebuilt(node: Node, value: Value, keys: dict[str, Place] | None = None) -> Node:
    """Return a node with another value at the same place."""
    text = value if isinstance(value, str) else ""
    return Node(value, node.place, text, node.keys if keys is None else keys, node.directive)
