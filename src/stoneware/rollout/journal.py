"""The journal of a cluster's rollouts: JSON lines, only added to, kept for good before they are acted on.

Every line has `v` (the schema's version), `time` (seconds since the epoch), `rollout` (an id), `event`, and
the event's own fields. A line torn by a kill or a full disk counts as never written: nothing was done for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from stoneware.cluster.directory import ClusterDirectory
from stoneware.dataclass import dataclass
from stoneware.errors import HostError
from stoneware.platforms.cluster_records import Line, Log
from stoneware.untrusted.bounded import bounded_json

VERSION = 1


@dataclass(frozen=True)
class Event:
    """One line of the journal."""

    time: float
    rollout: str
    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)


class Journal:
    """The journal over the lines that are kept of it; who appends holds the cluster's lock."""

    def __init__(self, log: Log) -> None:
        self._log = log

    @property
    def place(self) -> str:
        """Where it is kept, for people."""
        return self._log.place

    def append(self, event: Event) -> None:
        """Write an event and wait until it is kept for good. Raises StonewareError; then nothing is."""
        document = {"v": VERSION, "time": round(event.time, 3), "rollout": event.rollout, "event": event.name}
        text = json.dumps({**document, **event.fields}, ensure_ascii=False, sort_keys=False)
        self._log.append(event.rollout, text.encode())

    def read(self) -> list[Event]:
        """Return all events. Raises HostError where a line other than a torn last one cannot be read."""
        return [self._parse(line) for line in self._log.lines()]

    def _parse(self, line: Line) -> Event:
        try:
            return _event(bounded_json(line.text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise HostError(
                f"the journal has a line that cannot be read: {error}",
                details="Stoneware only adds to it, so it was edited, or the disk is failing.",
                resolution=f"look at it: {line.look}",
                location=line.where,
            ) from error

    def of(self, rollout: str) -> list[Event]:
        """Return the events of one rollout."""
        return [event for event in self.read() if event.rollout == rollout]


def _event(document: dict[str, Any]) -> Event:
    if document.pop("v") != VERSION:
        raise ValueError("it was written by another version of Stoneware")
    time, rollout, name = (document.pop(key) for key in ("time", "rollout", "event"))
    return Event(float(time), str(rollout), str(name), document)


def journal_of(directory: ClusterDirectory) -> Journal:
    """Return the journal of a cluster's rollouts."""
    return Journal(directory.records.log)


def rollout_ids(events: Sequence[Event]) -> list[str]:
    """Return the ids of all rollouts, the oldest first."""
    return list(dict.fromkeys(event.rollout for event in events))
