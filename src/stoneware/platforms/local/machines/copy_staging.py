"""Directories in which files that come out of machines are unpacked, next to the place where they are wanted.

From there they can be renamed. A record in the store, locked by the process that unpacks, says where each
one is, so that the next command removes what a killed one has left.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from stoneware.files import locked
from stoneware.untrusted import removal

_PREFIX = ".stoneware-cp-"
_BEGINNING = 60.0  # seconds


@contextlib.contextmanager
def staging(home: Path, parent: Path) -> Iterator[int]:
    """Give an open directory, new in `parent`, that no other user can enter; at its end it is gone."""
    token = secrets.token_hex(8)
    record = home / "copies" / token
    # By descriptor from here on, so that it is the same directory at the end, whatever has its name by then.
    above = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with locked(record):
            record.write_bytes(os.fsencode(parent.resolve()))  # before there is anything to remove
            name = f"{_PREFIX}{token}"
            os.mkdir(name, 0o700, dir_fd=above)
            try:
                descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
                try:
                    yield descriptor
                finally:
                    os.close(descriptor)
            finally:
                removal.remove_at(above, name)
            # Last: killed before this, the record still leads the next command to what is left.
            record.unlink()
    finally:
        os.close(above)


def recover(home: Path) -> list[str]:
    """Remove what killed copies have left and say so, a sentence for each; cheap where there is nothing."""
    told = []
    with contextlib.suppress(FileNotFoundError), os.scandir(home / "copies") as records:
        for record in list(records):
            with contextlib.suppress(TimeoutError), locked(Path(record.path), timeout=0):
                told += _remove_left(Path(record.path))
    return told


def _remove_left(record: Path) -> list[str]:
    parent = record.read_bytes()
    if not parent and time.time() - record.stat().st_mtime < _BEGINNING:
        return []  # its maker is about to lock it
    left = Path(os.fsdecode(parent), f"{_PREFIX}{record.name}")
    there = False
    with contextlib.suppress(OSError):
        # A damaged record must not make us remove what another user has under such a name.
        there = left.is_absolute() and left.lstat().st_uid == os.geteuid()
    try:
        if there:
            removal.remove_tree(left)
    except OSError as error:
        return [f"cannot remove {left}, which an interrupted cp has left: {error}"]
    record.unlink(missing_ok=True)
    return [f"removed what an interrupted cp had left in {left.parent}"] if there else []
