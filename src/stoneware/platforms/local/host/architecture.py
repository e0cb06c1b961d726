"""This computer's architecture."""

from __future__ import annotations

import os


def architecture() -> str:
    """Return this computer's architecture as Debian names it."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
