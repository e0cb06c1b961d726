"""A Machinefile's text to its instructions, by BuildKit's parser (PyPI `dockerfile`).

The binding leaves out five things that are added here: the line of a syntax error, whether a here-document's
delimiter was quoted, the escape directive, a delimiter that stands apart from its `<<`, and what follows an
array of JSON in its line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.machinefile.arrays import mark_arrays, mark_first_array, without_mark
from stoneware.machinefile.directives import escape_directive
from stoneware.machinefile.lex import Lexer, LexError

_HEREDOC = re.compile(r"(\d*)<<(-?)\s*([^<]*)", re.DOTALL)
_HEREDOC_INSTRUCTIONS = {"ADD", "COPY", "RUN"}
MOST_TEXT = 1 << 20  # characters, as BuildKit has it for a line
_MOST_APART = 30  # here-documents with a blank behind <<: each takes another look at all of the file
_MOST_FAULTS = 30  # arrays of more than texts that a file may have: each takes another look at all of it
_DEEPEST = 200  # a shell script may leave some open; what is substituted here is held to less
_BRACES = re.compile(r"\$\{|\}")
_LINE_LIMIT = 20_000  # lines; a longer file is no Machinefile


@dataclass(frozen=True)
class HeredocWord:
    """A word that opens a here-document, such as `<<-"EOF"`."""

    name: str
    expand: bool
    chomp: bool


@dataclass(frozen=True)
class HeredocBody:
    """A here-document as it stands in the file; `chomp` asks for leading tabs to go."""

    name: str
    content: str
    expand: bool
    chomp: bool

    @property
    def text(self) -> str:
        """Return the content as its reader is to see it."""
        return re.sub(r"(?m)^\t+", "", self.content) if self.chomp else self.content


@dataclass(frozen=True)
class Instruction:
    """One instruction. `words` are its arguments as BuildKit's parser splits them; `line` counts from 1."""

    keyword: str  # in capitals
    line: int
    text: str  # on one line, here-documents left out
    flags: tuple[str, ...]
    words: tuple[str, ...]
    json: bool
    heredocs: tuple[HeredocBody, ...]


@dataclass(frozen=True)
class Source:
    """A parsed Machinefile: where it came from, its lines, and its instructions."""

    filename: str
    lines: tuple[str, ...]
    escape: str
    instructions: tuple[Instruction, ...]

    def fault(self, line: int, brief: str, resolution: str = "") -> InputError:
        """Return the error for one line, with the line itself in its details."""
        shown = self.lines[line - 1].strip() if 0 < line <= len(self.lines) else ""
        return InputError(
            brief,
            details=f"{line:4} | {shown}" if shown else "",
            resolution=resolution,
            location=f"{self.filename}:{line}",
        )


def parse_source(text: str, filename: str) -> Source:
    """Parse a Machinefile. Raises InputError with the line of a syntax error."""
    lines = tuple(text.removeprefix("\ufeff").split("\n"))
    bare = Source(filename, lines, "\\", ())
    if "\0" in text:
        raise bare.fault(text[: text.index("\0")].count("\n") + 1, "the file holds a NUL byte", "Remove it.")
    if len(lines) > _LINE_LIMIT:
        raise bare.fault(_LINE_LIMIT, f"the file has more than {_LINE_LIMIT} lines")
    if len(text) > MOST_TEXT:
        raise bare.fault(1, f"the file is larger than {MOST_TEXT} characters")
    _check_text(bare, text)
    commands = _join_heredoc_words(bare, _with_whole_lines(bare, text))
    for command in commands:
        if command.cmd is None:  # a line of nothing but the escape character
            raise bare.fault(command.start_line, "an instruction is missing here", "Remove the line.")
    instructions = tuple(_instruction(bare, command) for command in commands)
    return Source(filename, lines, escape_directive(lines), instructions)


