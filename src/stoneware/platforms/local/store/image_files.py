"""What an image knows of itself, put into the root file system of a builder that has stopped."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from stoneware.errors import MachineError
from stoneware.untrusted.rooted_paths import opened_below

DIRECTORY = ("usr", "lib", "stoneware", "image")
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def put_files(rootfs: Path, files: Mapping[str, bytes]) -> None:
    """Write files into the image's own directory, which the seal has made; they belong to root.

    No link is followed: a step could have put one there that points out of the root file system.
    """
    try:
        with _opened(rootfs) as directory:
            for name, content in files.items():
                # Removed, not written over: a step may have given it another name elsewhere in the image.
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=directory)
                with os.fdopen(os.open(name, _NEW, 0o644, dir_fd=directory), "wb") as stream:
                    os.fchmod(stream.fileno(), 0o644)
                    stream.write(content)
    except (NotADirectoryError, FileNotFoundError, IsADirectoryError) as error:
        raise MachineError(
            f"/{'/'.join(DIRECTORY)} of the builder is not the directory that the seal has created",
            details=str(error),
            resolution="find the step of the Machinefile that moves it, and bake again",
        ) from error


@contextlib.contextmanager
def _opened(rootfs: Path) -> Iterator[int]:
    top = os.open(rootfs, _OPEN)
    try:
        with opened_below(top, DIRECTORY) as directory:
            yield directory
    finally:
        os.close(top)
