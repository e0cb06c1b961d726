"""BuildKit's shell lexer: quotes, escapes, and `$NAME` with all of its modifiers.

A port of frontend/dockerfile/shell/lex.go of BuildKit (Apache-2.0); its quirks are kept, since recipes must
mean what they mean to Docker.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from stoneware.dataclass import dataclass
from stoneware.machinefile.gopath import is_space
from stoneware.untrusted import apart
from stoneware.untrusted.bounded import BoundsError

_DEEPEST = 32  # substitutions within substitutions
_LONGEST = 1 << 20  # characters of all variables in one text
_PATIENCE = 5.0  # seconds for one pattern
# Parameters of a shell whose name is one character.
_SPECIAL = "@*#?-$!0"
_PATTERN_SPECIAL = "[]{}.+()|^$"


class LexError(ValueError):
    """A word that cannot be expanded; the message is for people."""


@dataclass(frozen=True)
class Lexer:
    """How words are read. The flags are BuildKit's, used where it reads here-document words."""

    escape: str = "\\"
    raw_quotes: bool = False
    raw_escapes: bool = False
    skip_quotes: bool = False
    skip_unset: bool = False

    def word(self, text: str, env: Mapping[str, str], unset: set[str] | None = None) -> str:
        """Return a word with quotes removed and variables replaced.

        Names that are not in `env`, and that no `-`, `+` or `?` says what to do about, go to `unset`.
        """
        return _Scan(self, text, env, unset).run()[0]

    def words(self, text: str, env: Mapping[str, str], unset: set[str] | None = None) -> list[str]:
        """Return the words a text is split into after its variables are replaced as in `word`."""
        return _Scan(self, text, env, unset).run()[1]


