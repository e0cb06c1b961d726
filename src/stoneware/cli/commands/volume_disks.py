"""volume resize and convert: disks of virtual machines, and directories of containers."""

from __future__ import annotations

from enum import Enum

import click

from stoneware.cli import complete, options
from stoneware.cli.context import open_platform
from stoneware.cli.output import print_line
from stoneware.cli.parameters import Group, argument, option
from stoneware.model.capability import Capability, Need, require
from stoneware.model.limits import parse_size
from stoneware.model.resources import DIRECTORY, DISK
from stoneware.platforms.protocols import Platform


class _Kind(Enum):
    DISK = DISK
    DIRECTORY = DIRECTORY


def _open(command: str) -> Platform:
    platform = open_platform()
    require(platform, [Need(Capability.VOLUME_KINDS, f"volume {command}")])
    return platform


@click.command("resize", cls=Group.command_class)
@argument("name", metavar="VOLUME", help="The volume; it has to be a disk.", offers=complete.volumes)
@argument("size", metavar="SIZE", help="Its new size, such as 40g: no smaller than it is.")
@options.on_platform
def resize(name: str, size: str) -> None:
    """Make a disk larger, with the file system on it.

    Where its machine runs, that is done at once; otherwise the file system grows when one starts. Disks never
    shrink. What a directory may take is changed by `volume create --size`.
    """
    wanted = parse_size(size, f"stoneware volume resize {name} 40g")
    _open("resize").resize_volume(name, wanted)
    print_line(name)


@click.command("convert", cls=Group.command_class)
@argument("name", metavar="VOLUME", help="The volume.", offers=complete.volumes)
@option("--to", "kind", choices=_Kind, default=_Kind.DISK, help="What it becomes.")
@option("--size", "wanted", metavar="SIZE", help="Of the disk; else what the directory may take, or 10 GiB.")
@options.on_platform
def convert(name: str, kind: _Kind, wanted: str | None) -> None:
    """Make a disk of a directory, for virtual machines; or a directory of a disk, for containers.

    All that is on the volume stays: owners, modes, links, attributes. Its machine must be stopped. The volume
    is what it was until all is written, so a conversion that is cut off has changed nothing.
    """
    size = None if wanted is None else parse_size(wanted, f"stoneware volume convert {name} --size 20g")
    _open("convert").convert_volume(name, kind.value, size)
    print_line(name)
