"""Documents that have to be there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stoneware.files import read_json


def document_in(path: Path) -> dict[str, Any]:
    """Return the document in a file."""
    document = read_json(path)
    assert document is not None, f"{path} is not there"
    return document