def _check_text(bare: Source, text: str) -> None:
    """Refuse what the parser, a library in Go, ends the process for or takes minutes over."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        at = text[: error.start].count("\n") + 1
        raise bare.fault(at, "the file is not valid UTF-8", "Save it as UTF-8.") from None
    depth, escape = 0, escape_directive(bare.lines)
    for number, line in enumerate(bare.lines, 1):
        for mark in _BRACES.findall(line):
            depth = max(depth - 1, 0) if mark == "}" else depth + 1
            if depth > _DEEPEST:
                raise bare.fault(number, f"substitutions are nested deeper than {_DEEPEST} levels")
        if not line.rstrip().endswith(escape):  # no substitution goes beyond its instruction
            depth = 0


def heredoc_word(word: str) -> HeredocWord | None:
    """Return what a word such as `<<EOF` opens, or None where it is an ordinary word.

    Raises LexError for unbalanced quotes.
    """
    found = _HEREDOC.fullmatch(word)
    if found is None or not found[3]:
        return None
    # Nothing is expanded in a delimiter: a `$` in it is a plain character.
    plain = Lexer(skip_unset=True).words(found[3], {})
    if len(plain) != 1:
        return None
    raw = Lexer(skip_unset=True, raw_quotes=True).words(found[3], {})

    def quotes(text: str) -> int:
        return text.count("'") + text.count('"')

    # As in sh: one quote anywhere in the delimiter, and the body is taken as it is.
    expand = len(raw) == 1 and quotes(plain[0]) == quotes(raw[0])
    return HeredocWord(plain[0], expand, found[2] == "-")


def heredoc_words(line: str) -> list[tuple[str, HeredocWord]]:
    """Return the words of a line that open here-documents, as written and as understood."""
    lexer = Lexer(raw_quotes=True, raw_escapes=True, skip_unset=True)
    try:
        words = lexer.words(line, {})
    except LexError:
        return []  # as BuildKit: an unbalanced line opens nothing
    found = [(word, heredoc_word(word)) for word in words if "<<" in word]
    return [(word, opened) for word, opened in found if opened is not None]


def _with_whole_lines(source: Source, text: str) -> str:
    """Return the text with a mark at each array that is none; the parser then reads the whole line."""
    lines = text.split("\n")
    faults = 0
    while "[" in text:
        try:
            commands = _parse("\n".join(lines), source)
        except InputError as error:
            faults += 1
            if "JSON array" not in error.brief or faults > _MOST_FAULTS or not _mark_fault(source, lines):
                raise
            continue
        if not mark_arrays(lines, (command for command in commands if command.cmd is not None)):
            break
    return "\n".join(lines)


def _mark_fault(source: Source, lines: list[str]) -> bool:
    """Mark the array that the parser refuses, where something follows it."""
    first = _faulty_line("\n".join(lines)) - 1
    escape = escape_directive(source.lines)
    last = first
    while last < len(lines) - 1 and (
        lines[last].rstrip().endswith(escape) or (last > first and not _is_instruction(lines[last]))
    ):
        last += 1
    return mark_first_array(lines, first, last + 1, escape)


def _join_heredoc_words(source: Source, text: str) -> Sequence[Any]:
    """Parse, after writing `<< EOF` as `<<EOF`, which is all that the binding knows."""
    lines = text.split("\n")
    for count in range(len(lines) + 1):
        if count > _MOST_APART:
            raise source.fault(
                1, f"more than {_MOST_APART} here-documents with a blank behind <<", "Join them."
            )
        commands = _parse("\n".join(lines), source)
        changed = False
        for command in commands:
            apart = [w for w, _ in _openers(command) if re.search(r"<<-?\s", w)]
            for word in apart:
                changed |= _replace_in_lines(lines, command.start_line, word)
            if changed:
                break
        if not changed:
            break
    return commands


def _openers(command: Any) -> list[tuple[str, HeredocWord]]:
    if (
        command.cmd is None
        or command.json
        or command.cmd.upper() not in _HEREDOC_INSTRUCTIONS
        or "<<" not in command.original
    ):
        return []
    return heredoc_words(_head(command))


def _head(command: Any) -> str:
    """Return an instruction's own line: `original` has the here-documents appended to it."""
    text: str = command.original
    return text.split("\n", 1)[0] if command.heredocs else text


def _replace_in_lines(lines: list[str], first: int, word: str) -> bool:
    joined = re.sub(r"(<<-?)\s+", r"\1", word)
    for number in range(first - 1, len(lines)):
        if word in lines[number]:
            lines[number] = lines[number].replace(word, joined)
            return True
    return False


def _parse(text: str, source: Source) -> Sequence[Any]:
    import dockerfile  # a shared library of some megabytes: not for every command

    if not text.strip():
        raise source.fault(1, "the file is empty", "Start with FROM debian:12, or run `stoneware init`.")
    try:
        return tuple(dockerfile.parse_string(text))
    except dockerfile.GoParseError as error:
        message = str(error)
    raise _syntax_error(text, source, message)


