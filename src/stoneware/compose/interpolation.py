"""Interpolation of the cluster file itself, by Compose's rules: what is not set is blank, with a warning.

Machines interpolate their templates with a program of their own (`stoneware.guest`), which is strict.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_EXPRESSION = re.compile(
    rf"\$(?:(?P<dollar>\$)|(?P<name>{_NAME})|(?P<brace>\{{)(?:(?P<braced>{_NAME})(?P<operator>:?[-?+]|(?=\}})))?)"
)
_BRACE = re.compile(r"[{}]")


class InterpolationError(ValueError):
    """A text that cannot be interpolated, with the reason as a sentence."""


def interpolate(text: str, values: Mapping[str, str], unset: Callable[[str], None]) -> str:
    """Return the text with all variables replaced.

    `unset` is called with the name of each variable that is taken as blank. Raises InterpolationError.
    """
    if "$" not in text:
        return text
    try:
        return _Text(text, values, unset).expand(0, len(text))
    except RecursionError:
        raise InterpolationError("the expression is nested too deeply") from None


class _Text:
    """One text being interpolated; its braces are paired once, so that nesting costs nothing."""

    def __init__(self, text: str, values: Mapping[str, str], unset: Callable[[str], None]) -> None:
        self._text = text
        self._values = values
        self._unset = unset
        self._closing = _pairs(text)

    def expand(self, start: int, end: int) -> str:
        parts: list[str] = []
        while found := _EXPRESSION.search(self._text, start, end):
            parts.append(self._text[start : found.start()])
            start = found.end()
            if found["dollar"]:
                parts.append("$")
            elif found["name"]:
                parts.append(self._plain(found["name"]))
            else:
                value, start = self._braced(found)
                parts.append(value)
        parts.append(self._text[start:end])
        return "".join(parts)

    def _plain(self, name: str) -> str:
        if name not in self._values:
            self._unset(name)
        return self._values.get(name, "")

    def _braced(self, found: re.Match[str]) -> tuple[str, int]:
        name, operator = found["braced"], found["operator"]
        end = self._closing.get(found.start("brace"), -1)
        if name is None or end < 0:
            raise InterpolationError(f"malformed expression {_excerpt(self._text, found.start(), end)!r}")
        if not operator:
            return self._plain(name), end + 1
        value = self._values.get(name)
        there = bool(value) if operator.startswith(":") else value is not None
        # The alternative is expanded only where it is used: it may have required variables.
        if operator.endswith("+"):
            return self.expand(found.end(), end) if there else "", end + 1
        if there:
            return value or "", end + 1
        other = self.expand(found.end(), end)
        if operator.endswith("?"):
            raise InterpolationError(
                f"required variable {name} is missing a value" + (f": {other}" if other else "")
            )
        return other, end + 1


def _pairs(text: str) -> dict[int, int]:
    opened: list[int] = []
    closing: dict[int, int] = {}
    for brace in _BRACE.finditer(text):
        if brace[0] == "{":
            opened.append(brace.start())
        elif opened:
            closing[opened.pop()] = brace.start()
    return closing


def _excerpt(text: str, start: int, end: int) -> str:
    part = text[start : end + 1] if end > 0 else text[start:]
    return part if len(part) <= 60 else part[:57] + "..."
