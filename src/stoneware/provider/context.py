"""What the provider's resources work with: the platform, the images, and how this run of Terraform goes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property

from stoneware.errors import InputError
from stoneware.platforms.protocols import Platform
from stoneware.platforms.waiting import HelperChecks
from stoneware.provider.images import Baker, Images
from stoneware.provider.reporting import Failures


class ProviderContext:
    """The platform is opened when a resource first needs it.

    Without `open_images` and `open_baker` there are no images: the provider of a bake's own builder, and of
    a cluster, needs none.
    """

    def __init__(
        self,
        open_platform: Callable[[], Platform],
        open_images: Callable[[], Images] | None = None,
        open_baker: Callable[[], Baker] | None = None,
    ) -> None:
        self._open_platform = open_platform
        self._open_images = open_images
        self._open_baker = open_baker
        self.failures = Failures()
        self.stopping = threading.Event()  # set when Terraform was interrupted
        self.helper_checks = HelperChecks()

    @cached_property
    def platform(self) -> Platform:
        """The platform, which raises StonewareError when it cannot be opened."""
        return self._open_platform()

    @property
    def has_images(self) -> bool:
        """Whether there are images."""
        return self._open_images is not None

    @cached_property
    def images(self) -> Images:
        """The images."""
        if self._open_images is None:
            raise _no_images()
        return self._open_images()

    @cached_property
    def baker(self) -> Baker:
        """Who bakes."""
        if self._open_baker is None:
            raise _no_images()
        return self._open_baker()


def _no_images() -> InputError:
    return InputError(
        "this provider has no images",
        details="it is the one that stoneware serves for its own configurations",
        resolution="stoneware terraform install    # for configurations of one's own",
    )
