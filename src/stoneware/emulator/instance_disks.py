"""The disks of instances: made with them, held by them, let go."""

from __future__ import annotations

import itertools
import re

from stoneware.emulator import checks, contents, errors, prepare
from stoneware.emulator.machine_spec import disk_key
from stoneware.emulator.service import Call, Service
from stoneware.emulator.store import Record
from stoneware.emulator.values import LINK

_DEVICE = re.compile(r"[a-z0-9](?:[-_a-zA-Z0-9.]{0,61}[a-zA-Z0-9])?")
READ_ONLY = "READ_ONLY"
_MOST = 128  # disks of an instance, as on Compute Engine, that it boots from among them
_PASSED_ON = {"diskType": "type", "diskSizeGb": "sizeGb"}
_OF_DISK = ("description", "labels", "sourceImage", "sourceSnapshot", "licenses", "provisionedIops")


def resolve(service: Service, place: prepare.Place, new: Record) -> None:
    """Make the disks that a new instance asks for, and let it name all of them. Raises ApiError."""
    given = new.get("disks") or []
    if not given:
        raise errors.required("resource.disks")
    new["disks"] = []
    for at, disk in enumerate(given):
        if bool(disk.get("boot")) != (at == 0):
            raise errors.invalid("resource.disks", at, "The first disk, and no other, must be a boot disk.")
        new["disks"].append(attached(service, place, new, disk))
    boot = service.existing(disk_key(new["disks"][0]))
    if contents.is_blank(boot):
        raise errors.invalid("resource.disks[0]", boot["name"], "A boot disk needs an image or a snapshot.")
    # The metadata server names it, also when the disk has lost it.
    new["x-image"] = boot.get("sourceImage", "").removeprefix(LINK)


def attached(service: Service, place: prepare.Place, instance: Record, disk: Record) -> Record:
    """Return a disk as an instance has it, checked; made where it is asked for. Raises ApiError."""
    at = len(instance["disks"])
    if disk.get("type", "PERSISTENT") != "PERSISTENT":
        raise errors.not_implemented("instances with local SSDs", "they have persistent disks here")
    if at == _MOST:
        why = f"Maximum persistent disks count should be less than or equal to [{_MOST}]"
        raise errors.ApiError(400, "unsupportedOperation", f"{why}, Requested : [{at + 1}]")
    taken = {other["deviceName"] for other in instance["disks"]}
    device = disk.get("deviceName") or _free_name(at, taken)
    if not _DEVICE.fullmatch(device) or device in taken:
        raise errors.invalid(f"resource.disks[{at}].deviceName", device, "Must be a name, and the only such.")
    if bool(disk.get("source")) == bool(disk.get("initializeParams")):
        raise errors.invalid(
            f"resource.disks[{at}]", device, "Exactly one of source, initializeParams is given."
        )
    key, record = (
        _made(service, place, instance, disk)
        if disk.get("initializeParams")
        else _found(service, place, instance, disk)
    )
    if at and not contents.is_blank(record):
        raise errors.not_implemented(
            "a data disk made of an image or snapshot", "such a disk can only boot here"
        )
    found = {"kind": "compute#attachedDisk", "type": "PERSISTENT", "source": LINK + key, "index": at}
    found |= {
        "mode": disk.get("mode", "READ_WRITE"),
        "deviceName": device,
        "boot": at == 0,
        "interface": "SCSI",
    }
    found |= {"autoDelete": disk.get("autoDelete", False), "diskSizeGb": record["sizeGb"]}
    return found | {
        name: record[name] for name in ("licenses", "guestOsFeatures", "architecture") if name in record
    }


def _free_name(at: int, taken: set[str]) -> str:
    """Return Google's name of a device for which the request has none."""
    # After one of the first was detached, the number may be another disk's.
    names = (f"persistent-disk-{number}" for number in itertools.chain((at,), itertools.count()))
    return next(name for name in names if name not in taken)


