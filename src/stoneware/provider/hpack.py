"""Header fields as HTTP/2 has them on the wire (HPACK, RFC 7541): reading, and the little that we write."""

from __future__ import annotations

from functools import cache

Header = tuple[bytes, bytes]

# The lengths of the codes of the bytes 0 to 255 and of the end, as digits of base 36 (appendix B). The code
# is a canonical one: codes of one length follow each other in the order of their bytes, longer ones behind.
_LENGTHS = (
    "dnsssssssoussussssssssusssssssss6aacd68baa8b8666555666666678f6cad677777777777777777777"
    "77878djde6f56565666577666567655677777fbedskmkkmmmnmnnnnnonoomnonnnnlmnmnnomlkmmnnlnmmo"
    "lmnnllmlnmnnkmmmnmmnqqkjmnmpqqqrrqopjlqrrqrollqqsrrrkoklmllnmmppooqnqrqqrrrrrsrrrrrqu"
)
_END = 256
# Appendix A: the fields that every connection knows, from number 1 on.
_TEXT = (
    ":authority|:method=GET|:method=POST|:path=/|:path=/index.html|:scheme=http|:scheme=https|"
    ":status=200|:status=204|:status=206|:status=304|:status=400|:status=404|:status=500|accept-charset|"
    "accept-encoding=gzip, deflate|accept-language|accept-ranges|accept|access-control-allow-origin|age|"
    "allow|authorization|cache-control|content-disposition|content-encoding|content-language|"
    "content-length|content-location|content-range|content-type|cookie|date|etag|expect|expires|from|"
    "host|if-match|if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|link|"
    "location|max-forwards|proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after|"
    "server|set-cookie|strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate"
)
_KNOWN: tuple[Header, ...] = tuple(
    (name, value) for name, _, value in (word.partition(b"=") for word in _TEXT.encode().split(b"|"))
)
_TABLE_SIZE = 4096  # bytes, as we leave it; a field counts 32 more than it has
_EXTRA = 32


class HeaderReader:
    """What one side of a connection has said of its fields so far."""

    def __init__(self) -> None:
        self._recent: list[Header] = []  # the newest one first
        self._size = 0
        self._limit = _TABLE_SIZE

    def read(self, block: bytes) -> list[Header]:
        """Return the fields of a block. Raises ValueError for what is none: the connection is lost then."""
        try:
            return self._read(block)
        except IndexError as error:
            raise ValueError("a block of header fields ends early") from error

    def _read(self, block: bytes) -> list[Header]:
        fields, place = [], 0
        while place < len(block):
            first = block[place]
            if first & 0x80:  # one that is known
                number, place = _integer(block, place, 7)
                fields.append(self._field(number))
            elif first & 0x40:  # one to be remembered
                field, place = self._literal(block, place, 6)
                fields.append(field)
                self._remember(field)
            elif first & 0x20:
                self._limit, place = _integer(block, place, 5)
                if self._limit > _TABLE_SIZE:
                    raise ValueError("a larger table than was agreed on")
                self._forget()
            else:
                field, place = self._literal(block, place, 4)
                fields.append(field)
        return fields

    def _field(self, number: int) -> Header:
        if number <= 0:
            raise ValueError("a field without a number")
        known = len(_KNOWN)
        return _KNOWN[number - 1] if number <= known else self._recent[number - known - 1]

    def _literal(self, block: bytes, place: int, bits: int) -> tuple[Header, int]:
        number, place = _integer(block, place, bits)
        if number:
            name = self._field(number)[0]
        else:
            name, place = _text(block, place)
        value, place = _text(block, place)
        return (name, value), place

    def _remember(self, field: Header) -> None:
        self._recent.insert(0, field)
        self._size += _weight(field)
        self._forget()

    def _forget(self) -> None:
        while self._size > self._limit:
            self._size -= _weight(self._recent.pop())


def written(fields: list[Header]) -> bytes:
    """Return a block that says some fields in full, and has nothing remembered."""
    parts = [b"\0" + _short(name) + _short(value) for name, value in fields]
    return b"".join(parts)


def _short(text: bytes) -> bytes:
    """Return a text without a code, with its length in front."""
    length = len(text)
    if length < 0x7F:
        return bytes([length]) + text
    groups, length = bytearray([0x7F]), length - 0x7F
    while length > 0x7F:
        groups.append(length & 0x7F | 0x80)
        length >>= 7
    groups.append(length)
    return bytes(groups) + text


def _weight(field: Header) -> int:
    return len(field[0]) + len(field[1]) + _EXTRA


def _integer(block: bytes, place: int, bits: int) -> tuple[int, int]:
    """Return a number that begins in the lowest bits of a byte, and where it ends."""
    most = (1 << bits) - 1
    number = block[place] & most
    place += 1
    if number < most:
        return number, place
    for shift in range(0, 28, 7):
        group = block[place]
        place += 1
        number += (group & 0x7F) << shift
        if group < 0x80:
            return number, place
    raise ValueError("a number that is too large")


def _text(block: bytes, place: int) -> tuple[bytes, int]:
    coded = block[place] & 0x80
    length, place = _integer(block, place, 7)
    raw = block[place : place + length]
    if len(raw) < length:
        raise ValueError("a text is longer than its block")
    return _decoded(raw) if coded else raw, place + length


@cache
def _codes() -> dict[tuple[int, int], int]:
    """Return the byte of each code, by the code's length and value."""
    lengths = [int(digit, 36) for digit in _LENGTHS]
    codes, code, before = {}, 0, 0
    for length, byte in sorted((length, byte) for byte, length in enumerate(lengths)):
        code <<= length - before
        codes[length, code] = byte
        code, before = code + 1, length
    return codes


def _decoded(raw: bytes) -> bytes:
    """Return what a text of Huffman's code says."""
    codes, found, code, length = _codes(), bytearray(), 0, 0
    for byte in raw:
        for bit in range(7, -1, -1):
            code = code << 1 | byte >> bit & 1
            length += 1
            known = codes.get((length, code))
            if known is not None:
                if known == _END:
                    raise ValueError("the end stands within a text")
                found.append(known)
                code = length = 0
    # What is left of the last byte are the first bits of the end, all of them set.
    if length > 7 or code != (1 << length) - 1:
        raise ValueError("a text ends within a code")
    return bytes(found)
