"""Putting the guest files into a root file system: scripts, units and what keeps a machine's boot short."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path

from stoneware.files import canonical_json, sha256_hex

_HERE = Path(__file__).parent
_LIB = "/usr/lib/stoneware"
_UNITS = "/usr/lib/systemd/system"
_ETC_UNITS = "/etc/systemd/system"

# Units that would get credentials, for which systemd makes a file system and a process each time.
_NO_CREDENTIALS = tuple(
    f"systemd-{n}.service" for n in ("sysctl", "sysusers", "tmpfiles-setup", "tmpfiles-setup-dev")
)
_KINDS = ("service", "socket")

# Started by the bus when somebody asks for them, not with every boot: a link to nowhere in /etc hides
# the one that the package has in /usr/lib (systemd.unit(5)).
_ON_DEMAND = ("dbus.service", "systemd-logind.service")

# What a container has had done from outside before its first process starts.
_NOT_IN_CONTAINERS = tuple(f"systemd-{n}.service" for n in ("remount-fs", "tmpfiles-setup-dev"))

# Destination, source in this package, mode.
_FILES: tuple[tuple[str, str, int], ...] = (
    (f"{_LIB}/lib.sh", "lib.sh", 0o644),
    *((f"{_LIB}/{name}", name, 0o644) for name in ("asking.sh", "secrets.sh", "system.sh", "volumes.sh")),
    *((f"{_LIB}/{name}.awk", f"{name}.awk", 0o644) for name in ("attributes", "merge", "interpolate")),
    (f"{_LIB}/service-exec", "service-exec", 0o755),
    *(
        (f"{_LIB}/stoneware-{n}", f"stoneware-{n}.sh", 0o755)
        for n in ("ask", "boot", "health", "output", "report", "startup", "tell", "watch")
    ),
    *(
        (f"{_UNITS}/stoneware-{n}.service", f"units/stoneware-{n}.service", 0o644)
        for n in ("boot", "command", "failed@", "fetch", "health", "report", "shutdown", "startup", "watch")
    ),
    *((f"{_UNITS}/{n}.d/60-stoneware.conf", "units/no-container.conf", 0o644) for n in _NOT_IN_CONTAINERS),
    *((f"{_UNITS}/{n}.d/50-stoneware.conf", "units/no-credentials.conf", 0o644) for n in _NO_CREDENTIALS),
    *((f"{_UNITS}/systemd-networkd.{n}.d/50-stoneware.conf", "units/dhcp.conf", 0o644) for n in _KINDS),
    ("/usr/lib/systemd/system-generators/stoneware-generator", "stoneware-generator.sh", 0o755),
    ("/usr/lib/sysctl.d/50-stoneware.conf", "units/sysctl.conf", 0o644),
    ("/etc/systemd/network/50-stoneware.network", "units/50-stoneware.network", 0o644),
    ("/etc/systemd/system.conf.d/50-stoneware.conf", "units/system.conf", 0o644),
    ("/etc/systemd/journald.conf.d/50-stoneware.conf", "units/journald.conf", 0o644),
)

_ENABLED = tuple(
    f"stoneware-{n}.service" for n in ("boot", "command", "health", "report", "shutdown", "startup", "watch")
)

# What slows a boot or writes to a machine's disk without anybody having asked for it. Waiting for the
# network is the boot agent's own work: it comes before network-online.target.
_MASKED = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    # Each of these holds an inotify instance; a host has 128 of them for all of its machines.
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    # The journal is in memory (journald.conf). An image that keeps its own: systemctl unmask.
    "systemd-journal-flush.service",
    "systemd-networkd-wait-online.service",
    # Records of logins in /var, written at every start and stop.
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
    # It ends the time in which logins are refused; there is none (tmpfiles.d).
    "systemd-user-sessions.service",
)

# Programs that systemd runs at every start to find what no machine of ours has: partitions by their
# type, a hibernated memory, dm-integrity and dm-verity, a prepared update of the whole system, consoles to
# log in on, words on the kernel's command line.
_GENERATORS = (
    "debug",
    "getty",
    "gpt-auto",
    "hibernate-resume",
    "integritysetup",
    "run",
    "system-update",
    "veritysetup",
)
# Those that stoneware-generator runs, where there is something for them to do.
_SELDOM = ("cryptsetup", "fstab", "rc-local", "sysv")


def guest_files() -> dict[str, tuple[int, bytes]]:
    """Return every file that a machine needs of us: path in the machine to (mode, content)."""
    return {path: (mode, (_HERE / source).read_bytes()) for path, source, mode in _FILES}


def guest_links() -> dict[str, str]:
    """Return every symbolic link that a machine needs of us: path in the machine to its target."""
    wants = f"{_ETC_UNITS}/multi-user.target.wants"
    links = {f"{wants}/{unit}": f"{_UNITS}/{unit}" for unit in _ENABLED}
    links |= {f"{_ETC_UNITS}/{unit}": "/dev/null" for unit in _MASKED}
    links |= {f"{wants}/{unit}": "/dev/null" for unit in _ON_DEMAND}
    generators = "/etc/systemd/system-generators"
    links |= {f"{generators}/systemd-{name}-generator": "/dev/null" for name in (*_GENERATORS, *_SELDOM)}
    links["/etc/tmpfiles.d/systemd-nologin.conf"] = "/dev/null"  # see systemd-user-sessions above
    # The one that systemd brings is graphical.target.
    links[f"{_ETC_UNITS}/default.target"] = f"{_UNITS}/multi-user.target"
    links[f"{wants}/systemd-networkd.service"] = f"{_UNITS}/systemd-networkd.service"
    links[f"{_ETC_UNITS}/sockets.target.wants/systemd-networkd.socket"] = f"{_UNITS}/systemd-networkd.socket"
    links[f"{_ETC_UNITS}/dbus-org.freedesktop.network1.service"] = f"{_UNITS}/systemd-networkd.service"
    return links


def cloud_files() -> dict[str, tuple[int, bytes]]:
    """Return what a virtual machine of a cloud needs of us: our programs and units.

    How it gets on the network, what it starts besides and how it logs is its own image's.
    """
    return {
        path: found
        for path, found in guest_files().items()
        if path.startswith((f"{_LIB}/", f"{_UNITS}/stoneware-"))
    }


def cloud_links() -> dict[str, str]:
    """Return the links of such a machine: which of our units start."""
    wants = f"{_ETC_UNITS}/multi-user.target.wants"
    return {f"{wants}/{unit}": f"{_UNITS}/{unit}" for unit in _ENABLED}


@functools.cache
def digest() -> str:
    """Return a digest of all that `install` puts into a machine, as 64 hexadecimal digits."""
    files = {path: [mode, sha256_hex(content)] for path, (mode, content) in guest_files().items()}
    return sha256_hex(canonical_json({"files": files, "links": guest_links()}))


def install(rootfs: Path) -> None:
    """Put all guest files into a root file system that is not running, replacing older ones.

    It then holds no identity (machine-id, host name, resolver), and `base-units` lists what was enabled when
    this was done first: units that are enabled later belong to an image and wait for the boot agent. Needs
    write access as the owner of the tree (root); raises OSError.
    """
    lay(rootfs, guest_files(), guest_links())


def lay(rootfs: Path, files: Mapping[str, tuple[int, bytes]], links: Mapping[str, str]) -> None:
    """Do the same with files and links that have been read already."""
    write_tree(rootfs, files, links)
    _forget_identity(rootfs)
    _list_base_units(rootfs)
    _mark_updated(rootfs)


def _list_base_units(rootfs: Path) -> None:
    listed = rootfs / "usr/lib/stoneware/base-units"
    if listed.is_file():  # an image of ours that comes back: what it has enabled since is not its base's
        return
    names = sorted(
        {
            path.name
            for kind in ("wants", "requires")
            for path in (rootfs / "etc/systemd/system").glob(f"*.{kind}/*")
        }
        | {f"{path.name[3:]}.service" for path in (rootfs / "etc").glob("rc3.d/S*")}  # `S01NAME`
    )
    _write(listed, 0o644, "".join(f"{name}\n" for name in names).encode())


def write_tree(rootfs: Path, files: Mapping[str, tuple[int, bytes]], links: Mapping[str, str]) -> None:
    """Write files and links below a root, making missing directories (0755)."""
    for path, (mode, content) in files.items():
        _write(rootfs / path.lstrip("/"), mode, content)
    for path, target in links.items():
        link = rootfs / path.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        # One of an older version, or of an image that comes back.
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def _write(path: Path, mode: int, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not into what lies there: a link of the image's would be written through.
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def _forget_identity(rootfs: Path) -> None:
    """Leave an *empty* machine-id: without the file systemd would apply its presets at the first boot."""
    etc = rootfs / "etc"
    (etc / "machine-id").write_bytes(b"")
    (etc / "hostname").unlink(missing_ok=True)
    if not (etc / "resolv.conf").is_symlink():
        (etc / "resolv.conf").unlink(missing_ok=True)


def _mark_updated(rootfs: Path) -> None:
    """Tell systemd that /etc and /var fit /usr, or each first boot rebuilds caches (ConditionNeedsUpdate)."""
    usr = (rootfs / "usr").stat()
    for name in ("etc/.updated", "var/.updated"):
        stamp = rootfs / name
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.touch()
        os.utime(stamp, ns=(usr.st_mtime_ns, usr.st_mtime_ns))
