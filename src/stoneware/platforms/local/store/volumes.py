"""Volumes (disks that outlive machines) and the caches of RUN --mount=type=cache."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from stoneware import process
from stoneware.errors import InputError
from stoneware.files import read_json, sha256_hex, write_json
from stoneware.image.versions import highest
from stoneware.model import names
from stoneware.model.labels import DAMAGED_LABEL
from stoneware.model.limits import disk_problem
from stoneware.model.resources import Volume
from stoneware.platforms.local.store import btrfs
from stoneware.platforms.local.store import errors as store_errors
from stoneware.platforms.local.store import quota as store_quota
from stoneware.platforms.local.store.base import StoreBase
from stoneware.platforms.local.store.in_use import read_uses
from stoneware.platforms.local.store.qgroups import Figures
from stoneware.records import DamagedError, whole


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
        if not names.VOLUME.allows(name):
            raise InputError(
                f"{name!r} is not a volume name",
                details=f"A name has {names.VOLUME.words}.",
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

    def create_volume(
        self, name: str, labels: Mapping[str, str] | None = None, size: int | None = None
    ) -> Path:
        """Create a volume if there is none of that name and return its data directory.

        `size` is the most that it may take, in bytes; None is the default of the store. It changes that of a
        volume that exists.
        """
        path = self._volume(name)
        if path.is_dir() and size is None:
            return path / "data"
        with self.volume_locks([name]), store_errors.clear_errors(self.home):
            return self.create_volume_locked(name, labels, size)

    def create_volume_locked(
        self, name: str, labels: Mapping[str, str] | None = None, size: int | None = None
    ) -> Path:
        """Do what `create_volume` does for a caller that holds the volume's lock."""
        path = self._volume(name)
        if problem := disk_problem(size):
            raise InputError(problem, resolution=f"stoneware volume create --size 10g {name}")
        if path.is_dir():
            self._resize(path, size)
        else:
            store_errors.check_room(self.home, self.data)
            document = {"created": time.time(), "labels": dict(labels or {}), "size": size}
            with self.staging(path.parent) as staged:
                btrfs.create(staged / "data")
                store_quota.limit(self.home, self.data, staged / "data", size, store_quota.VOLUME_VARIABLE)
                write_json(staged / "document.json", document)
                staged.rename(path)
        return path / "data"

    def _resize(self, path: Path, size: int | None) -> None:
        document: dict[str, Any] = read_json(path / "document.json") or {}
        if size not in (None, document.get("size")):
            self._limit(path.name, path, {**document, "size": size})
            write_json(path / "document.json", {**document, "size": size})

    def limit_volume(self, name: str) -> None:
        """Limit what a volume may take, as it was created: those of an older Stoneware have no limit yet."""
        path = self._volume(name)
        self._limit(name, path, read_json(path / "document.json") or {})

    def _limit(self, name: str, path: Path, document: Mapping[str, Any]) -> None:
        store_quota.limit(
            self.home,
            self.data,
            path / "data",
            document.get("size"),
            store_quota.VOLUME_VARIABLE,
            group=document.get("group"),
            more=self.snapshots_charge(name),
        )

    def snapshots_charge(self, name: str) -> int:
        """Return the most bytes that only the snapshots of a volume have."""
        found = (self.data / "snapshots").glob(f"{name}@*/document.json")
        return max((int(whole(path).get("charged") or 0) for path in found), default=0)

    def volume_figures(self, name: str) -> Figures | None:
        """Return what a volume has and may have, or None where nothing is known of that."""
        path = self._volume(name)
        return store_quota.figures(self.data, path / "data", whole(path / "document.json").get("group"))

    def label_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Change a volume's labels. Raises InputError where there is no such volume."""
        path = self._volume(name)
        with self.volume_locks([name]), store_errors.clear_errors(self.home):
            self.volume(name)
            document: dict[str, Any] = read_json(path / "document.json") or {}
            write_json(path / "document.json", {**document, "labels": dict(labels)})

    def raise_floor(self, name: str, floor: str) -> None:
        """Let no image below a version boot on a volume any more. Raises InputError where there is none."""
        path = self._volume(name)
        with self.volume_locks([name]), store_errors.clear_errors(self.home):
            self.volume(name)
            document: dict[str, Any] = read_json(path / "document.json") or {}
            raised = highest((str(document.get("floor", "")), floor))
            write_json(path / "document.json", {**document, "floor": raised})

    def floors(self, names: Iterable[str]) -> dict[str, str]:
        """Return the floors of volumes, of those that have one."""
        found = {name: self.find_volume(name) for name in names}
        return {name: volume.floor for name, volume in found.items() if volume and volume.floor}

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
            self.discard(self._volume(name))

    def volume_path(self, name: str) -> Path:
        """Return the directory (a subvolume) with a volume's data."""
        return self._volume(name) / "data"

    def cache_path(self, cache_id: str) -> Path:
        """Return the directory of one RUN cache, made when it is missing."""
        path = self.data / "cache" / sha256_hex(cache_id.encode())
        if not btrfs.is_subvolume(path):
            with self.lock("cache", path.name):
                self._make_cache(path)
        return path

    def _make_cache(self, path: Path) -> None:
        """Make a cache a subvolume with a limit; an older Stoneware made plain directories."""
        if btrfs.is_subvolume(path):
            return
        with self.staging(path.parent) as staged:
            created = staged / "cache"
            btrfs.create(created)
            store_quota.limit(self.home, self.data, created, None, store_quota.VOLUME_VARIABLE)
            if path.exists():
                process.run(["cp", "-a", "--reflink=auto", f"{path}/.", created])
                path.rename(staged / "plain")
            created.rename(path)


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
        size=document.get("size"),
        floor=str(document.get("floor", "")),
    )
