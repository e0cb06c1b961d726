"""images, history, tag and rmi."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from stoneware.cli import clusters, listing, options
from stoneware.cli.context import choose, open_platform, open_store
from stoneware.cli.output import print_json, print_line, print_table, say
from stoneware.cli.parameters import Command, argument, flag
from stoneware.errors import InputError
from stoneware.model.machine import removal_hint
from stoneware.ui import text

if TYPE_CHECKING:
    from stoneware.platforms.protocols import Images


@click.command("images", cls=Command)
@argument("name", metavar="NAME", required=False, default="", help="Only images of this name.")
@options.quiet
@flag("--no-trunc", help="Do not shorten ids.")
@options.platform
@options.json_output
def images(name: str, quiet: bool, no_trunc: bool, platform: str | None, json_output: bool) -> None:
    """List images, the newest first."""
    choose(platform)
    store = open_store()
    found = [image for image in listing.all_images(store) if not name or _matches(image, name)]
    if json_output:
        print_json(found)
    elif quiet:
        for image in found:
            print_line(image["id"] if no_trunc else text.short_id(image["id"]))
    else:
        now = time.time()
        rows = [row for image in found for row in listing.image_rows(image, now, full=no_trunc)]
        print_table(("NAME", "TAG", "IMAGE ID", "COMMIT", "CREATED", "SIZE"), rows)


def _matches(image: dict[str, object], name: str) -> bool:
    tags = image["tags"]
    refs = tags if isinstance(tags, list) else []
    return image["name"] == name or any(name in (ref, ref.rpartition(":")[0]) for ref in refs)


@click.command("history", cls=Command)
@options.image
@flag("--no-trunc", help="Do not shorten instructions.")
@options.platform
@options.json_output
def history(image: str, no_trunc: bool, platform: str | None, json_output: bool) -> None:
    """Show the instructions an image was baked from, and how long each took."""
    from stoneware.image.references import resolve_image

    choose(platform)
    store = open_store()
    manifest = store.manifest(resolve_image(store, image))
    # What only sets the configuration is no step.
    taken = {(step["line"], step["stage"]): step for step in manifest["steps"]}
    stage = manifest["steps"][-1]["stage"] if manifest["steps"] else ""
    entries = [
        {
            **entry,
            "seconds": taken.get((entry["line"], stage), {}).get("seconds"),
            "key": taken.get((entry["line"], stage), {}).get("key"),
        }
        for entry in manifest["history"]
    ]
    if json_output:
        print_json(entries)
        return
    rows = [
        [
            str(entry["line"]),
            text.duration(entry["seconds"]) if entry["seconds"] is not None else "-",
            entry["instruction"] if no_trunc else text.one_line(entry["instruction"], 90),
        ]
        for entry in entries
    ]
    print_table(("LINE", "TOOK", "INSTRUCTION"), rows)


@click.command("tag", cls=Command)
@options.image
@argument("name", metavar="NEWNAME", help="NAME or NAME:TAG.")
@options.platform
def tag(image: str, name: str, platform: str | None) -> None:
    """Give an image another name; a name that is in use is moved."""
    from stoneware.image.references import parse_reference, resolve_image

    choose(platform)
    store = open_store()
    store.set_tag(str(parse_reference(name)), resolve_image(store, image))


@click.command("rmi", cls=Command)
@argument("images", metavar="IMAGE", many=True, help="Names, or ids.")
@flag("--force", "-f", help="Remove an id with all its tags; a missing image is no error.")
@options.platform
def rmi(images: tuple[str, ...], force: bool, platform: str | None) -> None:
    """Remove tags, and images that have no tag left.

    An image that a machine was booted from is kept until that machine is removed; so is one that a
    cluster is made from, or that its rollout or rollback needs.
    """
    choose(platform)
    store = open_store()
    used = {machine.image_id: machine for machine in open_platform(store).machines()}
    wanted = clusters.wanted_images(store)
    for image in images:
        removed, image_id = _removal(store, image, force=force)
        if image_id and image_id in used:
            raise InputError(
                f"the image {image} is used by the machine {used[image_id].name}",
                resolution=f"{removal_hint(used[image_id])}    # then rmi again",
            )
        if image_id and image_id in wanted:
            raise InputError(
                f"the image {image} is needed: {wanted[image_id]}",
                resolution="stoneware down    # of that cluster, or another rollout of it; then rmi again",
            )
        for ref in removed:
            store.remove_tag(ref)
            say(f"untagged {ref}")
        if image_id:
            store.remove_image(image_id)
            say(f"removed {image_id}")


def _removal(store: Images, image: str, *, force: bool) -> tuple[list[str], str]:
    """Return the tags to remove, and the image's id where it has no tag left then. Raises InputError."""
    from stoneware.image.references import parse_reference, resolve_image, tags_of

    try:
        image_id = resolve_image(store, image)
    except InputError:
        if force:
            return [], ""
        raise
    own = tags_of(store.tags(), image_id)
    by_tag = image in own or f"{image}:latest" in own  # a name alone is its latest, as with Docker
    # As with Docker, an id takes several names along only where that is insisted on.
    if not by_tag and len(own) > 1 and not force:
        raise InputError(
            f"the image {image} has several tags",
            details="\n".join(own),
            resolution=f"stoneware rmi -f {image}    # removes all of them",
        )
    removed = [str(parse_reference(image))] if by_tag else list(own)
    return removed, image_id if set(own) <= set(removed) else ""
