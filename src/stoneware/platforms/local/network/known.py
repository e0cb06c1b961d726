"""Which machines the router of a store knows. Each command asks this, so it imports next to nothing."""

from __future__ import annotations

from pathlib import Path

from stoneware.files import read_json
from stoneware.platforms.local.network.layout import RUNTIME, StorePaths, is_up, layout_of
from stoneware.records import DamagedError


def attached_ids(runtime: Path) -> set[str]:
    """Return the ids of the machines that have a file in `runtime`, a router's own until a reboot."""
    directory = runtime / "dhcp"
    names = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    return {name for name in names if not name.startswith(".")}


def is_attached(store: StorePaths, id: str) -> bool:
    """Say whether a machine is attached to the store's router; forks nothing, makes nothing."""
    return bool(id) and (layout_of(store).runtime / "dhcp" / id).exists()


def known_ids(store: StorePaths) -> set[str]:
    """Return the machines that are attached to the store's router or have published ports; forks nothing."""
    layout = layout_of(store)
    # Ports are recorded for all stores of this computer; without its namespace this one publishes none.
    return attached_ids(layout.runtime) | (_publishing(layout.digest) if is_up(layout.digest) else set())


def _publishing(digest: str) -> set[str]:
    try:
        document = read_json(RUNTIME / "ports.json") or {}
        return {entry["id"] for entry in document.get("publications", ()) if entry["store"] == digest}
    except DamagedError:
        return set()
