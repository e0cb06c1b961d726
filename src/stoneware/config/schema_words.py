"""The rules of JSON Schema in words, as a person would state them about one variable."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

_TYPE_WORDS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "a text",
}


def rule_in_words(error: Any, *, secret: bool) -> str:
    """Return what a jsonschema ValidationError asks for: "must be …". The value itself is never shown.

    `secret` keeps the library's own message, which quotes the value, out of rules we have no words for.
    """
    say = _RULES.get(error.validator)
    if say:
        return say(error.validator_value)
    if error.validator in ("anyOf", "oneOf"):
        return _choices(error, secret=secret)
    if secret:
        return f"breaks the schema's rule {error.validator!r}"
    return str(error.message)


def _choices(error: Any, *, secret: bool) -> str:
    """Join what each branch asks for; `oneOf` without failed branches matched more than one."""
    options = [rule_in_words(child, secret=secret) for child in error.context]
    if not options:
        return "must fit exactly one of the schema's alternatives, and fits more"
    return " or ".join(dict.fromkeys(options))


def _type(kinds: str | list[str]) -> str:
    names = [kinds] if isinstance(kinds, str) else kinds
    return "must be " + " or ".join(_TYPE_WORDS.get(name, name) for name in names)


def _text(value: Any) -> str:
    # An empty text is shown in quotes, or nothing would be seen.
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


_RULES: dict[str, Callable[[Any], str]] = {
    "type": _type,
    "enum": lambda values: "must be one of " + ", ".join(map(_text, values)),
    "const": lambda value: f"must be {_text(value)}",
    "pattern": lambda pattern: f"must match the pattern {pattern}",
    "format": lambda name: f"must be of the format {name}",
    "minimum": lambda limit: f"must be at least {limit}",
    "maximum": lambda limit: f"must be at most {limit}",
    "exclusiveMinimum": lambda limit: f"must be more than {limit}",
    "exclusiveMaximum": lambda limit: f"must be less than {limit}",
    "multipleOf": lambda step: f"must be a multiple of {step}",
    "minLength": lambda length: f"must have at least {length} character{'s' * (length != 1)}",
    "maxLength": lambda length: f"must have at most {length} character{'s' * (length != 1)}",
    "not": lambda rule: f"must not fit {json.dumps(rule, ensure_ascii=False)}",
    "required": lambda names: f"needs {', '.join(names)}",
    "minProperties": lambda count: f"at least {count} variables must be set",
    "maxProperties": lambda count: f"at most {count} variables may be set",
}
