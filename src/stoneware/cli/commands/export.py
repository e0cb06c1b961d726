"""export: an image as a file for other computers."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from stoneware.cli import options
from stoneware.cli.context import choose, open_disks, open_store
from stoneware.cli.output import say
from stoneware.cli.parameters import Command, flag, option
from stoneware.errors import InputError
from stoneware.platforms.disks import DiskFormat, Export, format_of


@click.command("export", cls=Command)
@options.image
@option("--output", "-o", metavar="FILE", help="The file; - is standard output, for archives.")
@option("--format", "-f", "form", choices=DiskFormat, help="What it is. [default: as its name ends]")
@option("--size", metavar="SIZE", help="The disk's size, as 20g. [default: the least]")
@flag("--force", help="Replace the file where it is there.")
@options.platform
def export(
    image: str,
    *,
    output: str | None,
    form: DiskFormat | None,
    size: str | None,
    force: bool,
    platform: str | None,
) -> None:
    """Write an image to a file for other computers.

    FILE.qcow2, .raw and .vmdk are disks that boot by UEFI; FILE.tar.gz is one in the form that Compute Engine
    imports. The image gets a kernel for that, once: see LABEL stoneware.kernel. Its root grows to the disk at
    the first boot. FILE.tar and .tar.zst are the root file system alone, with owners and attributes.

    The file appears whole or not at all.
    """
    from stoneware.image.references import resolve_image

    choose(platform)
    # Before the store is opened: wrong flags are told without one.
    wanted = _wanted(image, output, form, size, force=force)
    store = open_store(create=False)
    found = Export(resolve_image(store, image), wanted.format, wanted.target, wanted.size, wanted.force)
    open_disks(store).export(found, say)
    if wanted.target is not None:
        say(f"exported {image} to {output}")


def _wanted(
    image: str, output: str | None, form: DiskFormat | None, size: str | None, *, force: bool
) -> Export:
    """Return what is asked for, of the image as it was written. Raises InputError."""
    from stoneware.model.limits import parse_size

    if output is None:
        raise InputError("it is not said where to", resolution=f"stoneware export {image} -o FILE.qcow2")
    chosen = form or (DiskFormat.TAR if output == "-" else format_of(output))
    if output == "-" and not chosen.is_stream:
        raise InputError(
            f"{chosen.value} cannot be written to a pipe",
            details="Its beginning is written last.",
            resolution=f"stoneware export {image} -o FILE.{chosen.value}",
        )
    if output == "-" and sys.stdout.isatty():
        raise InputError(
            "an archive is not for a terminal", resolution=f"stoneware export {image} -o - >FILE"
        )
    if size is not None and not chosen.is_disk:
        raise InputError(f"{chosen.value} has no size", resolution="leave --size out")
    target = None if output == "-" else Path(output)
    number = None if size is None else parse_size(size, "--size 20g")
    return Export(image, chosen, target, number, force)
