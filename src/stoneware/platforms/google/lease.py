"""A cluster's lock as an object of the bucket: who holds it; renewed while the holder lives, then taken over.

It is the object that Terraform's `backend "gcs"` locks the state with, in Terraform's own form, so whoever
works on that state without Stoneware is kept out as well, and keeps us out.

A holder renews it every RENEWED seconds. What nobody has renewed for LEASE seconds somebody else may take
over, who has counted them with a clock that no one sets: no time of one computer is compared with another's
to take a lock away. The generation decides between two who try. A holder that was asleep learns at its next
write that it has lost the lock.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from stoneware.errors import StonewareError
from stoneware.platforms.cluster_records import ClusterBusy, ClusterChanged, identity, is_gone, this_process
from stoneware.platforms.google.bucket import NEW, Bucket, Held
from stoneware.platforms.google.errors import ChangedError
from stoneware.untrusted.bounded import BoundsError, bounded_json

RENEWED = 10.0  # seconds between two renewals
LEASE = 45.0  # seconds after which what was not renewed may be taken over
_POLL = 1.0
_ENDING = 5.0  # seconds that the Terraform of a process that was killed here gets to end
_OURS = "stoneware"  # the field of a lock that says that Stoneware holds it
_LARGEST = 1 << 16


def holder_of(held: Held) -> dict[str, Any]:
    """Return who holds a lock, as `this_process` says it; of Terraform's own what can be told."""
    try:
        found = bounded_json(held.data, _LARGEST)
    except BoundsError:
        return {}
    if not isinstance(found, dict):
        return {}
    own = found.get(_OURS)
    if isinstance(own, dict):
        return own
    return {"command": f"terraform ({found.get('Operation', '')})", **_who(found)}


def _who(found: Mapping[str, Any]) -> dict[str, Any]:
    user, _, host = str(found.get("Who", "")).partition("@")
    return {"pid": "?", "user": user, "host": host, "since": found.get("Created", "?"), "foreign": True}


def seems_alive(holder: Mapping[str, Any], now: float) -> bool:
    """Say whether a holder lives, as far as can be told at once: its process, or when it renewed its lock."""
    if holder.get("foreign"):
        return True
    gone = is_gone(holder)
    if gone is not None:
        return not gone
    return now - _renewed(holder) < LEASE


def _renewed(holder: Mapping[str, Any]) -> float:
    value = holder.get("renewed")
    return float(value) if isinstance(value, int | float) else 0.0


