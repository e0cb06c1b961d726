"""Where a context comes from: its Git commit, and whether the work tree differs from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from stoneware.bake.git_worktree import Asked, ask_prefix
from stoneware.image.manifest import Origin

_HEAD = "# branch.oid "
# How many words stand before the path in each kind of entry of Git's status, format 2.
_FIELDS = {"1": 8, "2": 9, "u": 10, "?": 1, "!": 1}


def read_origin(context: Path, included: Callable[[str], bool], used: Iterable[str]) -> Origin:
    """Return the commit of the checkout that holds `context`; no commit outside Git.

    `included` says whether a path (relative to the context) is in the context after the ignore file.
    Files that Git ignores count as a difference only where a step copies them (`used`).
    """
    entries = Asked(str(context)).answer().split("\0")
    heads = [entry.removeprefix(_HEAD) for entry in entries if entry.startswith(_HEAD)]
    if not heads or heads[0] == "(initial)":  # a checkout without a commit
        return Origin(None, dirty=False)
    changes = list(_changes(entries))
    # Git names paths from the top of the checkout, and the context may be a directory below it.
    prefix = ask_prefix(str(context)).answer().rstrip("\n") if changes else ""
    paths = [(kind, path.removeprefix(prefix)) for kind, path in changes]
    return Origin(heads[0], dirty=_differs(paths, included, frozenset(used)))


def _changes(entries: Iterable[str]) -> Iterator[tuple[str, str]]:
    for entry in entries:
        kind = entry[:1]
        if kind in _FIELDS:
            yield kind, entry.split(" ", _FIELDS[kind])[-1]


def _differs(
    changes: Iterable[tuple[str, str]], included: Callable[[str], bool], used: frozenset[str]
) -> bool:
    for kind, path in changes:
        if kind == "!":
            if any(name == path or name.startswith(path.rstrip("/") + "/") for name in used):
                return True
        elif included(path):
            return True
    return False


def origin_tags(origin: Origin) -> tuple[str, ...]:
    """Return the tags that name the commit: full and short, `-dirty` when the work tree differed."""
    if origin.commit is None:
        return ()
    suffix = "-dirty" if origin.dirty else ""
    return (f"{origin.commit}{suffix}", f"{origin.commit[:7]}{suffix}")
