"""Which method of the discovery documents a request means."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import field
from functools import cache
from typing import Literal
from urllib.parse import unquote

from stoneware.dataclass import dataclass
from stoneware.emulator.discovery import Document, Method

#: What the body of the request or of the reply is: a document, or the contents of an object.
Media = Literal["", "upload", "download"]
_DOWNLOADS = "/download"  # before the base of a method that gives contents


@dataclass(frozen=True)
class Target:
    """What a path stands for, whatever the names in it."""

    document: Document
    method: Method
    path: str
    media: Media = ""


@dataclass(frozen=True)
class Found:
    """A method, the parameters of its path, and what the bodies are."""

    document: Document
    method: Method
    names: dict[str, str]
    media: Media


@dataclass
class _Node:
    literal: dict[str, _Node] = field(default_factory=dict)
    variable: _Node | None = None
    actions: dict[str, _Node] = field(default_factory=dict)  # of a variable: what follows its colon
    targets: dict[str, Target] = field(default_factory=dict)


class Router:
    """Finds methods by HTTP verb and path; a literal segment goes before a variable one."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self._root = _Node()
        for document in documents:
            for method in document.methods.values():
                plain = document.base + method.path
                self._add(Target(document, method, plain))
                for path in method.uploads:
                    self._add(Target(document, method, path, "upload"))
                if method.downloads:
                    self._add(Target(document, method, _DOWNLOADS + plain, "download"))

    def _add(self, target: Target) -> None:
        node = self._root
        for segment in target.path.split("/"):
            if not segment.startswith("{"):
                node = node.literal.setdefault(segment, _Node())
                continue
            node.variable = node.variable or _Node()
            node = node.variable
            if action := segment.partition("}")[2]:
                node = node.actions.setdefault(action, _Node())
        # Clients go on with a session by PUT or by POST, and end it by DELETE.
        verbs = ("POST", "PUT", "DELETE") if target.media == "upload" else (target.method.http,)
        for verb in verbs:
            node.targets[verb] = target

    def find(self, http: str, path: str) -> Found | None:
        """Return what a request means, or None. `path`: from the root of the server, quoted, no query."""
        segments = path.split("/")
        target = _walk(self._root, segments, http)
        if target is None:
            return None
        names = _names(target, [unquote(segment) for segment in segments])
        return Found(target.document, target.method, names, target.media)


def _names(target: Target, segments: list[str]) -> dict[str, str]:
    method = target.method
    if "{+" in method.template:
        found = _expression(target.document.base + method.template).fullmatch("/".join(segments))
        return found.groupdict() if found else {}
    pairs = zip(target.path.split("/"), segments, strict=True)
    return {name[1:-1]: text for name, text in pairs if name.startswith("{")}


@cache
def _expression(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\+?)(\w+)\}", template)
    text = re.escape(parts[0])
    for several, name, after in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        text += f"(?P<{name}>{'.+' if several else '[^/]+'}){re.escape(after)}"
    return re.compile(text, re.DOTALL)


def _walk(node: _Node, segments: list[str], http: str) -> Target | None:
    if not segments:
        return node.targets.get(http)
    segment, rest = segments[0], segments[1:]
    children = [node.literal.get(segment)]
    if segment and node.variable is not None:
        # Custom verbs stand behind a name, `secrets/NAME:addVersion`, and a name may have a colon itself.
        name, colon, action = segment.rpartition(":")
        children += [node.variable.actions.get(colon + action) if name else None, node.variable]
    for child in children:
        if child is not None and (found := _walk(child, rest, http)):
            return found
    return None
