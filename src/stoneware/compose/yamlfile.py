"""YAML text to nodes: places, anchors, merge keys, Compose's merge tags; every fault with its place.

It builds on the parser's events, since those take any depth; a tree that is too deep or, by its aliases, too
large is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

import yaml

from stoneware.compose.faults import Faults
from stoneware.compose.model import Place
from stoneware.compose.nodes import OVERRIDE, RESET, Node, Scalar, describe
from stoneware.compose.scalars import resolve

_DEEPEST = 64
_DEEPEST_ALIASED = 128
_LARGEST = 1_000_000  # nodes of a document with its aliases written out
_UNUSABLE = re.compile("[\ud800-\udfff]")
_TAGS = "tag:yaml.org,2002:"
_TEXT_TAGS = {"!", f"{_TAGS}str"}
_PLAIN_TAGS = {f"{_TAGS}{name}" for name in ("int", "float", "bool", "null", "map", "seq")}
_SPELLINGS = {
    "while scanning for the next token: found character '\\t' that cannot start any token": (
        "a tab is where spaces have to be"
    ),
}

Interpolate = Callable[[str, Place], str]


class YamlError(ValueError):
    """The text is no YAML, or none that can be read: a sentence and its place."""

    def __init__(self, place: Place, reason: str) -> None:
        super().__init__(reason)
        self.place = place
        self.reason = reason


def parse(text: str, name: str) -> list[yaml.Event]:
    """Return the parser's events of a text. Raises YamlError."""
    try:
        return _not_too_deep(yaml.parse(text, Loader=yaml.CSafeLoader), name)
    except yaml.YAMLError:
        return _parse_slowly(text, name)


