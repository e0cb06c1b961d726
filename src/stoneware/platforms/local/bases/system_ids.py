"""The numbers of a base's own system users and groups, out of the way of those that images ask for.

systemd and the bus bring users that no container's base has. By themselves they get the first numbers that
programs hand out, 999 and 100, which are the very ones that published images write down.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from stoneware.errors import HostError
from stoneware.files import canonical_json, sha256_hex

# Of the numbers that Debian hands out once for all systems, some that it has not given away: no program
# takes one of these by itself, and hardly an image asks for one.
NUMBERS = (*range(61, 65), *range(66, 70), 71, 72, 76, 77, 79, *range(86, 89), *range(93, 97))
# In the order of NUMBERS: a name has one number in every release. Any other name gets one behind these.
_NAMES = (
    *("systemd-journal", "systemd-network", "messagebus", "input", "sgx", "clock", "kvm", "render", "netdev"),
    *("systemd-timesync", "systemd-resolve", "polkitd"),
)
_DYNAMIC = range(100, 1000)  # what Debian's tools hand out to system users
_STATIC = "usr/share/base-passwd"  # passwd.master and group.master: the same on every Debian
_CAPABILITY = "security.capability"


def digest() -> str:
    """Return what decides the numbers besides the base's own names."""
    return sha256_hex(canonical_json([NUMBERS, _NAMES]))


def move_system_ids(root: Path) -> None:
    """Give a base's dynamic system users and groups numbers of `NUMBERS`, in its records and its files.

    A user and the group of its name get the same number. Raises HostError where there are more names than
    numbers.
    """
    users = _dynamic(root, "passwd")
    groups = _dynamic(root, "group")
    others = sorted({*users, *groups} - set(_NAMES))
    names = [*_NAMES, *others]
    if len(names) > len(NUMBERS):
        raise HostError(
            f"the base has more system users and groups than there are numbers for ({len(NUMBERS)})",
            details=", ".join(others),
            resolution="stoneware version    # report this: the packages of Debian have changed",
        )
    number = dict(zip(names, NUMBERS, strict=False))
    uids = {users[name]: number[name] for name in users}
    gids = {groups[name]: number[name] for name in groups}
    _rewrite(root / "etc/passwd", {2: uids, 3: gids})
    _rewrite(root / "etc/group", {2: gids})
    # Copies that Debian's tools have made, with the former numbers.
    for name in ("passwd-", "group-", "shadow-", "gshadow-"):
        (root / "etc" / name).unlink(missing_ok=True)
    for path in _below(root):
        _move(path, uids, gids)


def _dynamic(root: Path, name: str) -> dict[str, int]:
    """Return the names of a table with numbers that were handed out while the base was made."""
    static = {line[0] for line in _lines(root / _STATIC / f"{name}.master")}
    rows = ((line[0], int(line[2])) for line in _lines(root / "etc" / name))
    return {each: number for each, number in rows if number in _DYNAMIC and each not in static}


def _lines(path: Path) -> Iterator[list[str]]:
    for line in path.read_text().splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[2].isdecimal():
            yield fields


def _rewrite(path: Path, columns: Mapping[int, Mapping[int, int]]) -> None:
    rows = [line.split(":") for line in path.read_text().splitlines()]
    for row in rows:
        for column, numbers in columns.items():
            if len(row) > column and row[column].isdecimal():
                row[column] = str(numbers.get(int(row[column]), row[column]))
    path.write_text("".join(":".join(row) + "\n" for row in rows))


def _below(root: Path) -> Iterator[str]:
    for directory, names, files in os.walk(root):
        yield from (os.path.join(directory, name) for name in (*names, *files))  # noqa: PTH118


def _move(path: str, uids: Mapping[int, int], gids: Mapping[int, int]) -> None:
    """Change one file's owner where it has one of the numbers; mode and capabilities stay what they were."""
    status = os.lstat(path)
    uid, gid = uids.get(status.st_uid, -1), gids.get(status.st_gid, -1)
    if uid == gid == -1:
        return
    capability = _capability(path)
    os.chown(path, uid, gid, follow_symlinks=False)
    if stat.S_ISREG(status.st_mode):  # the kernel takes setuid bits and capabilities away with the owner
        Path(path).chmod(stat.S_IMODE(status.st_mode))
        if capability:
            os.setxattr(path, _CAPABILITY, capability)


def _capability(path: str) -> bytes:
    with contextlib.suppress(OSError):
        return os.getxattr(path, _CAPABILITY, follow_symlinks=False)
    return b""
