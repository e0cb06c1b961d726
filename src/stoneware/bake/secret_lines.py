"""Which lines of a secret are its own: not those that any key, or any file of its kind, has as well."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence

from stoneware.dataclass import dataclass

SHORTEST = 8  # bytes of a line that is looked for: shorter ones are found everywhere
_BOUNDARY = re.compile(rb"[^-]{0,40}-----(BEGIN|END) ([A-Z0-9 ]+)-----\W*")
_HEADER = re.compile(rb"[A-Z][\w-]*: .*")  # of an armoured block
_PUBLIC = re.compile(rb".*(CERTIFICATE|PUBLIC KEY|PARAMETERS|CRL|REQUEST).*")
_OPENSSH = b"openssh-key-v1\0"
# Bytes at the beginning of a key in one line that all keys of its kind have. Of a longer key these are whole
# lines: an RSA key begins with 50 such letters, an encrypted one with more than a line.
_SAME_IN_ONE_LINE = 24
_FEW_LINES = 4
_OPENSSH_MORE = 2  # lines of the secret part that name its kind again
_KEY = re.compile(rb"""(- |export )?("[^"]*"|'[^']*'|[\w./:@-]+(?=\s*=)|[\w.-]+(?=:\s))\s*[:=]\s*["']?""")
_ANYBODYS = re.compile(
    rb"""
      \W*                                                    # {  },  --------
    | [#;].*                                                 # comments, the interpreter of a script
    | \[[^\]]*\]                                             # [default]
    | ----\ (BEGIN|END)\ [A-Z0-9 ]+\ ----
    | (-\ )?("[^"]*"|'[^']*'|[\w.-]+)(\s*:|\s+=)\s*[\[{(]?   # "auths": {   clusters:
    | (-\ )?["']?(type|project_id|client_email|client_id|client_x509_cert_url|auth_uri|token_uri
        |auth_provider_x509_cert_url|universe_domain|apiVersion|kind|current-context|name|cluster|user
        |namespace|registry)["']?\s*[:=].*
    | (machine|login)\ \S+
    | (PuTTY-User-Key-File-\d|Encryption|Comment|Public-Lines|Private-Lines|Key-Derivation|Argon2-\w+):\ .*
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Own:
    """What of a secret is its own: single lines, and texts that may be left behind in an encoding."""

    lines: tuple[bytes, ...]
    texts: tuple[bytes, ...]


def own_parts(value: bytes) -> Own:
    """Return the parts of a secret that say that it is this one.

    A value of one line is its own, whatever it says. Where no line of a longer one is, all of them count.
    """
    value = value.strip()
    if b"-----BEGIN " in value:
        value = value.replace(b"\\n", b"\n")  # a key in JSON, as Google's are
    lines = [line.strip() for line in value.split(b"\n")]
    runs = list(_runs(lines)) if len(lines) > 1 else []
    found = [line for run in runs for line in run.lines]
    if not any(len(line) >= SHORTEST for line in found):
        runs, found = [], lines
        texts = [value, *lines]
    else:
        texts = [text for run in runs for text in run.texts]
    return Own(_long(found), _long(texts))


def _long(texts: Sequence[bytes]) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(text for text in texts if len(text.strip()) >= SHORTEST))


def _runs(lines: Sequence[bytes]) -> Iterator[Own]:
    """Split the lines into armoured blocks and what is between them, and find what is own of each."""
    label, run = b"", list[bytes]()
    for line in [*lines, b"-----END ALL-----"]:
        boundary = _BOUNDARY.fullmatch(line)
        if boundary is None:
            run.append(line)
            continue
        if not label:
            yield from _plain(run)
        elif not _PUBLIC.fullmatch(label):
            yield _armoured([it for it in run if it and not _HEADER.fullmatch(it)])
        label, run = (boundary[2] if boundary[1] == b"BEGIN" else b""), []


def _plain(lines: Sequence[bytes]) -> Iterator[Own]:
    run: list[bytes] = []
    for line in [*lines, b""]:
        if not _ANYBODYS.fullmatch(line):
            run.append(line)
        elif run:
            yield Own(tuple(run), tuple(map(_value, run)))
            run = []


def _value(line: bytes) -> bytes:
    """Return what a line `KEY = VALUE` says: in an encoding its beginning is that of other files too."""
    key = _KEY.match(line)
    value = line[key.end() :].rstrip(b"\"',") if key else b""
    return value if len(value) >= SHORTEST else line


def _armoured(lines: Sequence[bytes]) -> Own:
    if len(lines) <= 1:
        return Own(tuple(lines), tuple(line[_SAME_IN_ONE_LINE:] for line in lines))
    public = _public_lines(lines)
    if public:  # the last line is its comment and padding
        return Own(tuple(lines[public:-1]), tuple(lines[public + _OPENSSH_MORE : -1]))
    same = 1 if len(lines) <= _FEW_LINES else 2
    return Own(tuple(lines), tuple(lines[same:]))


def _public_lines(lines: Sequence[bytes]) -> int:
    """Return how many lines of an OpenSSH key are before its secret part: kind, public key."""
    try:
        raw = base64.b64decode(b"".join(lines), validate=True)
    except binascii.Error:
        return 0
    if not raw.startswith(_OPENSSH):
        return 0
    at = len(_OPENSSH)
    for _ in range(3):  # cipher, how its key is derived, with what
        at += 4 + int.from_bytes(raw[at : at + 4], "big")
    at += 4  # the number of keys
    at += 4 + int.from_bytes(raw[at : at + 4], "big") + 4
    return min(at * 4 // 3 // len(lines[0]), len(lines) - 1)
