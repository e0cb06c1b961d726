"""Reading Terraform's state file directly: no process is started for a question that a file answers."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from stoneware.records import fault_of
from stoneware.untrusted.bounded import bounded_json, read_bounded

STATE_FILE = "terraform.tfstate"
LARGEST_STATE = 512 << 20  # bytes
STATE_DEPTH = 256


def has_state(directory: Path) -> bool:
    """Return whether the state in a directory knows of any resource."""
    return bool(managed_addresses(directory))


def managed_addresses(directory: Path) -> frozenset[str]:
    """Return the addresses of all resources in a directory's state; none where there is no state."""
    return addresses_in(state_in(directory))


def tainted_addresses(directory: Path) -> frozenset[str]:
    """Return the addresses of resources whose creation failed: the next apply recreates them."""
    return tainted_in(state_in(directory))


def state_in(directory: Path) -> bytes:
    """Return what the state's file in a directory holds; nothing where it cannot be read."""
    try:
        return read_bounded(directory / STATE_FILE, LARGEST_STATE)
    except (OSError, ValueError):
        return b""


def addresses_in(state: bytes) -> frozenset[str]:
    """Return the addresses of all resources that a state knows; none where it is none."""
    return frozenset(address for address, _ in _instances(state))


def tainted_in(state: bytes) -> frozenset[str]:
    """Return the addresses of resources in a state whose creation failed."""
    return frozenset(
        address for address, instance in _instances(state) if instance.get("status") == "tainted"
    )


def unordered_in(state: bytes, types: Collection[str]) -> frozenset[str]:
    """Return the addresses of resources of some types of which a state does not say what they depend on.

    They were imported, and a kill came before the rest of the apply: an import alone does not record it.
    """
    return frozenset(
        address
        for address, instance in _instances(state)
        if address.partition(".")[0] in types and not instance.get("dependencies")
    )


def _instances(text: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        state = bounded_json(text, LARGEST_STATE, STATE_DEPTH)
    except ValueError:
        return
    if state_fault(state):
        return
    for resource in state.get("resources") or ():
        # Data is only read, so there is nothing to remove or to adopt.
        if resource.get("mode") != "managed":
            continue
        module = f"{resource['module']}." if resource.get("module") else ""
        for instance in resource.get("instances", ()):
            yield f"{module}{resource['type']}.{resource['name']}{_index(instance)}", instance


def state_fault(state: Any) -> str:
    """Return why a value is no state of Terraform's, as far as we read it; nothing where it is one."""
    if not isinstance(state, dict):
        return "not an object"
    instance = {"index_key?": str | int | None, "status?": str}
    resource = {"mode": str, "type": str, "name": str, "module?": str, "instances?": [instance]}
    return fault_of(state, {"resources?": [resource]}) if state.get("resources") else ""


def _index(instance: dict[str, Any]) -> str:
    key = instance.get("index_key")
    if key is None:
        return ""
    if not isinstance(key, str):
        return f"[{key}]"
    # As Terraform writes them: quotes of its language, whose templates begin with ${ and %{.
    quoted = json.dumps(key, ensure_ascii=False).replace("${", "$${").replace("%{", "%%{")
    return f"[{quoted}]"
