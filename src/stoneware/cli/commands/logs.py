"""logs: machines' consoles."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from stoneware.cli import clusters, complete
from stoneware.cli.context import open_platform
from stoneware.cli.finding import find_machine
from stoneware.errors import InputError
from stoneware.launch.watch import (
    follow_console,
    follow_consoles,
    in_cluster,
    labelled,
    short_name,
)
from stoneware.platform import Machine, Platform
from stoneware.ui.prefixed import Prefixed

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MACHINE",
        help="Names, ids, or services. None: the whole cluster whose file is here.",
        autocompletion=complete.machines,
    ),
]


def logs(
    machines: Names = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the machine stops.")] = False,
    tail: Annotated[
        str, typer.Option("--tail", "-n", metavar="LINES|all", help="Only the last lines.")
    ] = "all",
) -> None:
    """Show a machine's console: its boot, its service's output, and why it failed.

    Of several machines each line has its machine's name in front.
    """
    count = _line_count(tail)
    platform = open_platform()
    found = _meant(platform, machines or [])
    if len(found) == 1:
        _one(platform, found[0].name, count, follow=follow)
    else:
        _several(platform, found, count, follow=follow)


def _meant(platform: Platform, names: list[str]) -> list[Machine]:
    """Return the machines that the words mean, each once. Raises InputError."""
    if not names:
        cluster = _cluster_here()
        found = in_cluster(platform.machines(), cluster)
        if not found:
            raise InputError(f"the cluster {cluster} is not up", resolution="stoneware up    # makes it")
        return found
    known = platform.machines()
    meant: dict[str, Machine] = {}
    for name in names:
        exact = any(machine.name == name for machine in known)
        found = [] if exact else labelled(known, name, prefer=clusters.cluster_here)
        for machine in found or [find_machine(platform, name)]:
            meant[machine.name] = machine
    return list(meant.values())


def _cluster_here() -> str:
    if not clusters.Source().has_file:
        raise InputError(
            "which machine?", resolution="stoneware logs MACHINE    # stoneware ps -a lists them"
        )
    return clusters.load(clusters.Source()).name


def _one(platform: Platform, name: str, count: int | None, *, follow: bool) -> None:
    data, offset = platform.console(name)
    _write(last_lines(data, count))
    if follow:
        for chunk in follow_console(platform, name, offset):
            _write(chunk)


def _several(platform: Platform, machines: list[Machine], count: int | None, *, follow: bool) -> None:
    names = {machine.name: short_name(machine) for machine in machines}
    if len(set(names.values())) < len(names):  # of several clusters
        names = {name: name for name in names}
    lines = Prefixed(sys.stdout.buffer, names, colour=sys.stdout.isatty())
    offsets = {}
    for name in names:
        data, offsets[name] = platform.console(name)
        lines.write(name, last_lines(data, count))
    if follow:
        for name, chunk in follow_consoles(platform, offsets):
            lines.write(name, chunk)
    lines.finish()


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
    lines = data.split(b"\n")
    # What ends with a line end has nothing after it.
    wanted = count + (lines[-1] == b"")
    return b"\n".join(lines[max(len(lines) - wanted, 0) :]) if count else b""


def _write(data: bytes) -> None:
    # The console ends its lines as a terminal does; a reader of text wants plain line ends.
    sys.stdout.buffer.write(data.replace(b"\r\n", b"\n"))
    sys.stdout.flush()
