"""What a secret looks like where it was left behind: plain, and in the encodings that are common."""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Iterable, Iterator

from stoneware.bake.secret_lines import own_parts

_SHORTEST_ENCODED = 10
_WINDOW = 18  # bytes: encoded text is often wrapped into lines, so pieces are looked for
_MOST_WINDOWS = 64
_SHORTEST_CUT = 20  # bytes


def leak_patterns(values: Iterable[bytes]) -> list[bytes]:
    """Return the fixed texts, none with a newline, one of which is in a file that holds one of the values.

    Found are the value's own lines as they are, and those lines and its own text in Base64 (of both
    alphabets, at any alignment), Base32, hexadecimal, percent encoding and as a JSON string; not what was
    compressed or encrypted. What any key or file of its kind has too, as a key's first line, is not own.
    """
    found: dict[bytes, None] = {}
    for value in values:
        own = own_parts(value)
        found.update(dict.fromkeys(own.lines))
        for text in own.texts:
            found.update(dict.fromkeys(_encoded(text)))
    # The seal's grep reads one pattern a line.
    return [pattern for pattern in found if b"\n" not in pattern]


def _encoded(text: bytes) -> Iterator[bytes]:
    for piece in _windows(text):
        yield from _base64(piece)
        for pattern in (*_base32(piece), piece.hex().encode(), piece.hex().upper().encode()):
            if len(pattern) >= _SHORTEST_ENCODED:
                yield pattern
    quoted = urllib.parse.quote_from_bytes(text, safe="").encode()
    for pattern in (
        quoted,
        urllib.parse.quote_from_bytes(text).encode(),
        urllib.parse.quote_plus(text).encode(),
        "".join(f"%{byte:02x}" for byte in text).encode(),
        "".join(f"%{byte:02X}" for byte in text).encode(),
        json.dumps(text.decode(errors="replace"))[1:-1].encode(),
    ):
        if pattern != text:
            yield pattern


def _windows(text: bytes) -> Iterator[bytes]:
    if len(text) < 2 * _WINDOW:
        yield text
        if len(text) >= _SHORTEST_CUT:
            # A line of encoded text may end within it; then one half is in one of the two lines.
            yield from (text[: len(text) // 2], text[len(text) // 2 :])
        return
    for number, start in enumerate(range(0, len(text) - _WINDOW + 1, _WINDOW)):
        if number < _MOST_WINDOWS:
            yield text[start : start + _WINDOW]


def _base64(piece: bytes) -> Iterator[bytes]:
    for before in range(3):
        # The characters that these bytes alone decide, whatever stands before and behind them.
        first, end = -(-before * 8 // 6), (before + len(piece)) * 8 // 6
        text = base64.b64encode(b"\0" * before + piece)[first:end]
        if len(text) >= _SHORTEST_ENCODED:
            yield text
            yield text.replace(b"+", b"-").replace(b"/", b"_")


def _base32(piece: bytes) -> Iterator[bytes]:
    for before in range(5):
        first, end = -(-before * 8 // 5), (before + len(piece)) * 8 // 5
        yield base64.b32encode(b"\0" * before + piece)[first:end]