class Lease:
    """The lock while this process holds it. `lease` and `renewed` are in seconds."""

    def __init__(
        self,
        bucket: Bucket,
        name: str,
        command: str,
        *,
        lease: float = LEASE,
        renewed: float = RENEWED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bucket, self._name = bucket, name
        self._lease, self._renewed, self._clock = lease, renewed, clock
        self._holder = {**this_process(command), "token": uuid.uuid4().hex}
        self._generation = NEW
        self._fresh = 0.0  # when the last renewal that succeeded was begun
        self._lost: dict[str, Any] | None = None  # who holds it instead
        self._busy = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    # -- taking it -----------------------------------------------------------------------------------------

    def acquire(self, cluster: str, timeout: float) -> None:
        """Take the lock, that of a holder that is gone too. Raises ClusterBusy after `timeout` seconds."""
        deadline = self._clock() + timeout
        watched, since = NEW, self._clock()
        while True:
            held = self._bucket.read(self._name)
            if held is not None and held.generation != watched:
                # A renewal is a new generation, so the time that was watched begins again.
                watched, since = held.generation, self._clock()
            if self._may_take(held, since) and self._write(held.generation if held else NEW):
                break
            if held is not None and self._clock() >= max(deadline, self._patience(held, since)):
                raise ClusterBusy(cluster, holder_of(held), self._further(held))
            self._ended.wait(min(_POLL, self._lease / 4) if held is not None else 0.0)
        self._thread.start()

    def _may_take(self, held: Held | None, since: float) -> bool:
        if held is None:
            return True
        holder = holder_of(held)
        # Terraform renews no lock of its own, so its age says nothing.
        if holder.get("foreign") or not holder:
            return False
        gone = is_gone(holder)
        if gone:  # renewed by the clock that this computer has too
            long_ago = time.time() - _renewed(holder) >= self._lease
            # What the process started may be ending still.
            return long_ago or self._clock() - since >= min(_ENDING, self._lease)
        return gone is None and self._clock() - since >= self._lease

    def _patience(self, held: Held, since: float) -> float:
        """Return until when a lock is watched whoever waits: one that seems to be nobody's, for one lease."""
        return 0.0 if seems_alive(holder_of(held), time.time()) else since + self._lease + _POLL

    def _further(self, held: Held) -> str:
        holder = holder_of(held)
        if holder.get("foreign"):
            remedy = f"gcloud storage rm {self._bucket.url(self._name)}"
            return f"It is Terraform's own, which never runs out; where that is gone: {remedy}"
        if not holder:
            return f"{self._bucket.url(self._name)} does not say who: it is no lock of Stoneware's."
        return f"Should it be gone, --lock-timeout {2 * self._lease:g} is long enough to take the lock over."

    # -- keeping it ----------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise ClusterChanged unless the lock is still ours; asked before each write."""
        # Renewed before the write while no other may take it yet; only then is it sure that it is ours.
        if self._lost is None and self._clock() - self._fresh > self._lease / 2:
            self._renew()
        if self._lost is not None:
            raise ClusterChanged(
                f"the cluster's lock was taken over while this command did not renew it: "
                f"{self._lost.get('command') or 'another command'} has it",
                details=f"{_sentence(self._lost)} This computer was asleep, or did not reach the bucket.",
                resolution="stoneware status\nstoneware rollout status    # where a rollout was under way",
            )

    def _keep(self) -> None:
        while not self._ended.wait(self._renewed):
            try:
                self._renew()
            except StonewareError:
                continue  # the bucket cannot be reached now: who writes next is told
            if self._lost is not None:
                return

    def _renew(self) -> None:
        with self._busy:
            if self._lost is None and not self._ended.is_set() and not self._write(self._generation):
                held = self._bucket.read(self._name)
                self._lost = holder_of(held) if held is not None else {"command": "no command"}

    def _write(self, generation: int) -> bool:
        """Write the lock where it has this generation; return whether it is ours."""
        begun = self._clock()
        self._holder["renewed"] = round(time.time(), 1)
        try:
            self._generation = self._bucket.write(self._name, self._document(), generation=generation)
        except ChangedError:
            # Perhaps by ourselves: the reply to a request that was sent again does not say so.
            held = self._bucket.read(self._name)
            if held is None or holder_of(held).get("token") != self._holder["token"]:
                return False
            self._generation = held.generation
        # By the time before the request: how long ago Google took it is not known.
        self._fresh = begun
        return True

    def _document(self) -> bytes:
        now = datetime.datetime.now(datetime.UTC).isoformat()
        lock = {
            "ID": self._holder["token"],
            "Operation": self._holder["command"],
            "Info": "held by Stoneware, which renews it",
            "Who": f"{self._holder['user']}@{self._holder['host']}",
            "Version": "",
            "Created": now,
            "Path": self._bucket.url(self._name),
            _OURS: self._holder,
        }
        return json.dumps(lock, indent=2).encode()

    # -- giving it back ------------------------------------------------------------------------------------

    def release(self) -> None:
        """Give the lock back, if it is ours; where that fails it runs out."""
        # First: no renewal must come behind the removal.
        self._ended.set()
        with self._busy:
            if self._lost is None and self._generation != NEW:
                with contextlib.suppress(StonewareError):
                    self._bucket.remove(self._name, generation=self._generation)


def is_this_process(holder: Mapping[str, Any]) -> bool:
    """Say whether a lock, or the mark of a rollout, is this process's."""
    return all(holder.get(key) == value for key, value in identity().items())


def _sentence(holder: Mapping[str, Any]) -> str:
    if not holder.get("host"):
        return ""
    return f"It is {holder.get('user')}'s on {holder.get('host')}, since {holder.get('since')}."
