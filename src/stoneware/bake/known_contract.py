"""The contract of the image that was baked before under the same name: mostly nothing of it has changed.

To derive one takes a JSON Schema validator and several processes for each template.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stoneware import config, guest
from stoneware.bake.seal_report import SCHEMA, TEMPLATES
from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.files import sha256_hex
from stoneware.image.references import DEFAULT_TAG, Reference
from stoneware.platforms.protocols import Images
from stoneware.records import DamagedError
from stoneware.untrusted.bounded import BoundsError
from stoneware.untrusted.rooted_paths import files_inside

NOTE = "contract"  # where an image's document has the digest of what its contract was derived from
_DIRECTORY = "etc/stoneware/"
_MOST = 4 << 20  # bytes; with more, it is derived


@dataclass(frozen=True)
class KnownContract:
    """A contract, and the digest of what it was derived from."""

    inputs: str
    contract: Mapping[str, Any]


def known_contract(store: Images, name: str) -> KnownContract | None:
    """Return the contract of the image that NAME:latest is, or None where there is none to be had."""
    image = store.tags().get(str(Reference(name, DEFAULT_TAG)))
    try:
        inputs = store.image_document(image).get(NOTE) if image else None
        return KnownContract(str(inputs), store.manifest(image)["contract"]) if image and inputs else None
    except (InputError, DamagedError):  # removed meanwhile, or whoever uses the image is told
        return None


def inputs_of(files: Mapping[str, bytes], env: Mapping[str, str]) -> str:
    """Return the digest of all that a contract is derived from: templates, schema and ENV."""
    taken = {
        name: sha256_hex(content)
        for name, content in files.items()
        if name == SCHEMA or name.startswith(TEMPLATES)
    }
    # Newer code may derive another contract from the same files.
    words = [_program(), sorted(taken.items()), sorted(env.items())]
    return sha256_hex(json.dumps(words).encode())


def inputs_inside(root: Path, env: Mapping[str, str]) -> str:
    """Return that digest for a root file system as it is; empty where it cannot be had."""
    try:
        found = files_inside(root, _DIRECTORY, most=_MOST)
    except (OSError, BoundsError):
        return ""
    return inputs_of({f"{_DIRECTORY}{name}": content for name, content in found}, env)


@functools.cache
def _program() -> str:
    """Return the digest of the code that derives contracts."""
    parts = [
        *sorted(Path(config.__file__).parent.glob("*.py")),
        Path(guest.__file__).parent / "interpolate.awk",
    ]
    return sha256_hex(b"".join(part.read_bytes() for part in parts))
