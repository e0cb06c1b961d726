"""Secret values: a type that masks itself, and the removal of secrets from texts that are shown."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from typing import Any, NoReturn

MASK = "********"


class Secret:
    """A text that shows as asterisks wherever it is printed, formatted, quoted or logged.

    It is deliberately no `str`: joining, quoting, adding or serialising it is a TypeError rather than a
    leak. `reveal()` is the one way to the text.
    """

    __slots__ = ("__text",)

    def __init__(self, text: str | Secret) -> None:
        self.__text = reveal(text)

    def reveal(self) -> str:
        """Return the secret text itself; for files and requests, never for messages."""
        return self.__text

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __bool__(self) -> bool:
        return bool(self.__text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.__text == self.__text

    def __hash__(self) -> int:
        return hash((Secret, self.__text))

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a Secret is not pickled or copied into documents")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self


def reveal(value: str | Secret) -> str:
    """Return the text of a value, secret or not."""
    return value.reveal() if isinstance(value, Secret) else value


def redact(text: str, secrets: Iterable[str | Secret]) -> str:
    """Return `text` with every secret replaced by asterisks, also where it was quoted or escaped.

    The spellings of Python, JSON, the shell and the encoding of runtime config are known. Secrets of
    one or two characters are left, since removing every "a" hides nothing and makes a text unreadable.
    """
    spellings: set[str] = set()
    for secret in secrets:
        plain = reveal(secret)
        if len(plain) > 2:
            spellings |= _spellings(plain)
    # The longest first: a shorter one inside it would leave the rest of it in the text.
    for spelling in sorted(spellings, key=len, reverse=True):
        text = text.replace(spelling, MASK)
    return text


def _spellings(plain: str) -> set[str]:
    escaped = plain.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    printed = plain.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    return {
        plain,
        escaped,
        printed,
        repr(plain)[1:-1],
        ascii(plain)[1:-1],
        json.dumps(plain)[1:-1],
        json.dumps(plain, ensure_ascii=False)[1:-1],
        shlex.quote(plain),
        shlex.quote(plain).removeprefix("'").removesuffix("'"),
    }
