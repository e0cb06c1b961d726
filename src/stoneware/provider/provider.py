"""The Terraform provider `stoneware`: its resources over whatever platform the caller gives."""

from __future__ import annotations

from typing import ClassVar

from stoneware.provider.context import ProviderContext
from stoneware.provider.image import ImageDataSource, ImageResource
from stoneware.provider.labelled import NetworkResource, VolumeResource
from stoneware.provider.machine import MachineDataSource, MachineResource
from stoneware.provider.reporting import Diagnostics, reported
from stoneware.provider.resource import StonewareDataSource, StonewareResource


class StonewareProvider(ProviderContext):
    """All resources and data sources."""

    resources: ClassVar[dict[str, type[StonewareResource]]] = {
        found.type_name: found for found in (ImageResource, MachineResource, NetworkResource, VolumeResource)
    }
    data_sources: ClassVar[dict[str, type[StonewareDataSource]]] = {
        found.type_name: found for found in (ImageDataSource, MachineDataSource)
    }

    def configure(self, diags: Diagnostics) -> None:
        """Open the platform, so that what is wrong with it is said once and early."""
        with reported(diags, self.failures):
            _ = self.platform
