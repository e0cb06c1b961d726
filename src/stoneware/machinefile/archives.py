"""Tar archives: which files ADD unpacks, and the archive a builder gets its sources in."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import lzma
import os
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from stoneware.errors import HostError, InputError
from stoneware.machinefile.tree import Entry
from stoneware.process import which
from stoneware.untrusted.extraction import free_room
from stoneware.untrusted.tarstream import Stream

_BLOCK = 512
_PIECE = 1 << 20
_MOST_SAID = 1000  # bytes
_MOMENT = 0.2  # seconds that a program gets to end which has closed its output
_ZSTD = b"\x28\xb5\x2f\xfd"
_OPENERS: dict[bytes, Callable[..., IO[Any]]] = {
    b"\x1f\x8b\x08": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_TYPES = {
    "file": tarfile.REGTYPE,
    "directory": tarfile.DIRTYPE,
    "link": tarfile.SYMTYPE,
    "fifo": tarfile.FIFOTYPE,
    "character": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
}


def write_unpacked(path: str, stream: IO[bytes]) -> None:
    """Write an archive that ADD unpacks as a plain tar: a machine need not know its compression.

    Raises InputError for a file that ends too early or is more than there is room for once it is unpacked,
    HostError where zstd is needed and missing.
    """
    with unpacked(path) as content:
        _copy(content, stream, path)


@contextlib.contextmanager
def unpacked(path: str) -> Iterator[Stream]:
    """Open an archive as the plain tar that it holds, whatever it is compressed with, if at all.

    Raises InputError for a file that is damaged or ends too early, and HostError where zstd is needed and
    missing.
    """
    with Path(path).open("rb") as packed:
        head = packed.read(_BLOCK)
    if head.startswith(_ZSTD):
        with _unpacked_zstd(path) as content:
            yield content
        return
    opener = next((each for magic, each in _OPENERS.items() if head.startswith(magic)), open)
    with opener(path, "rb") as content:
        yield _Unpacked(content, path)


class _Unpacked:
    """What an archive unpacks to; what cannot be unpacked is no fault of who reads it."""

    def __init__(self, content: IO[bytes], path: str) -> None:
        self._content = content
        self._path = path

    def read(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes. Raises InputError."""
        try:
            return self._content.read(size)
        except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
            raise _torn(self._path, str(error)) from error


