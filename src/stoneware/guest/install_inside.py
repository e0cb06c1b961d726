"""A program that installs the guest files into a root file system that somebody else has made.

What says which disks and which cloud it was made for is put out of the way. Its root directory is that root
while it writes: no link in there leads it anywhere else. It runs nothing of it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from stoneware.guest.install import guest_files, guest_links, lay

_MOST_TABLE = 1 << 20  # bytes of it that are looked at


def main(root: str) -> None:
    """Install them. Raises OSError."""
    # Read first: they are not to be found in the other root.
    files, links = guest_files(), guest_links()
    os.chroot(root)
    # From a working directory outside of its root a process gets out of it.
    os.chdir("/")
    lay(Path("/"), files, links)
    _detach()
    for name in ("machines", "portables"):  # tmpfiles makes these subvolumes where they are missing
        Path("/var/lib", name).mkdir(exist_ok=True, mode=0o700)


def _detach() -> None:
    """Keep it from waiting for the disks that it had, and from being set up by a cloud's cloud-init."""
    table = Path("/etc/fstab")
    # There may be none, or something else in its place.
    with contextlib.suppress(OSError):
        with table.open("rb") as stream:
            lines = [line.strip() for line in stream.read(_MOST_TABLE).splitlines()]
        if any(line and not line.startswith(b"#") for line in lines):
            table.rename("/etc/fstab.imported")
    if Path("/etc/cloud").is_dir():
        Path("/etc/cloud/cloud-init.disabled").touch()


if __name__ == "__main__":
    main(sys.argv[1])
