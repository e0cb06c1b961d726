"""The command line's entry point. Most of it is loaded only when there is something to do."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from typing import NoReturn

from stoneware.cli.streams import guarded, open_missing

# What a short command allocates in its life. Collections while modules are loaded find nothing.
_COLLECT_AFTER = 200_000
_NOT_FLUSHED = 120  # Python's own exit code for it


def main() -> None:
    """Run the program on its own arguments."""
    gc.set_threshold(_COLLECT_AFTER)
    # Looking for pydantic's plugins means reading what every installed package says of itself.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    open_missing()
    # Where the caller ignores the ends of children, none has an exit code, and all count as successful.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with guarded():
        code = _run()
    _end(code)


def _end(code: int) -> NoReturn:
    """End the process as `sys.exit` does, but take no module and no object apart: the kernel frees all.

    That was a fifth of what a command without work takes of the processor.
    """
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()  # threads that are no daemons end first
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or _NOT_FLUSHED
    os._exit(code)


def _run() -> int:
    try:
        from stoneware.cli.program import decided, run

        code = decided(run(sys.argv[1:]))
    except KeyboardInterrupt:  # before the command had begun
        code = 130
    return code


if __name__ == "__main__":
    main()
