"""The short form of a service's `volumes`, and what to do instead of a directory of this computer."""

from __future__ import annotations

import re

from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.launch.flags import parse_volume

_DRIVE = re.compile(r"[A-Za-z]:(?:\\|/[^:]*:/)")  # a path of Windows has a colon of its own
# What Docker's modes ask of a host that shares its files; a disk of the machine's own has nothing of it.
_SHARED = {
    *("z", "Z", "cached", "delegated", "consistent", "default", "nocopy"),
    *("private", "rprivate", "shared", "rshared", "slave", "rslave"),
}
_SOCKETS = ("/docker.sock", "/containerd.sock", "/podman.sock")
_CLOCK = ("/etc/localtime", "/etc/timezone")
_KERNEL = ("/proc", "/sys", "/dev", "/lib/modules", "/run", "/var/run", "/run/udev", "")
_ENGINES = ("/var/lib/docker/", "/var/lib/containerd/", "/var/lib/containers/")


@dataclass(frozen=True)
class Mount:
    """One mount as it is written. `host`: the source is a path of this computer."""

    source: str
    path: str
    read_only: bool
    host: bool


def parse_mount(text: str) -> Mount:
    """Take a short form apart: `[SOURCE:]PATH[:MODES]`. Raises InputError for what is none."""
    head, rest = (text[:2], text[2:]) if _DRIVE.match(text) else ("", text)
    parts = rest.split(":")
    source, path, modes = ("", parts[0], "")
    if len(parts) > 1:
        source, path, modes = (parts[0], parts[1], ":".join(parts[2:]))
    host = bool(head) or (len(parts) > 1 and is_host_path(source))
    if len(parts) == 2 and path in {"ro", "rw"} and source.startswith("/"):
        source, path, modes, host = "", source, path, bool(head)  # Docker takes it for a path and its mode
    if source and not host and not path.startswith("/"):
        raise InputError(
            f"invalid volume {text!r}",
            details=f"The path in the machine, {path!r}, is not absolute.",
            resolution="for example: data:/var/lib/data",
        )
    given = [mode for mode in modes.split(",") if mode not in _SHARED] if len(parts) > 2 or modes else []
    unknown = [mode for mode in given if mode not in ("ro", "rw")]
    if unknown and not host:
        raise InputError(
            f"invalid volume {text!r}",
            details=f"There is no mode {unknown[0]!r}: ro and rw are.",
            resolution="for example: data:/var/lib/data",
        )
    if host:
        return Mount(head + source, path, "ro" in given, host=True)
    known = parse_volume(f"{source}:{path}" if source else path)
    return Mount(known.volume, known.path, "ro" in given, host=False)


def is_host_path(source: str) -> bool:
    """Say whether the source of a mount is a path of this computer and no volume's name."""
    return source.startswith(("/", ".", "~", "\\")) or "/" in source or "\\" in source


def host_fault(source: str, path: str) -> tuple[str, str]:
    """Return why a path of this computer cannot be mounted, and what to do instead."""
    reason = (
        f"{source!r} is a path of this computer: a machine has its own disks and sees nothing of its host"
    )
    plain = source.rstrip("/")
    if plain.endswith(_SOCKETS):
        return reason, "Leave it out: there is no container engine whose socket a machine could use."
    if f"{plain}/".startswith(_ENGINES):
        return reason, "Leave it out: there is no container engine whose files a machine could read."
    if plain in _CLOCK:
        return reason, "Leave it out; the time zone is set in the Machinefile: ENV TZ=Europe/Berlin."
    if plain in _KERNEL or plain.startswith(("/dev/", "/proc/", "/sys/")):
        return reason, "Leave it out: a machine has its own."
    where = path or "/PATH"
    last = "." if plain == "~" else plain.rpartition("/")[2]
    name = re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-") or "data"
    here = source.removeprefix("./") if source.startswith("./") else last
    around = last in (".", "..")
    ways = [f"In the Machinefile: COPY {'.' if around else here} {where}"]
    if not around and plain == source and not where.endswith("/"):  # else it is a directory
        ways.append(
            f"or, one file: configs: [{{source: {name}, target: {where}}}], and at the top level "
            f"configs: {{{name}: {{file: {source}}}}}"
        )
    ways.append(f"what the machine itself writes belongs on a disk: {name}:{where}")
    return reason, "; ".join(ways) + "."
