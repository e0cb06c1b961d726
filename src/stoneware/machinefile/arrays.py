"""JSON arrays with something behind them: no arrays, but text for the shell, as BuildKit reads them.

The parser's binding takes the array and drops the rest; a mark before the bracket makes it read all of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

MARK = "\ue000"  # of a private area: no Machinefile has a meaning for it
_BLANKS = " \t\r\n"  # what may stand behind an array
_DECODER = json.JSONDecoder()


def mark_arrays(lines: list[str], commands: Iterable[Any]) -> bool:
    """Mark, in the lines, the arrays that have something behind them; say whether there were any.

    `commands` are what the parser makes of the lines. An array that is marked is none to the parser any more.
    """
    changed = False
    for command in commands:
        if not command.json:
            continue
        skipped = _brackets_before(command.original)
        if skipped is not None:
            changed |= _mark(lines, command.start_line - 1, skipped)
    return changed


def mark_first_array(lines: list[str], first: int, last: int, escape: str) -> bool:
    """Mark the array of the instruction in lines[first:last], refused by the parser, if more follows."""
    joined = "".join(
        line.rstrip().removesuffix(escape)
        for number, line in enumerate(lines[first:last])
        # The parser drops comments between the lines, with their brackets.
        if number == 0 or not line.lstrip().startswith("#")
    )
    skipped = _brackets_before(joined)
    return skipped is not None and _mark(lines, first, skipped)


def without_mark(words: Sequence[str]) -> tuple[str, ...]:
    """Return an instruction's words without the mark."""
    return tuple(word.replace(MARK, "") for word in words)


def _brackets_before(text: str) -> int | None:
    """Return how many brackets are before the array that has something behind it; None where none has."""
    position, count = text.find("["), 0
    while position >= 0:
        end = _end_of_array(text, position)
        if end is not None:
            return count if text[end:].strip(_BLANKS) else None
        position, count = text.find("[", position + 1), count + 1
    return None


def _end_of_array(text: str, start: int) -> int | None:
    """Return where the array that begins at a word's start ends; None where there is none."""
    if not text[start - 1 : start].isspace():
        return None
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):  # json calls itself: a line of nothing but brackets
        return None
    return end if isinstance(value, list) else None


def _mark(lines: list[str], first: int, skipped: int) -> bool:
    for number in range(first, len(lines)):
        line = lines[number]
        # The parser does not see a comment's brackets.
        if number > first and line.lstrip().startswith("#"):
            continue
        count = line.count("[")
        if skipped < count:
            position = -1
            for _ in range(skipped + 1):
                position = line.find("[", position + 1)
            lines[number] = line[:position] + MARK + line[position:]
            return True
        skipped -= count
    return False
