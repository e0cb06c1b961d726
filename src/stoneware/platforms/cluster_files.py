"""Clusters that are kept in files of this computer, one directory each, which is Terraform's as well."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.errors import HostError
from stoneware.files import read_json, write_json
from stoneware.platforms.cluster_records import ClusterBusy, Document, Line, is_gone, this_process
from stoneware.records import DamagedError
from stoneware.untrusted.bounded import BoundsError, bounded_json, read_bounded

LOCK_FILE = "lock"
JOURNAL_FILE = "rollouts.jsonl"
STATE_FILE = "terraform.tfstate"
_LARGEST_JOURNAL = 256 << 20  # bytes; a rollout of a hundred machines has a tenth of one MiB
_LARGEST_STATE = 512 << 20  # bytes
_POLL = 0.05


@dataclass(frozen=True)
class FileLog:
    """A journal in a file that is only appended to. A line torn by a kill counts as never written."""

    path: Path

    @property
    def place(self) -> str:
        """Where it is kept."""
        return str(self.path)

    def append(self, rollout: str, text: bytes) -> None:  # noqa: ARG002 - each line names its rollout
        """Write a line and wait until it is on the disk. Raises HostError, and then nothing is written."""
        try:
            self._write(text + b"\n")
        except OSError as error:
            raise HostError(
                f"the journal {self.path} cannot be written: {error.strerror}",
                details="Nothing has been done that is not in it.",
                resolution="make room on the disk, then: stoneware rollout resume",
            ) from error

    def _write(self, line: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            end = _whole_lines(descriptor)
            # A line that a kill has torn goes: the next one would be joined to it.
            os.ftruncate(descriptor, end)
            os.lseek(descriptor, end, os.SEEK_SET)
            try:
                with os.fdopen(os.dup(descriptor), "wb") as stream:
                    stream.write(line)
                # On the disk before anything is done that it says.
                os.fsync(descriptor)
            except OSError:
                # Part of a line, or one that may be lost, must not be acted on.
                os.ftruncate(descriptor, end)
                raise
        finally:
            os.close(descriptor)

    def lines(self) -> list[Line]:
        """Return all whole lines. Raises HostError where there are too many."""
        try:
            raw = read_bounded(self.path, _LARGEST_JOURNAL)
        except FileNotFoundError:
            return []
        except BoundsError as error:
            raise HostError(
                f"the journal {error}",
                details=str(self.path),
                resolution=f"mv {self.path} {self.path}.damaged    # the history ends, nothing else does",
            ) from None
        whole, _, _ = raw.rpartition(b"\n")
        return [
            Line(text, f"{self.path}:{number}", f"less +{number} {self.path}")
            for number, text in enumerate(whole.splitlines(), 1)
            if text
        ]


def _whole_lines(descriptor: int) -> int:
    """Return where the last whole line ends."""
    size = os.fstat(descriptor).st_size
    position = size
    # From the end: the last line is near it, however long the journal is.
    while position > 0:
        start = max(0, position - 4096)
        found = os.pread(descriptor, position - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0


@dataclass(frozen=True)
class FileRecords:
    """One cluster's directory: see `stoneware.platforms.cluster_records.ClusterRecords`."""

    work: Path
    look_every: float = 0.0

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.work.name

    @property
    def log(self) -> FileLog:
        """The journal's file."""
        return FileLog(self.work / JOURNAL_FILE)

    def place(self, document: Document) -> str:
        """Return a document's path."""
        return str(self.work / document)

    def remedy(self, document: Document) -> str:
        """Return the command that removes a document's file."""
        return shlex.join(["rm", self.place(document)])

    def read(self, document: Document) -> dict[str, Any] | None:
        """Return a document, or None where there is none. Raises DamagedError."""
        return read_json(self.work / document)

    def version(self, document: Document) -> str:
        """Return what is another whenever the file was replaced."""
        try:
            status = (self.work / document).stat()
        except FileNotFoundError:
            return ""
        # The time as well: the number of a file that is gone may come again with the next.
        return f"{status.st_ino}-{status.st_mtime_ns}"

    def write(self, document: Document, value: Mapping[str, Any]) -> None:
        """Replace a document's file, which is for its owner's eyes only."""
        write_json(self.work / document, dict(value), mode=0o600)

    def remove(self, document: Document) -> None:
        """Remove a document's file."""
        (self.work / document).unlink(missing_ok=True)

    def state(self) -> bytes:
        """Return what Terraform's state file holds."""
        path = self.work / STATE_FILE
        try:
            return read_bounded(path, _LARGEST_STATE)
        except FileNotFoundError:
            return b""
        except BoundsError as error:
            raise DamagedError(path, str(error)) from None

    def set_state_aside(self) -> str:
        """Rename Terraform's state file."""
        aside = self.work / f"{STATE_FILE}.damaged"
        (self.work / STATE_FILE).replace(aside)
        return str(aside)

    def backend(self) -> Mapping[str, Any]:
        """Return nothing: Terraform's state is a file next to its configuration."""
        return {}

    @contextlib.contextmanager
    def lock(self, command: str, timeout: float) -> Iterator[None]:
        """Hold the flock on the directory's lock file; the directory is made if missing."""
        path = self.work / LOCK_FILE
        deadline = time.monotonic() + timeout
        while (descriptor := _try(path)) is None:
            if time.monotonic() >= deadline:
                raise ClusterBusy(self.name, _holder(path))
            time.sleep(_POLL)
        try:
            _sign(descriptor, command)
            yield
        finally:
            # While it is still held: the next holder writes its own name.
            _empty(path, descriptor)
            os.close(descriptor)

    def lives(self, driver: Mapping[str, Any]) -> bool:
        """Say whether a process lives; on another computer that is unknown, and it counts as living."""
        # The store may be on a disk that two computers share one after the other.
        return not is_gone(driver)

    def clear(self) -> None:
        """Remove the directory; the lock goes last, so that who waits for it sees a directory or none."""
        for entry in self.work.iterdir():
            if entry.name == LOCK_FILE:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)
        (self.work / LOCK_FILE).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # somebody has begun a cluster of the same name
            self.work.rmdir()


@dataclass(frozen=True)
class FileClusters:
    """The directory of all clusters."""

    path: Path

    def names(self) -> list[str]:
        """Return the names of all clusters that were ever up and have not been taken down."""
        if not self.path.is_dir():
            return []
        return sorted(path.name for path in self.path.iterdir() if (path / Document.DECLARED).exists())

    def of(self, name: str) -> FileRecords:
        """Return the directory of one cluster, which may not exist."""
        return FileRecords(self.path / name)


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
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(this_process(command)).encode() + b"\n", 0)


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
