"""Looks at this computer: each returns an empty string where nothing is wrong, else what is."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from stoneware import process
from stoneware.platforms.local.host.firmware import FIRMWARE, FIRMWARE_VARIABLES

LEAST_FREE = 2 << 30  # bytes; a base, a builder and an image fit


def nothing() -> str:
    """Return no fault: what cannot be seen without forking is left to `doctor`."""
    return ""


def root() -> str:
    """Look for root's privileges."""
    return "" if os.geteuid() == 0 else f"running as user {os.geteuid()}"


def _file_system(name: str) -> str:
    """Say whether the kernel has a file system, built in, loaded or as a module that mount will load."""
    if name in Path("/proc/filesystems").read_text().split():
        return ""
    modules = Path("/lib/modules") / os.uname().release / "modules.dep"
    if modules.exists() and f"/{name}.ko" in modules.read_text():
        return ""
    return f"this kernel ({os.uname().release}) has no {name}"


def btrfs() -> str:
    """Look for btrfs."""
    return _file_system("btrfs")


def overlay() -> str:
    """Look for overlayfs."""
    return _file_system("overlay")


def cgroup2() -> str:
    """Look for control groups of version 2."""
    return _file_system("cgroup2")


def virtual_firmware() -> str:
    """Look for the firmware of virtual machines."""
    missing = [path for path in (FIRMWARE, FIRMWARE_VARIABLES) if not Path(path).exists()]
    return f"there is no {missing[0]}" if missing else ""


def tun() -> str:
    """Look for network ports of virtual machines."""
    return "" if Path("/dev/net/tun").exists() else "there is no /dev/net/tun"


def fuse() -> str:
    """Look for file systems that programs serve."""
    return "" if Path("/dev/fuse").exists() else "there is no /dev/fuse"


def user_namespaces() -> str:
    """Look for user namespaces."""
    limit = Path("/proc/sys/user/max_user_namespaces")
    if not Path("/proc/self/ns/user").exists():
        return "this kernel has no user namespaces"
    if limit.exists() and int(limit.read_text()) == 0:
        return "they are switched off (user.max_user_namespaces is 0)"
    return ""


def idmapped_mounts() -> str:
    """Look for a kernel with id-mapped mounts of btrfs: 5.15 and newer."""
    return "" if _at_least(5, 15) else f"this kernel ({os.uname().release}) is older than 5.15"


def _at_least(*wanted: int) -> bool:
    numbers = os.uname().release.split("-")[0].split(".")
    return tuple(int(part) for part in numbers[:2] if part.isdigit()) >= wanted


INOTIFY_LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_WANTED = 16384  # each machine takes about ten, all counted as root's; the kernel's default is 128


def inotify() -> str:
    """Look whether more than a dozen machines can run at once."""
    found = int(INOTIFY_LIMIT.read_text())
    if found >= INOTIFY_WANTED or os.access(INOTIFY_LIMIT, os.W_OK):
        return ""
    return f"the limit is {found}, for about {found // 10} machines, and cannot be raised from here"


def raise_inotify_limit() -> None:
    """Let many machines run at once: past the limit systemd does not boot ("Too many open files")."""
    if int(INOTIFY_LIMIT.read_text()) < INOTIFY_WANTED:
        with contextlib.suppress(OSError):  # /proc may be read-only in a container; then doctor says so
            INOTIFY_LIMIT.write_text(f"{INOTIFY_WANTED}\n")


def _try(*argv: str) -> str:
    """Run a command in a new network namespace; return its complaint."""
    if root():
        return "cannot be checked without root"
    done = process.run(["unshare", "--net", "--", *argv], check=False, timeout=20)
    return "" if done.returncode == 0 else (done.stderr or done.stdout).strip().splitlines()[0]


def bridge_tables() -> str:
    """Try nftables' bridge family in a network namespace of its own."""
    if process.which("nft") is None or process.which("unshare") is None:
        return "cannot be checked without nft and unshare"
    return _try(
        "nft", "add table bridge probe; add chain bridge probe c { type filter hook prerouting priority 0; }"
    )


def port_tables() -> str:
    """Try an ingress chain of nftables in a network namespace of its own."""
    if process.which("nft") is None or process.which("unshare") is None:
        return "cannot be checked without nft and unshare"
    chain = 'type filter hook ingress device "lo" priority -500;'
    return _try("nft", f"add table netdev probe; add chain netdev probe c {{ {chain} }}")


def veth() -> str:
    """Try a veth pair in a network namespace of its own."""
    if process.which("ip") is None or process.which("unshare") is None:
        return "cannot be checked without ip and unshare"
    return _try("ip", "link", "add", "probe0", "type", "veth", "peer", "name", "probe1")


def store_walls() -> str:
    """Look whether other users of this computer can get at a store that exists."""
    from stoneware.platforms.local.store.base import home_path
    from stoneware.platforms.local.store.walls import missing_walls

    if os.geteuid() != 0:
        return ""
    home = home_path()
    return "; ".join(missing_walls(home, home / "data")) if (home / "version").is_file() else ""


def limits() -> str:
    """Say what keeps machines from filling the store together."""
    from stoneware.platforms.local.store import qgroups
    from stoneware.platforms.local.store.base import home_path

    data = home_path() / "data"
    if not qgroups.visible() and (data / "machines").is_dir():
        return "none (this system does not show /sys/fs/btrfs, as some containers do not)"
    mode = ""
    with contextlib.suppress(OSError):  # not a btrfs, or not there yet
        mode = qgroups.mode(data)
    if mode == qgroups.CLASSIC or (not mode and not _at_least(6, 7)):
        return "single limits only (Linux 6.7 has simple quotas: limits of all volumes together, too)"
    if not mode and (data / "machines").is_dir():
        return f"none (btrfs quota enable --simple {data})"
    return "simple quotas"


def process_limits() -> str:
    """Say what keeps a machine from taking all process ids."""
    from stoneware.platforms.local.host import cgroups

    host = cgroups.probe()
    names = host.controllers if host.unified else {name for name, _ in host.v1}
    return "pids controller" if "pids" in names else "none (this kernel has no pids controller for machines)"


def disk_space() -> str:
    """Look for room where the store is or would be."""
    from stoneware.platforms.local.store.base import home_path

    place = home_path() / "data" if (home_path() / "data").is_dir() else home_path()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    return "" if free >= LEAST_FREE else f"{free / (1 << 30):.1f} GiB are free in {place}, 2 are the least"
