"""What Git says of a context's checkout, in one process."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from stoneware.descriptors import closing
from stoneware.errors import InputError
from stoneware.untrusted.bounded import parts_until

# The monitor is a program the checkout could name.
_GIT = ("git", "-c", "core.fsmonitor=false", "-C")
_STATUS = (
    "status",
    "--porcelain=v2",
    "--branch",
    "--no-ahead-behind",
    "-z",
    "--no-renames",
    "--untracked-files=all",  # each: the ignore file may leave out some of a directory
    "--ignored",  # what Git ignores counts where a step copies it
    "--",
    ".",
)
_MOST_ANSWER = 256 << 20  # bytes; a line of about a hundred for each file that differs
_PATIENCE = 120.0  # seconds


class Asked:
    """A `git` that runs; it is asked while this process does other things.

    A checkout's configuration can name programs that Git runs (filters, remotes), so root asks as the owner
    of the checkout, and Git itself refuses one whose parts belong to others.
    """

    def __init__(self, context: str, words: tuple[str, ...] = _STATUS) -> None:
        """Start it. Without Git installed the answer is empty."""
        self._pid = 0
        self._context = context
        self._from, to = os.pipe()
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, to, 1),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),  # outside a checkout it complains
            *closing(),
        ]
        owner = _other_owner(context)
        argv = [*(_as(*owner) if owner else ()), *_GIT, context, *words]
        # `status` would lock the index to refresh it, in the way of a Git that the user runs.
        environment = {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C.UTF-8", **_environment(owner)}
        try:
            # In a session of its own nothing that it runs has our terminal to type into.
            self._pid = os.posix_spawnp(argv[0], argv, environment, file_actions=actions, setsid=True)
        except OSError:
            return
        finally:
            os.close(to)

    def answer(self) -> str:
        """Return what it printed; nothing where it failed: outside a checkout, or without Git.

        Raises InputError where it does not end within two minutes, or with less than 256 MiB.
        """
        try:
            data = _read(self._from, time.monotonic() + _PATIENCE)
        except InputError as error:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            error.location = self._context
            raise
        finally:
            os.close(self._from)
        if not self._pid or os.waitpid(self._pid, 0)[1] != 0:
            return ""
        return os.fsdecode(data)


def _read(descriptor: int, deadline: float) -> bytes:
    data = bytearray()
    try:
        for part in parts_until(descriptor, deadline):
            data += part
            if len(data) > _MOST_ANSWER:
                raise _no_answer(f"says more than {_MOST_ANSWER >> 20} MiB")
    except TimeoutError:
        raise _no_answer(f"does not answer within {_PATIENCE:g} seconds") from None
    return bytes(data)


def _no_answer(what: str) -> InputError:
    return InputError(
        f"Git {what} about the context's checkout",
        resolution="git status    # there; or bake a copy of the context without its .git",
    )


def _other_owner(context: str) -> tuple[int, int] | None:
    """Return the user and group that a checkout belongs to, where that is not who we are and we are root."""
    if os.geteuid() != 0:
        return None
    top = Path(context).resolve()
    for place in (top, *top.parents):
        with contextlib.suppress(OSError):
            # Whoever made a link in its place is asked about, not who has what it leads to.
            owners = ((place / ".git").lstat(), place.stat())
            return next(((each.st_uid, each.st_gid) for each in owners if each.st_uid != 0), None)
    return None


def _as(user: int, group: int) -> tuple[str, ...]:
    return ("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs", "--")


def _environment(owner: tuple[int, int] | None) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    if owner is not None:
        import pwd

        kept.pop("HOME", None)  # root's, which they cannot read; Git would give up
        with contextlib.suppress(KeyError):
            kept["HOME"] = pwd.getpwuid(owner[0]).pw_dir
    return kept


def ask_prefix(context: str) -> Asked:
    """Ask for the context's place below the top of its checkout."""
    return Asked(context, ("rev-parse", "--show-prefix"))
