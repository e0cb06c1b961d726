"""Where in a machine no disk can be mounted: what the machine makes for itself at every start."""

from __future__ import annotations

import os

# With all that is below them. The guest has the same list: own_place of guest/volumes.sh.
_WHOLE = (
    *("/proc", "/sys", "/dev"),
    *(f"/run/{name}" for name in ("credentials", "dbus", "host", "lock", "secrets", "stoneware")),
    *(f"/run/{name}" for name in ("systemd", "udev", "user")),
)
_ALIASES = {"/var/run": "/run", "/var/lock": "/run/lock"}  # as Debian has them


def plain_path(path: str) -> str:
    """Return a path without `.`, `..` and needless slashes; unlike normpath, one of two at its start."""
    clean = os.path.normpath(path)
    # normpath() leaves two slashes at the start, which would lead past `own_place`.
    return clean[1:] if clean.startswith("//") else clean


def own_place(path: str) -> str:
    """Return what a machine has of its own at an absolute path (`/dev`, for `/dev/shm`), or nothing."""
    clean = plain_path(path)
    for alias, real in _ALIASES.items():
        if clean == alias or clean.startswith(f"{alias}/"):
            clean = real + clean.removeprefix(alias)
    if clean == "/run":
        return clean
    return next((each for each in _WHOLE if clean == each or clean.startswith(f"{each}/")), "")


def needs_no_volume(path: str) -> str:
    """Return why a VOLUME there is left out, or nothing: the places above, and `/tmp`."""
    own = own_place(path) or ("/tmp" if plain_path(path) == "/tmp" else "")  # noqa: S108
    return f"{own} belongs to the machine, which creates it at every start" if own else ""
