"""Our values in the little that labels and names of Google Cloud can hold."""

from __future__ import annotations

import base64
import re

IMAGE = "stoneware-image"  # an image's id, 256 bits in 52 letters and digits
KEY = "stoneware-key"  # what it was baked from, written the same way
SIZE = "stoneware-bytes"
COMMIT = "stoneware-commit"
DIRTY = "stoneware-dirty"
NAME = "stoneware-name"
STAGE = "stoneware-stage"  # of an image that a stage is kept as: the stage's key, written as an image's id
BAKE = "stoneware-bake"  # of a builder: the bake's id
_LONGEST = 63
_DIGEST = re.compile(r"[0-9a-f]{64}")


def of_digest(digest: str) -> str:
    """Return a label of a SHA-256 in hexadecimal digits; those have 64, a label 63."""
    raw = bytes.fromhex(digest.removeprefix("sha256:"))
    return base64.b32encode(raw).decode().rstrip("=").lower()


def to_digest(label: str) -> str | None:
    """Return the hexadecimal digits that `of_digest` was given, or None for what it has not made."""
    try:
        digest = base64.b32decode(label.upper() + "=" * (-len(label) % 8)).hex()
    except ValueError:
        return None
    return digest if _DIGEST.fullmatch(digest) else None


def of_text(text: str) -> str:
    """Return a text as a label's value: what labels do not have becomes -."""
    return re.sub(r"[^a-z0-9_-]", "-", text.lower())[:_LONGEST]


def of_name(text: str, longest: int = _LONGEST) -> str:
    """Return a text as a name of Compute Engine: lowercase letters, digits and -, a letter first."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not name[:1].isalpha():
        name = f"i-{name}" if name else "image"
    return name[:longest].rstrip("-")  # no name ends with -, and the cut may leave one


def image_name(name: str, commit: str | None, key: str, number: int = 1) -> str:
    """Return an image's name on Compute Engine: `NAME-SHORTCOMMIT-KEY8`, and a number where taken."""
    tail = "".join(
        f"-{part}" for part in ((commit or "")[:7], key[:8], str(number) if number > 1 else "") if part
    )
    return f"{of_name(name, _LONGEST - len(tail))}{tail}"
