"""up: change a cluster to what its file declares."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from stoneware.cli import clusters, options
from stoneware.cli.output import print_json, say
from stoneware.cli.parameters import Command, argument, flag, option
from stoneware.ui.progress import Style, make_display

if TYPE_CHECKING:
    from pathlib import Path

    from stoneware.cluster.directory import ClusterDirectory
    from stoneware.cluster.model import ClusterPlan
    from stoneware.cluster.up import UpOptions, UpResult
    from stoneware.compose.model import Cluster


@click.command("up", cls=Command)
@argument(
    "services",
    metavar="SERVICE",
    many=True,
    required=False,
    help="Only these services or machines, and what they depend on.",
)
@options.cluster
@options.profile
@options.yes
@options.build
@flag("--recreate", help="Replace running machines that differ, all at once.")
@flag("--restore", help="Only what is down or gone, as it was before: no change of the file.")
@options.scale
@flag("--wait/--no-wait", default=True, help="Wait until all machines are healthy, or return at once.")
@option(
    "--wait-timeout",
    metavar="SECONDS",
    kind=float,
    low=0,
    default=300.0,
    help="Seconds each machine gets to become healthy.",
)
@options.wait_for
@options.lock_timeout
@options.progress
@options.verbose
@options.json_output
def up(
    services: tuple[str, ...],
    file: tuple[Path, ...],
    project_name: str,
    env_file: tuple[Path, ...],
    project_directory: Path | None,
    *,
    profile: tuple[str, ...],
    yes: bool,
    build: bool,
    recreate: bool,
    restore: bool,
    scale: tuple[str, ...],
    wait: bool,
    wait_timeout: float,
    wait_for: float | None,
    lock_timeout: float,
    progress: Style,
    verbose: bool,
    json_output: bool,
) -> None:
    """Change the cluster to what machines.yaml declares, and wait until it is healthy.

    Images with `build` are baked where something changed. Healthy machines that differ are not
    replaced unless --recreate says so. It asks before machines are replaced or removed. With services or
    machines it is about them, and what they depend on. With --restore machines that are down or gone
    come back with the release they had; the file is read for the cluster's name only.
    """
    from stoneware.cluster.up import UpOptions

    found = clusters.source(file, project_name, env_file, project_directory, scale, profiles=profile)
    waits, settle = wait or wait_for is not None, options.settle_time(wait=True, wait_for=wait_for) or 0.0
    wanted = UpOptions(build, recreate, waits, wait_timeout, lock_timeout, verbose, services, settle)
    if restore:
        result = _restore(found, wanted, progress, yes=yes)
    else:
        result = _up(clusters.load(found, scale, making=True), wanted, progress, yes=yes)
    _finish(result, json_output=json_output, quiet=progress is Style.QUIET)


def _up(cluster: Cluster, wanted: UpOptions, progress: Style, *, yes: bool) -> UpResult:
    from stoneware.cluster.up import up
    from stoneware.rollout.lock import check_unlocked
    from stoneware.ui.displays import make_cluster_display

    site = clusters.open_site()

    # Called under the cluster's lock: only then can a mark be known to be left by a kill.
    def guard(directory: ClusterDirectory) -> None:
        check_unlocked(directory)
        clusters.confirm_origin(cluster, directory, yes=yes)

    with make_cluster_display(progress, sys.stderr) as display:
        return up(
            cluster,
            site,
            wanted,
            reporter=display,
            bakes=lambda: make_display(progress, sys.stderr),  # made where something is baked
            environment=os.environ,
            confirm=lambda plan: _confirm(plan, yes=yes),
            guard=guard,
        )


def _restore(found: clusters.Source, wanted: UpOptions, progress: Style, *, yes: bool) -> UpResult:
    from stoneware.cluster.restore import restore
    from stoneware.rollout.lock import check_undriven
    from stoneware.ui.displays import make_cluster_display

    site = clusters.open_site()
    name = clusters.name_of(found, site)
    with make_cluster_display(progress, sys.stderr) as display:
        return restore(
            name,
            site,
            wanted,
            reporter=display,
            confirm=lambda plan: _confirm(plan, yes=yes),
            guard=check_undriven,  # a rollout that is paused is no hindrance, one that is driven is
        )


def _confirm(plan: ClusterPlan, *, yes: bool) -> None:
    from stoneware.ui.cluster import plan_summary

    summary = plan_summary(plan)
    clusters.ask(
        f"{summary}. Continue?", yes=yes, why=f"this would change machines that are there: {summary}"
    )


def _finish(result: UpResult, *, json_output: bool, quiet: bool) -> None:
    from stoneware.ui.cluster import plan_summary
    from stoneware.ui.text import duration

    if json_output:
        print_json(_document(result))
    elif not quiet:
        if result.plan.changes:
            count = sum(map(len, result.plan.waves))
            machines = f"{count} machine{'' if count == 1 else 's'}"
            say(f"{result.desired.name}: {machines} up, {duration(result.seconds)}")
        else:
            say(plan_summary(result.plan))


def _document(result: UpResult) -> dict[str, Any]:
    import time

    from stoneware.cluster.documents import plan_document, status_document
    from stoneware.cluster.status import status

    machines = status(result.desired, result.observed, time.time())
    return {
        **plan_document(result.plan, result.desired),
        "baked": list(result.baked),
        "status": status_document(result.desired.name, machines),
        "seconds": round(result.seconds, 3),
    }
