"""Users and paths as a machine sees them, read from its root file system."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stoneware.errors import InputError

_MAX_LINKS = 40  # what the kernel follows


@dataclass(frozen=True)
class User:
    """Who a command runs as; `groups` are the supplementary ones."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def resolve_in(root: Path, path: str, *, follow_last: bool = True) -> Path:
    """Return where `path` is below `root`, with symbolic links read as inside of it: it never leaves."""
    todo = [part for part in path.split("/") if part not in ("", ".")][::-1]
    done: list[str] = []
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            done = done[:-1]
            continue
        here = root.joinpath(*done, part)
        if (todo or follow_last) and here.is_symlink():
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = str(here.readlink())
            if target.startswith("/"):
                done = []
            todo += [piece for piece in target.split("/") if piece not in ("", ".")][::-1]
            continue
        done.append(part)
    return root.joinpath(*done)


def _table(root: Path, path: str) -> list[list[str]]:
    try:
        text = resolve_in(root, path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [line.split(":") for line in text.splitlines() if line and not line.startswith("#")]


def resolve(root: Path, text: str) -> User:
    """Return the user that Docker's USER text means in a root file system. Raises InputError if unknown."""
    passwd = [
        row for row in _table(root, "/etc/passwd") if len(row) >= 6 and row[2].isdigit() and row[3].isdigit()
    ]
    group = [row for row in _table(root, "/etc/group") if len(row) >= 4 and row[2].isdigit()]
    name, _, wanted_group = (text or "0").partition(":")
    row = _find(passwd, name)
    if row is None and not name.isdigit():
        raise InputError(
            f"there is no user {name!r} in the machine", resolution="use a name of its /etc/passwd"
        )
    uid = int(row[2]) if row else int(name)
    home = row[5] if row else "/"
    if wanted_group:
        found = _find(group, wanted_group)
        if found is None and not wanted_group.isdigit():
            raise InputError(
                f"there is no group {wanted_group!r} in the machine",
                resolution="use a name of its /etc/group",
            )
        return User(uid, int(found[2]) if found else int(wanted_group), (), home)
    gid = int(row[3]) if row else 0
    login = row[0] if row else ""
    groups = [int(entry[2]) for entry in group if login and login in entry[3].split(",")]
    return User(uid, gid, tuple(dict.fromkeys([gid, *groups])), home)


def _find(rows: Sequence[list[str]], wanted: str) -> list[str] | None:
    """Return the row with that name, else the one with that number."""
    for row in rows:
        if row[0] == wanted:
            return row
    return next((row for row in rows if wanted.isdigit() and row[2] == str(int(wanted))), None)


def become(user: User) -> list[str]:
    """Return the command prefix that runs a program of the machine as a user."""
    if user.uid == 0 and user.gid == 0:
        return []
    groups = ",".join(str(number) for number in user.groups)
    extra = [f"--groups={groups}"] if groups else ["--clear-groups"]
    return ["/usr/bin/setpriv", f"--reuid={user.uid}", f"--regid={user.gid}", *extra, "--"]
