"""The canonical text of runtime config: what the metadata server delivers and what is hashed."""

from __future__ import annotations

import re
from collections.abc import Mapping

from stoneware.config.secrets import Secret, reveal
from stoneware.errors import InputError
from stoneware.files import sha256_hex

# `?`, so that a backslash at the end is found, and refused.
_ESCAPED = re.compile(r"\\(.?)", re.DOTALL)
_UNSAFE_KEY = re.compile(r"[\s=\x00]")
_MEANING = {"\\": "\\", "n": "\n", "r": "\r", "t": "\t"}


def encode(values: Mapping[str, str | Secret]) -> str:
    r"""Return values as sorted `KEY=VALUE` lines; in VALUE backslash is `\\`, newline `\n`, return `\r`.

    Equal values give equal text. Raises InputError for a name or value that no environment can hold.
    """
    lines = []
    for key in sorted(values, key=to_bytes):
        check_name(key)
        value = reveal(values[key])
        if "\0" in value:
            raise InputError(f"the value of {key} holds a NUL byte", resolution="pass it base64-encoded")
        lines.append(f"{key}={escape(value)}\n")
    return "".join(lines)


def decode(text: str) -> dict[str, str]:
    """Return the values of a canonical text. Raises InputError with the line that is not canonical."""
    values: dict[str, str] = {}
    # Not splitlines(), which cuts at other characters as well, such as U+2028.
    for number, line in enumerate(text.split("\n"), 1):
        if not line:
            continue
        key, equals, value = line.partition("=")
        if not (equals and key):
            raise InputError("the runtime config is damaged", details=f"line {number} is not KEY=VALUE")
        try:
            values[key] = unescape(value)
        except ValueError as error:
            raise InputError("the runtime config is damaged", details=f"line {number}: {error}") from None
    return values


def digest(text: str) -> str:
    """Return the config digest of a canonical text: `sha256:` and 64 hexadecimal digits."""
    return f"sha256:{sha256_hex(to_bytes(text))}"


def escape(value: str) -> str:
    """Return a value in the encoding of runtime config: one line."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def unescape(value: str) -> str:
    r"""Return the value that `escape` (or the awk program, with `\t` too) wrote, or raise ValueError."""

    def meaning(match: re.Match[str]) -> str:
        if match[1] not in _MEANING:
            raise ValueError(f"unknown escape {match[0]!r}")
        return _MEANING[match[1]]

    return _ESCAPED.sub(meaning, value)


def check_name(key: str) -> None:
    """Raise InputError unless `key` can name a variable: not empty, no blanks, no equals sign."""
    if not key or _UNSAFE_KEY.search(key):
        raise InputError(
            f"{key!r} is not a name of a variable",
            details="a name is not empty and holds no blanks and no equals sign",
            resolution="-e NAME=value",
        )


def to_bytes(text: str) -> bytes:
    """Return the bytes of a text: UTF-8, and undecodable bytes as they came in."""
    return text.encode("utf-8", "surrogateescape")


def to_text(raw: bytes) -> str:
    """Return the text of some bytes; `to_bytes` gives exactly the same bytes back."""
    return raw.decode("utf-8", "surrogateescape")
