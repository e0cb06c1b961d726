"""`.env` files and the files of `env_file`, by Compose's rules: quotes, escapes, comments, interpolation.

`docker run --env-file` has other rules (no quotes); those are in `stoneware.config.envfile`. Not
python-dotenv: it passes over lines that it cannot parse, and knows no `${NAME:?…}` and `${NAME:+…}`.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Callable, Mapping
from pathlib import Path

from stoneware.compose.interpolation import InterpolationError, interpolate
from stoneware.errors import InputError
from stoneware.files import look_at
from stoneware.untrusted.bounded import BoundsError, read_input

# Compose takes `KEY: value` as well.
_KEY = re.compile(r"(?:export[ \t]+)?(?P<name>[^\s=:#'\"]+)[^\S\n]*(?P<sign>[=:]|(?=\n|\Z|#))[^\S\n]*")
MOST_BYTES = 16 << 20
_NAME = re.compile(r"[\w.\-\[\]]+")
_QUOTED = {quote: re.compile(rf"{quote}((?:[^\\{quote}]|\\.)*){quote}", re.DOTALL) for quote in "'\""}
_ESCAPE = re.compile(r"\\([abcfnrtv$\"\\]|0\d{0,3})")
_CONTROLS = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    '"': '"',
    "\\": "\\",
}
_RESOLUTION = "write KEY=value, KEY='text as it is', KEY=\"text with ${OTHER}\", or # comment"


def read_env_file(
    path: Path, values: Mapping[str, str], unset: Callable[[str], None], shown: str = ""
) -> dict[str, str]:
    """Return the variables of a file; expressions see `values` first, then what stands above in the file.

    A name alone takes its value from `values`, and is skipped where that has none. `unset` is called with
    each variable that is taken as blank. Raises InputError with file and line.
    """
    shown = shown or str(path)
    try:
        # Editors of Windows write a mark of three bytes first.
        text = read_input(path, MOST_BYTES).removeprefix(b"\xef\xbb\xbf").decode()
    except BoundsError as error:
        raise InputError(f"the env file {shown} {error}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"cannot read the env file {shown}", details=reason, resolution=look_at(path)
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"the env file {shown} is not UTF-8", details=str(error)) from error
    return parse_env(text.replace("\r\n", "\n"), values, unset, shown)  # else each value would end in CR


def parse_env(
    text: str, values: Mapping[str, str], unset: Callable[[str], None], shown: str
) -> dict[str, str]:
    """Return the variables of a text; see `read_env_file`."""
    reader = _Reader(text, values, unset)
    at = 0
    while (at := reader.statement_after(at)) < len(text):
        line = text.count("\n", 0, at) + 1
        try:
            at = reader.read(at)
        except ValueError as error:
            raise InputError(str(error), resolution=_RESOLUTION, location=f"{shown}:{line}") from error
    return reader.found


class _Reader:
    """Reads one text, statement after statement; `found` are its variables."""

    def __init__(self, text: str, values: Mapping[str, str], unset: Callable[[str], None]) -> None:
        self.found: dict[str, str] = {}
        self._text = text
        self._scope = ChainMap(dict(values), self.found)  # the environment wins over the file
        self._unset = unset

    def statement_after(self, at: int) -> int:
        """Return where the next statement begins: blanks and comments are skipped."""
        while at < len(self._text):
            if self._text[at] == "#":
                at = self._line_end(at)
            elif self._text[at].isspace():
                at += 1
            else:
                break
        return at

    def read(self, at: int) -> int:
        """Read the statement at a position and return where it ends. Raises ValueError."""
        text = self._text
        key = _KEY.match(text, at)
        if key is None or not _NAME.fullmatch(key["name"]):
            raise ValueError(f"not a variable: {text[at : self._line_end(at)]!r}")
        name = key["name"]
        if not key["sign"]:
            # `NAME` alone takes the value of the environment; without one it does not exist.
            if name in self._scope:
                self.found[name] = self._scope[name]
            return self._line_end(key.end())
        if text[key.end() : key.end() + 1] in _QUOTED:
            return self._quoted(key.end(), name)
        end = self._line_end(key.end())
        raw = text[key.end() : end]
        # `KEY= # text` is blank, and `KEY=#text` is a value, as in Compose.
        comment = raw.startswith("#") and text[key.end() - 1].isspace()
        self.found[name] = self._expand("" if comment else raw.partition(" #")[0].rstrip())
        return end

    def _line_end(self, at: int) -> int:
        end = self._text.find("\n", at)
        return len(self._text) if end < 0 else end

    def _quoted(self, at: int, name: str) -> int:
        quote = self._text[at]
        match = _QUOTED[quote].match(self._text, at)
        if match is None:
            raise ValueError(f"the quote of {name} is not closed")
        end = self._line_end(match.end())
        rest = self._text[match.end() : end].strip()
        if rest and not rest.startswith("#"):
            raise ValueError(f"text after the closing quote of {name}: {rest!r}")
        if quote == '"':
            self.found[name] = self._expand(_ESCAPE.sub(_unescape, match[1]))
        else:
            self.found[name] = match[1].replace("\\'", "'")
        return end

    def _expand(self, value: str) -> str:
        try:
            return interpolate(value, self._scope, self._unset)
        except InterpolationError as error:
            raise ValueError(str(error)) from error


def _unescape(escape: re.Match[str]) -> str:
    code = escape[1]
    if code == "$":
        return "$$"  # interpolation, which comes next, makes one of it
    if code.startswith("0"):
        return chr(int(code[1:] or "0", 8)) if set(code[1:]) <= set("01234567") else escape[0]
    return _CONTROLS.get(code, escape[0])
