"""Where secrets are kept, and which of them the metadata server gives to which machine."""

from __future__ import annotations

import base64
from pathlib import Path

from stoneware.dataclass import dataclass
from stoneware.model import names
from stoneware.untrusted.bounded import read_object


@dataclass(frozen=True)
class Secret:
    """A secret's value; shown nowhere, so its representation hides it."""

    version: str
    value: bytes

    def __repr__(self) -> str:
        """Return the version only."""
        return f"Secret({self.version!r}, …)"


def secret_file(directory: Path, name: str) -> Path:
    """Return the file of a secret: {"versions": [{"version", "value" (base64)}…]}, the present one first."""
    return directory / f"{name}.json"


def read_secret(directory: Path, name: str) -> list[Secret]:
    """Return all values of a secret that are kept, the present one first; none where there is no secret."""
    rows = read_object(secret_file(directory, name)).get("versions") or ()
    return [Secret(str(row["version"]), base64.b64decode(row["value"])) for row in rows]


def secret_for(machine: Path, directory: Path, name: str) -> Secret | None:
    """Return a secret in the version that the machine's spec has, else None.

    Where that version is not kept any more, the present one.
    """
    if not names.SECRET.allows(name):
        return None
    mounts = read_object(machine / "spec.json").get("secrets") or ()
    wanted = [
        mount.get("version") for mount in mounts if isinstance(mount, dict) and mount.get("secret") == name
    ]
    if not wanted:
        return None
    kept = read_secret(directory, name)
    return next((secret for secret in kept if secret.version in wanted), kept[0] if kept else None)
