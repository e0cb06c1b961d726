"""Text made safe to look at: what a terminal would obey, or what is invisible, is spelt out.

Names, labels, messages and console lines come from files and machines of others. A terminal obeys what is in
them: it renames its window, clears itself, types. So everything that is shown passes through here.
"""

from __future__ import annotations

import json
import re
from typing import Any

from stoneware.untrusted.bounded import without_surrogates

# Letters by their kind, but blank or without width.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
_SPACES = frozenset("\u00a0\u1680\u202f\u205f\u3000") | {chr(code) for code in range(0x2000, 0x200B)}
LINES = "\n\t"  # what text of several lines keeps
# Colours and cursor movements, titles and links, other sequences of two characters.
_TERMINAL = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]"
)


def visible(text: str, keep: str = "") -> str:
    r"""Return text with everything a terminal does not show as itself spelt out: `\x1b`, `\u202e`.

    That is all of Unicode's control, format, surrogate and unassigned characters, line separators, and
    letters without width; not those in `keep`. A byte that was no UTF-8 is shown as that byte.
    """
    if is_visible(text, keep):
        return text
    return "".join(sign if sign in keep or _is_seen(sign) else _spelt(sign) for sign in text)


def is_visible(text: str, keep: str = "") -> bool:
    """Say whether a terminal shows everything in a text as itself; what is in `keep` counts as shown."""
    for sign in keep:
        text = text.replace(sign, "")
    return text.isprintable() and (text.isascii() or _INVISIBLE.isdisjoint(text))


def visible_lines(text: str) -> str:
    """Return text of several lines as `visible` does; line ends and tabs stay."""
    return visible(text, LINES)


def without_sequences(line: str) -> str:
    """Return a line of a program's output as it would stand there in the end, without colours."""
    return _TERMINAL.sub("", line).replace("\x07", "").rstrip("\r").rpartition("\r")[2]


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Return JSON that is safe to look at and always UTF-8: the same characters, spelt as JSON does."""
    text = json.dumps(without_surrogates(value), indent=indent, ensure_ascii=False)
    if is_visible(text, "\n"):  # only between values: within them it is spelt out already
        return text
    return "".join(sign if sign == "\n" or _is_seen(sign) else json.dumps(sign)[1:-1] for sign in text)


def _is_seen(sign: str) -> bool:
    return (sign.isprintable() and sign not in _INVISIBLE) or sign in _SPACES


def _spelt(sign: str) -> str:
    code = ord(sign)
    if sign in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[sign]
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte that is no UTF-8
        code -= 0xDC00
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
