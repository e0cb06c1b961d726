"""What is kept of clusters, as objects of the bucket: whoever has the project sees the same clusters.

`clusters/NAME/` has an object for each document, `default.tfstate` and `default.tflock`, which are those of
Terraform's `backend "gcs"`, and below `journal/` one for each line of the rollouts' journal. A document is
written with the generation that it had when the lock's holder read it, a line only where there is none of its
number. So who has lost the lock without knowing changes nothing.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from stoneware.files import write_json
from stoneware.platforms.cluster_records import ClusterChanged, Document, Line
from stoneware.platforms.google import lease as leases
from stoneware.platforms.google.bucket import NEW, Bucket, Held
from stoneware.platforms.google.errors import ChangedError
from stoneware.platforms.google.lease import Lease
from stoneware.records import checked_record

_STATE = "default.tfstate"
_LOCK = "default.tflock"
_ASIDE = "default.tfstate.damaged"
_PLACE = "clusters/"
_AT_ONCE = 16  # objects that are read, or removed, at the same time
_SHORT = 4 << 10  # bytes of a line that a listing tells as well; an object may have 8 KiB of metadata
_LOOK_EVERY = 5.0
_NUMBERS = re.compile(r"(\d+)")


class GoogleClusters:
    """The clusters of a bucket. `home` is this computer's, for Terraform to work in."""

    def __init__(self, bucket: Bucket, home: Path, lease: float = leases.LEASE) -> None:
        self._bucket = bucket
        self._home = home
        self._lease = lease
        self._opened: dict[str, GoogleRecords] = {}

    def names(self) -> list[str]:
        """Return the names of all clusters that were ever up and have not been taken down."""
        end = f"/{Document.DECLARED}"
        found = [name for name in self._bucket.names(_PLACE) if name.endswith(end)]
        return sorted(name.removeprefix(_PLACE).removesuffix(end) for name in found)

    def of(self, name: str) -> GoogleRecords:
        """Return what is kept of one cluster; always the same object, which knows whether it has the lock."""
        if name not in self._opened:
            work = self._home / "clusters" / name
            self._opened[name] = GoogleRecords(self._bucket, name, work, self._lease)
        return self._opened[name]


