"""From attributes to the API's documents and back: a table says where each is, and how it is written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stoneware.provider.values import Unknown
from tests.google.provider.kinds import Kind, Place
from tests.google.provider.schema import Block, Nested, Values

Document = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """One attribute or block.

    `path`: where it is in the document, as `tags.items`; by default its name as the API writes names; None
    for what the API does not know. `replaces`: another value takes another object. `default` is planned
    where the configuration has none. `always`: it is sent also where it is false or empty. `sent`: it is in
    requests. `keeps` (of a block): without one in the configuration it stays as it is. `many` (of a block
    that there is once at most): it is a list in the document all the same.
    """

    path: str | None = ""
    kind: Kind = field(default_factory=Kind)
    replaces: bool = False
    default: Any = None
    always: bool = False
    sent: bool = True
    keeps: bool = False
    many: bool = False
    fields: Mapping[str, Field] = field(default_factory=dict)

    def within(self, name: str) -> list[str]:
        """Return the path as a list."""
        return (self.path or re.sub(r"_(\w)", lambda found: found[1].upper(), name)).split(".")


Table = Mapping[str, Field]
LOCAL = Field(path=None)
LABELS = ("labels", "terraform_labels", "effective_labels")  # what labels.py sees to
_PLAIN = Field()


def of(table: Table, name: str) -> Field:
    """Return the entry of an attribute or block."""
    otherwise = LOCAL if name in ("id", "timeouts", "project", *LABELS) else _PLAIN
    return table.get(name, otherwise)


def empty(value: Any) -> bool:
    """Say whether a value means no more than null: what an API leaves out."""
    return value is None or (value is not Unknown and not value)


def written(block: Block, table: Table, values: Values, place: Place) -> Document:
    """Return the document of values."""
    document: Document = {}
    for name, attribute in block.attributes.items():
        entry, value = of(table, name), values.get(name)
        if entry.path is None or not entry.sent or not attribute.given or value is None or value is Unknown:
            continue
        if entry.always or not empty(value):
            _put(document, entry.within(name), entry.kind.write(value, place))
    for name, nested in block.blocks.items():
        entry, value = of(table, name), values.get(name)
        if entry.path is None or not value or value is Unknown:
            continue
        each = [written(nested.block, entry.fields, one, place) for one in value]
        _put(document, entry.within(name), each if _listed(nested, entry) else each[0])
    return document


def read(block: Block, table: Table, document: Document, before: Values) -> Values:
    """Return the values that a document has; what it does not say is as it was `before`."""
    values: Values = {}
    for name, attribute in block.attributes.items():
        entry, old = of(table, name), known(before.get(name))
        value = old if entry.path is None else entry.kind.read(_take(document, entry.within(name)))
        if value is None and entry.default is not None and entry.path is not None:
            # What is false is left out of replies.
            value = False if isinstance(entry.default, bool) else entry.default
        nothing = empty(value) and empty(old) and not attribute.computed and entry.default is None
        values[name] = old if nothing else value
    for name, nested in block.blocks.items():
        entry, old = of(table, name), known(before.get(name))
        if entry.path is None:
            values[name] = old
            continue
        found = _take(document, entry.within(name))
        each = ([] if found is None else [found]) if not _listed(nested, entry) else found or []
        old = old if nested.nesting == "list" and old else []
        values[name] = [
            read(nested.block, entry.fields, one, old[at] if at < len(old) else {})
            for at, one in enumerate(each)
        ]
    return values


def changed(block: Block, table: Table, old: Values, new: Values, head: str = "") -> Iterator[str]:
    """Yield what of the API's differs between two states, as `boot_disk.auto_delete`."""
    for name, attribute in block.attributes.items():
        entry = of(table, name)
        if attribute.given and entry.path is not None and not same(entry, old.get(name), new.get(name)):
            yield head + name
    for name, nested in block.blocks.items():
        entry, before, after = of(table, name), old.get(name) or [], new.get(name) or []
        if entry.path is None or after is Unknown:
            continue
        if nested.nesting == "list" and len(before) == len(after):
            for one, other in zip(before, after, strict=True):
                yield from changed(nested.block, entry.fields, one, other, f"{head}{name}.")
        elif alike(before) != alike(after):
            yield head + name


def same(entry: Field, have: Any, wanted: Any) -> bool:
    """Say whether two values of an attribute mean the same."""
    if entry.default is None and empty(have) and empty(wanted):
        return True
    if have is None or wanted is None or wanted is Unknown:
        return bool(have == wanted)
    return entry.kind.same(have, wanted)


def alike(values: Any) -> Any:
    """Return what is equal for lists of blocks with the same elements, in any order."""
    return sorted(map(_settled, values))


def _settled(value: Any) -> str:
    if isinstance(value, Mapping):
        return repr(sorted((name, _settled(each)) for name, each in value.items() if not empty(each)))
    return repr(list(map(_settled, value))) if isinstance(value, list) else repr(value)


def known(value: Any) -> Any:
    """Return a value with null for all that is not known."""
    if value is Unknown:
        return None
    if isinstance(value, Mapping):
        return {name: known(each) for name, each in value.items()}
    return [known(each) for each in value] if isinstance(value, list) else value


def _listed(nested: Nested, entry: Field) -> bool:
    return entry.many or nested.max_items != 1


def _put(document: Document, where: list[str], value: Any) -> None:
    for name in where[:-1]:
        document = document.setdefault(name, {})
    document[where[-1]] = value


def _take(document: Any, where: list[str]) -> Any:
    for name in where:
        document = document.get(name) if isinstance(document, Mapping) else None
    return document
