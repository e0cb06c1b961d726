"""What is asked of a platform for volumes and networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from stoneware.model.resources import DIRECTORY, Network, Snapshot, Volume


class Resources(Protocol):
    """Volumes and networks, which outlive the machines that use them."""

    def create_volume(
        self, name: str, labels: Mapping[str, str], size: int | None = None, *, kind: str = DIRECTORY
    ) -> Volume:
        """Return the volume of that name, made (blank) where there is none, which may take `size` bytes.

        Without a size it may take what the platform lets volumes take. `kind` is that of a new one where the
        platform has several (Capability.VOLUME_KINDS).
        """
        ...

    def resize_volume(self, name: str, size: int) -> None:
        """Make a disk larger, and the file system on it, at once where its machine runs.

        Takes Capability.VOLUME_KINDS. Raises InputError for a smaller size and for a directory.
        """
        ...

    def convert_volume(self, name: str, kind: str, size: int | None = None) -> None:
        """Let a volume be of another kind, with all that is on it; a disk of `size` bytes.

        Takes Capability.VOLUME_KINDS. Raises InputError while a machine that has it runs, and for a size that
        is too small.
        """
        ...

    def conversion_faults(self, wanted: Mapping[str, str]) -> dict[str, list[str]]:
        """Return why volumes (by name: the kind) cannot become of another kind, as far as it is known before.

        A machine of a cluster that is made converts those of its volumes that are the cluster's.
        """
        ...

    def volume(self, name: str) -> Volume | None:
        """Return a volume, or None."""
        ...

    def volumes(self) -> list[Volume]:
        """Return all volumes, sorted by name."""
        ...

    def label_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Change a volume's labels. Raises InputError where there is no such volume."""
        ...

    def raise_floor(self, name: str, floor: str) -> None:
        """Let no image below a version boot on a volume any more, by whatever command; never lowered.

        Raises InputError where there is no such volume.
        """
        ...

    def destroy_volume(self, name: str) -> None:
        """Remove a volume, its data too; a missing one is no error. Raises InputError while in use."""
        ...

    def snapshot_volume(self, name: str, snapshot: str) -> Snapshot:
        """Keep what is on a volume now, at one instant, also while a machine writes to it.

        Takes Capability.SNAPSHOTS, as the next three do. Raises InputError where it has one of that name.
        """
        ...

    def snapshots(self, volume: str = "") -> list[Snapshot]:
        """Return the snapshots of a volume, or of all, by volume and time; those of removed volumes too."""
        ...

    def restore_volume(self, name: str, snapshot: str) -> Snapshot | None:
        """Let a volume have again what a snapshot has; a volume that is gone is made from it.

        Return the snapshot that keeps what it had until now. Labels and size stay, the floor is never
        lowered. Raises InputError while a machine that has the volume runs.
        """
        ...

    def destroy_snapshot(self, volume: str, name: str) -> None:
        """Remove a snapshot; a missing one is no error."""
        ...

    def create_network(
        self, name: str, labels: Mapping[str, str], *, internal: bool = False, subnets: Sequence[str] = ()
    ) -> Network:
        """Return the network of that name, made where there is none.

        Raises InputError where it cannot have these subnets.
        """
        ...

    def network(self, name: str) -> Network | None:
        """Return a network, or None."""
        ...

    def networks(self) -> list[Network]:
        """Return all networks, sorted by name."""
        ...

    def change_network(
        self, name: str, labels: Mapping[str, str], *, internal: bool = False, subnets: Sequence[str] = ()
    ) -> None:
        """Change a network's labels, its subnets, and whether it is internal, which holds at once.

        Raises InputError where there is no such network, where it cannot have these subnets, and where a
        machine has an address in one that it would lose.
        """
        ...

    def destroy_network(self, name: str) -> None:
        """Remove a network. Raises InputError while it has machines; a missing one is no error."""
        ...