class _Words:
    """Collects words; blanks that come from plain text or from variables separate them."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.current: list[str] = []

    def soft(self, text: str) -> None:
        for char in text:
            if not is_space(char):
                self.current.append(char)
            elif self.current:
                self.finish()

    def hard(self, text: str) -> None:
        if text:
            self.current.append(text)

    def finish(self) -> list[str]:
        if self.current:
            self.done.append("".join(self.current))
            self.current = []
        return self.done


class _Scan:
    """One pass over one text."""

    def __init__(self, lexer: Lexer, text: str, env: Mapping[str, str], unset: set[str] | None) -> None:
        self.lexer = lexer
        self.text = text
        self.env = env
        self.unset = unset
        self.position = 0
        self.raw_escapes = lexer.raw_escapes
        self.depth = 0
        self.length = 0

    def run(self) -> tuple[str, list[str]]:
        return self.until("", self.raw_escapes)

    def peek(self) -> str:
        return self.text[self.position : self.position + 1]

    def next(self) -> str:
        char = self.peek()
        self.position += len(char)
        return char

    def until(self, stop: str, raw_escapes: bool) -> tuple[str, list[str]]:
        """Process up to the character `stop` (or the end, for an empty one)."""
        outer, self.raw_escapes = self.raw_escapes, raw_escapes
        self.depth += 1
        if self.depth > _DEEPEST:
            raise LexError(f"substitutions are nested deeper than {_DEEPEST} levels")
        try:
            return self._until(stop)
        finally:
            self.raw_escapes = outer
            self.depth -= 1

    def _until(self, stop: str) -> tuple[str, list[str]]:
        result: list[str] = []
        words = _Words()
        special: dict[str, Callable[[], str]] = {"$": self.dollar, "<": self.heredoc_mark}
        if not self.lexer.skip_quotes:
            special |= {"'": self.single_quote, '"': self.double_quote}
        while char := self.peek():
            if stop and char == stop:
                self.next()
                return "".join(result), words.finish()
            if char in special:
                text = special[char]()
                self.count(text)
                result.append(text)
                (words.soft if char == "$" else words.hard)(text)
                continue
            self.next()
            if char == self.lexer.escape:
                kept = char if self.raw_escapes else ""
                char = self.next()
                result.append(kept + char)
                words.hard(kept + char)
            else:
                result.append(char)
                words.soft(char)
        if stop:
            raise LexError(f"unexpected end of statement while looking for matching {stop}")
        return "".join(result), words.finish()

    def count(self, text: str) -> None:
        """Take note of what a variable became: one of ten others, ten times over, would fill the memory."""
        self.length += len(text)
        if self.length > _LONGEST:
            raise LexError(f"with its variables the text has more than {_LONGEST} characters")

    def single_quote(self) -> str:
        self.next()
        end = self.text.find("'", self.position)
        if end < 0:
            self.position = len(self.text)
            raise LexError("unexpected end of statement while looking for matching single-quote")
        inner, self.position = self.text[self.position : end], end + 1
        return f"'{inner}'" if self.lexer.raw_quotes else inner

    def double_quote(self) -> str:
        mark = '"' if self.lexer.raw_quotes else ""
        self.next()
        result = [mark]
        while True:
            char = self.peek()
            if not char:
                raise LexError("unexpected end of statement while looking for matching double-quote")
            if char == '"':
                self.next()
                return "".join([*result, mark])
            if char == "$":
                result.append(self.dollar())
                self.count(result[-1])
                continue
            self.next()
            if char == self.lexer.escape:
                if self.raw_escapes:
                    result.append(char)
                if not self.peek():  # the missing quote is told in the next round
                    continue
                # As in sh: before anything else the backslash stays.
                if self.peek() in {'"', "$", self.lexer.escape}:
                    char = self.next()
            result.append(char)

    def heredoc_mark(self) -> str:
        self.next()
        if self.peek() != "<":
            return "<"
        self.next()
        blanks = ""
        while self.peek() and self.peek() in "\t\r ":
            blanks += self.next()
        return "<<" + blanks  # with its blanks, so that `<< EOF` stays one word

    def name(self) -> str:
        name = ""
        while char := self.peek():
            if not name and char.isdecimal():
                while self.peek().isdecimal():
                    name += self.next()
                return name
            if not name and char in _SPECIAL:
                return self.next()
            if not (char.isalpha() or char.isdecimal() or char == "_"):
                break
            name += self.next()
        return name

    def get(self, name: str) -> str | None:
        value = self.env.get(name)
        if value is None and self.unset is not None:
            self.unset.add(name)
        return value

    def dollar(self) -> str:
        self.next()
        if self.peek() != "{":
            name = self.name()
            if not name:
                return "$"
            value = self.get(name)
            return f"${name}" if value is None and self.lexer.skip_unset else value or ""
        self.next()
        if not self.peek():
            raise LexError("syntax error: missing '}'")
        if self.peek() in "{}:":
            raise LexError("syntax error: bad substitution")
        return self.braces(self.name())

    def braces(self, name: str) -> str:  # noqa: PLR0911 - one line per modifier
        """Process `${name` from the character after the name."""
        operator = self.next()
        if operator == "}":
            value = self.get(name)
            return f"${{{name}}}" if value is None and self.lexer.skip_unset else value or ""
        if operator == "/":
            return self.replace(name)
        if not operator:
            raise LexError("syntax error: missing '}'")
        spelled = operator
        if operator == ":":
            operator = self.next()
            spelled += operator
        if operator not in {"+", "-", "?", "#", "%"} or (len(spelled) == 2 and operator in "#%"):
            raise LexError(f"unsupported modifier ({spelled}) in substitution")
        word = self.argument("}", raw_escapes=operator in "#%")
        value = self.get(name) if operator in "#%" else self.env.get(name)
        if value is None and self.lexer.skip_unset:
            return f"${{{name}{spelled}{word}}}"
        if operator in "#%":
            return _trim(operator, word, value or "")
        missing = value is None or (len(spelled) == 2 and value == "")
        if operator == "+":
            return "" if missing else word
        if not missing:
            return value or ""
        if operator == "?":
            state = "unset" if value is None else "empty"
            raise LexError(f"{name}: {word or f'is not allowed to be {state}'}")
        return word

    def argument(self, stop: str, *, raw_escapes: bool) -> str:
        try:
            return self.until(stop, raw_escapes)[0]
        except LexError:
            if not self.peek():
                where = " in ${}" if stop == "/" else ""
                raise LexError(f"syntax error: missing '{stop}'{where}") from None
            raise

    def replace(self, name: str) -> str:
        every = self.peek() == "/"
        if every:
            self.next()
        pattern = self.argument("/", raw_escapes=True)
        replacement = self.argument("}", raw_escapes=True)
        value = self.get(name)
        if value is None and self.lexer.skip_unset:
            return f"${{{name}/{pattern}/{replacement}}}"
        _pattern(pattern, greedy=True)
        return _patiently("replaced", pattern, replacement, value or "", every)


def _patiently(function: str, *arguments: str | bool) -> str:
    """Return what a function of this module says. Raises LexError where that takes too long."""
    try:
        return str(apart.call(f"{__name__}:{function}", *arguments, seconds=_PATIENCE))
    except BoundsError as error:
        raise LexError(f"matching the pattern of the substitution {error}") from None


def replaced(pattern: str, replacement: str, text: str, every: bool) -> str:
    """Return a text with what fits a shell pattern replaced: the first such place, or every one."""
    compiled = _pattern(pattern, greedy=True)
    if every:
        return _replace_all(compiled, replacement, text)
    found = compiled.search(text)
    return text if found is None else text[: found.start()] + replacement + text[found.end() :]


def _pattern(pattern: str, *, greedy: bool) -> re.Pattern[str]:
    """Return a shell pattern as a regular expression; only `*`, `?` and the backslash are special."""
    out: list[str] = []
    position = 0
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char == "*":
            out.append(".*" if greedy else ".*?")
        elif char == "?":
            out.append(".")
        elif char == "\\":
            following = pattern[position : position + 1]
            # Escaped against the end of the substitution: the pattern has no need of it.
            if following in {"}", "/"}:
                continue
            if following not in {"*", "?", "\\"}:
                raise LexError(f"invalid pattern ({pattern}) in substitution: invalid escape '\\{following}'")
            out.append("\\" + following)
            position += 1
        else:
            out.append("\\" + char if char in _PATTERN_SPECIAL else char)
    return re.compile("".join(out))


def _replace_all(pattern: re.Pattern[str], replacement: str, value: str) -> str:
    """Replace as Go's ReplaceAllString: `$0` in the replacement, no empty match right after a match."""
    out: list[str] = []
    position = 0
    previous_end = -1
    for found in pattern.finditer(value):
        if found.start() == found.end() == previous_end:
            continue
        out.append(value[position : found.start()])
        out.append(re.sub(r"\$(?:(\$)|\{(\w+)\}|(\w+))", lambda m, f=found: _template(m, f), replacement))  # type: ignore[misc]
        position = previous_end = found.end()
    return "".join(out) + value[position:]


def _template(mark: re.Match[str], found: re.Match[str]) -> str:
    if mark[1]:
        return "$"
    return found[0] if (mark[2] or mark[3]) == "0" else ""


def _trim(operator: str, word: str, value: str) -> str:
    """Remove a prefix (`#`) or suffix (`%`): the shortest match, or the longest where it is doubled."""
    greedy = word.startswith(operator)
    word = word[1:] if greedy else word
    _pattern(word if operator == "#" else _reverse_pattern(word), greedy=greedy)
    return _patiently("trimmed", operator, word, value, greedy)


def trimmed(operator: str, word: str, value: str, greedy: bool) -> str:
    """Return a value without the prefix or suffix that fits a shell pattern: the longest one if `greedy`."""
    if operator == "#":
        found = _pattern(word, greedy=greedy).match(value)
        return value if found is None else value[found.end() :]
    # the shortest suffix is found from the right, so both are reversed
    found = _pattern(_reverse_pattern(word), greedy=greedy).match(value[::-1])
    return value if found is None else value[::-1][found.end() :][::-1]


def _reverse_pattern(pattern: str) -> str:
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    return "".join(reversed(parts))
