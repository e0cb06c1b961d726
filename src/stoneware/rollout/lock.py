"""The mark of a rollout that has not ended: who began it, and whether its driver lives.

It stays until the rollout has ended, also after a failure. The cluster's lock, which ends with the process,
is held by the driver besides.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stoneware.cluster.directory import ClusterDirectory
from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.platforms.cluster_records import Document, current_user, this_process

if TYPE_CHECKING:
    from stoneware.rollout.journal import Event

_SHOWN = ("rollout", "who", "host", "pid", "since")  # what a mark has besides the driver's identity


@dataclass(frozen=True)
class RolloutLock:
    """Who drives, or drove, which rollout. `alive`: as far as can be known."""

    rollout: str
    who: str
    host: str
    pid: int
    since: str
    alive: bool = True

    @property
    def sentence(self) -> str:
        """Say who, since when, from where, and whether the driver lives."""
        state = "is at work" if self.alive else "is gone"
        driver = f"the process {self.pid} on {self.host} that drives it {state}"
        return f"taken up by {self.who} at {self.since}; {driver}"


class RolloutUnfinished(InputError):
    """A rollout has not ended, so nothing else may change the cluster."""

    def __init__(self, cluster: str, lock: RolloutLock, condition: str = "") -> None:
        if lock.alive:
            words = (
                "stoneware rollout status    # shows its progress\n"
                "stoneware rollout pause     # pauses after the current machine; abort ends the rollout there"
            )
        else:
            words = (
                "stoneware rollout resume    # continues where it was\n"
                "stoneware rollback          # returns what it has changed\n"
                "stoneware rollout abort     # leaves the machines as they are"
            )
        super().__init__(
            f"the rollout {lock.rollout} of the cluster {cluster} has not ended",
            # Where it waits for a word, its driver has ended in order.
            details=f"It {condition}." if condition and not lock.alive else f"It was {lock.sentence}.",
            resolution=words,
        )
        self.lock = lock


def identity() -> tuple[str, str]:
    """Return who runs this command, and on which computer."""
    return current_user(), platform.node()


def read_lock(directory: ClusterDirectory) -> RolloutLock | None:
    """Return the mark, or None where no rollout is under way. Raises InputError for a damaged one."""
    records = directory.records
    try:
        found = records.read(Document.DRIVER)
        if found is None:
            return None
        known = {name: found[name] for name in _SHOWN}
        return RolloutLock(**known, alive=records.lives(found))
    except (ValueError, KeyError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        once = f"and once nothing is under way: {records.remedy(Document.DRIVER)}"
        raise InputError(
            f"{records.place(Document.DRIVER)} cannot be read: {why}",
            details="It says which driver rolls the cluster out.",
            resolution=f"stoneware rollout history    # {once}",
        ) from error


def write_lock(directory: ClusterDirectory, rollout: str) -> RolloutLock:
    """Mark a rollout as driven by this process; the caller holds the cluster's lock."""
    process = this_process("")
    mark = {"rollout": rollout, "who": process.pop("user"), **process}
    directory.records.write(Document.DRIVER, mark)
    return RolloutLock(**{name: mark[name] for name in _SHOWN})


def remove_lock(directory: ClusterDirectory) -> None:
    """Remove the mark: the rollout has ended."""
    directory.records.remove(Document.DRIVER)


def check_undriven(directory: ClusterDirectory) -> None:
    """Raise RolloutUnfinished while somebody drives a rollout: for who brings its machines back."""
    lock = read_lock(directory)
    if lock is not None and lock.alive:
        check_unlocked(directory)


def check_unlocked(directory: ClusterDirectory) -> None:
    """Raise RolloutUnfinished while a rollout has not ended: for `up`, `down`, and other rollouts.

    The caller holds the cluster's lock, so a mark that a kill left before the first line of the journal, or
    after the last one, has no driver and is removed.
    """
    lock = read_lock(directory)
    if lock is None:
        return
    from stoneware.rollout.journal import journal_of

    events = journal_of(directory).of(lock.rollout)
    names = {event.name for event in events}
    # The journal decides, not the mark: it is on the disk before a mark is removed.
    if "begin" in names and "ended" not in names:
        raise RolloutUnfinished(directory.name, lock, _condition(events))
    remove_lock(directory)


def _condition(events: Sequence[Event]) -> str:
    """Return what a rollout waits for that holds or is paused; nothing where it is under way."""
    # `up` and `down` mostly find no mark: what reads plans would be a tenth of their start.
    from stoneware.rollout.state import Mode, fold

    try:
        state = fold(events)
    except (KeyError, ValueError):  # damaged: the command that continues it says so
        return ""
    if state is not None and state.mode is Mode.HOLDING:
        return f"holds after the canary {', '.join(state.plan.canary)}"
    return f"is paused: {state.reason}" if state is not None and state.mode is Mode.PAUSED else ""
