"""Which method of the discovery document a request means."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from urllib.parse import unquote

from stoneware.dataclass import dataclass
from stoneware.emulator.discovery import Method


@dataclass
class _Node:
    literal: dict[str, _Node] = field(default_factory=dict)
    variable: _Node | None = None
    methods: dict[str, Method] = field(default_factory=dict)


class Router:
    """Finds methods by HTTP verb and path; a literal segment goes before a variable one."""

    def __init__(self, methods: Iterable[Method]) -> None:
        self._root = _Node()
        for method in methods:
            self._add(method)

    def _add(self, method: Method) -> None:
        node = self._root
        for segment in method.path.split("/"):
            if segment.startswith("{"):
                node.variable = node.variable or _Node()
                node = node.variable
            else:
                node = node.literal.setdefault(segment, _Node())
        node.methods[method.http] = method

    def find(self, http: str, path: str) -> tuple[Method, dict[str, str]] | None:
        """Return the method and its path parameters, or None. `path`: what follows the base, quoted."""
        segments = path.split("/")
        method = _walk(self._root, segments, http)
        if method is None:
            return None
        pairs = zip(method.path.split("/"), segments, strict=True)
        return method, {name[1:-1]: unquote(text) for name, text in pairs if name.startswith("{")}


def _walk(node: _Node, segments: list[str], http: str) -> Method | None:
    if not segments:
        return node.methods.get(http)
    for child in (node.literal.get(segments[0]), node.variable if segments[0] else None):
        if child is not None and (found := _walk(child, segments[1:], http)):
            return found
    return None
