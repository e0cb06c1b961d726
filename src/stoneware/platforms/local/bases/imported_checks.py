"""What the root file system of a machine must have; looked for in one that somebody else has made."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from stoneware.errors import InputError
from stoneware.platforms.local.host.architecture import architecture
from stoneware.untrusted.rooted_paths import mode_inside, open_inside
from stoneware.untrusted.visible import visible

_INIT = ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")
_BUS = tuple(
    f"{lib}/systemd/system/{name}" for lib in ("/usr/lib", "/lib") for name in ("dbus", "dbus-broker")
)
# What is wanted, where it may be, and the Debian package that has it: programs, and a unit.
_PROGRAMS = (
    ("awk", ("/usr/bin/awk",), "mawk"),
    ("apt-get", ("/usr/bin/apt-get",), "apt"),
    ("curl", ("/usr/bin/curl",), "curl"),
    ("dbus-daemon", ("/usr/bin/dbus-daemon", "/usr/bin/dbus-broker"), "dbus"),
    ("dbus.service", tuple(f"{place}.service" for place in _BUS), "dbus"),
    ("dpkg", ("/usr/bin/dpkg",), "dpkg"),
    ("init", ("/usr/sbin/init", "/sbin/init"), "systemd-sysv"),
    ("ip", ("/usr/sbin/ip", "/usr/bin/ip", "/sbin/ip", "/bin/ip"), "iproute2"),
    ("sh", ("/usr/bin/sh", "/bin/sh"), "dash"),
    ("udevadm", ("/usr/bin/udevadm", "/bin/udevadm"), "udev"),
)
_MACHINES = {3: "i386", 40: "armhf", 62: "amd64", 183: "arm64", 243: "riscv64"}  # e_machine of ELF files
_DEBIAN = ("apt-get", "dpkg")
_FIRST = (*_DEBIAN, "sh")  # without these nothing can be installed
_HEADER = 20  # bytes of an ELF file up to the end of e_machine


def check_root(root: Path, archive: Path) -> dict[str, str]:
    """Return the programs that a root file system lacks and that can be installed, with their packages.

    Raises InputError unless it is one of a Debian with systemd, or of what derives from it.
    """
    if kind := _other_kind(root):
        what, resolution = kind
        raise InputError(f"{archive.name} is {what}", resolution=resolution)
    init = next((path for path in _INIT if _is_program(root, path)), None)
    if init is None:
        raise InputError(
            f"{archive.name} is no root file system of a machine: there is no systemd in it",
            details="Images of containers have no init system. The root is the top of the archive.",
            resolution="apt-get install systemd-sysv udev dbus    # in the system, then export it again",
        )
    found = _architecture(root, init)
    if found != architecture():
        raise InputError(
            f"{archive.name} is for {found}, and this computer is {architecture()}",
            resolution=f"export a system for {architecture()}",
        )
    if not any(_any(root, paths) for name, paths, _ in _PROGRAMS if name in _DEBIAN):
        raise InputError(
            f"{archive.name} is no Debian, and no system that derives from it",
            details=f"It has none of {', '.join(_DEBIAN)}.",
            resolution="import a Debian or an Ubuntu",
        )
    lacks = missing(root)
    if any(name in _FIRST for name in lacks):
        packages = " ".join(sorted(set(lacks.values())))
        raise InputError(
            f"{archive.name} lacks what machines need: {', '.join(lacks)}",
            details="Machines are of Debian, or of a system that derives from it.",
            resolution=f"apt-get install {packages}    # in the system, then export it again",
        )
    return lacks


def missing(root: Path) -> dict[str, str]:
    """Return the programs that machines need and a root file system lacks, each with its package."""
    return {name: package for name, paths, package in _PROGRAMS if not _any(root, paths)}


def _other_kind(root: Path) -> tuple[str, str] | None:
    """Return what else is often taken for a root file system, and what to do with it."""
    names = {path.name for path in root.iterdir()}
    if "oci-layout" in names or {"manifest.json", "repositories"} <= names:
        return (
            "an archive of a container's image, as `docker save` writes it",
            "docker create --name c IMAGE && docker export -o rootfs.tar c    # it needs systemd in it, too",
        )
    if len(names) == 1 and (only := names.pop()) and stat.S_ISDIR(mode_inside(root, f"/{only}/usr")):
        return (
            f"an archive whose root file system is below {visible(only)}",
            f"tar -C {shlex.quote(visible(only))} -cf rootfs.tar .    # its root is the top of the archive",
        )
    return None


def _any(root: Path, paths: tuple[str, ...]) -> bool:
    return any(_is_program(root, path) for path in paths)


def _is_program(root: Path, path: str) -> bool:
    mode = mode_inside(root, path)
    return stat.S_ISREG(mode) and (bool(mode & 0o111) or path.endswith(".service"))


def _architecture(root: Path, program: str) -> str:
    descriptor = open_inside(root, program, os.O_RDONLY | os.O_NONBLOCK)
    try:
        header = os.read(descriptor, _HEADER)
    finally:
        os.close(descriptor)
    if len(header) < _HEADER or header[:4] != b"\x7fELF":
        return "another kind of computer"
    # An ELF file says itself in which order its bytes are.
    number = int.from_bytes(header[18:20], "big" if header[5] == 2 else "little")
    return _MACHINES.get(number, f"another kind of computer (ELF machine {number})")