def _syntax_error(text: str, source: Source, message: str) -> InputError:
    if message == "file with no instructions":
        return source.fault(1, message, "Start with FROM debian:12, or run `stoneware init`.")
    in_directive = "directive" in message or "escape token" in message
    line = _directive_line(text) if in_directive else _faulty_line(text)
    return source.fault(line, message, _syntax_hint(message, source.lines[line - 1]))


def _directive_line(text: str) -> int:
    """Return the line of the parser directive that is at fault: reading stops there."""
    import dockerfile

    lines = text.split("\n")
    for count in range(1, len(lines) + 1):
        try:
            # With an instruction, since a file without any is an error of its own.
            dockerfile.parse_string("\n".join(lines[:count]) + "\nFROM x\n")
        except ValueError:
            return count
    return 1


def _faulty_line(text: str) -> int:
    """Return the line where the instruction starts that the parser does not take.

    The parser names no line, so the instructions are handed to it one by one.
    """
    lines = text.split("\n")
    escape = escape_directive(lines)
    start, end = 0, 0
    while end < len(lines):
        end += 1
        message = _complaint(lines[start:end], escape)
        if "unterminated heredoc" in message:
            end = _heredoc_end(lines, start, end)
            message = _complaint(lines[start:end], escape)
        if message:
            break
        if not _is_instruction(lines[end - 1]) and start < end - 1:
            continue  # an empty line or a comment between the lines of one instruction
        if not lines[end - 1].rstrip().endswith(escape):
            start = end
    return next((n for n in range(start, len(lines)) if _is_instruction(lines[n])), 0) + 1


def _complaint(lines: list[str], escape: str) -> str:
    """Return what the parser says against some lines that hold at most one instruction."""
    import dockerfile

    try:
        # The FROM is there since nothing but blank lines would be a fault by itself.
        dockerfile.parse_string("\n".join([f"# escape={escape}", "FROM x", *lines]) + "\n")
    except dockerfile.GoParseError as error:
        return str(error)
    return ""


def _heredoc_end(lines: list[str], start: int, end: int) -> int:
    """Return the line after the last here-document opened in lines[start:end], else `end`."""
    position = end
    for _, word in heredoc_words("".join(lines[start:end])):
        body = (line.rstrip("\r").lstrip("\t" if word.chomp else "") for line in lines[position:])
        found = next((n for n, line in enumerate(body) if line == word.name), None)
        if found is None:
            return end
        position += found + 1
    return position


def _is_instruction(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _syntax_hint(message: str, line: str) -> str:
    if "heredoc" in message:
        if re.search(r"\$\(\([^)]*<<", line):
            return "`<<` opens a here-document even in arithmetic: put the command in a script, or multiply."
        return "Put the delimiter on a line of its own, with nothing before or after it."
    if "JSON" in message:
        return 'Write every element as a string, for example CMD ["sleep", "10"].'
    if "two arguments" in message or "can't find =" in message:
        return "Write NAME=VALUE, with quotes around a value that has blanks in it."
    if "escape token" in message:
        return "Write `# escape=\\` or `# escape=``."
    return ""


def _trigger(source: Source, command: Any) -> str:
    """Return the instruction that an ONBUILD holds, with its here-documents, which the binding drops."""
    text = without_mark([_head(command)])[0]
    if "<<" in text:
        text = "\n".join(source.lines[command.start_line - 1 : command.end_line])
    return re.sub(r"^\s*ONBUILD\s*", "", text, flags=re.IGNORECASE)


def _instruction(source: Source, command: Any) -> Instruction:
    keyword = command.cmd.upper()
    openers = _openers(command)
    if len(openers) != len(command.heredocs):
        raise source.fault(
            command.start_line,
            "unterminated heredoc",
            _syntax_hint("heredoc", source.lines[command.start_line - 1]),
        )
    bodies = tuple(
        HeredocBody(doc.name, doc.content, word.expand, word.chomp)
        for doc, (_, word) in zip(command.heredocs, openers, strict=True)
    )
    words = without_mark(command.value)
    if keyword == "ONBUILD":
        words = (_trigger(source, command),)
    text = re.sub(r"\s+", " ", without_mark([_head(command)])[0]).strip()
    return Instruction(keyword, command.start_line, text, tuple(command.flags), words, command.json, bodies)
