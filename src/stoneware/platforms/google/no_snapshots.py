"""Snapshots of volumes, which gcloud makes of a disk, and a disk of."""

# ruff: noqa: ARG002 - what is refused needs not all arguments

from __future__ import annotations

from stoneware.model.capability import Capability, refusal
from stoneware.model.resources import Snapshot
from stoneware.platforms.google import names


class NoSnapshots:
    """Refuses them all: see `stoneware.platforms.protocols.Resources`."""

    def snapshot_volume(self, name: str, snapshot: str) -> Snapshot:
        """Refuse."""
        raise refusal(
            "google",
            Capability.SNAPSHOTS,
            f"gcloud compute disks snapshot {names.cloud_name(name)} --snapshot-names {snapshot}",
        )

    def snapshots(self, volume: str = "") -> list[Snapshot]:
        """Refuse."""
        raise refusal("google", Capability.SNAPSHOTS, "gcloud compute snapshots list")

    def restore_volume(self, name: str, snapshot: str) -> Snapshot | None:
        """Refuse."""
        raise refusal(
            "google",
            Capability.SNAPSHOTS,
            f"gcloud compute disks create {names.cloud_name(name)} --source-snapshot {snapshot}",
        )

    def destroy_snapshot(self, volume: str, name: str) -> None:
        """Refuse."""
        raise refusal("google", Capability.SNAPSHOTS, f"gcloud compute snapshots delete {name}")
