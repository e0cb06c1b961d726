"""The platform google: machines, images and builders on Compute Engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stoneware.model.capability import Capability
from stoneware.platforms.google.builder import GoogleBuilder, remove_builders
from stoneware.platforms.google.images import GoogleImages
from stoneware.platforms.google.infrastructure import GoogleInfrastructure
from stoneware.platforms.google.inventory import GoogleInventory
from stoneware.platforms.google.machines import GoogleMachines
from stoneware.platforms.google.no_commands import NoCommands
from stoneware.platforms.google.no_snapshots import NoSnapshots
from stoneware.platforms.google.no_volume_kinds import NoVolumeKinds
from stoneware.terraform.builders import states_in

_INSTEAD = {
    Capability.COMMANDS: (
        "gcloud compute ssh MACHINE --tunnel-through-iap\n"
        "exec: [/etc/stoneware/commands/NAME]    # in a gate: a command of the image's own"
    ),
    Capability.CHECKPOINTS: "bake it with --platform local",
    Capability.SNAPSHOTS: "gcloud compute disks snapshot DISK --zone ZONE",
    Capability.VOLUME_KINDS: "gcloud compute disks resize DISK --size 20GB --zone ZONE",
    Capability.OWN_NETWORKS: "machines are in the network of the settings: leave internal: and ipam: out",
    Capability.LOCAL_FILES: "bake it with --platform local",
    Capability.KERNELS: "leave --vm out: all machines of Compute Engine have a kernel of their own",
}


class GooglePlatform(GoogleMachines, NoCommands, NoSnapshots, NoVolumeKinds):
    """All of a project. Commands inside machines and snapshots of volumes are what it cannot do."""

    name = "google"
    capabilities: frozenset[Capability] = frozenset(
        # A machine's ports are at its own address, its processors and memory those of its machine type.
        {
            Capability.CACHES,
            Capability.DEPRECATION,
            Capability.MACHINE_LIMITS,
            Capability.PUBLISHED_PORTS,
            Capability.STAGES,
            Capability.STEP_SECRETS,
            Capability.STORED_SECRETS,
        }
    )

    def __init__(self, images: GoogleImages) -> None:
        super().__init__(images.api, images.source_image)
        self.images = images
        self._inventory = GoogleInventory(images.api, images.source_image, images.home)

    def instead_of(self, capability: Capability) -> str:
        """Return what to type or write where it cannot do something."""
        return _INSTEAD.get(capability, "")

    @property
    def infrastructure(self) -> GoogleInfrastructure:
        """Return the resources of hashicorp/google."""
        return GoogleInfrastructure(lambda: self._inventory)

    # -- builders ------------------------------------------------------------------------------------------

    def prepare_builder(
        self,
        name: str,
        directory: Path,
        output: Callable[[str], None] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> GoogleBuilder:
        """Give a builder that Terraform will make; Terraform begins to load."""
        return GoogleBuilder(self.images, self.infrastructure, name, directory, output, tell)

    def has_builders(self, bake: Path) -> bool:
        """Say whether a bake has a builder that is not removed, or may have one."""
        return bool(states_in(bake))

    def remove_builders(self, bake: Path) -> bool:
        """Remove the builders that a bake has left, and say whether there was one."""
        return remove_builders(self.images, self.infrastructure, bake)
