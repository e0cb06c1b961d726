"""What the metadata server reads and writes: the files of a machine's directory, and the tree made of them.

    HOME/data/machines/NAME/network.json            {"ip", "mac", "id", …}: tells the machine by its address
    HOME/data/machines/NAME/spec.json               what is wanted of the machine
    HOME/data/machines/NAME/metadata.json           {"attributes": {key: value}}
    HOME/data/machines/NAME/guest-attributes.json   {"namespace/key": value}: what the machine reported
    HOME/project.json                               {"project-id", "numeric-project-id", "attributes"}

Nothing is kept between requests but what can be read again, so the server may be killed at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, NamedTuple

from stoneware.dataclass import dataclass
from stoneware.model.guest_protocol import GUEST_ATTRIBUTES, METADATA_ADDRESS
from stoneware.platforms.local.metadata.identity import attributes_of, overlaid
from stoneware.platforms.local.metadata.tree import Directory, Leaf, Node
from stoneware.untrusted.bounded import read_object

ZONE = "local"
VALUE_LIMIT = 32 * 1024  # bytes of one guest attribute
TOTAL_LIMIT = 512 * 1024  # bytes of all of a machine's guest attributes, names included
_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
_GO_TRUE = frozenset(("1", "t", "T", "true", "True", "TRUE"))  # what agents parse these switches with
_GO_FALSE = frozenset(("0", "f", "F", "false", "False", "FALSE"))


@dataclass(frozen=True)
class Facts:
    """All that a machine's tree is made of, as read from its files."""

    name: str
    spec: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    network: Mapping[str, Any] = field(default_factory=dict)
    guest: Mapping[str, str] = field(default_factory=dict)
    project: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> Mapping[str, str]:
        """What an instance of a cloud is told of itself; nothing for other machines."""
        return _texts(self.spec.get("identity"))


class LimitError(Exception):
    """A guest attribute is larger than the server keeps (HTTP 413)."""


def read_facts(machine: Path, project_file: Path) -> Facts:
    """Read a machine's directory."""
    attributes = read_object(machine / "metadata.json").get("attributes")
    return Facts(
        name=machine.name,
        spec=read_object(machine / "spec.json"),
        attributes=_texts(attributes),
        network=read_object(machine / "network.json"),
        guest=read_guest_attributes(machine),
        project=read_object(project_file),
    )


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {str(key): item if isinstance(item, str) else json.dumps(item) for key, item in value.items()}


# --- the tree -----------------------------------------------------------------------------------------


def project_names(project: Mapping[str, Any]) -> tuple[str, int]:
    """Return project id and number; a store without a project.json is project `stoneware`."""
    name = str(project.get("project-id") or "stoneware")
    number = project.get("numeric-project-id")
    return name, number if isinstance(number, int) else _number(name, 10**12)


def _number(text: str, below: int) -> int:
    # Made of the name: the same for each request, and by each server that is started.
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) % below


def guest_attributes_enabled(facts: Facts) -> bool:
    """Say whether the machine may use guest attributes: its own setting, else the project's.

    Without one it may, but for an instance of a cloud, where they are off.
    """
    project = attributes_of(facts.identity) if facts.identity else facts.project.get("attributes")
    for attributes in (facts.attributes, _texts(project)):
        value = attributes.get(GUEST_ATTRIBUTES)
        if value in _GO_TRUE:
            return True
        if value in _GO_FALSE:
            return False
    return not facts.identity


def build(facts: Facts) -> Directory:
    """Return the tree below /computeMetadata/v1/ of a machine."""
    return overlaid(_own(facts), facts.identity)


def _own(facts: Facts) -> Directory:
    project, number = project_names(facts.project)
    project_attributes = _texts(facts.project.get("attributes"))
    return Directory(
        {
            "instance": _instance(facts, project, number, project_attributes),
            "oslogin": Directory({"authenticate": Directory({"sessions": Directory()})}),
            "project": Directory(
                {
                    "attributes": _values(project_attributes),
                    "numeric-project-id": Leaf(number),
                    "project-id": Leaf(project),
                }
            ),
            "universe": Directory({"universe-domain": Leaf("googleapis.com")}),
        }
    )


def _values(values: Mapping[str, str]) -> Directory:
    return Directory({key: Leaf(value) for key, value in values.items()}, keep_keys=True)


def _indexed(items: list[Node]) -> Directory:
    return Directory({str(index): item for index, item in enumerate(items)}, indexed=True)


