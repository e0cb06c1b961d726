"""A second, independent reading of the grammar of templates, for tests only.

Written from docs/runtime-config.md and the Compose specification, by recursive descent over the text
itself, where the awk program works on tokens with a stack. Bytes are held as latin-1 characters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
OPERATOR = re.compile(r":?[-?+]")


@dataclass(frozen=True)
class Wrong:
    line: int
    kind: str  # malformed | unset | required
    name: str = ""
    message: str = ""


@dataclass(frozen=True)
class Use:
    name: str
    required: bool
    line: int
    default: str | None
    form: str


@dataclass
class Oracle:
    """Read one document; `expand` follows the taken branches, `uses` looks into all."""

    document: str
    values: Mapping[str, str]
    wrong: list[Wrong] = field(default_factory=list)

    def line(self, at: int) -> int:
        return self.document.count("\n", 0, at) + 1

    def closing(self, opened: int) -> int:
        """Return where the brace at `opened` is closed, counting every brace, or -1."""
        depth = 0
        for at in range(opened, len(self.document)):
            depth += {"{": 1, "}": -1}.get(self.document[at], 0)
            if depth == 0:
                return at
        return -1

    def form(self, at: int) -> tuple[str, str, int, int] | None:
        """Read the `${` at `at`: its name, operator, and where its text begins and ends; None: malformed."""
        name = NAME.match(self.document, at + 2)
        if not name:
            return None
        operator = OPERATOR.match(self.document, name.end())
        if operator:
            end = self.closing(at + 1)
            return (name[0], operator[0], operator.end(), end) if end >= 0 else None
        if self.document[name.end() : name.end() + 1] == "}":
            return (name[0], "", name.end(), name.end())
        return None

    def expand(self, at: int = 0, end: int | None = None) -> str:
        end = len(self.document) if end is None else end
        result = []
        while at < end:
            name = NAME.match(self.document, at + 1, end)
            if self.document[at] != "$":
                result.append(self.document[at])
                at += 1
            elif self.document.startswith("$$", at, end):
                result.append("$")
                at += 2
            elif self.document.startswith("${", at, end):
                form = self.form(at)
                if form is None:
                    self.wrong.append(Wrong(self.line(at), "malformed"))
                    at += 2
                else:
                    result.append(self.value(at, *form))
                    at = form[3] + 1
            elif name:
                result.append(self.plain(at, name[0]))
                at = name.end()
            else:
                result.append("$")
                at += 1
        return "".join(result)

    def plain(self, at: int, name: str) -> str:
        if name not in self.values:
            self.wrong.append(Wrong(self.line(at), "unset", name))
        return self.values.get(name, "")

    def value(self, at: int, name: str, operator: str, start: int, end: int) -> str:
        if not operator:
            return self.plain(at, name)
        there = name in self.values
        if operator.startswith(":"):
            there = there and self.values[name] != ""
        kind = operator[-1]
        if kind == "+":
            return self.expand(start, end) if there else ""
        if there:
            return self.values[name]
        if kind == "-":
            return self.expand(start, end)
        place = len(self.wrong)
        message = self.expand(start, end)
        self.wrong.insert(place, Wrong(self.line(at), "required", name, message))
        return ""

    def uses(self, at: int = 0, end: int | None = None, inside: bool = False) -> list[Use]:
        end = len(self.document) if end is None else end
        found: list[Use] = []
        while at < end:
            name = NAME.match(self.document, at + 1, end)
            if self.document.startswith("$$", at, end):
                at += 2
            elif self.document.startswith("${", at, end):
                form = self.form(at)
                if form is None:
                    self.wrong.append(Wrong(self.line(at), "malformed"))
                    at += 2
                    continue
                key, operator, start, close = form
                default = self.document[start:close] if operator.endswith("-") else None
                required = not inside and operator[-1:] in ("", "?")
                found.append(Use(key, required, self.line(at), default, operator or "plain"))
                found += self.uses(start, close, inside=True)
                at = close + 1
            elif self.document[at] == "$" and name:
                found.append(Use(name[0], not inside, self.line(at), None, "plain"))
                at = name.end()
            else:
                at += 1
        return found


def render(document: bytes, values: Mapping[str, bytes]) -> tuple[bytes, list[Wrong]]:
    """Return the rendered document and what is wrong with it (the same fault of a line only once)."""
    oracle = Oracle(document.decode("latin-1"), {key: raw.decode("latin-1") for key, raw in values.items()})
    result = oracle.expand()
    return result.encode("latin-1"), oracle.wrong


def uses(document: bytes) -> tuple[list[Use], list[Wrong]]:
    """Return every use of a variable in any branch, and the malformed expressions."""
    oracle = Oracle(document.decode("latin-1"), {})
    return oracle.uses(), oracle.wrong
