"""Where a context comes from: its Git commit, and whether the work tree differs from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from stoneware.image.manifest import Origin
from stoneware.process import run, which

# Root often bakes a user's checkout; Git would refuse it. The monitor is a program the checkout could name.
_GIT = ("git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false")
_IGNORED = "!!"


def read_origin(context: Path, included: Callable[[str], bool], used: Iterable[str]) -> Origin:
    """Return the commit of the checkout that holds `context`; no commit outside Git.

    `included` says whether a path (relative to the context) is in the context after the ignore file.
    Files that Git ignores count as a difference only where a step copies them (`used`).
    """
    if which("git") is None:
        return Origin(None, dirty=False)
    head = run([*_GIT, "rev-parse", "--verify", "--quiet", "HEAD"], cwd=context, check=False)
    if head.returncode != 0:
        return Origin(None, dirty=False)
    return Origin(head.stdout.strip(), dirty=_differs(context, included, frozenset(used)))


def _differs(context: Path, included: Callable[[str], bool], used: frozenset[str]) -> bool:
    status = run(
        [
            *_GIT,
            "status",
            "--porcelain=v1",
            "-z",
            "--no-renames",
            "--untracked-files=all",
            "--ignored",
            "--",
            ".",
        ],
        cwd=context,
    )
    prefix = run([*_GIT, "rev-parse", "--show-prefix"], cwd=context).stdout.rstrip("\n")
    for entry in filter(None, status.stdout.split("\0")):
        code, path = entry[:2], entry[3:].removeprefix(prefix)
        if code == _IGNORED:
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
