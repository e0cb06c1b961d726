"""The fenced blocks of a Markdown page, and the commands in its console blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^(?P<indent> {0,3})(?P<fence>`{3,}|~{3,})\s*(?P<language>[\w+-]*)\s*(?P<info>.*?)\s*$")
_EXIT = re.compile(r"^\[exit (\d+)\]$")


@dataclass(frozen=True)
class Block:
    """One fenced block; `line` is that of its first line of text, `info` the words in braces."""

    path: Path
    line: int
    language: str
    info: frozenset[str]
    text: str


@dataclass(frozen=True)
class Command:
    """One command of a console block: its text (several lines with `> `), the output and exit code it has."""

    line: int
    text: str
    output: str
    exit_code: int


def blocks_of(path: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page in order."""
    opened: tuple[str, str, frozenset[str], int] | None = None
    lines: list[str] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = _FENCE.match(line)
        if opened is None and match:
            info = frozenset(match["info"].strip("{}").split())
            opened = (match["fence"], match["language"], info, number + 1)
            lines = []
        elif opened is not None and line.strip() == opened[0]:
            yield Block(path, opened[3], opened[1], opened[2], "\n".join(lines) + "\n")
            opened = None
        elif opened is not None:
            lines.append(line)
    if opened is not None:
        raise AssertionError(f"{path}:{opened[3]}: the block has no end")


def commands_of(block: Block) -> list[Command]:
    """Return the commands of a console block.

    A command begins with `$ ` and goes on over `> ` lines, a here-document's text, or a trailing backslash.
    `[exit N]` as the last line of the output says that the command ends with that code.
    """
    found: list[tuple[int, list[str], list[str]]] = []
    heredoc = ""
    for number, line in enumerate(block.text.splitlines(), block.line):
        if heredoc:
            found[-1][1].append(line)
            heredoc = "" if line.strip() == heredoc else heredoc
        elif line.startswith("$ "):
            found.append((number, [line[2:]], []))
            heredoc = _heredoc(line)
        elif not found:
            raise AssertionError(f"{block.path}:{number}: a console block begins with a command: $ …")
        elif not found[-1][2] and (line.startswith("> ") or found[-1][1][-1].endswith("\\")):
            found[-1][1].append(line.removeprefix("> "))
            heredoc = _heredoc(line)
        else:
            found[-1][2].append(line)
    return [_command(*parts) for parts in found]


def _heredoc(line: str) -> str:
    match = re.search(r"<<-?\s*(['\"]?)(\w+)\1", line)
    return match[2] if match else ""


def _command(line: int, text: list[str], output: list[str]) -> Command:
    code = _EXIT.match(output[-1]) if output else None
    if code:
        output = output[:-1]
    return Command(line, "\n".join(text), "\n".join(output), int(code[1]) if code else 0)


def matches(expected: str, actual: str) -> bool:
    """Compare output: `...` alone on a line stands for any lines, within a line for any text.

    Runs of blanks are equal to one blank, since columns are as wide as what they hold.
    """
    parts = []
    for line in expected.splitlines():
        if line.strip() == "...":
            parts.append(r"(?:[^\n]*\n)*?")
        else:
            words = re.split(r"(\.\.\.|\s+)", line.rstrip())
            parts.append("".join(_pattern(word) for word in words) + r"[ \t]*\n")
    text = actual if actual.endswith("\n") or not actual else actual + "\n"
    return re.fullmatch("".join(parts), text.replace("\r\n", "\n")) is not None


def _pattern(word: str) -> str:
    if word == "...":
        return r"[^\n]*"
    return r"[ \t]+" if word and not word.strip() else re.escape(word)
