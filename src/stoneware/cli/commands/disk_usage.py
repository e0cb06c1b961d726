"""system df: what uses the space of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from stoneware.cli import clusters, options
from stoneware.cli.context import choose, open_platform, open_store, open_upkeep
from stoneware.cli.output import print_json, print_line, print_table
from stoneware.cli.parameters import Group, flag
from stoneware.ui.text import short_id, size

if TYPE_CHECKING:
    from stoneware.platforms.upkeep import Item, Room


@click.group("system", cls=Group)
def system() -> None:
    """Look at the store."""


@system.command("df", help="Show what uses the space of the store, and how much is free.")
@flag("--verbose", "-v", help="Show each thing, and its limit.")
@options.platform
@options.json_output
def df(verbose: bool, platform: str | None, json_output: bool) -> None:
    """Show what uses the space of the store, and how much is free.

    Images and checkpoints share most of what they have, so they are one row. RECLAIMABLE is what removing the
    stopped machines, the volumes without a machine, snapshots of removed volumes, and the caches would free.
    """
    choose(platform)
    store = open_store()
    # What a finished bake is about to remove is not counted, so it is waited for.
    found = open_upkeep(open_platform(store, settled=True)).usage(clusters.wanted_images(store))
    if json_output:
        print_json(found.to_document(verbose=verbose))
        return
    rows = [
        [row.kind.capitalize(), str(row.total), str(row.active), size(row.size), size(row.reclaimable)]
        for row in found.rows
    ]
    print_table(("TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"), rows)
    for line in _lines(found.room) if found.room is not None else ():
        print_line(line)
    if verbose:
        for kind, items in found.items.items():
            _show(kind, items)


def _lines(room: Room) -> list[str]:
    text = f"store: {size(room.total)}, {size(room.used)} used, {size(room.free)} free"
    lines = ["", text]
    if room.left is not None:
        lines.append(
            f"of that machines, volumes and caches may take {size(room.left)}; "
            f"{size(room.reserve)} are kept for the store's own records"
        )
    else:
        lines.append("nothing is kept back: this file system has no simple quotas (see stoneware doctor)")
    if room.host_free is not None:
        lines.append(f"the disk that it is on: {size(room.host_free)} free")
    return lines


def _show(kind: str, items: tuple[Item, ...]) -> None:
    if not items:
        return
    print_line("")
    rows = [
        [short_id(item.name) if kind in ("images", "caches") else item.name, "yes" if item.active else "no",
         size(item.size), size(item.limit)]
        for item in items
    ]  # fmt: skip
    print_table((kind.upper(), "ACTIVE", "SIZE", "LIMIT"), rows)
