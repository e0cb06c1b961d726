"""How machines, disks and networks are written for hashicorp/google.

See `stoneware.platforms.infrastructure.Infrastructure` for what each part is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from stoneware.errors import InputError, StonewareError
from stoneware.model.guest_protocol import COMMAND, INSPECT
from stoneware.model.machine_fields import FIELDS
from stoneware.platforms.google import imports, instance, names, parts
from stoneware.platforms.google.hardware import disk_of, hardware_of
from stoneware.platforms.google.placing import Inventory, Placing, There
from stoneware.platforms.google.resources import network_description
from stoneware.platforms.google.settings import Settings
from stoneware.platforms.google.terraform import poll_interval
from stoneware.platforms.google.terraform_errors import refusal
from stoneware.platforms.infrastructure import Extension, Kind, Lacking, Subject
from stoneware.terraform.configuration import MODULES
from stoneware.terraform.variables import read_machine

CLUSTER_MODULE = MODULES / "google/cluster"
BUILDER_MODULE = MODULES / "google/builder"
_BUILDER = "google_compute_instance.builder"
_BUILDER_NAMES = re.compile(r"\w+\.(?:builder|bundle)(?:\[.*\])?")
_ITSELF = {
    Kind.MACHINE: "google_compute_instance.machine",
    Kind.VOLUME: "google_compute_disk.volume",
    Kind.NETWORK: "google_compute_firewall.network",
    Kind.ADDRESS: "google_compute_address.machine",
    Kind.PORTS: "google_compute_firewall.ports",
    Kind.ZONE: "google_dns_managed_zone.zone",
}
_PARTS = dict.fromkeys(
    ("google_compute_firewall.ports", "google_dns_record_set.machine", "terraform_data.release"), Kind.MACHINE
)
_KINDS = {resource: kind for kind, resource in _ITSELF.items()} | _PARTS
_ADDRESS = re.compile(r'([a-z_]+\.[a-z]+)\[("(?:[^"\\]|\\.)*")\]')
_TOLD = {
    "boot_disk": ("image",),
    "metadata": ("config", "health check", "secret", "stoneware-", *(it.words for it in FIELDS.values())),
    "labels": ("label",),
    "desired_status": ("machine",),
    "current_status": ("machine",),
    "attached_disk": ("volume mount",),
    "hostname": ("host name",),
    "tags": ("network",),
    "machine_type": ("platform's",),
}
# Attributes that Google fills in, or changes by itself.
_PASSING = frozenset(
    {
        *("id", "instance_id", "disk_id", "self_link", "creation_timestamp", "cpu_platform"),
        *("metadata_fingerprint", "tags_fingerprint", "label_fingerprint", "effective_labels"),
        *("terraform_labels", "users", "last_attach_timestamp", "last_detach_timestamp"),
        *("source_image_id", "source_disk_id", "source_snapshot_id", "physical_block_size_bytes"),
        *("timeouts", "output", "generated_id", "licenses", "allow_stopping_for_update", "deletion_policy"),
    }
)
# What an import cannot know: how it is is in effective_labels and current_status, which are compared as well.
_NOT_IMPORTED = frozenset({"labels", "terraform_labels", "desired_status"})
_HARMLESS = frozenset(
    {
        *("metadata", "labels", "effective_labels", "terraform_labels", "tags", "description"),
        *("allow_stopping_for_update", "deletion_policy", "deletion_protection", "timeouts"),
    }
)


EXTENSION = Extension(
    "x-google",
    size="disk_size",
    module_grows=True,
    live=frozenset({"deletion_protection", "dns_name", "dns_zone", "source_ranges", "tags"}),
    opens="source_ranges",
)


class GoogleInfrastructure:
    """The modules in `terraform/modules/google` and the resource types of hashicorp/google."""

    extension = EXTENSION
    cluster_module = CLUSTER_MODULE
    builder_module = BUILDER_MODULE
    disk_types = frozenset({"google_compute_disk"})
    dependent_types = frozenset({"google_compute_instance", "google_dns_record_set"})
    harmless_attributes = _HARMLESS
    passing_attributes = _PASSING

    def __init__(self, inventory: Callable[[], Inventory]) -> None:
        self._inventory = inventory

    def provider(self) -> None:
        """Return nothing: hashicorp/google is a program that Terraform starts."""

    def environment(self) -> Mapping[str, str]:
        """Return the variables with which Terraform finds the provider, and that finds Google."""
        return self._inventory().environment()

    def root(self) -> Mapping[str, Any]:
        """Return how often the provider looks whether an operation is done; its own default is 10 seconds."""
        return {"provider": {"google": {"poll_interval": poll_interval(self._inventory().settings)}}}

    # -- variables -----------------------------------------------------------------------------------------

    def variables(self, declared: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is declared, with what Compute Engine has to know of each machine, disk and network."""
        inventory = self._inventory()
        settings = inventory.settings
        # Where nothing is declared nothing needs a place: no list is asked for.
        empty = not (declared["machines"] or declared["volumes"])
        there = There() if empty else inventory.there()
        placing = Placing(there, () if empty else inventory.zones(), declared)
        return {
            **declared,
            "google": _place(settings),
            "dns_zones": _dns_zones(declared["machines"], settings),
            "networks": {
                name: {**entry, **_rule(name, entry)} for name, entry in declared["networks"].items()
            },
            "volumes": {
                name: {**entry, "disk": _disk(name, entry, placing)}
                for name, entry in declared["volumes"].items()
            },
            "hosts": {short: _host(entry) for short, entry in (declared.get("hosts") or {}).items()},
            "machines": {
                short: {**entry, "instance": _instance(short, entry, placing, inventory)}
                for short, entry in declared["machines"].items()
            },
        }

    def lacking(self, declared: Mapping[str, Any], making: Collection[Subject]) -> list[Lacking]:
        """Return the machine types and disk types that are not in the zones that they are wanted in."""
        return parts.lacking(declared, making, self._inventory())

    # -- addresses -----------------------------------------------------------------------------------------

    def address(self, subject: Subject) -> str:
        """Return the resource that a subject is itself: the instance, the disk, the rule, the address."""
        if subject.kind is Kind.BUILDER:
            return _BUILDER
        if subject.kind is Kind.OTHER:
            return subject.name
        return f"{_ITSELF[subject.kind]}[{_quoted(subject.name)}]"

    def subject(self, address: str) -> Subject:
        """Return whose resource is at an address."""
        if _BUILDER_NAMES.fullmatch(address):
            return Subject(Kind.BUILDER, "")
        match = _ADDRESS.fullmatch(address)
        kind = _KINDS.get(match[1]) if match else None
        if match is None or kind is None:
            return Subject(Kind.OTHER, address)
        return Subject(kind, _unquoted(match[2]))

    def imports(
        self,
        wanted: Mapping[Subject, str],
        known: Collection[str] = (),
        declared: Mapping[str, Any] | None = None,
    ) -> dict[str, str]:
        """Return all resources of subjects that exist, with the ids to import them by: few lists for all."""
        lost = {
            it: name
            for it, name in wanted.items()
            if self.address(it) not in known and (declared is None or _has_resource(it, declared))
        }
        return imports.found(lost, self.address, self._inventory()) if lost else {}

    # -- values --------------------------------------------------------------------------------------------

    def same_value(self, subject: Subject, attribute: str, one: object, other: object) -> bool:
        """Say whether two values of an attribute that differ mean the same."""
        if attribute == "metadata" and isinstance(one, Mapping) and isinstance(other, Mapping):
            return _asked_for_nothing(one) == _asked_for_nothing(other)
        if (attribute in _NOT_IMPORTED and not one) or _without_empty(one) == _without_empty(other):
            return True
        return subject.kind is Kind.MACHINE and attribute in _PASSING

    def refusal(self, said: str) -> StonewareError | None:
        """Return what Google has refused, out of Terraform's words."""
        return refusal(said, self._inventory().settings.project)

    def told_as(self, attribute: str) -> tuple[str, ...]:
        """Return how what drift tells from other sources begins where it is this attribute."""
        return (attribute, *_TOLD.get(attribute, ()))