def _instance(facts: Facts, project: str, number: int, project_attributes: Mapping[str, str]) -> Directory:
    spec, zone = facts.spec, f"projects/{number}/zones/{ZONE}"
    attributes = dict(facts.attributes)
    told = GUEST_ATTRIBUTES in attributes or GUEST_ATTRIBUTES in project_attributes
    if not told and not facts.identity:
        attributes[GUEST_ATTRIBUTES] = "TRUE"
    return Directory(
        {
            "attributes": _values(attributes),
            "cpu-platform": Leaf("Unknown CPU Platform"),
            "description": Leaf(""),
            "disks": _disks(spec),
            "guest-attributes": _guest(facts.guest),
            "hostname": Leaf(hostname(facts, project)),
            "id": Leaf(_number(f"{facts.name}\n{facts.network.get('id', '')}", 2**63)),
            "image": Leaf(f"projects/{project}/global/images/{_image_name(spec)}"),
            "licenses": _indexed([]),
            "machine-type": Leaf(f"projects/{number}/machineTypes/{_machine_type(spec)}"),
            "maintenance-event": Leaf("NONE"),
            "name": Leaf(facts.name),
            "network-interfaces": _indexed([_interface(facts.network, number)]),
            "partner-attributes": Directory(keep_keys=True),
            "preempted": Leaf("FALSE"),
            "remaining-cpu-time": Leaf(-1),
            "scheduling": _scheduling(spec),
            "service-accounts": Directory(keep_keys=True),
            "tags": Leaf((), json_default=True),
            "virtual-clock": Directory({"drift-token": Leaf("0")}),
            "zone": Leaf(zone),
        }
    )


def hostname(facts: Facts, project: str) -> str:
    """Return the machine's full host name: its own where it has a domain, else one in the zone's domain."""
    own = str(facts.spec.get("hostname") or facts.name)
    return own if "." in own else f"{own}.{ZONE}.c.{project}.internal"


def _image_name(spec: Mapping[str, Any]) -> str:
    source = str(spec.get("image_ref") or spec.get("source") or "none")
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", source.removeprefix("image:"))


def _machine_type(spec: Mapping[str, Any]) -> str:
    cpus, memory = spec.get("cpus"), spec.get("memory")
    if not cpus and not memory:
        return "local"
    return f"custom-{cpus or (os.cpu_count() or 1):g}-{int(memory) // 2**20 if memory else 0}"


def _scheduling(spec: Mapping[str, Any]) -> Directory:
    restart = "FALSE" if spec.get("restart", "no") == "no" else "TRUE"
    values = {"automatic-restart": restart, "on-host-maintenance": "TERMINATE", "preemptible": "FALSE"}
    return Directory({key: Leaf(value) for key, value in values.items()})


def _disks(spec: Mapping[str, Any]) -> Directory:
    disks = [_disk(0, "persistent-disk-0", read_only=bool(spec.get("read_only")))]
    for index, volume in enumerate(spec.get("volumes") or (), start=1):
        disks.append(_disk(index, str(volume.get("volume")), read_only=bool(volume.get("read_only"))))
    return _indexed(disks)


def _disk(index: int, device: str, *, read_only: bool) -> Node:
    return Directory(
        {
            "device-name": Leaf(device),
            "index": Leaf(index),
            "interface": Leaf("SCSI"),
            "mode": Leaf("READ_ONLY" if read_only else "READ_WRITE"),
            "type": Leaf("PERSISTENT-BALANCED"),
        }
    )


def _interface(network: Mapping[str, Any], number: int) -> Node:
    return Directory(
        {
            "access-configs": _indexed([]),
            "dns-servers": Leaf((METADATA_ADDRESS,)),
            "forwarded-ips": _indexed([]),
            "gateway": Leaf(str(network.get("gateway", ""))),
            "ip": Leaf(str(network.get("ip", ""))),
            "ip-aliases": _indexed([]),
            "mac": Leaf(str(network.get("mac", ""))),
            "mtu": Leaf(int(network.get("mtu") or 1500)),
            "network": Leaf(f"projects/{number}/networks/default"),
            "subnetmask": Leaf(str(network.get("netmask", ""))),
            "target-instance-ips": _indexed([]),
        }
    )