@contextlib.contextmanager
def _unpacked_zstd(path: str) -> Iterator[Stream]:
    with Path(path).open("rb") as packed:
        zstd = subprocess.Popen(_zstd(), stdin=packed, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with zstd:
        try:
            if zstd.stdout is not None:
                yield zstd.stdout
        except InputError:
            # Where it has ended by itself, its reason is the one: its reader found too little.
            with contextlib.suppress(subprocess.TimeoutExpired):
                if zstd.wait(timeout=_MOMENT) > 0:
                    raise _torn(path, _said(zstd)) from None
            zstd.kill()
            raise
        except BaseException:
            # A bomb would be unpacked to its end after nobody reads it any more.
            zstd.kill()
            raise
        said = _said(zstd)
    if zstd.returncode != 0:
        raise _torn(path, said or f"zstd ended with {zstd.returncode}")


def _said(zstd: subprocess.Popen[bytes]) -> str:
    """Return what zstd says of its end: a line or two, which its pipe holds until then."""
    return zstd.stderr.read(_MOST_SAID).decode(errors="replace").strip() if zstd.stderr else ""


def _copy(content: Stream, stream: IO[bytes], path: str) -> None:
    """Copy what an archive unpacks to, which may be a thousand times its size, as far as there is room."""
    left = free_room(stream.fileno())
    while piece := content.read(_PIECE):
        left -= len(piece)
        if left < 0:
            raise InputError(
                f"there is no room for what the archive {Path(path).name} holds",
                details=f"{path} is {Path(path).stat().st_size} bytes packed.",
                resolution="make room, or ADD another archive",
            )
        stream.write(piece)


def _zstd() -> list[str]:
    if which("zstd") is None:
        raise HostError("a .tar.zst needs the program zstd", resolution="apt-get install zstd")
    return ["zstd", "--decompress", "--stdout", "--quiet"]


def _torn(path: str, why: str) -> InputError:
    return InputError(
        f"the archive {Path(path).name} cannot be read",
        details=why,
        resolution="download or create the archive again",
    )


def is_archive(path: str) -> bool:
    """Return whether ADD unpacks a file: a tar archive, plain or compressed with gzip, bzip2, xz or zstd.

    Python 3.11 cannot read zstd: such a file counts as an archive where its name says so (.tar.zst, .tzst).
    """
    with Path(path).open("rb") as stream:
        head = stream.read(_BLOCK)
    if head.startswith(_ZSTD):
        # Without unpacking it nothing says whether it is a tar.
        return path.endswith((".tar.zst", ".tzst"))
    for magic, opener in _OPENERS.items():
        if head.startswith(magic):
            try:
                with opener(path, "rb") as unpacked:
                    head = unpacked.read(_BLOCK)
            except (OSError, EOFError, lzma.LZMAError, zlib.error):
                return False  # it only begins like one, so it is copied as it is
    return _is_header(head)


def _is_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def write_tar(entries: Iterable[Entry], stream: IO[bytes]) -> None:
    """Write entries as a tar archive; the same entries give the same bytes.

    Further names of one inode become hard links, sockets are left out. Raises InputError when a file is
    not what it was when it was listed, and OSError.
    """
    # Only this form has room for extended attributes; names may hold any bytes.
    form, errors = tarfile.PAX_FORMAT, "surrogateescape"
    with tarfile.open(fileobj=stream, mode="w", format=form, errors=errors) as archive:
        first_names: dict[tuple[int, int], str] = {}
        for entry in entries:
            if entry.kind == "socket":  # a tar has no form for one
                continue
            info = _header(entry)
            if entry.inode is not None:
                # As the files are linked in the source: a copy each would be larger, and not what was there.
                first = first_names.setdefault(entry.inode, entry.name)
                if first != entry.name:
                    info.type, info.linkname, info.size = tarfile.LNKTYPE, first, 0
                    archive.addfile(info)
                    continue
            _add(archive, info, entry)


def _header(entry: Entry) -> tarfile.TarInfo:
    info = tarfile.TarInfo(entry.name)
    info.type = _TYPES[entry.kind]
    info.mode = entry.mode
    info.size = entry.size
    info.linkname = entry.target
    info.uid, info.gid, info.mtime = entry.uid, entry.gid, entry.mtime
    for name, value in entry.attributes:  # as GNU tar and libarchive write them
        header = {f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape")}
        info.pax_headers = {**info.pax_headers, **header}
    if entry.device:
        info.devmajor, info.devminor = os.major(entry.device), os.minor(entry.device)
    return info


def _add(archive: tarfile.TarFile, info: tarfile.TarInfo, entry: Entry) -> None:
    if entry.kind != "file":
        archive.addfile(info)
    elif entry.data is not None:
        archive.addfile(info, io.BytesIO(entry.data))
    else:
        _add_content(archive, info, entry)


def _add_content(archive: tarfile.TarFile, info: tarfile.TarInfo, entry: Entry) -> None:
    # The step's key was made of what was read then; another content under it would be a wrong cache hit.
    digest = hashlib.sha256()
    with Path(entry.path).open("rb") as content:
        content.seek(entry.offset)
        reader = _Hashing(content, digest.update) if entry.digest else content
        try:
            archive.addfile(info, reader)
        except OSError as error:
            # A file that ends too early has shrunk; any other error is of the disk that is written to.
            if content.tell() < entry.offset + entry.size:
                raise _changed(entry) from error
            raise
    if entry.digest and digest.hexdigest() != entry.digest:
        raise _changed(entry)


def _changed(entry: Entry) -> InputError:
    return InputError(
        f"the file {entry.name} changed while it was being read",
        details=entry.path,
        resolution="Bake again when nothing writes there, or exclude the file in .machineignore.",
    )


class _Hashing:
    """A file whose reader is told of all that is read from it."""

    def __init__(self, stream: IO[bytes], told: Callable[[bytes], None]) -> None:
        self._stream = stream
        self._told = told

    def read(self, size: int = -1) -> bytes:
        """Read and tell."""
        block = self._stream.read(size)
        self._told(block)
        return block
