"""Where machines and disks are, and where new ones go: a machine stays where it is, and with its disks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any, Protocol

from stoneware.dataclass import dataclass
from stoneware.model.labels import MACHINE_LABEL, SLOT_LABEL
from stoneware.platforms.google import doubles, names
from stoneware.platforms.google.instance import read_spec, zone_of
from stoneware.platforms.google.settings import Settings


@dataclass(frozen=True)
class There:
    """What there is. By the names that Google has: zones of instances and disks, sizes of disks in GB.

    `images` are the links of the images that instances boot from, by their names and their sources. `doubles`
    is what more than one zone has under a name, where nothing tells which is meant: it has no zone here.
    """

    instances: Mapping[str, str] = field(default_factory=dict)
    disks: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    images: Mapping[tuple[str, str], str] = field(default_factory=dict)
    doubles: Mapping[tuple[str, str], list[doubles.Found]] = field(default_factory=dict)

    def disk(self, name: str) -> str | None:
        """Return the zone of a disk. Raises InputError where two may be meant."""
        doubles.only(self.doubles.get(("disk", name), []), "disk")
        return self.disks.get(name)

    def instance(self, name: str) -> str | None:
        """Return the zone of an instance. Raises InputError where two may be meant."""
        doubles.only(self.doubles.get(("instance", name), []), "instance")
        return self.instances.get(name)


class Inventory(Protocol):
    """What the infrastructure asks of the platform."""

    @property
    def settings(self) -> Settings:
        """Return where machines are made."""
        ...

    def there(self) -> There:
        """Return where instances and disks are."""
        ...

    @property
    def at_once(self) -> int:
        """Return how many questions may be asked at the same time."""
        ...

    def last_seen(self) -> There:
        """Return where those of ours were when they were listed last; asks where they were not."""
        ...

    def offers(self, zone: str, collection: str, name: str) -> bool:
        """Say whether a zone has a machine type (`machineTypes`) or a disk type (`diskTypes`)."""
        ...

    def has_secret(self, name: str, version: str) -> bool:
        """Say whether Secret Manager has a version of a secret, as far as we may look."""
        ...

    def zones(self) -> tuple[str, ...]:
        """Return the zones that new machines may be in."""
        ...

    def image_link(self, source: str) -> str:
        """Return the link of the image that a source stands for: `image:sha256:…`."""
        ...

    def image_size(self, link: str) -> int:
        """Return how large a disk from an image is at least, in Google's GB; 0 where that is not known."""
        ...

    def environment(self) -> Mapping[str, str]:
        """Return the variables for Terraform."""
        ...

    def dns_zone(self, name: str) -> Mapping[str, Any] | None:
        """Return a managed zone of Cloud DNS, None where there is none."""
        ...

    def named(self, path: str) -> Mapping[str, Mapping[str, Any]]:
        """Return what there is of a kind, by a path below the project, by its names."""
        ...


def seen(instances: Iterable[Mapping[str, Any]], disks: Iterable[Mapping[str, Any]]) -> There:
    """Return what lists of instances and of disks (boot disks among them) tell."""
    every, disks = list(instances), list(disks)
    found = {"instance": doubles.by_name(every), "disk": doubles.by_name(disks)}
    machines, volumes = (
        {name: one for name, (one, *more) in it.items() if not more} for it in found.values()
    )
    # Disks of two zones may have one name; an instance's disk is in its own zone.
    by_place = {(zone_of(disk), str(disk["name"])): disk for disk in disks}
    images = {}
    for name, one in machines.items():
        boot = _boot_disk(one, by_place)
        if boot.get("sourceImage") and (source := _source(one)):
            images[name, source] = str(boot["sourceImage"])
    return There(
        {name: zone_of(one) for name, one in machines.items()},
        {name: zone_of(disk) for name, disk in volumes.items()},
        {name: int(disk.get("sizeGb") or 0) for name, disk in volumes.items()},
        images,
        {(kind, name): all_ for kind, it in found.items() for name, all_ in it.items() if len(all_) > 1},
    )


def _boot_disk(
    one: Mapping[str, Any], disks: Mapping[tuple[str, str], Mapping[str, Any]]
) -> Mapping[str, Any]:
    for attached in one.get("disks") or ():
        if attached.get("boot"):
            return disks.get((zone_of(one), str(attached.get("source", "")).rsplit("/", 1)[-1]), {})
    return {}


def _source(one: Mapping[str, Any]) -> str:
    try:
        spec = read_spec(one)
    except ValueError:
        return ""
    return spec.source if spec else ""


class Placing:
    """The zones of a cluster's machines and disks. `zones` are those of the settings, or of the region."""

    def __init__(self, there: There, zones: Sequence[str], declared: Mapping[str, Any]) -> None:
        self._there = there
        self._zones = zones
        self._hosts: Mapping[str, Any] = declared.get("hosts") or {}
        self._machines: Mapping[str, Any] = declared["machines"]
        self._mounts = {
            mount["volume"]: short
            for short, entry in self._machines.items()
            for mount in entry.get("volumes") or ()
        }

    def machine(self, short: str) -> str:
        """Return the zone of a machine: that of its disks, of the instance, else by its slot."""
        entry = self._machines.get(short) or {}
        # No instance takes a disk of another zone, so the disks say where it goes.
        for mount in entry.get("volumes") or ():
            if zone := self._there.disk(names.cloud_name(mount["volume"])):
                return zone
        host = self._hosts.get(short) or {}
        full = str(entry.get("name") or host.get("name") or short)
        if zone := self._there.instance(names.cloud_name(full)):
            return zone
        # What the file lists is for machines that are not there yet: no list moves one.
        wanted = entry.get("zones") or host.get("zones") or self._zones
        labels = entry.get("labels") or {}
        slot = int(host.get("slot") or labels.get(SLOT_LABEL) or 1)
        return str(wanted[(slot - 1) % len(wanted)])

    def volume(self, name: str, entry: Mapping[str, Any]) -> str:
        """Return the zone of a disk: where it is, else where its machine is, or will be."""
        if zone := self._there.disk(names.cloud_name(name)):
            return zone
        extras = entry.get("extras") or {}
        labels = entry.get("labels") or {}
        short = self._mounts.get(name) or labels.get(MACHINE_LABEL)
        return self.machine(short) if short else str(extras.get("zone") or self._zones[0])

    def size(self, name: str) -> int:
        """Return how many GB a disk has now, 0 where it is not there."""
        return self._there.sizes.get(names.cloud_name(name), 0)

    def image(self, full: str, source: str) -> str:
        """Return the link of the image that a machine boots from now, where that is what it is to."""
        return self._there.images.get((names.cloud_name(full), source), "")
