"""The messages of Terraform's plugin protocol, and a servicer's methods on a gRPC server."""

from __future__ import annotations

import json
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


def serve_on(server: Any, servicer: object) -> None:
    """Add a servicer's methods, which have the protocol's names, to a server that has not been started.

    A call to any other is unimplemented.
    """
    import grpc

    handlers = {each.name: _handler(each, getattr(servicer, each.name)) for each in protocol().methods}
    service = grpc.method_handlers_generic_handler("tfplugin6.Provider", handlers)
    server.add_generic_rpc_handlers((service,))


def _handler(method: Method, answer: Any) -> Any:
    import grpc

    return grpc.unary_unary_rpc_method_handler(
        lambda request, _context: method.response(**answer(request)),
        request_deserializer=method.request.FromString,
        response_serializer=method.response.SerializeToString,
    )


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
