"""Go's path functions, whose exact behaviour BuildKit's path rules are made of."""

from __future__ import annotations

import posixpath
import re
from functools import lru_cache

from stoneware.machinefile.globs import MOST_PIECES, NOT_SLASH, Expression, Piece, compiled


def clean(path: str) -> str:
    """Return Go's `path.Clean`: like posixpath.normpath, but two leading slashes become one."""
    result = posixpath.normpath(path) if path else "."
    return "/" + result.lstrip("/") if result.startswith("//") else result


def join(*parts: str) -> str:
    """Return Go's `path.Join`: empty parts are left out, absolute ones do not start over."""
    filled = [part for part in parts if part]
    return clean("/".join(filled)) if filled else ""


def is_space(char: str) -> bool:
    """Return Go's `unicode.IsSpace`; Python's counts four control characters more."""
    return char.isspace() and char not in "\x1c\x1d\x1e\x1f"


def has_wildcards(name: str) -> bool:
    """Return whether a path holds an unescaped `*`, `?` or `[`."""
    position = 0
    while position < len(name):
        if name[position] == "\\":
            position += 1
        elif name[position] in "*?[":
            return True
        position += 1
    return False


def split_wildcards(path: str) -> tuple[str, str]:
    """Split a path before its first component with a wildcard: `/a/b*/c` gives `/a` and `b*/c`."""
    parts = clean(path).split("/")
    for index, part in enumerate(parts):
        if has_wildcards(part):
            return "/".join(parts[:index]) or ("/" if path.startswith("/") else ""), "/".join(parts[index:])
    return clean(path), ""


class BadPattern(ValueError):
    """A pattern that Go's filepath.Match refuses."""


def match(pattern: str, name: str) -> bool:
    """Return Go's `filepath.Match`; raises BadPattern for what Go calls a syntax error."""
    return _compiled(pattern).match(name) is not None


def check(pattern: str) -> None:
    """Raise BadPattern when Go's filepath.Match would refuse the pattern."""
    _compiled(pattern)


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> Expression:
    pieces: list[Piece] = []
    position = 0
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char == "*":
            pieces.append(Piece(NOT_SLASH, many=True))
        elif char == "?":
            pieces.append(Piece(NOT_SLASH))
        elif char == "[":
            text, position = _character_class(pattern, position)
            pieces.append(Piece(text))
        elif char == "\\":
            if position == len(pattern):
                raise BadPattern(pattern)
            pieces.append(Piece(re.escape(pattern[position])))
            position += 1
        else:
            pieces.append(Piece(re.escape(char)))
    if len(pieces) > MOST_PIECES:
        raise BadPattern(pattern)
    return compiled(pieces)


def _character_class(pattern: str, position: int) -> tuple[str, int]:
    """Translate `[…]` from just after the bracket; Go's class may match nothing but `/`-free text."""
    negated = pattern.startswith("^", position)
    position += negated
    ranges: list[str] = []
    while True:
        if pattern.startswith("]", position) and ranges:  # Go has no empty class: `[]` is a bad pattern
            break
        low, position = _class_character(pattern, position)
        high = low
        if pattern.startswith("-", position):
            high, position = _class_character(pattern, position + 1)
        # Go accepts a reversed range, which matches nothing; re does not
        ranges.append(f"{re.escape(low)}-{re.escape(high)}" if low <= high else "")
    inner = "".join(ranges)
    # Where every range is reversed there is nothing left to put into a class of re.
    if negated:
        return (f"[^{inner}]" if inner else "(?s:.)"), position + 1
    return (f"[{inner}]" if inner else "(?!)"), position + 1


def _class_character(pattern: str, position: int) -> tuple[str, int]:
    if position >= len(pattern) or pattern[position] in "-]":  # Go wants a backslash before these
        raise BadPattern(pattern)
    if pattern[position] == "\\":
        position += 1
        if position >= len(pattern):
            raise BadPattern(pattern)
    if position + 1 >= len(pattern):  # the class must still be closed
        raise BadPattern(pattern)
    return pattern[position], position + 1
