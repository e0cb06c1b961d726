"""Stages FROM scratch: they hold files only, in a directory of their own in the builder that makes them."""

from __future__ import annotations

import stat
from pathlib import Path

from stoneware.errors import BuildError

SCRATCH_ROOT = "/.stoneware-scratch"  # in the builder: all that the stage's steps see as /


def files_root(rootfs: Path) -> Path:
    """Return the directory that holds a scratch stage's files, in the root of the builder that made it.

    Raises BuildError where something else lies there: no link of a builder's is followed on this computer.
    """
    root = rootfs / SCRATCH_ROOT[1:]
    try:
        mode = root.lstat().st_mode
    except FileNotFoundError:
        return root  # a stage without steps: nothing of it is found
    if not stat.S_ISDIR(mode):
        raise BuildError(
            "the files of a stage FROM scratch cannot be read",
            details=f"{SCRATCH_ROOT} of its builder is no directory",
            resolution="stoneware bake --no-cache …",
        )
    return root
