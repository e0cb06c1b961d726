"""What this computer must have, each with what it is for and how to get it: one table for all commands."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from stoneware import process
from stoneware.dataclass import dataclass
from stoneware.errors import HostError
from stoneware.platforms.local.host import probes as host_probes

if TYPE_CHECKING:
    from stoneware.platforms.upkeep import Finding


@dataclass(frozen=True)
class Requirement:
    """One thing Stoneware needs. `probe` returns an empty string when it is there, else what is wrong.

    `quick` probes fork nothing and are used before each piece of work; `doctor` uses `probe`.
    """

    name: str
    kind: str  # privilege, kernel, tool or disk
    purpose: str
    get: str  # the command that gets it
    probe: Callable[[], str]
    quick: Callable[[], str]
    version: Callable[[], str] | None = None
    optional: bool = False  # only what it is for fails without it


def _tool(
    name: str,
    package: str,
    purpose: str,
    version_flag: str = "--version",
    at_least: int = 0,
    *,
    optional: bool = False,
) -> Requirement:
    def missing() -> str:
        return "" if _there(name) else "not found"

    def version() -> str:
        text = process.run([name, version_flag], check=False)
        return ((text.stdout or text.stderr).strip().splitlines() or [""])[0]

    def probe() -> str:
        if missing() or not at_least:
            return missing()
        # As "systemd 252 (252.38-1~deb12u1)" says it.
        number = re.search(r"\d+", version())
        found = int(number[0]) if number else 0
        return "" if found >= at_least else f"version {found} is too old, {at_least} is the least"

    get = f"apt-get install -y {package}"
    shown = version if version_flag else None
    return Requirement(name, "tool", purpose, get, probe, missing, shown, optional)


_FOUND: set[tuple[str, str]] = set()  # programs that were there, each with the PATH of that moment


def _there(program: str) -> bool:
    """Say whether a program is there. One that was is not looked for again: each start of a machine asks."""
    asked = (program, os.environ.get("PATH", ""))
    if asked not in _FOUND and process.which(program):
        _FOUND.add(asked)
    return asked in _FOUND


def _kernel(
    name: str, purpose: str, get: str, probe: Callable[[], str], quick: Callable[[], str]
) -> Requirement:
    return Requirement(name, "kernel", purpose, get, probe, quick)


_KERNEL = "apt-get install -y linux-image-amd64 && reboot    # a kernel of Debian 12 or newer"

TABLE: tuple[Requirement, ...] = (
    Requirement(
        "root",
        "privilege",
        "making network namespaces, mounts and machines",
        "sudo stoneware …",
        host_probes.root,
        host_probes.root,
    ),
    _kernel("btrfs", "snapshots of root file systems", _KERNEL, host_probes.btrfs, host_probes.btrfs),
    _kernel(
        "overlay", "machines started with --read-only", _KERNEL, host_probes.overlay, host_probes.overlay
    ),
    _kernel(
        "user namespaces",
        "root in a machine being an unprivileged user on this computer",
        "sysctl -w user.max_user_namespaces=10000",
        host_probes.user_namespaces,
        host_probes.user_namespaces,
    ),
    _kernel(
        "idmapped mounts",
        "machines sharing one image under different user ids",
        _KERNEL,
        host_probes.idmapped_mounts,
        host_probes.idmapped_mounts,
    ),
    _kernel(
        "nftables for bridges",
        "machines not taking each other's addresses",
        "modprobe nft_meta_bridge    # or a kernel of Debian 12 or newer",
        host_probes.bridge_tables,
        host_probes.nothing,
    ),
    _kernel(
        "nftables for ports",
        "machines sending what is their own only",
        "modprobe nf_tables    # with its family netdev, as in a kernel of Debian 12 or newer",
        host_probes.port_tables,
        host_probes.nothing,
    ),
    _kernel("veth", "machines' network ports", "modprobe veth", host_probes.veth, host_probes.nothing),
    _kernel("cgroup2", "machines' control groups", _KERNEL, host_probes.cgroup2, host_probes.cgroup2),
    _kernel(
        "inotify instances",
        "many machines at once; raised when a machine is started",
        f"sysctl -w fs.inotify.max_user_instances={host_probes.INOTIFY_WANTED}",
        host_probes.inotify,
        host_probes.nothing,
    ),
    _tool("systemd-nspawn", "systemd-container", "running machines", at_least=252),
    _tool("btrfs", "btrfs-progs", "the store"),
    _tool("mkfs.btrfs", "btrfs-progs", "making the store"),
    _tool("mmdebstrap", "mmdebstrap", "making the bases debian:12 and debian:13"),
    _tool("dnsmasq", "dnsmasq-base", "machines' addresses and names"),
    _tool("nft", "nftables", "machines' way out, published ports, pinned addresses"),
    _tool("ip", "iproute2", "machines' network", "-V"),
    _tool("bridge", "iproute2", "machines' ports that learn nothing", "-V"),
    _tool("nsenter", "util-linux", "machines' network"),
    _tool("unshare", "util-linux", "running machines"),
    _tool("setsid", "util-linux", "machines that outlive the command"),
    _tool("setpriv", "util-linux", "making bases"),
    _tool("prlimit", "util-linux", "machines' limits being their own"),
    _tool("ionice", "util-linux", "machines' priorities being their own"),
    _tool("flock", "util-linux", "machines that end with their command"),
    _tool("stdbuf", "coreutils", "keeping machines' consoles"),
    _tool("mount", "mount", "the store"),
    _tool("tar", "tar", "cp, and what a bake copies"),
    # One word: `-W version` would be one option that mawk does not know.
    _tool("awk", "mawk", "rendering templates", "-Wversion"),
    _tool("mkfs.ext4", "e2fsprogs", "disks of virtual machines", "-V", optional=True),
    _tool("mkfs.vfat", "dosfstools", "disks of virtual machines", "", optional=True),
    _tool("mcopy", "mtools", "disks of virtual machines", "--version", optional=True),
    _tool("sfdisk", "fdisk", "disks of virtual machines", optional=True),
    _tool("qemu-img", "qemu-utils", "exports as qcow2 and vmdk, imports of disks", optional=True),
    _tool("qemu-system-x86_64", "qemu-system-x86", "virtual machines, imports of disks", optional=True),
    Requirement(
        "OVMF",
        "tool",
        "the firmware of virtual machines",
        "apt-get install -y ovmf",
        host_probes.virtual_firmware,
        host_probes.virtual_firmware,
        optional=True,
    ),
    Requirement(
        "tun",
        "kernel",
        "virtual machines' network ports",
        "modprobe tun",
        host_probes.tun,
        host_probes.tun,
        optional=True,
    ),
    _tool("fuse2fs", "fuse2fs", "making directories of virtual machines' disks", "-V", optional=True),
    _tool("e2fsck", "e2fsprogs", "making directories of virtual machines' disks", "-V", optional=True),
    Requirement(
        "fuse",
        "kernel",
        "making directories of virtual machines' disks",
        "modprobe fuse",
        host_probes.fuse,
        host_probes.fuse,
        optional=True,
    ),
    _tool("zstd", "zstd", "exports as tar.zst", optional=True),
    Requirement(
        "store walls",
        "disk",
        "machines' setuid programs doing nothing here; closed to all but root",
        "stoneware ps    # closes the store",
        host_probes.store_walls,
        host_probes.nothing,
    ),
    Requirement(
        "limits",
        "kernel",
        "a machine that fills its disk stopping no other",
        _KERNEL,
        host_probes.nothing,
        host_probes.nothing,
        host_probes.limits,
    ),
    Requirement(
        "process limits",
        "kernel",
        "a machine that forks for ever stopping no other",
        _KERNEL,
        host_probes.nothing,
        host_probes.nothing,
        host_probes.process_limits,
    ),
    Requirement(
        "disk space",
        "disk",
        "the store",
        "STONEWARE_HOME=/a/bigger/disk stoneware …",
        host_probes.disk_space,
        host_probes.disk_space,
    ),
)

MACHINE_TOOLS = (
    *("root", "user namespaces", "idmapped mounts", "cgroup2", "ip", "unshare", "setsid"),
    *("nsenter", "bridge", "nft", "prlimit", "ionice", "flock", "stdbuf"),
)
STORE_TOOLS = ("root", "btrfs", "mkfs.btrfs", "mount", "disk space")
BASE_TOOLS = ("root", "mmdebstrap", "unshare", "setpriv")
DISK_TOOLS = ("mkfs.ext4", "mkfs.vfat", "mcopy", "sfdisk")
NETWORK_TOOLS = ("root", "dnsmasq", "nft", "ip")


def check(names: Iterable[str]) -> None:
    """Raise one HostError that lists all that is missing of the named requirements; forks nothing."""
    wanted = set(names)
    unknown = wanted - {requirement.name for requirement in TABLE}
    if unknown:
        raise ValueError(f"not in the table of requirements: {sorted(unknown)}")
    missing = [
        (requirement, problem)
        for requirement in TABLE
        if requirement.name in wanted and (problem := requirement.quick())
    ]
    if not missing:
        return
    lines = [f"{entry.name}: {problem} (for {entry.purpose})" for entry, problem in missing]
    raise HostError(
        f"this computer lacks {', '.join(entry.name for entry, _ in missing)}",
        details="\n".join(lines),
        resolution="\n".join(dict.fromkeys(_merge([entry.get for entry, _ in missing]))),
    )


def _merge(commands: list[str]) -> list[str]:
    """Return the commands with all `apt-get install` ones made into one."""
    prefix = "apt-get install -y "
    plain = [text.removeprefix(prefix) for text in commands if text.startswith(prefix) and "&&" not in text]
    rest = [text for text in commands if not text.startswith(prefix) or "&&" in text]
    packages = " ".join(dict.fromkeys(plain))
    return ([prefix + packages] if packages else []) + rest


def findings() -> list[Finding]:
    """Return what this computer has and lacks, in the table's order: what `doctor` shows."""
    from stoneware.platforms.upkeep import Finding  # all other commands do without

    found = []
    for entry in TABLE:
        problem = entry.probe()
        version = entry.version() if entry.version and not problem else ""
        found.append(
            Finding(entry.name, entry.kind, entry.purpose, entry.get, version, problem, entry.optional)
        )
    return found
