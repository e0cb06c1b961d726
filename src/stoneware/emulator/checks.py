"""Labels, metadata and firewall rules as the API takes them."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Mapping

from stoneware.emulator import errors
from stoneware.emulator.store import Record

# Letters of scripts that have no upper case are taken as well.
_LABEL_CATEGORIES = frozenset({"Ll", "Lo", "Nd", "No", "Nl"})
_TAG = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
_EMAIL = re.compile(r"[A-Za-z0-9._+-]{1,120}@[A-Za-z0-9.-]{1,120}")
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")
_PROTOCOLS = ("tcp", "udp", "icmp", "esp", "ah", "sctp", "ipip", "all")
_WITH_PORTS = ("tcp", "udp", "sctp", "6", "17", "132", "all")
_METADATA_VALUE = 262_144  # bytes
_METADATA_ALL = 512 << 10  # bytes of keys and values


def labels(given: Mapping[str, str]) -> None:
    """Refuse labels that the API does not take. Raises ApiError (400)."""
    if len(given) > 64:
        raise errors.invalid("labels", len(given), "There may be 64 labels at most.")
    for key, value in given.items():
        if not key or not _is_label(key) or unicodedata.category(key[0]) not in ("Ll", "Lo"):
            raise errors.invalid(
                "labels",
                key,
                "A label's key begins with a lowercase letter; 63 lowercase letters, digits, _ and -.",
            )
        if not _is_label(value):
            raise errors.invalid(
                "labels", value, "A label's value is 63 lowercase letters, digits, _ and - at most."
            )


def _is_label(text: str) -> bool:
    small = len(text) <= 63 and len(text.encode()) <= 128
    return small and all(one in "_-" or unicodedata.category(one) in _LABEL_CATEGORIES for one in text)


def metadata(items: list[Record]) -> None:
    """Refuse metadata that the API does not take. Raises ApiError (400)."""
    seen: set[str] = set()
    size = 0
    for item in items:
        key, value = item.get("key", ""), item.get("value", "").encode()
        if not key:
            raise errors.required("metadata.items.key")
        if key in seen:
            raise errors.invalid("metadata.items.key", key, "Metadata has duplicate keys.")
        if len(value) > _METADATA_VALUE:
            raise errors.invalid("metadata.items.value", key, f"A value has {_METADATA_VALUE} bytes at most.")
        seen.add(key)
        size += len(key) + len(value)
    if size > _METADATA_ALL:
        raise errors.invalid("metadata", size, f"Keys and values have {_METADATA_ALL} bytes at most.")


def tags(items: list[str]) -> None:
    """Refuse network tags that the API does not take. Raises ApiError (400)."""
    if len(items) > 64 or len(set(items)) != len(items):
        raise errors.invalid("resource.tags", len(items), "There may be 64 different tags at most.")
    for item in items:
        if not _TAG.fullmatch(item):
            raise errors.invalid("resource.tags.items", item, f"Must be a match of regex '{_TAG.pattern}'")


def is_email(text: str) -> bool:
    """Say whether a text may be the e-mail address of a service account."""
    return _EMAIL.fullmatch(text) is not None


def ready(key: str, instance: Record) -> None:
    """Refuse an instance that is being started or stopped. Raises ApiError (400)."""
    if instance["status"] not in ("RUNNING", "TERMINATED"):
        raise errors.ApiError(400, "resourceNotReady", f"The resource '{key}' is not ready")


def firewall(rule: Record) -> None:
    """Refuse a firewall rule whose protocols, ports, ranges or priority are none. Raises ApiError (400)."""
    for one in rule.get("allowed", []) + rule.get("denied", []):
        _protocol(one.get("IPProtocol", ""), one.get("ports", []))
    for field in ("sourceRanges", "destinationRanges"):
        for text in rule.get(field, []):
            _range(f"resource.{field}", text)
    priority = rule.get("priority", 1000)
    if not 0 <= priority <= 65535:
        raise errors.invalid("resource.priority", priority, "Must be from 0 to 65535.")


def _protocol(name: str, ports: list[str]) -> None:
    if not name:
        raise errors.required("resource.IPProtocol")
    number = name.isascii() and name.isdigit() and int(name) < 256
    if not number and name.lower() not in _PROTOCOLS:
        raise errors.invalid(
            "resource.IPProtocol", name, f"Must be {', '.join(_PROTOCOLS)} or a number to 255."
        )
    if ports and name.lower() not in _WITH_PORTS:
        raise errors.invalid("resource.ports", ports[0], f"The protocol {name} has no ports.")
    for text in ports:
        found = _PORTS.fullmatch(text)
        if not found or not int(found[1]) <= int(found[2] or found[1]) <= 65535:
            raise errors.invalid(
                "resource.ports", text, "Must be a port or a range of ports, as 22 or 80-90."
            )


def _range(field: str, text: str) -> None:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise errors.invalid(field, text, "Must be a range of addresses, as 10.0.0.0/8.") from error
