"""What Git says of a context's checkout, in one process."""

from __future__ import annotations

import os

# Root often bakes a user's checkout; Git would refuse it. The monitor is a program the checkout could name.
_GIT = ("git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-C")
_STATUS = (
    "status",
    "--porcelain=v2",
    "--branch",
    "--no-ahead-behind",
    "-z",
    "--no-renames",
    "--untracked-files=all",
    "--ignored",
    "--",
    ".",
)
_KEPT = ("PATH", "HOME")


class Asked:
    """A `git` that runs; it is asked while this process does other things."""

    def __init__(self, context: str, words: tuple[str, ...] = _STATUS) -> None:
        """Start it. Without Git installed the answer is empty."""
        self._pid = 0
        self._from, to = os.pipe()
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, to, 1),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ]
        try:
            self._pid = os.posix_spawnp(
                "git",
                [*_GIT, context, *words],
                {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C.UTF-8", **environment},
                file_actions=actions,
            )
        except OSError:
            return
        finally:
            os.close(to)

    def answer(self) -> str:
        """Return what it printed; nothing where it failed: outside a checkout, or without Git."""
        data = b""
        while part := os.read(self._from, 1 << 16):
            data += part
        os.close(self._from)
        if not self._pid or os.waitpid(self._pid, 0)[1] != 0:
            return ""
        return os.fsdecode(data)


def ask_prefix(context: str) -> Asked:
    """Ask for the context's place below the top of its checkout."""
    return Asked(context, ("rev-parse", "--show-prefix"))
