"""status and drift: how a cluster is, and whether it is as it was declared."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from stoneware.cli import clusters, options, rollouts
from stoneware.cli.output import print_json, print_line, print_table, say
from stoneware.cli.parameters import Command, F, flag, option
from stoneware.cli.streams import styled
from stoneware.ui.hints import completed

if TYPE_CHECKING:
    from pathlib import Path

    from stoneware.cluster.drift import DriftReport
    from stoneware.cluster.model import Desired
    from stoneware.cluster.site import Site

DIFFERENT = 5
_CLEAR = "\x1b[H\x1b[2J"


_watch = flag("--watch", "-w", help="Repeat until Ctrl-C.")


def _interval(seconds: float) -> Callable[[F], F]:
    told = "With --watch: seconds between looks."
    return option("--interval", metavar="SECONDS", kind=float, low=0.1, default=seconds, help=told)


@click.command("status", cls=Command)
@options.cluster
@options.profile
@_watch
@_interval(2.0)
@options.json_output
def status(
    file: tuple[Path, ...],
    project_name: str,
    env_file: tuple[Path, ...],
    project_directory: Path | None,
    *,
    profile: tuple[str, ...],
    watch: bool,
    interval: float,
    json_output: bool,
) -> None:
    """Show the machines, and whether each is as declared.

    Image, commit and config of each machine, its phase, health, address and age. With -p NAME alone the
    cluster is shown as it was last brought up, wherever its file is.
    """
    site = clusters.open_site()
    name, desired = clusters.name_and_desired(
        clusters.source(file, project_name, env_file, project_directory, profiles=profile), site
    )

    def look() -> None:
        _show_status(site, name, desired, json_output=json_output)

    _repeat(look, interval if watch else None, clear=not json_output)


def _show_status(site: Site, name: str, desired: Desired, *, json_output: bool) -> None:
    from stoneware.cluster.documents import status_document
    from stoneware.cluster.observe import observe
    from stoneware.cluster.status import COLUMNS, status_rows, unhealthy_lines
    from stoneware.cluster.status import status as status_of

    machines = status_of(desired, observe(site.platform, name), time.time())
    going = rollouts.unfinished_rollout(site, name)
    if json_output:
        print_json({**status_document(name, machines), "rollout": going.document if going else None})
        return
    print_table(COLUMNS, status_rows(machines))
    for line in unhealthy_lines(machines):
        print_line(line)
    if going:
        print_line(completed(going.sentence))  # a result, so the flags of the hint are not put in by `say`


@click.command("drift", cls=Command)
@options.cluster
@options.profile
@_watch
@_interval(10.0)
@option(
    "--timeout", metavar="SECONDS", kind=float, low=0, default=10.0, help="Seconds machines get to answer."
)
@options.json_output
def drift(
    file: tuple[Path, ...],
    project_name: str,
    env_file: tuple[Path, ...],
    project_directory: Path | None,
    *,
    profile: tuple[str, ...],
    watch: bool,
    interval: float,
    timeout: float,
    json_output: bool,
) -> None:
    """Compare the machines with what was declared.

    The comparison covers the images they booted, their config, the files on them, and Terraform's state.
    Exits with 0 where nothing differs, and with 5 where something differs or is not known.
    """
    site = clusters.open_site()
    name, desired = clusters.name_and_desired(
        clusters.source(file, project_name, env_file, project_directory, profiles=profile), site
    )
    code = 0

    def look() -> None:
        nonlocal code
        report = _find_drift(site, name, desired, timeout)
        _show_drift(report, json_output=json_output)
        code = 0 if report.in_sync else DIFFERENT

    _repeat(look, interval if watch else None, clear=False)
    raise click.exceptions.Exit(code)


def _find_drift(site: Site, name: str, desired: Desired, timeout: float) -> DriftReport:
    from stoneware.cluster.apply import refreshed
    from stoneware.cluster.drift import find_drift
    from stoneware.cluster.inspect import inspect_files
    from stoneware.cluster.observe import managed_in, observe

    infrastructure = site.platform.infrastructure
    managed = managed_in(site.directory(name), infrastructure)
    # First of all: machines take a while to answer, and the nonce tells a new answer from an old one.
    nonces = inspect_files(site.platform, observe(site.platform, name), timeout=timeout)
    refresh = refreshed(site.platform, site.directory(name))
    observed = observe(site.platform, name, managed=managed, nonces=nonces)
    return find_drift(desired, observed, refresh, infrastructure)


def _show_drift(report: DriftReport, *, json_output: bool) -> None:
    from stoneware.cluster.documents import drift_document

    if json_output:
        print_json(drift_document(report))
        return
    rows = [[item.machine, str(item.source), item.what, item.wanted, item.found] for item in report.items]
    rows += [[one.machine, str(one.source), "", "", f"unknown: {one.reason}"] for one in report.unknown]
    if rows:
        print_table(("NAME", "SOURCE", "WHAT", "WANTED", "FOUND"), rows)
        return
    count = f"{report.machines} machine{'' if report.machines == 1 else 's'}"
    print_line(f"{report.cluster}: {count} as declared")


def _repeat(look: Callable[[], None], interval: float | None, *, clear: bool) -> None:
    while True:
        if interval is not None and clear and sys.stdout.isatty():  # a file or a pipe keeps all looks
            # Past the stream that spells out what a terminal obeys.
            styled(sys.stdout).write(_CLEAR)
        look()
        sys.stdout.flush()
        if interval is None:
            return
        if not clear:
            say(time.strftime("%H:%M:%S"))
        time.sleep(interval)
