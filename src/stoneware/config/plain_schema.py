"""Schemas of plain rules, held against values without the library, which takes long to import.

This says only that all is well, never what is wrong: where a rule is broken, or has any other word in it, the
library is asked. So a command with good values, as nearly all have, does without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_TOLD = {"$comment", "title", "description", "default", "examples", "secret", "writeOnly"}  # rules nothing
_WHOLE = {"$schema", "type", "properties", "required", "additionalProperties"}
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}
# From the text's beginning to its end, of characters and classes, each so many times, one of them at most as
# often as there are: such a pattern takes time in proportion to the text, and nobody has to watch over it.
_CLASS = r"\[\^?(?:[A-Za-z0-9_#:./,@+ -]|\\[-\[\]\\.dws])+\]"
_TIMES = r"(?:\{[0-9]{1,3}\}|(?P<many>[*+]|\{[0-9]{1,3},[0-9]{0,3}\}))?"
_PIECE = re.compile(rf"(?:{_CLASS}|[A-Za-z0-9_#:/,@ -]|\\[.dws]){_TIMES}")


def holds_plainly(schema: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Say whether each value is what a schema of plain rules wants; False where that is not certain.

    `values` have the types that the rules ask for.
    """
    told = schema.get("$schema", _DRAFT) == _DRAFT and schema.get("type", "object") == "object"
    if not told or not schema.keys() <= _WHOLE | _TOLD:
        return False
    rules = schema.get("properties", {})
    if not set(schema.get("required", ())) <= values.keys():
        return False
    if schema.get("additionalProperties", True) is not True and not values.keys() <= rules.keys():
        return False
    return all(name not in rules or _good(rules[name], value) for name, value in values.items())


def _good(rule: Any, value: Any) -> bool:
    return isinstance(rule, dict) and all(
        word in _TOLD or (word in _WORDS and _WORDS[word](wanted, value)) for word, wanted in rule.items()
    )


def _type(wanted: Any, value: Any) -> bool:
    return isinstance(wanted, str) and type(value) in _TYPES.get(wanted, ())


def _one_of(wanted: Any, value: Any) -> bool:
    return any(type(each) is type(value) and each == value for each in wanted)


def _number(within: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda wanted, value: type(value) not in (int, float) or within(value, wanted)


def _matches(wanted: Any, value: Any) -> bool:
    if type(value) is not str or not _is_plain(wanted):
        return False
    try:
        return re.search(wanted, value) is not None
    except re.error:  # a range such as z-a
        return False


def _is_plain(pattern: Any) -> bool:
    if not isinstance(pattern, str) or pattern[:1] != "^" or pattern[-1:] != "$":
        return False
    at, many = 1, 0
    while at < len(pattern) - 1:
        found = _PIECE.match(pattern, at, len(pattern) - 1)
        if found is None:
            return False
        at, many = found.end(), many + (found["many"] is not None)
    return many <= 1


_WORDS: dict[str, Callable[[Any, Any], bool]] = {
    "type": _type,
    "enum": _one_of,
    "const": lambda wanted, value: _one_of([wanted], value),
    "minLength": lambda wanted, value: type(value) is not str or len(value) >= wanted,
    "maxLength": lambda wanted, value: type(value) is not str or len(value) <= wanted,
    "minimum": _number(lambda value, wanted: value >= wanted),
    "maximum": _number(lambda value, wanted: value <= wanted),
    "pattern": _matches,
}