def _has_resource(subject: Subject, declared: Mapping[str, Any]) -> bool:
    """Say whether the configuration has a resource for what may exist: not each machine has a rule."""
    if subject.kind is not Kind.PORTS:
        return True
    machine = declared["machines"][subject.name]
    own = machine["instance"]
    return bool((machine["ports"] or own["exposed"]) and own["source_ranges"])


def _place(settings: Settings) -> dict[str, Any]:
    return {
        "project": settings.project,
        "region": settings.region,
        "network": settings.network,
        "subnetwork": settings.subnetwork or None,
        "labels": dict(settings.labels),
    }


def _rule(name: str, entry: Mapping[str, Any]) -> dict[str, str]:
    labels = entry.get("labels") or {}
    return {"rule": names.cloud_name(name), "description": network_description(name, labels)}


def _dns_zones(machines: Mapping[str, Mapping[str, Any]], settings: Settings) -> dict[str, dict[str, str]]:
    """Return the zones to make: those that machines name with a domain. Raises InputError for two domains."""
    found: dict[str, dict[str, str]] = {}
    for entry in machines.values():
        hardware = hardware_of(entry.get("live_extras") or {}, settings)
        if hardware.dns_zone and hardware.dns_name:
            known = found.setdefault(hardware.dns_zone, {"dns_name": hardware.dns_name})
            if known["dns_name"] != hardware.dns_name:
                domains = f"{known['dns_name']} and {hardware.dns_name}"
                raise InputError(
                    f"the zone {hardware.dns_zone} has two domains: {domains}",
                    resolution="say dns_zone and dns_name once, in x-google at the top of machines.yaml",
                )
    return found


