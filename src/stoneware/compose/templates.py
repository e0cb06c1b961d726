"""Swarm's templates, `{{.Task.Slot}}` and the like, in what each replica has of its own."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import field

from stoneware.dataclass import dataclass
from stoneware.machinefile.flags import nearest

# In quotes a body may have braces, since {{"{{"}} is how two of them are written.
TEMPLATE = re.compile(r"\{\{(?P<body>(?:\"(?:[^\"\\\n]|\\.)*\"|`[^`]*`|[^}\"`]|\}(?!\}))*)\}\}")
_FIELD = re.compile(r"\.[A-Za-z.]+")
_LABEL = re.compile(r"index\s+\.Service\.Labels\s+(?:\"([^\"\\]*)\"|`([^`]*)`)")
_LITERAL = re.compile(r"\"((?:[^\"\\\n]|\\[\"\\])*)\"|`([^`]*)`")
_FIELDS = (".Service.Name", ".Task.Slot", ".Task.Name", ".Node.Hostname")
_INSTEAD = {
    ".Task.ID": "A machine's name is its identity: {{.Task.Name}}.",
    ".Service.ID": "A service's name is its identity: {{.Service.Name}}.",
    ".Node.ID": "The machine's host name is {{.Node.Hostname}}.",
}


class TemplateError(ValueError):
    """A template that cannot be expanded: the reason, and what to write instead."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


@dataclass(frozen=True)
class Scope:
    """What templates of one replica stand for. `host` is empty while the host name itself is made."""

    service: str
    slot: int
    name: str
    host: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


def expand(text: str, scope: Scope) -> str:
    """Return the text with all templates expanded. Raises TemplateError."""
    if "{{" not in text:
        return text
    return "".join(part if literal else _value(part, scope) for literal, part in parts(text))


@functools.lru_cache(maxsize=4096)  # each replica expands the same texts
def parts(text: str) -> tuple[tuple[bool, str], ...]:
    """Return a text as its parts: (True, plain text) and (False, expression). Raises TemplateError."""
    found: list[tuple[bool, str]] = []
    start = 0
    for match in TEMPLATE.finditer(text):
        found.append((True, text[start : match.start()]))
        found.append(_expression(match["body"].strip()))
        start = match.end()
    if "{{" in text[start:]:
        raise TemplateError(
            "a template begins with '{{' and has no end", 'Write {{"{{"}} for two plain braces.'
        )
    return (*found, (True, text[start:]))


def _expression(body: str) -> tuple[bool, str]:
    literal = _LITERAL.fullmatch(body)
    if literal:
        return True, re.sub(r"\\(.)", r"\1", literal[1]) if literal[2] is None else literal[2]
    if body in _FIELDS:
        return False, body
    label = _LABEL.fullmatch(body)
    if label:
        return False, f"index {label[1] if label[2] is None else label[2]}"
    similar = nearest(body, _FIELDS) if _FIELD.fullmatch(body) else ""
    known = ", ".join(f"{{{{{each}}}}}" for each in _FIELDS)
    hint = _INSTEAD.get(body) or (f"Did you mean {{{{{similar}}}}}?" if similar else f"There are {known}.")
    raise TemplateError(f"there is no template {{{{{body}}}}}", hint)


def _value(expression: str, scope: Scope) -> str:
    if expression == ".Node.Hostname" and not scope.host:
        raise TemplateError("{{.Node.Hostname}} is in the host name itself", "Write {{.Task.Name}}.")
    values = {
        ".Service.Name": scope.service,
        ".Task.Slot": str(scope.slot),
        ".Task.Name": scope.name,
        ".Node.Hostname": scope.host,
    }
    if expression in values:
        return values[expression]
    return scope.labels.get(expression.removeprefix("index "), "")
