"""Disks of the image hello, and other people's tools for them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from pathlib import Path

MIB = 1 << 20
ROOT_AT = 65 * MIB  # the start of the root file system of this image's disk
PATIENCE = 600.0  # seconds of a boot in software, on a computer that has other work


def tool(*argv: str | Path) -> str:
    env = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def in_disk(disk: Path, command: str) -> str:
    return tool("debugfs", "-R", command, f"{disk}?offset={ROOT_AT}")


def digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def wait_until(condition: object, seconds: float) -> bool:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
