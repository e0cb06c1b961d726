"""inspect: everything about an image or a machine."""

from __future__ import annotations

from typing import Any

import click

from stoneware.cli import listing, options
from stoneware.cli.context import choose, open_platform, open_store
from stoneware.cli.machine_names import find_machine
from stoneware.cli.output import print_json
from stoneware.cli.parameters import Command, argument, option
from stoneware.errors import InputError
from stoneware.image.references import resolve_image


@click.command("inspect", cls=Command)
@argument("names", metavar="NAME", many=True, help="Machines or images.")
@option("--type", "kind", metavar="image|machine", default="", help="Look among these only.")
@options.platform
@options.json_output
def inspect(names: tuple[str, ...], kind: str, platform: str | None, json_output: bool) -> None:
    """Show everything about an image or a machine, as JSON.

    Of an image that is its manifest. A name that is both is the machine; --type image asks for the image.
    One name gives one document, several give a list.
    """
    if kind not in ("", "image", "machine"):
        raise click.BadParameter("it is image or machine", param_hint="--type")
    choose(platform)
    del json_output  # accepted everywhere; this command prints nothing else
    store = open_store()
    found = [_find(store, name, kind) for name in names]
    print_json(found[0] if len(found) == 1 else found)


def _find(store: Any, name: str, kind: str) -> dict[str, Any]:
    if kind != "image":
        try:
            return _machine(store, name)
        except InputError:
            if kind:
                raise
    try:
        return _image(store, name)
    except InputError as error:
        if kind:
            raise
        raise InputError(
            f"there is no machine and no image {name!r}",
            details=error.details,
            resolution="stoneware ps -a    # or: stoneware images",
        ) from error


def _machine(store: Any, name: str) -> dict[str, Any]:
    platform = open_platform(store)
    machine = find_machine(platform, name)
    document = listing.machine_document(machine)
    return {**document, "guest_attributes": platform.guest_attributes(machine.name)}


def _image(store: Any, name: str) -> dict[str, Any]:
    image_id = resolve_image(store, name)
    document = listing.image_document(store, image_id, store.tags())
    return {**document, **store.manifest(image_id)}
