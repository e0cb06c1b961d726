"""Snapshots of volumes: read-only subvolumes that share their blocks with the volume, and outlive it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stoneware.errors import InputError
from stoneware.files import read_json, sync_directory, write_json
from stoneware.image.versions import highest
from stoneware.model import names
from stoneware.model.resources import DISK, Snapshot
from stoneware.model.snapshots import BEFORE_RESTORE, name_at
from stoneware.platforms.local.store import btrfs, btrfs_nested, volume_kinds
from stoneware.platforms.local.store import errors as store_errors
from stoneware.platforms.local.store import quota as store_quota
from stoneware.platforms.local.store.volumes import VolumeStore
from stoneware.records import whole

_MOST_COUNTED = 200_000  # files; a snapshot of more has no size: counting must not take long


class SnapshotStore(VolumeStore):
    """The part of the store that keeps volumes and their snapshots."""

    def snapshot_path(self, volume: str, name: str) -> Path:
        """Return the directory of a snapshot. Raises InputError for what is no name."""
        self._volume(volume)
        if not names.SNAPSHOT.allows(name):
            raise InputError(
                f"{name!r} is not a snapshot name",
                details=f"A name has {names.SNAPSHOT.words}.",
                resolution=f"stoneware volume snapshot create {volume} --name NAME",
            )
        return self.data / "snapshots" / f"{volume}@{name}"

    def snapshots(self, volume: str = "") -> list[Snapshot]:
        """Return the snapshots of a volume, or of all, by volume and time."""
        if volume:
            self._volume(volume)
        paths = (self.data / "snapshots").glob(f"{volume or '[!.]*'}@*")
        return sorted(map(_read, paths), key=lambda one: (one.volume, one.created, one.name))

    def snapshot_groups(self) -> dict[str, int | None]:
        """Return the numbers of the groups that the snapshots' blocks are charged to, by `VOLUME@NAME`."""
        paths = (self.data / "snapshots").glob("[!.]*@*")
        return {path.name: whole(path / "document.json").get("group") for path in paths}

    def volume_groups(self) -> set[int | None]:
        """Return the numbers of the groups that what volumes have is charged to."""
        found: set[int | None] = set()
        for volume in self.volumes():
            path = self._volume(volume.name)
            with contextlib.suppress(OSError):  # removed meanwhile
                record = whole(path / "document.json")
                have = volume_kinds.contents(path)
                found.add(store_quota.group_of(self.data, have, record.get("group")))
        return found

    def snapshot_volume(self, volume: str, name: str) -> Snapshot:
        """Keep what is on a volume now. Raises InputError where it is gone or has a snapshot of that name."""
        self.snapshot_path(volume, name)
        with self.volume_locks([volume]):
            return self._take(volume, name)

    def _take(self, volume: str, name: str, *, automatic: bool = False) -> Snapshot:
        target, path = self.snapshot_path(volume, name), self._volume(volume)
        self.volume(volume)  # says that there is none
        if target.exists():
            raise InputError(
                f"the volume {volume!r} has a snapshot {name!r}",
                resolution=f"stoneware volume snapshot rm {volume} {name}    # or another --name",
            )
        store_errors.check_room(self.home, self.data)
        have = volume_kinds.contents(path)
        _check_whole(volume, have)
        record: dict[str, Any] = read_json(path / "document.json") or {}
        target.parent.mkdir(mode=0o700, exist_ok=True)
        with self.staging(target.parent) as staged:
            group = store_quota.group_of(self.data, have, record.get("group"))
            btrfs.snapshot(have, staged / have.name, read_only=True)
            store_quota.join(self.data, staged / have.name, group)
            # Blocks stay charged to the volume's group while a snapshot has them, overwritten or not.
            charged = self.volume_figures(volume)
            document = {
                "created": time.time(),
                "automatic": automatic,
                "bytes": _counted(staged / have.name),
                "charged": charged.used + charged.held if charged else 0,
                "group": group,
                "volume": record,
            }
            write_json(staged / "document.json", document)
            staged.rename(target)
            sync_directory(target.parent)
        self.limit_volume(volume)
        return _read(target)

    def restore_volume_locked(self, volume: str, name: str) -> Snapshot | None:
        """Let a volume have again what a snapshot has, and return the snapshot of what it had.

        The caller holds the volume's lock, and no machine that has it runs. At each instant the volume is
        whole: it is the former one until it is the restored one.
        """
        source, path = self._existing(volume, name), self._volume(volume)
        kept = None
        if path.is_dir():
            taken = [one.name for one in self.snapshots(volume)]
            # A restore keeps what it replaces: it is a way back from a wrong restore as well.
            kept = self._take(volume, name_at(time.time(), taken, BEFORE_RESTORE), automatic=True)
        document = _restored(read_json(path / "document.json"), read_json(source / "document.json") or {})
        with self._replacing(volume) as made:
            have = volume_kinds.contents(source)
            btrfs.snapshot(have, made / have.name, read_only=False)
            _keep_size(made, path)
            write_json(made / "document.json", document)
            self._limit(volume, made, document)
        return kept

    def check_whole(self, volume: str) -> None:
        """Raise InputError where a copy of what is on a volume would leave something out."""
        _check_whole(volume, self.volume_path(volume))

    def renew_volume_locked(self, volume: str) -> None:
        """Let a volume be another subvolume with the same in it; the caller holds its lock.

        Who has hidden a way into the former one has one that leads nowhere else. At each instant the volume
        is whole. Raises InputError where something would be left out: then it is what it was.
        """
        path = self._volume(volume)
        have = volume_kinds.contents(path)
        document: dict[str, Any] = read_json(path / "document.json") or {}
        # What was written so far counts to the former one's group, so the new one is in that, too.
        group = store_quota.group_of(self.data, have, document.get("group"))
        document |= {"group": group} if group else {}
        with self._replacing(volume) as made:
            btrfs.snapshot(have, made / have.name, read_only=False)
            self.check_whole(volume)
            write_json(made / "document.json", document)
            self._limit(volume, made, document)

    def remove_snapshot(self, volume: str, name: str) -> None:
        """Remove a snapshot; a missing one is no error."""
        target = self.snapshot_path(volume, name)
        with self.volume_locks([volume]):
            if target.exists():
                self.discard(target)

    def _existing(self, volume: str, name: str) -> Path:
        path = self.snapshot_path(volume, name)
        if not path.is_dir():
            known = [one.name for one in self.snapshots(volume)]
            raise InputError(
                f"the volume {volume!r} has no snapshot {name!r}",
                details=f"It has {', '.join(known)}." if known else "",
                resolution=f"stoneware volume snapshot ls {volume}",
            )
        return path