class GoogleRecords:
    """What is kept of one cluster: see `stoneware.platforms.cluster_records.ClusterRecords`."""

    look_every = _LOOK_EVERY

    def __init__(self, bucket: Bucket, name: str, work: Path, lease: float = leases.LEASE) -> None:
        self.name = name
        self.work = work
        self._bucket = bucket
        self._seconds = lease
        self._prefix = f"{_PLACE}{name}/"
        self._held: Lease | None = None
        # While the lock is ours nobody else writes, so each document is read once.
        self._known: dict[Document, Held | None] = {}
        self._begun = False  # whether there is a state, while the lock is ours
        self.log = GoogleLog(bucket, f"{self._prefix}journal/", self._check)

    def place(self, document: Document) -> str:
        """Return a document's address."""
        return self._bucket.url(self._prefix + document)

    def remedy(self, document: Document) -> str:
        """Return the command that removes a document's object."""
        return f"gcloud storage rm {self.place(document)}"

    # -- documents -----------------------------------------------------------------------------------------

    def read(self, document: Document) -> dict[str, Any] | None:
        """Return a document, or None where there is none. Raises DamagedError."""
        held = self._read(document)
        if held is None:
            return None
        return checked_record(Path(self._prefix + document), held.data, shown=self.place(document))

    def version(self, document: Document) -> str:
        """Return a document's generation."""
        held = self._read(document)
        return "" if held is None else str(held.generation)

    def _read(self, document: Document) -> Held | None:
        # Requests are written by others while the lock is ours.
        if self._held is None or document is Document.REQUEST:
            self._known.pop(document, None)
        if document not in self._known:
            self._known[document] = self._bucket.read(self._prefix + document)
        return self._known[document]

    def write(self, document: Document, value: Mapping[str, Any]) -> None:
        """Write a document where it still is as it was read; what is declared, for Terraform here as well."""
        self._check()
        data = (json.dumps(dict(value), indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
        # The last request counts, whoever made another.
        before = None if document is Document.REQUEST else _generation(self._read(document))
        try:
            generation = self._bucket.write(self._prefix + document, data, generation=before)
        except ChangedError:
            found = self._bucket.read(self._prefix + document)
            if found is None or found.data != data:  # else the reply was lost, and the request sent again
                raise self._changed(document) from None
            generation = found.generation
        self._known[document] = Held(data, generation)
        if document is Document.DECLARED:
            self._begin_state()
            self.work.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_json(self.work / document, dict(value), mode=0o600)

    def _begin_state(self) -> None:
        """Make a state that knows of nothing, where there is none: Terraform would lock that, against us."""
        name = self._prefix + _STATE
        if not self._begun and not self._bucket.has(name):
            state = {"version": 4, "terraform_version": "1.0.0", "serial": 1, "lineage": str(uuid.uuid4())}
            text = json.dumps({**state, "outputs": {}, "resources": []}, indent=2)
            with contextlib.suppress(ChangedError):  # the reply was lost, and the request sent again
                self._bucket.write(name, text.encode(), generation=NEW)
        self._begun = self._held is not None

    def remove(self, document: Document) -> None:
        """Remove a document as it was read."""
        self._check()
        known = self._known.pop(document, None) or self._bucket.read(self._prefix + document)
        if known is None:
            return
        try:
            self._bucket.remove(self._prefix + document, generation=known.generation)
        except ChangedError:
            if document is not Document.REQUEST:  # another request has come: it will be looked at
                raise self._changed(document) from None

    def _changed(self, document: Document) -> ClusterChanged:
        self._known.pop(document, None)
        held = self._bucket.read(self._prefix + _LOCK)
        holder = leases.holder_of(held) if held is not None else {}
        who = f"{holder.get('user')} on {holder.get('host')}" if holder else "no command now"
        return ClusterChanged(
            f"{self.place(document)} was changed by somebody else meanwhile",
            details=f"The lock of the cluster {self.name} is held by {who}. Nothing was overwritten.",
            resolution="stoneware status    # shows what is declared now; then run the command again",
        )

    # -- Terraform -----------------------------------------------------------------------------------------

    def state(self) -> bytes:
        """Return the state's object."""
        held = self._bucket.read(self._prefix + _STATE)
        return b"" if held is None else held.data

    def set_state_aside(self) -> str:
        """Keep the state's object under another name."""
        self._check()
        held = self._bucket.read(self._prefix + _STATE)
        if held is not None:
            # The copy first: a kill in between leaves the state twice, not lost.
            self._bucket.write(self._prefix + _ASIDE, held.data)
            self._bucket.remove(self._prefix + _STATE, generation=held.generation)
            self._begun = False
        return self._bucket.url(self._prefix + _ASIDE)

    def backend(self) -> Mapping[str, Any]:
        """Return the backend that keeps its state there."""
        return {"gcs": {"bucket": self._bucket.name, "prefix": self._prefix.rstrip("/")}}

    # -- the lock ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self, command: str, timeout: float) -> Iterator[None]:
        """Hold the lock's object, and renew it."""
        often = min(leases.RENEWED, self._seconds / 4)
        bucket, name = self._bucket.apart(), self._prefix + _LOCK  # renewed by a thread
        made = Lease(bucket, name, command, lease=self._seconds, renewed=often)
        try:
            made.acquire(self.name, timeout)
            self._held, self._known, self._begun = made, {}, False
            self.log.forget()
            yield
        finally:
            self._held, self._known = None, {}
            made.release()

    def _check(self) -> None:
        if self._held is not None:
            self._held.check()

    def lives(self, driver: Mapping[str, Any]) -> bool:
        """Say whether a driver has the lock: it has, for as long as it drives."""
        if leases.is_this_process(driver):
            return True
        # While the lock is ours, no other driver has it.
        held = self._bucket.read(self._prefix + _LOCK) if self._held is None else None
        if held is None:
            return False
        holder = leases.holder_of(held)
        same = all(holder.get(key) == driver.get(key) for key in ("host", "pid", "started", "boot"))
        return same and leases.seems_alive(holder, time.time())

    def clear(self) -> None:
        """Remove everything: what is declared last, since a `down` that was killed is known by that."""
        self._check()
        last = self._prefix + Document.DECLARED
        # The lock is ours until the end, and its holder removes it.
        kept = {last, self._prefix + _LOCK}
        others = [name for name in self._bucket.names(self._prefix) if name not in kept]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            # An error of one is raised only where its result is taken.
            list(pool.map(self._bucket.remove, others))
        self._bucket.remove(last)
        self._known = {}
        self.log.forget()
        shutil.rmtree(self.work, ignore_errors=True)


class GoogleLog:
    """The journal of a cluster: `ROLLOUT/NUMBER`, an object for each line, which nobody writes again."""

    def __init__(self, bucket: Bucket, prefix: str, check: Callable[[], None]) -> None:
        self._bucket, self._prefix, self._check = bucket, prefix, check
        self._next: dict[str, int] = {}

    @property
    def place(self) -> str:
        """Where the lines are."""
        return self._bucket.url(self._prefix)

    def forget(self) -> None:
        """Look again which number comes next."""
        self._next = {}

    def lines(self) -> list[Line]:
        """Return all lines, the rollouts by their numbers."""
        listed = self._bucket.listed(self._prefix)
        names = sorted(listed, key=_in_order)
        long = [name for name in names if "line" not in listed[name]]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            read = dict(zip(long, pool.map(self._bucket.read, long), strict=True))
        texts = {name: found["line"].encode() for name, found in listed.items() if "line" in found}
        texts |= {name: held.data for name, held in read.items() if held is not None}
        self._count(names)
        return [self._line(name, texts[name]) for name in names if name in texts]

    def _line(self, name: str, text: bytes) -> Line:
        url = self._bucket.url(name)
        return Line(text, url, f"gcloud storage cat {url}")

    def _count(self, names: list[str]) -> None:
        for name in names:
            rollout, _, number = name.removeprefix(self._prefix).partition("/")
            if number.isdecimal():
                self._next[rollout] = max(self._next.get(rollout, 1), int(number) + 1)

    def append(self, rollout: str, text: bytes) -> None:
        """Add a line. Raises ClusterChanged where somebody else has added one of that number."""
        self._check()
        if rollout not in self._next:
            self._count(self._bucket.names(f"{self._prefix}{rollout}/"))
        number = self._next.get(rollout, 1)
        name = f"{self._prefix}{rollout}/{number:06}"
        writer = uuid.uuid4().hex
        # A listing tells this as well, so short lines need no request each.
        metadata = {"writer": writer, **({"line": text.decode()} if len(text) <= _SHORT else {})}
        try:
            self._bucket.write(name, text, generation=NEW, metadata=metadata)
        except ChangedError:
            if self._bucket.listed(name).get(name, {}).get("writer") != writer:  # else the reply was lost
                raise self._taken(name) from None
        self._next[rollout] = number + 1

    def _taken(self, name: str) -> ClusterChanged:
        self._next = {}
        return ClusterChanged(
            f"the journal was continued by somebody else: {self._bucket.url(name)}",
            details="Another driver has taken the rollout over. This one has done nothing that is not in it.",
            resolution="stoneware rollout status    # shows who drives it now",
        )


def _in_order(name: str) -> list[tuple[int, str]]:
    """Return a key by which `r2` comes before `r10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _NUMBERS.split(name)]


def _generation(held: Held | None) -> int:
    return NEW if held is None else held.generation
