"""Volumes (disks that outlive machines) and the caches of RUN --mount=type=cache."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from stoneware import process
from stoneware.errors import InputError
from stoneware.files import read_json, sha256_hex, sync_directory, write_json
from stoneware.image.versions import highest
from stoneware.model import names
from stoneware.model.labels import DAMAGED_LABEL
from stoneware.model.limits import disk_problem
from stoneware.model.resources import DIRECTORY, DISK, Volume
from stoneware.platforms.local.store import btrfs, volume_kinds
from stoneware.platforms.local.store import errors as store_errors
from stoneware.platforms.local.store import quota as store_quota
from stoneware.platforms.local.store.base import StoreBase
from stoneware.platforms.local.store.in_use import read_uses
from stoneware.platforms.local.store.qgroups import Figures
from stoneware.platforms.local.store.volume_kinds import MIB
from stoneware.records import DamagedError, whole


class Converter(Protocol):
    """Copies what is on volumes."""

    def least_size(self, volume: Path) -> int:
        """Return how large a disk with what is in a directory has to be, in bytes."""
        ...

    def fill(self, source: Path, made: Path) -> None:
        """Copy what is on the volume in one directory to the blank one, of the other kind, in another."""
        ...


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
                resolution="stoneware volume create NAME    # or run -v NAME:/path …",
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
        self,
        name: str,
        labels: Mapping[str, str] | None = None,
        size: int | None = None,
        *,
        kind: str = DIRECTORY,
    ) -> Path:
        """Create a volume if there is none of that name and return the subvolume with its data.

        `size` is the most that it may take, in bytes, or how large a disk is; None is the default of the
        store. It changes that of a volume that exists, which stays of its kind.
        """
        path = self._volume(name)
        # No lock for what most commands ask: it is there, and is to stay as it is.
        if path.is_dir() and size is None:
            return volume_kinds.contents(path)
        with self.volume_locks([name]), store_errors.clear_errors(self.home):
            return self.create_volume_locked(name, labels, size, kind=kind)

    def create_volume_locked(
        self,
        name: str,
        labels: Mapping[str, str] | None = None,
        size: int | None = None,
        *,
        kind: str = DIRECTORY,
    ) -> Path:
        """Do what `create_volume` does for a caller that holds the volume's lock."""
        path = self._volume(name)
        if problem := disk_problem(size):
            raise InputError(problem, resolution=f"stoneware volume create --size 10g {name}")
        if path.is_dir():
            self._resize(path, size)
        else:
            store_errors.check_room(self.home, self.data)
            with self.staging(path.parent) as staged:
                document = {"created": time.time(), "labels": dict(labels or {}), "size": size}
                self._make_blank(name, staged, kind, document)
                staged.rename(path)
        return volume_kinds.contents(path)

    def _make_blank(self, name: str, staged: Path, kind: str, document: dict[str, Any]) -> None:
        """Make a blank volume in a staged directory; its record says how large it is to be."""
        size = document.get("size") or _default_disk()
        if kind == DISK and (problem := volume_kinds.size_problem(size)):
            raise InputError(problem, resolution=f"stoneware volume create --size 20g {name}")
        volume_kinds.make_blank(staged, kind, size)
        self._limit(name, staged, document)
        write_json(staged / "document.json", document)

    @contextlib.contextmanager
    def _replacing(self, name: str) -> Iterator[Path]:
        """Give a new directory, and let a volume be what is in it at the end, in one moment."""
        path = self._volume(name)
        with self.staging(path.parent) as staged:
            made = staged / "volume"
            made.mkdir(mode=0o700)
            yield made
            if path.is_dir():
                btrfs.exchange(made, path)
            else:
                made.rename(path)
            sync_directory(path.parent)

    def become_locked(self, name: str, kind: str, machine: str) -> None:
        """Let a blank volume be of the kind that a machine needs; the caller holds its lock.

        Raises InputError where it is of the other kind and something is on it.
        """
        path = self._volume(name)
        if volume_kinds.kind_of(path) == kind:
            return
        if not volume_kinds.is_blank(path):
            raise volume_kinds.wrong_kind(name, kind, machine)
        document: dict[str, Any] = read_json(path / "document.json") or {}
        # The group is that of the subvolume that goes; the new one gets its own.
        document = {key: value for key, value in document.items() if key != "group"}
        if kind == DIRECTORY:
            document["size"] = self._size_of_disk(path, document)
        with self._replacing(name) as made:
            self._make_blank(name, made, kind, document)

    def convert_volume_locked(self, name: str, kind: str, size: int | None, converter: Converter) -> None:
        """Let a volume be of another kind; the caller holds its lock, and no machine that has it runs.

        What was there before goes when all of it is written, in one moment. Raises InputError for a volume of
        that kind, and for a size that is too small.
        """
        path = self._volume(name)
        if self.volume(name).kind == kind:
            raise InputError(f"the volume {name!r} is a {kind} already", resolution="stoneware volume ls")
        if kind == DIRECTORY and size is not None:
            raise InputError(
                "a directory has no size", resolution=f"stoneware volume convert {name} --to {kind}"
            )
        if size is not None and (problem := volume_kinds.size_problem(size)):
            raise InputError(problem, resolution=f"stoneware volume convert {name} --size 20g")
        store_errors.check_room(self.home, self.data)
        document: dict[str, Any] = read_json(path / "document.json") or {}
        document = {key: value for key, value in document.items() if key != "group"}
        with self._replacing(name) as made:
            if kind == DISK:
                least = document.get("size") or _default_disk()
                document["size"] = size or max(least, converter.least_size(path) * 5 // 4 // MIB * MIB)
            else:
                document["size"] = self._size_of_disk(path, document)
            self._make_blank(name, made, kind, document)
            converter.fill(path, made)
            # On the disk before the exchange: what was there goes with it.
            for directory in (volume_kinds.contents(made), made):
                sync_directory(directory)

    def _size_of_disk(self, path: Path, document: Mapping[str, Any]) -> int | None:
        """Return what a directory may take that was a disk: as much as that, which may have grown since."""
        return volume_kinds.disk_size(path) if store_quota.has_quotas(self.data) else document.get("size")

    def check_kind(self, name: str, kind: str, machine: str) -> None:
        """Raise InputError where a volume is not of the kind that a machine needs."""
        if volume_kinds.kind_of(self._volume(name)) != kind:
            raise volume_kinds.wrong_kind(name, kind, machine)

    def disk_path(self, name: str) -> Path:
        """Return the file that is a volume's disk."""
        return volume_kinds.disk_file(self._volume(name))

    def resize_disk_locked(self, name: str, size: int) -> None:
        """Make a volume's disk larger; the caller holds its lock. Raises InputError for a smaller size."""
        path = self._volume(name)
        self.volume(name)  # says that there is none
        if volume_kinds.kind_of(path) != DISK:
            raise InputError(
                f"the volume {name!r} is a directory, which has a limit and no size",
                resolution=f"stoneware volume create --size 20g {name}    # changes what it may take",
            )
        with store_errors.clear_errors(self.home):
            volume_kinds.grow(path, name, size)
        self.limit_volume(name)

    def _resize(self, path: Path, size: int | None) -> None:
        if size is not None and volume_kinds.kind_of(path) == DISK:
            self.resize_disk_locked(path.name, size)
            return
        document: dict[str, Any] = read_json(path / "document.json") or {}
        if size not in (None, document.get("size")):
            self._limit(path.name, path, {**document, "size": size})
            write_json(path / "document.json", {**document, "size": size})

    def limit_volume(self, name: str) -> None:
        """Limit what a volume may take, as it was created: those of an older Stoneware have no limit yet."""
        path = self._volume(name)
        self._limit(name, path, read_json(path / "document.json") or {})

    def _limit(self, name: str, path: Path, document: Mapping[str, Any]) -> None:
        size = document.get("size")
        if volume_kinds.kind_of(path) == DISK:
            # A machine cannot be told that its disk is full before its end is reached; and what is
            # overwritten there in parts takes more room here for a while.
            size = 2 * volume_kinds.disk_size(path) if store_quota.has_quotas(self.data) else None
        store_quota.limit(
            self.home,
            self.data,
            volume_kinds.contents(path),
            size,
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
        group = whole(path / "document.json").get("group")
        return store_quota.figures(self.data, volume_kinds.contents(path), group)

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
            # From the specs themselves: the list that is kept in memory may be a moment old.
            users = self.volume_users(name)
            if users:
                raise InputError(
                    f"the volume {name!r} is in use",
                    details=f"by the machine {', '.join(users)}",
                    resolution=f"stoneware rm -f {users[0]} && stoneware volume rm {name}",
                )
            self.discard(self._volume(name))

    def volume_path(self, name: str) -> Path:
        """Return the subvolume with a volume's data: the directory that it is, or that its disk is in."""
        return volume_kinds.contents(self._volume(name))

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


def _default_disk() -> int:
    return store_quota.default_size(store_quota.VOLUME_VARIABLE) or volume_kinds.DEFAULT_SIZE


def _read_any(path: Path, users: Mapping[str, list[str]]) -> Volume:
    """Return a volume for a list: one whose record is damaged says so in a label, and is not pruned."""
    try:
        return _read(path, users)
    except DamagedError as error:
        labels = {DAMAGED_LABEL: f"{error.why}; {error.resolution.partition(' #')[0].strip()}"}
        return Volume(path.name, 0.0, labels, tuple(users.get(path.name, ())))


def _read(path: Path, users: Mapping[str, list[str]]) -> Volume:
    document: dict[str, Any] = read_json(path / "document.json") or {}
    kind = volume_kinds.kind_of(path)
    size, blank = document.get("size"), False
    # It is being removed, or somebody did so.
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        blank = volume_kinds.is_blank(path)
        size = volume_kinds.disk_size(path) if kind == DISK else size
    return Volume(
        name=path.name,
        created=document.get("created", 0.0),
        labels=document.get("labels", {}),
        machines=tuple(users.get(path.name, ())),
        size=size,
        floor=str(document.get("floor", "")),
        kind=kind,
        blank=blank,
    )
