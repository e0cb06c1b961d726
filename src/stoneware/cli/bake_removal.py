"""The process that removes the builder of a finished bake.

A bake starts it as `-m stoneware.cli.bake_removal BAKE LOCK PLATFORM DIRECTORY` and returns. LOCK is the
descriptor of the bake's lock, which this process has inherited and holds until it ends. Where it fails or is
killed, the next command finds the lock free and does the same.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(build_id: str, lock: str, name: str, directory: str) -> None:
    """Remove what a bake has left on a platform. Raises StonewareError where that fails."""
    os.set_inheritable(int(lock), False)  # a server that is started again here would keep it for ever
    os.nice(5)  # nobody waits for it
    from stoneware.bake.workdir import remove_leftovers
    from stoneware.platforms import registry

    platform = registry.backend(name, registry.project_of(Path(directory)))
    images, _ = platform.open_images(create=False)
    remove_leftovers(images, platform.open_platform(images), build_id)


if __name__ == "__main__":
    main(*sys.argv[1:])
