"""What is there of a project, asked of Compute Engine: for the variables and the imports of Terraform."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stoneware.platforms.google.api import AT_ONCE, Api
from stoneware.platforms.google.placing import There, seen
from stoneware.platforms.google.secrets import GoogleSecrets
from stoneware.platforms.google.settings import Settings
from stoneware.platforms.google.terraform import terraform_environment


class GoogleInventory:
    """See `stoneware.platforms.google.infrastructure.Inventory`. `home` is on this computer."""

    at_once = AT_ONCE

    def __init__(self, api: Api, image_link: Callable[[str], str], home: Path) -> None:
        self._api = api
        self._home = home
        self.image_link = image_link

    @property
    def settings(self) -> Settings:
        """Return where machines are made."""
        return self._api.settings

    def there(self) -> There:
        """Return where instances and disks are: two lists."""
        instances = list(self._api.items("compute", "aggregated/instances", "list the machines"))
        disks = list(self._api.items("compute", "aggregated/disks", "list the disks"))
        self._api.looks.saw_instances(instances)
        self._api.looks.saw_disks(disks)
        return seen(instances, disks)

    def last_seen(self) -> There:
        """Return where those of ours were in the last lists; asks where a command has made none."""
        looks = self._api.looks
        if looks.instances is None or looks.disks is None:
            return self.there()
        return seen(looks.instances, looks.disks)

    def offers(self, zone: str, collection: str, name: str) -> bool:
        """Say whether a zone has a machine type or a disk type."""
        return self._api.offers(zone, collection, name)

    def has_secret(self, name: str, version: str) -> bool:
        """Say whether Secret Manager has a version of a secret, as far as we may look."""
        return GoogleSecrets(self._api).has_secret(name, version)

    def zones(self) -> tuple[str, ...]:
        """Return the zones that new machines may be in."""
        return self._api.zones()

    def image_size(self, link: str) -> int:
        """Return how large a disk from an image is at least."""
        path = f"/projects/{link.partition('/projects/')[2]}"
        found = self._api.find("compute", path, "look at the image") or {}
        return int(found.get("diskSizeGb") or 0)

    def environment(self) -> dict[str, str]:
        """Return the variables for Terraform."""
        return terraform_environment(self.settings, self._home)

    def dns_zone(self, name: str) -> dict[str, Any] | None:
        """Return a managed zone of Cloud DNS, None where there is none."""
        path = f"/projects/{self.settings.project}/managedZones/{name}"
        return self._api.find("dns", path, f"look at the zone {name}")

    def named(self, path: str) -> dict[str, Mapping[str, Any]]:
        """Return what a list has, by its names."""
        listed = self._api.items("compute", path, "look at what there is")
        return {str(one.get("name")): one for one in listed}
