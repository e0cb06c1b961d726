"""What only one platform has, as texts: what its `x-…` key says of machines and disks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stoneware.model.limits import parse_size

# What changes while a machine runs.
LIVE = ("deletion_protection", "dns_name", "dns_zone", "source_ranges", "tags")
_DISK_SIZE = "disk_size"  # of a disk in the cloud, which a module gives its size
_PLACES = ("zone", "zones")  # where machines may be: none is made again for another list


def extras_of(key: str, *extensions: Mapping[str, Any]) -> dict[str, str]:
    """Return what a platform's key says, the later ones before the earlier; nothing without a key."""
    said = _said(key, extensions)
    return {name: _text(value) for name, value in said.items() if name not in (*_PLACES, *LIVE)}


def live_extras_of(key: str, *extensions: Mapping[str, Any]) -> dict[str, str]:
    """Return what of that a living machine takes on."""
    return {name: _text(value) for name, value in _said(key, extensions).items() if name in LIVE}


def size_of(extras: Mapping[str, str]) -> int | None:
    """Return how large a volume is to be, in bytes."""
    said = extras.get(size_key(extras))
    return None if said is None else parse_size(said)


def size_key(extras: Mapping[str, str]) -> str:
    """Return the key that says how large a volume is to be."""
    return _DISK_SIZE if _DISK_SIZE in extras else "size"


def grows_by_terraform(extras: Mapping[str, str]) -> bool:
    """Say whether a volume that is to be larger becomes so by the cluster's module."""
    return size_key(extras) == _DISK_SIZE


def zones_of(key: str, *extensions: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the zones that machines may be in, as the last that names any has them."""
    for said in reversed([_said(key, [extension]) for extension in extensions]):
        if listed := said.get("zones") or ([said["zone"]] if said.get("zone") else []):
            return tuple(map(str, listed))
    return ()


def _said(key: str, extensions: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for extension in extensions:
        value = extension.get(key) if key else None
        if isinstance(value, Mapping):
            found |= {name: it for name, it in value.items() if it is not None and not name.startswith("x-")}
    return found


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
