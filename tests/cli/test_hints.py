"""Every command that a message says to type is there, with the options that it is typed with."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click

from stoneware.cli.group import root

SOURCES = Path(__file__).parents[2] / "src" / "stoneware"
_TYPED = re.compile(r"stoneware ([a-z]+)((?: [^\n`;)]*)?)")
_OPTION = re.compile(r"(?<=\s)--?[A-Za-z][\w-]*")


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield all string literals with their lines; X stands for what is filled in."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            parts = (each.value if isinstance(each, ast.Constant) else "X" for each in node.values)
            yield node.lineno, "".join(map(str, parts))


def options_of(words: list[str]) -> set[str] | None:
    """Return the options of a command, of its subcommand where the words name one; None for no command."""
    context = click.Context(root)
    command = root.get_command(context, words[0]) if words[0] in root.list_commands(context) else None
    for word in words[1:]:
        if not isinstance(command, click.Group) or (inner := command.get_command(context, word)) is None:
            break
        command = inner
    if command is None:
        return None
    options = (each for each in command.params if isinstance(each, click.Option))
    return {"--help", *(name for each in options for name in (*each.opts, *each.secondary_opts))}


def unknown(text: str) -> list[str]:
    """Return the options in the commands of a text that these do not have: `run --foo`."""
    found = []
    for match in _TYPED.finditer(text):
        typed = match[2].split("#")[0].split("   ")[0]
        options = options_of([match[1], *typed.split()])
        if options is None:
            continue
        for word in _OPTION.findall(typed):
            letters = {f"-{letter}" for letter in word[1:]} if word[1] != "-" else {word}
            if word not in options and not letters <= options:
                found.append(f"{match[1]} {word}")
    return found


def test_what_is_to_be_typed_can_be_typed() -> None:
    wrong = [
        f"{path.relative_to(SOURCES)}:{line}: {each}"
        for path in sorted(SOURCES.rglob("*.py"))
        if _TYPED.search(source := path.read_text())
        for line, text in texts(source)
        for each in unknown(text)
    ]
    assert wrong == []


def test_an_option_that_is_not_there_is_found() -> None:
    assert unknown("stoneware run --foo X    # --bar") == ["run --foo"]
    assert unknown("stoneware volume create --size 1g X") == []
    assert unknown("stoneware volume rm --size 1g X") == ["volume --size"]
    assert unknown("stoneware run -dit X") == unknown("what stoneware is --not") == []
