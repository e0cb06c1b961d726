"""A service account's key, whose tokens the emulator issues: what clients call default credentials."""

from __future__ import annotations

import json
from pathlib import Path

from stoneware.files import read_json, write_atomic
from stoneware.records import DamagedError

FILE = "credentials.json"


def write(root: Path, endpoint: str, project: str) -> Path:
    """Write the key's file below a directory, for an emulator at `endpoint`, and return its path.

    The key stays the same from one start to the next.
    """
    path = root / FILE
    content = {
        "type": "service_account",
        "project_id": project,
        "private_key_id": "emulator",
        # Clients that have read the file before go on with it.
        "private_key": _kept(path) or _new(),
        "client_email": f"emulator@{project}.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": f"{endpoint}/token",
    }
    write_atomic(path, json.dumps(content, indent=2) + "\n", mode=0o600)
    return path


def _kept(path: Path) -> str | None:
    try:
        key = (read_json(path) or {}).get("private_key")
    except DamagedError:  # somebody has edited it; a new one is as good
        return None
    return key if isinstance(key, str) else None


def _new() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
