"""This computer's architecture."""

from __future__ import annotations

import os


def architecture() -> str:
    """Return this computer's architecture as Debian names it."""
    # By uname(2): Python's module platform would be loaded for this one word.
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
