"""The names of a store's router: its namespace, its directories, its table on the host."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

from stoneware.dataclass import dataclass

RUNTIME = Path("/run/stoneware")
NAMESPACES = Path("/run/netns")


class StorePaths(Protocol):
    """The two paths of a store that the router needs."""

    @property
    def home(self) -> Path:
        """The store's directory."""

    @property
    def data(self) -> Path:
        """Where its file system is mounted."""


@dataclass(frozen=True)
class Layout:
    """The names of a store's router."""

    home: Path
    digest: str

    @property
    def namespace(self) -> str:
        """The network namespace, and the host's end of the link."""
        return f"sw-{self.digest}"

    @property
    def table(self) -> str:
        """The store's nftables table on the host."""
        return f"stoneware-{self.digest}"

    @property
    def data(self) -> Path:
        """Where the store's file system is mounted."""
        return self.home / "data"

    @property
    def run(self) -> Path:
        """Records and logs of the helpers."""
        return self.home / "run"

    @property
    def runtime(self) -> Path:
        """What ends with the boot."""
        return RUNTIME / self.digest


def store_digest(home: Path) -> str:
    """Return the 8 hexadecimal digits that tell the stores of one computer apart."""
    return hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:8]


def layout_of(store: StorePaths) -> Layout:
    """Return the names of a store's router."""
    return Layout(store.home, store_digest(store.home))


def namespace_identity(name: str) -> list[int] | None:
    """Return what tells a named namespace from all others until the next boot, or None where it is gone."""
    try:
        status = (NAMESPACES / name).stat()
        # ip-netns(8) makes a file and mounts the namespace over it: a kill in between leaves the file alone.
        mounted = status.st_dev != NAMESPACES.stat().st_dev
    except OSError:
        return None
    return [status.st_dev, status.st_ino] if mounted else None


def is_up(digest: str) -> bool:
    """Say whether the namespace of a store's router is there."""
    return namespace_identity(f"sw-{digest}") is not None
