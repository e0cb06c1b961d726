"""The store: what Stoneware keeps on this computer."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from stoneware.errors import HostError, InputError
from stoneware.files import locked, read_json, sha256_hex, sync_directory, write_atomic, write_json
from stoneware.platforms.local.host.requirements import STORE_TOOLS, check
from stoneware.platforms.local.network.networks import NetworkStore
from stoneware.platforms.local.store import btrfs, btrfs_nested
from stoneware.platforms.local.store import errors as store_errors
from stoneware.platforms.local.store import pool as store_pool
from stoneware.platforms.local.store import quota as store_quota
from stoneware.platforms.local.store import walls as store_walls
from stoneware.platforms.local.store.base import home_path
from stoneware.platforms.local.store.secrets import SecretStore
from stoneware.platforms.local.store.snapshots import SnapshotStore
from stoneware.platforms.project_file import Project
from stoneware.records import DamagedError, read_raw, whole
from stoneware.untrusted.bounded import BoundsError, read_bounded

VERSION = "1"
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_IMAGE = re.compile(r"sha256:([0-9a-f]{64})")


class Store(SnapshotStore, NetworkStore, SecretStore):
    """One store, in a directory called HOME.

    Layout (version 1)::

        version                 "1"; another number means another version of Stoneware owns it
        pool.btrfs              sparse file, loop-mounted at data/; absent where HOME is on btrfs itself
        data/checkpoints/KEY/   rootfs (read-only subvolume), document.json; files.list: see `lists.entries`
        data/images/HEX/        rootfs (read-only), manifest.json (its SHA-256 is HEX), document.json; same
        data/machines/NAME/     see stoneware.platforms.local.machines
        data/volumes/NAME/      data (subvolume), document.json
        data/snapshots/VOLUME@NAME/  data (read-only subvolume), document.json
        data/networks/NAME/     document.json; addresses.json: which address each machine's name keeps in it
        data/secrets/NAME.json  version and value (base64); directory 0700, file 0600
        data/disks/HEX/         disk.raw (read only), document.json: the disk of an image;
                                HEX is a digest of the image, its kernel and how disks are assembled
        data/cache/HEX/         directory of one RUN --mount=type=cache; HEX is the SHA-256 of its id
        data/builds/ID/         one bake's working directory; left over only by an interrupted bake
        bases/NAME.json         what a base such as debian:12 was made from, and its identity
        tags/NAME/TAG.json      {"image": "sha256:…", "updated": seconds}
        copies/TOKEN            where a `cp` that runs unpacks: removed by the next command if it is killed
        locks/                  flock files, never removed while they may be held
        run/                    state of running processes; meaningless after a reboot

    Everything is made as `.staged-…` next to its final place, synced, and renamed, so a kill at any instant
    leaves the old state or the new one. The maker of a staged directory holds `locks/staged/…`: one whose
    lock is free is a leftover, and `recover` removes it. One object (a checkpoint, an image, a machine, a
    volume, a network, a secret) is changed only under its own lock `locks/KIND/NAME.lock`; a network's
    addresses under the router's. Readers take no locks.
    """

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.told: list[str] = []  # what `open` had to repair, as sentences for the user
        self.project: Project | None = None  # whose stoneware.toml may name bases of its own

    @classmethod
    def open(cls, home: Path | None = None, *, create: bool = True) -> Self:
        """Open the store, making and mounting it where needed.

        Nothing is forked when it is mounted already. Raises HostError without root, with a store of another
        version, or where there is none and `create` is not set.
        """
        store = cls(home_path(home))
        if os.geteuid() != 0:
            raise HostError(
                "Stoneware's local engine needs root",
                details="It makes network namespaces, mounts and machines.",
                resolution="sudo stoneware …",
            )
        if not store._version_is_ours():
            if not create:
                raise HostError(
                    f"there is no store in {store.home}",
                    resolution="stoneware bake …    # creates one; STONEWARE_HOME sets its directory",
                )
            store._make()
        # Before all else: until it is mounted, its directory is an empty one of the disk below.
        store_pool.mount(store.home)
        if store_errors.is_read_only(store.data):
            from stoneware.platforms.local.store.revive import revive

            store.told += revive(store)
        store.told += store_walls.raise_walls(store.home, store.data)
        if told := store_quota.prepare(store.home, store.data):
            store.told.append(told)
        return store

    def _version_is_ours(self) -> bool:
        """Say whether there is a store; raise HostError when it is one of another version."""
        try:
            found = read_bounded(self.home / "version", 4096).decode(errors="replace").strip()
        except FileNotFoundError:
            return False
        except BoundsError as error:
            found = f"that {error}"
        except OSError as error:
            raise HostError(
                f"there can be no store in {self.home}",
                details=f"{error.filename or self.home}: {error.strerror}",
                resolution="STONEWARE_HOME=/another/directory stoneware …",
            ) from error
        if found == VERSION:
            return True
        raise HostError(
            f"the store in {self.home} has version {found[:40]!r}; this Stoneware knows version {VERSION}",
            details="Nothing in it has been touched.",
            resolution=f"use the Stoneware that created it, or STONEWARE_HOME={self.home}-{VERSION}",
        )

    def _make(self) -> None:
        check(STORE_TOOLS)
        with store_errors.clear_errors(self.home), store_pool.usable(self.home):
            self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            # mkdir's mode is less the umask, and the directory may have been there.
            self.home.chmod(0o700)
        with locked(self.home / "locks" / "store.lock"):
            if self._version_is_ours():
                return
            if not (self.home / "pool.btrfs").exists():
                store_pool.make(self.home)
            store_pool.mount(self.home)
            with store_errors.clear_errors(self.home):
                for kind in ("checkpoints", "images", "machines", "volumes", "networks", "cache", "builds"):
                    (self.data / kind).mkdir(exist_ok=True, mode=0o700)
                for kind in ("bases", "tags", "run", "locks/staged"):
                    (self.home / kind).mkdir(exist_ok=True, parents=True)
                self.data.chmod(0o700)
                # Last: without it the next command makes what a kill has left out.
                write_atomic(self.home / "version", f"{VERSION}\n")

    # -- snapshots under a name -----------------------------------------------------------------------------

    def _publish(
        self,
        kind: str,
        name: str,
        rootfs: Path,
        documents: Mapping[str, Any],
        taken: Callable[[], None] | None = None,
    ) -> bool:
        """Save a snapshot and its documents under a name, once; False when it was there already.

        `taken` is called when the snapshot is made, or not needed. Raises MachineError for a root with
        subvolumes in it.
        """
        target = self.data / kind / name
        told = taken or (lambda: None)
        if target.exists():
            told()
            return False
        with self.lock(kind, name), self.staging(target.parent) as staged:
            if target.exists():
                told()
                return False
            btrfs_nested.settle(rootfs)
            # All that a running builder has to wait for: documents are written while its next step begins.
            btrfs.snapshot(rootfs, staged / "rootfs", read_only=True)
            told()
            for filename, document in documents.items():
                if isinstance(document, bytes):
                    write_atomic(staged / filename, document)
                else:
                    write_json(staged / filename, document)
            staged.rename(target)
            sync_directory(target.parent)
        return True

    def _discard(self, kind: str, name: str) -> None:
        """Remove an object: renamed away first, so that no reader sees half of it."""
        target = self.data / kind / name
        with self.lock(kind, name):
            self.discard(target)

    # -- checkpoints ---------------------------------------------------------------------------------------

    def _checkpoint(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"not a checkpoint key: {key!r}")
        return self.data / "checkpoints" / key

    def has_checkpoint(self, key: str) -> bool:
        """Say whether a step's result is stored."""
        return self._checkpoint(key).is_dir()

    def checkpoint_keys(self) -> list[str]:
        """Return the keys of all checkpoints, sorted."""
        return _names(self.data / "checkpoints")

    def checkpoint_rootfs(self, key: str) -> Path:
        """Return the root file system of a checkpoint (a read-only subvolume)."""
        return self._checkpoint(key) / "rootfs"

    def checkpoint_document(self, key: str) -> dict[str, Any] | None:
        """Return what was noted with a checkpoint, or None when it is not there."""
        return whole(self._checkpoint(key) / "document.json") or None

    def save_checkpoint(
        self,
        key: str,
        rootfs: Path,
        document: Mapping[str, Any],
        *,
        taken: Callable[[], None] | None = None,
    ) -> None:
        """Save a snapshot of `rootfs` under a step key; one that exists already is kept.

        `taken` is called once `rootfs` may change again.
        """
        self._checkpoint(key)
        if not self._publish("checkpoints", key, rootfs, {"document.json": dict(document)}, taken):
            self.touch_checkpoint(key)

    def touch_checkpoint(self, key: str) -> None:
        """Note in a checkpoint's file times that it was used now."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._checkpoint(key) / "document.json")

    def remove_checkpoint(self, key: str) -> None:
        """Remove a checkpoint; a missing one is no error."""
        self._checkpoint(key)
        self._discard("checkpoints", key)

    # -- images --------------------------------------------------------------------------------------------

    def _image(self, image_id: str) -> Path:
        match = _IMAGE.fullmatch(image_id)
        if match is None:
            raise ValueError(f"not an image id: {image_id!r}")
        return self.data / "images" / match[1]

    def has_image(self, image_id: str) -> bool:
        """Say whether an image is stored."""
        return self._image(image_id).is_dir()

    def image_ids(self) -> list[str]:
        """Return the ids of all images, sorted."""
        found = (f"sha256:{name}" for name in _names(self.data / "images"))
        return [image_id for image_id in found if _IMAGE.fullmatch(image_id)]

    def _image_file(self, image_id: str, name: str) -> Path:
        path = self._image(image_id) / name
        if not path.parent.exists():
            raise InputError(f"there is no image {image_id}", resolution="stoneware images")
        return path

    def manifest_bytes(self, image_id: str) -> bytes:
        """Return an image's manifest, byte for byte what its id is the SHA-256 of.

        Raises DamagedError where it is not.
        """
        path = self._image_file(image_id, "manifest.json")
        found = read_raw(path)
        # So nothing that was changed on the disk is ever taken for the image that was baked.
        if found is None or sha256_hex(found) != path.parent.name:
            raise DamagedError(path, "is not what the image's id is the digest of")
        return found

    def manifest(self, image_id: str) -> dict[str, Any]:
        """Return an image's manifest. Raises DamagedError where it is not what the bake wrote."""
        found: dict[str, Any] = json.loads(self.manifest_bytes(image_id))
        return found

    def image_document(self, image_id: str) -> dict[str, Any]:
        """Return what this store noted with an image (when it came here and so on)."""
        return whole(self._image_file(image_id, "document.json"))

    def image_rootfs(self, image_id: str) -> Path:
        """Return an image's root file system (a read-only subvolume)."""
        return self._image_file(image_id, "rootfs")

    def source_rootfs(self, source: str) -> Path:
        """Return the root file system that `image:ID` or `checkpoint:KEY` names. Raises InputError."""
        kind, _, key = source.partition(":")
        if kind == "image":
            return self.image_rootfs(key)
        if kind == "checkpoint" and self.has_checkpoint(key):
            return self.checkpoint_rootfs(key)
        raise InputError(f"there is nothing to boot from at {source!r}", resolution="stoneware images")

    def save_image(self, rootfs: Path, manifest: bytes, document: Mapping[str, Any]) -> str:
        """Save a snapshot of `rootfs` as an image and return its id; one that exists already is kept."""
        name = sha256_hex(manifest)
        note = {"created": time.time(), **document}
        self._publish("images", name, rootfs, {"manifest.json": manifest, "document.json": note})
        return f"sha256:{name}"

    def remove_image(self, image_id: str) -> None:
        """Remove an image and the tags on it; a missing one is no error. Machines keep their own roots."""
        # The tags first: a kill may leave an image without one, but no tag without its image.
        for reference, tagged in self.tags().items():
            if tagged == image_id:
                self.remove_tag(reference)
        self._discard("images", self._image(image_id).name)

    # -- tags ----------------------------------------------------------------------------------------------

    def _tag(self, reference: str) -> Path:
        name, colon, tag = reference.rpartition(":")
        parts = [*name.split("/"), tag]
        if not colon or any(not _KEY.fullmatch(part) for part in parts):
            raise InputError(f"{reference!r} is not a tag", resolution="use NAME:TAG, e.g. hello:latest")
        # No name has a percent sign, so there and back is unambiguous.
        return self.home / "tags" / name.replace("/", "%") / f"{tag}.json"

    def tags(self) -> dict[str, str]:
        """Return all tags: `NAME:TAG` to image id, sorted. Those whose record is damaged are left out."""
        found: dict[str, str] = {}
        for path in sorted((self.home / "tags").glob("*/[!.]*.json")):
            document = whole(path)
            if document:
                found[f"{path.parent.name.replace('%', '/')}:{path.stem}"] = document["image"]
        return found

    def check_tags(self) -> None:
        """Raise DamagedError where a tag's record is damaged: then it is unknown which image is tagged."""
        for path in (self.home / "tags").glob("*/[!.]*.json"):
            read_json(path)

    def tagged(self, reference: str) -> str | None:
        """Return the image id of one tag `NAME:TAG`, or None: the fast way for a bake without work."""
        document = read_json(self._tag(reference))
        return None if document is None else str(document["image"])

    def set_tag(self, reference: str, image_id: str) -> None:
        """Make a tag point at an image. Raises InputError when there is no such image."""
        path = self._tag(reference)
        if not self.has_image(image_id):
            raise InputError(f"there is no image {image_id}", resolution="stoneware images")
        with self.lock("tags", path.parent.name), store_errors.clear_errors(self.home):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"image": image_id, "updated": time.time()})

    def remove_tag(self, reference: str) -> None:
        """Remove a tag; a missing one is no error."""
        path = self._tag(reference)
        with self.lock("tags", path.parent.name), contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            # Refused while the name has other tags.
            path.parent.rmdir()

    # -- builds --------------------------------------------------------------------------------------------

    def build_path(self, build_id: str) -> Path:
        """Return the working directory of one bake (not made yet)."""
        return self.data / "builds" / build_id

    def build_lock_path(self, build_id: str) -> Path:
        """Return the flock file that a living bake holds: free means that the bake is gone."""
        return self.lock_path("builds", build_id)


def _names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir() if not entry.name.startswith("."))
