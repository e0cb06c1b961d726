"""The platform google as the registry opens it: see `stoneware.platforms.registry.Backend`."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from stoneware.errors import InputError, StonewareError

if TYPE_CHECKING:
    from stoneware.platforms.disks import Disks
    from stoneware.platforms.google.clusters import GoogleClusters
    from stoneware.platforms.google.images import GoogleImages
    from stoneware.platforms.google.intake import GoogleIntake
    from stoneware.platforms.google.platform import GooglePlatform
    from stoneware.platforms.google.settings import Settings
    from stoneware.platforms.instances import Computers
    from stoneware.platforms.project_file import Project
    from stoneware.platforms.protocols import Images, Platform
    from stoneware.platforms.upkeep import Finding, Upkeep


def opened(project: Project) -> GoogleBackend:
    """Return the platform as a project's stoneware.toml says."""
    return GoogleBackend(project)


class GoogleBackend:
    """The platform before it is opened; its settings are read when they are needed."""

    shares_ports = False  # each machine has an address of its own

    def __init__(self, project: Project) -> None:
        self._project = project

    @cached_property
    def settings(self) -> Settings:
        """Return the settings. Raises InputError."""
        # Imported here and below where it is needed: imports are a good part of a short command.
        from stoneware.platforms.google import settings

        return settings.read_settings(self._project.file, os.environ)

    def open_images(self, *, create: bool = True) -> tuple[GoogleImages, list[str]]:  # noqa: ARG002 - it is there
        """Open the images of the project; nothing is asked of Google yet."""
        from stoneware.platforms.google.api import Api
        from stoneware.platforms.google.bucket import Bucket
        from stoneware.platforms.google.images import GoogleImages

        api = Api(self.settings)
        return GoogleImages(api, Bucket(api), self.home()), []

    def open_platform(self, images: Images) -> GooglePlatform:
        """Return the platform over the images."""
        from stoneware.platforms.google.platform import GooglePlatform

        return GooglePlatform(cast("GoogleImages", images))

    def home(self) -> Path:
        """Return the directory of this computer's own bakes, one for each project."""
        home = os.environ.get("STONEWARE_HOME")
        state = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
        place = Path(home) if home else Path(state) / "stoneware"
        # Old projects have a domain in front, and a colon.
        return place.absolute() / "google" / self.settings.project.replace(":", "_")

    def clusters(self, images: Images) -> GoogleClusters:
        """Return the clusters of the bucket."""
        from stoneware.platforms.google.clusters import GoogleClusters

        opened = cast("GoogleImages", images)
        return GoogleClusters(opened.bucket, opened.home)

    def outliving(self, description: str) -> tuple[str, ...]:  # noqa: ARG002 - it needs no unit of systemd
        """Return nothing to put before a command."""
        return ()

    def recover(self, images: Images) -> list[str]:
        """Remove what killed pushes left; what bakes leave, bake recovers."""
        opened = cast("GoogleImages", images)
        # Without a push of this computer nothing is loaded, and nothing asked of Google.
        if not (opened.home / "pushes").is_dir():
            return []
        from stoneware.platforms.google.intake import GoogleIntake

        return GoogleIntake(opened).recover()

    def left(self, images: Images) -> list[str]:
        """Tell of builders and disks that killed commands of other computers left."""
        from stoneware.platforms.google.told_left import told

        opened = cast("GoogleImages", images)
        # A bake that has its directory here is removed by the next bake here.
        return told(opened.api, lambda bake: opened.build_path(bake).is_dir(), time.time())

    def open_upkeep(self, platform: Platform) -> Upkeep:
        """Return what looks after the project."""
        from stoneware.platforms.google.upkeep import GoogleUpkeep

        return GoogleUpkeep(cast("GooglePlatform", platform).images)

    def open_disks(self, images: Images) -> Disks:  # noqa: ARG002
        """Say that images there are disks of Google's own already."""
        raise InputError(
            "images of the platform google cannot be exported",
            details="They are images of Compute Engine, which writes them to a bucket by itself.",
            resolution="gcloud compute images export --image IMAGE --destination-uri gs://BUCKET/FILE",
        )

    def open_intake(self, images: Images) -> GoogleIntake:
        """Return what makes images of the project of archives."""
        from stoneware.platforms.google.intake import GoogleIntake

        return GoogleIntake(cast("GoogleImages", images))

    def open_instances(
        self, images: Images, state: Path, *, bare: bool = False, vm: bool = False
    ) -> Computers:
        """Refuse: instances of an emulator are machines of this computer."""
        raise InputError(
            "machines behind an emulator are of this computer",
            details=f"{state}, {type(images).__name__}, bare: {bare}, vm: {vm}",
            resolution="unset STONEWARE_PLATFORM",
        )

    def requirements(self) -> list[Finding]:
        """Return what the project must have, and what of it is there."""
        from stoneware.platforms.google.api import Api
        from stoneware.platforms.google.doctor import findings

        return findings(Api(self.settings))

    def explained(self, error: OSError) -> StonewareError | None:  # noqa: ARG002 - no file system of its own
        """Return nothing: the platform has no file system."""
        return None

    @contextlib.contextmanager
    def clear_errors(self) -> Iterator[None]:
        """Let all errors pass: the platform has no file system."""
        yield
