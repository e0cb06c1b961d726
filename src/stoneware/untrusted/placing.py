"""Putting what was unpacked next to its place into that place, by renaming: each file whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator

from stoneware.errors import InputError
from stoneware.untrusted.rooted_paths import Parts, is_directory_at, mode_at, opened_below

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def place(source: int, name: str, target: int, new_name: str) -> None:
    """Move NAME of an open directory into another one; what is there is replaced, file by file.

    A directory is moved as one where there is none, else merged into the one that is there: nothing is begun
    unless all of it fits. Raises InputError where a directory meets something else, or a link. No link is
    followed on either side; both directories are on one file system.
    """
    _refuse_mixed(source, name, target, new_name)
    if not is_directory_at(source, name) or not mode_at(target, new_name):
        os.rename(name, new_name, src_dir_fd=source, dst_dir_fd=target)
        return
    origin, goal = os.open(name, _DIRECTORY, dir_fd=source), -1
    try:
        goal = os.open(new_name, _DIRECTORY, dir_fd=target)
        for here, there, each in _meetings(origin, goal):
            _refuse_mixed(here, each, there, each)
        for here, there, each in _meetings(origin, goal):
            os.rename(each, each, src_dir_fd=here, dst_dir_fd=there)
    finally:
        os.close(origin)
        if goal >= 0:
            os.close(goal)


def _meetings(origin: int, goal: int) -> Iterator[tuple[int, int, str]]:
    """Yield (directory, where it goes, name) for all names of a tree that come into an existing directory."""
    waiting: list[Parts] = [()]
    while waiting:
        parts = waiting.pop()
        with opened_below(origin, parts) as here, opened_below(goal, parts) as there:
            with os.scandir(here) as entries:
                # Read to its end first: renaming changes a directory below its listing.
                found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
            for name, is_directory in found:
                if is_directory and is_directory_at(there, name):
                    waiting.append((*parts, name))
                else:
                    yield here, there, name


def _refuse_mixed(source: int, name: str, target: int, new_name: str) -> None:
    if mode_at(target, new_name) and is_directory_at(source, name) != is_directory_at(target, new_name):
        where = os.readlink(f"/proc/self/fd/{target}")  # noqa: PTH115
        kind = "a directory in the machine and none" if is_directory_at(source, name) else "a directory only"
        raise InputError(
            f"{where}/{new_name} is in the way: it is {kind} here",
            details="Links are not followed. Nothing has been changed.",
            resolution="copy to another directory, or move what is there",
        )
