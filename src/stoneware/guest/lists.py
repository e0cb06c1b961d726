"""The lists of a base's files, made on this computer by the very script that the seal runs in a machine."""

from __future__ import annotations

import functools
from pathlib import Path

from stoneware.files import sha256_hex
from stoneware.process import run

_HERE = Path(__file__).parent
_PARTS = (_HERE / "lib.sh", _HERE / "build/lists.sh")
_SCRIPT = """\
. "$1" && . "$2"
note() { echo "$*" >&2; }
SW_TOKEN='' WORK=$3
mkdir -p "$SW_IMAGE" && scan && write_files
"""


def write_file_lists(rootfs: Path) -> None:
    """Write files.tsv and its inodes into a root file system.

    A seal then reads and searches only what has changed since: snapshots keep inodes and change times.
    """
    from stoneware.scratch import scratch_directory  # a bake without work makes no lists

    with scratch_directory("stoneware-lists-") as work:
        run(["sh", "-c", _SCRIPT, "sh", *_PARTS, str(work)], env={"SW_ROOT": str(rootfs)})


@functools.cache
def digest() -> str:
    """Return what the lists depend on besides the files: the scripts that make them."""
    return sha256_hex(b"".join(part.read_bytes() for part in _PARTS))
