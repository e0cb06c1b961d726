"""The command that becomes QEMU in the jail of jail.sh. Pure."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

_SCRIPT = Path(__file__).with_name("jail.sh")


def command(disks: Path, user: int, argv: Sequence[str], *, kvm: bool) -> list[str]:
    """Return a command that root starts: `argv` has a directory as /disks, and runs as a user of its own."""
    words = ["unshare", "--mount", "--net", "--ipc", "--propagation", "private", "sh", os.fspath(_SCRIPT)]
    return [*words, os.fspath(disks), "kvm" if kvm else "", str(user), *argv]
