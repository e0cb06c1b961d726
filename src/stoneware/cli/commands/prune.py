"""prune: what nothing uses any more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from stoneware.cli import clusters, options
from stoneware.cli.context import choose, open_platform, open_store, open_upkeep
from stoneware.cli.output import print_json, print_table, say
from stoneware.cli.parameters import Command, flag, option
from stoneware.image.references import short_id, tags_of
from stoneware.model.capability import Capability, Need, require
from stoneware.ui.text import size

if TYPE_CHECKING:
    from stoneware.platforms.protocols import Images
    from stoneware.platforms.upkeep import Unused


@click.command("prune", cls=Command)
@flag("--all", "-a", "every", help="Tagged images that no machine has, and all checkpoints but bases.")
@flag("--plan", help="Show the plan; remove nothing.")
@option(
    "--keep",
    metavar="N",
    kind=int,
    low=1,
    help="Mark images older than the N newest of their name as deprecated (google).",
)
@flag("--force", "-f", help="Do not ask.")
@options.platform
@options.json_output
def prune(
    *, every: bool, plan: bool, keep: int | None, force: bool, platform: str | None, json_output: bool
) -> None:
    """Remove what nothing uses any more.

    That is what interrupted commands left behind, stopped machines, images without a tag, checkpoints that
    are no step of an image, disks of images that are gone, and the caches of RUN. Volumes are kept: see
    `volume prune`; so are images that a cluster is made from, or that its rollout or rollback needs.
    """
    choose(platform)
    store = open_store()
    # What a finished bake is about to remove is no work for us, so it is waited for.
    place = open_platform(store, settled=True)
    if keep is not None:
        require(place, [Need(Capability.DEPRECATION, "--keep", "stoneware rmi IMAGE")])
    upkeep = open_upkeep(place)
    wanted = clusters.wanted_images(store)
    found = upkeep.unused(everything=every, wanted=wanted, keep=keep)
    if not json_output and not found.empty:
        print_table(("KIND", "ID", "NAMES"), list(_rows(found, store)))
    if found.empty:
        say("there is nothing to remove")
    elif not plan and not force:
        question = "Remove and deprecate all of this?" if found.deprecated else "Remove all of this?"
        click.confirm(question, abort=True, err=True)
    freed = None
    # Also with nothing to remove: the room of what was removed before may not be free yet.
    if not plan:
        freed = upkeep.prune(found, everything=every, wanted=wanted, keep=keep)
    if json_output:
        print_json({**vars(found), "freed_bytes": freed})
    elif freed and found.empty:
        say(f"{size(freed)} of what had been removed before are free now")
    elif freed is not None and not found.empty:
        say(f"freed {size(freed)}")


def _rows(found: Unused, store: Images) -> Iterator[list[str]]:
    tags = store.tags()
    for name in found.machines:
        yield ["machine", name, "-"]
    for image in found.images:
        yield ["image", short_id(image), ", ".join(tags_of(tags, image)) or "-"]
    for key in found.checkpoints:
        yield ["checkpoint", short_id(key), "-"]
    for key in found.disks:
        yield ["disk", short_id(key), "-"]
    for name in found.caches:
        yield ["cache", short_id(name), "-"]
    for image in found.deprecated:
        yield ["deprecated", short_id(image), ", ".join(tags_of(tags, image)) or "-"]
    for name in found.remains:
        yield ["remains", name, "-"]
