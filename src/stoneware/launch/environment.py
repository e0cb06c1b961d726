"""The environment of a machine's service, which commands that are run in the machine have as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stoneware.model import guest_protocol
from stoneware.model.machine import Machine


def service_environment(manifest: Mapping[str, Any], machine: Machine) -> dict[str, str]:
    """Return the environment a machine's service has: ENV, then the runtime config, then what is built in."""
    from stoneware.config import builtin_values, decode, effective_values

    config = decode(machine.spec.metadata.get(guest_protocol.CONFIG, ""))
    commit = str(manifest["commit"] or "")
    builtins = builtin_values(name=machine.name, ip=machine.ip, image=machine.image_id, commit=commit)
    found = effective_values(manifest["contract"]["env"], config, builtins)
    return {name: str(value) for name, value in found.items()}
