"""The Terraform provider `stoneware`: its resources over whatever platform the caller gives."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from typing import ClassVar

from stoneware.errors import InputError
from stoneware.platforms.protocols import Platform
from stoneware.platforms.waiting import HelperChecks
from stoneware.provider.image import ImageDataSource, ImageResource
from stoneware.provider.images import Baker, Images
from stoneware.provider.labelled import NetworkResource, VolumeResource
from stoneware.provider.machine import MachineDataSource, MachineResource
from stoneware.provider.reporting import Diagnostics, Failures, reported
from stoneware.provider.resource import StonewareDataSource, StonewareResource


class StonewareProvider:
    """All resources and data sources. The platform is opened when a resource first needs it.

    Without `open_images` and `open_baker` there are no images: the provider of a bake's own builder, and of
    a cluster, needs none.
    """

    resources: ClassVar[dict[str, type[StonewareResource]]] = {
        found.type_name: found for found in (ImageResource, MachineResource, NetworkResource, VolumeResource)
    }
    data_sources: ClassVar[dict[str, type[StonewareDataSource]]] = {
        found.type_name: found for found in (ImageDataSource, MachineDataSource)
    }

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

    def configure(self, diags: Diagnostics) -> None:
        """Open the platform, so that what is wrong with it is said once and early."""
        with reported(diags, self.failures):
            _ = self.platform


def _no_images() -> InputError:
    return InputError(
        "this provider has no images",
        details="it is the one that stoneware serves for its own configurations",
        resolution="stoneware terraform install    # for configurations of one's own",
    )
