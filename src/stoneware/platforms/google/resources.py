"""Volumes and networks of Stoneware on Google Cloud: disks, and firewall rules of one VPC network."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stoneware.errors import InputError
from stoneware.image.versions import highest
from stoneware.model.labels import CLUSTER_LABEL
from stoneware.model.resources import DIRECTORY, DISK, Network, Volume
from stoneware.platforms.google import doubles, errors, names
from stoneware.platforms.google.api import Api, last
from stoneware.platforms.google.hardware import disk_of, gigabytes
from stoneware.platforms.google.instance import (
    SPEC,
    labels_document,
    metadata_of,
    read_spec,
    seconds,
    zone_of,
)
from stoneware.platforms.google.secrets import GoogleSecrets
from stoneware.untrusted.bounded import BoundsError, bounded_json

VOLUME = "Stoneware volume "  # how the description of a disk begins, then the volume's name
NETWORK = "Stoneware network "  # how that of a rule begins, then its name, a blank and its labels
_MOST_DESCRIPTION = 2000  # characters
_GIB = 1 << 30
_MOMENT = 2.0  # seconds for which a list of all instances may serve another look


class GoogleResources(GoogleSecrets):
    """The disks, networks and secrets of a project."""

    def __init__(self, api: Api) -> None:
        super().__init__(api)
        self._seen: tuple[float, int, list[dict[str, Any]]] = (float("-inf"), 0, [])

    def instances(self) -> list[dict[str, Any]]:
        """Return all instances that are machines, in one list."""
        ours = [one for one in self.all_instances() if SPEC in metadata_of(one)]
        self._seen = (time.monotonic(), self.api.changes, ours)
        return ours

    def all_instances(self) -> list[dict[str, Any]]:
        """Return all instances of ours, builders too, in one list."""
        query = f"labels.{names.MARK}:*"
        found = list(self.api.items("compute", "aggregated/instances", "list the machines", filter=query))
        self.api.looks.saw_instances(found)
        return found

    # -- volumes -------------------------------------------------------------------------------------------

    def disks(self) -> list[dict[str, Any]]:
        """Return all disks that are volumes. Those of machines are listed too: they may be left over."""
        query = f"labels.{names.MARK}:*"
        found = list(self.api.items("compute", "aggregated/disks", "list the volumes", filter=query))
        self.api.looks.saw_disks(found)
        return [disk for disk in found if (disk.get("labels") or {}).get(names.MARK) == "volume"]

    def find_disk(self, name: str) -> dict[str, Any] | None:
        """Return a volume's disk, or None. Raises InputError where two zones have one."""
        called = names.cloud_name(name)
        query = f'name = "{called}"'
        found = self.api.items("compute", "aggregated/disks", f"look at the volume {name}", filter=query)
        mine = [one for one in found if one.get("name") == called and volume_name(one) == name]
        return doubles.only(mine, "disk")

    def _existing_disk(self, name: str) -> dict[str, Any]:
        found = self.find_disk(name)
        if found is None:
            raise InputError(f"there is no volume {name!r}", resolution="stoneware volume ls")
        return found

    def create_volume(
        self,
        name: str,
        labels: Mapping[str, str],
        size: int | None = None,
        *,
        kind: str = DIRECTORY,  # noqa: ARG002 - all are disks
    ) -> Volume:
        """Return the volume of that name, made (blank) where there is none, in the first zone."""
        self.make_disk(name, labels, self.api.zones()[0], size)
        return _volume(self._existing_disk(name))

    def make_disk(self, name: str, labels: Mapping[str, str], zone: str, size: int | None = None) -> None:
        """Make a disk, unless it is there."""
        if self.find_disk(name) is not None:
            return
        kind, least = disk_of({})
        body = {
            "name": names.cloud_name(name),
            "description": f"{VOLUME}{name}",
            "type": f"projects/{self.api.settings.project}/zones/{zone}/diskTypes/{kind}",
            "sizeGb": str(gigabytes(size) if size else least),
            "labels": {**self.api.settings.labels, **names.cloud_labels(labels), names.MARK: "volume"},
        }
        self.api.operate("POST", f"zones/{zone}/disks", f"create the volume {name}", body)

    def volume(self, name: str) -> Volume | None:
        """Return a volume, or None."""
        found = self.find_disk(name)
        return None if found is None else _volume(found)

    def volumes(self) -> list[Volume]:
        """Return all volumes, sorted by name."""
        return sorted(map(_volume, self.disks()), key=lambda volume: volume.name)

    def label_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Change a volume's labels. Raises InputError where there is no such volume."""
        own = {**self.api.settings.labels, **names.cloud_labels(labels)}
        self._label(name, lambda before: {**own, **_kept(before)})

    def raise_floor(self, name: str, floor: str) -> None:
        """Let no image below a version boot on a volume any more; never lowered."""

        def raised(before: Mapping[str, str]) -> dict[str, str]:
            known = [names.decoded(before[names.FLOOR])] if before.get(names.FLOOR) else []
            return {**before, names.FLOOR: names.encoded(highest([*known, floor]))}

        self._label(name, raised)

    def _label(self, name: str, change: Any) -> None:
        def attempt() -> None:
            disk = self._existing_disk(name)
            wanted = change(disk.get("labels") or {})
            if wanted == (disk.get("labels") or {}):
                return
            # Google refuses labels whose fingerprint is not the present one; then all is read again.
            body = {"labels": wanted, "labelFingerprint": disk.get("labelFingerprint")}
            path = f"zones/{zone_of(disk)}/disks/{disk['name']}/setLabels"
            self.api.operate("POST", path, f"change the labels of the volume {name}", body)

        errors.until_unchanged(attempt)

    def destroy_volume(self, name: str) -> None:
        """Remove a volume, its data too; a missing one is no error. Raises InputError while in use."""
        disk = self.find_disk(name)
        if disk is None:
            return
        if users := _volume(disk).machines:
            raise InputError(
                f"the volume {name!r} is in use",
                details=f"The machine {users[0]} has it.",
                resolution=f"stoneware rm -f {users[0]}",
            )
        try:
            path = f"zones/{zone_of(disk)}/disks/{disk['name']}"
            self.api.operate("DELETE", path, f"remove the volume {name}")
        except errors.MissingError:
            pass

    # -- networks ------------------------------------------------------------------------------------------

    def create_network(
        self, name: str, labels: Mapping[str, str], *, internal: bool = False, subnets: Sequence[str] = ()
    ) -> Network:
        """Return the network of that name, made where there is none: a rule by which its machines meet."""
        _check_plain(name, internal=internal, subnets=subnets)
        if (there := self.network(name)) is not None:
            return there
        rule = names.cloud_name(name)
        body = {
            "name": rule,
            "network": _link(self.api.settings.network),
            "description": network_description(name, labels),
            # Its members have the tag, and reach each other on all ports: that is all that a network is.
            "sourceTags": [rule],
            "targetTags": [rule],
            "allowed": [{"IPProtocol": "all"}],
        }
        self.api.operate("POST", "global/firewalls", f"create the network {name}", body)
        return self._existing_network(name)

    def network(self, name: str) -> Network | None:
        """Return a network, or None."""
        path = f"global/firewalls/{names.cloud_name(name)}"
        rule = self.api.find("compute", path, f"look at the network {name}")
        # Somebody's rule may have the name.
        if rule is None or network_of(rule)[0] != name:
            return None
        return _network(rule, self._members(self.instances()))

    def _existing_network(self, name: str) -> Network:
        found = self.network(name)
        if found is None:
            raise InputError(
                f"there is no network {name!r}", resolution="stoneware up    # makes a cluster's"
            )
        return found

    def networks(self) -> list[Network]:
        """Return all networks, sorted by name."""
        rules = [rule for rule in self._rules() if network_of(rule)[0]]
        members = self._members(self._just_listed()) if rules else {}
        return sorted((_network(rule, members) for rule in rules), key=lambda network: network.name)

    def _rules(self) -> list[dict[str, Any]]:
        return list(self.api.items("compute", "global/firewalls", "list the networks"))

    def _just_listed(self) -> list[dict[str, Any]]:
        """Return all instances, by a list of a moment ago where we have changed nothing since."""
        at, changes, listed = self._seen
        # A change of ours, even by another object over the same API, makes the list old.
        fresh = time.monotonic() - at < _MOMENT and changes == self.api.changes
        return listed if fresh else self.instances()

    def _members(self, instances: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
        """Return the names of machines by their network tags."""
        members: dict[str, list[str]] = {}
        for one in instances:
            name = _machine_name(one)
            for tag in (one.get("tags") or {}).get("items") or []:
                members.setdefault(str(tag), []).append(name)
        return members

    def change_network(
        self, name: str, labels: Mapping[str, str], *, internal: bool = False, subnets: Sequence[str] = ()
    ) -> None:
        """Change a network's labels. Raises InputError where there is no such network."""
        self._existing_network(name)
        _check_plain(name, internal=internal, subnets=subnets)
        path = f"global/firewalls/{names.cloud_name(name)}"
        body = {"description": network_description(name, labels)}
        self.api.operate("PATCH", path, f"change the network {name}", body)

    def destroy_network(self, name: str) -> None:
        """Remove a network. Raises InputError while it has machines; a missing one is no error."""
        found = self.network(name)
        if found is None:
            return
        if found.machines:
            raise InputError(
                f"the network {name!r} has machines",
                details=f"On it: {', '.join(found.machines[:5])}.",
                resolution=f"stoneware rm -f {found.machines[0]}",
            )
        try:
            path = f"global/firewalls/{names.cloud_name(name)}"
            self.api.operate("DELETE", path, f"remove the network {name}")
        except errors.MissingError:
            pass


def volume_name(disk: Mapping[str, Any]) -> str:
    """Return the name of the volume that a disk is; its own name where it does not say."""
    description = str(disk.get("description") or "")
    return description.removeprefix(VOLUME) if description.startswith(VOLUME) else str(disk.get("name"))


def _volume(disk: Mapping[str, Any]) -> Volume:
    labels = {str(key): str(text) for key, text in (disk.get("labels") or {}).items()}
    floor = labels.get(names.FLOOR, "")
    return Volume(
        name=volume_name(disk),
        created=seconds(disk.get("creationTimestamp")) or 0.0,
        labels=names.read_labels(labels),
        machines=tuple(sorted(last(user) for user in disk.get("users") or ())),
        size=int(disk.get("sizeGb") or 0) * _GIB or None,
        floor=names.decoded(floor),
        kind=DISK,
    )


def _kept(labels: Mapping[str, str]) -> dict[str, str]:
    # The floor stays whatever is told: it keeps images that are too old from the data.
    return {key: labels[key] for key in (names.MARK, names.FLOOR) if key in labels}


def network_description(name: str, labels: Mapping[str, str]) -> str:
    """Return the description of a network's rule, which has no labels: its name and what labels fit."""
    text = f"{NETWORK}{name} {labels_document(labels)}"
    if len(text) > _MOST_DESCRIPTION:
        own = {key: value for key, value in labels.items() if key == CLUSTER_LABEL}
        text = f"{NETWORK}{name} {labels_document(own)}"
    return text


def network_of(rule: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Return the name and the labels of the network that a rule is; nothing where it is none of ours."""
    description = str(rule.get("description") or "")
    if not description.startswith(NETWORK):
        return "", {}
    name, _, text = description.removeprefix(NETWORK).partition(" ")
    try:
        labels = bounded_json(text) if text else {}
    # Anybody may have edited a description; the network is listed all the same.
    except BoundsError:
        labels = {}
    found = labels if isinstance(labels, dict) else {}
    return name, {str(key): str(value) for key, value in found.items()}


def _network(rule: Mapping[str, Any], members: Mapping[str, Sequence[str]]) -> Network:
    name, labels = network_of(rule)
    machines = tuple(sorted(members.get(str(rule["name"]), ())))
    return Network(name, seconds(rule.get("creationTimestamp")) or 0.0, labels, machines)


def _machine_name(one: Mapping[str, Any]) -> str:
    try:
        spec = read_spec(one)
    except ValueError:
        spec = None
    return spec.name if spec else str(one["name"])


def _check_plain(name: str, *, internal: bool, subnets: Sequence[str]) -> None:
    """Raise InputError for a network that a rule cannot be."""
    if internal or subnets:
        what = "internal" if internal else "with ranges of addresses of its own"
        raise InputError(
            f"the network {name!r} cannot be {what} on Compute Engine",
            details="Machines are in one network of your VPC: it has the ranges, and the routes outside.",
            resolution="leave out internal: and ipam:, or set subnetwork in stoneware.toml",
        )


def _link(network: str) -> str:
    return network if "/" in network else f"global/networks/{network}"
