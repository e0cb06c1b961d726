"""What the lists of images and machines hold, as plain data: printed as JSON or made into rows."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

from stoneware.image.references import tags_of
from stoneware.launch.plan import Images
from stoneware.model.limits import UNLIMITED
from stoneware.model.machine import Machine, MachineSpec
from stoneware.model.resources import PortMapping
from stoneware.records import DamagedError
from stoneware.ui import text

UNTAGGED = "<none>"
DAMAGED = "<damaged>"
_FULL_COMMIT = re.compile(r":[0-9a-f]{40}(-dirty)?$")


def image_document(store: Any, image_id: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """Return one image as `images --json` shows it."""
    manifest = store.manifest(image_id)
    return {
        "id": image_id,
        "name": manifest["name"],
        "tags": tags_of(tags, image_id),
        "commit": manifest["commit"],
        "dirty": manifest["dirty"],
        "created": manifest["created"],
        "size_bytes": store.image_document(image_id).get("size_bytes"),
        "architecture": manifest["architecture"],
        "base": manifest["base"]["reference"],
        "labels": manifest["labels"],
    }


def image_rows(document: Mapping[str, Any], now: float, *, full: bool = False) -> list[list[str]]:
    """Return an image's rows of the table, one per tag: NAME, TAG, IMAGE ID, COMMIT, CREATED, SIZE.

    The tag of the full commit, which says no more than the short one, is left out unless `full`.
    """
    identity = document["id"] if full else text.short_id(document["id"])
    commit = (document["commit"] or "-") if full else (document["commit"] or "-")[:7]
    rest = [
        identity,
        commit + ("-dirty" if document["dirty"] else ""),
        f"{text.age(now - created_at(document['created']))} ago",
        text.size(document["size_bytes"]),
    ]
    tags = [ref for ref in document["tags"] if full or not _FULL_COMMIT.search(ref)]
    names = [tuple(ref.rpartition(":")[::2]) for ref in tags] or [(document["name"], UNTAGGED)]
    return [[name, tag, *rest] for name, tag in names]


def created_at(stamp: str) -> float:
    """Return an RFC 3339 time as seconds since the epoch."""
    return datetime.datetime.fromisoformat(stamp).timestamp()


def machine_document(machine: Machine) -> dict[str, Any]:
    """Return one machine as `ps --json` and `inspect` show it."""
    return {
        "name": machine.name,
        "id": machine.id,
        "kind": machine.kind,
        "image_id": machine.image_id,
        "image": machine.image,
        "phase": str(machine.phase),
        "health": str(machine.health),
        "ip": machine.ip,
        "ports": [port_document(port) for port in machine.ports],
        "config_digest": machine.config_digest,
        "error": machine.error,
        "failed_check": None if machine.failed_check is None else dict(vars(machine.failed_check)),
        "created": machine.created,
        "started": machine.started,
        "exit_code": machine.exit_code,
        "restart": machine.spec.restart,
        "limits": limits_document(machine.spec),
        "volumes": [vars(mount) for mount in machine.spec.volumes],
        "labels": dict(machine.spec.labels),
    }


def limits_document(spec: MachineSpec) -> dict[str, Any]:
    """Return what a machine may take as JSON data: bytes, cores, numbers; null is no limit."""
    return {
        "memory": spec.memory,
        "cpus": spec.cpus,
        "pids_limit": None if spec.pids_limit == UNLIMITED else spec.pids_limit,
        "ulimits": [vars(limit) for limit in spec.ulimits],
        "disk": spec.disk,
        "log_max_size": spec.log_max_size,
        "log_max_file": spec.log_max_file,
    }


def port_document(port: PortMapping) -> dict[str, Any]:
    """Return one published port as JSON data."""
    return {
        "host_ip": port.host_ip,
        "host_port": port.host_port,
        "machine_port": port.machine_port,
        "protocol": port.protocol,
    }


def port_text(port: PortMapping) -> str:
    """Return one published port as Docker shows it: `0.0.0.0:8080->80/tcp`."""
    return f"{port.host_ip}:{port.host_port}->{port.machine_port}/{port.protocol}"


def machine_row(machine: Machine, now: float) -> list[str]:
    """Return a machine's row: NAME, IMAGE, PHASE, HEALTH, IP, PORTS, AGE, ERROR."""
    phase = str(machine.phase)
    if machine.exit_code is not None:
        phase = f"{phase} ({machine.exit_code})"
    return [
        machine.name,
        machine.image or text.short_id(machine.image_id),
        phase,
        "-" if machine.health == "none" else str(machine.health),
        machine.ip or "-",
        ", ".join(port_text(port) for port in machine.ports) or "-",
        text.age(now - machine.created),
        text.one_line(machine.trouble, 80),
    ]


def _image(store: Any, image_id: str, tags: Mapping[str, str]) -> dict[str, Any]:
    try:
        return image_document(store, image_id, tags)
    except DamagedError as error:  # the others are listed all the same
        return {
            "id": image_id,
            "name": DAMAGED,
            "tags": tags_of(tags, image_id),
            "commit": None,
            "dirty": False,
            "created": "1970-01-01T00:00:00Z",  # behind all others, in a list that has the newest first
            "size_bytes": None,
            "architecture": "",
            "base": "",
            "labels": {},
            "error": f"{error.path.name} {error.why}; {error.resolution.partition(' #')[0].strip()}",
        }


def all_images(store: Images) -> list[dict[str, Any]]:
    """Return all images, the newest first."""
    tags = store.tags()
    found = [_image(store, image_id, tags) for image_id in store.image_ids()]
    return sorted(found, key=lambda image: (image["created"], image["id"]), reverse=True)
