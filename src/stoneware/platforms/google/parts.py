"""What machines and disks would be made of that Google does not have: asked before anything goes for them.

Compute Engine refuses a machine type that it does not know when the machine is made, and by then the machine
that it was to replace is gone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from stoneware.model.machine import MachineSpec
from stoneware.platforms import together
from stoneware.platforms.google.hardware import hardware_for, hardware_of
from stoneware.platforms.google.placing import Inventory, Placing
from stoneware.platforms.infrastructure import Kind, Lacking, Subject
from stoneware.terraform.variables import read_machine

_KEYS = {"machineTypes": "machine_type", "diskTypes": "disk_type"}
_WORDS = {"machineTypes": "the machine type", "diskTypes": "the disk type"}
_LISTS = {"machineTypes": "machine-types", "diskTypes": "disk-types"}
_Part = tuple[str, str]  # a collection of Compute Engine's, and the name of something in it


def lacking(declared: Mapping[str, Any], making: Collection[Subject], inventory: Inventory) -> list[Lacking]:
    """Return what is not there of what some machines and disks would be made of."""
    if not making:
        return []
    placing = Placing(inventory.last_seen(), inventory.zones(), declared)
    users: dict[tuple[_Part, str], list[Subject]] = defaultdict(list)
    for subject in sorted(making):
        for part, zone in _parts(subject, declared, placing, inventory):
            users[part, zone].append(subject)
    asked = sorted(users)
    there = together.each(inventory, lambda it: inventory.offers(it[1], *it[0]), asked)
    missing: dict[_Part, list[str]] = defaultdict(list)
    for (part, zone), is_there in zip(asked, there, strict=True):
        if not is_there:
            missing[part].append(zone)
    return [
        *_small_disks(making, declared, inventory),
        *_secrets(making, declared, inventory),
        *(
            _told(part, zones, [one for zone in zones for one in users[part, zone]], inventory)
            for part, zones in missing.items()
        ),
    ]


def _machines(
    making: Collection[Subject], declared: Mapping[str, Any]
) -> Iterator[tuple[Subject, MachineSpec]]:
    for subject in sorted(making):
        entry = declared["machines"].get(subject.name) if subject.kind is Kind.MACHINE else None
        if entry is not None:
            yield subject, read_machine(entry)


def _small_disks(
    making: Collection[Subject], declared: Mapping[str, Any], inventory: Inventory
) -> Iterator[Lacking]:
    """Yield what machines would have a boot disk in that their image does not fit on."""
    wanted: dict[tuple[str, int], list[Subject]] = defaultdict(list)
    for subject, spec in _machines(making, declared):
        if size := hardware_for(spec, inventory.settings).boot_size:
            wanted[spec.source, size].append(subject)
    sources = sorted({source for source, _ in wanted})
    sizes = together.each(inventory, lambda it: inventory.image_size(inventory.image_link(it)), sources)
    least = dict(zip(sources, sizes, strict=True))
    for (source, size), users in wanted.items():
        if size < least[source]:
            what = f"a boot disk of {size} GB is smaller than its image, which has {least[source]} GB"
            more = f"disk_size: {least[source]}g, or more; without it the disk is as large as the image"
            yield Lacking("disk_size", what, more, tuple(users))


def _secrets(
    making: Collection[Subject], declared: Mapping[str, Any], inventory: Inventory
) -> Iterator[Lacking]:
    """Yield what machines would fetch that others were to have put into Secret Manager."""
    wanted: dict[tuple[str, str], list[Subject]] = defaultdict(list)
    for subject, spec in _machines(making, declared):
        for use in spec.secrets:
            if use.elsewhere:
                wanted[use.secret, use.version].append(subject)
    asked = sorted(wanted)
    found = together.each(inventory, lambda it: inventory.has_secret(*it), asked)
    for (name, version), there in zip(asked, found, strict=True):
        if not there:
            what = f"version {version} of the secret {name} is not there, or is disabled"
            _, project, _, secret = name.split("/")
            listed = f"gcloud secrets versions list {secret} --project {project}"
            yield Lacking("secrets", what, listed, tuple(wanted[name, version]))


def told(collection: str, name: str, zones: Collection[str]) -> tuple[str, str]:
    """Return that something is in none of some zones, and what lists those that are."""
    listed = f"gcloud compute {_LISTS[collection]} list --zones={','.join(zones)}"
    return f"{_WORDS[collection]} {name} is not in {', '.join(zones)}", listed


def _told(part: _Part, zones: Collection[str], users: list[Subject], inventory: Inventory) -> Lacking:
    collection, name = part
    said, listed = told(collection, name, zones)
    settings = inventory.settings
    ours = collection == "machineTypes" and name == settings.machine_type
    place = settings.machine_type_place if ours else ""
    return Lacking(_KEYS[collection], said, listed, tuple(users), place)


def _parts(
    subject: Subject, declared: Mapping[str, Any], placing: Placing, inventory: Inventory
) -> Iterator[tuple[_Part, str]]:
    kind = "machines" if subject.kind is Kind.MACHINE else "volumes"
    entry = declared[kind].get(subject.name)
    if entry is None:  # one that is made elsewhere
        return
    extras = entry.get("extras") or {}
    wanted: dict[str, str] = {}
    if subject.kind is Kind.MACHINE:
        wanted["machineTypes"] = hardware_of(extras, inventory.settings).machine_type
        zone = placing.machine(subject.name)
    else:
        zone = placing.volume(subject.name, entry)
    # The type that disks have where nothing is said is in all zones.
    if said := extras.get("disk_type"):
        wanted["diskTypes"] = said
    for part in wanted.items():
        yield part, zone
