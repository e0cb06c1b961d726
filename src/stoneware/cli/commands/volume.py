"""volume ls, create, rm, inspect, prune; the rest of its commands is next to this file."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import click

from stoneware.cli import complete, options
from stoneware.cli.commands.volume_disks import convert, resize
from stoneware.cli.commands.volume_snapshots import restore, snapshot, snapshots_stay
from stoneware.cli.context import open_platform, open_upkeep
from stoneware.cli.output import print_json, print_line, print_table, say
from stoneware.cli.parameters import Group, argument, flag, option
from stoneware.errors import InputError
from stoneware.launch.flags import parse_labels
from stoneware.model.capability import Capability
from stoneware.model.labels import CLUSTER_LABEL
from stoneware.model.limits import parse_size
from stoneware.model.resources import DIRECTORY, DISK, Volume
from stoneware.platforms.protocols import Platform
from stoneware.ui.text import size

if TYPE_CHECKING:
    from stoneware.platforms.upkeep import Upkeep


@click.group("volume", cls=Group, help="Manage volumes: the persistent disks of machines.")
def volume() -> None:
    """Manage volumes."""


def _document(upkeep: Upkeep, volume: Volume) -> dict[str, Any]:
    usage = upkeep.volume_usage(volume.name)
    created = datetime.datetime.fromtimestamp(volume.created, datetime.UTC).replace(microsecond=0)
    return {
        "name": volume.name,
        "kind": volume.kind,
        "path": usage.path,
        "created": created.isoformat().replace("+00:00", "Z"),
        "machines": list(volume.machines),
        "labels": dict(volume.labels),
        "size_bytes": volume.size if usage.limit is None else usage.limit,
        "rollback_floor": volume.floor,
        "used_bytes": usage.used,
    }


@volume.command("ls", help="List volumes and the machines that have them.")
@flag("--quiet", "-q", help="Print names only.")
@options.on_platform
@options.json_output
def ls(quiet: bool, json_output: bool) -> None:
    """List volumes and the machines that have them."""
    platform = open_platform()
    upkeep = open_upkeep(platform)
    found = [_document(upkeep, volume) for volume in platform.volumes()]
    if json_output:
        print_json(found)
    elif quiet:
        for volume in found:
            print_line(volume["name"])
    else:
        rows = [
            [
                entry["name"],
                entry["kind"],
                ", ".join(entry["machines"]) or "-",
                size(entry["used_bytes"]),
                size(entry["size_bytes"]),
                entry["created"],
            ]
            for entry in found
        ]
        print_table(("VOLUME", "KIND", "MACHINES", "USED", "SIZE", "CREATED"), rows)


@volume.command("create")
@argument("name", metavar="VOLUME", help="Its name.")
@option("--label", metavar="KEY=VALUE", multiple=True, help="A label. Repeatable.")
@option("--size", "most", metavar="SIZE", help="The size of a disk, or the most that a directory may take.")
@options.on_platform
def create(name: str, label: tuple[str, ...], most: str | None) -> None:
    """Create a volume: with --size a disk of that size, else a directory.

    While it is blank, it becomes what its first machine needs: a disk for a virtual machine, a directory of
    this computer for a container, which may take as much. Of a volume that exists --size changes the size.
    """
    wanted = None if most is None else parse_size(most, f"stoneware volume create --size 10g {name}")
    kind = DIRECTORY if wanted is None else DISK
    open_platform().create_volume(name, parse_labels(label), wanted, kind=kind)
    print_line(name)


@volume.command("rm", help="Remove volumes and the data on them.")
@argument("names", metavar="VOLUME", many=True, help="Names.", offers=complete.volumes)
@flag("--force", "-f", help="A missing volume is no error.")
@flag("--snapshots", help="Remove their snapshots too, which stay otherwise.")
@options.on_platform
def rm(names: tuple[str, ...], force: bool, snapshots: bool) -> None:
    """Remove volumes and the data on them; their snapshots stay."""
    platform = open_platform()
    known = {volume.name: volume for volume in platform.volumes()}
    for name in names:  # all of them before the first goes
        if name in known and known[name].machines:
            raise _in_use(known[name], platform)
    for name in names:
        if name not in known and force:
            continue
        _existing(platform, name)
        platform.destroy_volume(name)
        print_line(name)
        _after_removal(platform, name, remove=snapshots)


def _after_removal(platform: Platform, name: str, *, remove: bool = False) -> None:
    """Tell of the snapshots that a removed volume has left, or remove them."""
    # Such a platform would refuse the question.
    if Capability.SNAPSHOTS not in platform.capabilities:
        return
    left = platform.snapshots(name)
    for one in left if remove else ():
        platform.destroy_snapshot(name, one.name)
    if left and not remove:
        say(snapshots_stay(name, [one.name for one in left]))


def _existing(platform: Platform, name: str) -> Volume:
    found = platform.volume(name)
    if found is None:
        raise InputError(f"there is no volume {name!r}", resolution="stoneware volume ls")
    return found


def _in_use(volume: Volume, platform: Platform) -> InputError:
    """Return why a volume stays, and how it can go: that of a cluster with its cluster, or not at all."""
    machines = ", ".join(volume.machines)
    users = [platform.observe(name) for name in volume.machines]
    clusters = [user.spec.labels.get(CLUSTER_LABEL, "") for user in users if user is not None]
    cluster = next(filter(None, clusters), "")
    if not cluster:
        return InputError(
            f"the volume {volume.name} belongs to a machine",
            details=f"Machines: {machines}",
            resolution=f"stoneware rm -f {volume.machines[0]} && stoneware volume rm {volume.name}",
        )
    return InputError(
        f"the volume {volume.name} belongs to a machine of the cluster {cluster}",
        details=f"Machines: {machines}",
        resolution=(
            f"stoneware down -p {cluster} && stoneware volume rm {volume.name}\n"
            f"stoneware down -p {cluster} --volumes    # all of its volumes"
        ),
    )


@volume.command("inspect", help="Show everything about volumes, as JSON.")
@argument("names", metavar="VOLUME", many=True, help="Names.", offers=complete.volumes)
@options.on_platform
@options.json_output
def inspect(names: tuple[str, ...], json_output: bool) -> None:
    """Show everything about volumes, as JSON."""
    del json_output  # accepted everywhere; this command prints nothing else
    platform = open_platform()
    upkeep = open_upkeep(platform)
    found = [_document(upkeep, volume) for volume in [_existing(platform, name) for name in names]]
    print_json(found[0] if len(found) == 1 else found)


@volume.command(
    "prune", help="Remove the volumes that no machine has, and the data on them. Those of clusters stay."
)
@flag("--force", "-f", help="Do not ask.")
@options.on_platform
def prune(force: bool) -> None:
    """Remove the volumes that no machine has, and the data on them; those of clusters stay."""
    platform = open_platform()
    unused = [volume for volume in platform.volumes() if not volume.machines]
    removable = [volume.name for volume in unused if CLUSTER_LABEL not in volume.labels]
    if removable and not force:
        click.confirm(f"Remove {', '.join(removable)} and the data on them?", abort=True, err=True)
    for name in removable:
        platform.destroy_volume(name)
        print_line(name)
        _after_removal(platform, name)


volume.add_command(resize)
volume.add_command(convert)
volume.add_command(snapshot)
volume.add_command(restore)
