"""Ignore files, matched exactly as Docker does (moby/patternmatcher, of which this is a port; Apache-2.0).

`pathspec` on PyPI is gitignore's language, where a pattern without a slash matches at any depth; Docker's are
paths from the root of the context, so it cannot be used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.machinefile import gopath
from stoneware.machinefile.globs import DIRS, NOT_SLASH, Expression, Piece, compiled
from stoneware.untrusted.bounded import BoundsError, read_input

_GLOB_CHARACTERS = "*[]?^\\"

_MOST_BYTES = 1 << 20  # of an ignore file


@dataclass(frozen=True)
class Pattern:
    """One pattern; an `exception` (`!`) takes back what earlier patterns matched."""

    text: str
    exception: bool
    expression: Expression | None  # None: only the same text matches
    line: int = 0

    def matches(self, path: str) -> bool:
        """Return whether this pattern alone matches a path."""
        if self.expression is None:
            return path == self.text
        return self.expression.match(path) is not None


# What the patterns said of a directory, for its children: one answer per pattern.
ParentMatch = tuple[bool, ...]


@dataclass(frozen=True)
class Matcher:
    """An ordered list of patterns."""

    patterns: tuple[Pattern, ...] = ()
    filename: str = ""

    def match(self, path: str, parent: ParentMatch = ()) -> tuple[bool, ParentMatch]:
        """Return whether a path is matched, and the answers to pass on for a directory's children.

        `path` has no leading slash. `parent` is what this returned for the directory it is in.
        """
        matched = False
        answers: list[bool] = []
        for index, pattern in enumerate(self.patterns):
            hit = bool(parent) and parent[index]
            # once a parent matched, so does all that is in it
            # One that cannot change the answer is not tried, as in patternmatcher.
            if not hit and pattern.exception == matched:
                hit = pattern.matches(path)
            answers.append(hit)
            if hit:
                matched = not pattern.exception
        return matched, tuple(answers)

    def matches(self, path: str) -> bool:
        """Return whether a path, or a directory it is in, is matched in the end."""
        parent: ParentMatch = ()
        matched = False
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            matched, parent = self.match("/".join(parts[:depth]), parent)
        return matched

    def culprit(self, path: str) -> Pattern | None:
        """Return the pattern because of which a path is matched: the last one that says so."""
        parts = path.split("/")
        # A pattern that matches a directory matches all that is in it.
        prefixes = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        if not self.matches(path):
            return None
        hits = [p for p in self.patterns if not p.exception and any(p.matches(each) for each in prefixes)]
        return hits[-1] if hits else None

    def may_hold_exceptions(self, directory: str) -> bool:
        """Return whether an exception could match below a matched directory, so that it must be read."""
        for pattern in self.patterns:
            if not pattern.exception:
                continue
            fixed = pattern.text.removesuffix("/**").removesuffix("/*")
            if any(char in fixed for char in _GLOB_CHARACTERS):
                return True
            if f"{fixed}/".startswith(f"{directory}/"):
                return True
        return False


def compile_patterns(texts: Iterable[str], filename: str = "", lines: Iterable[int] = ()) -> Matcher:
    """Return the matcher for some patterns. Raises InputError for one that Docker refuses."""
    numbers = list(lines)
    found: list[Pattern] = []
    for index, raw in enumerate(texts):
        text = raw.strip()
        if not text:
            continue
        line = numbers[index] if index < len(numbers) else 0
        text = gopath.clean(text)  # patternmatcher cleans before it takes the `!` off
        exception = text.startswith("!")
        text = text[1:] if exception else text
        try:
            gopath.check(text or "[")  # a lone `!` is as bad as an open bracket
            found.append(Pattern(text, exception, _compile(text), line))
        except (gopath.BadPattern, re.error) as error:
            raise InputError(
                f"bad pattern {raw!r}",
                resolution="Close the bracket, or put a backslash before the character.",
                location=f"{filename}:{line}" if filename else "",
            ) from error
    return Matcher(tuple(found), filename)


def _compile(text: str) -> Expression | None:
    """Return a pattern as an expression for `match`, or None where it is plain text."""
    if text.startswith("**") and not any(char in "*?[]\\" for char in text[2:]):
        # `**foo` is any path that ends in foo, `**/foo` one whose last component it is
        return re.compile(
            (r"(?:.*/)?" if text.startswith("**/") else ".*") + re.escape(text[2:].lstrip("/")) + r"\Z"
        )
    pieces: list[Piece] = []
    position = 0
    glob = False
    while position < len(text):
        char = text[position]
        position += 1
        if char == "*" and text.startswith("*", position):
            position += 1
            glob = True
            if text.startswith("/", position):
                position += 1
            pieces.append(Piece(".", many=True) if position == len(text) else DIRS)
        elif char in "*?":
            glob = True
            pieces.append(Piece(NOT_SLASH, many=char == "*"))
        elif char == "\\" and position < len(text):
            glob = True
            pieces.append(Piece(re.escape(text[position])))
            position += 1
        elif char == "[":
            glob = True
            inner, position = _brackets(text, position)
            pieces.append(Piece(inner))
        else:
            pieces.append(Piece(re.escape(char)))
    return compiled(pieces) if glob else None


def _brackets(text: str, position: int) -> tuple[str, int]:
    """Copy a character class as patternmatcher hands it to the regular expression."""
    out = ["["]
    while position < len(text):
        char = text[position]
        position += 1
        # Right behind `[` or `[^` a bracket is a character, as in Go's regular expressions.
        if char == "]" and len(out) > 1 and out != ["[", "^"]:
            return "".join([*out, "]"]), position
        if char == "\\" and position < len(text):
            out.append("\\" + text[position])
            position += 1
        else:
            # In a class re warns of these: they may one day join or subtract sets.
            out.append("\\" + char if char in "[&~|" else char)
    raise gopath.BadPattern(text)


def read_ignore(text: str, filename: str) -> Matcher:
    """Return the matcher of an ignore file's text."""
    patterns: list[str] = []
    lines: list[int] = []
    # Docker drops the byte order mark, too.
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        # As in Docker: behind a blank it is part of a name.
        if raw.startswith("#"):
            continue
        pattern = raw.strip()
        if not pattern:
            continue
        exception = pattern.startswith("!")
        pattern = pattern[1:].strip() if exception else pattern
        if pattern:
            pattern = gopath.clean(pattern)
            # A path is from the root with and without its slash.
            pattern = pattern[1:] if len(pattern) > 1 and pattern.startswith("/") else pattern
        patterns.append(f"!{pattern}" if exception else pattern)
        lines.append(number)
    return compile_patterns(patterns, filename, lines)


def ignore_files(context: Path, machinefile: Path | None = None) -> Iterator[Path]:
    """Yield where the ignore file of a context may be, what counts most first.

    In this order: `<Machinefile>.machineignore` next to the Machinefile, `.machineignore` in the context,
    `<Machinefile>.dockerignore`, `.dockerignore`.
    """
    for suffix in (".machineignore", ".dockerignore"):
        if machinefile:
            yield machinefile.with_name(machinefile.name + suffix)
        yield context / suffix


def load_ignore(context: Path, machinefile: Path | None = None) -> Matcher:
    """Return the matcher for a context directory: of the first ignore file there is (see `ignore_files`)."""
    for path in ignore_files(context, machinefile):
        try:
            text = read_input(path, _MOST_BYTES).decode(errors="surrogateescape")  # names may hold any bytes
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (BoundsError, OSError) as error:
            raise InputError(f"cannot read {path.name}: {error}", location=str(path)) from error
        return read_ignore(text, path.name)
    return Matcher()
