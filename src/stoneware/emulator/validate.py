"""Requests checked against the discovery document's parameters and schemas."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from stoneware.emulator import errors
from stoneware.emulator.discovery import Document, Method, Schema

# 64 bits have no more digits, and thousands of them are an error of Python's own.
_WHOLE = re.compile(r"-?[0-9]{1,20}")
_TRUTH = {"true": True, "false": False, "1": True, "0": False}


def parameters(method: Method, given: Mapping[str, str | list[str]]) -> dict[str, Any]:
    """Return path and query parameters with their types, others left out. Raises ApiError (400).

    Of one that is given several times the last counts, unless it is a list.
    """
    values: dict[str, Any] = {}
    for name, spec in method.parameters.items():
        if name in given:
            texts = [text] if isinstance(text := given[name], str) else text
            each = [_parameter(name, spec, text) for text in texts]
            values[name] = each if spec.get("repeated") else each[-1]
        elif spec.get("required"):
            raise errors.required(name)
        elif "default" in spec:
            values[name] = _parameter(name, spec, spec["default"])
    return values


def _parameter(name: str, spec: Schema, text: str) -> Any:
    if spec["type"] == "boolean":
        # gcloud writes True and False.
        if text.lower() not in _TRUTH:
            raise errors.invalid(name, text, "Must be true or false.")
        return _TRUTH[text.lower()]
    if spec["type"] == "integer":
        return _bounded(name, spec, text)
    if spec.get("format") in ("int64", "uint64"):
        return str(_bounded(name, spec, text))
    if "pattern" in spec and not re.fullmatch(spec["pattern"], text):
        raise errors.invalid(name, text, f"Must be a match of regex '{spec['pattern']}'")
    return text


def _bounded(name: str, spec: Schema, text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise errors.invalid(name, text, "Must be a whole number.")
    number = int(text)
    least, most = int(spec.get("minimum", number)), int(spec.get("maximum", number))
    if number < least or number > most:
        why = f"{least} at least" if number < least else f"{most} at most"
        raise errors.invalid(name, text, f"Must be {why}.")
    return number


def body(document: Document, schema: str, value: Any) -> dict[str, Any]:
    """Return a request body as the API would keep it. Raises ApiError (400) for a value of a wrong type.

    Nulls and fields that only Google fills are left out, fields the document does not know are ignored, and
    64-bit numbers become strings: clients send them both ways.
    """
    if not isinstance(value, dict):
        raise errors.ApiError(400, "parseError", "Invalid JSON payload received. An object is expected.")
    return _object(document, document.schemas[schema], value, "resource")


def cleared(value: Any) -> frozenset[str]:
    """Return the fields that a request body sets to null, which in a patch takes them away."""
    return (
        frozenset(name for name, item in value.items() if item is None)
        if isinstance(value, dict)
        else frozenset()
    )


def nulls(value: Any) -> dict[str, Any]:
    """Return what a request body sets to null at any depth, nothing else: `{"labels": {"gone": None}}`."""
    if not isinstance(value, dict):
        return {}
    found = {name: None if item is None else nulls(item) for name, item in value.items()}
    return {name: item for name, item in found.items() if item is None or item}


def _object(document: Document, schema: Schema, value: dict[str, Any], where: str) -> dict[str, Any]:
    known: Mapping[str, Schema] = schema.get("properties", {})
    kept = {}
    for name, item in value.items():
        spec = known.get(name) or schema.get("additionalProperties")
        # No error: Terraform's provider sends nulls, and newer clients fields that this document lacks.
        if spec is None or item is None or output_only(spec):
            continue
        kept[name] = _value(document, spec, item, f"{where}.{name}")
    return kept


def output_only(spec: Schema) -> bool:
    """Say whether only Google fills this field."""
    return bool(spec.get("readOnly")) or str(spec.get("description", "")).startswith("[Output Only]")


def _value(document: Document, spec: Schema, value: Any, where: str) -> Any:
    if "$ref" in spec:
        spec = document.schemas[spec["$ref"]]
    kind = spec.get("type")
    if kind == "object":
        _must(isinstance(value, dict), where, value, "an object")
        return _object(document, spec, value, where)
    if kind == "array":
        _must(isinstance(value, list), where, value, "a list")
        # Terraform's provider sends lists with a null in them, as nodeAffinities.
        return [_value(document, spec["items"], item, where) for item in value if item is not None]
    return _scalar(spec, value, where)


def _scalar(spec: Schema, value: Any, where: str) -> Any:
    kind = spec.get("type")
    if kind == "boolean":
        _must(isinstance(value, bool), where, value, "true or false")
        return value
    if kind == "integer" or spec.get("format") in ("int64", "uint64"):
        whole = not isinstance(value, bool) and _WHOLE.fullmatch(str(value))
        _must(bool(whole), where, value, "a whole number")
        return int(value) if kind == "integer" else str(int(value))
    if kind == "number":
        _must(isinstance(value, int | float) and not isinstance(value, bool), where, value, "a number")
        return value
    if kind == "string":
        _must(isinstance(value, str), where, value, "a string")
        if "pattern" in spec and not re.fullmatch(spec["pattern"], value):
            raise errors.invalid(where, value, f"Must be a match of regex '{spec['pattern']}'")
    return value


def _must(right: bool, where: str, value: object, what: str) -> None:
    if not right:
        raise errors.invalid(where, value, f"Must be {what}.")
