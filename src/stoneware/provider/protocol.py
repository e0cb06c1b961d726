"""The messages of Terraform's plugin protocol, and a servicer's methods as a server of gRPC wants them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from stoneware.provider.proto_file import Method, ProtoFile
from stoneware.provider.reporting import Diagnostic
from stoneware.provider.schema import Schema
from stoneware.provider.values import Attribute, Object

Fields = dict[str, Any]


@cache
def protocol() -> ProtoFile:
    """Return the protocol's messages and methods."""
    return ProtoFile(Path(__file__).with_name("tfplugin6.proto"))


def answers(servicer: object) -> dict[str, Callable[[bytes], bytes]]:
    """Return a servicer's methods, which have the protocol's names, by their paths: bytes to bytes."""
    return {each.path: _answer(each, getattr(servicer, each.name)) for each in protocol().methods}


def _answer(method: Method, fields: Callable[[Any], Fields]) -> Callable[[bytes], bytes]:
    def answer(raw: bytes) -> bytes:
        response: bytes = method.response(**fields(method.request.FromString(raw))).SerializeToString()
        return response

    return answer


def schema_message(schema: Schema) -> Any:
    """Return a schema as a message."""
    return protocol().message("Schema")(**schema_fields(schema))


def schema_fields(schema: Schema) -> Fields:
    """Return the fields of the message that a schema is."""
    return {
        "version": schema.version,
        "block": {
            "attributes": [_attribute_fields(attribute) for attribute in schema.attributes],
            "description": schema.description,
            "description_kind": "MARKDOWN",
        },
    }


def _attribute_fields(attribute: Attribute) -> Fields:
    kind: Fields
    if isinstance(attribute.type, Object):
        fields = [_attribute_fields(field) for field in attribute.type.fields.values()]
        kind = {"nested_type": {"attributes": fields, "nesting": attribute.type.nesting}}
    else:
        kind = {"type": json.dumps(attribute.type.name).encode()}
    return {
        "name": attribute.name,
        "description": attribute.description,
        "description_kind": "MARKDOWN",
        "required": attribute.required,
        "optional": attribute.optional,
        "computed": attribute.computed,
        "sensitive": attribute.sensitive,
        **kind,
    }


def diagnostic_fields(diagnostic: Diagnostic) -> Fields:
    """Return the fields of the message that a diagnostic is."""
    fields = {name: getattr(diagnostic, name) for name in ("severity", "summary", "detail")}
    return {**fields, **({"attribute": path_fields(diagnostic.path)} if diagnostic.path else {})}


def path_fields(path: list[Any]) -> Fields:
    """Return the fields of the message that an attribute's path is."""
    return {"steps": [_step_fields(step) for step in path]}


def _step_fields(step: Any) -> Fields:
    if not isinstance(step, tuple):
        return {"attribute_name": step}
    return {"element_key_string" if isinstance(step[0], str) else "element_key_int": step[0]}
