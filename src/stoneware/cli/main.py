"""The command line's entry point. Most of it is loaded only when there is something to do."""

from __future__ import annotations

import gc
import os
import signal
import sys

from stoneware.cli.streams import guarded, open_missing

# What a short command allocates in its life. Collections while modules are loaded find nothing.
_COLLECT_AFTER = 200_000


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
    gc.freeze()  # the end of the process frees everything at once
    sys.exit(code)


def _run() -> int:
    try:
        from stoneware.cli.program import decided, run

        code = decided(run(sys.argv[1:]))
    except KeyboardInterrupt:  # before the command had begun
        code = 130
    return code


if __name__ == "__main__":
    main()
