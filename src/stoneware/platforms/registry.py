"""The platforms there are, opened by name. Each is imported when it is asked for, and not before."""

from __future__ import annotations

import importlib
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from stoneware.errors import InputError, StonewareError
from stoneware.platforms.project_file import Project

if TYPE_CHECKING:
    from stoneware.platforms.cluster_records import Clusters
    from stoneware.platforms.disks import Disks
    from stoneware.platforms.instances import Computers
    from stoneware.platforms.intake import Intake
    from stoneware.platforms.protocols import Images, Platform
    from stoneware.platforms.upkeep import Finding, Upkeep

DEFAULT = "local"
VARIABLE = "STONEWARE_PLATFORM"
# By their names: nothing imports a platform, and one that is not asked for is not loaded.
_MODULES = {"local": "stoneware.platforms.local.backend", "google": "stoneware.platforms.google.backend"}
NAMES = tuple(_MODULES)


class Backend(Protocol):
    """A platform before it is opened: what `opened(PROJECT)` of a platform's module returns."""

    @property
    def shares_ports(self) -> bool:
        """Say whether machines publish their ports at one address, so that no two can have the same."""
        ...

    def open_images(self, *, create: bool = True) -> tuple[Images, list[str]]:
        """Open the place where images are kept, and return it with sentences for the user.

        It is made where there is none and `create` is set; else InputError is raised.
        """
        ...

    def open_platform(self, images: Images) -> Platform:
        """Return the platform over the images."""
        ...

    def home(self) -> Path:
        """Return the directory on this computer that the platform keeps its things in; it may be missing."""
        ...

    def clusters(self, images: Images) -> Clusters:
        """Return where what is kept of clusters is."""
        ...

    def outliving(self, description: str) -> tuple[str, ...]:
        """Return the prefix of a command that does not end with the unit of systemd that it is started in."""
        ...

    def recover(self, images: Images) -> list[str]:
        """Remove what killed commands left, and return what was done as sentences for the user."""
        ...

    def left(self, images: Images) -> list[str]:
        """Return sentences on what others left that costs money, for the end of a command.

        They come from what the command has listed of the platform itself; it is quick, and never an error.
        """
        ...

    def open_upkeep(self, platform: Platform) -> Upkeep:
        """Return what looks after a platform that is open."""
        ...

    def open_disks(self, images: Images) -> Disks:
        """Return what writes images to files. Raises InputError where the platform cannot."""
        ...

    def open_intake(self, images: Images) -> Intake:
        """Return what takes images of another platform. Raises InputError where it takes none."""
        ...

    def open_instances(
        self, images: Images, state: Path, *, bare: bool = False, vm: bool = False
    ) -> Computers:
        """Return the machines behind the instances of an emulated cloud, whose records are in `state`.

        `bare`: its public images are without Stoneware's programs. `vm`: they have kernels of their own.
        """
        ...

    def requirements(self) -> list[Finding]:
        """Return what the platform must have, and what of it is there."""
        ...

    def explained(self, error: OSError) -> StonewareError | None:
        """Return an error of the system in the platform's words, or None where it is none of its own."""
        ...

    def clear_errors(self) -> AbstractContextManager[None]:
        """Turn errors of the system that are the platform's own into errors that say what to do."""
        ...


def project_of(directory: Path = Path()) -> Project:
    """Return a directory with its stoneware.toml, which may have the tables of all platforms."""
    return Project(directory, NAMES)


def chosen(project: Project) -> str:
    """Return the platform that a project's commands use: STONEWARE_PLATFORM's, else stoneware.toml's."""
    return os.environ.get(VARIABLE) or project.file.platform or DEFAULT


def backend(name: str, project: Project) -> Backend:
    """Return the platform of a name, set up for a project. Raises InputError where there is none."""
    module = _MODULES.get(name)
    if module is None:
        known = ", ".join(sorted(_MODULES))
        file = project.file
        said = bool(file.platform) and file.platform == name and not os.environ.get(VARIABLE)
        raise InputError(
            f"there is no platform {name!r}",
            resolution=f"platforms: {known}",
            location=file.place("platform") if said else "",
        )
    return cast(Backend, importlib.import_module(module).opened(project))
