"""What is kept of one cluster: what is declared, where it came from, what Terraform knows, and the lock."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.platforms.cluster_records import ClusterRecords, Document
from stoneware.records import DamagedError
from stoneware.terraform.statefile import addresses_in

VARIABLES_FILE = str(Document.DECLARED)


def not_up(cluster: str) -> InputError:
    """Return the error for a cluster that has no machines."""
    return InputError(f"the cluster {cluster} is not up", resolution="stoneware up    # makes it")


@dataclass(frozen=True)
class ClusterDirectory:
    """A cluster's records, and the directory in which Terraform runs for it."""

    records: ClusterRecords

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.records.name

    @property
    def path(self) -> Path:
        """The directory of this computer that Terraform works in; it may be missing."""
        return self.records.work

    def lock(self, command: str, *, timeout: float = 0.0) -> AbstractContextManager[None]:
        """Hold the cluster's lock for `command`. Raises ClusterBusy after `timeout` seconds."""
        return self.records.lock(command, timeout)

    def exists(self) -> bool:
        """Say whether the cluster was ever up and has not been taken down."""
        # `remove` takes this away as well: a cluster whose `down` was killed is still known by it.
        return bool(self.records.version(Document.DECLARED))

    def variables(self) -> dict[str, Any] | None:
        """Return the variables of the last apply, or None where there was none."""
        return self.records.read(Document.DECLARED)

    def declare(self, variables: Mapping[str, Any]) -> None:
        """Keep the variables of the next apply."""
        self.records.write(Document.DECLARED, variables)

    def origin(self) -> dict[str, Any]:
        """Return what was kept about the files the cluster came from."""
        return self.records.read(Document.ORIGIN) or {}

    def known_origin(self) -> dict[str, Any]:
        """Return the same, or nothing where it is damaged: for callers that write the file again."""
        try:
            return self.origin()
        except DamagedError:
            return {}

    def keep_origin(self, origin: dict[str, Any]) -> None:
        """Keep what the cluster came from: its files, and the secrets that were put for it."""
        if self.known_origin() != origin:
            self.records.write(Document.ORIGIN, origin)

    def other_file(self, files: Sequence[Path]) -> str:
        """Return the file that the cluster was brought up from, where it is there and none of these."""
        first = str(self.known_origin().get("file", ""))
        known = {os.path.realpath(path) for path in files}
        return "" if not known or os.path.realpath(first) in known or not Path(first).is_file() else first

    def managed(self) -> frozenset[str]:
        """Return the addresses of all resources that Terraform's state knows; none where it is damaged."""
        try:
            return addresses_in(self.records.state())
        except DamagedError:
            # As if there were none: what exists is imported again, or found by its label.
            return frozenset()

    def remove(self) -> None:
        """Remove all that is kept of the cluster; only for the holder of its lock."""
        self.records.clear()
