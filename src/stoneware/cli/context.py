"""Where the commands get the images and the platform from; tests put fakes in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stoneware.cli.output import say
from stoneware.platforms.registry import backend

if TYPE_CHECKING:
    from stoneware.platforms.protocols import Images, Platform
    from stoneware.platforms.upkeep import Upkeep


def open_store(*, create: bool = True) -> Images:
    """Open the place where images are kept, making it where there is none and `create` is set."""
    images, told = backend().open_images(create=create)
    for sentence in told:
        say(sentence)
    return images


def open_platform(store: Images | None = None) -> Platform:
    """Return the platform over the images, once what killed commands left on it is removed."""
    from stoneware.bake import workdir

    images = store if store is not None else open_store()
    platform = backend().open_platform(images)
    # Builders first, by the Terraform that made them.
    for sentence in [*workdir.recover(images, platform), *backend().recover(images)]:
        say(sentence)
    return platform


def open_upkeep(platform: Platform) -> Upkeep:
    """Return what looks after a platform."""
    return backend().open_upkeep(platform)
