"""The directory of one cluster: Terraform's configuration, variables and state, and the lock."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.files import read_json, write_json
from stoneware.records import whole

VARIABLES_FILE = "machines.auto.tfvars.json"
LOCK_FILE = "lock"
_ORIGIN_FILE = "cluster.json"


def not_up(cluster: str) -> InputError:
    """Return the error for a cluster that has no machines."""
    return InputError(f"the cluster {cluster} is not up", resolution="stoneware up    # makes it")


@dataclass(frozen=True)
class ClusterDirectory:
    """Where a cluster is kept. It exists from the first `up` to the `down` that leaves nothing."""

    path: Path

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.path.name

    @property
    def lock_path(self) -> Path:
        """The file whose flock belongs to who changes the cluster."""
        return self.path / LOCK_FILE

    @property
    def variables_path(self) -> Path:
        """The variables of the last apply: what is declared."""
        return self.path / VARIABLES_FILE

    def exists(self) -> bool:
        """Say whether the cluster was ever up and has not been taken down."""
        return self.variables_path.exists()

    def variables(self) -> dict[str, Any] | None:
        """Return the variables of the last apply, or None where there was none."""
        found: dict[str, Any] | None = read_json(self.variables_path)
        return found

    def origin(self) -> dict[str, Any]:
        """Return what was kept about the files the cluster came from."""
        return read_json(self.path / _ORIGIN_FILE) or {}

    def known_origin(self) -> dict[str, Any]:
        """Return the same, or nothing where it is damaged: for callers that write the file again."""
        return whole(self.path / _ORIGIN_FILE)

    def keep_origin(self, origin: dict[str, Any]) -> None:
        """Keep what the cluster came from: its files, and the secrets that were put for it."""
        if self.known_origin() != origin:
            write_json(self.path / _ORIGIN_FILE, origin, mode=0o600)

    def other_file(self, files: Sequence[Path]) -> str:
        """Return the file that the cluster was brought up from, where it is there and none of these."""
        first = str(self.known_origin().get("file", ""))
        known = {os.path.realpath(path) for path in files}
        return "" if not known or os.path.realpath(first) in known or not Path(first).is_file() else first

    def remove(self) -> None:
        """Remove the directory; the lock goes last, so that who waits for it sees a directory or none."""
        for entry in self.path.iterdir():
            if entry.name == LOCK_FILE:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)
        self.lock_path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # somebody has begun a cluster of the same name
            self.path.rmdir()


def cluster_names(clusters: Path) -> list[str]:
    """Return the names of all clusters that are kept below a directory."""
    if not clusters.is_dir():
        return []
    return sorted(path.name for path in clusters.iterdir() if ClusterDirectory(path).exists())
