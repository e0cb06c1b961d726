"""A program that installs the guest files into a root file system that somebody else has made.

Its root directory is that root while it writes: no link in there leads it anywhere else. It runs nothing of
it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from stoneware.guest.install import guest_files, guest_links, lay


def main(root: str) -> None:
    """Install them. Raises OSError."""
    files, links = guest_files(), guest_links()
    os.chroot(root)
    os.chdir("/")
    lay(Path("/"), files, links)
    for name in ("machines", "portables"):  # tmpfiles makes these subvolumes where they are missing
        Path("/var/lib", name).mkdir(exist_ok=True, mode=0o700)


if __name__ == "__main__":
    main(sys.argv[1])
