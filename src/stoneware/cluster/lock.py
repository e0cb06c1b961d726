"""Who changes a cluster: one command at a time, and the others learn which one."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import getpass
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stoneware.errors import StonewareError
from stoneware.untrusted.bounded import bounded_json, read_bounded

_POLL = 0.05


class ClusterBusy(StonewareError):
    """Another command changes the cluster. `holder` is what that command wrote into the lock."""

    def __init__(self, cluster: str, holder: dict[str, Any]) -> None:
        who = holder.get("command") or "another command"
        super().__init__(
            f"the cluster {cluster} is being changed by {who}",
            details=_sentence(holder),
            resolution="wait until it has ended; --lock-timeout SECONDS waits for it",
        )
        self.holder = holder


def _sentence(holder: dict[str, Any]) -> str:
    if not holder:
        return ""
    return (
        f"process {holder.get('pid')} of {holder.get('user')} on {holder.get('host')}, "
        f"since {holder.get('since')}"
    )


@contextlib.contextmanager
def cluster_lock(path: Path, command: str, *, timeout: float = 0.0) -> Iterator[None]:
    """Hold a cluster's lock for `command` (`stoneware up`); its directory is made if missing.

    Raises ClusterBusy with who holds it after `timeout` seconds. The lock ends with the process.
    """
    deadline = time.monotonic() + timeout
    while (descriptor := _try(path)) is None:
        if time.monotonic() >= deadline:
            raise ClusterBusy(path.parent.name, _holder(path))
        time.sleep(_POLL)
    try:
        _sign(descriptor, command)
        yield
    finally:
        _empty(path, descriptor)
        os.close(descriptor)


def _try(path: Path) -> int | None:
    """Return a descriptor that holds the lock, or None while somebody else has it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        # Not inherited by Terraform: its worker must not keep the lock when this process is killed.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:  # the directory was removed between the two
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if not _is_at(path, descriptor):  # a `down` removed it while we opened it
        os.close(descriptor)
        return None
    return descriptor


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    ours = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _sign(descriptor: int, command: str) -> None:
    now = datetime.datetime.now().astimezone().replace(microsecond=0)
    holder = {
        "command": command,
        "pid": os.getpid(),
        "user": current_user(),
        "host": platform.node(),
        "since": now.isoformat(sep=" "),
    }
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode() + b"\n", 0)


def current_user() -> str:
    """Return who runs this command; under sudo, the user who called it."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # the user has no entry in the password file
        return str(os.getuid())


def _holder(path: Path) -> dict[str, Any]:
    """Return what the holder wrote; nothing where it has just come or gone."""
    try:
        found = bounded_json(read_bounded(path, 1 << 16))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _empty(path: Path, descriptor: int) -> None:
    """Leave no name in the lock, and no directory that holds nothing else."""
    os.ftruncate(descriptor, 0)
    if not _is_at(path, descriptor):
        return
    if [entry.name for entry in path.parent.iterdir()] == [path.name]:
        # Only the holder of the lock removes it, so no other command has it open and locked.
        path.unlink()
        with contextlib.suppress(OSError):
            path.parent.rmdir()