def _check_whole(volume: str, data: Path) -> None:
    """Raise InputError where a snapshot of a volume would leave something out."""
    if left := btrfs_nested.left_out(data):
        raise InputError(
            f"the volume {volume!r} has btrfs subvolumes inside, which no snapshot would have",
            details=btrfs_nested.shown(left),
            resolution="make ordinary directories of them in the machine, or copy the data by `stoneware cp`",
        )


def _keep_size(restored: Path, volume: Path) -> None:
    """Let a disk that is restored be as large as it has become since."""
    kinds = {volume_kinds.kind_of(restored), volume_kinds.kind_of(volume)}
    if kinds == {DISK} and volume_kinds.disk_size(volume) > volume_kinds.disk_size(restored):
        volume_kinds.grow(restored, volume.name, volume_kinds.disk_size(volume))


def _restored(record: Mapping[str, Any] | None, snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of a restored volume: what it had stays, its floor is never lowered."""
    then: Mapping[str, Any] = snapshot.get("volume") or {}
    document = {**(then if record is None else record)}
    floors = [str(one["floor"]) for one in (then, document) if one.get("floor")]
    floor = {"floor": highest(floors)} if floors else {}
    group = {"group": snapshot["group"]} if snapshot.get("group") else {}
    return {**document, **floor, **group}


def _read(path: Path) -> Snapshot:
    """Return a snapshot; one whose record is damaged is there all the same, of an unknown time."""
    volume, _, name = path.name.partition("@")
    document = whole(path / "document.json")
    return Snapshot(
        volume=volume,
        name=name,
        created=document.get("created", 0.0),
        size=document.get("bytes"),
        floor=str((document.get("volume") or {}).get("floor", "")),
        automatic=bool(document.get("automatic")),
    )


def _counted(directory: Path) -> int | None:
    """Return the bytes of all files below a directory, which a guest may have filled with anything."""
    waiting, linked, size, count = [str(directory)], set(), 0, 0
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                count += 1
                if count > _MOST_COUNTED:
                    return None
                status = entry.stat(follow_symlinks=False)
                # Below, blocks are added up, not sizes: a guest's sparse file can claim any size.
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif status.st_ino not in linked:
                    size += status.st_blocks * 512
                    linked |= {status.st_ino} if status.st_nlink > 1 else set()
    return size
