"""Several machines' output in one: each line with its machine's name in front, in a colour of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

_COLOURS = (b"\x1b[36m", b"\x1b[33m", b"\x1b[32m", b"\x1b[35m", b"\x1b[34m", b"\x1b[31m")
_PLAIN = b"\x1b[0m"


class Prefixed:
    """Writes whole lines only, so that the machines' lines do not mix."""

    def __init__(self, stream: BinaryIO, names: Mapping[str, str], *, colour: bool) -> None:
        """Take what to write to, and by machine the name that is shown."""
        self._stream = stream
        self._rest = dict.fromkeys(names, b"")
        width = max(map(len, names.values()), default=0)
        self._heads = {}
        for number, (machine, name) in enumerate(names.items()):
            head = f"{name.ljust(width)} | ".encode()
            self._heads[machine] = _COLOURS[number % len(_COLOURS)] + head + _PLAIN if colour else head

    def write(self, machine: str, data: bytes) -> None:
        """Write the lines that are whole by now."""
        *lines, self._rest[machine] = (self._rest[machine] + data).split(b"\n")
        for line in lines:
            # A console ends its lines as a terminal does, some programs do so once more.
            self._stream.write(self._heads[machine] + line.rstrip(b"\r") + b"\n")
        self._stream.flush()

    def finish(self) -> None:
        """Write what is left without a line end."""
        for machine, rest in self._rest.items():
            if rest:
                self._stream.write(self._heads[machine] + rest + b"\n")
                self._rest[machine] = b""
        self._stream.flush()
