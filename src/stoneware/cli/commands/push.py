"""push: an image of this computer to a cloud."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from stoneware.cli import complete, options
from stoneware.cli.output import print_json, print_line, say
from stoneware.cli.parameters import Command, argument
from stoneware.errors import InputError
from stoneware.files import canonical_json, sha256_hex
from stoneware.image.references import resolve_image, tags_of
from stoneware.platforms import registry
from stoneware.platforms.disks import Disks, Export
from stoneware.platforms.intake import Intake, Offer
from stoneware.platforms.protocols import Images


@click.command("push", cls=Command)
@options.image
@argument("platform", metavar="PLATFORM", help="Where to: google.", offers=complete.platforms)
@options.json_output
def push(image: str, *, platform: str, json_output: bool) -> None:
    """Make an image of this computer one of a cloud's.

    To google, its disk (see LABEL stoneware.kernel) is uploaded to the bucket and becomes an image of Compute
    Engine, in the family and with the labels that a bake there gives; then the upload is removed. An image
    that is there gets its tags only. A push that was interrupted goes on where it was.
    """
    project = registry.project_of()
    # Images of this computer, whatever its stoneware.toml names.
    source = registry.backend(registry.DEFAULT, project)
    if platform == registry.DEFAULT:
        raise InputError(
            f"{platform} is where images are pushed from", resolution=f"stoneware push {image} google"
        )
    target = registry.backend(platform, project)
    store, told = source.open_images(create=False)
    there, more = target.open_images()
    intake = target.open_intake(there)
    for sentence in [*told, *more]:
        say(sentence)
    offer = offered(store, image)
    disks = source.open_disks(store)
    with source.clear_errors():
        taken = intake.take(offer, partial(_write, disks, intake, offer), say)
    say(f"{image} is {'' if taken.new else 'already '}the image {taken.name} of {platform}")
    if json_output:
        print_json({"id": offer.image, "name": taken.name, "new": taken.new, "tags": list(offer.tags)})
    else:
        print_line(taken.name)


def offered(store: Images, image: str) -> Offer:
    """Return an image of a store as it is offered, with its tags of that name. Raises InputError."""
    found = resolve_image(store, image)
    manifest = store.manifest(found)
    # The id is the hash of these bytes: written differently it would be another image there.
    data = canonical_json(manifest)
    if sha256_hex(data) != found.removeprefix("sha256:"):
        raise InputError(
            f"the image {image} is not written as this Stoneware writes images",
            resolution="bake or import it again",
        )
    known = tags_of(store.tags(), found)
    name = image.partition(":")[0]
    tags = [tag for tag in known if tag.startswith(f"{name}:")] or known  # all of an image given by its id
    size = store.image_document(found).get("size_bytes")
    return Offer(found, data, {"key": manifest["key"], "size_bytes": size}, tuple(tags))


def _write(disks: Disks, intake: Intake, offer: Offer, path: Path) -> None:
    disks.export(Export(offer.image, intake.form, path), say)
