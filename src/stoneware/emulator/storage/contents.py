"""Contents of objects in files: written beside their place and linked there whole, under names of our own."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import google_crc32c

from stoneware.dataclass import dataclass
from stoneware.emulator import errors

_CHUNK = 1 << 20
LARGEST = 5 << 40  # bytes of an object, as Google's


@dataclass(frozen=True)
class Summary:
    """What a client checks of contents: bytes, and the checksums in base64."""

    size: int
    md5: str
    crc32c: str


class Contents:
    """The files below a directory: `objects`, of which a record names each, and `uploads`, not whole yet."""

    def __init__(self, root: Path) -> None:
        self._objects = root / "objects"
        self._uploads = root / "uploads"
        for place in (self._objects, self._uploads):
            place.mkdir(mode=0o700, exist_ok=True)

    def path(self, name: str) -> Path:
        """Return where the contents of a name are."""
        return self._objects / name

    def upload(self, name: str) -> Path:
        """Return where contents of a name are gathered."""
        return self._uploads / name

    @contextlib.contextmanager
    def gathered(self) -> Iterator[Path]:
        """Give a new file for contents, which is gone at the end."""
        path = self.upload(new_name())
        with kept():
            path.touch(mode=0o600)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def keep(self, source: Path) -> str:
        """Make a file, which nobody writes any more, the contents of a new name. Raises ApiError (503)."""
        name = new_name()
        with kept():
            try:
                # By a link it is whole at once, and no byte is copied.
                os.link(source, self.path(name))
            except OSError:  # too many links, or a file system that has none
                with contextlib.ExitStack() as failed:
                    failed.callback(self.forget, name)
                    shutil.copyfile(source, self.path(name))
                    failed.pop_all()
        return name

    def joined(self, names: Iterable[str], into: Path) -> None:
        """Write the contents of names after each other into a file. Raises ApiError (503)."""
        with kept(), into.open("wb") as out:
            for name in names:
                with self.path(name).open("rb") as part:
                    shutil.copyfileobj(part, out, _CHUNK)

    def forget(self, name: str) -> None:
        """Remove the contents of a name."""
        self.path(name).unlink(missing_ok=True)

    def sweep(self, objects: set[str], uploads: set[str]) -> None:
        """Remove what a kill has left: files of names that no record has."""
        for place, names in ((self._objects, objects), (self._uploads, uploads)):
            for path in place.iterdir():
                if path.name not in names:
                    path.unlink()


def new_name() -> str:
    """Return a name that no file has."""
    return secrets.token_hex(16)


def summary(path: Path) -> Summary:
    """Return the size and checksums of a file's bytes. Raises ApiError (503)."""
    md5, crc, size = hashlib.md5(usedforsecurity=False), 0, 0
    with kept(), path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            md5.update(chunk)
            crc = google_crc32c.extend(crc, chunk)
            size += len(chunk)
    return Summary(size, encoded(md5.digest()), encoded(crc.to_bytes(4, "big")))


def part(stream: IO[bytes], end: int, into: Path) -> None:
    """Write a file's bytes from the place where it is read up to `end` into another file."""
    left = end - stream.tell()
    with kept(), into.open("wb") as out:
        while left > 0 and (chunk := stream.read(min(left, _CHUNK))):
            out.write(chunk)
            left -= len(chunk)


def encoded(digest: bytes) -> str:
    """Return a digest as the API writes it."""
    return base64.b64encode(digest).decode()


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Give an error of the file system in the block as the API's: 503."""
    try:
        yield
    except OSError as error:
        raise errors.unavailable(f"the emulator cannot keep the contents: {error.strerror}") from error
