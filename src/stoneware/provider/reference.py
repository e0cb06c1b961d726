"""docs/provider.md, made from the schema: `python -m stoneware.provider.reference docs/provider.md`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stoneware import __version__
from stoneware.provider.fields import ObjectAttribute, ObjectsAttribute
from stoneware.provider.provider import StonewareProvider
from stoneware.terraform.runner import SOURCE

_HEAD = Path(__file__).with_name("reference_head.md")


def reference() -> str:
    """Return the whole page."""
    provider = StonewareProvider(SOURCE, _closed)
    parts = [_HEAD.read_text().replace("@VERSION@", __version__)]
    kinds: dict[str, list[Any]] = {
        "Resource": provider.get_resources(),
        "Data source": provider.get_data_sources(),
    }
    for word, classes in kinds.items():
        for found in sorted(classes, key=lambda each: str(each.get_name())):
            name = f"{provider.get_model_prefix()}{found.get_name()}"
            parts += _section(f"{word} `{name}`", found.get_schema())
    return "\n".join(parts).rstrip() + "\n"


def _closed() -> Any:
    raise RuntimeError("a schema needs no platform")


def _section(title: str, schema: Any) -> Iterator[str]:
    yield f"## {title}\n\n{schema.description}\n"
    settable = [attribute for attribute in schema.attributes if attribute.required or attribute.optional]
    readable = [attribute for attribute in schema.attributes if attribute not in settable]
    yield from _table("argument", settable)
    yield from _table("read-only", readable)


def _table(title: str, attributes: list[Any]) -> Iterator[str]:
    rows = "".join(map(_row, attributes))
    yield f"| {title} | type | notes | description |\n|---|---|---|---|\n{rows}"


def _row(attribute: Any) -> str:
    words = _words(attribute)
    text = " ".join([attribute.description, *_fields(attribute)]).replace("|", "\\|")
    return f"| `{attribute.name}` | {_type(attribute)} | {', '.join(words)} | {text} |\n"


def _words(attribute: Any) -> Iterator[str]:
    if attribute.required:
        yield "required"
    if attribute.sensitive:
        yield "sensitive"
    if attribute.requires_replace:
        yield "replaces"


def _type(attribute: Any) -> str:
    if isinstance(attribute, ObjectsAttribute):
        return "list of objects"
    if isinstance(attribute, ObjectAttribute):
        return "object"
    found = json.loads(attribute.type.tf_type())
    return found if isinstance(found, str) else " of ".join(_plural(found))


def _plural(parts: list[str]) -> list[str]:
    return [parts[0], f"{parts[1]}s"]


def _fields(attribute: Any) -> Iterator[str]:
    if not isinstance(attribute, ObjectAttribute):
        return
    computed = not (attribute.required or attribute.optional)
    for field in attribute.fields:
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
