"""Which machines have which volumes and networks, read from their specs."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.files import read_json
from stoneware.model import names
from stoneware.records import LARGEST, DamagedError
from stoneware.untrusted.bounded import read_bounded

_VOLUME = re.compile(f'"volume": *"({names.VOLUME.pattern})"'.encode())
_SETTLED = 0.1  # seconds; file times are coarse: a directory changed within that may change again unseen


@dataclass(frozen=True)
class Uses:
    """Names of machines, sorted, by name of volume and of network."""

    volumes: Mapping[str, list[str]]
    networks: Mapping[str, list[str]]


def read_uses(machines: Path) -> Uses:
    """Read the specs of all machines."""
    volumes: dict[str, list[str]] = {}
    networks: dict[str, list[str]] = {}
    for path in sorted(machines.glob("[!.]*/spec.json")):
        spec = _spec(path)
        for mount in spec.get("volumes", ()):
            volumes.setdefault(mount["volume"], []).append(path.parent.name)
        for network in spec.get("networks", ()):
            networks.setdefault(network, []).append(path.parent.name)
    return Uses(volumes, networks)


def _spec(path: Path) -> dict[str, Any]:
    """Return a spec; of a damaged one the volumes that can still be made out: the machine may run."""
    try:
        return read_json(path) or {}
    except DamagedError:
        with contextlib.suppress(OSError, ValueError):
            found = _VOLUME.findall(read_bounded(path, LARGEST))
            return {"volumes": [{"volume": name.decode()} for name in found]}
    return {}


@dataclass
class Known:
    """What was read last, good while no machine comes or goes.

    A spec's networks never change, and who changes its volumes touches the directory (live_disks).
    So a thousand volumes are not looked up by reading a thousand specs each.
    """

    machines: Path
    _stamp: tuple[int, int] | None = None
    _uses: Uses = field(default_factory=lambda: Uses({}, {}))

    def uses(self) -> Uses:
        """Return who has what."""
        try:
            status = self.machines.stat()
        except FileNotFoundError:
            return Uses({}, {})
        stamp = (status.st_mtime_ns, status.st_ino)
        if stamp != self._stamp:
            self._uses = read_uses(self.machines)
            self._stamp = stamp if time.time() - status.st_mtime > _SETTLED else None
        return self._uses
