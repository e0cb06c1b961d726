"""ps, stop, start, restart, wait and rm."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stoneware.cli import clusters, listing, options, rollouts
from stoneware.cli.context import open_platform, open_store
from stoneware.cli.machine_names import find_machine, find_machines
from stoneware.cli.output import print_json, print_line, print_table
from stoneware.cli.parameters import Command, flag, option
from stoneware.errors import InputError
from stoneware.launch.plan import anonymous_volume
from stoneware.launch.watch import wait_until_stopped, wait_until_up
from stoneware.model.machine import Health, Machine, Phase
from stoneware.platforms.protocols import Platform

if TYPE_CHECKING:
    from stoneware.platforms.protocols import Images

_AT_ONCE = 20  # machines that are stopped at the same time
_DOWN = (Phase.STOPPED, Phase.CREATED)
_HEADER = ("NAME", "IMAGE", "PHASE", "HEALTH", "IP", "PORTS", "AGE", "ERROR")


_time = option(
    "--time",
    "-t",
    "timeout",
    metavar="SECONDS",
    kind=float,
    low=0,
    help="Seconds before the machine is powered off hard.",
)


@click.command("ps", cls=Command)
@flag("--all", "-a", "every", help="Show stopped machines and builders, too.")
@flag("--quiet", "-q", help="Print names only.")
@options.on_platform
@options.json_output
def ps(every: bool, quiet: bool, json_output: bool) -> None:
    """List machines, with their image, phase and health."""
    # With -a builders are shown too, so those of finished bakes are waited for.
    found = [machine for machine in open_platform(settled=every).machines() if every or _is_listed(machine)]
    if json_output:
        print_json([listing.machine_document(machine) for machine in found])
    elif quiet:
        for machine in found:
            print_line(machine.name)
    else:
        rows = [listing.machine_row(machine, time.time()) for machine in found]
        width = len(_HEADER) if any(row[-1] for row in rows) else len(_HEADER) - 1
        print_table(_HEADER[:width], [row[:width] for row in rows])


def _is_listed(machine: Machine) -> bool:
    return machine.kind == "machine" and machine.phase not in _DOWN


@click.command("stop", cls=Command)
@options.machines_or_services
@_time
@options.cluster_file
def stop(machines: tuple[str, ...], timeout: float | None, file: tuple[Path, ...], project_name: str) -> None:
    """Stop machines, or all of a service; their disks are kept."""
    platform = open_platform()
    found = _find_all(platform, machines, file, project_name)
    rollouts.warn_unfinished(found)
    _side_by_side(found, lambda name: platform.stop(name, timeout=timeout))


@click.command("start", cls=Command)
@options.machines_or_services
@options.cluster_file
@flag("--wait", "wait_healthy", help="Return once they are healthy, or up for --wait-for.")
@options.wait_for
@option("--timeout", metavar="SECONDS", kind=float, low=0, default=120.0, help="Seconds to wait at most.")
def start(
    machines: tuple[str, ...],
    file: tuple[Path, ...],
    project_name: str,
    *,
    wait_healthy: bool,
    wait_for: float | None,
    timeout: float,
) -> None:
    """Start stopped machines, or all of a service."""
    settle = options.settle_time(wait=wait_healthy, wait_for=wait_for)
    store = open_store()
    platform = open_platform(store)
    for machine in _find_all(platform, machines, file, project_name):
        platform.start(machine.name)
        if settle is not None:
            checked = _is_checked(store, machine)
            wait_until_up(platform, machine.name, health=checked, settle=settle, timeout=timeout)
        print_line(machine.name)


@click.command("restart", cls=Command)
@options.machines_or_services
@_time
@options.cluster_file
def restart(
    machines: tuple[str, ...], timeout: float | None, file: tuple[Path, ...], project_name: str
) -> None:
    """Stop machines and start them again, those of a service one after the other."""
    platform = open_platform()
    found = _find_all(platform, machines, file, project_name)
    rollouts.warn_unfinished(found)
    for machine in found:
        platform.stop(machine.name, timeout=timeout)
        platform.start(machine.name)
        print_line(machine.name)


@click.command("wait", cls=Command)
@options.machines_or_services
@flag("--healthy", help="Wait until they are healthy instead.")
@option("--timeout", metavar="SECONDS", kind=float, low=0, default=120.0, help="With --healthy: seconds.")
@options.on_platform
def wait(machines: tuple[str, ...], healthy: bool, timeout: float) -> None:
    """Wait until machines have stopped, or are healthy.

    Prints the exit code of each machine that has stopped.
    """
    store = open_store()
    platform = open_platform(store)
    for machine in _find_all(platform, machines):
        if healthy:
            wait_until_up(platform, machine.name, health=_is_checked(store, machine), timeout=timeout)
        else:
            print_line(str(wait_until_stopped(platform, machine.name)))


def _is_checked(store: Images, machine: Machine) -> bool:
    """Say whether the machine's image has a health check; without one, running is all to wait for."""
    if machine.health is not Health.NONE:
        return True
    # A machine that has just started has reported no health yet, so the image is asked.
    if not machine.image_id or not store.has_image(machine.image_id):
        return False
    check = store.manifest(machine.image_id)["config"]["healthcheck"]
    return check is not None and bool(check["test"])


@click.command("rm", cls=Command)
@options.machines
@flag("--force", "-f", help="Remove running machines, too; a missing machine is no error.")
@flag("--volumes", "-v", help="Remove their anonymous volumes, too.")
@options.on_platform
def rm(machines: tuple[str, ...], force: bool, volumes: bool) -> None:
    """Remove machines; their volumes are kept."""
    store = open_store()
    platform = open_platform(store)
    for name in machines:
        try:
            machine = find_machine(platform, name)
        except InputError:
            if force:
                continue
            raise
        if machine.phase not in (*_DOWN, Phase.FAILED) and not force:
            forced = f"stoneware rm -f {machine.name}"
            raise InputError(
                f"the machine {machine.name} is {machine.phase}",
                details=machine.error if machine.phase is Phase.DAMAGED else "",
                resolution=forced
                if machine.phase is Phase.DAMAGED
                else f"stoneware stop {machine.name}    # or: {forced}",
            )
        rollouts.warn_unfinished([machine])
        platform.destroy(machine.name)
        if volumes:
            for mount in machine.spec.volumes:
                # Named ones stay, as with Docker.
                if mount.volume == anonymous_volume(machine.name, mount.path):
                    platform.destroy_volume(mount.volume)
        print_line(machine.name)


def _find_all(
    platform: Platform, names: tuple[str, ...], files: tuple[Path, ...] = (), project: str = ""
) -> list[Machine]:
    """Find all machines before anything is done to the first; those of one cluster, where it is named.

    Raises InputError where the file that names it is not the one it was brought up from.
    """
    named = clusters.source(files, project) if files or project else None
    cluster = clusters.name_of(named, clusters.open_site()) if named else ""
    return find_machines(platform, names, cluster=cluster)


def _side_by_side(machines: list[Machine], work: Callable[[str], None]) -> None:
    """Do something to all machines at once, and print each as it is done, in order."""
    if len(machines) == 1:
        work(machines[0].name)
        print_line(machines[0].name)
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        jobs = [(machine.name, pool.submit(work, machine.name)) for machine in machines]
        for name, job in jobs:
            job.result()  # the others go on, and are waited for, where this raises
            print_line(name)
