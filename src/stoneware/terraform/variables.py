"""The values of the cluster module's variables, from what is wanted on the platform."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stoneware.model.machine import MachineSpec
from stoneware.model.runtime import document_of


def machine(spec: MachineSpec, *, recreate_on: str = "", wait_for: str = "") -> dict[str, Any]:
    """Return one value of the variable `machines`. Builders' files and caches have no place in it."""
    return {
        "name": spec.name,
        "source": spec.source,
        "image_ref": spec.image_ref,
        "hostname": spec.hostname,
        "names": list(spec.names),
        "networks": list(spec.networks),
        "metadata": dict(spec.metadata),
        "secrets": [{**vars(use), "mode": octal(use.mode)} for use in spec.secrets],
        "volumes": [
            {"volume": mount.volume, "path": mount.path, "read_only": mount.read_only}
            for mount in spec.volumes
        ],
        "ports": [
            {
                "machine_port": port.machine_port,
                "host_port": port.host_port,
                "host_ip": port.host_ip,
                "protocol": port.protocol,
            }
            for port in spec.ports
        ],
        "memory": spec.memory,
        "cpus": spec.cpus,
        "pids_limit": spec.pids_limit,
        "ulimits": [{"name": it.name, "soft": it.soft, "hard": it.hard} for it in spec.ulimits],
        "disk": spec.disk,
        "log_max_size": spec.log_max_size,
        "log_max_file": spec.log_max_file,
        "read_only": spec.read_only,
        "restart": spec.restart,
        "stop_timeout": spec.stop_timeout,
        "labels": dict(spec.labels),
        "process": document_of(spec.process),
        "system": document_of(spec.system),
        "recreate_on": recreate_on,
        "running": True,
        "wait_for": wait_for,
    }


def labelled(labels: Mapping[str, str]) -> dict[str, Any]:
    """Return one value of the variables `networks` and `volumes`."""
    return {"labels": dict(labels)}


def octal(mode: int) -> str:
    """Return a file mode as it is written: four octal digits."""
    return f"{mode:04o}"
