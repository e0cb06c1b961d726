"""Patterns with wildcards, matched in time that grows with pattern times text, whatever the pattern.

Python's `re` tries each way to divide a text among the wildcards: `*a*a*a*a*b` takes years for a long name.
Patterns come from files of others (`.dockerignore`, COPY), so those with many wildcards run as an automaton:
the set of places in the pattern that the text may have reached, step by step, each step remembered.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from stoneware.dataclass import dataclass

_MOST_REPEATS = 2  # wildcards that `re` may try: at most (length of a path)² steps
_MOST_STEPS = 1 << 14  # remembered
MOST_PIECES = 4096  # of a pattern: the longest path there can be


class Expression(Protocol):
    """What matches a whole text: `re`'s own patterns, or an automaton."""

    def match(self, text: str, /) -> object | None:
        """Return something true where the text as a whole is matched."""
        ...


@dataclass(frozen=True)
class Piece:
    """A part of a pattern: a character that the regular expression `one` matches, or `many` of them.

    `dirs` is any text up to a slash, or nothing.
    """

    one: str
    many: bool = False
    dirs: bool = False

    @property
    def text(self) -> str:
        """Return the piece as a regular expression."""
        if self.dirs:
            return "(?:.*/)?"
        return f"{self.one}*" if self.many else self.one


DIRS = Piece(".", dirs=True)
NOT_SLASH = "[^/]"


def compiled(pieces: Sequence[Piece]) -> Expression:
    """Return what matches these pieces one after the other. Raises re.error for a bad piece."""
    if len(pieces) > MOST_PIECES:
        raise re.error(f"the pattern is longer than {MOST_PIECES} characters")
    if sum(piece.many or piece.dirs for piece in pieces) <= _MOST_REPEATS:
        return re.compile("".join(piece.text for piece in pieces) + r"\Z")
    return _Automaton(pieces)


class _Automaton:
    """Places are numbered 2n before the piece n, and 2n + 1 within the directories of a `dirs`."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = [(re.compile(piece.one), piece) for piece in pieces]
        self._end = 2 * len(pieces)
        self._steps: dict[tuple[frozenset[int], str], frozenset[int]] = {}
        self._start = self._reached([0])

    def match(self, text: str, /) -> object | None:
        """Return something true where the text as a whole is matched."""
        places = self._start
        for char in text:
            step = self._steps.get((places, char))
            if step is None:
                if len(self._steps) >= _MOST_STEPS:
                    # Forgetting costs time only, and names of others cannot fill the memory.
                    self._steps.clear()
                step = self._steps[places, char] = self._step(places, char)
            if not step:
                return None
            places = step
        return self if self._end in places else None

    def _reached(self, places: list[int]) -> frozenset[int]:
        """Add the places that are reached without a character."""
        found: set[int] = set()
        for place in places:
            at = place
            while at not in found:
                found.add(at)
                if at % 2 or at == self._end:
                    break
                piece = self._pieces[at // 2][1]
                if piece.dirs:
                    found.add(at + 1)
                elif not piece.many:
                    break
                at += 2
        return frozenset(found)

    def _step(self, places: frozenset[int], char: str) -> frozenset[int]:
        found: list[int] = []
        for place in places:
            if place == self._end:
                continue
            one, piece = self._pieces[place // 2]
            if place % 2:
                found += [place] if one.match(char) else []
                found += [place + 1] if char == "/" else []
            elif not piece.dirs and one.match(char):
                found.append(place if piece.many else place + 2)
        return self._reached(found)
