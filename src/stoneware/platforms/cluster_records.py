"""What is kept of a cluster for everybody who works with it: documents, the rollouts' journal, the lock.

A platform says where: in files of this computer, or where other computers see it as well.
"""

from __future__ import annotations

import datetime
import getpass
import os
import platform
from collections.abc import Mapping
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from stoneware.dataclass import dataclass
from stoneware.errors import HostError, StonewareError
from stoneware.process_identity import boot_id, start_time


class Document(StrEnum):
    """A JSON document about a cluster, by the name that its file has."""

    DECLARED = "machines.auto.tfvars.json"  # Terraform's variables of the last apply: what is declared
    ORIGIN = "cluster.json"  # the file that the cluster came from, and the secrets that were put for it
    DRIVER = "rollout.lock.json"  # who drives, or drove, the rollout that has not ended
    REQUEST = "rollout.request"  # what somebody asks of that driver


@dataclass(frozen=True)
class Line:
    """A line of the journal: its text, where it is, and the command that shows it."""

    text: bytes
    where: str
    look: str


class Log(Protocol):
    """The lines of a cluster's journal."""

    @property
    def place(self) -> str:
        """Return where it is kept, for people."""
        ...

    def lines(self) -> list[Line]:
        """Return all lines, each rollout's in the order they were written. Raises HostError."""
        ...

    def append(self, rollout: str, text: bytes) -> None:
        """Add a line and return once it is kept for good. Raises StonewareError; then nothing is added."""
        ...


class ClusterRecords(Protocol):
    """What is kept of one cluster. It exists from the first `up` to the `down` that leaves nothing.

    Only the holder of its lock writes, but for Document.REQUEST. Everybody may read at any time.
    """

    @property
    def name(self) -> str:
        """Return the cluster's name."""
        ...

    @property
    def work(self) -> Path:
        """Return the directory of this computer in which Terraform is run for the cluster."""
        ...

    @property
    def look_every(self) -> float:
        """Return the seconds to let pass between two looks at what others may have written."""
        ...

    @property
    def log(self) -> Log:
        """Return the journal's lines."""
        ...

    def place(self, document: Document) -> str:
        """Return where a document is, for people."""
        ...

    def remedy(self, document: Document) -> str:
        """Return the command by which people remove a document."""
        ...

    def read(self, document: Document) -> dict[str, Any] | None:
        """Return a document, or None where there is none. Raises DamagedError."""
        ...

    def version(self, document: Document) -> str:
        """Return what is another whenever the document was written; nothing where there is none."""
        ...

    def write(self, document: Document, value: Mapping[str, Any]) -> None:
        """Write a document; a kill at any moment leaves it as it was or as it is to be."""
        ...

    def remove(self, document: Document) -> None:
        """Remove a document; a missing one is no error."""
        ...

    def state(self) -> bytes:
        """Return Terraform's state as it is kept; nothing where there is none. Raises DamagedError."""
        ...

    def set_state_aside(self) -> str:
        """Keep Terraform's state under another name, which is returned."""
        ...

    def backend(self) -> Mapping[str, Any]:
        """Return Terraform's `backend`: its type and that type's settings. Nothing: a file in `work`.

        With one, Terraform takes no lock of its own: whoever runs it here has the cluster's.
        """
        ...

    def lock(self, command: str, timeout: float) -> AbstractContextManager[None]:
        """Hold the cluster's lock for `command` (`stoneware up`).

        Raises ClusterBusy with who holds it after `timeout` seconds. It ends with the process: at once, or
        after a while that the platform says.
        """
        ...

    def lives(self, driver: Mapping[str, Any]) -> bool:
        """Say whether the process whose `identity` this was lives, as far as can be known."""
        ...

    def clear(self) -> None:
        """Remove all that is kept, in an order in which a kill is no harm; only for the lock's holder."""
        ...


class Clusters(Protocol):
    """Where what is kept of clusters is."""

    def names(self) -> list[str]:
        """Return the names of all clusters that are kept, sorted."""
        ...

    def of(self, name: str) -> ClusterRecords:
        """Return what is kept of one cluster; perhaps nothing is."""
        ...


class ClusterChanged(HostError):
    """Somebody else has changed a cluster's records while this command held its lock, or believed to."""


class ClusterBusy(StonewareError):
    """Another command changes the cluster. `holder` is what that command wrote into the lock."""

    def __init__(self, cluster: str, holder: Mapping[str, Any], further: str = "") -> None:
        who = holder.get("command") or "another command"
        super().__init__(
            f"the cluster {cluster} is being changed by {who}",
            details="\n".join(filter(None, (_sentence(holder), further))),
            resolution="wait until it has ended; --lock-timeout SECONDS waits for it",
        )
        self.holder = holder


def _sentence(holder: Mapping[str, Any]) -> str:
    if not holder:
        return ""
    return (
        f"process {holder.get('pid')} of {holder.get('user')} on {holder.get('host')}, "
        f"since {holder.get('since')}"
    )


def current_user() -> str:
    """Return who runs this command; under sudo, the user who called it."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # the user has no entry in the password file
        return str(os.getuid())


def this_process(command: str) -> dict[str, Any]:
    """Return what tells others who holds a lock: this process, for a command, from now on."""
    now = datetime.datetime.now().astimezone().replace(microsecond=0)
    return {"command": command, "user": current_user(), "since": now.isoformat(sep=" "), **identity()}


def identity() -> dict[str, Any]:
    """Return what tells this process from those of other computers, boots, namespaces, and later ones."""
    pid = os.getpid()
    return {
        "host": platform.node(),
        "pid": pid,
        "started": start_time(pid) or 0,
        "boot": boot_id(),
        "namespace": _namespace(),
    }


def is_gone(process: Mapping[str, Any]) -> bool | None:
    """Say whether a process whose `identity` this is has ended; None where that cannot be seen from here."""
    here = identity()
    if process.get("host") != here["host"]:
        return None
    # No process outlives its computer's boot.
    if process.get("boot") != here["boot"]:
        return True
    # Containers of one computer may have its name, and process ids of their own.
    if process.get("namespace", here["namespace"]) != here["namespace"]:
        return None
    # The number may be another process's by now, which was started at another time.
    pid = process.get("pid")
    lives = isinstance(pid, int) and 0 < pid < 1 << 31 and start_time(pid) == process.get("started")
    return not lives


def _namespace() -> int:
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0
