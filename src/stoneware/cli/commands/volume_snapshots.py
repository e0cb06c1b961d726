"""volume snapshot, with ls and rm, and volume restore."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from stoneware.cli import complete, options
from stoneware.cli.context import open_platform
from stoneware.cli.output import print_json, print_line, print_table, say
from stoneware.cli.parameters import Group, argument, flag, option
from stoneware.errors import InputError
from stoneware.model.capability import Capability, Need, require
from stoneware.model.resources import Snapshot
from stoneware.model.snapshots import name_at
from stoneware.platforms.protocols import Platform
from stoneware.ui.text import age, size

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class _Snapshots(Group):
    """Where no command is named, the words are a volume to make a snapshot of."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `create` before words that name no command."""
        # A volume that is called like one of them needs the word.
        plain = args and args[0] not in self.commands and args[0] not in ctx.help_option_names
        return super().parse_args(ctx, ["create", *args] if plain else args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer the commands and the volumes."""
        from click.shell_completion import CompletionItem

        volumes = [] if incomplete.startswith("-") else complete.volumes(incomplete)
        return [*super().shell_complete(ctx, incomplete), *map(CompletionItem, volumes)]


@click.group("snapshot", cls=_Snapshots)
def snapshot() -> None:
    """Keep what is on a volume now: `volume snapshot VOLUME`.

    Machines may run and write meanwhile: it is then what a power cut would have left on the disk.
    """


def _open(command: str) -> Platform:
    platform = open_platform()
    require(platform, [Need(Capability.SNAPSHOTS, f"volume {command}")])
    return platform


@snapshot.command(
    "create", help="Keep what is on a volume now; its machine may run. `create` may be left out."
)
@argument("name", metavar="VOLUME", help="The volume.", offers=complete.volumes)
@option("--name", "called", metavar="SNAPSHOT", help="What to call it; else the time, in UTC.")
@options.on_platform
def create(name: str, called: str | None) -> None:
    """Keep what is on a volume now; its machine may run."""
    platform = _open("snapshot")
    # A name made of the time must be free.
    known = [] if called else [one.name for one in platform.snapshots(name)]
    print_line(platform.snapshot_volume(name, called or name_at(time.time(), known)).name)


@snapshot.command("ls", help="List the snapshots of a volume, or of all, those of removed volumes too.")
@argument("name", metavar="VOLUME", help="The volume.", required=False, offers=complete.volumes)
@flag("--quiet", "-q", help="Print names only: VOLUME SNAPSHOT.")
@options.on_platform
@options.json_output
def ls(name: str | None, quiet: bool, json_output: bool) -> None:
    """List the snapshots of a volume, or of all, those of removed volumes too."""
    platform = _open("snapshot ls")
    found = platform.snapshots(name or "")
    if name and not found and platform.volume(name) is None:  # one that was removed may have left some
        raise InputError(f"there is no volume {name!r}", resolution="stoneware volume snapshot ls")
    if json_output:
        print_json([_document(one) for one in found])
    elif quiet:
        for one in found:
            print_line(one.name if name else f"{one.volume} {one.name}")
    else:
        now = time.time()
        rows = [
            [one.volume, one.name, f"{age(now - one.created)} ago" if one.created else "-", size(one.size)]
            for one in found
        ]
        print_table(("VOLUME", "SNAPSHOT", "CREATED", "SIZE"), rows)


def _document(one: Snapshot) -> dict[str, Any]:
    return {
        "volume": one.volume,
        "name": one.name,
        "created": one.created,
        "size_bytes": one.size,
        "rollback_floor": one.floor,
        "automatic": one.automatic,
    }


@snapshot.command("rm", help="Remove snapshots of a volume.")
@argument("name", metavar="VOLUME", help="The volume.", offers=complete.volumes)
@argument("snapshots", metavar="SNAPSHOT", many=True, help="Names.", offers=complete.snapshots)
@flag("--force", "-f", help="A missing snapshot is no error.")
@options.on_platform
def rm(name: str, snapshots: tuple[str, ...], force: bool) -> None:
    """Remove snapshots of a volume."""
    platform = _open("snapshot rm")
    known = {one.name for one in platform.snapshots(name)}
    for one in snapshots if not force else ():  # all of them before the first goes
        if one not in known:
            raise InputError(
                f"the volume {name!r} has no snapshot {one!r}",
                resolution=f"stoneware volume snapshot ls {name}",
            )
    for one in snapshots:
        if one in known:
            platform.destroy_snapshot(name, one)
            print_line(one)


@click.command("restore", cls=Group.command_class)
@argument(
    "name", metavar="VOLUME", help="The volume; one that was removed is made again.", offers=complete.volumes
)
@argument("called", metavar="SNAPSHOT", help="Its snapshot.", offers=complete.snapshots)
@options.on_platform
def restore(name: str, called: str) -> None:
    """Let a volume have again what a snapshot has.

    Its machine must be stopped. What the volume had until now is kept as a snapshot; its labels and its size
    stay, and its rollback floor is never lowered.
    """
    kept = _open("restore").restore_volume(name, called)
    print_line(name)
    if kept is not None:
        say(f"what {name} had until now is kept: stoneware volume restore {name} {kept.name} brings it back")


def snapshots_stay(volume: str, names: Sequence[str]) -> str:
    """Return the sentence about the snapshots that a removed volume has left."""
    return (
        f"the snapshots of {volume} stay: stoneware volume restore {volume} {names[-1]} brings it back, "
        f"stoneware volume snapshot rm {volume} {' '.join(names)} removes them"
    )
