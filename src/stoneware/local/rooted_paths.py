"""Paths below the root of a machine that does not run, with links read as inside of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_MAX_LINKS = 40  # what the kernel follows


def resolve_in(root: Path, path: str, *, follow_last: bool = True) -> Path:
    """Return where `path` is below `root`, with symbolic links read as inside of it: it never leaves."""
    todo = [part for part in path.split("/") if part not in ("", ".")][::-1]
    done: list[str] = []
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            done = done[:-1]
            continue
        here = root.joinpath(*done, part)
        if (todo or follow_last) and here.is_symlink():
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = str(here.readlink())
            if target.startswith("/"):
                done = []
            todo += [piece for piece in target.split("/") if piece not in ("", ".")][::-1]
            continue
        done.append(part)
    return root.joinpath(*done)
