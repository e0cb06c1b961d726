"""The script that installs packages into a root file system which cannot boot without them."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Sequence
from pathlib import Path

from stoneware.files import sha256_hex

_SCRIPT = Path(__file__).with_name("packages.sh")


def packages_script(packages: Sequence[str]) -> str:
    """Return the script for these packages: the first program of a builder without an init system."""
    return f"PACKAGES={shlex.quote(' '.join(packages))}\n{_SCRIPT.read_text()}"


@functools.cache
def digest() -> str:
    """Return what decides how packages are installed besides their names."""
    return sha256_hex(_SCRIPT.read_bytes())
