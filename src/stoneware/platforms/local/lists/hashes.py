"""Digests of what steps have made, taken once: each bake that begins behind those steps has them."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from dataclasses import replace
from pathlib import Path

from stoneware.platforms.local.lists import entries
from stoneware.platforms.local.lists.changes import OddError
from stoneware.platforms.local.lists.entries import UNHASHED, FileList
from stoneware.untrusted.rooted_paths import opened_below

MOST_BYTES = 1 << 30  # of all files: a guest decides how large they are. The builder itself hashes the rest


def hashed(found: FileList, root: Path) -> FileList:
    """Return the list of a read-only root with the digests that it lacks. Raises OddError and OSError."""
    files, letters, left = list(found.files), list(found.letters), MOST_BYTES
    top = os.open(root, entries.DIRECTORY)
    try:
        for number, known in enumerate(letters):
            if UNHASHED not in known:
                continue
            size = entries.size_of(files[number])
            if size > left:
                continue
            # A command that ends waits for its threads, and hashing takes the longest of what this one does.
            if not threading.main_thread().is_alive():
                raise OddError("the command ends")
            left -= size
            files[number] = _digest(top, found.paths[number], size) + files[number][1:]
            letters[number] = known.replace(UNHASHED, "")
    finally:
        os.close(top)
    return replace(found, files=files, letters=letters)


def _digest(top: int, path: bytes, size: int) -> bytes:
    *above, name = (os.fsdecode(part) for part in path.split(b"/") if part)
    # Part by part and through no link, as the list's other files are looked at.
    with opened_below(top, tuple(above)) as directory:
        descriptor = os.open(name, entries.FILE, dir_fd=directory)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size != size:
            raise OddError(f"{path!r} is not what was listed")
        return hashlib.file_digest(file, "sha256").hexdigest().encode()