def _disk(name: str, entry: Mapping[str, Any], placing: Placing) -> dict[str, Any]:
    kind, size = disk_of(entry.get("extras") or {}, placing.size(name))
    labels = {**names.cloud_labels(entry.get("labels") or {}), names.MARK: "volume"}
    return {
        "name": names.cloud_name(name),
        "zone": placing.volume(name, entry),
        "type": kind,
        "size": size,
        "labels": labels,
    }


def _host(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a host with the name of its address, and all names that others know it by, its own first."""
    full = str(entry["hostname"])
    known = dict.fromkeys([full, full.partition(".")[0], *entry["names"], str(entry["name"])])
    return {
        **entry,
        "address": names.cloud_name(str(entry["name"])),
        "names": [name for name in known if name],
    }


def _instance(short: str, entry: Mapping[str, Any], placing: Placing, inventory: Inventory) -> dict[str, Any]:
    spec = read_machine(entry)
    # An image that is gone from the catalogue is not looked for while the machine goes on running it.
    image = placing.image(spec.name, spec.source) or inventory.image_link(spec.source)
    made = instance.instance_of(spec, inventory.settings, zone=placing.machine(short), image=image)
    return {**made, "replace_on": instance.replaced_on(spec, str(entry.get("recreate_on") or ""))}


def _asked_for_nothing(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes without the questions that drift and gates ask of a machine."""
    return {key: value for key, value in metadata.items() if key not in (INSPECT, COMMAND)}


def _without_empty(value: object) -> object:
    """Return a value without what is empty: what the provider made null is [] or {} once it has looked."""
    if isinstance(value, Mapping):
        kept = {key: _without_empty(each) for key, each in value.items()}
        return {key: each for key, each in kept.items() if each is not None} or None
    if isinstance(value, list):
        return [_without_empty(each) for each in value] or None
    return None if value == "" else value


def _quoted(name: str) -> str:
    """Return a key as Terraform writes it, whose templates begin with ${ and %{."""
    return json.dumps(name, ensure_ascii=False).replace("${", "$${").replace("%{", "%%{")


def _unquoted(text: str) -> str:
    return str(json.loads(text.replace("$${", "${").replace("%%{", "%{")))
