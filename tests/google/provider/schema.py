"""What hashicorp/google has of the types that the stand-in serves: `schema.json`, in that provider's words.

The file has the shape that `terraform providers schema -json` gives. An attribute that is to be served is
copied into it from the whole, and gets an entry in the table of its resource where it is not simply what the
API calls it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stoneware.provider.values import Unknown

SOURCE = "registry.terraform.io/hashicorp/google"
FILE = Path(__file__).with_name("schema.json")
Values = dict[str, Any]


@dataclass(frozen=True)
class Attribute:
    """An attribute of a block."""

    type: Any  # as Terraform writes it in JSON
    required: bool = False
    optional: bool = False
    computed: bool = False
    sensitive: bool = False
    deprecated: bool = False

    @property
    def given(self) -> bool:
        """Whether a configuration can have it."""
        return self.required or self.optional


@dataclass(frozen=True)
class Nested:
    """A block within a block."""

    nesting: str  # list, set or single
    block: Block
    min_items: int = 0
    max_items: int = 0


@dataclass(frozen=True)
class Block:
    """Attributes and blocks by their names."""

    attributes: Mapping[str, Attribute]
    blocks: Mapping[str, Nested]

    def whole(self, values: Values | None) -> Values:
        """Return values with all that the block has; what is missing is null."""
        given = values or {}
        found = {name: given.get(name) for name in self.attributes}
        for name, nested in self.blocks.items():
            found[name] = nested_whole(nested, given.get(name))
        return found


@dataclass(frozen=True)
class Schema:
    """A resource, a data source or the provider itself."""

    version: int
    block: Block


def nested_whole(nested: Nested, value: Any) -> Any:
    """Return the values of a nested block, each with all that it has."""
    if value is Unknown:
        return value
    if nested.nesting == "single":
        return None if value is None else nested.block.whole(value)
    return [one if one is Unknown else nested.block.whole(one) for one in value or ()]


def document(file: Path = FILE) -> Values:
    """Return the schemas of hashicorp/google that a file has."""
    [found] = json.loads(file.read_bytes())["provider_schemas"].values()
    return dict(found)


@cache
def schemas(kind: str) -> dict[str, Schema]:
    """Return the schemas of all `resource_schemas` or `data_source_schemas`."""
    return {name: _schema(each) for name, each in document()[kind].items()}


@cache
def provider() -> Schema:
    """Return the schema of the provider's own configuration."""
    return _schema(document()["provider"])


def _schema(text: Values) -> Schema:
    return Schema(text["version"], _block(text["block"]))


def _block(text: Values) -> Block:
    attributes = {name: Attribute(**each) for name, each in text.get("attributes", {}).items()}
    nested = {
        name: Nested(
            each["nesting_mode"], _block(each["block"]), each.get("min_items", 0), each.get("max_items", 0)
        )
        for name, each in text.get("block_types", {}).items()
    }
    return Block(attributes, nested)


def message_fields(schema: Schema) -> Values:
    """Return the fields of the protocol's message that a schema is."""
    return {"version": schema.version, "block": _block_fields(schema.block)}


def _block_fields(block: Block) -> Values:
    return {
        "attributes": [
            {
                "name": name,
                "type": json.dumps(each.type).encode(),
                "required": each.required,
                "optional": each.optional,
                "computed": each.computed,
                "sensitive": each.sensitive,
            }
            for name, each in block.attributes.items()
        ],
        "block_types": [
            {
                "type_name": name,
                "block": _block_fields(each.block),
                "nesting": each.nesting.upper(),
                "min_items": each.min_items,
                "max_items": each.max_items,
            }
            for name, each in block.blocks.items()
        ],
    }


def differences(served: Values, real: Values, where: str = "") -> Iterator[str]:
    """Yield what is served and is not the same in the real provider. Both as `document` returns them."""
    for name, value in served.items():
        place = f"{where}.{name}" if where else name
        if name not in real:
            yield f"{place} is not there"
        elif isinstance(value, dict):
            yield from differences(value, real[name], place)
        elif value != real[name]:
            yield f"{place} is {real[name]!r}, not {value!r}"
