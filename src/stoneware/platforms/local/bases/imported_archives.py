"""What a foreign archive turns out to be: a tar, or what is often given in the place of one."""

from __future__ import annotations

import shlex
import tarfile
from pathlib import Path, PurePosixPath

from stoneware.errors import InputError
from stoneware.platforms.local.disks.foreign import SUFFIXES, packed_disk
from stoneware.untrusted.tarstream import Stream
from stoneware.untrusted.visible import visible

_BLOCK = 512
_HEAD = 33 << 10  # bytes: what tells an ISO image is behind its first 32 KiB
_EXTENDING = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_APPLIANCE = ".ovf"
_KNOWN = (
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"hsqs", "a squashfs"),
    (0, b"!<arch>\n", "a package or a library"),
    (0, b"07070", "a cpio archive"),
    (0x8001, b"CD001", "an ISO image, as installers are"),
)
_FORMS = "A tar of a root file system is read, plain or compressed, and a disk: raw, qcow2, VMDK."
_TAR = "tar -C ROOT --xattrs --numeric-owner -cf rootfs.tar .    # then: stoneware import rootfs.tar -t NAME"


def begun(content: Stream, file: Path) -> Stream:
    """Return what an archive unpacks to after a look at it. Raises InputError unless it is a tar."""
    head = b""
    while len(head) < _HEAD and (piece := content.read(_HEAD - len(head))):
        head += piece
    if not head.strip(b"\0"):
        raise InputError(f"there is nothing in {file.name}", details=_FORMS, resolution=_TAR)
    try:
        name = PurePosixPath(_first_name(head)).name
    except tarfile.HeaderError:
        raise _no_tar(file, head) from None
    if name.lower().endswith((*SUFFIXES, _APPLIANCE)):
        disk = "DISK.vmdk" if name.lower().endswith(_APPLIANCE) else shlex.quote(visible(name))
        raise InputError(
            f"{file.name} holds a disk ({visible(name)}) and no root file system",
            resolution=f"tar -xf {shlex.quote(file.name)}; stoneware import {disk} -t NAME",
        )
    return _Begun(head, content)


def _first_name(head: bytes) -> str:
    """Return the name of the first entry, behind headers that extend its own. Raises tarfile.HeaderError."""
    at, found = 0, tarfile.TarInfo.frombuf(head[:_BLOCK], "utf-8", "surrogateescape")
    while found.type in _EXTENDING and 0 <= found.size <= len(head):
        at += _BLOCK + -(-found.size // _BLOCK) * _BLOCK
        if at + _BLOCK > len(head):
            break
        found = tarfile.TarInfo.frombuf(head[at : at + _BLOCK], "utf-8", "surrogateescape")
    return found.name


def _no_tar(file: Path, head: bytes) -> InputError:
    if disk := packed_disk(head):
        plain = file.stem if file.suffix in (".gz", ".bz2", ".xz", ".zst") else "disk.raw"
        return InputError(
            f"{file.name} is {disk} that is compressed",
            resolution=f"{_unpacker(file)} <{shlex.quote(file.name)} >{shlex.quote(plain)}; "
            f"stoneware import {shlex.quote(plain)} -t NAME",
        )
    known = next((what for at, magic, what in _KNOWN if head[at : at + len(magic)] == magic), "")
    return InputError(
        f"{file.name} is {known}" if known else f"{file.name} is neither a tar archive nor a disk",
        details=_FORMS,
        resolution=_TAR,
    )


def _unpacker(file: Path) -> str:
    with file.open("rb") as packed:
        magic = packed.read(4)
    known = {b"\x1f\x8b": "gzip -dc", b"BZ": "bzip2 -dc", b"\xfd7": "xz -dc", b"\x28\xb5": "zstd -dc"}
    return known.get(magic[:2], "cat")


class _Begun:
    """A stream whose first bytes were read already."""

    def __init__(self, head: bytes, content: Stream) -> None:
        self._head, self._content = head, content

    def read(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes: less than asked at the end only."""
        if not self._head:
            return self._content.read(size)
        if size < 0:
            taken, self._head = self._head, b""
            return taken + self._content.read()
        taken, self._head = self._head[:size], self._head[size:]
        return taken + self._content.read(size - len(taken)) if len(taken) < size else taken