def _guest(values: Mapping[str, str]) -> Directory:
    spaces: dict[str, dict[str, Node]] = {}
    for name, value in values.items():
        space, _, key = name.partition("/")
        if space and key:
            spaces.setdefault(space, {})[key] = Leaf(value)
    children = {space: Directory(keys, keep_keys=True) for space, keys in spaces.items()}
    return Directory(children, keep_keys=True, shut=True)


# --- guest attributes ---------------------------------------------------------------------------------


def read_guest_attributes(machine: Path) -> dict[str, str]:
    """Return what a machine reported: `namespace/key` to value."""
    return _texts(read_object(machine / "guest-attributes.json"))


def valid_name(name: str) -> bool:
    """Say whether a text may be a namespace or a key of guest attributes."""
    return _NAME.fullmatch(name) is not None


def set_guest_attribute(machine: Path, name: str, value: str | None) -> bool:
    """Write (or, with None, remove) the attribute `namespace/key`; return whether it was there before.

    The file is replaced by rename. It is not synced: it tells of a machine that ends with the computer.
    Raises LimitError when the value (32 KiB) or all of them (512 KiB) would be too large.
    """
    values = read_guest_attributes(machine)
    before = values.pop(name, None)
    if value is not None:
        values[name] = value
        if len(value.encode()) > VALUE_LIMIT:
            raise LimitError(f"a guest attribute may have {VALUE_LIMIT} bytes")
        if sum(len(key) + len(item.encode()) for key, item in values.items()) > TOTAL_LIMIT:
            raise LimitError(f"a machine's guest attributes may have {TOTAL_LIMIT} bytes together")
    if before != value:
        path = machine / "guest-attributes.json"
        staged = machine / ".guest-attributes.json.new"
        staged.write_text(json.dumps(values))
        staged.replace(path)
    return before is not None


# --- which machine is it ------------------------------------------------------------------------------


class MachinesByAddress:
    """Finds a machine by its address, from HOME/data/machines/*/network.json."""

    def __init__(self, machines: Path) -> None:
        self._machines = machines
        self._known: dict[str, tuple[Path, tuple[int, int]]] = {}

    def find(self, address: str) -> Path | None:
        """Return the directory of the machine that has an address, or None."""
        known = self._known.get(address)
        # The address may be another machine's by now.
        if known is None or _stamp(f"{known[0]}/network.json") != known[1]:
            self._read()
            known = self._known.get(address)
        return known[0] if known else None

    def _read(self) -> None:
        # Of twenty machines that start within a moment each is unknown once: the others are not read again.
        before = {(machine, stamp): address for address, (machine, stamp) in self._known.items()}
        self._known = {}
        with contextlib.suppress(OSError):
            for machine in sorted(self._machines.glob("[!.]*")):
                stamp = _stamp(f"{machine}/network.json")
                if stamp is not None:
                    address = before.get((machine, stamp))
                    if address is None:
                        address = str(read_object(machine / "network.json").get("ip", ""))
                    self._known[address] = (machine, stamp)


def _stamp(path: str) -> tuple[int, int] | None:  # a Path would cost as much again for each request
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


def stamps(machine: Path, project_file: Path) -> tuple[object, ...]:
    """Return what changes whenever something of the machine's tree does; None's where it is gone.

    All documents are replaced by rename, which the directory's own time shows; the two that change while a
    machine runs are looked at as well, because two renames may fall into one tick of the clock.
    """
    files = (f"{machine}", f"{machine}/metadata.json", f"{machine}/guest-attributes.json", f"{project_file}")
    return tuple([_stamp(path) for path in files])


class Reading(NamedTuple):
    """What a machine's files said."""

    stamps: tuple[object, ...]  # of the files, from before they were read
    facts: Facts
    tree: Directory


class Trees:
    """The trees of the machines, each read again when one of its files changed."""

    def __init__(self, project_file: Path) -> None:
        self._project_file = project_file
        self._kept: dict[Path, Reading] = {}

    def stamps(self, machine: Path) -> tuple[object, ...]:
        """Return the state of the machine's files now."""
        return stamps(machine, self._project_file)

    def read(self, machine: Path) -> Reading:
        """Return a machine's facts and tree as its files are now."""
        now = self.stamps(machine)
        kept = self._kept.get(machine)
        if kept is None or kept.stamps != now:
            facts = read_facts(machine, self._project_file)
            kept = self._kept[machine] = Reading(now, facts, build(facts))
            self._forget()
        return kept

    def _forget(self) -> None:
        # The server outlives thousands of machines.
        for machine in [machine for machine in self._kept if not machine.is_dir()]:
            del self._kept[machine]
