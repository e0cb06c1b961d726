"""The command line's entry point. Most of it is loaded only when there is something to do."""

from __future__ import annotations

import sys

from stoneware.cli.baked import bake_again


def main() -> None:
    """Run the program on its own arguments."""
    try:
        code = bake_again(sys.argv[1:])
        if code is None:
            from stoneware.cli.program import decided, run

            code = decided(run(sys.argv[1:]))
    except KeyboardInterrupt:  # before the command had begun
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
