"""The names of a store's router: its namespace, its directories, its table on the host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

RUNTIME = Path("/run/stoneware")


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
    def run(self) -> Path:
        """Records and logs of the helpers."""
        return self.home / "run"

    @property
    def runtime(self) -> Path:
        """What ends with the boot."""
        return RUNTIME / self.digest
