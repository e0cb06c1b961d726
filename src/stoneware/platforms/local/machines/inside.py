"""Commands in running machines, whatever runs them: the one way in, for exec, cp, gates and shells."""

from __future__ import annotations

import os
import stat

from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.machines.runner import NO_STREAMS, Command, Program, Streams
from stoneware.platforms.local.machines.runners import runner_of


def start(paths: Paths, program: Program, streams: Streams = NO_STREAMS) -> Command:
    """Start a program in a running machine; `with` ends it where it still runs.

    Raises MachineError where the machine does not run or does not start the program.
    """
    for descriptor in (streams.stdout, streams.stderr):
        # What has a terminal as a descriptor can type into it (TIOCSTI), and a file it could change.
        if descriptor is not None and not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            raise ValueError("only pipes are handed into machines")
    return runner_of(paths).start(paths, program, streams)
