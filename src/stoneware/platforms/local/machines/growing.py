"""A larger disk of a machine that runs: the machine grows the file system on it."""

from __future__ import annotations

from stoneware.errors import MachineError
from stoneware.platforms.local.machines import exec as machine_exec
from stoneware.platforms.local.machines.record import Paths

_LONGEST = 300.0  # seconds; a terabyte more is written down in a few
# The kernel hears of it a moment later. What is not mounted is grown when it is.
_GROW = """
tries=0
until [ "$(blockdev --getsize64 "$1")" -ge "$2" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 100 ]; then echo "its kernel still sees the former size"; exit 1; fi
    sleep 0.2
done
if findmnt -n -S "$(readlink -f "$1")" >/dev/null; then exec resize2fs "$1" 2>&1; fi
"""


def grow(paths: Paths, device: str, size: int) -> None:
    """Have a running machine grow the file system of a disk that was enlarged. Raises MachineError."""
    # By the machine itself: this computer's kernel touches no file system that a machine has written.
    code, output = machine_exec.capture(
        paths, ["/bin/sh", "-c", _GROW, "sh", device, str(size)], timeout=_LONGEST
    )
    if code:
        raise MachineError(
            f"the disk of the machine {paths.name!r} is larger, but not its file system",
            details=output.strip()[-500:],
            resolution=f"stoneware restart {paths.name}    # it grows at each start",
        )
