"""What a plain YAML scalar is: YAML 1.2's core schema, as Compose reads it (`yes` and `12:30` are text)."""

from __future__ import annotations

import re

from stoneware.compose.nodes import Scalar

_NULLS = {"", "~", "null", "Null", "NULL"}
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_BASED = re.compile(r"([-+]?)0(?:o?([0-7]+)|x([0-9a-fA-F]+)|b([01]+))")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_LONGEST = 100  # a number with more digits is text; Python would refuse or be slow


def resolve(text: str) -> Scalar:
    """Return the value of a plain scalar. `010` and `0o10` are octal, as Go's parser has it."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    number = text[0] in "+-.0123456789" and len(text) <= _LONGEST
    return _number(text) if number else text


def _number(text: str) -> Scalar:
    if _INTEGER.fullmatch(text):
        return int(text)
    if based := _BASED.fullmatch(text):
        forms = zip(based.groups()[1:], (8, 16, 2), strict=True)
        digits, base = next((part, base) for part, base in forms if part)
        return int(based[1] + digits, base)
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", "", 1))  # Python writes these without the dot
    return float(text) if _FLOAT.fullmatch(text) else text