def _made(service: Service, place: prepare.Place, instance: Record, disk: Record) -> tuple[str, Record]:
    given = disk["initializeParams"]
    at = len(instance["disks"])
    # Google's names, where the request has none.
    name = given.get("diskName") or (f"{instance['name']}-{at}" if at else instance["name"])
    content = {"name": name, "guestOsFeatures": disk.get("guestOsFeatures")}
    content |= {field: given.get(field) for field in _OF_DISK}
    # A size may stand in either place.
    content |= {field: given.get(mine) or disk.get(mine) for mine, field in _PASSED_ON.items()}
    key = f"projects/{place.project}/{place.scope}/disks/{name}"
    content = {field: value for field, value in content.items() if value}
    return key, service.create(place, "disks", key, content, {})


def _found(service: Service, place: prepare.Place, instance: Record, disk: Record) -> tuple[str, Record]:
    key, record = place.find(disk["source"], "disks")
    users = [user.removeprefix(LINK) for user in record.get("users", [])]
    # What is only read several instances may have, each of them once.
    reads = instance["disks"] and disk.get("mode") == READ_ONLY
    twice = any(disk_key(other) == key for other in instance["disks"])
    if users and (twice or not reads or not all(_only_reads(service, user, key) for user in users)):
        raise errors.in_use(key, users[0])
    return key, record


def _only_reads(service: Service, instance: str, disk: str) -> bool:
    disks = (service.store.get(instance) or {}).get("disks", [])
    return all(other["mode"] == READ_ONLY for other in disks if disk_key(other) == disk)


def hold(service: Service, key: str, instance: Record) -> None:
    """Note at its disks and addresses that an instance has them."""
    for disk in instance["disks"]:
        _user(service, disk_key(disk), LINK + key, has=True)
    for one in _addresses(service, key, instance):
        _users(service, one, [LINK + key], status="IN_USE")


def let_go(service: Service, key: str, instance: Record) -> None:
    """Take an instance that is gone from its disks and addresses."""
    for disk in instance["disks"]:
        _user(service, disk_key(disk), LINK + key, has=False)
    for one in _addresses(service, key, instance):
        _users(service, one, [], status="RESERVED")


def _user(service: Service, disk: str, instance: str, *, has: bool) -> None:
    known = (service.store.get(disk) or {}).get("users", [])
    others = [user for user in known if user != instance]
    _users(service, disk, [*others, instance] if has else others)


def _users(service: Service, key: str, users: list[str], status: str = "") -> None:
    record = service.store.get(key)
    if record is None:
        return
    record.pop("users", None)
    record |= ({"users": users} if users else {}) | ({"status": status} if status else {})
    service.store.put(key, record)


def _addresses(service: Service, key: str, instance: Record) -> list[str]:
    interface = instance["networkInterfaces"][0]
    used = {interface["networkIP"], *(one["natIP"] for one in interface.get("accessConfigs", []))}
    networks = (None, interface["network"])
    # External addresses are of no network.
    found = service.store.everywhere(key.split("/")[1], "addresses")
    return [one for one, record in found if record["address"] in used and record["x-network"] in networks]


def of_device(instance: Record, device: str) -> Record:
    """Return the disk that an instance has under a device name. Raises ApiError (400)."""
    disks: list[Record] = instance["disks"]
    for disk in disks:
        if disk["deviceName"] == device:
            return disk
    raise errors.invalid("deviceName", device, "No attached disk found with this device name.")


def take(service: Service, key: str, instance: Record, device: str) -> None:
    """Take a disk from the record of an instance, `key`, which the caller writes."""
    disk = of_device(instance, device)
    instance["disks"].remove(disk)
    for at, other in enumerate(instance["disks"]):
        other["index"] = at
    _user(service, disk_key(disk), LINK + key, has=False)


def stopped(service: Service, call: Call, what: str) -> tuple[str, Record]:
    """Return key and record of the instance of a call, which must be stopped. Raises ApiError (400)."""
    key = call.key("instances")
    record = service.existing(key)
    # Machines of this computer get their disks when they start.
    if record["status"] != "TERMINATED":
        checks.ready(key, record)
        raise errors.ApiError(
            400, "unsupportedOperation", f"The instance must be stopped here before {what}: {record['name']}"
        )
    return key, record
