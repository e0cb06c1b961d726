"""Volumes (disks that outlive machines) and the caches of RUN --mount=type=cache."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stoneware.errors import InputError
from stoneware.files import read_json, sha256_hex, write_json
from stoneware.local import btrfs, store_pool
from stoneware.local.store_base import StoreBase
from stoneware.local.uses import read_uses
from stoneware.platform import Volume
from stoneware.records import DAMAGED_LABEL, DamagedError

VOLUME_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


class VolumeStore(StoreBase):
    """The part of the store that keeps volumes and caches."""

    @contextlib.contextmanager
    def volume_locks(self, names: list[str]) -> Iterator[None]:
        """Hold the locks of several volumes, always taken in one order."""
        with contextlib.ExitStack() as stack:
            for name in sorted(set(names)):
                stack.enter_context(self.lock("volumes", name))
            yield

    def _volume(self, name: str) -> Path:
        if not VOLUME_NAME.fullmatch(name):
            raise InputError(
                f"{name!r} is not a volume name",
                details="Letters, digits, dots, dashes and underscores; it starts with a letter or a digit.",
                resolution="stoneware run -v NAME:/path …",
            )
        return self.data / "volumes" / name

    def volumes(self) -> list[Volume]:
        """Return all volumes, sorted by name."""
        paths = sorted(path for path in (self.data / "volumes").iterdir() if not path.name.startswith("."))
        users = self.known.uses().volumes
        return [_read_any(path, users) for path in paths]

    def find_volume(self, name: str) -> Volume | None:
        """Return one volume, or None."""
        path = self._volume(name)
        return _read(path, self.known.uses().volumes) if path.is_dir() else None

    def volume(self, name: str) -> Volume:
        """Return one volume. Raises InputError when there is none of that name."""
        found = self.find_volume(name)
        if found is None:
            raise InputError(f"there is no volume {name!r}", resolution="stoneware volume ls")
        return found

    def volume_users(self, name: str) -> list[str]:
        """Return the machines that have a volume, for sure: for a caller that holds its lock."""
        return read_uses(self.data / "machines").volumes.get(name, [])

    def create_volume(self, name: str, labels: Mapping[str, str] | None = None) -> Path:
        """Create a volume if there is none of that name and return its data directory."""
        path = self._volume(name)
        if path.is_dir():
            return path / "data"
        with self.volume_locks([name]), store_pool.clear_errors(self.home):
            return self.create_volume_locked(name, labels)

    def create_volume_locked(self, name: str, labels: Mapping[str, str] | None = None) -> Path:
        """Do what `create_volume` does for a caller that holds the volume's lock."""
        path = self._volume(name)
        if not path.is_dir():
            with self.staging(path.parent) as staged:
                btrfs.create(staged / "data")
                write_json(staged / "document.json", {"created": time.time(), "labels": dict(labels or {})})
                staged.rename(path)
        return path / "data"

    def label_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Change a volume's labels. Raises InputError where there is no such volume."""
        path = self._volume(name)
        with self.volume_locks([name]), store_pool.clear_errors(self.home):
            volume = self.volume(name)
            write_json(path / "document.json", {"created": volume.created, "labels": dict(labels)})

    def remove_volume(self, name: str, *, missing_ok: bool = False) -> None:
        """Remove a volume and its data. Raises InputError when it is missing or a machine has it."""
        with self.volume_locks([name]):
            if not self._volume(name).exists():
                if missing_ok:
                    return
                self.volume(name)  # says that there is none
            users = self.volume_users(name)
            if users:
                raise InputError(
                    f"the volume {name!r} is in use",
                    details=f"by the machine {', '.join(users)}",
                    resolution=f"stoneware rm -f {users[0]} && stoneware volume rm {name}",
                )
            with self.staging(self.data / "volumes") as staged:
                self._volume(name).rename(staged / "gone")

    def volume_path(self, name: str) -> Path:
        """Return the directory (a subvolume) with a volume's data."""
        return self._volume(name) / "data"

    def cache_path(self, cache_id: str) -> Path:
        """Return the directory of one RUN cache, made when it is missing."""
        path = self.data / "cache" / sha256_hex(cache_id.encode())
        path.mkdir(exist_ok=True)
        return path


def _read_any(path: Path, users: Mapping[str, list[str]]) -> Volume:
    """Return a volume for a list: one whose record is damaged says so in a label, and is not pruned."""
    try:
        return _read(path, users)
    except DamagedError as error:
        labels = {DAMAGED_LABEL: f"{error.why}; {error.resolution.partition(' #')[0].strip()}"}
        return Volume(path.name, 0.0, labels, tuple(users.get(path.name, ())))


def _read(path: Path, users: Mapping[str, list[str]]) -> Volume:
    document: dict[str, Any] = read_json(path / "document.json") or {}
    return Volume(
        name=path.name,
        created=document.get("created", 0.0),
        labels=document.get("labels", {}),
        machines=tuple(users.get(path.name, ())),
    )
