"""logs: a machine's console."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from stoneware.cli import options
from stoneware.cli.context import open_platform
from stoneware.launch.watch import find_machine, follow_console


def logs(
    machine: options.Machine,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the machine stops.")] = False,
    tail: Annotated[
        str, typer.Option("--tail", "-n", metavar="LINES|all", help="Only the last lines.")
    ] = "all",
) -> None:
    """Show a machine's console: its boot, its service's output, and why it failed."""
    count = _line_count(tail)
    platform = open_platform()
    found = find_machine(platform, machine)
    data, offset = platform.console(found.name)
    _write(last_lines(data, count))
    if follow:
        for chunk in follow_console(platform, found.name, offset):
            _write(chunk)


def _line_count(tail: str) -> int | None:
    if tail == "all":
        return None
    if not tail.isdecimal():
        raise typer.BadParameter(f"{tail!r} is neither a number nor 'all'", param_hint="--tail")
    return int(tail)


def last_lines(data: bytes, count: int | None) -> bytes:
    """Return the last `count` lines of some output (None: all of it)."""
    if count is None:
        return data
    lines = data.splitlines(keepends=True)
    return b"".join(lines[len(lines) - min(count, len(lines)) :])


def _write(data: bytes) -> None:
    # The console ends its lines as a terminal does; a reader of text wants plain line ends.
    sys.stdout.buffer.write(data.replace(b"\r\n", b"\n"))
    sys.stdout.flush()
