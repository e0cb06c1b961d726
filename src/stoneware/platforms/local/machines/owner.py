"""Machines that are tied to the process which made them: it holds a lock while it lives."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

_held: list[int] = []  # descriptors, open as long as this process lives


def hold(path: Path) -> None:
    """Tie what a file belongs to to this process. What it starts does not get the descriptor."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    _held.append(descriptor)


def is_gone(path: Path) -> bool:
    """Say whether a file belongs to something that was tied to a process which is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared: were it held alone for this look, another command would take the owner for alive.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
