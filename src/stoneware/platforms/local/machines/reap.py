"""Removing a machine that was started with --rm and has stopped: what its shim runs at its very end."""

from __future__ import annotations

import sys
from pathlib import Path

from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store.store import Store


def main() -> None:
    """Remove the machine HOME NAME ID if it is still that very one."""
    home, name, machine_id = sys.argv[1:]
    platform = LocalPlatform(Store.open(Path(home), create=False))
    # By its id, under the lock: another machine may have got the name while we waited for that.
    platform.destroy_if(name, lambda machine: machine.id == machine_id and machine.leader is None)


if __name__ == "__main__":
    main()
