"""docs/provider.md, made from the schema: `python -m stoneware.provider.reference docs/provider.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from stoneware import __version__
from stoneware.provider.provider import StonewareProvider
from stoneware.provider.schema import Schema
from stoneware.provider.values import Attribute, Object, Objects

_HEAD = Path(__file__).with_name("reference_head.md")


def reference() -> str:
    """Return the whole page."""
    parts = [_HEAD.read_text().replace("@VERSION@", __version__)]
    for name, resource in sorted(StonewareProvider.resources.items()):
        parts += _section(f"Resource `{name}`", resource.schema)
    for name, source in sorted(StonewareProvider.data_sources.items()):
        parts += _section(f"Data source `{name}`", source.schema)
    return "\n".join(parts).rstrip() + "\n"


def _section(title: str, schema: Schema) -> Iterator[str]:
    yield f"## {title}\n\n{schema.description}\n"
    settable = [attribute for attribute in schema.attributes if attribute.required or attribute.optional]
    readable = [attribute for attribute in schema.attributes if attribute not in settable]
    yield from _table("argument", settable)
    yield from _table("read-only", readable)


def _table(title: str, attributes: list[Attribute]) -> Iterator[str]:
    rows = "".join(map(_row, attributes))
    yield f"| {title} | type | notes | description |\n|---|---|---|---|\n{rows}"


def _row(attribute: Attribute) -> str:
    words = _words(attribute)
    text = " ".join([attribute.description, *_fields(attribute)]).replace("|", "\\|")
    return f"| `{attribute.name}` | {_type(attribute)} | {', '.join(words)} | {text} |\n"


def _words(attribute: Attribute) -> Iterator[str]:
    if attribute.required:
        yield "required"
    if attribute.sensitive:
        yield "sensitive"
    if attribute.requires_replace:
        yield "replaces"


def _type(attribute: Attribute) -> str:
    kind = attribute.type
    if isinstance(kind, Object):
        return "list of objects" if isinstance(kind, Objects) else "object"
    return kind.name if isinstance(kind.name, str) else " of ".join(_plural(kind.name))


def _plural(parts: list[str]) -> list[str]:
    return [parts[0], f"{parts[1]}s"]


def _fields(attribute: Attribute) -> Iterator[str]:
    if not isinstance(attribute.type, Object):
        return
    computed = not (attribute.required or attribute.optional)
    for field in attribute.type.fields.values():
        mark = "" if field.optional or computed else " (required)"
        yield f"<br>`{field.name}`{mark}: {field.description}"


def main() -> None:
    """Write the page to the file named by the first argument, or to standard output."""
    text = reference()
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
