"""The journal of a cluster's rollouts: JSON lines, only appended to, on the disk before they are acted on.

Every line has `v` (the schema's version), `time` (seconds since the epoch), `rollout` (an id), `event`, and
the event's own fields. A line torn by a kill or a full disk counts as never written: nothing was done for it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from stoneware.cluster.directory import ClusterDirectory
from stoneware.dataclass import dataclass
from stoneware.errors import HostError
from stoneware.untrusted.bounded import BoundsError, bounded_json, read_bounded

VERSION = 1
_LARGEST = 256 << 20  # bytes; a rollout of a hundred machines has a tenth of one MiB
JOURNAL_FILE = "rollouts.jsonl"


@dataclass(frozen=True)
class Event:
    """One line of the journal."""

    time: float
    rollout: str
    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)


class Journal:
    """The file; its caller holds the cluster's lock while it appends."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, event: Event) -> None:
        """Write an event and wait until it is on the disk. Raises HostError, and then nothing is written."""
        document = {"v": VERSION, "time": round(event.time, 3), "rollout": event.rollout, "event": event.name}
        line = json.dumps({**document, **event.fields}, ensure_ascii=False, sort_keys=False) + "\n"
        try:
            self._write(line.encode())
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
            os.ftruncate(descriptor, end)
            os.lseek(descriptor, end, os.SEEK_SET)
            try:
                with os.fdopen(os.dup(descriptor), "wb") as stream:
                    stream.write(line)
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, end)
                raise
        finally:
            os.close(descriptor)

    def read(self) -> list[Event]:
        """Return all events. Raises HostError where a line other than a torn last one cannot be read."""
        try:
            raw = read_bounded(self.path, _LARGEST)
        except FileNotFoundError:
            return []
        except BoundsError as error:
            raise HostError(
                f"the journal {error}",
                details=str(self.path),
                resolution=f"mv {self.path} {self.path}.damaged    # the history ends, nothing else does",
            ) from None
        whole, _, _ = raw.rpartition(b"\n")
        return [self._parse(number, line) for number, line in enumerate(whole.splitlines(), 1) if line]

    def _parse(self, number: int, line: bytes) -> Event:
        try:
            return _event(bounded_json(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise HostError(
                f"the journal has a line that cannot be read: {error}",
                details="Stoneware only appends to it, so the file was edited, or the disk is failing.",
                resolution=f"look at it: less +{number} {self.path}",
                location=f"{self.path}:{number}",
            ) from error

    def of(self, rollout: str) -> list[Event]:
        """Return the events of one rollout."""
        return [event for event in self.read() if event.rollout == rollout]


def _event(document: dict[str, Any]) -> Event:
    if document.pop("v") != VERSION:
        raise ValueError("it was written by another version of Stoneware")
    time, rollout, name = (document.pop(key) for key in ("time", "rollout", "event"))
    return Event(float(time), str(rollout), str(name), document)


def _whole_lines(descriptor: int) -> int:
    """Return where the last whole line ends."""
    size = os.fstat(descriptor).st_size
    position = size
    while position > 0:
        start = max(0, position - 4096)
        found = os.pread(descriptor, position - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0


def journal_of(directory: ClusterDirectory) -> Journal:
    """Return the journal of a cluster's rollouts."""
    return Journal(directory.path / JOURNAL_FILE)


def rollout_ids(events: Sequence[Event]) -> list[str]:
    """Return the ids of all rollouts, the oldest first."""
    return list(dict.fromkeys(event.rollout for event in events))
