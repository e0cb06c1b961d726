"""Where secrets are kept, and which of them the metadata server gives to which machine."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path

from stoneware.local.metadata_state import read_object

SECRETS = "/stoneware/v1/secrets/"
SECRETS_URL = f"http://169.254.169.254{SECRETS}"
SECRET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")


@dataclass(frozen=True)
class Secret:
    """A secret's value; shown nowhere, so its representation hides it."""

    version: str
    value: bytes

    def __repr__(self) -> str:
        """Return the version only."""
        return f"Secret({self.version!r}, …)"


def secret_file(directory: Path, name: str) -> Path:
    """Return the file of a secret: {"version", "value" (base64)}, so that both change at once."""
    return directory / f"{name}.json"


def secret_for(machine: Path, directory: Path, name: str) -> Secret | None:
    """Return a secret as it is now if the machine's spec has it, else None."""
    if not SECRET_NAME.fullmatch(name):
        return None
    mounts = read_object(machine / "spec.json").get("secrets") or ()
    if not any(isinstance(mount, dict) and mount.get("secret") == name for mount in mounts):
        return None
    document = read_object(secret_file(directory, name))
    if not document:
        return None
    return Secret(str(document["version"]), base64.b64decode(document["value"]))
