"""Commands in running machines, whatever runs them: the one way in, for exec, cp, gates and shells."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence

from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.machines.runner import ROOT, Command, User
from stoneware.platforms.local.machines.runners import runner_of


def start(
    paths: Paths,
    argv: Sequence[str],
    *,
    stdout: int | None = None,
    stderr: int | None = None,
    feed: bool = False,
    user: User = ROOT,
    env: Mapping[str, str] | None = None,
    workdir: str = "/",
) -> Command:
    """Start a command in a running machine; `with` ends it where it still runs.

    `stdout` and `stderr` are write ends of pipes that the caller made (they may be the same, and are the
    caller's to close), None is /dev/null: a file or terminal of ours is never handed in. With `feed` the
    command reads what is written to `Command.stdin`, else nothing. The environment is exactly `env`.

    Raises MachineError where the machine does not run or does not start the command.
    """
    for descriptor in (stdout, stderr):
        if descriptor is not None and not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            raise ValueError("only pipes are handed into machines")
    return runner_of(paths).start(
        paths, argv, stdout=stdout, stderr=stderr, feed=feed, user=user, env=env or {}, workdir=workdir
    )
