"""The local platform as the registry opens it: see `stoneware.platforms.registry.Backend`."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, cast

from stoneware.errors import InputError, StonewareError

# Imported where it is used, here and below: the router alone was a quarter of what `exec` loaded.
if TYPE_CHECKING:
    from pathlib import Path

    from stoneware.platforms.cluster_files import FileClusters
    from stoneware.platforms.intake import Intake
    from stoneware.platforms.local.disks.export import LocalDisks
    from stoneware.platforms.local.instances import LocalInstances
    from stoneware.platforms.local.platform import LocalPlatform
    from stoneware.platforms.local.store.images import LocalImageStore
    from stoneware.platforms.project_file import Project
    from stoneware.platforms.protocols import Images, Platform
    from stoneware.platforms.upkeep import Finding, Unused, Upkeep, Usage, VolumeUsage


def opened(project: Project) -> LocalBackend:
    """Return the platform as a project's stoneware.toml says."""
    return LocalBackend(project)


class LocalBackend:
    """The platform before it is opened. The store is the computer's; a project may name its own bases."""

    shares_ports = True  # ports of this computer

    def __init__(self, project: Project) -> None:
        self._project = project

    def open_images(self, *, create: bool = True) -> tuple[LocalImageStore, list[str]]:
        """Open the store of STONEWARE_HOME, and return it with what had to be fixed in it."""
        from stoneware.platforms.local.store.images import LocalImageStore

        store = LocalImageStore.open(create=create)
        store.project = self._project
        return store, store.told

    def open_platform(self, images: Images) -> LocalPlatform:
        """Return the platform over a store."""
        from stoneware.platforms.local.platform import LocalPlatform

        return LocalPlatform(cast("LocalImageStore", images))

    def home(self) -> Path:
        """Return the store's directory: STONEWARE_HOME, else /var/lib/stoneware."""
        from stoneware.platforms.local.store.base import home_path

        return home_path()

    def clusters(self, images: Images) -> FileClusters:
        """Return the directory of the store that clusters are kept in."""
        from stoneware.platforms.cluster_files import FileClusters

        return FileClusters(cast("LocalImageStore", images).home / "clusters")

    def outliving(self, description: str) -> tuple[str, ...]:
        """Return the prefix of a command that does not end with the systemd unit it is started from."""
        from stoneware.platforms.local.host import cgroups

        return cgroups.outlive(cgroups.probe(), description)

    def recover(self, images: Images) -> list[str]:
        """Remove what killed commands left in a store, and return what was done."""
        from stoneware.platforms.local.store import recover as recovery

        return recovery.recover(cast("LocalImageStore", images))

    def left(self, images: Images) -> list[str]:  # noqa: ARG002 - `recover` removes it
        """Return nothing: what is left on this computer the next command has removed."""
        return []

    def open_upkeep(self, platform: Platform) -> Upkeep:
        """Return what looks after a store."""
        return LocalUpkeep(cast("LocalPlatform", platform))

    def open_disks(self, images: Images) -> LocalDisks:
        """Return what writes images of a store to files."""
        from stoneware.platforms.local.disks.export import LocalDisks

        return LocalDisks(cast("LocalImageStore", images), self.open_platform(images))

    def open_intake(self, images: Images) -> Intake:  # noqa: ARG002
        """Refuse: images come here by bakes and imports."""
        raise InputError(
            "images are not pushed to the platform local",
            details="It is the one that they are pushed from.",
            resolution="stoneware push IMAGE google",
        )

    def open_instances(
        self, images: Images, state: Path, *, bare: bool = False, vm: bool = False
    ) -> LocalInstances:
        """Return the machines that stand behind the instances of an emulated cloud."""
        store = cast("LocalImageStore", images)
        if vm:
            from stoneware.platforms.local.virtual_instances import VirtualInstances

            return VirtualInstances(store, state, bare=bare)
        from stoneware.platforms.local.instances import LocalInstances

        return LocalInstances(store, state, bare=bare)

    def requirements(self) -> list[Finding]:
        """Return what this computer must have, and what of it is there."""
        from stoneware.platforms.local.host.requirements import findings

        return findings()

    def explained(self, error: OSError) -> StonewareError | None:
        """Return the error of the store's full or failing disk in our words, or None for others."""
        from stoneware.platforms.local.store.base import home_path
        from stoneware.platforms.local.store.errors import explain

        home = home_path()
        return explain(home, error) if home.is_dir() else None

    @contextlib.contextmanager
    def clear_errors(self) -> Iterator[None]:
        """Turn a full disk or a failing file system under the store into an error that says what to do."""
        from stoneware.platforms.local.store import errors
        from stoneware.platforms.local.store.base import home_path

        with errors.clear_errors(home_path()):
            yield


class LocalUpkeep:
    """Looks after a store. Its modules are loaded when they are needed."""

    def __init__(self, platform: LocalPlatform) -> None:
        self._platform = platform

    def unused(
        self,
        *,
        everything: bool,
        wanted: Collection[str],
        keep: int | None = None,  # noqa: ARG002 - there is no Capability.DEPRECATION
    ) -> Unused:
        """Return what nothing uses."""
        from stoneware.platforms.local.store import prune

        return prune.unused(self._platform, everything=everything, wanted=wanted)

    def prune(
        self,
        what: Unused,
        *,
        everything: bool,
        wanted: Collection[str],
        keep: int | None = None,  # noqa: ARG002 - as above
    ) -> int:
        """Remove what `unused` found, and return how many bytes that freed."""
        from stoneware.platforms.local.store import prune

        return prune.prune(self._platform, what, everything=everything, wanted=wanted)

    def usage(self, wanted: Collection[str]) -> Usage:
        """Measure what has the room."""
        from stoneware.platforms.local.store.usage import measure

        return measure(self._platform, wanted)

    def volume_usage(self, name: str) -> VolumeUsage:
        """Return what a volume has and may have; its own limit where the file system has no quotas."""
        from stoneware.model.resources import DISK
        from stoneware.platforms.upkeep import VolumeUsage

        store = self._platform.store
        figures, volume = store.volume_figures(name), store.volume(name)
        path = str(store.disk_path(name) if volume.kind == DISK else store.volume_path(name))
        if figures is None:
            return VolumeUsage(None, volume.size, path)
        return VolumeUsage(figures.used + figures.held, volume.size or figures.limit, path)
