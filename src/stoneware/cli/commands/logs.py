"""logs: machines' consoles."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import click

from stoneware.cli import clusters, complete, options
from stoneware.cli.context import open_platform
from stoneware.cli.machine_names import find_machines, machines_of
from stoneware.cli.parameters import Command, argument, flag, option
from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.launch.console import Stamper, parse_moment
from stoneware.launch.machine_search import short_name
from stoneware.launch.watch import follow_consoles, follow_pieces
from stoneware.model.machine import Machine
from stoneware.platforms.protocols import Platform
from stoneware.ui.prefixed import Prefixed


@click.command("logs", cls=Command)
@argument(
    "machines",
    metavar="MACHINE",
    many=True,
    required=False,
    offers=complete.machines,
    help="Names, ids, or services. None: the whole cluster whose file is here.",
)
@options.on_platform
@flag("--follow", "-f", help="Follow the console until the machine stops.")
@option("--tail", "-n", metavar="LINES|all", default="all", help="Only the last lines.")
@option("--since", metavar="TIME", default="", help="From a time on: 10m, 2026-01-02T15:04:05Z.")
@option("--until", metavar="TIME", default="", help="Up to a time: 10m, 2026-01-02T15:04:05Z.")
@flag("--timestamps", "-t", help="Show when lines came.")
def logs(
    machines: tuple[str, ...], *, follow: bool, tail: str, since: str, until: str, timestamps: bool
) -> None:
    """Show a machine's console: its boot, its service's output, and why it failed.

    Of several machines each line has its machine's name in front. Of a console the last 30 MB are kept
    (`run --log-opt`). Its times are this computer's.
    """
    now = time.time()
    wanted = _Wanted(
        _line_count(tail),
        parse_moment(since, now, "--since") if since else None,
        parse_moment(until, now, "--until") if until else None,
        timestamps,
    )
    platform = open_platform()
    found = _meant(platform, machines)
    # With --until there is an end, and nothing to wait for.
    if len(found) == 1:
        _one(platform, found[0].name, wanted, follow=follow and not until)
    else:
        _several(platform, found, wanted, follow=follow and not until)


def _meant(platform: Platform, names: tuple[str, ...]) -> list[Machine]:
    """Return the machines that the words mean, each once. Raises InputError."""
    if not names:
        return machines_of(platform, _cluster_here())
    return find_machines(platform, names, several=True)


def _cluster_here() -> str:
    if not clusters.Source().has_file:
        raise InputError(
            "which machine?", resolution="stoneware logs MACHINE    # stoneware ps -a lists them"
        )
    return clusters.load(clusters.whole(clusters.Source())).name


@dataclass(frozen=True)
class _Wanted:
    """What part of a console is wanted; times in seconds since the epoch."""

    lines: int | None
    since: float | None
    until: float | None
    timestamps: bool


class _Reading:
    """The reading of one machine's console."""

    def __init__(self, platform: Platform, name: str, wanted: _Wanted) -> None:
        self._platform = platform
        self._name = name
        places = [platform.console_place(name)]
        if wanted.lines is not None:
            places.append(platform.console_place(name, lines=wanted.lines))
        if wanted.since is not None:
            places.append(platform.console_place(name, since=wanted.since))
        self.offset = max(places)  # with both limits the later place counts
        self._end = None if wanted.until is None else platform.console_place(name, until=wanted.until)
        stamper = Stamper(platform.console_times(name)) if wanted.timestamps else None
        self.shown = stamper.feed if stamper else _as_it_is

    def pieces(self) -> Iterator[bytes]:
        """Yield what is there, piece by piece."""
        while self._end is None or self.offset < self._end:
            data, self.offset = self._platform.console(self._name, self.offset)
            if not data:
                return
            if self._end is not None and self.offset > self._end:
                data = data[: max(0, len(data) - (self.offset - self._end))]
                self.offset = self._end
            yield self.shown(data, self.offset)


def _as_it_is(data: bytes, _end: int) -> bytes:
    return data


def _one(platform: Platform, name: str, wanted: _Wanted, *, follow: bool) -> None:
    reading = _Reading(platform, name, wanted)
    for piece in reading.pieces():
        _write(piece)
    if follow:
        for chunk, end in follow_pieces(platform, name, reading.offset):
            _write(reading.shown(chunk, end))


def _several(platform: Platform, machines: list[Machine], wanted: _Wanted, *, follow: bool) -> None:
    names = {machine.name: short_name(machine) for machine in machines}
    if len(set(names.values())) < len(names):  # of several clusters
        names = {name: name for name in names}
    lines = Prefixed(sys.stdout.buffer, names, colour=sys.stdout.isatty())
    readings = {name: _Reading(platform, name, wanted) for name in names}
    for name, reading in readings.items():
        for piece in reading.pieces():
            lines.write(name, piece)
    if follow:
        offsets = {name: reading.offset for name, reading in readings.items()}
        for name, chunk, end in follow_consoles(platform, offsets):
            lines.write(name, readings[name].shown(chunk, end))
    lines.finish()


def _line_count(tail: str) -> int | None:
    if tail == "all":
        return None
    if not tail.isdecimal():
        raise click.BadParameter(f"{tail!r} is neither a number nor 'all'", param_hint="--tail")
    return int(tail)


def _write(data: bytes) -> None:
    # The console ends its lines as a terminal does; a reader of text wants plain line ends.
    sys.stdout.buffer.write(data.replace(b"\r\n", b"\n"))
    sys.stdout.flush()
