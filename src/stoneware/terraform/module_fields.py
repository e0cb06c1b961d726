"""The fields of a machine in the cluster's module: types in its variable, values in its resource."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from stoneware.model.field_types import REQUIRED, Type
from stoneware.model.machine_fields import IN_CLUSTER

_TYPES, _VALUES = "# FIELDS: types", "# FIELDS: values"  # lines of the module's files


def filled(text: str) -> str:
    """Return a file of a module with the fields of a machine where it has a line for them."""
    lines: list[str] = []
    for line in text.splitlines(keepends=True):
        indent = line[: len(line) - len(line.lstrip())]
        match line.strip():
            case word if word == _TYPES:
                lines += (f"{indent}{row}\n" for row in _types())
            case word if word == _VALUES:
                lines += (f"{indent}{row}\n" for row in _values())
            case _:
                lines.append(line)
    return "".join(lines)


def _types() -> Iterator[str]:
    for field in IN_CLUSTER:
        default = REQUIRED if field.default is REQUIRED else field.kind.to_terraform(field.default)
        yield f"# {field.about}"
        yield f"{field.name:<12} = {_optional(field.kind.type, default)}"


def _values() -> Iterator[str]:
    for field in IN_CLUSTER:
        yield f"{field.name:<12} = each.value.{field.name}"


def _optional(type_: Type, default: Any) -> str:
    if default is REQUIRED:
        return _written(type_)
    if isinstance(default, float) and default.is_integer():
        default = int(default)
    return f"optional({_written(type_)}{'' if default is None else f', {json.dumps(default)}'})"


def _written(type_: Type) -> str:
    """Return a type as Terraform writes it."""
    base = type_.base
    if type_.parts:
        parts = (f"{part.name} = {_optional(part.type, part.default)}" for part in type_.parts)
        base = f"object({{ {', '.join(parts)} }})"
    return base if type_.form == "one" else f"{type_.form}({base})"
