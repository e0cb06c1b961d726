"""Growing and converting volumes: all are disks, which gcloud resizes."""

# ruff: noqa: ARG002 - what is refused needs not all arguments

from __future__ import annotations

from collections.abc import Mapping

from stoneware.model.capability import Capability, refusal
from stoneware.platforms.google import names


class NoVolumeKinds:
    """Refuses them all: see `stoneware.platforms.protocols.Resources`."""

    def resize_volume(self, name: str, size: int) -> None:
        """Refuse."""
        raise refusal(
            "google",
            Capability.VOLUME_KINDS,
            f"gcloud compute disks resize {names.cloud_name(name)} --size {-(-size >> 30)}GB",
        )

    def convert_volume(self, name: str, kind: str, size: int | None = None) -> None:
        """Refuse."""
        raise refusal(
            "google", Capability.VOLUME_KINDS, "leave it as it is: all machines of Compute Engine have disks"
        )

    def conversion_faults(self, wanted: Mapping[str, str]) -> dict[str, list[str]]:
        """Return none: there is nothing to convert."""
        return {}