def _not_too_deep(events: Iterable[yaml.Event], name: str) -> list[yaml.Event]:
    """Take the events one by one: the parser's time grows with the square of a flow's depth."""
    found, depth = [], 0
    for event in events:
        found.append(event)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise YamlError(_place(event, name), f"nested deeper than {_DEEPEST} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return found


def _parse_slowly(text: str, name: str) -> list[yaml.Event]:
    """Parse once more, since the parser in Python words its errors better."""
    try:
        return _not_too_deep(yaml.parse(text, Loader=yaml.SafeLoader), name)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(name, mark.line + 1, mark.column + 1) if mark else Place(name, 1, 1)
        words = ": ".join(part for part in (error.context, error.problem) if part)
        raise YamlError(place, f"no YAML: {_SPELLINGS.get(words, words)}") from error
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = Place(name, before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise YamlError(place, f"no YAML: {error.reason}") from error


def _place(event: yaml.Event, name: str) -> Place:
    mark = event.start_mark
    return Place(name, mark.line + 1, mark.column + 1) if mark else Place(name, 1, 1)


def build(events: list[yaml.Event], name: str, interpolate: Interpolate, faults: Faults) -> list[Node]:
    """Return the documents of a file. Raises YamlError where its structure cannot be kept."""
    return _Builder(events, name, interpolate, faults).documents()


class _Builder:
    """Turns events into nodes."""

    def __init__(self, events: list[yaml.Event], name: str, interpolate: Interpolate, faults: Faults) -> None:
        self._events: Iterator[yaml.Event] = iter(events)
        self._name = name
        self._interpolate = interpolate
        self._faults = faults
        self._anchors: dict[str, tuple[Node, int, int] | None] = {}
        self._size = 0
        self._level = 0  # of the node that is being built, and the deepest below it
        self._deepest = 0

    def documents(self) -> list[Node]:
        found = []
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors = {}  # each document has its own
                found.append(self._node(next(self._events)))
        return found

    def _place(self, event: yaml.Event) -> Place:
        return _place(event, self._name)

    def _node(self, event: yaml.Event) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        # The size below an anchor is counted for each alias: aliases of aliases grow exponentially.
        before = self._size
        self._count(1, event)
        anchor = getattr(event, "anchor", None)
        if anchor:
            # None while its node is being built: an alias to it in there would be endless.
            self._anchors[anchor] = None
        deepest, self._deepest = self._deepest, self._level
        node = self._scalar(event) if isinstance(event, yaml.ScalarEvent) else self._collection(event)
        if anchor:
            self._anchors[anchor] = (node, self._size - before, self._deepest - self._level)
        self._deepest = max(self._deepest, deepest)
        return node

    def _count(self, size: int, event: yaml.Event) -> None:
        self._size += size
        if self._size > _LARGEST:
            raise YamlError(self._place(event), f"with its aliases the file has more than {_LARGEST} values")

    def _alias(self, event: yaml.AliasEvent) -> Node:
        place = self._place(event)
        if event.anchor not in self._anchors:
            raise YamlError(place, f"there is no anchor &{event.anchor} before this alias")
        found = self._anchors[event.anchor]
        if found is None:
            raise YamlError(place, f"the anchor &{event.anchor} contains itself")
        self._count(found[1], event)
        self._deepest = max(self._deepest, self._level + found[2])
        if self._deepest > _DEEPEST_ALIASED:
            raise YamlError(place, f"with its aliases nested deeper than {_DEEPEST_ALIASED} levels")
        return found[0]

    def _collection(self, event: yaml.Event) -> Node:
        self._level += 1
        try:
            return self._mapping(event) if isinstance(event, yaml.MappingStartEvent) else self._list(event)
        finally:
            self._level -= 1

    def _list(self, start: yaml.Event) -> Node:
        items = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            item = self._node(event)
            if item.directive != RESET:
                items.append(item)
        return Node(items, self._place(start), directive=self._directive(start))

    def _mapping(self, start: yaml.Event) -> Node:
        node = Node({}, self._place(start), directive=self._directive(start))
        inherited: list[Node] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            place = self._place(event)
            key = self._key(event)
            value = self._node(next(self._events))
            # In quotes it is a key like any other.
            if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
                inherited += self._merged(value)
            elif key is None:
                continue
            elif key in node.mapping:
                line = node.keys[key].line
                self._faults.add(place, f"the key {key!r} is in line {line} already", "Keep one of the two.")
            else:
                node.mapping[key] = value
                node.keys[key] = place
        # After the mapping's own keys, which win over merged ones wherever `<<` is.
        for other in inherited:
            for key, value in other.mapping.items():
                if key not in node.mapping:
                    node.mapping[key] = value
                    node.keys[key] = other.keys[key]
        return node

    def _key(self, event: yaml.Event) -> str | None:
        if isinstance(event, yaml.ScalarEvent):
            if _UNUSABLE.search(event.value):
                raise YamlError(self._place(event), "the key has half a character (a surrogate)")
            # YAML has numbers and booleans as keys; Compose wants text, so `80:` is an error.
            value = resolve(event.value) if event.implicit[0] else event.value
            if event.anchor:
                self._anchors[event.anchor] = (Node(value, self._place(event), event.value), 1, 0)
            if isinstance(value, str):
                return value
            self._faults.add(
                self._place(event), f"a key has to be text, and this is {describe(value)}", "Quote it."
            )
        else:
            self._node(event)
            self._faults.add(self._place(event), "a key has to be text, not a mapping, a list or an alias")
        return None

    def _merged(self, value: Node) -> list[Node]:
        parts = value.items or [value]
        for part in parts:
            if not isinstance(part.value, dict):
                self._faults.add(part.place, f"'<<' merges mappings, and this is {describe(part.value)}")
        return [part for part in parts if isinstance(part.value, dict)]

    def _scalar(self, event: yaml.ScalarEvent) -> Node:
        place = self._place(event)
        directive = self._directive(event)
        value: Scalar = event.value
        if (
            event.tag in _PLAIN_TAGS
            or (event.implicit[0] and event.tag is None)
            or (directive and not event.style)  # a plain value stays one behind our tags
        ):
            value = resolve(event.value)
        text = event.value
        if _UNUSABLE.search(text):
            raise YamlError(place, "the text has half a character (a surrogate)")
        # What a variable stands for stays a text: the types cast it, as in Compose.
        if isinstance(value, str):
            text = value = self._interpolate(value, place)
        return Node(value, place, text, directive=directive)

    def _directive(self, event: yaml.Event) -> str:
        tag = getattr(event, "tag", None)
        if tag in (RESET, OVERRIDE):
            return str(tag)
        if tag is not None and tag not in _PLAIN_TAGS | _TEXT_TAGS:
            self._faults.add(self._place(event), f"unknown tag {tag}", f"There are {RESET} and {OVERRIDE}.")
        return ""


def top_scalar(events: list[yaml.Event], key: str, name: str) -> tuple[str, Place] | None:
    """Return the text at a key of the topmost mapping, as it is written, and its place, or None."""
    depth, awaited, found = 0, None, None
    for event in events:
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth == 1 and isinstance(event, yaml.ScalarEvent | yaml.AliasEvent | yaml.CollectionStartEvent):
            if awaited is None:
                awaited = getattr(event, "value", "")
            else:
                if awaited == key and isinstance(event, yaml.ScalarEvent):
                    found = event.value, _place(event, name)
                awaited = None
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
    return found
