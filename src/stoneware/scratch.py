"""Directories for the length of a `with`, which the next one of their kind removes where a kill left them.

Python's TemporaryDirectory cleans up after errors, but not after SIGKILL. Here a lock says whether a
directory's maker lives, so what nobody holds any more can go.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def scratch_directory(kind: str, parent: Path | None = None) -> Iterator[Path]:
    """Give a new directory that only this user can enter; it is gone afterwards.

    Those of the same kind that killed processes have left in `parent` (the system's own for temporary files
    by default) are removed first.
    """
    place = Path(tempfile.gettempdir()) if parent is None else parent
    remove_left(place, kind)
    path, lock = _held(place, kind)
    try:
        yield path
    finally:
        # Before its lock goes: no process may take it for one that was left.
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def remove_left(place: Path, kind: str, remove: Callable[[Path], None] | None = None) -> None:
    """Remove directories of a kind whose makers are gone, in the way of `remove` where that is given."""
    for path in sorted(place.glob(f"{kind}*")):
        lock = _opened(path)
        if lock is None:
            continue
        try:
            # Other users' directories may be called like ours, and those of other programs be without a lock.
            if os.fstat(lock).st_uid == os.geteuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                (remove or _remove)(path)
        except BlockingIOError:
            pass  # its maker is at work
        finally:
            os.close(lock)


def _held(place: Path, kind: str) -> tuple[Path, int]:
    """Return a new directory and the descriptor that has its lock."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=kind, dir=place))
        lock = _opened(path)
        if lock is None:
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Between its making and its lock another process may have taken it for one that was left.
        if os.fstat(lock).st_nlink:
            return path, lock
        os.close(lock)


def _opened(path: Path) -> int | None:
    """Return a descriptor of a directory, or None where there is none; no link is followed."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
